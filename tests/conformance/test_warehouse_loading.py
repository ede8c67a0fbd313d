"""Loads: each identity once, whatever is merged or unchecked; periods replaced; columns added; a device erased."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from headrace.errors import Conflict
from headrace.warehouse import dialect
from headrace.warehouse.engine import Engine, Limits
from headrace.warehouse.loading import DevicesLoad, EventsFile, EventsLoad, Loading, Period, RowsLoad

DAY = "2026-07-01"
AGGREGATE = (
    "SELECT 'a' AS device_id, 'x' AS reading, TIMESTAMP '{} 00:00:00' AS period_start, CAST({} AS BIGINT) AS count, "
    "1.0 AS min, 1.0 AS max, 1.0 AS mean, CAST(1 AS DECIMAL(38, 9)) AS sum, 1.0 AS first, 1.0 AS last, "
    "CAST(0 AS BIGINT) AS gaps, 0.0 AS longest_gap_s"
)


class Site:
    def __init__(self, folder: Path) -> None:
        self.engine = Engine(folder, Limits(memory_mb=200), dialect.SETTINGS)
        self.loading = Loading(self.engine)
        self._files = 0

    def parquet(self, sql: str) -> str:
        self._files += 1
        path = self.engine.incoming / f"{self._files}.parquet"
        with duckdb.connect() as connection:
            connection.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet)")
        return str(path)

    def file(
        self, key: str, *rows: tuple[str, int, str], typed: tuple[str, ...] = (), unchecked: bool = False
    ) -> EventsFile:
        """Return a compacted file of rows (device, second, JSON of its readings), `typed` being taken from that."""
        values = ", ".join(
            f"('{device}', TIMESTAMP '{DAY} 00:00:00' + INTERVAL {second} SECOND, 'e-{second}', '{json}')"
            for device, second, json in rows
        )
        columns = "".join(f", CAST(json_extract_string(j, '$.{name}') AS DOUBLE) AS \"{name}\"" for name in typed)
        sql = (
            "SELECT d AS device_id, t AS time, i AS id, t AS arrived_at, CAST(NULL AS VARCHAR) AS device_time, "
            "CAST(NULL AS VARCHAR) AS flags, 's' AS stream, 0 AS shard, CAST(0 AS BIGINT) AS shard_created, "
            "CAST(0 AS BIGINT) AS number, CAST(NULL AS VARCHAR) AS sequence_number, 10 AS bytes"
            f"{columns}, j AS readings FROM (VALUES {values}) AS rows(d, t, i, j)"
        )
        return EventsFile(f"events/dt={DAY}/{key}", DAY, self.parquet(sql), typed, unchecked)

    def load(self, *files: EventsFile, present: tuple[str, ...] = (), generation: int = 0) -> int:
        keys = [f"events/dt={DAY}/{key}" for key in present] or [file.key for file in files]
        return self.loading.events(EventsLoad(generation, list(files), {DAY: keys}))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with self.engine.session() as session:
            found: list[tuple[Any, ...]] = session.run(sql).fetchall()
            return found

    def readings(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT device_id, reading, value FROM readings ORDER BY ALL")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.engine.close()


def test_a_merged_file_adds_what_its_parts_did_not_have(site: Site) -> None:
    assert site.load(site.file("1", ("a", 1, '{"x": 1}'), ("a", 2, '{"x": 2}'))) == 2
    assert site.load(site.file("1", ("a", 9, "{}"))) == 0  # known by its key: not even looked at
    assert site.load(site.file("2", ("a", 1, '{"x": 1}'), ("a", 2, '{"x": 2}'), ("b", 3, '{"x": 3}'))) == 1
    assert site.readings() == [("a", "x", 1.0), ("a", "x", 2.0), ("b", "x", 3.0)]
    assert site.loading.loaded([]).tables["events"].keys() == {f"events/dt={DAY}/2"}


def test_an_unchecked_file_adds_no_copies_not_even_in_the_same_load(site: Site) -> None:
    checked, late = (
        site.file("1", ("a", 1, '{"x": 1}')),
        site.file("2", ("a", 1, '{"x": 1}'), ("a", 2, "{}"), unchecked=True),
    )
    assert site.load(checked, late) == 2
    assert site.readings() == [("a", "x", 1.0)]


def test_a_reading_counts_once_with_a_column_or_without(site: Site) -> None:
    site.load(site.file("1", ("a", 1, '{"Temp": 1.5, "y": 2, "s": "text", "n": null, "big": 1e400}')))
    site.load(site.file("2", ("a", 2, '{"Temp": 2.5, "y": 3}'), typed=("Temp",)), present=("1", "2"))
    site.load(site.file("3", ("a", 3, '{"temp": 4.5}'), typed=("temp",)), present=("1", "2", "3"))
    assert site.readings() == [
        ("a", "Temp", 1.5),
        ("a", "Temp", 2.5),
        ("a", "temp", 4.5),
        ("a", "y", 2.0),
        ("a", "y", 3.0),
    ]
    assert site.rows("SELECT temp FROM events ORDER BY time") == [(None,), (2.5,), (None,)]


def test_a_period_is_replaced_and_one_that_is_gone_is_taken_out(site: Site) -> None:
    def load(*periods: tuple[str, str, str | None]) -> int:
        made = [
            Period(f"dt={day}", mark, day, site.parquet(AGGREGATE.format(day, n)) if n else None)
            for day, mark, n in periods
        ]
        return site.loading.rows(RowsLoad(0, "hourly", made))

    counts = "SELECT CAST(period_start AS VARCHAR)[:10], count FROM hourly ORDER BY 1"
    assert load((DAY, "1", "5"), ("2026-07-02", "1", "6")) == 2
    assert load((DAY, "2", "7")) == 1
    assert site.rows(counts) == [(DAY, 7), ("2026-07-02", 6)]
    assert site.loading.loaded([]).tables["hourly"] == {f"dt={DAY}": "2", "dt=2026-07-02": "1"}
    assert load((DAY, "", None)) == 0
    assert site.rows(counts) == [("2026-07-02", 6)]


def test_devices_are_replaced_as_a_whole(site: Site) -> None:
    path = site.engine.incoming / "devices.ndjson"
    path.write_text(
        '{"device_id":"a","config":"{}","config_version":"3","labels":"{\\"k\\":\\"v\\"}"}\n{"device_id":"b"}\n'
    )
    assert site.loading.devices(DevicesLoad(0, "1", str(path))) == 2
    path.write_text('{"device_id":"b","registered_at":"2026-01-01 00:00:00.5"}\n')
    assert site.loading.devices(DevicesLoad(0, "2", str(path))) == 1
    assert site.rows("SELECT device_id, CAST(registered_at AS VARCHAR) FROM devices") == [
        ("b", "2026-01-01 00:00:00.5")
    ]


def test_an_erased_device_is_gone_and_a_load_that_began_before_is_refused(site: Site) -> None:
    site.load(site.file("1", ("a", 1, '{"x": 1}'), ("b", 2, '{"x": 2}')))
    before = site.loading.loaded([]).generation
    assert site.loading.erase("a") == {"readings": 1, "events": 1, "hourly": 0, "daily": 0, "devices": 0}
    again = site.file("2", ("a", 3, '{"x": 1}'))
    with pytest.raises(Conflict, match="erased"):
        site.load(again, generation=before)
    assert site.readings() == [("b", "x", 2.0)]
    assert site.load(again, generation=site.loading.loaded([]).generation) == 1


def test_a_copy_opens_as_a_warehouse(site: Site, tmp_path: Path) -> None:
    site.load(site.file("1", ("a", 1, '{"x": 1}')))
    copy = site.engine.incoming / "backup-1.duckdb"
    site.loading.copy(str(copy))
    (tmp_path / "restored").mkdir()
    copy.rename(tmp_path / "restored" / "warehouse.duckdb")
    engine = Engine(tmp_path / "restored", Limits(), dialect.SETTINGS)
    with engine.session() as session:
        assert session.run("SELECT count(*) FROM readings").fetchall() == [(1,)]
    engine.close()
