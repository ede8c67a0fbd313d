"""What executors do for loading: files of the archive and of reports become load files (`load.py`)."""

from collections.abc import Mapping
from typing import NamedTuple

from headrace.archive import snapshot
from headrace.archive.columns import name_sql
from headrace.archive.engine import parquet_sql
from headrace.emr import statements
from headrace.emr.storage import Source
from headrace.emr.tasks import working
from headrace.warehouse import tables
from headrace.warehouse.tables import EVENTS, READINGS

_FORMAT = "(FORMAT parquet, PARQUET_VERSION v1, COMPRESSION snappy)"


class Encode(NamedTuple):
    """A compacted file, the readings that have a column in it, and what becomes of them.

    `columns` are those of the table `events`, `typed` says which of them is which reading of the file. The load files'
    keys begin with `target`.
    """

    source: Source
    key: str
    in_file: tuple[str, ...]
    columns: Mapping[str, str]
    typed: Mapping[str, str]
    target: str
    memory_mb: int


class Encoded(NamedTuple):
    """Load files, and their sizes in bytes."""

    events: str
    events_bytes: int
    readings: str
    readings_bytes: int


class Rows(NamedTuple):
    """Rows that are a table's as they are, Parquet or (`.ndjson`) texts, to become the load file `target`."""

    source: Source
    key: str
    columns: Mapping[str, str]
    target: str
    memory_mb: int


def encode(task: Encode) -> Encoded:
    """Write a file's events, and the numbers in them, as load files."""
    with working(task.source, task.memory_mb) as (bucket, connection, folder):
        own = {name: name_sql(name) for name in tables.tables()[EVENTS].names}
        values = own | {column: name_sql(name) for column, name in task.typed.items()}
        connection.execute(f"CREATE TEMP VIEW events AS SELECT * FROM {parquet_sql([bucket.location(task.key)])}")
        numbers = f"({snapshot.readings_sql(task.in_file)})"
        columns = statements.columns_of(READINGS)
        sources = {
            EVENTS: statements.select(task.columns, values, "events"),
            READINGS: statements.select(columns, {name: name_sql(name) for name in columns}, numbers),
        }
        sizes = {}
        for table, select in sources.items():
            path = folder / f"{table}.parquet"
            connection.execute(f"COPY ({select}) TO '{path}' {_FORMAT}")
            sizes[table] = path.stat().st_size
            bucket.put_file(f"{task.target}-{table}.parquet", path)
        return Encoded(
            f"{task.target}-{EVENTS}.parquet", sizes[EVENTS], f"{task.target}-{READINGS}.parquet", sizes[READINGS]
        )


def encode_rows(task: Rows) -> int:
    """Write rows as a load file; return its size in bytes."""
    with working(task.source, task.memory_mb) as (bucket, connection, folder):
        near = bucket.location(task.key)
        source = parquet_sql([near])
        if task.key.endswith(".ndjson"):
            texts = ", ".join(f"'{name}': 'VARCHAR'" for name in task.columns)
            source = f"read_json('{near}', format = 'newline_delimited', columns = {{{texts}}})"
        select = statements.select(task.columns, {name: name_sql(name) for name in task.columns}, source)
        path = folder / "rows.parquet"
        connection.execute(f"COPY ({select}) TO '{path}' {_FORMAT}")
        size = path.stat().st_size
        bucket.put_file(task.target, path)
        return size
