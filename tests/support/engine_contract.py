"""What every job engine promises: the shipped reports over the same events give the rows that plain Python computes."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

from headrace import clock
from headrace.archive import columns
from headrace.errors import HeadraceError, UsageError
from headrace.jobs import report, views
from headrace.jobs.base import Engine, Relation
from support.backend import ROOT
from support.jobs import Event, amount, archive, engine, generated, relation

READINGS = ("temperature", "counter", "never_sent")
DAYS = [date(2026, 2, 27), date(2026, 2, 28), date(2026, 3, 1)]
EVENTS = generated(1_500)
RETIRED_DEVICE, RETIRED = sorted({event.device_id for event in EVENTS} - {"dévice-1"})[0], DAYS[1]
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return archive(tmp_path_factory.mktemp("archive"), EVENTS, READINGS)


@pytest.fixture(scope="module")
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine that the test module names as ENGINE: one session for all its tests."""
    session = engine(request.module.ENGINE, tmp_path_factory.mktemp("engine"))
    yield session
    session.close()


@pytest.fixture
def session(started: Engine, files: list[str], tmp_path: Path) -> Engine:
    prepare(started, files, tmp_path)
    return started


def prepare(session: Engine, files: list[str], folder: Path, days: list[date] | None = DAYS) -> None:
    session.relation(Relation(views.ARCHIVED, columns.schema(READINGS), files))
    begins = [{"begins": f"{day} 00:00:00", "ends": f"{day + timedelta(days=1)} 00:00:00"} for day in days or []]
    session.relation(relation(folder, "period", views.PERIOD, begins))
    registered = [{"device_id": "dévice-1", "config": '{"a": 1}', "config_version": "2"}, {"device_id": "unheard"}]
    registered += [{"device_id": each, "retired_at": f"{RETIRED} 12:00:00"} for each in ("gone", RETIRED_DEVICE)]
    session.relation(relation(folder, "devices", views.DEVICES, registered))
    rejected = [{"reason": reason, "arrived_at": "2026-02-28 12:00:00.5"} for reason in ("json", "time", "json")]
    session.relation(relation(folder, "rejected", views.REJECTED, rejected))
    session.relation(relation(folder, "tariffs", views.TARIFFS))
    session.relation(relation(folder, "tenants", views.TENANTS))
    session.view("parameters", "SELECT 900 AS gap_s")
    views.define(session, tuple(columns.schema(READINGS)), READINGS, days)


def rows(session: Engine, folder: Path, name_or_sql: str, *, order: tuple[str, ...] = ()) -> Rows:
    """Return the rows of a shipped report, or of a query, as they were written."""
    day = None
    if name_or_sql.startswith("SELECT"):
        sql = name_or_sql
    else:
        shipped = report.load(ROOT / "reports" / f"{name_or_sql}.sql")
        sql, order, day = shipped.sql, shipped.keys, report.START
    target = folder / f"out-{len(list(folder.iterdir()))}"
    session.write(sql, target, order=order, day=day)
    paths = files_in(target)
    found = list(session.rows(paths)) if paths else []
    return sorted(found, key=lambda row: [row[name] for name in order])


def files_in(folder: Path) -> list[str]:
    return sorted(map(str, folder.rglob("*.parquet")))


def numbers(event: Event) -> dict[str, float]:
    members = event.readings.items()
    return {name: float(value) for name, value in members if isinstance(value, int | float) and value is not True}


