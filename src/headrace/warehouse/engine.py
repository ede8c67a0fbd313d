"""The DuckDB file of the warehouse, and what SQL from outside may do to it: nothing but read and write tables.

The instance is locked before the first statement: no file but those in `incoming/` can be opened, nothing attached,
installed or set. Memory and threads are limited, what does not fit is spilled up to a limit, and a statement that runs
too long is interrupted; each of these fails that statement alone.
"""

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from headrace import disk
from headrace.errors import DataDirectoryError, HeadraceError, StorageError, UsageError
from headrace.warehouse import tables

FILE = "warehouse.duckdb"
INCOMING = "incoming"
LOADED = "loaded"  # beside the file: what the last load found (`operations/load.py`)
VERSION = 1
STUCK_S = 30.0  # after the interruption of a statement, which takes effect between two chunks of rows
_AGAIN_S = 0.05
# What queries can't name: which files are loaded, numbers without a column, and writes that are done.
_INTERNAL = (
    "CREATE SCHEMA IF NOT EXISTS internal",
    "CREATE TABLE IF NOT EXISTS internal.format (version INTEGER)",
    "CREATE TABLE IF NOT EXISTS internal.loads (table_name VARCHAR, key VARCHAR, mark VARCHAR)",
    "CREATE TABLE IF NOT EXISTS internal.erased (number BIGINT)",
    "CREATE TABLE IF NOT EXISTS internal.committed (id VARCHAR)",
    "CREATE TABLE IF NOT EXISTS internal.numbers (device_id VARCHAR, time TIMESTAMP, id VARCHAR,"
    " arrived_at TIMESTAMP, reading VARCHAR, value DOUBLE)",
    "CREATE TABLE IF NOT EXISTS internal.columns (name VARCHAR, reading VARCHAR)",
)


class Limits(NamedTuple):
    """What statements may take: all of them together, but for the time, which each may."""

    memory_mb: int = 1024
    spill_mb: int = 10_240
    threads: int = 2
    timeout_s: float = 600.0


class Interrupted(HeadraceError):
    """A statement was ended: it was cancelled, or ran too long."""


