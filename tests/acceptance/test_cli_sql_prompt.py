"""The prompt, driven through a pipe as if by keys."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from headrace.cli import sql_prompt
from headrace.errors import HeadraceError

TABLES = {"events": ["device_id", "time"], "daily": ["device_id", "mean"]}


class Runner:
    def __init__(self) -> None:
        self.ran: list[str] = []

    def tables(self) -> dict[str, list[str]]:
        return {name: list(columns) for name, columns in TABLES.items()}

    def run(self, sql: str) -> None:
        self.ran.append(sql)
        if "wrong" in sql:
            raise HeadraceError("It is wrong.", "Write it right.")


Type = Callable[[str], list[str]]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Type]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def send(keys: str) -> list[str]:
        runner = Runner()
        pipe: PipeInput
        with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
            pipe.send_text(keys)
            sql_prompt.loop(runner, runner.run, name="headrace")
        return runner.ran

    yield send


def test_a_statement_ends_with_a_semicolon_and_may_have_several_lines(typed: Type) -> None:
    assert typed("SELECT 1;\rSELECT\r 2\r;\r\x04") == ["SELECT 1;", "SELECT\n 2\n;"]


def test_an_error_does_not_end_the_prompt(typed: Type, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("wrong;\rSELECT 1;\r\\q\r") == ["wrong;", "SELECT 1;"]
    assert "Write it right." in capsys.readouterr().err


def test_ctrl_c_forgets_what_was_typed(typed: Type) -> None:
    assert typed("SELECT oops\x03SELECT 1;\rexit\r") == ["SELECT 1;"]


def test_tables_and_columns_are_listed(typed: Type, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("\\d\r\\d daily\r\\d nowhere\r\\?\r\\q\r") == []
    shown = capsys.readouterr()
    assert shown.out.splitlines()[:4] == ["daily", "events", "device_id", "mean"]
    assert "there is no table nowhere" in shown.err


def test_who_asks_for_help_gets_it(typed: Type, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("help\r?\rHELP;\r\\?\rquit\r") == []
    assert capsys.readouterr().out.count("End a statement with `;`") == 4


def test_the_history_is_kept_for_its_owner_alone(typed: Type, tmp_path: Path) -> None:
    typed("SELECT 1;\r\x04")
    typed("\x1b[A\r\x04")
    path = tmp_path / "state" / "headrace" / "sql_history"
    assert path.read_text().count("+SELECT 1;") == 1  # the same again is not written twice
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_history_that_cannot_be_written_is_said_and_does_no_harm(
    typed: Type, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    assert typed("SELECT 1;\r\x04") == ["SELECT 1;"]
    assert "the history is not kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "found"),
    [
        ("SELECT dev", ["device_id"]),
        ("SELECT * FROM e", ["events"]),
        ("SELECT * FROM ", ["daily", "events"]),
        ("SELECT daily.", ["device_id", "mean"]),
        ("SELECT median", ["MEDIAN"]),
        ("SELECT ", []),
        ("SELECT 'zzz", []),
    ],
)
def test_completion(before: str, found: list[str]) -> None:
    names = sql_prompt.Names(TABLES)
    completions = names.get_completions(Document(before, len(before)), CompleteEvent())
    assert [completion.text for completion in completions] == found
