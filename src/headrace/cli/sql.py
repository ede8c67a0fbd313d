"""`headrace sql`: ask the warehouse, or the archive itself."""

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TextIO

import click

from headrace import clock, sqltext
from headrace.cli import sql_results
from headrace.cli.backend import Backend
from headrace.cli.options import with_system
from headrace.cli.output import duration, note
from headrace.cli.sql_results import Result
from headrace.deployed import Deployed
from headrace.errors import HeadraceError, UsageError
from headrace.plural import counted

SQL_BYTES_MAX = 100_000
PROMPT_ROWS = 1000


class Runner(Protocol):
    """Whoever runs statements: the warehouse, or the archive."""

    def run(self, sql: str, parameters: Mapping[str, str]) -> Result:
        """Run a statement and return what it gives."""
        ...

    def tables(self) -> dict[str, list[str]]:
        """Return tables and their columns."""
        ...


class Shown(NamedTuple):
    """How results are shown: `kind` is table, csv, json or parquet."""

    kind: str
    file: Path | None
    rows_max: int | None


@click.command("sql")
@click.argument("statement", required=False, metavar="[SQL]")
@click.option(
    "--file",
    "source",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path, exists=True, readable=True),
    help="Read the SQL from a file.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option(
    "--parquet",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the result to a Parquet file.",
)
@click.option("--archive", is_flag=True, help="Ask the archive itself, not the warehouse: slower, and never behind.")
@click.option("--write", is_flag=True, help="Allow statements that write.")
@click.option("--parameter", "parameters", metavar="NAME=VALUE", multiple=True, help="The value of :NAME in the SQL.")
@click.option(
    "--timeout", "timeout_s", metavar="S", type=click.FloatRange(min=0.1), help="Cancel after so many seconds."
)
@click.option("--max-rows", "rows_max", metavar="N", type=click.IntRange(min=1), help="Stop after so many rows.")
@click.option("--workgroup", help="The Redshift Serverless workgroup (headrace; with --aws the stack's).")
@click.option("--database", default="headrace", show_default=True, help="The database in it.")
@with_system
def sql_command(
    backend: Backend | Deployed,
    statement: str | None,
    source: Path | None,
    as_csv: bool,
    as_json: bool,
    parquet: Path | None,
    archive: bool,
    write: bool,
    parameters: tuple[str, ...],
    timeout_s: float | None,
    rows_max: int | None,
    workgroup: str | None,
    database: str,
) -> None:
    """Ask the warehouse, or the archive itself, in SQL.

    It is Redshift's SQL, on one machine as on AWS; docs/sql.md says what of it is known.

    The SQL is the argument, a file, or what stands on standard input; on a terminal without any of them there is a
    prompt. Several statements, parted by `;`, run one after the other. Without --write, those that write are refused.
    """
    if archive and write:
        raise UsageError("The archive is never written by SQL.", "Leave --write or --archive out.")
    shown = _shown(as_csv, as_json, parquet, rows_max)
    given = _parameters(parameters)
    text = _text(statement, source)
    runner = _runner(backend, archive, write, timeout_s, rows_max, (workgroup, database))
    if text is None:
        from headrace.cli import sql_prompt

        limit = shown._replace(rows_max=rows_max or PROMPT_ROWS)
        sql_prompt.loop(
            runner, lambda sql: _run(runner, sql, given, limit, write=write), name="archive" if archive else database
        )
        return
    statements = _statements(text, write=write)
    if parquet is not None and len(statements) != 1:
        raise UsageError(f"There are {len(statements)} statements, and one Parquet file.", "Give one statement.")
    for each in statements:
        _show(runner, each, given, shown)


def _runner(
    backend: Backend | Deployed,
    archive: bool,
    write: bool,
    timeout_s: float | None,
    rows_max: int | None,
    place: tuple[str | None, str],
) -> Runner:
    if archive and isinstance(backend, Deployed):
        raise UsageError("--archive works on one machine only.", "On AWS ask the warehouse: leave --archive out.")
    if archive and isinstance(backend, Backend):
        from headrace.cli.sql_archive import Archive

        return Archive(backend, timeout_s=timeout_s, rows_max=rows_max)
    from headrace.cli.sql_warehouse import WORKGROUP, Place, Warehouse

    workgroup, database = place
    if workgroup is None:
        workgroup = backend.workgroup if isinstance(backend, Deployed) else WORKGROUP
    return Warehouse(backend, Place(workgroup, database), writes=write, timeout_s=timeout_s)


