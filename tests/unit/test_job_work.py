"""An attempt of a report in this process: what it computes, from what, and what it leaves alone."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from headrace.archive import columns
from headrace.archive.local import LocalBucket
from headrace.errors import UsageError
from headrace.jobs import report, sources, views, work
from headrace.jobs.history import Folder
from headrace.jobs.run import Attempt, Run
from headrace.jobs.sources import Archived, Day
from headrace.system import JobSettings
from headrace.table.base import Item
from support.backend import ROOT
from support.jobs import Event, archive
from support.memory import MemoryTable

TODAY = date(2026, 3, 2)
FIRST, SECOND = date(2026, 2, 27), date(2026, 2, 28)


def event(device: str, day: date, number: int = 0, **readings: Any) -> Event:
    time = datetime(day.year, day.month, day.day, 5, tzinfo=UTC) + timedelta(minutes=number)
    return Event(device, time, f"{number}", readings or {"t": 1.5}, time)


@dataclass
class Site:
    """Places that a report reads and writes, in a folder and in memory."""

    folder: Path
    events: MemoryTable = field(default_factory=MemoryTable)
    devices: MemoryTable = field(default_factory=MemoryTable)
    days: dict[date, Day] = field(default_factory=dict)
    cold: frozenset[date] = frozenset()
    said: list[str] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.archive = LocalBucket(self.folder / "archive")
        self.failures = LocalBucket(self.folder / "failures")

    def add(self, *events: Event) -> None:
        """Archive events: files of their own, beside those that a day has."""
        self.count += 1
        for path in archive(self.folder / f"events-{self.count}", events, ("t",)):
            day = date.fromisoformat(Path(path).parent.name[3:])
            before = self.days.get(day, Day((), ""))
            self.days[day] = Day((*before.files, path), f"{before.mark}+{self.count}")

    def run(self, name: str, **more: Any) -> dict[str, Any]:
        return self.run_report(report.load(ROOT / "reports" / f"{name}.sql"), **more)

    def run_report(self, found: report.Report, **more: Any) -> dict[str, Any]:
        name = found.name

        @contextlib.contextmanager
        def archived() -> Iterator[Archived]:
            yield Archived(dict(self.days), columns.schema(("t",)), ("t",), self.cold)

        settings = JobSettings(writes_per_s=1_000_000, parameters=more.pop("parameters", {}))
        run = Run(f"{name}-1", name, "request", 0, settings, attempts=[Attempt(0)], **more)
        places = work.Places(archived, self.devices, [self.failures], self.archive, self.events)
        folder = Folder(self.folder / "jobs", name)
        return work.run_report(found, run, folder, places, TODAY, self.said.append)

    def rows(self, name: str, what: str) -> list[tuple[Any, ...]]:
        files = self.folder / "archive" / "reports" / name / "*" / "*.parquet"
        with duckdb.connect() as connection:
            return connection.execute(f"SELECT {what} FROM read_parquet('{files}') ORDER BY ALL").fetchall()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_only_days_that_changed_are_computed(site: Site) -> None:
    site.add(event("a", FIRST), event("a", SECOND))
    assert site.run("aggregate_daily") == {"days": 2, "items": 2}
    assert site.run("aggregate_daily") == {"days": 0, "items": 0}
    site.add(event("a", FIRST, 1, t=2.5))  # late
    assert site.run("aggregate_daily") == {"days": 1, "items": 1}
    assert site.rows("aggregate_daily", "count, sum::DOUBLE") == [(1, 1.5), (2, 4.0)]
    item = site.events.get("a", "aggregate#day#2026-02-27T00:00:00.000000Z#t")
    assert item is not None and b'"sum":4,' in item.attributes
    assert site.run("aggregate_daily", first="2026-02-28", last="2026-02-28") == {"days": 1, "items": 1}
    assert site.run("aggregate_daily", parameters={"gap_s": 1})["days"] == 2, "another parameter, another result"


def test_days_with_cold_files_are_left_as_they_are(site: Site) -> None:
    site.add(event("a", FIRST), event("a", SECOND))
    site.run("aggregate_daily")
    site.add(event("a", FIRST, 1))
    site.cold = frozenset({FIRST})
    assert site.run("aggregate_daily")["days"] == 0
    assert any("2026-02-27 is left" in text for text in site.said)
    site.cold = frozenset()
    assert site.run("aggregate_daily")["days"] == 1


def test_a_day_that_has_no_rows_any_more_loses_its_object(site: Site) -> None:
    site.add(event("a", FIRST), event("a", SECOND))
    site.run("aggregate_daily")
    site.add(event("b", FIRST, 1, text="no number"))
    site.days[FIRST] = Day(site.days[FIRST].files[-1:], "another")
    site.run("aggregate_daily")
    assert site.rows("aggregate_daily", "device_id, count") == [("a", 1)]


def test_the_fleet_follows_from_the_devices_days(site: Site) -> None:
    site.devices.put([Item("unheard", "config", b'{"version":1,"config":{},"updated_at":"2026-01-01T00:00:00.000Z"}')])
    site.failures.put("rejected/store/x", b'{"reason":"json","arrived_at":"2026-03-01T00:00:00.000Z"}')
    assert site.run("fleet_daily") == {"days": 0, "items": 0}, "there is nothing that it could be computed from"
    site.add(event("a", SECOND), event("b", SECOND))
    site.run("device_daily")
    site.run("fleet_daily")
    days = "period_start::DATE, active, new, silent, never_heard, rejected_json"
    found = {row[0]: row[1:] for row in site.rows("fleet_daily", days)}
    assert found[SECOND] == (2, 2, 0, 1, 0)
    assert found[SECOND + timedelta(days=1)] == (0, 0, 2, 1, 1)
    assert max(found) == TODAY and len(found) == 31
    site.add(event("a", FIRST - timedelta(days=300)))  # very late: it was not new on the second day
    site.run("device_daily")
    site.run("fleet_daily")
    found = {row[0]: row[1:] for row in site.rows("fleet_daily", days)}
    assert found[SECOND] == (2, 1, 0, 1, 0) and found[FIRST - timedelta(days=300)] == (1, 1, 0, 1, 0)


def test_a_parameter_that_the_report_does_not_have_is_refused(site: Site) -> None:
    site.add(event("a", FIRST))
    with pytest.raises(UsageError, match="no parameter gap"):
        site.run("aggregate_daily", parameters={"gap": 1})
    with pytest.raises(UsageError, match="gap_s is 'inf'") as caught:
        site.run("aggregate_daily", parameters={"gap_s": "inf"})
    assert caught.value.hint == "Write a number, such as 3600."


def test_rows_of_a_day_that_was_not_computed_are_refused(site: Site, tmp_path: Path) -> None:
    site.add(event("a", FIRST))
    path = tmp_path / "by_arrival.sql"
    path.write_text(
        "-- period: day\n-- keys: period_start, device_id\n"
        "SELECT DISTINCT CAST(date_trunc('day', time + INTERVAL '1' DAY) AS TIMESTAMP) AS period_start, device_id "
        "FROM events"
    )
    with pytest.raises(UsageError, match="rows of 2026-02-28") as caught:
        site.run_report(report.load(path))
    assert "time" in caught.value.hint
    assert list(site.archive.list()) == []


def test_a_report_over_one_that_has_not_run_says_what_to_run(site: Site, tmp_path: Path) -> None:
    (tmp_path / "device_daily.sql").write_text("SELECT 1 AS one")
    path = tmp_path / "devices_seen.sql"
    path.write_text("-- keys: device_id\n-- uses: device_daily\nSELECT DISTINCT device_id FROM device_daily")
    with pytest.raises(UsageError, match="device_daily has no rows yet") as caught:
        site.run_report(report.load(path))
    assert caught.value.hint == "Run it first: headrace jobs run device_daily"


def test_devices_and_rejected_documents_become_relations(site: Site, tmp_path: Path) -> None:
    at = "2026-01-01T00:00:00.250Z"
    info = f'{{"version":1,"registered_at":"{at}","registered_by":"event","labels":{{"site":"n","a":"x"}}}}'
    site.devices.put(
        [
            Item("a", "config", f'{{"version":3,"config":{{"fleet":"x","n":1.50}},"updated_at":"{at}"}}'.encode()),
            Item("a", "state", f'{{"version":1,"state":{{"ok":true}},"updated_at":"{at}"}}'.encode()),
            Item("b", "info", info.encode()),
            Item("headrace", "erasure#000000000001", b'{"device_id":"c","before_ms":1}'),
        ]
    )
    site.failures.put("rejected/store/1", b'{"function":"store","reason":"time","arrived_at":"2026-01-01T00:00:00Z"}')
    site.failures.put("rejected/store/2", b"no document")
    made = {each.name: each for each in sources.relations(tmp_path, [FIRST], site.devices, [site.failures])}
    assert {name: each.columns for name, each in made.items()} == {
        "devices": views.DEVICES, "properties": views.PROPERTIES, "rejected": views.REJECTED, "period": views.PERIOD,
        "tariffs": views.TARIFFS, "tenants": views.TENANTS, "kept_usage": views.KEPT_USAGE,
    }  # fmt: skip
    texts = {name: "".join(Path(path).read_text() for path in each.files) for name, each in made.items()}
    assert '"config_version":"3"' in texts["devices"] and "2026-01-01 00:00:00.250" in texts["devices"]
    assert texts["devices"].count("\n") == 2
    b = json.loads(texts["devices"].splitlines()[1])
    assert (b["registered_at"], b["registered_by"]) == ("2026-01-01 00:00:00.250", "event")
    assert b["labels"] == '{"a":"x","site":"n"}' and "retired_at" not in b
    assert '"name":"n","value":"1.50"' in texts["properties"] and '"name":"fleet","value":"x"' in texts["properties"]
    assert texts["rejected"].count("\n") == 1 and '"reason":"time"' in texts["rejected"]
    assert texts["period"] == '{"begins":"2026-02-27 00:00:00","ends":"2026-02-28 00:00:00"}\n'
    assert texts["tariffs"] == texts["tenants"] == ""
