"""Objects in the buckets that nobody of Headrace wrote, and own ones that are damaged: the books still can be read."""

import json
from pathlib import Path

from support.backend import ROOT, backend

FOREIGN = {
    "failures/rejected/notes.txt": b"mine",
    "failures/rejected/store/events/no-shard/no-number": b"{}",
    "failures/aws/lambda/somebody": b"\xff",
    "failures/async/store/deep": b'{"requestPayload":' + b"[" * 3000 + b"]" * 3000 + b"}",
    "failures/other": b"",
    "archive/raw/dt=2026-01-01/hour=00/events-shardId-1-2-3-4-5.ndjson.zst": b"",
    "archive/raw/mine": b"mine",
    "archive/events/mine.parquet": b"",
}


def test_foreign_objects_are_passed_over_and_damaged_ones_are_told(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    text = (ROOT / "template.yaml").read_text().replace("CodeUri: functions/", f"CodeUri: {ROOT / 'functions'}")
    template.write_text(text.replace("MaximumBatchingWindowInSeconds: 20", "MaximumBatchingWindowInSeconds: 0"))
    with backend(tmp_path, template) as running:
        put = running.client("kinesis").put_record(StreamName="events", PartitionKey="pump", Data=b'{"a": 1}')
        before = running.settled(1)
        buckets = running.data / "s3"
        for name, body in FOREIGN.items():
            (buckets / name).parent.mkdir(parents=True, exist_ok=True)
            (buckets / name).write_bytes(body)
        status = running.status(verify=True)
        assert status["verified"], status["differences"]
        assert status["archive"]["records"] == before["archive"]["records"] == 1
        rows = json.loads(running.cli("failures", "list", "--json").stdout)
        assert len(rows) == len([name for name in FOREIGN if name.startswith(("failures/r", "failures/a"))])
        assert running.cli("failures", "show", "async/store/deep").stdout.startswith("{")
        running.cli("trace", put["ShardId"], put["SequenceNumber"])

        (own,) = (buckets / "archive" / "raw").rglob(f"*-{put['ShardId']}-*.zst")
        own.write_bytes(own.read_bytes()[:-10])
        status = running.status(verify=True)
        (unreadable, missing) = status["differences"]
        assert (unreadable["kind"], missing["kind"]) == ("unreadable", "not archived")
        assert own.name in unreadable["key"]
