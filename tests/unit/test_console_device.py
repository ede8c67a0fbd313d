"""A device's last day: whole where it is small, and a bounded number of questions where it is not."""

import asyncio
import itertools
from bisect import bisect_left
from typing import Any

from headrace.clock import rfc3339_ms
from headrace.console.device import DAY_MS, PAGE, PAGES_MAX, SLOT_MS, last_day
from headrace.console.words import parse_ms
from support.console_backend import MemoryBackend

NOW = 1_785_000_000_000


def fleet(times_ms: list[int], readings: dict[str, Any]) -> MemoryBackend:
    """A backend whose device has an event at each of these times, in rising order."""

    def history(asked: dict[str, Any]) -> dict[str, Any]:
        found = times_ms[:]
        if "from" in asked:
            start, end = parse_ms(asked["from"]) or 0, parse_ms(asked["to"]) or 0
            found = times_ms[bisect_left(times_ms, start) : bisect_left(times_ms, end)]
        if asked.get("newest"):
            found.reverse()
        skip = int(asked.get("cursor") or 0)
        page = found[skip : skip + asked["limit"]]
        more = skip + len(page) < len(found)
        events = [{"time": rfc3339_ms(time), "id": "x", "readings": readings} for time in page]
        return {"events": events, "cursor": str(skip + len(page)) if more else None}

    return MemoryBackend({"history": history})


def test_a_small_day_is_whole() -> None:
    backend = fleet([NOW - DAY_MS - 1, NOW - DAY_MS, NOW - 1000, NOW + 1000], {"t": 1.5, "n": 2, "s": "x", "b": True})
    day = asyncio.run(last_day(backend, "d", NOW))
    assert (day.events, day.sampled_before_ms) == (3, None)
    assert day.series == {
        "t": [(NOW - DAY_MS, 1.5), (NOW - 1000, 1.5), (NOW + 1000, 1.5)],
        "n": [(NOW - DAY_MS, 2.0), (NOW - 1000, 2.0), (NOW + 1000, 2.0)],
    }
    assert len(backend.asked) == 1


def test_a_large_day_is_read_in_part_and_sampled_before() -> None:
    every_s = list(range(NOW - DAY_MS, NOW, 1000))
    backend = fleet(every_s, {"t": 1})
    day = asyncio.run(last_day(backend, "d", NOW))
    assert day.sampled_before_ms == NOW - PAGE * PAGES_MAX * 1000
    times = [time for time, _ in day.series["t"]]
    assert times == sorted(set(times)) and times[0] == NOW - DAY_MS
    assert times[-PAGE * PAGES_MAX :] == every_s[-PAGE * PAGES_MAX :]
    assert all(later - earlier <= SLOT_MS for earlier, later in itertools.pairwise(times))
    assert len(backend.asked) <= PAGES_MAX + DAY_MS // SLOT_MS + 1


def test_gaps_cost_no_questions() -> None:
    backend = fleet([NOW - DAY_MS, *range(NOW - 7_000_000, NOW, 1000)], {"t": 1})
    day = asyncio.run(last_day(backend, "d", NOW))
    assert day.series["t"][0] == (NOW - DAY_MS, 1.0)
    assert len(backend.asked) <= PAGES_MAX + 2 + 7_000_000 // SLOT_MS


def test_no_event_and_readings_that_cannot_be_drawn() -> None:
    assert asyncio.run(last_day(fleet([], {}), "d", NOW)).series == {}
    day = asyncio.run(last_day(fleet([NOW], {"huge": 10**400, "s": "x"}), "d", NOW))
    assert (day.events, day.series) == (1, {})


def test_a_device_that_fell_silent_shows_the_day_up_to_its_newest_event() -> None:
    newest = NOW - 30 * DAY_MS
    day = asyncio.run(last_day(fleet([newest - DAY_MS - 1, newest - 1000, newest], {"t": 1}), "d", NOW))
    assert (day.events, day.end_ms) == (2, newest)
    assert [time for time, _ in day.series["t"]] == [newest - 1000, newest]
