"""The engine for one machine: DuckDB inside the job's process. It is imported when a job needs it, no earlier."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from headrace.errors import HeadraceError, UsageError
from headrace.jobs import views
from headrace.jobs.base import Engine, Relation, has_column, no_day, quoted
from headrace.json_members import KEY, VALUE, members

_BATCH_ROWS = 10_000
_NO_VIEW = re.compile(r"Table with name (\S+) does not exist")
_WIDENED = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "HUGEINT"), "BIGINT"),
    **dict.fromkeys(("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"), "BIGINT"),
    "FLOAT": "DOUBLE",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
}


class DuckDB(Engine):
    """A session that may hold `memory_mb` in memory and `spill_mb` in the folder `temporary`."""

    MICROSECONDS = "epoch_us({})"

    def __init__(self, temporary: Path, *, memory_mb: int, spill_mb: int) -> None:
        import duckdb

        self._duckdb = duckdb
        self._temporary = temporary
        self._memory_mb = memory_mb
        self._connection = duckdb.connect(
            config={
                "memory_limit": f"{memory_mb}MB",
                "temp_directory": str(temporary),
                "max_temp_directory_size": f"{spill_mb}MB",
                "autoinstall_known_extensions": False,
            }
        )
        self._execute("SET TimeZone = 'UTC'")

    def members(self, typed: Sequence[str]) -> str:
        """Return a SELECT of the numbers in `readings`."""
        return f"""
            SELECT e.device_id, e.time, e.id, e.arrived_at, e.{KEY} AS reading, CAST(e.{VALUE} AS DOUBLE) AS value
            FROM (SELECT *, {members("readings")} FROM events WHERE readings <> '{{}}' AND json_valid(readings)) AS e
            WHERE json_type(e.{VALUE}) IN ('UBIGINT', 'BIGINT', 'DOUBLE')
                AND NOT {has_column(f"e.{KEY}", typed, _text)}"""

    def relation(self, relation: Relation) -> None:
        """Make files known."""
        columns = relation.columns
        if columns is None:
            read = f"read_parquet({_list(relation.files)}, union_by_name = true, hive_partitioning = false)"
            self.view(relation.name, f"SELECT * FROM {read}")
            return
        casts = ", ".join(f"CAST({quoted(name)} AS {kind}) AS {quoted(name)}" for name, kind in columns.items())
        # The empty relation knows every column: what files lack is null, and no file at all is a relation, too.
        empty = self._temporary / f"{relation.name}.empty.parquet"
        nulls = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in columns.items())
        self._execute(f"COPY (SELECT {nulls} WHERE false) TO {_text(str(empty))} (FORMAT parquet)")
        parquet = [str(empty), *(path for path in relation.files if not path.endswith(".ndjson"))]
        parts = [f"SELECT {casts} FROM read_parquet({_list(parquet)}, union_by_name = true, hive_partitioning = false)"]
        if ndjson := [path for path in relation.files if path.endswith(".ndjson")]:
            texts = ", ".join(f"'{name}': 'VARCHAR'" for name in columns)
            read = f"read_json({_list(ndjson)}, format = 'newline_delimited', columns = {{{texts}}})"
            parts.append(f"SELECT {casts} FROM {read}")
        self.view(relation.name, " UNION ALL ".join(parts))

    def view(self, name: str, sql: str) -> None:
        """Make a query known."""
        self._execute(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS {sql}")

    def write(self, sql: str, folder: Path, *, order: Sequence[str], day: str | None = None) -> None:
        """Write a query's rows."""
        cursor = self._execute(f"DESCRIBE {sql}")
        columns = {name: kind for name, kind, *_ in cursor.fetchall()}
        values = [_widened(name, kind) for name, kind in columns.items()]
        days = f"CAST({quoted(day)} AS DATE)" if day else "NULL"
        sorting = ", ".join(map(quoted, order)) or "ALL"
        self._execute(f"CREATE OR REPLACE TEMP TABLE result AS SELECT {', '.join(values)}, {days} AS _day FROM ({sql})")
        folder.mkdir(parents=True)
        if day is None:
            self._copy("true", sorting, folder)
            return
        for (found,) in self._execute("SELECT DISTINCT _day FROM result ORDER BY ALL").fetchall():
            if found is None:
                raise no_day(day)
            self._copy(f"_day = DATE '{found}'", sorting, folder / f"dt={found}")

    def rows(self, files: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield the rows of files."""
        cursor = self._execute(f"SELECT * FROM read_parquet({_list(files)}, hive_partitioning = false)")
        names = [column[0] for column in cursor.description]
        while batch := cursor.fetchmany(_BATCH_ROWS):
            yield from (dict(zip(names, row, strict=True)) for row in batch)

    @property
    def connection(self) -> Any:
        """DuckDB's connection, for who asks it more than a report does."""
        return self._connection

    def close(self) -> None:
        """End the session."""
        self._connection.close()

    def _copy(self, condition: str, sorting: str, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._execute(
            f"COPY (SELECT * EXCLUDE (_day) FROM result WHERE {condition} ORDER BY {sorting})"
            f" TO {_text(str(folder / 'rows.parquet'))} (FORMAT parquet, COMPRESSION zstd)"
        )

    def _execute(self, sql: str) -> Any:
        try:
            return self._connection.execute(sql)
        except self._duckdb.OutOfMemoryException as error:
            raise HeadraceError(
                f"The job needs more memory than it may have ({self._memory_mb:,} MB): {_first_line(error)}",
                "Raise its memory_mb, compute fewer days at once (--from, --to), or group before joining.",
            ) from error
        except self._duckdb.InvalidInputException as error:
            raise HeadraceError(
                f"DuckDB failed: {error}", "See the job's log. Is a file of the archive damaged? headrace doctor tells."
            ) from error
        except (self._duckdb.ProgrammingError, self._duckdb.BinderException) as error:
            if found := _NO_VIEW.search(str(error)):
                raise UsageError(f"There is no view {found[1]}.", f"A report reads: {self._views()}.") from error
            raise UsageError(f"DuckDB refuses the SQL: {error}", "Mend the report, and run it again.") from error
        except self._duckdb.Error as error:
            raise HeadraceError(
                f"DuckDB failed: {error}", "See the job's log; a value may not fit its type."
            ) from error

    def _views(self) -> str:
        found = self._connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL")
        return ", ".join(name for (name,) in found.fetchall() if name != views.ARCHIVED)


def _widened(name: str, kind: str) -> str:
    column = quoted(name)
    return f"CAST({column} AS {_WIDENED[kind]}) AS {column}" if kind in _WIDENED else column


def _list(paths: Sequence[str]) -> str:
    return f"[{', '.join(map(_text, paths))}]"


def _text(path: str) -> str:
    return "'" + path.replace("'", "''") + "'"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
