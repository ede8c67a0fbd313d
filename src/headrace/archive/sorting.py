"""Rows as a sorted Parquet file without repeated identities: what files of the archive have in common."""

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from headrace.archive import columns
from headrace.archive.columns import names_sql, text_sql
from headrace.archive.engine import parquet_sql

ROW_GROUP = 122_880
LAST_DAY = "9999-12-31"
_SIZE = "250 * count(*) + coalesce(sum(bytes), 0)"  # about what rows take while they are sorted


def copy_sorted(
    connection: Any, rows: Callable[[str], str], names: Sequence[str], path: Path, *, has_copies: bool = True
) -> None:
    """Write the columns `names` of rows to a Parquet file in the order of identities, of each identity the first.

    `rows` makes SQL of those that meet a condition on device_id and time. First is the lowest `PART`, a column as the
    others are, then who arrived first. Where it is known that no identity has copies, this costs less.

    What would not fit in memory is written in parts first: DuckDB sorts on the disk as well, but not by all means.
    """
    # Texts are dear to sort by: devices are put in order once, and rows by their places in it.
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE devices AS "
        f"SELECT device_id, size, row_number() OVER (ORDER BY device_id) AS {columns.PLACE} "
        f"FROM (SELECT device_id, {_SIZE} AS size FROM {rows('true')} GROUP BY device_id)"
    )
    (size,) = connection.execute("SELECT sum(size) FROM devices").fetchone()
    size_max = _memory_bytes(connection) // 3
    if size is None or size <= size_max:
        _copy_part(connection, rows("true"), names, path, has_copies)
        return
    written = []
    for number, part in enumerate(_parts(connection, rows("true"), size_max)):
        written.append(path.with_name(f"{path.stem}-part-{number}.parquet"))
        _copy_part(connection, rows(part), names, written[-1], has_copies)
    copy(connection, f"SELECT * FROM {parquet_sql([str(each) for each in written], by_name=False)}", path)
    for each in written:
        each.unlink()


def _copy_part(connection: Any, rows: str, names: Sequence[str], path: Path, has_copies: bool) -> None:
    rows = f"(SELECT * FROM {rows} JOIN (SELECT device_id, {columns.PLACE} FROM devices) USING (device_id))"
    listed, order = names_sql(names), f"{columns.PLACE}, time, id"
    if not has_copies:
        copy(connection, f"SELECT {listed} FROM {rows} ORDER BY {order}", path)
        return
    ordered = f"FROM {rows} ORDER BY {order}, {columns.PART}, arrived_at, number"
    again = " AND ".join(f"{name} = lag({name}) OVER ()" for name in columns.IDENTITY)
    marked = f"SELECT *, ({again}) IS TRUE AS {columns.REPEATED} FROM ({ordered})"
    copy(connection, f"SELECT {listed} FROM ({marked}) WHERE NOT {columns.REPEATED}", path)


def _parts(connection: Any, rows: str, size_max: int) -> Iterator[str]:
    """Yield conditions that divide rows, in the order of identities; a device's hour is never divided."""
    hours = f"SELECT device_id, date_trunc('hour', time) AS hour, {_SIZE} AS size FROM {rows} GROUP BY ALL"
    before = "sum(size) OVER (ORDER BY device_id, hour) - size"
    found = connection.execute(
        f"SELECT device_id, hour FROM (SELECT *, ({before}) // {size_max} AS part FROM ({hours})) "
        "QUALIFY row_number() OVER (PARTITION BY part ORDER BY device_id, hour) = 1 ORDER BY ALL"
    )
    starts = [(text_sql(device), text_sql(str(hour))) for device, hour in found.fetchall()]
    for (device, hour), end in zip_longest(starts, starts[1:]):
        part = f"device_id >= {device} AND (device_id > {device} OR time >= TIMESTAMP {hour})"
        if end is not None:
            part += f" AND device_id <= {end[0]} AND (device_id < {end[0]} OR time < TIMESTAMP {end[1]})"
        yield part


def _memory_bytes(connection: Any) -> int:
    (text,) = connection.execute("SELECT current_setting('memory_limit')").fetchone()
    number, unit = text.split()
    return int(float(number) * 1024 ** ["bytes", "KiB", "MiB", "GiB", "TiB"].index(unit))


def narrowed(rows: str) -> Callable[[str], str]:
    """Return what makes SQL of those of some rows that meet a condition."""
    return lambda condition: f"(SELECT * FROM {rows} WHERE {condition})"


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
