"""The platform's own metrics, under AWS's names: what the runtime, the table, the gateway and the disk tell.

Counters are told as differences since the last time, so that none is counted twice; the table's are running totals,
of which the last one seen is kept.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from headrace.metrics.series import Series
from headrace.metrics.store import Store
from headrace.sketch import Sketch

LAMBDA, KINESIS, DYNAMODB, LOGS, OURS = "AWS/Lambda", "AWS/Kinesis", "AWS/DynamoDB", "AWS/Logs", "Headrace"


class FunctionMeasures(msgspec.Struct):
    """What a function did since it was last told; `duration` in milliseconds, packed (sketch.py).

    `records` is its ledger as it stands: pending, failed, expired.
    """

    invocations: int = 0
    errors: int = 0
    throttles: int = 0
    concurrent: int = 0
    duration: list[Any] | None = None
    iterator_age_ms: int | None = None
    records: dict[str, int] = {}


class StreamMeasures(msgspec.Struct):
    """What a stream took since it was last told.

    `puts`: PutRecords requests; `failed_puts`: those without success; `throttled`: records over a shard's limits.
    """

    records: int = 0
    bytes: int = 0
    puts: int = 0
    failed_puts: int = 0
    throttled: int = 0


class Platform:
    """Writes what is told into a store. `counters` are the running totals as they were last seen."""

    def __init__(self, store: Store, counters: dict[str, float]) -> None:
        self._store = store
        self.counters = dict(counters)

    def functions(self, told: Mapping[str, FunctionMeasures], now_ms: int) -> None:
        """Take what functions did."""
        for name, measures in told.items():
            self._outcomes(name, measures, now_ms)
            self._record(LAMBDA, "ConcurrentExecutions", ("FunctionName", name), now_ms, measures.concurrent)
            if measures.duration is not None:
                series = Series(LAMBDA, "Duration", (("FunctionName", name),))
                self._store.merge(series, now_ms, Sketch.unpacked(measures.duration), "Milliseconds")
            if measures.iterator_age_ms is not None:
                series = Series(LAMBDA, "IteratorAge", (("FunctionName", name),))
                self._store.record(series, now_ms, [measures.iterator_age_ms], "Milliseconds")

            self._ledger(name, measures.records, now_ms)

    def streams(self, told: Mapping[str, StreamMeasures], now_ms: int) -> None:
        """Take what streams took."""
        for name, measures in told.items():
            dimension = ("StreamName", name)
            self._record(KINESIS, "IncomingRecords", dimension, now_ms, measures.records)
            self._record(KINESIS, "IncomingBytes", dimension, now_ms, measures.bytes, "Bytes")
            self._record(KINESIS, "WriteProvisionedThroughputExceeded", dimension, now_ms, measures.throttled)
            good = measures.puts - measures.failed_puts
            self._merge(KINESIS, "PutRecords.Success", dimension, now_ms, {1: good, 0: measures.failed_puts})

    def tables(self, told: Mapping[str, Mapping[str, float]], now_ms: int) -> None:
        """Take the tables' running totals: write_units, read_units, throttled."""
        names = {
            "write_units": "ConsumedWriteCapacityUnits",
            "read_units": "ConsumedReadCapacityUnits",
            "throttled": "WriteThrottleEvents",
        }
        for table, totals in told.items():
            for key, name in names.items():
                if key in totals:
                    grown = self._grown(f"table/{table}/{key}", totals[key])
                    self._record(DYNAMODB, name, ("TableName", table), now_ms, grown)

    def refused(self, lines: Mapping[str, int], now_ms: int) -> None:
        """Take how many lines of each function look like EMF and are none."""
        for function, count in lines.items():
            group = ("LogGroupName", f"/aws/lambda/{function}")
            self._record(LOGS, "EMFValidationErrors", group, now_ms, count)

    def disk(self, folder: Path, now_ms: int) -> None:
        """Measure the disk that holds the data."""
        found = os.statvfs(folder)
        free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        self._store.record(Series(OURS, "DiskFreeBytes"), now_ms, [free], "Bytes")
        self._store.record(Series(OURS, "DiskFreePercent"), now_ms, [100 * free / max(1, total)], "Percent")

    def _outcomes(self, name: str, measures: FunctionMeasures, now_ms: int) -> None:
        dimension = ("FunctionName", name)
        good = measures.invocations - measures.errors
        self._merge(LAMBDA, "Invocations", dimension, now_ms, {1: measures.invocations})
        self._merge(LAMBDA, "Errors", dimension, now_ms, {0: good, 1: measures.errors})
        self._merge(LAMBDA, "Throttles", dimension, now_ms, {1: measures.throttles})

    def _ledger(self, name: str, records: Mapping[str, int], now_ms: int) -> None:
        dimension = ("FunctionName", name)
        if "pending" in records:
            self._record(OURS, "PendingRecords", dimension, now_ms, records["pending"])
        for key, metric in (("failed", "FailedRecords"), ("expired", "ExpiredRecords")):
            if key in records:
                self._record(OURS, metric, dimension, now_ms, self._grown(f"{key}/{name}", records[key]))

    def _merge(
        self, namespace: str, name: str, dimension: tuple[str, str], now_ms: int, values: Mapping[int, int]
    ) -> None:
        """Add values so many times each. Where there are none in a minute, a count has a 0: nothing is not missing."""
        series = Series(namespace, name, (dimension,))
        sketch = Sketch()
        for value, count in values.items():
            if count > 0:
                sketch.add_weighted(value, count)
        if sketch.count:
            self._store.merge(series, now_ms, sketch, "Count")
        elif name != "PutRecords.Success" and not self._store.has(series, now_ms):
            self._store.record(series, now_ms, [0], "Count")

    def _record(
        self, namespace: str, name: str, dimension: tuple[str, str], now_ms: int, value: float, unit: str = "Count"
    ) -> None:
        self._store.record(Series(namespace, name, (dimension,)), now_ms, [value], unit)

    def _grown(self, key: str, total: float) -> float:
        """Return by how much a running total grew; one that is smaller than before was started anew."""
        before = self.counters.get(key, 0)
        self.counters[key] = total
        return total - before if total >= before else total
