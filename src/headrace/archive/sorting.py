"""Rows as a sorted Parquet file without repeated identities: what files of the archive have in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.archive import columns
from headrace.archive.columns import names_sql, text_sql

ROW_GROUP = 122_880
LAST_DAY = "9999-12-31"


def copy_sorted(connection: Any, rows: str, names: Sequence[str], path: Path, *, has_copies: bool = True) -> None:
    """Write the columns `names` of rows to a Parquet file in the order of identities, of each identity the first.

    First is the lowest `PART`, a column of `rows` as the others are, then who arrived first. Where it is known that no
    identity has copies, this costs less.
    """
    # Texts are dear to sort by: devices are put in order once, and rows by their places in it.
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE devices AS "
        f"SELECT device_id, row_number() OVER (ORDER BY device_id) AS {columns.PLACE} "
        f"FROM (SELECT DISTINCT device_id FROM {rows})"
    )
    rows = f"(SELECT * FROM {rows} JOIN devices USING (device_id))"
    listed, order = names_sql(names), f"{columns.PLACE}, time, id"
    if not has_copies:
        copy(connection, f"SELECT {listed} FROM {rows} ORDER BY {order}", path)
        return
    ordered = f"FROM {rows} ORDER BY {order}, {columns.PART}, arrived_at, number"
    again = " AND ".join(f"{name} = lag({name}) OVER ()" for name in columns.IDENTITY)
    marked = f"SELECT *, ({again}) IS TRUE AS {columns.REPEATED} FROM ({ordered})"
    copy(connection, f"SELECT {listed} FROM ({marked}) WHERE NOT {columns.REPEATED}", path)


def days_of(connection: Any, table: str) -> list[str]:
    """Return the days (`YYYY-MM-DD`) of a table's events, in order."""
    days = f"SELECT DISTINCT CAST(time AS DATE) AS day FROM {table}"
    found = connection.execute(f"SELECT CAST(day AS VARCHAR) FROM ({days}) ORDER BY day")
    return [day for (day,) in found.fetchall()]


def on_day_sql(day: str) -> str:
    """Return the condition that an event is of a day; no day after the last one can be named."""
    start = f"TIMESTAMP {text_sql(day)}"
    return f"time >= {start}" if day == LAST_DAY else f"time >= {start} AND time < {start} + INTERVAL 1 DAY"


def copy(connection: Any, select: str, path: Path) -> None:
    """Write what a SELECT gives to a Parquet file, in its order."""
    connection.execute(
        f"COPY ({select}) TO {text_sql(str(path))} "
        f"(FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE {ROW_GROUP}, WRITE_BLOOM_FILTER false)"
    )
