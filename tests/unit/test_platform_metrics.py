import asyncio
from pathlib import Path

import pytest

from headrace.errors import UsageError
from headrace.metrics.platform import FunctionMeasures, Platform, StreamMeasures
from headrace.metrics.series import Series
from headrace.metrics.store import Store
from headrace.metrics.webhook import Webhook
from headrace.runtime.measures import Measures
from headrace.sketch import Sketch

NOW = 1_785_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, NOW)


def point(store: Store, namespace: str, name: str, *dimension: str) -> tuple[float, float] | None:
    """Return the count and the sum of the minute."""
    series = Series(namespace, name, ((dimension[0], dimension[1]),) if dimension else ())
    points = store.points([series], NOW, NOW + 60_000)[series]
    return next(((sketch.count, sketch.sum) for sketch in points.values()), None)


def test_functions(store: Store) -> None:
    platform = Platform(store, {})
    duration = Sketch.of([5, 15]).packed()
    busy = FunctionMeasures(invocations=2, errors=1, concurrent=2, duration=duration, records={"failed": 3})
    platform.functions({"f": busy, "idle": FunctionMeasures(iterator_age_ms=7)}, NOW)
    platform.functions({"f": FunctionMeasures(records={"failed": 4}), "idle": FunctionMeasures()}, NOW)
    table = {
        ("AWS/Lambda", "Invocations", "f"): (2, 2),
        ("AWS/Lambda", "Errors", "f"): (2, 1),
        ("AWS/Lambda", "Throttles", "f"): (1, 0),
        ("AWS/Lambda", "ConcurrentExecutions", "f"): (2, 2),
        ("AWS/Lambda", "Duration", "f"): (2, 20),
        ("AWS/Lambda", "IteratorAge", "f"): None,
        ("Headrace", "FailedRecords", "f"): (2, 4),
        ("AWS/Lambda", "Invocations", "idle"): (1, 0),
        ("AWS/Lambda", "Errors", "idle"): (1, 0),
        ("AWS/Lambda", "Duration", "idle"): None,
        ("AWS/Lambda", "IteratorAge", "idle"): (1, 7),
    }
    for (namespace, name, function), wanted in table.items():
        assert point(store, namespace, name, "FunctionName", function) == wanted, (name, function)


def test_streams_tables_and_the_disk(store: Store, tmp_path: Path) -> None:
    platform = Platform(store, {"table/t/write_units": 10.0})
    platform.streams({"s": StreamMeasures(records=5, bytes=500, puts=3, failed_puts=1)}, NOW)
    platform.tables({"t": {"write_units": 25, "read_units": 1, "throttled": 2}}, NOW)
    platform.tables({"t": {"write_units": 4, "read_units": 1, "throttled": 2}}, NOW)  # restarted
    platform.disk(tmp_path, NOW)
    assert point(store, "AWS/Kinesis", "IncomingRecords", "StreamName", "s") == (1, 5)
    assert point(store, "AWS/Kinesis", "IncomingBytes", "StreamName", "s") == (1, 500)
    assert point(store, "AWS/Kinesis", "PutRecords.Success", "StreamName", "s") == (3, 2)
    assert point(store, "AWS/DynamoDB", "ConsumedWriteCapacityUnits", "TableName", "t") == (2, 15 + 4)
    assert point(store, "AWS/DynamoDB", "WriteThrottleEvents", "TableName", "t") == (2, 2)
    free = point(store, "Headrace", "DiskFreeBytes")
    assert free is not None
    assert free[1] > 0


def test_a_functions_measures_are_told_once() -> None:
    measures = Measures()
    measures.begin()
    measures.begin()
    measures.end()
    measures.took(0.02)
    first = measures.told({"invocations": 5})
    assert (first["invocations"], first["concurrent"], first["duration"][:2]) == (5, 2, [1, 20.0])
    assert measures.told({"invocations": 7}) == {"invocations": 2, "concurrent": 1, "duration": None}


@pytest.mark.parametrize("url", ["", "host/path", "ftp://host/", "file:///etc/passwd", "http://"])
def test_a_webhook_must_be_a_url(url: str) -> None:
    async def make() -> None:
        Webhook(url)

    with pytest.raises(UsageError, match="HEADRACE_WEBHOOK"):
        asyncio.run(make())
