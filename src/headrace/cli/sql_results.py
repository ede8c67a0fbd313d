"""Results of SQL as the command line shows them: an aligned table, CSV, JSON, or a Parquet file. Rows are streamed."""

import csv
import io
import json
import math
import sys
import tempfile
from collections.abc import Generator, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

from headrace.cli.output import printable, whole_file, width_of
from headrace.errors import HeadraceError
from headrace.plural import counted

Row = Sequence[str | int | float | bool | None]
MEASURED = 500  # rows that say how wide a table's columns are; wider cells after them stick out
NULL = "NULL"
_NUMBERS = ("smallint", "integer", "bigint", "real", "double precision", "numeric")


class Column(NamedTuple):
    """A column of a result; `type` is Redshift's name, with or without digits in brackets."""

    name: str
    type: str

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return self.type.partition("(")[0] in _NUMBERS


class Result(NamedTuple):
    """What a statement gave: columns and rows, or None where it gives no rows. `rows` can be read once."""

    columns: Sequence[Column]
    rows: Iterable[Row]
    has_rows: bool = True
    changed: int = -1  # rows that a write changed; below zero where that is not known


def show_table(result: Result, out: TextIO) -> int:
    """Write aligned columns under their names; return how many rows there were."""
    rows = iter(result.rows)
    count = 0
    widths = [width_of(printable(column.name)) for column in result.columns]
    first = [[_cell(value) for value in row] for row in islice(rows, MEASURED)]
    for cells in first:
        widths = [max(width, width_of(cell)) for width, cell in zip(widths, cells, strict=True)]
    names = [printable(column.name) for column in result.columns]
    _line(out, result.columns, names, widths)
    out.write("  ".join("-" * width for width in widths).rstrip() + "\n")
    for cells in first:
        _line(out, result.columns, cells, widths)
    count = len(first)
    for row in rows:
        _line(out, result.columns, [_cell(value) for value in row], widths)
        count += 1
    return count


def _line(out: TextIO, columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> None:
    parts = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        blanks = " " * (width - width_of(cell))
        parts.append(blanks + cell if column.is_number else cell + blanks)
    out.write("  ".join(parts).rstrip() + "\n")


def _cell(value: object) -> str:
    if value is None:
        return NULL
    if isinstance(value, bool):
        return "true" if value else "false"
    return printable(str(value))


def show_csv(result: Result, out: TextIO) -> int:
    """Write CSV with a line of names; NULL is an empty cell, an empty text is ""."""
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    writer.writerow([column.name for column in result.columns])
    count = 0
    for row in result.rows:
        if "" in row:  # csv writes NULL and an empty text alike
            out.write(",".join(_quoted(value) for value in row) + "\n")
        else:
            writer.writerow([_plain(value) for value in row])
        count += 1
    return count


def _plain(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _quoted(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    return str(_plain(value))


def show_json(result: Result, out: TextIO) -> int:
    """Write an array of objects, a row a line; numerics keep all their digits, what is not finite is null."""
    names = [json.dumps(name, ensure_ascii=False) for name in _distinct(column.name for column in result.columns)]
    numeric = [column.type.startswith("numeric") for column in result.columns]
    count = 0
    out.write("[")
    for row in result.rows:
        members = (
            f"{name}: {value if exact and isinstance(value, str) else _json(value)}"
            for name, value, exact in zip(names, row, numeric, strict=True)
        )
        out.write(("," if count else "") + "\n{" + ", ".join(members) + "}")
        count += 1
    out.write("\n]\n" if count else "]\n")
    return count


def _json(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "null"
    return json.dumps(value, ensure_ascii=False)


def _distinct(names: Iterable[str]) -> list[str]:
    """Return names of which none stands there twice: the second `a` becomes `a_2`."""
    found: list[str] = []
    for name in names:
        number, free = 1, name
        while free in found:
            number += 1
            free = f"{name}_{number}"
        found.append(free)
    return found


_PARQUET = {
    "smallint": "SMALLINT",
    "integer": "INTEGER",
    "bigint": "BIGINT",
    "real": "FLOAT",
    "double precision": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp without time zone": "TIMESTAMP",
    "timestamp": "TIMESTAMP",
}
# Names that the Data API has for types -> Redshift's.
ALIASES = {
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "bool": "boolean",
    "varchar": "character varying",
    "timestamp": "timestamp without time zone",
}


def write_parquet(result: Result, path: Path) -> int:
    """Write a Parquet file, whole or not at all."""
    names = _distinct(column.name for column in result.columns)
    try:
        with whole_file(path) as part, tempfile.TemporaryDirectory(prefix=".headrace-sql-", dir=path.parent) as folder:
            lines = Path(folder) / "rows.ndjson"
            count = _write_lines(result, lines)
            _convert(lines, names, [_parquet_type(column.type) for column in result.columns], part)
    except OSError as error:
        raise HeadraceError(f"{path}: {error.strerror}", "Give another --parquet FILE.") from error
    return count


def _write_lines(result: Result, lines: Path) -> int:
    count = 0
    with lines.open("w", encoding="utf-8") as file:
        for row in result.rows:
            texts = {f"c{at}": None if value is None else str(_plain(value)) for at, value in enumerate(row)}
            file.write(json.dumps(texts) + "\n")
            count += 1
    return count


def _parquet_type(kind: str) -> str:
    if kind.startswith("numeric("):
        return kind.replace("numeric", "DECIMAL")
    return _PARQUET.get(kind, "VARCHAR")


def _convert(lines: Path, names: Sequence[str], kinds: Sequence[str], part: Path) -> None:
    import duckdb

    texts = ", ".join(f"'c{at}': 'VARCHAR'" for at in range(len(names)))
    casts = ", ".join(
        f"CAST(c{at} AS {kind}) AS {_name(name)}" for at, (name, kind) in enumerate(zip(names, kinds, strict=True))
    )
    read = f"read_json({_text(str(lines))}, format = 'newline_delimited', columns = {{{texts}}})"
    try:
        with duckdb.connect(config={"threads": 1, "memory_limit": "512MB"}) as connection:
            connection.execute("SET enable_progress_bar = false")
            copy = f"COPY (SELECT {casts} FROM {read}) TO {_text(str(part))}"  # noqa: S608 # names are quoted
            connection.execute(f"{copy} (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)")
    except duckdb.Error as error:
        raise HeadraceError(f"The Parquet file can't be written: {error}", "Give another --parquet FILE.") from error


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def limited(rows: Iterable[Row], most: int | None, note: list[str]) -> Generator[Row, None, None]:
    """Yield at most so many rows; where there are more, say so in `note`."""
    for count, row in enumerate(rows):
        if most is not None and count >= most:
            note.append(f"stopped after {counted(most, 'row')}: raise --max-rows, or write LIMIT")
            return
        yield row


def out() -> TextIO:
    """Return standard output; a character that its encoding lacks is shown as `?`."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return sys.stdout