class EngineContract:
    """Subclass it in a module that names its ENGINE, and import the fixtures there."""

    def test_readings_are_every_number_of_every_event(self, session: Engine, tmp_path: Path) -> None:
        found = rows(session, tmp_path, "SELECT * FROM readings", order=("device_id", "time", "id", "reading"))
        expected = sorted(
            (event.device_id, event.time, event.id, name, value)
            for event in EVENTS
            for name, value in numbers(event).items()
        )
        assert [(r["device_id"], r["time"].replace(tzinfo=UTC), r["id"], r["reading"], r["value"]) for r in found] == [
            *expected
        ]
        assert [row["amount"] for row in found] == [amount(value) for *_, value in expected]
        since_1970 = [row["time"].replace(tzinfo=UTC) - clock.EPOCH for row in found]
        assert [row["time_us"] for row in found] == [each // timedelta(microseconds=1) for each in since_1970]

    def test_what_no_double_holds_is_no_reading(self, session: Engine, tmp_path: Path) -> None:
        nulls = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in columns.schema(READINGS).items())
        sent = '{"temperature": 1e400, "tiny": 2.5}'
        with duckdb.connect() as connection:
            connection.execute(
                f"COPY (SELECT * REPLACE ('d' AS device_id, 'i' AS id, TIMESTAMP '{DAYS[0]}' AS time, "
                f"'{sent}' AS readings) FROM (SELECT {nulls})) TO '{tmp_path}/sent.parquet'"
            )
        prepare(session, [str(tmp_path / "sent.parquet")], tmp_path)
        found = rows(session, tmp_path, "SELECT reading, value FROM readings", order=("reading",))
        assert [(row["reading"], row["value"]) for row in found] == [("tiny", 2.5)]

    @pytest.mark.parametrize(("name", "hours", "gap_s"), [("aggregate_hourly", 1, 900), ("aggregate_daily", 24, 900)])
    def test_aggregates_equal_a_direct_computation(
        self, session: Engine, tmp_path: Path, name: str, hours: int, gap_s: int
    ) -> None:
        groups: dict[tuple[Any, ...], list[tuple[datetime, str, float]]] = defaultdict(list)
        for event in EVENTS:
            start = event.time.replace(
                hour=event.time.hour // hours * hours, minute=0, second=0, microsecond=0, tzinfo=None
            )
            for reading, value in numbers(event).items():
                groups[event.device_id, reading, start].append((event.time, event.id, value))
        expected = []
        for key, group in sorted(groups.items()):
            group.sort()
            values = [value for *_, value in group]
            amounts = [each for each in map(amount, values) if each is not None]
            steps = [(after - before) // timedelta(microseconds=1) for (before, *_), (after, *_) in pairwise(group)]
            expected.append(
                {
                    **dict(zip(report.ITEM_KEYS, key, strict=True)),
                    "count": len(values),
                    "min": min(values),
                    "max": max(values),
                    "mean": float(sum(amounts)) / len(amounts) if amounts else None,
                    "sum": sum(amounts) if amounts else None,
                    "first": values[0],
                    "last": values[-1],
                    "gaps": sum(step > gap_s * 1_000_000 for step in steps),
                    "longest_gap_s": max(steps, default=0) / 1e6,
                }
            )
        assert rows(session, tmp_path, name) == expected

    def test_the_fleet_each_day(self, session: Engine, tmp_path: Path) -> None:
        first_days: dict[str, date] = {}
        for event in EVENTS:
            first_days[event.device_id] = min(event.time.date(), first_days.get(event.device_id, date.max))
        rows(session, tmp_path, "device_daily")
        session.relation(Relation("device_daily", None, files_in(tmp_path)))
        found = {row["period_start"].date(): row for row in rows(session, tmp_path, "fleet_daily")}
        assert list(found) == DAYS
        for day, row in found.items():
            events = [event for event in EVENTS if event.time.date() == day]
            active = {event.device_id for event in events}
            ahead = [event for event in events if "clock_ahead" in event.flags]
            lags = [(event.arrived_at - event.time) // timedelta(microseconds=1) for event in events]
            assert row["active"] == len(active) and row["events"] == len(events)
            assert row["new"] == sum(first == day for first in first_days.values())
            counted = {each for each in first_days if each != RETIRED_DEVICE or day < RETIRED}
            assert row["silent"] == sum(first_days[each] <= day for each in counted) - len(active & counted)
            assert row["never_heard"] == 1 + (first_days["dévice-1"] > day)
            assert (row["clock_ahead"], row["clock_ahead_devices"]) == (len(ahead), len({e.device_id for e in ahead}))
            assert (row["least_lag_s"], row["greatest_lag_s"]) == (min(lags) / 1e6, max(lags) / 1e6)
            assert row["mean_lag_s"] == sum(lags) / len(lags) / 1e6
            rejected = (2, 1) if day == date(2026, 2, 28) else (0, 0)
            assert (row["rejected_json"], row["rejected_time"], row["rejected"]) == (*rejected, sum(rejected))

    def test_only_the_days_of_the_period_are_seen(self, session: Engine, files: list[str], tmp_path: Path) -> None:
        for days in ([DAYS[1]], [DAYS[0], DAYS[2]], None):
            prepare(session, files, tmp_path, days)
            (row,) = rows(session, tmp_path, "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM events")
            count = sum(days is None or event.time.date() in days for event in EVENTS)
            assert row == {"n": count, "ids": count}

    def test_no_file_is_an_empty_relation(self, session: Engine, tmp_path: Path) -> None:
        prepare(session, [], tmp_path, None)
        assert rows(session, tmp_path, "SELECT * FROM readings") == []
        assert rows(session, tmp_path, "SELECT count(*) AS n, sum(temperature) AS t FROM events") == [
            {"n": 0, "t": None}
        ]

    def test_columns_are_written_in_the_agreed_types(self, session: Engine, tmp_path: Path) -> None:
        sql = (
            "SELECT sum(bytes) AS total, 1 AS one, CAST('2026-02-28 01:02:03.000004' AS TIMESTAMP) AS at, 'x' AS text,"
            " CAST(1.5 AS DECIMAL(10, 2)) AS money, CAST(0.1 AS DOUBLE) AS real, CAST('2026-02-28' AS DATE) AS day,"
            " 1 = 1 AS yes FROM events"
        )
        assert rows(session, tmp_path, sql) == [
            {
                "total": 100 * len(EVENTS),
                "one": 1,
                "at": datetime(2026, 2, 28, 1, 2, 3, 4, tzinfo=UTC).replace(tzinfo=None),
                "text": "x",
                "money": Decimal("1.50"),
                "real": 0.1,
                "day": date(2026, 2, 28),
                "yes": True,
            }
        ]

    def test_a_row_without_a_day_is_refused(self, session: Engine, tmp_path: Path) -> None:
        sql = "SELECT CAST(NULL AS TIMESTAMP) AS period_start, 1 AS one"
        with pytest.raises(UsageError, match="period_start is null"):
            session.write(sql, tmp_path / "out", order=("one",), day=report.START)

    def test_wrong_sql_says_what_is_wrong(self, session: Engine, tmp_path: Path) -> None:
        with pytest.raises(HeadraceError, match="no_such_column") as raised:
            session.write("SELECT no_such_column FROM events", tmp_path / "out", order=())
        assert raised.value.hint
