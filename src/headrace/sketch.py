"""The values of a metric over some time, small: count, sum, extremes, and percentiles within 1 % of the value.

Values are counted in buckets whose bounds grow by 2 %, so a sketch takes as many numbers as the values have different
sizes, however many they are, and two of them add up to that of all values together.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from headrace.errors import UsageError

_GROWTH = 1.02
_LOG_GROWTH = math.log(_GROWTH)
_MIDDLE = 2 / (1 + _GROWTH)  # of a bucket, as a part of its upper bound
_OFFSET = 40_000  # above it: buckets of positive numbers, whose logarithms may be negative
_PERCENTILE = re.compile(r"p(100|\d{1,2}(?:\.\d{1,10})?)")
_BETWEEN = re.compile(r"(TM|TC|TS|WM|PR)\((-?\d+(?:\.\d+)?%?)?:(-?\d+(?:\.\d+)?%?)?\)")
_UP_TO = re.compile(r"(tm|tc|ts|wm)(100|\d{1,2}(?:\.\d{1,10})?)")  # tm90 is TM(:90%)

Statistic = Callable[["Sketch"], float | None]


class Sketch:
    """Values in short. Buckets are left out where only a summary was told: then there are no percentiles."""

    __slots__ = ("buckets", "count", "high", "low", "sum")

    def __init__(self) -> None:
        self.count: float = 0
        self.sum: float = 0
        self.low = math.inf
        self.high = -math.inf
        self.buckets: dict[int, float] = {}

    @classmethod
    def of(cls, values: Sequence[float]) -> "Sketch":
        """Return the sketch of some values."""
        sketch = cls()
        sketch.add(values)
        return sketch

    def add(self, values: Sequence[float]) -> None:
        """Add finite values; most of what it costs is C, as values repeat."""
        if values:
            self._bounds(min(values), max(values))
            self.count += len(values)
            self.sum += float(sum(values))  # integers of any length may come
            buckets = self.buckets
            for value, count in Counter(values).items():
                bucket = bucket_of(value)
                buckets[bucket] = buckets.get(bucket, 0) + count

    def add_weighted(self, value: float, count: float) -> None:
        """Add a finite value `count` times."""
        self._bounds(value, value)
        self.count += count
        self.sum += float(value) * count
        bucket = bucket_of(value)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + count

    def add_summary(self, count: float, total: float, low: float, high: float) -> None:
        """Add values of which only a summary is known; they have a size of their own only if they are all equal."""
        self._bounds(low, high)
        self.count += count
        self.sum += float(total)
        if low == high:
            bucket = bucket_of(low)
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count

    def merge(self, other: "Sketch") -> None:
        """Add the values of another sketch."""
        self._bounds(other.low, other.high)
        self.count += other.count
        self.sum += other.sum
        buckets = self.buckets
        for bucket, count in other.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + count

    def percentile(self, percent: float) -> float | None:
        """Return the least value that `percent` of the values are not above; None if it can't be known."""
        total = sum(self.buckets.values())
        if not total or total != self.count:
            return None
        left = percent / 100 * total
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= total * 1e-12:
                return min(self.high, max(self.low, value_of(bucket)))
        return self.high

    def packed(self) -> list[Any]:
        """Return what `unpacked` takes: numbers and a flat list of them."""
        flat = [number for pair in self.buckets.items() for number in pair]
        return [self.count, self.sum, self.low, self.high, flat]

    @classmethod
    def unpacked(cls, packed: Sequence[Any]) -> "Sketch":
        """Return the sketch that `packed` wrote."""
        sketch = cls()
        sketch.count, sketch.sum, sketch.low, sketch.high, numbers = packed
        sketch.buckets = dict(zip(numbers[::2], numbers[1::2], strict=True))
        return sketch

    def _bounds(self, low: float, high: float) -> None:
        self.low = min(self.low, float(low))
        self.high = max(self.high, float(high))