def _shown(as_csv: bool, as_json: bool, parquet: Path | None, rows_max: int | None) -> Shown:
    kinds = [name for name, wanted in (("csv", as_csv), ("json", as_json), ("parquet", parquet is not None)) if wanted]
    if len(kinds) > 1:
        raise UsageError(f"--{' and --'.join(kinds)} exclude each other.", "Give one of them.")
    if parquet is not None and not parquet.parent.is_dir():
        raise UsageError(f"There is no folder {parquet.parent}.", "Make it, or give another --parquet FILE.")
    return Shown(kinds[0] if kinds else "table", parquet, rows_max)


def _parameters(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier() or name in found:
            raise UsageError(f"{text!r} is no parameter, or is given twice.", "Write --parameter device=pump-1.")
        found[name] = value
    return found


def _text(statement: str | None, source: Path | None) -> str | None:
    """Return the SQL, or None where it is to be asked for."""
    if statement is not None and source is not None:
        raise UsageError("There is SQL as an argument and in a file.", "Give one of them.")
    if statement is not None and statement != "-":
        return statement
    if source is None and statement is None and sys.stdin.isatty():
        return None
    try:
        data = source.read_bytes() if source is not None else sys.stdin.buffer.read(SQL_BYTES_MAX + 1)
        return data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{source}: {error.strerror}", "Give another --file.") from error
    except UnicodeDecodeError:
        raise UsageError("The SQL is not UTF-8.", "Save it as UTF-8.") from None


def _statements(text: str, *, write: bool) -> list[str]:
    if len(text.encode()) > SQL_BYTES_MAX:
        raise UsageError(f"The SQL has more than {SQL_BYTES_MAX:,} bytes.", "Split it, or put lists into a table.")
    found = sqltext.split(text)
    if not found:
        raise UsageError("There is no SQL.", 'Write it as an argument: headrace sql "SELECT count(*) FROM events".')
    if not write:
        for statement in found:
            if not sqltext.reads_only(statement):
                hint = "What only reads begins with SELECT or WITH. Add --write to allow what writes."
                raise UsageError(f"This may write: {statement[:60]!r}.", hint)
    return found


def _run(runner: Runner, text: str, parameters: Mapping[str, str], shown: Shown, *, write: bool) -> None:
    for statement in _statements(text, write=write):
        _show(runner, statement, parameters, shown)


def _show(runner: Runner, statement: str, parameters: Mapping[str, str], shown: Shown) -> None:
    """Run a statement and show what it gives."""
    began = clock.monotonic_s()
    try:
        result = runner.run(statement, parameters)
        if not result.has_rows:
            changed = f", {counted(result.changed, 'row')}" if result.changed >= 0 else ""
            note(f"done{changed} ({duration((clock.monotonic_s() - began) * 1000)})")
            return
        notes: list[str] = []
        rows = sql_results.limited(result.rows, shown.rows_max, notes)
        with contextlib.closing(rows):
            count = _write(result._replace(rows=rows), shown)
    except KeyboardInterrupt:
        raise HeadraceError("Cancelled.", "Nothing runs any more.") from None
    except BrokenPipeError:
        _leave_quietly()
    for each in notes:
        note(each)
    if shown.kind == "parquet" or (shown.kind == "table" and sys.stderr.isatty()):
        where = f" in {shown.file}" if shown.file else ""
        note(f"{counted(count, 'row')}{where} ({duration((clock.monotonic_s() - began) * 1000)})")


def _write(result: Result, shown: Shown) -> int:
    if shown.file is not None:
        return sql_results.write_parquet(result, shown.file)
    out: TextIO = sql_results.out()
    kinds: dict[str, Any] = {
        "table": sql_results.show_table,
        "csv": sql_results.show_csv,
        "json": sql_results.show_json,
    }
    count: int = kinds[shown.kind](result, out)
    out.flush()
    return count


def _leave_quietly() -> None:
    """End as a program in a pipe does whose reader has gone: without a word, and without Python's own at its end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise click.exceptions.Exit(0)
