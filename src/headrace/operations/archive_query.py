"""One query over the archive, as the process that the gateway starts for it: last in line, bounded, without files.

Its SQL is Redshift's, translated by an allow-list that knows no function that reads a file; the engine may read nothing
but what was opened for it all the same.
"""

import contextlib
import math
import os
import resource
import shutil
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from headrace import disk
from headrace.archive import columns, snapshot
from headrace.archive.local import LocalBucket
from headrace.errors import HeadraceError, StorageError, UsageError
from headrace.jobs import sources, views
from headrace.jobs.base import Relation
from headrace.jobs.duckdb import DuckDB
from headrace.operations.archive_sql import Ended, Wanted, memory_mb
from headrace.plural import counted
from headrace.settings import Layout
from headrace.system import System
from headrace.table.local import LocalTable
from headrace.warehouse import dialect

NICE = 10  # what devices wait for goes first
ROWS_AT_ONCE = 2000
RESULT_BYTES_MAX = 500_000_000
SPILL_MB = 4096
# Of the process beyond what DuckDB is allowed: Python, the libraries, a value that is made at once.
MEMORY_MB_BESIDE = 3072
_VIEWS = ("devices", "properties", "rejected")


def run(layout: Layout, system: System, name: str, body: bytes) -> int:
    """Answer a query: the result and the last word go to files; return the exit code."""
    os.nice(NICE)
    folder = layout.archive / "queries"
    work = folder / f"{name}.work"
    ended = Ended()
    try:
        _limit_memory(memory_mb())
        disk.make_folder(work)
        wanted = msgspec.json.decode(body, type=Wanted)
        with (folder / f"{name}.ndjson").open("wb") as out:
            _answer(layout, system, wanted, work, out)
    except HeadraceError as error:
        ended = Ended(error.problem, error.hint)
    except MemoryError:
        ended = Ended("The query needs more memory than it may have.", "Ask for less: fewer rows, shorter texts.")
    except OSError as error:
        ended = Ended(f"The result can't be written: {error.strerror}", "Free space on the data directory's disk.")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    (folder / f"{name}.end").write_bytes(msgspec.json.encode(ended))
    return 1 if ended.message else 0


def _limit_memory(allowed_mb: int) -> None:
    most = (allowed_mb + MEMORY_MB_BESIDE) * 1024 * 1024
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _answer(layout: Layout, system: System, wanted: Wanted, work: Path, out: BinaryIO) -> None:
    bucket = LocalBucket(layout.buckets / system.archive_bucket)
    with (
        snapshot.open(bucket, layout.archive, readings=system.readings, leave_out_cold=True) as taken,
        contextlib.closing(_engine(work)) as engine,
    ):
        _define(engine, layout, system, taken, work)
        schema = _schema(engine.connection)
        statement = _translated(wanted, schema)
        _lock(engine.connection, [layout.buckets / system.archive_bucket, layout.archive])
        notes = [str(problem) for problem in taken.problems]
        if taken.cold:
            notes.append(f"left out, as they are cold: {counted(len(taken.cold), 'file')} (headrace archive restore)")
        head = {"columns": [[column.name, column.type] for column in statement.columns], "notes": notes}
        out.write(msgspec.json.encode(head) + b"\n")
        for line in _lines(engine.connection, statement.sql, wanted.rows_max):
            out.write(line)
            if out.tell() > RESULT_BYTES_MAX:
                raise UsageError(
                    f"The result is larger than {RESULT_BYTES_MAX // 1_000_000} MB.",
                    "Add a LIMIT or aggregate; for all events there is `headrace export`.",
                )


def _engine(work: Path) -> DuckDB:
    engine = DuckDB(work, memory_mb=memory_mb(), spill_mb=SPILL_MB)
    engine.connection.execute(f"SET threads = {max(1, (os.cpu_count() or 2) // 2)}")
    for setting in dialect.SETTINGS:
        engine.connection.execute(setting)
    return engine


def _define(engine: DuckDB, layout: Layout, system: System, taken: snapshot.Snapshot, work: Path) -> None:
    """Define the views that reports are written over: over all days, raw and compacted, each event once."""
    schema = columns.schema(taken.typed)
    engine.relation(Relation(views.ARCHIVED, schema, taken.files))
    tables = {table.name: LocalTable.connect(table.name, layout.table_socket) for table in system.tables}
    failures = [LocalBucket(layout.buckets / name) for name in system.failures_buckets]
    for relation in sources.relations(work, None, tables.get("devices"), failures):
        if relation.name in _VIEWS:
            engine.relation(relation)
    views.define(engine, tuple(schema), taken.typed, None)


def _schema(connection: Any) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for view in ("events", "readings", *_VIEWS):
        rows = connection.execute(f"DESCRIBE {view}").fetchall()
        found[view] = {name: "TIMESTAMP" if kind.startswith("TIMESTAMP") else kind for name, kind, *_ in rows}
    return found


def _translated(wanted: Wanted, schema: dict[str, dict[str, str]]) -> dialect.Statement:
    statements = dialect.translate(wanted.sql, schema, wanted.parameters)
    if len(statements) != 1 or statements[0].kind != "query":
        raise UsageError("Over the archive there is one SELECT at a time; nothing is written.", "Write one SELECT.")
    return statements[0]


def _lock(connection: Any, folders: list[Path]) -> None:
    """Leave the engine no way to files but those of the archive, and no way to change that."""
    allowed = ", ".join("'" + f"{folder}/".replace("'", "''") + "'" for folder in folders)
    connection.execute(f"SET allowed_directories = [{allowed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _lines(connection: Any, sql: str, rows_max: int | None) -> Iterator[bytes]:
    """Yield the rows of a query as lines of JSON, as DuckDB finds them."""
    import duckdb

    left = math.inf if rows_max is None else rows_max
    try:
        found = connection.execute(sql)
        while left > 0 and (rows := found.fetchmany(int(min(ROWS_AT_ONCE, left)))):
            left -= len(rows)
            yield b"".join(msgspec.json.encode([_value(value) for value in row]) + b"\n" for row in rows)
    except duckdb.OutOfMemoryException as error:
        raise HeadraceError(
            f"The query needs more memory than it may have ({memory_mb()} MB), or more disk.",
            "Ask for a shorter time or fewer columns, group before joining, or raise HEADRACE_SQL_MEMORY_MB.",
        ) from error
    except duckdb.IOException as error:
        raise StorageError(f"A file can't be read or written: {_first_line(error)}", "Ask again.") from error
    except duckdb.Error as error:
        raise HeadraceError(_first_line(error), "See docs/sql.md for what is known of Redshift's SQL.") from error


def _value(value: Any) -> str | int | float | bool | None:
    """Return a value as results spell it: numerics and times as text, a double that is not finite by its name."""
    if isinstance(value, float):
        return value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        text = value.isoformat(" ")
        return text.rstrip("0") if "." in text else text
    if isinstance(value, date):
        return value.isoformat()
    return str(value)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].removeprefix("Invalid Input Error: ")
