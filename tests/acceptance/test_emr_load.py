"""Redshift is loaded once, whatever is executed twice: the batches are run by DuckDB, S3 and DynamoDB are moto's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from headrace import aws
from headrace.emr import lease, load, spread
from headrace.table.aws import DynamoTable
from headrace.table.base import Item
from support import moto
from support.archive import READINGS, event, events
from support.emr import SharedArchive, rows_here, shared
from support.redshift import Redshift


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[SharedArchive]:
    with shared(tmp_path) as made:
        moto.create_table(aws.client("dynamodb"), "devices")
        yield made


class Loading:
    """The job and the state machine behind it."""

    def __init__(self, archive: SharedArchive, folder: Path) -> None:
        self.archive = archive
        self.redshift = Redshift(archive.bucket, archive.source.bucket, folder / "redshift")
        self._folder = folder

    def plan(self, readings: tuple[str, ...] = READINGS) -> list[dict[str, Any]]:
        archive, devices = self.archive, DynamoTable.connect("devices")
        setting = load.Setting(archive.source, archive.catalogue, spread.here, devices, readings, 512)
        with lease.held(archive.exchange, load.JOB, duration_s=5) as mine:
            load.load(setting, mine, self._folder)
        batches: list[dict[str, Any]] = json.loads(archive.bucket.get(load.NEXT))["batches"]
        return batches

    def execute(self, batches: list[dict[str, Any]], *, acknowledged: bool = True) -> None:
        """Do what the state machine does."""
        for batch in batches:
            try:
                self.redshift.batch(batch["sqls"])
            except duckdb.Error:
                if not batch["optional"]:
                    raise
            if acknowledged:
                self.archive.bucket.put(f"{load.DONE}{batch['load']}", b"")

    def state(self) -> tuple[Any, ...]:
        tables = ("events", "readings", "devices", "hourly", "load_history")
        return tuple(self.redshift.rows(f"SELECT * FROM {table} ORDER BY ALL") for table in tables)


def report(archive: SharedArchive, day: str, count: int) -> None:
    """Put a day of `aggregate_hourly`."""
    path = archive.here.folder.parent / "report.parquet"
    doubles = ", ".join(f"1.5 :: DOUBLE AS {name}" for name in ("min", "max", "mean", "first", "last", "longest_gap_s"))
    select = (
        f"SELECT 'd' AS device_id, 't' AS reading, TIMESTAMP '{day} 05:00:00' AS period_start, {doubles}, "
        f"{count} :: BIGINT AS count, 0 :: BIGINT AS gaps, 4.5 :: DECIMAL(38, 9) AS sum"
    )
    duckdb.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
    archive.bucket.put_file(f"reports/aggregate_hourly/dt={day}/aggregate_hourly.parquet", path)


def test_what_is_executed_twice_is_loaded_once(archive: SharedArchive, tmp_path: Path) -> None:
    loading = Loading(archive, tmp_path)
    odd = b'{"device_id":"d","time":"2026-07-01T00:00:00Z","id":"odd","temperature":70.50,"humidity":"wet","x":1.50}'
    archive.put(*events(range(20)), *events(range(10), day=2), odd)
    archive.compact()
    archive.here.compact()
    report(archive, "2026-07-01", 3)
    report(archive, "2026-07-02", 4)
    config = b'{"version":1,"updated_at":"2026-07-01T00:00:00.000Z","config":{"rate":5}}'
    DynamoTable.connect("devices").put([Item("pump-1", "config", config)])

    batches = loading.plan()
    loading.execute(batches, acknowledged=False)
    first = loading.state()
    assert len(first[0]) == len(rows_here(archive.here)) == 31 and len(first[1]) == 32
    assert [row[:3] for row in first[0]] == [row[:3] for row in rows_here_times(archive)]
    assert first[2][0][:3] == ("pump-1", '{"rate":5}', 1) and [row[3] for row in first[3]] == [3, 4]

    again = loading.plan()
    assert again == batches  # nothing was acknowledged, and nothing is new
    loading.execute(again)
    assert loading.state() == first
    assert loading.plan() == [] and archive.keys("load/") == ["load/next.json"]


def rows_here_times(archive: SharedArchive) -> list[tuple[Any, ...]]:
    near = [archive.here.bucket.location(key) for key in archive.here.files()]
    return duckdb.execute(f"SELECT device_id, time, id FROM read_parquet({near}) ORDER BY ALL").fetchall()


def test_what_comes_later_is_added_and_a_day_computed_again_replaced(archive: SharedArchive, tmp_path: Path) -> None:
    loading = Loading(archive, tmp_path)
    archive.put(*events(range(20)))
    archive.compact()
    report(archive, "2026-07-01", 3)
    report(archive, "2026-07-02", 4)
    loading.execute(loading.plan())
    archive.put(*events(range(15, 25)), event(99, pressure=7))
    # The day's file is merged: another key, mostly of events that are loaded.
    archive.compact(readings=(*READINGS, "pressure"))
    report(archive, "2026-07-01", 5)
    archive.bucket.delete("reports/aggregate_hourly/dt=2026-07-02/aggregate_hourly.parquet")
    loading.execute(loading.plan((*READINGS, "pressure")))
    assert loading.redshift.rows("SELECT count(*), count(DISTINCT id), max(pressure) FROM events") == [(26, 26, 7.0)]
    assert loading.redshift.rows("SELECT count(*) FROM readings WHERE reading = 'pressure'") == [(1,)]
    assert loading.redshift.rows("SELECT period_start, count FROM hourly ORDER BY ALL")[0][1] == 5
    assert len(loading.state()[3]) == 1


def test_what_was_deleted_since_does_not_come_back(archive: SharedArchive, tmp_path: Path) -> None:
    loading = Loading(archive, tmp_path)
    archive.put(*events(range(20)))
    archive.compact()
    batches = loading.plan()
    loading.execute(batches)
    loading.redshift.rows("DELETE FROM events WHERE device_id = 'pump-1'")
    left = loading.state()
    loading.execute(batches)
    assert loading.state() == left


def test_a_batch_that_fails_leaves_nothing(archive: SharedArchive, tmp_path: Path) -> None:
    loading = Loading(archive, tmp_path)
    archive.put(*events(range(20)))
    archive.compact()
    batches = loading.plan()
    (batch,) = [each for each in batches if any(sql.startswith("COPY incoming") for sql in each["sqls"])]
    loading.execute([each for each in batches if each != batch])
    before = loading.state()
    for place in range(1, len(batch["sqls"]) + 1):
        with pytest.raises(Exception, match="nothing_there"):
            loading.redshift.batch([*batch["sqls"][:place], "SELECT * FROM nothing_there"])
        assert loading.state() == before and before[0] == []
    loading.execute([batch])
    assert len(loading.state()[0]) == 20


def test_a_file_that_compacted_days_apart_have_both_is_loaded_once(archive: SharedArchive, tmp_path: Path) -> None:
    loading = Loading(archive, tmp_path)
    archive.put(*events(range(10)))
    archive.compact()
    archive.put(*events(range(5, 15)))
    archive.compact(warm_days=0)  # `unchecked`: five of its events are in the first file
    loading.execute(loading.plan())
    assert loading.redshift.rows("SELECT count(*), count(DISTINCT id) FROM events") == [(15, 15)]
