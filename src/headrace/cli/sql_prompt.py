"""The prompt of `headrace sql`: several lines to a statement, history, completion of tables, columns and words."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import click
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings

from headrace import sqltext
from headrace.cli.output import note, printable
from headrace.errors import HeadraceError

WORDS = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "BY",
    "ORDER",
    "HAVING",
    "QUALIFY",
    "LIMIT",
    "OFFSET",
    "WITH",
    "AS",
    "JOIN",
    "LEFT",
    "RIGHT",
    "FULL",
    "ON",
    "USING",
    "AND",
    "OR",
    "NOT",
    "IN",
    "IS",
    "NULL",
    "BETWEEN",
    "LIKE",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "DISTINCT",
    "UNION",
    "ALL",
    "INTERSECT",
    "EXCEPT",
    "ASC",
    "DESC",
    "OVER",
    "PARTITION",
    "ROWS",
    "CAST",
    "COUNT",
    "SUM",
    "AVG",
    "MIN",
    "MAX",
    "MEDIAN",
    "LISTAGG",
    "DATE_TRUNC",
    "DATEADD",
    "DATEDIFF",
    "DATE_PART",
    "GETDATE",
    "NVL",
    "COALESCE",
    "DECODE",
    "ROW_NUMBER",
    "LAG",
    "LEAD",
    "TO_CHAR",
    "JSON_EXTRACT_PATH_TEXT",
    "INTERVAL",
    "TRUE",
    "FALSE",
]
LEAVING = ("exit", "quit", r"\q")
ASKING = ("help", "?")
HELP = (
    r"""End a statement with `;`. \d lists the tables, \d TABLE its columns, \q ends. Tab completes, Ctrl-C cancels."""
)
HISTORY_BYTES_MAX = 1_000_000
_WORD = re.compile(r"\w*$")
_TABLES = re.compile(r"\b(?:from|join)\s+(\w*)$", re.IGNORECASE)


class Tables(Protocol):
    """Whoever knows the tables."""

    def tables(self) -> dict[str, list[str]]:
        """Return tables and their columns."""
        ...


class Names(Completer):
    """Completes words of SQL, tables, and columns; tables alone after FROM and JOIN."""

    def __init__(self, tables: Mapping[str, list[str]]) -> None:
        self._tables = tables

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Return what may stand at the cursor."""
        before = document.text_before_cursor
        typed = _WORD.findall(before)[0]
        for name in self._candidates(before, typed):
            yield Completion(name, start_position=-len(typed))

    def _candidates(self, before: str, typed: str) -> Iterator[str]:
        columns = sorted({column for names in self._tables.values() for column in names})
        if _TABLES.search(before):
            names = sorted(self._tables)
        elif match := re.search(r"(\w+)\.\w*$", before):
            names = self._tables.get(match[1].lower(), columns)
        else:
            if not typed:
                return
            names = [*columns, *sorted(self._tables), *WORDS]
        yield from (name for name in names if name.lower().startswith(typed.lower()))


def history_file() -> Path:
    """Return where the prompt's history is kept (XDG's folder for state)."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "headrace" / "sql_history"


def history(path: Path) -> History:
    """Return the history in a file for its owner alone; where it can't be written, one of this session, saying so."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("a+b"):
            pass
        path.chmod(0o600)
        _shorten(path)
    except OSError as error:
        note(f"the history is not kept: {path}: {error.strerror}")
        return InMemoryHistory()
    return Kept(str(path))


class Kept(FileHistory):
    """A history whose file may become read-only or full at any time: it then ends with the session."""

    def store_string(self, string: str) -> None:
        """Append a statement."""
        try:
            super().store_string(string)
        except OSError:
            return

    def load_history_strings(self) -> Iterable[str]:
        """Return the statements, the newest first."""
        try:
            return list(super().load_history_strings())
        except OSError:
            return []


def _shorten(path: Path) -> None:
    data = path.read_bytes()
    if len(data) > HISTORY_BYTES_MAX:
        kept = data[-HISTORY_BYTES_MAX // 2 :]
        path.write_bytes(kept[max(kept.find(b"\n\n"), 0) :])


def bindings() -> KeyBindings:
    """Return the keys: Enter sends a text that is complete, and else begins another line."""
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: Any) -> None:
        text = event.current_buffer.text
        first = text.strip()
        if first.lower() in (*LEAVING, *ASKING) or first.startswith("\\") or sqltext.is_complete(text):
            event.current_buffer.validate_and_handle()
        else:
            event.current_buffer.insert_text("\n")

    return keys


def loop(runner: Tables, run: Callable[[str], None], *, name: str) -> None:
    """Ask for statements and run them until the end of input. An error ends a statement, not the prompt."""
    tables: dict[str, list[str]] = runner.tables()  # and so it is known at once if there is no backend
    session: PromptSession[str] = PromptSession(
        history=history(history_file()), completer=Names(tables), complete_while_typing=False, multiline=True,
        key_bindings=bindings(), prompt_continuation="  > ",
    )  # fmt: skip
    click.echo(HELP, err=True)
    while True:
        try:
            text = session.prompt(f"{name}> ").strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text.lower().rstrip(";") in LEAVING:
            return
        try:
            if text.startswith("\\") or text.lower().rstrip(";") in ASKING:
                describe(text, tables)
            elif sqltext.split(text):
                run(text)
                if not sqltext.reads_only(text):
                    tables.clear()
                    tables.update(runner.tables())
        except HeadraceError as error:
            _say(error)


def describe(command: str, tables: Mapping[str, list[str]]) -> None:
    r"""Answer \d, \d TABLE, and whatever else asks for help or begins with a backslash."""
    word, _, table = command.rstrip(";").partition(" ")
    if word != "\\d":
        click.echo(HELP)
    elif not table:
        click.echo("\n".join(printable(name) for name in sorted(tables)))
    else:
        found = tables.get(table.strip().lower())
        if found is None:
            note(f"there is no table {printable(table)}")
            return
        click.echo("\n".join(printable(name) for name in found))


def _say(error: HeadraceError) -> None:
    click.echo(f"headrace: {error.problem}", err=True)
    for line in error.hint.splitlines():
        click.echo(f"  {line}", err=True)
