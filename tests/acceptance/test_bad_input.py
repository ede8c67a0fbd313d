"""What devices send wrong: each has its answer, and the good events beside it are stored all the same."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from support.backend import ROOT, Backend, backend, wait_until

MIB = 1024 * 1024

# data -> the reason under which it is rejected
REJECTED: dict[str, tuple[bytes, str]] = {
    "not json": (b"temperature=3", "json"),
    "empty": (b"", "json"),
    "a number": (b"42", "json"),
    "cut short": (b'{"temperature": 3', "json"),
    "invalid utf-8": (b'{"name": "\xff\xfe"}', "encoding"),
    "device id is a number": (b'{"device_id": 7}', "device_id"),
    "device id is empty": (b'{"device_id": ""}', "device_id"),
    "device id is too long": (b'{"device_id": "%b"}' % (b"d" * 2049), "device_id"),
    "time is no time": (b'{"time": "yesterday"}', "time"),
    "time is out of range": (b'{"time": 1e30}', "time"),
    "id is empty": (b'{"id": ""}', "id"),
    "broken aggregate": (b"\xf3\x89\x9a\xc2broken", "json"),
}
# data -> (time or None for arrival, readings as JSON text, flags)
STORED: dict[str, tuple[bytes, str | None, str, list[str]]] = {
    "nan": (b'{"time": 1700000000, "a": NaN, "b": 1}', "2023-11-14T22:13:20Z", '{"a": null, "b": 1}', ["non_finite"]),
    "small": (b'{"time": 1700000000, "a": 7e-06}', "2023-11-14T22:13:20Z", '{"a": 7e-06}', []),
    "digits stay text": (b'{"time": 1700000000, "a": "000123"}', "2023-11-14T22:13:20Z", '{"a": "000123"}', []),
    "past": (b'{"time": "1969-12-31T23:59:59Z", "a": 1}', "1969-12-31T23:59:59Z", '{"a": 1}', []),
    "time as text": (b'{"time": "1700000000.5", "a": 1}', "2023-11-14T22:13:20.5Z", '{"a": 1}', []),
    "microseconds": (b'{"time": 1700000000123456, "a": 1}', "2023-11-14T22:13:20.123456Z", '{"a": 1}', []),
    "milliseconds": (b'{"time": 1700000000123, "a": 1}', "2023-11-14T22:13:20.123Z", '{"a": 1}', []),
    "offset": (b'{"time": "2023-11-15 00:13:20+02:00", "a": 1}', "2023-11-14T22:13:20Z", '{"a": 1}', []),
    "future": (b'{"time": "2199-01-01T00:00:00Z", "a": 1}', None, '{"a": 1}', ["clock_ahead"]),
    "no time": (b'{"a": 1}', None, '{"a": 1}', []),
    "long form": (b'{"time": 1700000000, "measure": "a", "value": 2}', "2023-11-14T22:13:20Z", '{"a": 2}', []),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with backend(tmp_path_factory.mktemp("bad")) as running:
        kinesis = running.client("kinesis")
        for key, data in [(name, bad) for name, (bad, _) in REJECTED.items()] + [
            (name, odd) for name, (odd, *_) in STORED.items()
        ]:
            kinesis.put_record(StreamName="events", PartitionKey=key, Data=data)
        running.settled(len(REJECTED) + len(STORED))
        yield running


def test_each_rejection_has_its_reason_and_payload(running: Backend) -> None:
    rows = json.loads(running.cli("failures", "list", "--json").stdout)
    rows = rows["failures"] if isinstance(rows, dict) else rows
    assert {row["function"] for row in rows} == {"store"}
    reasons = {}
    for row in rows:
        document = json.loads(running.cli("failures", "show", row["id"], "--json").stdout)
        (record,) = document["payload"]["Records"]
        assert record["kinesis"]["sequenceNumber"] == row["sequence_number"]
        reasons[record["kinesis"]["partitionKey"]] = row["reason"]
    assert reasons == {name: reason for name, (_, reason) in REJECTED.items()}


@pytest.mark.parametrize("name", STORED)
def test_odd_but_good_events_are_stored(running: Backend, name: str) -> None:
    _, time, readings, flags = STORED[name]
    event = json.loads(running.cli("latest", name, "--json").stdout)
    assert event["time"] == (time or event["arrived_at"])
    assert json.loads(json.dumps(event["readings"])) == json.loads(readings)
    assert event.get("flags", []) == flags
    assert ("device_time" in event) == ("clock_ahead" in flags)


def test_the_ledger_counts_each_once(running: Backend) -> None:
    status: dict[str, Any] = running.status(verify=True)
    assert status["verified"], status["differences"]
    store, archive = status["functions"]["store"], status["functions"]["archive"]
    assert (store["failed"], store["processed"]) == (len(REJECTED), len(STORED))
    assert (archive["failed"], archive["processed"]) == (0, len(REJECTED) + len(STORED))
    assert status["events"] == {"stored": len(STORED), "rejected": len(REJECTED)}
    assert status["failures"]["records"] == len(REJECTED)


def test_one_byte_too_many_is_refused_on_the_wire(running: Backend) -> None:
    kinesis = running.client("kinesis")
    before = running.status()["accepted"]
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        kinesis.put_record(StreamName="events", PartitionKey="k", Data=b"x" * MIB)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert running.status()["accepted"] == before


def test_what_a_failing_function_gave_up_can_be_replayed_and_the_books_agree(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "functions", tmp_path / "functions")
    template = tmp_path / "template.yaml"
    template.write_text((ROOT / "template.yaml").read_text().replace("RetryAttempts: -1", "RetryAttempts: 0", 1))
    store = tmp_path / "functions" / "store.py"
    sound = store.read_text()
    store.write_text(sound.replace("    measure(", "    raise RuntimeError('after it was stored')\n    measure("))
    with backend(tmp_path, template) as running:
        kinesis = running.client("kinesis")
        for number in range(3):
            kinesis.put_record(StreamName="events", PartitionKey="pump", Data=b'{"time": %d}' % number)
        before = running.settled(3)["functions"]["store"]
        assert (before["processed"], before["failed"]) == (0, 3)
        status = running.status(verify=True)
        assert status["verified"], status["differences"]
    store.write_text(sound)
    with backend(tmp_path, template) as running:
        running.cli("failures", "replay", "--all")
        rows = json.loads(running.cli("failures", "list", "--json").stdout)
        assert len(rows) == 3 and all(row["replayed_at"] for row in rows)
        status = running.status(verify=True)
        assert status["verified"], status["differences"]
        assert status["functions"]["store"] == before and status["events"]["stored"] == 3


@pytest.mark.parametrize(
    "destination",
    [
        "",
        "DestinationConfig: {OnFailure: {Type: S3, Destination: !GetAtt Dead.Arn}}",
        'DestinationConfig: {OnFailure: {Type: SQS, Destination: "arn:aws:sqs:us-east-1:000000000000:dead"}}',
    ],
)
def test_what_is_given_up_is_shown_whichever_bucket_holds_it(tmp_path: Path, destination: str) -> None:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "f.py").write_text("def handler(event, context):\n    raise ValueError('no')\n")
    template = tmp_path / "template.yaml"
    template.write_text(f"""
