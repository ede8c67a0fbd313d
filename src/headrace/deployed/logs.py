"""What functions wrote, from CloudWatch Logs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from headrace import clock
from headrace.errors import NotFound

if TYPE_CHECKING:
    from headrace.deployed import Deployed

DAY_MS = 86_400_000
_BACK_MS = (600_000, 6 * 3_600_000, DAY_MS, 14 * DAY_MS)  # looked at in turn until there are enough lines
_SEEN_MAX = 10_000


class Line(NamedTuple):
    """A line, and the log stream (an execution environment) that it is in."""

    at_ms: int
    stream: str
    text: str


def last(system: "Deployed", function: str, count: int) -> list[Line]:
    """Return a function's last lines, oldest first; raises NotFound where it has no log."""
    group = group_of(system, function)
    now_ms = clock.now_ms()
    found: list[Line] = []
    for back_ms in _BACK_MS:
        found = [line for line, _ in _events(system, group, now_ms - back_ms)]
        if len(found) >= count:
            break
    return found[-count:] if count else []


def following(system: "Deployed", function: str, poll_s: float) -> Iterator[Line]:
    """Return what is written from now on, for ever. What comes late, up to half a minute, is not missed."""
    return _following(system, group_of(system, function), clock.now_ms(), poll_s)


def _following(system: "Deployed", group: str, since_ms: int, poll_s: float) -> Iterator[Line]:
    seen: dict[str, None] = {}
    while True:
        for line, event_id in _events(system, group, since_ms):
            if event_id not in seen:
                seen[event_id] = None
                yield line
        since_ms = max(since_ms, clock.now_ms() - 30_000)
        while len(seen) > _SEEN_MAX:
            del seen[next(iter(seen))]
        clock.sleep(poll_s)


def group_of(system: "Deployed", function: str) -> str:
    """Return the log group of a function."""
    return f"/aws/lambda/{system.function(function)}"


def _events(system: "Deployed", group: str, since_ms: int) -> Iterator[tuple[Line, str]]:
    try:
        for event in system.listed("logs", "filter_log_events", "events", logGroupName=group, startTime=since_ms):
            stream = event["logStreamName"].rpartition("]")[2][:8]
            for text in event["message"].splitlines():
                yield Line(event["timestamp"], stream, text), f"{event['eventId']} {text}"
    except NotFound:
        raise NotFound(f"There is no log {group}.", "It is made when the function is first called.") from None
