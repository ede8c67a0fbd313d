"""Rows of a Parquet file as records, by the rules of the other formats: numbers stay numbers, nulls are left out.

Timestamps become RFC 3339 text, in UTC where the column has a zone; `device_id` and `id` are text whatever their type
is; lists and structs become JSON. DuckDB reads the file, a part at a time, and writes every value as text itself.
"""

from collections.abc import Callable, Iterator
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, NamedTuple

from headrace.cli.rows import Bad, Reading, Row, check_columns, partition_key, with_offset
from headrace.cli.source import Source
from headrace.errors import HeadraceError, UsageError

ROWS_AT_ONCE = 2000
_NON_FINITE = {"nan": "NaN", "-nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_FLOATS = ("FLOAT", "DOUBLE")


class Column(NamedTuple):
    """How a column is read: the SQL that makes text of it; `is_json` says that the text is JSON as it stands."""

    name: str
    sql: str
    is_json: bool = False
    is_float: bool = False


class ParquetSource(Source):
    """A Parquet file."""

    unit = "row"

    def __init__(self, path: Path) -> None:
        import duckdb

        if any(character in str(path) for character in "*?["):
            raise UsageError(f"{path}: the name holds a wildcard (*, ? or [).", "Rename the file to send it.")
        super().__init__(path)
        self._error: Any = duckdb.Error
        self._connection = duckdb.connect(config={"threads": 1, "autoinstall_known_extensions": False})
        self._connection.execute("SET enable_progress_bar = false")  # it would go to standard output
        self._read, self._count = 0, 0

    def rows(self, reading: Reading) -> Iterator[Row | Bad]:
        """Yield a Row or a Bad for each row; raises HeadraceError where the file is damaged or names no device."""
        ask = self._connection.execute
        table = [str(self.path)]
        try:
            found = ask("DESCRIBE SELECT * FROM read_parquet(?)", table).fetchall()
            self._count = ask("SELECT count(*) FROM read_parquet(?)", table).fetchall()[0][0]
            columns = [column_of(name, kind) for name, kind, *_ in found]
            check_columns([column.name for column in columns], reading)
            encode = _encoder(columns, reading)
            selected = ", ".join(column.sql for column in columns)
            result = ask(f"SELECT {selected} FROM read_parquet(?) OFFSET {reading.start}", table)  # noqa: S608
            self._read = reading.start
            while cells := result.fetchmany(ROWS_AT_ONCE):
                for row in cells:
                    yield encode(self._read, row)
                    self._read += 1
        except self._error as error:
            raise HeadraceError(
                f"{self.path} can't be read as Parquet: {str(error).splitlines()[0]}.",
                f"{self._read:,} rows of it were read; a whole copy is another file, and stores them again.",
            ) from error

    def share_read(self) -> float:
        """Return how many of the rows were read, 0 to 1."""
        return self._read / self._count if self._count else 1.0

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
        super().close()


def column_of(name: str, kind: str) -> Column:
    """Return how a column of a DuckDB type is read."""
    quoted = '"' + name.replace('"', '""') + '"'
    text = f"CAST({quoted} AS VARCHAR)"
    if name in ("device_id", "id"):
        return Column(name, text)
    if kind.endswith(("]", ")")) and not kind.startswith(("DECIMAL", "ENUM")):  # lists, structs, maps
        return Column(name, f"CAST(to_json({quoted}) AS VARCHAR)", is_json=True)
    if kind.startswith("TIMESTAMP") or (kind == "DATE" and name == "time"):
        return Column(name, _timestamp(quoted, kind))
    if kind == "BLOB":
        return Column(name, f"to_base64({quoted})")
    is_number = kind in _NUMBERS or kind in _FLOATS or kind.startswith("DECIMAL")
    return Column(name, text, is_json=is_number or kind == "BOOLEAN", is_float=kind in _FLOATS)


def _timestamp(quoted: str, kind: str) -> str:
    """Return the SQL for RFC 3339 text without the zeros that end its fraction."""
    zone = "|| 'Z'" if "WITH TIME ZONE" in kind else ""
    fraction = "%n" if kind == "TIMESTAMP_NS" else "%f"
    value = f"make_timestamp(epoch_us({quoted}))" if zone else quoted
    if not zone and kind != "TIMESTAMP_NS":
        value = f"CAST({quoted} AS TIMESTAMP)"
    return f"rtrim(rtrim(strftime({value}, '%Y-%m-%dT%H:%M:%S.{fraction}'), '0'), '.') {zone}"


def _encoder(columns: list[Column], reading: Reading) -> Callable[[int, tuple[str | None, ...]], Row | Bad]:
    names = [column.name for column in columns]
    prefixes = [(f"{encode_basestring(c.name)}:", c.is_json, c.is_float) for c in columns]
    device_at, time_at, id_at = (names.index(name) if name in names else None for name in ("device_id", "time", "id"))
    shifted = time_at is not None and reading.zone is not None and not columns[time_at].is_json

    def encode(number: int, cells: tuple[str | None, ...]) -> Row | Bad:
        device = (cells[device_at] if device_at is not None else None) or reading.device_id
        if not device:
            return Bad(number, number + 1, "the device_id is empty")
        parts = []
        for at, (cell, (prefix, is_json, is_float)) in enumerate(zip(cells, prefixes, strict=True)):
            if cell is None or (at in (device_at, id_at) and not cell):
                continue
            if is_json:
                parts.append(prefix + (_NON_FINITE.get(cell, cell) if is_float else cell))
            else:
                if shifted and at == time_at and reading.zone is not None:
                    cell = with_offset(cell, reading.zone)
                parts.append(prefix + encode_basestring(cell))
        if id_at is None or not cells[id_at]:
            parts.append(f'"id":"{reading.row_id(number)}"')
        timed = time_at is not None and cells[time_at] is not None
        return Row(number, number + 1, partition_key(device), f"{{{','.join(parts)}}}".encode(), timed)

    return encode