Transform: AWS::Serverless-2016-10-31
Resources:
  Feed: {{Type: AWS::Kinesis::Stream, Properties: {{Name: feed, ShardCount: 1}}}}
  Dead: {{Type: AWS::S3::Bucket, Properties: {{BucketName: dead-letters}}}}
  F:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: f
      Runtime: python3.13
      CodeUri: functions/
      Handler: f.handler
      Events:
        Feed:
          Type: Kinesis
          Properties:
            Stream: !GetAtt Feed.Arn
            StartingPosition: TRIM_HORIZON
            MaximumRetryAttempts: 0
            {destination}
""")
    with backend(tmp_path, template) as running:
        if "sqs" in destination:
            wait_until(lambda: "one machine has no sqs; what is given up goes to" in running.output())
        running.client("kinesis").put_record(StreamName="feed", PartitionKey="pump", Data=b"{}")
        running.settled(1)
        (row,) = json.loads(running.cli("failures", "list", "--json").stdout)
        assert (row["function"], row["reason"]) == ("f", "RetryAttemptsExhausted")
        assert "ValueError: no" in running.cli("failures", "replay", row["id"], check=False).stdout
        status = running.status(verify=True)
        assert status["verified"], status["differences"]
        assert status["failures"]["records"] == 1


def test_a_function_that_cannot_be_imported_does_not_stop_up_and_is_shown(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "functions", tmp_path / "functions")
    (tmp_path / "functions" / "broken.py").write_text("import no_such_module\n\n\ndef handler(event, context): ...\n")
    template = tmp_path / "template.yaml"
    settings = "Type: AWS::Serverless::Function, Properties: {FunctionName: broken, Handler: broken.handler}"
    broken = f"  Broken: {{{settings}}}\n"
    template.write_text((ROOT / "template.yaml").read_text().replace("Resources:\n", f"Resources:\n{broken}", 1))
    with backend(tmp_path, template) as running:
        wait_until(lambda: "function broken can't be imported: Runtime.ImportModuleError" in running.output())
        answer = running.client("lambda").invoke(FunctionName="broken", Payload="{}")
        assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
        assert json.load(answer["Payload"])["errorType"] == "Runtime.ImportModuleError"
        assert "no_such_module" in running.cli("logs", "broken").stdout
        running.client("kinesis").put_record(StreamName="events", PartitionKey="pump", Data=b"{}")
        running.settled(1)
