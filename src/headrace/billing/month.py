"""A month of bills, by its first day: read, written, followed. Pure; months are of UTC."""

import re
from datetime import UTC, date, datetime, timedelta

from headrace.clock import EPOCH, rfc3339_ms
from headrace.errors import UsageError

_MONTH = re.compile(r"(\d{4})-(\d\d)", re.ASCII)


def parse(text: str) -> date:
    """Return the first day of a month written like 2026-11; raises UsageError."""
    found = _MONTH.fullmatch(text)
    try:
        if found is not None:
            return date(int(found[1]), int(found[2]), 1)
    except ValueError:
        pass
    raise UsageError(f"{text[:40]!r} is no month.", "Write it like 2026-11.")


def text(month: date) -> str:
    """Return a month as it is written: 2026-11."""
    return f"{month:%Y-%m}"


def of(now_ms: int) -> date:
    """Return the month that a time is in, in milliseconds since 1970."""
    return (EPOCH + timedelta(milliseconds=now_ms)).date().replace(day=1)


def following(month: date) -> date:
    """Return the first day of the month after the one of a day; the last month there is has none and stays."""
    if (month.year, month.month) == (date.max.year, 12):
        return date.max
    return (month.replace(day=1) + timedelta(days=31)).replace(day=1)


def check_ended(month: date, now_ms: int) -> None:
    """Raise UsageError where a month has not ended: what it comes to is not known."""
    if (end_ms := ends_ms(month)) > now_ms:
        raise UsageError(
            f"{text(month)} has not ended: it does at {rfc3339_ms(end_ms)}.",
            f"Until then its bill is provisional: headrace bills show --month {text(month)}",
        )


def ends_ms(month: date) -> int:
    """Return the first moment that is not in a month any more, in milliseconds since 1970."""
    end = following(month)
    return (datetime(end.year, end.month, end.day, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)
