from pathlib import Path

import pytest

from headrace import aws, connect
from headrace.errors import UsageError
from headrace.settings import Layout
from headrace.table.aws import DynamoTable
from headrace.table.base import Item
from support import moto
from support.memory import MemoryBucket, MemoryTable


@pytest.fixture(autouse=True)
def forgotten() -> object:
    connect.reset()
    yield
    connect.reset()


def test_on_one_machine_storage_is_in_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path))
    connect.bucket("archive").put("raw/x", b"1")
    assert (Layout(tmp_path).buckets / "archive" / "raw" / "x").read_bytes() == b"1"
    assert connect.bucket("archive") is connect.bucket("archive")
    assert connect.table("events") is connect.table("events")


def test_on_lambda_storage_is_dynamodb_and_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_DATA", raising=False)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "store")
    with moto.account():
        client = aws.client("dynamodb")
        moto.create_table(client, "events")
        aws.client("s3").create_bucket(Bucket="failures")
        connect.table("events").put([Item("d", "s", b'{"t":21.50}', 99)])
        connect.bucket("failures").put("rejected/x", b"1")
        assert client.scan(TableName="events")["Items"] == [
            {"device_id": {"S": "d"}, "sk": {"S": "s"}, "t": {"S": "=21.50"}, "expires_at": {"N": "99"}}
        ]
        assert aws.client("s3").get_object(Bucket="failures", Key="rejected/x")["Body"].read() == b"1"
    assert connect.written_rejections() == ["rejected/x"]


def test_only_aws_by_name_is_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_DATA", raising=False)
    monkeypatch.setenv("HEADRACE_PLATFORM", "aws")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert isinstance(connect.table("events"), DynamoTable)
    connect.reset()
    monkeypatch.setenv("HEADRACE_PLATFORM", "azure")
    with pytest.raises(UsageError, match="HEADRACE_PLATFORM=aws"):
        connect.table("events")


@pytest.mark.parametrize("kind", ["table", "bucket"])
def test_elsewhere_it_says_what_is_missing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_DATA", raising=False)
    with pytest.raises(UsageError, match=r"no platform[^$]*\n.*headrace up"):
        getattr(connect, kind)("events")


def test_what_is_handed_in_is_used() -> None:
    table, bucket = MemoryTable(), MemoryBucket()
    connect.use(tables={"events": table}, buckets={"archive": bucket})
    assert connect.table("events") is table
    connect.bucket("archive").put("a", b"1")
    assert bucket.objects == {"a": b"1"}
    assert connect.bucket("archive").get("a") == b"1"
    assert [info.key for info in connect.bucket("archive").list()] == ["a"]
    connect.bucket("archive").delete("a")
    assert bucket.objects == {}


def test_rejections_are_told_once() -> None:
    connect.use(buckets={"failures": MemoryBucket(), "archive": MemoryBucket()})
    connect.bucket("failures").put("rejected/store/events/x", b"")
    connect.bucket("failures").put("async/store/x", b"")
    connect.bucket("archive").put("rejected", b"")
    assert connect.written_rejections() == ["rejected/store/events/x"]
    assert connect.written_rejections() == []


def test_a_document_that_was_not_written_is_not_told() -> None:
    class Broken(MemoryBucket):
        def put(self, key: str, body: bytes) -> None:
            raise UsageError("no")

    connect.use(buckets={"failures": Broken()})
    with pytest.raises(UsageError):
        connect.bucket("failures").put("rejected/store/events/x", b"")
    assert connect.written_rejections() == []
