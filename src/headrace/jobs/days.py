"""Which days a report is computed for. Pure.

A day is computed when what its files hold differs from what it was last computed from: so a late event corrects the day
it belongs to, whenever it arrives, and a day that nothing happened to costs nothing. Another SQL computes every day.
"""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from hashlib import sha256

import msgspec

from headrace.billing.month import following

VERSION = 1
RECENT_DAYS = 31


class Seen(msgspec.Struct):
    """What a report was last computed from: a digest of its SQL and parameters, and the mark of each day."""

    sql: str = ""
    days: dict[str, str] = {}
    version: int = VERSION


def changed(present: Mapping[date, str], seen: Seen, sql: str) -> set[date]:
    """Return the days of `present` (day -> mark) that the report was not computed from as they are now."""
    if seen.sql != sql:
        return set(present)
    return {day for day, found in present.items() if seen.days.get(day.isoformat()) != found}


def chosen(
    present: Iterable[date], different: set[date], first: date | None, last: date | None, since: date | None = None
) -> list[date]:
    """Return the days to compute, in order: those within `first` and `last` if one is given, else the different ones.

    With `since`, every day of `present` from there on is different: it depends on the days before it.
    """
    if first is None and last is None:
        return sorted(day for day in present if day in different or (since is not None and day >= since))
    return sorted(day for day in present if (first or day) <= day <= (last or day))


def months(marks: Mapping[date, str]) -> dict[date, str]:
    """Return the months of days, by their first day, each with a mark that changes with any of its days'."""
    found: dict[date, list[str]] = {}
    for day, mark in sorted(marks.items()):
        found.setdefault(day.replace(day=1), []).append(f"{day}={mark}")
    return {month: sha256("\n".join(each).encode()).hexdigest()[:16] for month, each in found.items()}


def within(first: date, last: date) -> list[date]:
    """Return the first days of the months from the one of `first` to the one of `last`."""
    found = [first.replace(day=1)]
    while found[-1] < last.replace(day=1):
        found.append(following(found[-1]))
    return found


def of_months(months: Iterable[date]) -> list[date]:
    """Return every day of months, given by their first days."""
    return [day + timedelta(days=n) for day in months for n in range((following(day) - day).days)]


def recent(today: date) -> list[date]:
    """Return the last days up to `today`."""
    return [today - timedelta(days=back) for back in range(RECENT_DAYS)]
