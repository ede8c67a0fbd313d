"""What the console asks the backend for, how often, and what it makes of the answers."""

import asyncio
import base64
import json
from typing import Any

import pytest

from headrace.console.detail import detail
from headrace.console.snapshot import Failure
from headrace.console.tip import READ_MAX, RECORDS_MAX, SHARDS_MAX, Tip
from headrace.console.watcher import Watcher
from headrace.errors import Unavailable
from support.console_backend import MemoryBackend

ACCOUNT = {"processed": 5, "failed": 1, "pending": 2, "iterator_age_ms": 3}


def record(number: int, data: bytes, key: str = "k") -> dict[str, Any]:
    return {
        "SequenceNumber": f"{number:056d}",
        "PartitionKey": key,
        "ApproximateArrivalTimestamp": 1_785_000_000 + number,
        "Data": base64.b64encode(data).decode(),
    }


class Stream:
    """A stream of one shard (or many, all alike) whose records a test adds to."""

    def __init__(self, shards: int = 1) -> None:
        self.records: list[dict[str, Any]] = []
        self.shards = shards

    def answers(self) -> dict[str, Any]:
        return {"streams": lambda _: self.state(), "GetShardIterator": self.iterator, "GetRecords": self.read}

    def state(self) -> dict[str, Any]:
        shard = {"first": 0, "next": len(self.records), "last_arrival_ms": 1_785_000_000_000}
        return {"events": {"shards": {f"shardId-{at:012d}": shard for at in range(self.shards)}}}

    def iterator(self, asked: dict[str, Any]) -> dict[str, str]:
        return {"ShardIterator": "0" if asked["ShardIteratorType"] == "AT_TIMESTAMP" else str(len(self.records))}

    def read(self, asked: dict[str, Any]) -> dict[str, Any]:
        start = int(asked["ShardIterator"])
        return {"Records": self.records[start : start + asked["Limit"]]}


def answers(stream: Stream, **more: Any) -> dict[str, Any]:
    status = {
        "accepted": 8,
        "functions": {"store": ACCOUNT},
        "import_errors": {"api": "no module x"},
        "mapping_errors": {"store": ["shardId-000000000000: no space"]},
        "disk": {"free_bytes": 5, "full": True, "read_only": False},
        "table": {"items": 5, "bytes": 9},
        "archive": {"records": 4, "objects": 1, "bytes": 7},
        "failures": {"records": 1},
        "clock": {},
        "balanced": True,
    }
    alarm = {"AlarmName": "A", "StateValue": "OK", "StateTransitionedTimestamp": 5, "StateReason": "r"}
    return {
        **stream.answers(),
        "status": status,
        "logs": {"functions": ["store", "api"], "processes": []},
        "health": {"processes": {"gateway": True}},
        "DescribeAlarms": {"MetricAlarms": [alarm]},
        "GetMetricData": lambda asked: {
            "MetricDataResults": [
                {"Id": query["Id"], "Timestamps": [asked["StartTime"]], "Values": [120.0]}
                for query in asked["MetricDataQueries"]
            ]
        },
        "failures/newest": {"failures": [{"id": "rejected/x", "time": None}], "documents": 3},
        **more,
    }


def looked(backend: MemoryBackend, times: int = 1) -> Watcher:
    """Return a watcher after so many looks."""

    async def look() -> Watcher:
        watcher = Watcher(backend, lambda: True)
        for _ in range(times):
            await watcher.look()
        return watcher

    return asyncio.run(look())


def test_a_look_fills_the_snapshot() -> None:
    stream = Stream()
    stream.records = [record(1, b'{"device_id": "pump", "t": 1}'), record(2, b"no JSON")]
    snapshot = looked(MemoryBackend(answers(stream))).snapshot
    assert snapshot.problem is None and snapshot.at_ms > 0
    store, api = snapshot.functions
    assert (store.name, store.account, store.errors, store.import_error) == ("store", ACCOUNT, 120, None)
    assert (api.account, api.import_error) == (None, "no module x")
    assert (store.trouble, api.trouble) == ("shardId-000000000000: no space", None)
    assert snapshot.disk["full"]
    assert (snapshot.accepted, snapshot.per_s, snapshot.pending) == (8, None, 2)
    assert snapshot.archive["records"] == 4
    assert [(alarm.name, alarm.since_ms) for alarm in snapshot.alarms] == [("A", 5000)]
    assert [failure.rejected for failure in snapshot.failures] == [True]
    assert snapshot.failure_documents == 3
    assert len(snapshot.rates) == 60 and snapshot.rates[0][1] == 2.0
    assert [(seen.device, seen.fault is None) for seen in snapshot.events] == [("k", False), ("pump", True)]
    assert snapshot.devices == ["pump"]


