"""What names a metric: namespace, name, dimensions."""

from collections.abc import Iterable
from typing import NamedTuple

MINUTE_MS = 60_000
DAY_MINUTES = 24 * 60
KEPT_DAYS = 15
OLDEST_MS = 14 * 24 * 3_600_000  # values older than that are refused, as on AWS
NEWEST_MS = 2 * 3_600_000  # and those further ahead
VALUE_MAX = 2.0**360  # and those further from 0: sums of what is taken stay numbers


class Series(NamedTuple):
    """A metric with its dimensions, which are sorted by name."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, namespace: str, name: str, dimensions: Iterable[tuple[str, str]] = ()) -> "Series":
        """Return the series of dimensions in any order; of those of one name the last counts."""
        return cls(namespace, name, tuple(sorted(dict(dimensions).items())))

    @property
    def label(self) -> str:
        """Return its name for people."""
        dimensions = ", ".join(f"{name}={value}" for name, value in self.dimensions)
        return f"{self.namespace} {self.name}" + (f" ({dimensions})" if dimensions else "")


def acceptable(timestamp_ms: float, now_ms: int) -> bool:
    """Return whether a value of that time is taken."""
    return now_ms - OLDEST_MS <= timestamp_ms <= now_ms + NEWEST_MS
