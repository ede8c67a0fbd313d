"""Parquet files as the archive writes them."""

from pathlib import Path

import duckdb

from headrace.archive import sorting


def test_times_of_many_devices_are_written_as_differences_and_not_by_their_places_in_a_dictionary(
    tmp_path: Path,
) -> None:
    rows, path = 20_000, tmp_path / "a.parquet"
    with duckdb.connect() as connection:
        times = f"SELECT TIMESTAMP '2026-07-01' + to_seconds(i % 3500 * 7) AS time FROM range({rows}) t(i)"
        sorting.copy(connection, times, path, rows)
        written = connection.execute("SELECT encodings FROM parquet_metadata(?)", [str(path)]).fetchall()
    assert written == [("DELTA_BINARY_PACKED",)]


def test_days_are_told_in_order() -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE events (time TIMESTAMP)")
        connection.execute("INSERT INTO events VALUES ('9999-12-31 23:59'), ('0001-01-01'), ('2026-07-01 12:00')")
        assert sorting.days_of(connection, "events") == ["0001-01-01", "2026-07-01", "9999-12-31"]
