from pathlib import Path

import pytest

from headrace import connect
from headrace.errors import UsageError
from headrace.settings import Layout
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


@pytest.mark.parametrize("kind", ["table", "bucket"])
def test_elsewhere_it_says_what_is_missing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_DATA", raising=False)
    with pytest.raises(UsageError, match=r"HEADRACE_DATA[^$]*\n.*headrace up"):
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