def test_what_costs_is_asked_seldom() -> None:
    backend = MemoryBackend(answers(Stream()))
    looked(backend, 5)
    assert [query for name, query in backend.asked if name == "status"].count({}) == 1  # the others are brief
    for name in ("failures/newest", "DescribeAlarms", "health", "logs"):
        assert backend.count(name) <= 2, name
    assert backend.count("GetMetricData") == 2


@pytest.mark.parametrize(
    ("status", "problem"),
    [(Unavailable("table does not answer."), "table does not answer."), ({"accepted": 1}, "KeyError: 'table'")],
)
def test_a_backend_in_trouble_is_told_and_what_was_known_stays(status: object, problem: str) -> None:
    backend = MemoryBackend(answers(Stream()))

    async def look() -> Watcher:
        watcher = Watcher(backend, lambda: True, pace_s=0)
        await watcher.look()
        backend.answers["status"] = status
        await watcher.look()
        return watcher

    watcher = asyncio.run(look())
    assert watcher.snapshot.problem == problem
    assert watcher.snapshot.archive["records"] == 4 and watcher.version == 2
    assert backend.count("streams") == 3  # the events go on


def test_the_tip_shows_what_came_since_a_few_of_each_shard() -> None:
    stream = Stream()
    stream.records = [record(at, b'{"device_id": "d%d"}' % at) for at in range(50)]

    async def looks() -> list[list[str]]:
        tip, found = Tip(MemoryBackend(stream.answers())), []
        for new in (range(0), range(0), range(50, 53), range(53, 93), range(93, 94 + READ_MAX)):
            stream.records += [record(at, b'{"device_id": "d%d"}' % at) for at in new]
            found.append([seen.device for seen in await tip.look()])
        return found

    first, nothing, three, many, too_many = asyncio.run(looks())
    assert first == [f"d{at}" for at in range(49, 49 - RECORDS_MAX, -1)]
    assert (nothing, three) == ([], ["d52", "d51", "d50"])
    assert many == [f"d{at}" for at in range(92, 92 - RECORDS_MAX, -1)]
    assert too_many == [f"d{at}" for at in range(92 + RECORDS_MAX, 92, -1)]


def test_many_shards_take_turns() -> None:
    backend = MemoryBackend(Stream(shards=20).answers())

    async def looks() -> None:
        tip = Tip(backend)
        for _ in range(3):
            await tip.look()

    asyncio.run(looks())
    shards = [query["ShardId"] for name, query in backend.asked if name == "GetShardIterator"]
    assert len(shards) == 3 * SHARDS_MAX and len(set(shards)) == 20


def test_an_expired_iterator_costs_one_look() -> None:
    stream = Stream()
    stream.records = [record(1, b"{}")]
    backend = MemoryBackend({**stream.answers(), "GetRecords": Unavailable("expired")})
    assert asyncio.run(Tip(backend).look()) == []


def test_a_failure_in_full() -> None:
    kinesis = {"partitionKey": "pump\x07", "data": base64.b64encode(b'{"a":1}').decode(), "sequenceNumber": "9"}
    document = {
        "KinesisBatchInfo": {"streamArn": "arn:aws:kinesis:us-east-1:0:stream/events"},
        "payload": json.dumps({"Records": [{"kinesis": {**kinesis, "approximateArrivalTimestamp": 0}}]}),
    }
    calls = [{"detail": "ValueError: first"}, {"detail": "ValueError: last"}, {"detail": ""}]
    story = {"functions": [{"function": "store", "calls": calls}, {"function": "other", "calls": []}]}
    backend = MemoryBackend({"failures/document": document, "trace/events/shardId-000000000001/9": story})
    failure = Failure("aws/lambda/x", "store", shard="shardId-000000000001", sequence_number="9")
    found = asyncio.run(detail(backend, failure))
    assert found.error == "ValueError: last"
    (sent,) = found.sent
    assert sent.title == "1. key pump\\x07, arrived 1970-01-01 00:00:00 UTC"
    assert (sent.kind, sent.text) == ("7 bytes, JSON", '{\n  "a": 1\n}')


def test_a_failure_whose_story_is_forgotten_and_an_asynchronous_one() -> None:
    arn = {"streamArn": "arn:aws:kinesis:us-east-1:0:stream/events"}
    backend = MemoryBackend({"failures/document": {"KinesisBatchInfo": arn, "payload": {"Records": []}}})
    found = asyncio.run(detail(backend, Failure("aws/lambda/x", "f", shard="s", sequence_number="9")))
    assert found.error is None and found.sent[0].title == "The document"
    backend = MemoryBackend({"failures/document": {"requestPayload": {"day": 1.5}}})
    found = asyncio.run(detail(backend, Failure("async/f/x", "f", message="ValueError: no")))
    assert (found.error, found.sent[0].text) == ("ValueError: no", '{\n  "day": 1.5\n}')
