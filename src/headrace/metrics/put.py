"""PutMetricData: what of a request is taken, and what it is refused for."""

from typing import Any

from headrace.metrics.series import NEWEST_MS, OLDEST_MS, VALUE_MAX, Series, acceptable
from headrace.metrics.store import SERIES_MAX, Store
from headrace.sketch import Sketch
from headrace.wire import WireError

METRICS_MAX = 1000
VALUES_MAX = 150
_NO_NUMBERS = ("NaN", "Infinity", "-Infinity")  # as JSON clients write them
_NUMBERS = ("Value", "Values", "Counts", "StatisticValues")


def invalid(message: str) -> WireError:
    """Return AWS's error for a value that is not allowed."""
    return WireError("InvalidParameterValueException", message)


def combination(message: str) -> WireError:
    """Return AWS's error for values that do not go together."""
    return WireError("InvalidParameterCombinationException", message)


def check_numbers(asked: Any) -> None:
    """Refuse what JSON clients write for NaN and infinities, before types are checked."""
    data = asked.get("MetricData") if isinstance(asked, dict) else None
    for at, datum in enumerate(data if isinstance(data, list) else [], 1):
        if isinstance(datum, dict):
            for name in _NUMBERS:
                values = datum.get(name)
                values = list(values.values()) if isinstance(values, dict) else values
                for value in values if isinstance(values, list) else [values]:
                    if value in _NO_NUMBERS:
                        raise invalid(f"The value {value} for parameter MetricData.member.{at}.{name} is invalid.")


def put(store: Store, asked: dict[str, Any], now_ms: int) -> None:
    """Take all metrics of a request, or none."""
    namespace, data = asked["Namespace"], asked.get("MetricData") or []
    if namespace.startswith("AWS/"):
        raise invalid(f"The value {namespace} for parameter Namespace is invalid.")
    if len(data) > METRICS_MAX:
        raise invalid(f"The collection MetricData must not have a size greater than {METRICS_MAX}.")
    taken = [_datum(namespace, at, datum, now_ms) for at, datum in enumerate(data, 1)]
    if len(store.series) + len({series for series, *_ in taken if series not in store.series}) > SERIES_MAX:
        raise WireError(
            "LimitExceededException",
            f"{SERIES_MAX:,} metrics are kept; name fewer, or fewer values of their dimensions.",
        )
    for series, at_ms, sketch, unit in taken:
        store.merge(series, at_ms, sketch, unit)


def _datum(namespace: str, at: int, datum: dict[str, Any], now_ms: int) -> tuple[Series, int, Sketch, str]:
    place = f"MetricData.member.{at}"
    dimensions = datum.get("Dimensions") or []
    at_ms = datum["Timestamp"] * 1000 if "Timestamp" in datum else now_ms
    if not acceptable(at_ms, now_ms):
        raise invalid(
            f"The parameter {place}.Timestamp must specify a time no more than {OLDEST_MS // 86_400_000} days in the "
            f"past and no more than {NEWEST_MS // 3_600_000} hours in the future."
        )
    series = Series.of(namespace, datum["MetricName"], ((each["Name"], each["Value"]) for each in dimensions))
    return series, round(at_ms), _sketch(place, datum), datum.get("Unit", "None")


def _sketch(place: str, datum: dict[str, Any]) -> Sketch:
    kinds = [name for name in ("Value", "StatisticValues", "Values") if name in datum]
    if not kinds:
        raise combination(f"At least one of the parameters {place}.Value or {place}.Values must be specified.")
    if len(kinds) > 1:
        raise combination(f"The parameters {place}.{kinds[0]} and {place}.{kinds[1]} are mutually exclusive.")
    sketch = Sketch()
    if kinds == ["StatisticValues"]:
        found = datum["StatisticValues"]
        count, low, high = found["SampleCount"], found["Minimum"], found["Maximum"]
        if not all(map(_fits, found.values())) or count <= 0 or low > high:
            raise invalid(f"The value of {place}.StatisticValues is invalid.")
        sketch.add_summary(count, found["Sum"], low, high)
        return sketch
    values = datum["Values"] if kinds == ["Values"] else [datum["Value"]]
    counts = datum.get("Counts") or [1] * len(values)
    if len(values) > VALUES_MAX:
        raise invalid(f"The collection {place}.Values must not have a size greater than {VALUES_MAX}.")
    if len(counts) != len(values):
        raise combination(f"The parameters {place}.Values and {place}.Counts must have the same size.")
    for value, count in zip(values, counts, strict=True):
        if not _fits(value):
            raise invalid(f"The value {value} for parameter {place}.{kinds[0]} is not from -2^360 to 2^360.")
        if not _fits(count) or count < 0:
            raise invalid(f"The value {count} for parameter {place}.Counts is invalid.")
        if count:
            sketch.add_weighted(value, count)
    return sketch


def _fits(value: float) -> bool:
    return -VALUE_MAX <= value <= VALUE_MAX
