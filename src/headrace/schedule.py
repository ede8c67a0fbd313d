"""When a schedule is due: EventBridge Scheduler's `rate(…)` and `cron(…)`, in UTC. Pure.

    rate(15 minutes)       minute, hour or day; each that long after the one before
    cron(10 0 ? * MON *)   minutes hours day-of-month month day-of-week year

A field of cron is a list of values, ranges and steps (`*`, `1-5`, `0/15`, `MON,WED`); `?` stands in one of the two
fields of the day. `L` is the last day of the month, `15W` the weekday nearest to the 15th, `6L` the last Friday,
`6#2` the second one. Days of the week count from 1, Sunday.
"""

import calendar
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from headrace import clock

_RATE = re.compile(r"rate\((\d{1,6}) (minute|hour|day)(s?)\)")
_CRON = re.compile(r"cron\((.*)\)")
_UNITS_MS = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
_MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
_WEEKDAYS = {name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), 1)}
_YEARS = (1970, 2199)
_FIELDS = "minutes hours day-of-month month day-of-week year"

Days = Callable[[date], bool]


class Rate(NamedTuple):
    """Every `period_ms`."""

    period_ms: int


class Cron(NamedTuple):
    """At these minutes of these hours, on the days for which both conditions hold, in these months and years."""

    minutes: frozenset[int]
    hours: frozenset[int]
    month_days: Days
    months: frozenset[int]
    weekdays: Days
    years: frozenset[int]


Schedule = Rate | Cron


def parse(text: str) -> Schedule:
    """Return the schedule that an expression says; raises ValueError with what is wrong with it."""
    if found := _RATE.fullmatch(text):
        count, unit, plural = int(found[1]), found[2], found[3]
        if count < 1:
            raise ValueError(f"{text} is no pause: write at least 1 {unit}")
        if (count == 1) == bool(plural):
            raise ValueError(f"{text} has a {unit} for 1 and {unit}s for more")
        return Rate(count * _UNITS_MS[unit])
    if (found := _CRON.fullmatch(text)) is None:
        raise ValueError("it is neither rate(15 minutes) nor cron(0 2 * * ? *)")
    fields = found[1].upper().split()
    if len(fields) != 6:
        raise ValueError(f"cron has {len(fields)} fields, not six: {_FIELDS}")
    minutes, hours, month_day, months, weekday, years = fields
    if (month_day == "?") == (weekday == "?"):
        raise ValueError("cron has a ? for day-of-month or for day-of-week, and for one of them only")
    return Cron(
        _values("minutes", minutes, 0, 59),
        _values("hours", hours, 0, 23),
        _month_days(month_day),
        _values("month", months, 1, 12, _MONTHS),
        _weekdays(weekday),
        _values("year", years, *_YEARS),
    )


def following(schedule: Schedule, after_ms: int, since_ms: int) -> int | None:
    """Return when a schedule is due next after a time, None if never; a rate counts from `since_ms`."""
    if isinstance(schedule, Rate):
        periods = max(0, (after_ms - since_ms) // schedule.period_ms) + 1
        return since_ms + periods * schedule.period_ms
    at = datetime.fromtimestamp(after_ms // 60_000 * 60, UTC) + timedelta(minutes=1)
    day, last = at.date(), max(schedule.years)
    while day.year <= last:
        if _falls_on(schedule, day):
            for hour in sorted(schedule.hours):
                for minute in sorted(schedule.minutes):
                    found = datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)
                    if found >= at:
                        return (found - clock.EPOCH) // timedelta(milliseconds=1)
        day = _next_day(schedule, day)
    return None


def _falls_on(cron: Cron, day: date) -> bool:
    return day.year in cron.years and day.month in cron.months and cron.month_days(day) and cron.weekdays(day)


def _next_day(cron: Cron, day: date) -> date:
    """Return the next day to look at: months that don't count are passed over whole."""
    if day.month in cron.months and day.year in cron.years:
        return day + timedelta(days=1)
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _values(field: str, text: str, low: int, high: int, names: dict[str, int] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        range_, slash, step = part.partition("/")
        first, dash, last = ("*", "", "") if range_ == "*" else range_.partition("-")
        start = low if first == "*" else _number(field, first, low, high, names)
        end = _number(field, last, low, high, names) if dash else high if first == "*" or slash else start
        if slash and not (step.isdigit() and int(step) >= 1):
            raise ValueError(f"{field} is {text}: after a / stands a number of at least 1")
        if end < start:
            raise ValueError(f"{field} is {text}: the range ends before it begins")
        found.update(range(start, end + 1, int(step) if slash else 1))
    return frozenset(found)


def _number(field: str, text: str, low: int, high: int, names: dict[str, int] | None) -> int:
    number = (names or {}).get(text, int(text) if text.isascii() and text.isdigit() else -1)
    if not low <= number <= high:
        also = f", or {', '.join(names)}" if names else ""
        raise ValueError(f"{field} has {text or 'nothing'}: it takes {low} to {high}{also}")
    return number


def _month_days(text: str) -> Days:
    if text == "?":
        return lambda _: True
    if text == "L":
        return lambda day: day.day == _length(day)
    if text == "LW":
        return lambda day: day.day == _nearest_weekday(day, _length(day))
    if text.endswith("W"):
        wanted = _number("day-of-month", text[:-1], 1, 31, None)
        return lambda day: wanted <= _length(day) and day.day == _nearest_weekday(day, wanted)
    days = _values("day-of-month", text, 1, 31)
    return lambda day: day.day in days


def _weekdays(text: str) -> Days:
    if text == "?":
        return lambda _: True
    name, hash_, place = text.partition("#")
    if hash_:
        weekday, week = _number("day-of-week", name, 1, 7, _WEEKDAYS), _number("day-of-week", place, 1, 5, None)
        return lambda day: _weekday(day) == weekday and (day.day - 1) // 7 == week - 1
    if text.endswith("L"):
        weekday = 7 if text == "L" else _number("day-of-week", text[:-1], 1, 7, _WEEKDAYS)
        return lambda day: _weekday(day) == weekday and day.day + 7 > _length(day)
    days = _values("day-of-week", text, 1, 7, _WEEKDAYS)
    return lambda day: _weekday(day) in days


def _weekday(day: date) -> int:
    """Return the day of the week, Sunday being 1."""
    return day.isoweekday() % 7 + 1


def _length(day: date) -> int:
    """Return how many days the month has."""
    return calendar.monthrange(day.year, day.month)[1]


def _nearest_weekday(day: date, wanted: int) -> int:
    """Return the day of the month from Monday to Friday that is nearest to a day of the same month."""
    weekday = day.replace(day=wanted).isoweekday()
    if weekday == 6:
        return wanted - 1 if wanted > 1 else wanted + 2
    if weekday == 7:
        return wanted + 1 if wanted < _length(day) else wanted - 2
    return wanted
