"""What a running backend measured of its traffic, as `headrace cost --observed` takes it. Over CloudWatch's wire."""

import math
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from headrace.cli.backend import Backend
from headrace.cli.metrics import Metric, listed, read, seconds, window_of
from headrace.errors import HeadraceError

STATISTICS = ("SampleCount", "Sum")
_KINESIS, _LAMBDA, _OURS = "AWS/Kinesis", "AWS/Lambda", "Headrace"


def observed(
    backend: Backend, last: str, times: float, readings: Collection[str]
) -> tuple[dict[str, float], str, dict[str, str]]:
    """Return the traffic, where it is from, and the assumptions that were measured; raises if there was none.

    Averages are over the minutes from the first to the last in which records came.
    """
    window = window_of(seconds(last), datetime.now(UTC))
    client = backend.client("cloudwatch")
    with backend.errors():
        found = [metric for space in (_KINESIS, _LAMBDA, _OURS) for metric in listed(client, None, space)]
        values = read(client, found, STATISTICS, window)
    records = _at(values, _KINESIS, "IncomingRecords")
    busy = sorted(time for time, count in records.items() if count)
    if not busy:
        raise HeadraceError(
            f"{backend.url} took no records in the last {last}.", "Send some, or look further back with --last."
        )
    length_s = (busy[-1] - busy[0]).total_seconds() + window.period_s
    sums = _Sums(values)
    taken = sum(records.values())
    events = sums.of(_OURS, "Events") or taken
    traffic = {
        "devices": 1.0,
        "rate_s": events / length_s * times,
        "size": max(1.0, sums.of(_KINESIS, "IncomingBytes") / events),
        "per_record": max(1.0, events / taken),
    }
    source = f"observed at {backend.url} over {length_s / 60:,.0f} min" + (f", times {times:g}" if times != 1 else "")
    source += "; the number of devices is not measured: give --devices"
    return traffic, source, _assumptions(sums, taken, events, readings)


def _assumptions(sums: "_Sums", records: float, events: float, names: Collection[str]) -> dict[str, str]:
    measured: dict[str, float] = {}
    for function, name in (("store", "store_call_s"), ("archive", "archive_call_s"), ("device_api", "device_call_s")):
        calls, total_ms = sums.count(_LAMBDA, "Duration", function), sums.of(_LAMBDA, "Duration", function)
        if calls and math.isfinite(total_ms):
            measured[name] = total_ms / calls / 1000
            if function == "store":
                measured["store_call_records"] = max(1.0, records / calls)
    if readings := sum(sums.count(_OURS, name) for name in names):
        measured["readings_per_event"] = readings / events
    return {name: f"{value:.6g}" for name, value in measured.items()}


def _at(values: dict[Metric, dict[str, dict[datetime, float]]], namespace: str, name: str) -> dict[datetime, float]:
    """Return a metric's sum by period, over all of its dimensions."""
    found: dict[datetime, float] = {}
    for metric, statistics in values.items():
        if (metric.namespace, metric.name) == (namespace, name):
            for time, value in statistics["Sum"].items():
                found[time] = found.get(time, 0.0) + value
    return found


class _Sums:
    """Sums over the whole window."""

    def __init__(self, values: dict[Metric, dict[str, dict[datetime, float]]]) -> None:
        self._values = values

    def of(self, namespace: str, name: str, function: str | None = None) -> float:
        """Return a metric's sum."""
        return self._total("Sum", namespace, name, function)

    def count(self, namespace: str, name: str, function: str | None = None) -> float:
        """Return how many values a metric got."""
        return self._total("SampleCount", namespace, name, function)

    def _total(self, statistic: str, namespace: str, name: str, function: str | None) -> float:
        def wanted(metric: Metric) -> bool:
            return (metric.namespace, metric.name) == (namespace, name) and (
                function is None or ("FunctionName", function) in metric.dimensions
            )

        found: list[dict[str, Any]] = [s for metric, s in self._values.items() if wanted(metric)]
        return float(sum(sum(statistics[statistic].values()) for statistics in found))