class Engine:
    """The one that opens the file. `session` may be used from several threads at once, each with its own."""

    def __init__(self, folder: Path, limits: Limits, settings: Sequence[str] = ()) -> None:
        """Open the file, or make it; raises DataDirectoryError for one that can't be read or is newer."""
        import duckdb

        self.limits = limits
        self.is_broken = False  # DuckDB takes nothing more until the file is opened anew
        self.incoming = folder / INCOMING
        disk.make_folder(self.incoming)
        self._duckdb = duckdb
        self._schema: dict[str, dict[str, str]] | None = None
        self._connection = duckdb.connect(
            config={
                "memory_limit": f"{limits.memory_mb}MB",
                "threads": limits.threads,
                "temp_directory": str(folder / "spilled"),
                "max_temp_directory_size": f"{limits.spill_mb}MB",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
            }
        )
        try:
            self._open(folder / FILE, settings)
        except duckdb.Error as error:
            self._connection.close()
            raise DataDirectoryError(
                f"The warehouse's file {folder / FILE} can't be opened: {_first_line(error)}",
                "Put it back from a backup; or remove it, and load it anew with `headrace jobs run load`.",
            ) from error

    def _open(self, file: Path, settings: Sequence[str]) -> None:
        run = self._connection.execute
        run(f"ATTACH {text(str(file))} AS {tables.DATABASE}")
        run(f"CREATE SCHEMA IF NOT EXISTS {tables.DATABASE}.{tables.SCHEMA}")
        run(f"USE {tables.DATABASE}.{tables.SCHEMA}")
        for sql in _INTERNAL:
            run(sql)
        for name in tables.tables():
            if name != tables.READINGS:
                run(tables.create_sql(name))
        found = run("SELECT max(version) FROM internal.format").fetchall()[0][0]
        if found is None:
            (file.parent / LOADED).unlink(missing_ok=True)
            run(readings_view({}))
            run(f"INSERT INTO internal.format VALUES ({VERSION})")  # last: a file without it is made anew
        elif found > VERSION:
            raise DataDirectoryError(
                f"{file} was written by a newer Headrace (format {found}; this one knows {VERSION}).",
                "Install that version: pip install -U headrace",
            )
        for sql in settings:
            run(re.sub(r"^SET (?!GLOBAL )", "SET GLOBAL ", sql))  # for the sessions to come
        run(f"SET allowed_directories = [{text(f'{self.incoming}/')}]")
        run("SET enable_progress_bar = false")
        run("SET enable_external_access = false")
        run("SET lock_configuration = true")

    @contextlib.contextmanager
    def session(self) -> Iterator["Session"]:
        """Yield a session, which ends rolled back unless what it did was committed."""
        cursor = self._connection.cursor()
        try:
            cursor.execute(f"USE {tables.DATABASE}.{tables.SCHEMA}")
            yield Session(cursor, self)
        finally:
            cursor.close()

    def schema(self) -> dict[str, dict[str, str]]:
        """Return the tables and views that queries see, and their columns' names and types, in order.

        It is remembered until `schema_changed`: to ask DuckDB takes longer than many a statement.
        """
        found = self._schema
        if found is None:
            with self.session() as session:
                found = self._schema = self.schema_of(session)
        return found

    def schema_changed(self) -> None:
        """Have the schema asked for anew: a change of it is committed."""
        self._schema = None

    def schema_of(self, session: "Session") -> dict[str, dict[str, str]]:
        """Return the same as a session sees it, with what it has not committed."""
        sql = (
            "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE database_name = ? "
            "AND schema_name = ? ORDER BY table_name, column_index"
        )
        found: dict[str, dict[str, str]] = {}
        for table, column, kind in session.run(sql, [tables.DATABASE, tables.SCHEMA]).fetchall():
            found.setdefault(table, {})[column] = kind
        return found

    def kinds(self) -> dict[str, str]:
        """Return the tables and views that queries see: TABLE or VIEW, by name. `readings` passes for a table."""
        sql = (
            "SELECT table_name, 'TABLE' FROM duckdb_tables() WHERE database_name = $1 AND schema_name = $2 UNION ALL "
            "SELECT view_name, CASE WHEN view_name = $3 THEN 'TABLE' ELSE 'VIEW' END FROM duckdb_views() "
            "WHERE database_name = $1 AND schema_name = $2"
        )
        with self.session() as session:
            return dict(session.run(sql, [tables.DATABASE, tables.SCHEMA, tables.READINGS]).fetchall())

    def close(self) -> None:
        """Close the file; what is committed is in it."""
        self._connection.close()

    def mended(self, error: Exception) -> HeadraceError:
        """Return an error of DuckDB in words that say what to do."""
        duckdb = self._duckdb
        problem = str(error).strip()
        if isinstance(error, duckdb.OutOfMemoryException):
            if "max_temp_directory_size" in problem:
                return StorageError(
                    f"The statement needs more room to spill into than the {self.limits.spill_mb:,} MB it may have.",
                    "Select less at once: fewer days or columns, or group before joining.",
                )
            return HeadraceError(
                f"The statement needs more memory than the {self.limits.memory_mb:,} MB the warehouse may have.",
                "Select less at once: fewer days or columns, or group before joining; or raise "
                "HEADRACE_WAREHOUSE_MEMORY_MB.",
            )
        if isinstance(error, duckdb.InterruptException):
            return Interrupted("The statement was ended.")
        self.is_broken |= isinstance(error, duckdb.FatalException | duckdb.InternalException)
        if isinstance(error, duckdb.IOException | duckdb.FatalException | duckdb.InternalException):
            return StorageError(f"The warehouse failed: {problem}", "Is the disk full? See `headrace logs warehouse`.")
        if isinstance(error, duckdb.TransactionException):
            return HeadraceError(f"{problem}", "Another statement changed the same rows: run it again.")
        return UsageError(problem, "Mend the SQL, and run it again.")