@lru_cache(maxsize=8192)
def bucket_of(value: float) -> int:
    """Return the bucket of a finite value; buckets are in the order of values."""
    if value == 0:
        return 0
    place = _OFFSET + math.ceil(math.log(abs(value)) / _LOG_GROWTH - 1e-9)
    return place if value > 0 else -place


def value_of(bucket: int) -> float:
    """Return the value in the middle of a bucket."""
    if bucket == 0:
        return 0.0
    # Through logarithms: the bucket of the largest number has its bound beyond what a float can say.
    value = math.exp(min(709.0, (abs(bucket) - _OFFSET) * _LOG_GROWTH + math.log(_MIDDLE)))
    return value if bucket > 0 else -value


def merged(sketches: Iterable[Sketch]) -> Sketch:
    """Return the sketch of all values together."""
    total = Sketch()
    for sketch in sketches:
        total.merge(sketch)
    return total


_SIMPLE: Mapping[str, Statistic] = {
    "SampleCount": lambda sketch: sketch.count,
    "Sum": lambda sketch: sketch.sum,
    "Average": lambda sketch: sketch.sum / sketch.count if sketch.count else None,
    "Minimum": lambda sketch: sketch.low,
    "Maximum": lambda sketch: sketch.high,
}
STATISTICS = tuple(_SIMPLE)


def statistic(name: str) -> Statistic:
    """Return the statistic of a CloudWatch name (Average, p99.9, …); raises UsageError."""
    if name in _SIMPLE:
        return _SIMPLE[name]
    if found := _PERCENTILE.fullmatch(name):
        percent = float(found[1])
        return lambda sketch: sketch.percentile(percent)
    short = _UP_TO.fullmatch(name)
    found = _BETWEEN.fullmatch(
        f"{short[1].upper()}(:{short[2]}%)" if short else "TM(25%:75%)" if name == "IQM" else name
    )
    units = {bound.endswith("%") for bound in (found[2], found[3]) if bound} if found else set()
    if found is None or len(units) != 1 or (found[1] == "PR" and True in units):
        known = ", ".join(_SIMPLE)
        raise UsageError(f"{name!r} is no statistic.", f"Write {known}, a percentile like p99, or like TM(10%:90%).")
    return _between(found[1], found[2] or "", found[3] or "", of_ranks=True in units)


def _between(kind: str, low: str, high: str, *, of_ranks: bool) -> Statistic:
    """Return a statistic of the values above one bound and up to another: of their ranks, or of themselves."""
    lowest = float(low.rstrip("%")) if low else -math.inf
    highest = float(high.rstrip("%")) if high else math.inf

    def compute(sketch: Sketch) -> float | None:
        total = sum(sketch.buckets.values())
        if not total or total != sketch.count:
            return None
        below = count = inside = seen = 0.0
        for bucket in sorted(sketch.buckets):
            number, value = sketch.buckets[bucket], min(sketch.high, max(sketch.low, value_of(bucket)))
            if of_ranks:
                cuts = [min(number, max(0.0, bound / 100 * total - seen)) for bound in (lowest, highest)]
            else:  # by buckets: a value and a bound that are equal are in the same one
                cuts = [number * (bucket <= _bucket_of_bound(bound)) for bound in (lowest, highest)]
            seen += number
            below += cuts[0]
            share = max(0.0, cuts[1] - cuts[0])
            count += share
            inside += share * value
        if kind == "WM":
            edges = [max(lowest, sketch.low), min(highest, sketch.high)]
            if of_ranks:
                edges = [sketch.percentile(min(100.0, max(0.0, bound))) or 0.0 for bound in (lowest, highest)]
            return (inside + below * edges[0] + (total - below - count) * edges[1]) / total
        mean = inside / count if count else None
        return {"TM": mean, "TC": count, "TS": inside, "PR": 100 * count / total}[kind]

    return compute


def _bucket_of_bound(bound: float) -> float:
    return bucket_of(bound) if math.isfinite(bound) else bound
