"""What a trace says while the other processes are down, and once the log has lost the record."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.archive import raw
from headrace.archive.local import LocalBucket
from headrace.event import Fault
from headrace.event.rejection import document_of, key_of
from headrace.operations.trace import Tracer
from headrace.record import Record, sequence_number
from headrace.runtime import failures, kinesis_event
from headrace.runtime.kinesis_event import Source
from headrace.runtime.mapping import RETRIES_EXHAUSTED, Ending
from headrace.settings import Layout
from headrace.stream import catalog
from headrace.stream.log import Log
from headrace.system import Bucket, Function, Mapping, Stream, System

CREATED_S, ARRIVAL_MS = 1_700_000_000, 1_700_000_500_250
MAPPING = Mapping(logical_id="M", uuid="the-uuid", function="store", stream="events")
SYSTEM = System(
    template="t",
    parameters={},
    streams=(Stream(logical_id="S", name="events", shards=2),),
    functions=(Function(logical_id="F", name="store", handler="a.b", code="/"),),
    mappings=(MAPPING,),
    buckets=(Bucket(logical_id="A", name="archive"), Bucket(logical_id="B", name="failures")),
)
SOURCE = Source("events", 1, CREATED_S)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    catalog.save(made.streams / "events", catalog.new_stream("events", 2, CREATED_S))
    return made


@pytest.fixture
def log(layout: Layout) -> Iterator[Log]:
    made = Log.open(layout.streams / "events", stream="events", shards=2, now_ms=lambda: ARRIVAL_MS)
    yield made
    asyncio.run(made.close())


def fill(log: Log, count: int = 3) -> None:
    async def append() -> None:
        await log.append([(1, b"pump", b'{"device_id":"pump","n":%d}' % at) for at in range(count)])

    asyncio.run(append())


def sequence(number: int, arrival_ms: int = ARRIVAL_MS) -> str:
    return sequence_number(CREATED_S, 1, number, arrival_ms)


def records(*numbers: int) -> list[Record]:
    return [Record(1, number, ARRIVAL_MS, "pump", b'{"device_id":"pump","n":%d}' % number) for number in numbers]


def trace(layout: Layout, number: int, shard: str = "1", arrival_ms: int = ARRIVAL_MS) -> Any:
    path = f"/_headrace/trace/events/{shard}/{sequence(number, arrival_ms)}"
    response = Tracer(layout, SYSTEM, 0.0).answer(path)
    return {"status": response.status, **json.loads(response.body)}


def test_the_log_and_the_buckets_are_told_while_runtime_and_table_are_down(layout: Layout, log: Log) -> None:
    fill(log)
    story = trace(layout, 1)
    assert story["status"] == 200 and story["shard"] == "shardId-000000000001" and story["number"] == 1
    accepted = story["accepted"]
    assert accepted.pop("position") > 0
    assert accepted == {
        "arrived_at": "2023-11-14T22:21:40.250Z",
        "partition_key": "pump",
        "bytes": 26,
        "log": "held",
    }
    assert story["functions"] == [
        {"function": "store", "state": "unknown", "calls": [], "calls_known": 0, "failures": []}
    ]
    assert story["items"]["events"] == 1 and "does not answer" in story["items"]["problem"]
    assert story["archive"] == []


def test_the_archive_object_and_both_kinds_of_failure_documents_are_found(layout: Layout, log: Log) -> None:
    fill(log)
    event = kinesis_event.build(records(0, 1, 2), SOURCE)
    (archived,) = raw.objects(event["Records"])
    LocalBucket(layout.buckets / "archive").put(archived.key, archived.body)
    bucket = LocalBucket(layout.buckets / "failures")
    fault, record = Fault("time", "no time", 0, 3), event["Records"][1]
    bucket.put(key_of("store", record, fault), json.dumps(document_of("store", record, fault)).encode())
    ending = Ending(RETRIES_EXHAUSTED, 2, 6, ARRIVAL_MS + 9_000, "last-call")
    document = failures.batch_document(MAPPING, SOURCE, 1, ending, records(1, 2))
    bucket.put(document.key, document.body)

    story = trace(layout, 1, "shardId-000000000001")
    assert [each["key"] for each in story["archive"]] == [archived.key]
    (store,) = story["functions"]
    assert store["state"] == "failed"
    assert [each["reason"] for each in store["failures"]] == ["time", RETRIES_EXHAUSTED]
    assert store["failures"][1]["id"] == f"{document.key}#{sequence(1)}"
    assert "2 records" in store["failures"][1]["message"]
    assert trace(layout, 0)["functions"][0]["failures"] == []
    assert [each["reason"] for each in trace(layout, 2)["functions"][0]["failures"]] == [RETRIES_EXHAUSTED]


def test_an_object_with_a_gap_holds_only_what_it_holds(layout: Layout, log: Log) -> None:
    fill(log)
    (archived,) = raw.objects(kinesis_event.build(records(0, 2), SOURCE)["Records"])
    LocalBucket(layout.buckets / "archive").put(archived.key, archived.body)
    assert trace(layout, 1)["archive"] == [] and len(trace(layout, 2)["archive"]) == 1


def test_a_record_that_has_aged_out_is_told_from_its_archived_copy(layout: Layout) -> None:
    folder, now_ms = layout.streams / "events", ARRIVAL_MS
    log = Log.open(folder, stream="events", shards=2, segment_age_ms=1_000, now_ms=lambda: now_ms)
    fill(log)
    now_ms += 10_000
    fill(log)
    now_ms += 90_000_000
    assert asyncio.run(log.trim(now_ms, 3_600_000, 1 << 40))
    (archived,) = raw.objects(kinesis_event.build(records(0, 1, 2), SOURCE)["Records"])
    story = trace(layout, 1)
    assert story["accepted"]["log"] == "aged out" and story["accepted"]["partition_key"] is None
    assert story["accepted"]["arrived_at"] == "2023-11-14T22:21:40Z" and story["items"] is None
    LocalBucket(layout.buckets / "archive").put(archived.key, archived.body)
    story = trace(layout, 1)
    assert story["accepted"] == {
        "arrived_at": "2023-11-14T22:21:40.250Z",
        "partition_key": "pump",
        "bytes": 26,
        "position": None,
        "log": "aged out",
    }
    assert story["items"]["events"] == 1 and [each["key"] for each in story["archive"]] == [archived.key]
    asyncio.run(log.close())


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        (f"events/1/{sequence(3)}", 404, "never accepted"),
        (f"events/1/{sequence(1, ARRIVAL_MS + 1000)}", 404, "never accepted"),
        (f"events/1/{sequence_number(CREATED_S - 1, 1, 1, ARRIVAL_MS)}", 404, "never accepted"),
        (f"events/0/{sequence(1)}", 400, "is of shardId-000000000001, not of shardId-000000000000"),
        (f"events/2/{sequence(1)}", 404, "has no shardId-000000000002"),
        (f"events/one/{sequence(1)}", 400, "no shard id"),
        ("events/1/7", 400, "no sequence number"),
        (f"others/1/{sequence(1)}", 404, "no stream 'others'"),
        (f"..%2Fevents/1/{sequence(1)}", 404, "no stream"),
        ("events", 400, "Ask for a record"),
    ],
)
def test_what_is_no_record_is_said(layout: Layout, log: Log, path: str, status: int, message: str) -> None:
    fill(log)
    response = Tracer(layout, SYSTEM, 0.0).answer(f"/_headrace/trace/{path}")
    body = json.loads(response.body)
    assert response.status == status and message in body["message"] and body["hint"]