class Session:
    """A connection of its own."""

    def __init__(self, cursor: Any, engine: Engine) -> None:
        self._cursor = cursor
        self._engine = engine

    def run(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        """Execute one statement of our own or translated; return what rows are fetched from. Raises HeadraceError."""
        try:
            return self._cursor.execute(sql, list(parameters)) if parameters else self._cursor.execute(sql)
        except self._engine._duckdb.Error as error:
            raise self._engine.mended(error) from error

    def fetch(self, rows: int) -> list[tuple[Any, ...]]:
        """Return the next rows, none at the end; raises HeadraceError."""
        try:
            found: list[tuple[Any, ...]] = self._cursor.fetchmany(rows)
        except self._engine._duckdb.Error as error:
            raise self._engine.mended(error) from error
        except (ValueError, OverflowError) as error:
            raise UsageError(f"A value can't be handed over: {error}", "Cast it to VARCHAR.") from error
        return found

    def columns(self) -> list[tuple[str, str]]:
        """Return the names and DuckDB types of the columns of what was run."""
        return [(each[0], str(each[1])) for each in self._cursor.description or ()]

    @contextlib.contextmanager
    def transaction(self, *, read_only: bool = False) -> Iterator[None]:
        """Commit at the end, roll back where it raises."""
        self.run("BEGIN TRANSACTION READ ONLY" if read_only else "BEGIN TRANSACTION")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            with contextlib.suppress(HeadraceError):
                self.run("ROLLBACK")
            raise

    @contextlib.contextmanager
    def limited(self, timeout_s: float, stuck: Callable[[], None]) -> Iterator[Callable[[], None]]:
        """Interrupt what runs too long; yields what interrupts it earlier. `stuck` is called if that is of no use."""
        late, wanted, ended = threading.Event(), threading.Event(), threading.Event()

        def insist() -> None:
            wanted.wait()
            while not ended.is_set():  # more than once: DuckDB forgets an interruption that comes before it begins
                with contextlib.suppress(self._engine._duckdb.Error):
                    self._cursor.interrupt()
                ended.wait(_AGAIN_S)

        def end() -> None:
            late.set()
            wanted.set()

        threading.Thread(target=insist, name="interruption", daemon=True).start()
        timers = [threading.Timer(timeout_s, end), threading.Timer(timeout_s + STUCK_S, stuck)]
        for timer in timers:
            timer.daemon = True
            timer.start()
        try:
            yield wanted.set
        except Interrupted:
            if late.is_set():
                raise Interrupted(
                    f"The statement ran longer than the {timeout_s:,.0f} s it may.",
                    "Select less at once, use `hourly` or `daily`; or raise HEADRACE_WAREHOUSE_TIMEOUT_S.",
                ) from None
            raise
        finally:
            ended.set()
            wanted.set()
            for timer in timers:
                timer.cancel()


def readings_view(columns: dict[str, str]) -> str:
    """Return the view `readings`: `columns` of events (column -> reading), then the numbers without a column.

    A condition on `reading` is settled for each part before anything is read, so that one reading costs one column.
    """
    parts = [
        f"SELECT device_id, time, id, arrived_at, {text(reading)} AS reading, {tables.quoted(column)} AS value "
        f"FROM {tables.DATABASE}.{tables.SCHEMA}.events WHERE {tables.quoted(column)} IS NOT NULL"
        for column, reading in columns.items()
    ]
    parts.append(f"SELECT device_id, time, id, arrived_at, reading, value FROM {tables.DATABASE}.internal.numbers")
    return f"CREATE OR REPLACE VIEW {tables.READINGS} AS {' UNION ALL '.join(parts)}"


def text(value: str) -> str:
    """Return text as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
