"""A device's last day, through `device_api` like any device asks: every event, or so many that the day shows whole.

A device that sends each second has 86,400 events a day. The newest are read page by page; of what lies before them, one
event in each slot of five minutes.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from headrace import clock
from headrace.console import words
from headrace.console.backend import Backend

DAY_MS = 24 * 3_600_000
PAGE = 1000  # events in an answer, as many as device_api gives
PAGES_MAX = 5
SLOT_MS = 300_000

Point = tuple[int, float]  # (ms since 1970, value)


class Day(NamedTuple):
    """A device's readings over a day. Before `sampled_before_ms`, if it is not None, there is one event a slot."""

    device: str
    start_ms: int
    end_ms: int  # when it was asked for, or its newest event
    events: int
    series: dict[str, list[Point]]  # by reading, the oldest first
    sampled_before_ms: int | None


async def last_day(backend: Backend, device: str, now_ms: int) -> Day:
    """Return a device's last day up to now, and a little beyond: its own clock may be ahead.

    If it sent nothing in that time, its last day is the one up to its newest event.
    """
    start_ms, end_ms = now_ms - DAY_MS, now_ms + SLOT_MS
    events: list[dict[str, Any]] = []
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        answer = await _history(backend, device, start_ms, end_ms, newest=True, limit=PAGE, cursor=cursor)
        events += answer["events"]
        cursor = answer["cursor"]
        if cursor is None:
            break
    if not events and (newest_ms := await _newest_ms(backend, device)) is not None and newest_ms < start_ms:
        return await last_day(backend, device, newest_ms)
    events.reverse()
    sampled_before_ms = None
    if cursor is not None:
        sampled_before_ms = words.parse_ms(events[0]["time"]) or start_ms
        events = await _sampled(backend, device, start_ms, sampled_before_ms) + events
    return Day(device, start_ms, now_ms, len(events), _series(events), sampled_before_ms)


async def _newest_ms(backend: Backend, device: str) -> int | None:
    events = (await backend.device_api("history", device, newest=True, limit=1))["events"]
    return words.parse_ms(events[0]["time"]) if events else None


async def _sampled(backend: Backend, device: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
    """Return the first event of each slot."""
    found = []
    while start_ms < end_ms:
        answer = await _history(backend, device, start_ms, end_ms, limit=1)
        if not answer["events"]:
            break
        (event,) = answer["events"]
        found.append(event)
        start_ms = max(start_ms, words.parse_ms(event["time"]) or end_ms) // SLOT_MS * SLOT_MS + SLOT_MS
    return found


async def _history(backend: Backend, device: str, start_ms: int, end_ms: int, **more: object) -> dict[str, Any]:
    range_ = {"from": clock.rfc3339_ms(start_ms), "to": clock.rfc3339_ms(end_ms)}
    answer: dict[str, Any] = await backend.device_api("history", device, **range_, **more)
    return answer


def _series(events: list[dict[str, Any]]) -> dict[str, list[Point]]:
    series: dict[str, list[Point]] = {}
    for event in events:
        time_ms = words.parse_ms(event["time"])
        if time_ms is None:
            continue
        for name, value in _numbers(event["readings"]):
            series.setdefault(name, []).append((time_ms, value))
    return series


def _numbers(readings: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in readings.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):  # an integer beyond what can be drawn
                yield name, float(value)
