"""Schedules: when each expression is due next, and what is said of those that are wrong."""

from datetime import UTC, datetime

import pytest

from headrace import schedule
from headrace.schedule import following, parse


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("expression", "after", "due"),
    [
        ("cron(10 0 * * ? *)", "2026-03-01T00:09:59", "2026-03-01T00:10"),
        ("cron(10 0 * * ? *)", "2026-03-01T00:10:00", "2026-03-02T00:10"),
        ("cron(0/15 * * * ? *)", "2026-12-31T23:45:01", "2027-01-01T00:00"),
        ("cron(5,35 8-17/4 ? * MON-FRI *)", "2026-07-24T16:36", "2026-07-27T08:05"),
        ("cron(0 12 ? * sun *)", "2026-07-20T00:00", "2026-07-26T12:00"),
        ("cron(0 12 ? * 1 *)", "2026-07-20T00:00", "2026-07-26T12:00"),
        ("cron(0 0 29 FEB ? *)", "2026-01-01T00:00", "2028-02-29T00:00"),
        ("cron(0 0 L * ? *)", "2026-02-01T00:00", "2026-02-28T00:00"),
        ("cron(0 0 LW * ? *)", "2026-05-01T00:01", "2026-05-29T00:00"),
        ("cron(0 0 1W * ? *)", "2026-08-01T00:00", "2026-08-03T00:00"),
        ("cron(0 0 15W * ? *)", "2026-08-01T00:00", "2026-08-14T00:00"),
        ("cron(0 0 31W * ? *)", "2026-04-01T00:00", "2026-05-29T00:00"),
        ("cron(0 0 ? * 6L *)", "2026-07-01T00:00", "2026-07-31T00:00"),
        ("cron(0 0 ? * FRI#2 *)", "2026-07-01T00:00", "2026-07-10T00:00"),
        ("cron(0 0 1 1 ? 2030-2032/2)", "2030-01-01T00:00", "2032-01-01T00:00"),
    ],
)
def test_when_cron_is_due(expression: str, after: str, due: str) -> None:
    assert following(parse(expression), ms(after), 0) == ms(due)


def test_a_year_that_is_over_never_comes() -> None:
    assert following(parse("cron(0 0 1 1 ? 2025)"), ms("2026-01-01T00:00"), 0) is None
    assert following(parse("cron(0 0 30 2 ? *)"), ms("2026-01-01T00:00"), 0) is None


def test_a_rate_counts_from_its_beginning() -> None:
    rate = parse("rate(15 minutes)")
    assert rate == schedule.Rate(900_000)
    since = ms("2026-01-01T00:03:30")
    assert following(rate, since, since) == since + 900_000
    assert following(rate, since + 900_000, since) == since + 1_800_000
    assert following(rate, since - 5, since) == since + 900_000


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("every 5 minutes", "neither rate"),
        ("rate(5 minute)", "minutes for more"),
        ("rate(1 hours)", "hour for 1"),
        ("rate(0 days)", "at least 1 day"),
        ("cron(0 0 * * *)", "5 fields, not six"),
        ("cron(0 0 * * * *)", "a \\? for day-of-month or"),
        ("cron(0 0 ? * ? *)", "a \\? for day-of-month or"),
        ("cron(60 0 * * ? *)", "minutes has 60: it takes 0 to 59"),
        ("cron(0 24 * * ? *)", "hours has 24"),
        ("cron(0 0 0 * ? *)", "day-of-month has 0"),
        ("cron(0 0 ? 13 MON *)", "month has 13"),
        ("cron(0 0 ? * MOO *)", "day-of-week has MOO: it takes 1 to 7, or SUN"),
        ("cron(0 0 ? * MON#6 *)", "day-of-week has 6"),
        ("cron(0 0 1 1 ? 1969)", "year has 1969"),
        ("cron(5-1 0 * * ? *)", "ends before it begins"),
        ("cron(0/0 0 * * ? *)", "at least 1"),
        ("cron(, 0 * * ? *)", "minutes has nothing"),
        ("at(2026-01-01T00:00:00)", "neither rate"),
    ],
)
def test_what_is_wrong_is_said(expression: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse(expression)
