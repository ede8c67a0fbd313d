"""The only place that reads time. Everything else is handed a time or this module's functions."""

import time
from datetime import UTC, datetime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_ms() -> int:
    """Return the wall clock in whole milliseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000_000


def monotonic_s() -> float:
    """Return seconds that never go back, for durations and deadlines inside one process."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    """Block this thread."""
    time.sleep(seconds)


def rfc3339_ms(ms: int) -> str:
    """Return milliseconds since 1970 as `YYYY-MM-DDTHH:MM:SS.mmmZ`."""
    seconds, rest = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"
