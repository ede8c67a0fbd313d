"""The SQL that loads Redshift, each batch one transaction and its own: done twice it changes nothing. Pure.

A batch makes tables of its own for what is new, COPYs the files that a manifest names into them, inserts what is not
there yet, notes its files in `load_history`, and drops its tables. A batch that `load_history` knows does nothing: so
what was deleted since, by a user or because a device was erased, does not come back either.

Columns of a batch's tables are those of its files, in order: COPY of Parquet goes by position, and knows no other way.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

import msgspec

from headrace.event import times
from headrace.warehouse import tables
from headrace.warehouse.tables import quoted

HISTORY = "load_history"
CREATE_HISTORY = (
    f"CREATE TABLE IF NOT EXISTS {HISTORY} (load_id VARCHAR(64) NOT NULL, table_name VARCHAR(64) NOT NULL, "
    "file VARCHAR(1024) NOT NULL, row_count BIGINT, loaded_at TIMESTAMP)"
)
_UNUSUAL = re.compile(r"[^\w ./:=+@-]", re.ASCII)
STATEMENTS_MAX = 40  # of one BatchExecuteStatement
KEYS = {
    tables.EVENTS: ("device_id", "time", "id"),
    tables.READINGS: ("device_id", "time", "id", "reading"),
}


class Copied(NamedTuple):
    """Files for one table: the URL of their manifest, or None where rows are only removed.

    `keys` are the columns that tell its rows apart; without them all rows are inserted.
    """

    table: str
    columns: Mapping[str, str]
    manifest: str | None
    keys: tuple[str, ...] = ()


class Noted(NamedTuple):
    """A file of the archive's bucket whose rows are loaded."""

    table: str
    key: str
    rows: int


def setup() -> list[str]:
    """Return what makes every table that is not there yet."""
    return [*(tables.create_sql(name, redshift=True) for name in tables.tables()), CREATE_HISTORY]


def added(load: str, copied: Sequence[Copied], noted: Sequence[Noted], first_us: int, last_us: int) -> list[str]:
    """Return the batch that adds rows of `events` and `readings` between two times (microseconds, both included)."""
    within = f"old.time >= {_time(first_us)} AND old.time <= {_time(last_us)}"
    return _batch(load, copied, noted, [_insert(load, each, within) for each in copied])


def replaced(load: str, copied: Copied, noted: Sequence[Noted], removed: str) -> list[str]:
    """Return the batch that puts rows in the place of those that a condition says."""
    delete = f"DELETE FROM {copied.table} WHERE {removed} AND {_is_new(load)}"
    insert = [_insert(load, copied)] if copied.manifest else []
    return _batch(load, [copied], noted, [delete, *insert])


def on_day(column: str, days: Iterable[date]) -> str:
    """Return the condition that a time is on one of these days."""
    one = "({0} >= '{1} 00:00:00' AND {0} < '{2} 00:00:00')"
    return f"({' OR '.join(one.format(quoted(column), day, day + timedelta(days=1)) for day in days)})"


def in_month(column: str, months: Iterable[date]) -> str:
    """Return the condition that a date is one of these, the first days of months."""
    listed = ", ".join(f"'{month}'" for month in months)
    return f"{quoted(column)} IN ({listed})"


def manifest(urls: Mapping[str, int]) -> bytes:
    """Return the manifest of files (URL -> bytes): COPY takes just these, and fails if one is not there."""
    entries = [{"url": url, "mandatory": True, "meta": {"content_length": size}} for url, size in urls.items()]
    return msgspec.json.encode({"entries": entries})


def select(columns: Mapping[str, str], values: Mapping[str, str], source: str) -> str:
    """Return DuckDB's SELECT for a load file: `values` are expressions by column, a missing one is null.

    A text that its column can't hold is null: the archive has it, and COPY would refuse the whole file.
    """
    chosen = ", ".join(f"{_fitting(kind, values.get(name))} AS {quoted(name)}" for name, kind in columns.items())
    return f"SELECT {chosen} FROM {source}"


def columns_of(table: str, added_columns: Iterable[str] = ()) -> dict[str, str]:
    """Return a table's columns and types, with those that `events` has got since."""
    own = {column.name: column.type for column in tables.tables()[table].columns}
    return own | dict.fromkeys(added_columns, "DOUBLE PRECISION")


def _batch(load: str, copied: Sequence[Copied], noted: Sequence[Noted], changes: Sequence[str]) -> list[str]:
    files = [each for each in copied if each.manifest]
    made = [f"CREATE TABLE {_incoming(load, each)} ({_declared(each.columns)})" for each in files]
    copies = [
        f"COPY {_incoming(load, each)} FROM {text(each.manifest or '')} IAM_ROLE default FORMAT AS PARQUET MANIFEST"
        for each in files
    ]
    dropped = [f"DROP TABLE {_incoming(load, each)}" for each in files]
    return [*made, *copies, *changes, _note(load, noted), *dropped]


def _insert(load: str, copied: Copied, within: str = "") -> str:
    """Return what inserts incoming rows; of a table with keys, those that are not there `within` a range."""
    names = [quoted(name) for name in copied.columns]
    conditions = [_is_new(load)]
    if copied.keys:
        same = " AND ".join(f"old.{quoted(key)} = incoming.{quoted(key)}" for key in copied.keys)
        conditions.insert(0, f"NOT EXISTS (SELECT 1 FROM {copied.table} AS old WHERE {same} AND {within})")
    return (
        f"INSERT INTO {copied.table} ({', '.join(names)}) SELECT {', '.join(f'incoming.{name}' for name in names)} "
        f"FROM {_incoming(load, copied)} AS incoming WHERE {' AND '.join(conditions)}"
    )


def _note(load: str, noted: Sequence[Noted]) -> str:
    rows = " UNION ALL ".join(
        f"SELECT {text(each.table)} AS table_name, {text(each.key)} AS file, CAST({each.rows} AS BIGINT) AS row_count"
        for each in noted
    )
    return (
        f"INSERT INTO {HISTORY} (load_id, table_name, file, row_count, loaded_at) "
        f"SELECT {text(load)}, noted.table_name, noted.file, noted.row_count, CAST(GETDATE() AS TIMESTAMP) "
        f"FROM ({rows}) AS noted WHERE {_is_new(load)}"
    )


def _is_new(load: str) -> str:
    return f"(SELECT count(*) FROM {HISTORY} WHERE load_id = {text(load)}) = 0"


def _incoming(load: str, copied: Copied) -> str:
    return f"incoming_{load}_{copied.table}"


def _declared(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())


def _fitting(kind: str, value: str | None) -> str:
    if value is None:
        return f"CAST(NULL AS {kind})"
    if kind.startswith("VARCHAR("):
        return f"CASE WHEN strlen({value}) <= {kind[len('VARCHAR(') : -1]} THEN {value} END"
    return f"CAST({value} AS {kind})"


def _time(us: int) -> str:
    return text(times.from_us(us).rstrip("Z").replace("T", " "))


def text(value: str) -> str:
    """Return a name as an SQL literal; what no key or URL of ours has becomes a question mark."""
    return f"'{_UNUSUAL.sub('?', value)}'"
