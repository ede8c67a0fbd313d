"""`headrace sql` against a fake of the Data API: what it sends, what it prints, and how it ends."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headrace.cli.main import headrace
from support.fake_redshift import FakeRedshift, serving


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[FakeRedshift, str]]:
    fake = FakeRedshift()
    with serving(fake) as url:
        yield fake, url


@pytest.fixture
def fake(server: tuple[FakeRedshift, str]) -> FakeRedshift:
    server[0].__init__()  # type: ignore[misc] # each test lays out its own answers
    return server[0]


@pytest.fixture
def ask(server: tuple[FakeRedshift, str], monkeypatch: pytest.MonkeyPatch) -> Iterator["Ask"]:
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    yield Ask(server[1])


class Ask:
    def __init__(self, url: str) -> None:
        self._url = url

    def __call__(self, *arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(headrace, ["sql", "--endpoint", self._url, *arguments], input=stdin)


def test_a_statement_is_sent_awaited_and_its_pages_shown(fake: FakeRedshift, ask: Ask) -> None:
    fake.columns = [("device_id", "varchar"), ("n", "int8"), ("share", "numeric")]
    fake.pages = [[["pump-1", 12, "0.50"]], [["日本", None, "10.25"]]]
    found = ask("SELECT 1")
    assert found.exit_code == 0, found.output
    assert found.stdout.splitlines() == [
        "device_id     n  share",
        "---------  ----  -----",
        "pump-1       12   0.50",
        "日本       NULL  10.25",
    ]
    (operation, body, headers) = fake.calls[0]
    assert operation == "ExecuteStatement"
    assert body.pop("ClientToken")
    assert body == {"WorkgroupName": "headrace", "Database": "headrace", "Sql": "SELECT 1"}
    assert headers["x-headrace-read-only"] == "1"
    assert fake.names()[-2:] == ["GetStatementResult", "GetStatementResult"]


def test_csv_tells_null_from_an_empty_text(fake: FakeRedshift, ask: Ask) -> None:
    fake.columns = [("a", "varchar"), ("b", "bool"), ("c", "float8")]
    fake.pages = [[["x,y", True, 1.5], ["", None, None], ['say "hi"\n', False, -0.0]]]
    assert ask("SELECT 1", "--csv").stdout == 'a,b,c\n"x,y",true,1.5\n"",,\n"say ""hi""\n",false,-0.0\n'


def test_json_keeps_the_digits_of_numerics(fake: FakeRedshift, ask: Ask) -> None:
    fake.columns = [("n", "numeric"), ("n", "varchar"), ("x", "float8")]
    fake.pages = [[["12345678901234567890.000000001", "é\x1b", float("1e300")], [None, None, None]]]
    text = ask("SELECT 1", "--json").stdout
    assert "12345678901234567890.000000001" in text
    assert json.loads(text)[1] == {"n": None, "n_2": None, "x": None}
    assert json.loads(text)[0]["n_2"] == "é\x1b"
    fake.pages = [[]]
    assert json.loads(ask("SELECT 1", "--json").stdout) == []


def test_parquet_has_the_types_of_the_result(fake: FakeRedshift, ask: Ask, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    fake.columns = [("a", "int8"), ("a", "varchar"), ("t", "timestamp"), ("ok", "bool")]
    fake.pages = [[[7, "", "2026-01-31 10:11:12.5", True], [None, None, None, None]]]
    path = tmp_path / "it's.parquet"
    found = ask("SELECT 1", "--parquet", str(path))
    assert found.exit_code == 0, found.output
    relation = duckdb.connect().execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)])
    kinds = [(name, kind) for name, kind, *_ in relation.fetchall()]
    assert kinds == [("a", "BIGINT"), ("a_2", "VARCHAR"), ("t", "TIMESTAMP"), ("ok", "BOOLEAN")]
    rows = duckdb.connect().execute("SELECT a, a_2, ok FROM read_parquet(?)", [str(path)]).fetchall()
    assert rows == [(7, "", True), (None, None, None)]
    assert [path.name for path in tmp_path.iterdir()] == ["it's.parquet"]
    link = tmp_path / "link"
    link.symlink_to(path)
    assert ask("SELECT 1", "--parquet", str(link)).exit_code == 0
    assert link.readlink() == path


def test_a_terminal_obeys_nothing_that_a_device_sent(fake: FakeRedshift, ask: Ask) -> None:
    fake.columns = [("a\x1b[2J", "varchar")]
    fake.pages = [[["x\x1b]0;owned\x07\n"]]]
    assert "\x1b" not in ask("SELECT 1").stdout


def test_what_writes_is_refused_unless_it_is_asked_for(fake: FakeRedshift, ask: Ask) -> None:
    found = ask("SELECT 1; DELETE FROM t")
    assert found.exit_code == 2
    assert "Add --write" in found.stderr
    assert fake.calls == []
    fake.has_rows = False
    found = ask("DELETE FROM t", "--write")
    assert found.exit_code == 0
    assert "done, 7 rows" in found.stderr
    assert "x-headrace-read-only" not in fake.calls[0][2]


def test_a_failure_says_what_the_warehouse_says(fake: FakeRedshift, ask: Ask) -> None:
    fake.states, fake.error = ["FAILED"], "The function GLOB is not supported.\n  Use COPY."
    found = ask("SELECT glob('*')")
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.splitlines() == ["headrace: The function GLOB is not supported.", "  Use COPY."]


def test_a_statement_that_never_ends_is_cancelled(fake: FakeRedshift, ask: Ask) -> None:
    fake.states = ["STARTED"]
    found = ask("SELECT 1", "--timeout", "0.1")
    assert found.exit_code == 1
    assert "longer than 0.1 seconds" in found.stderr
    assert fake.names()[-1] == "CancelStatement"


def test_rows_beyond_the_limit_are_not_fetched(fake: FakeRedshift, ask: Ask) -> None:
    fake.pages = [[[1], [2]], [[3], [4]], [[5]]]
    found = ask("SELECT 1", "--csv", "--max-rows", "3")
    assert found.stdout == "n\n1\n2\n3\n"
    assert "stopped after 3 rows" in found.stderr
    assert fake.names().count("GetStatementResult") == 2


def test_sql_comes_from_a_file_or_standard_input(fake: FakeRedshift, ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "a.sql"
    path.write_text("\ufeffSELECT 1; -- done\nSELECT 2", "utf-8")
    assert ask("--file", str(path), "--csv").stdout == "n\n1\nn\n1\n"
    assert ask("--csv", stdin="SELECT 3;").exit_code == 0
    assert [body["Sql"] for _, body, _ in fake.calls if "Sql" in body] == ["SELECT 1", "-- done\nSELECT 2", "SELECT 3"]


def test_parameters_are_sent_as_values(fake: FakeRedshift, ask: Ask) -> None:
    ask("SELECT :a", "--parameter", "a=x' OR 1=1; DROP TABLE t --", "--parameter", "b==")
    value = [{"name": "a", "value": "x' OR 1=1; DROP TABLE t --"}, {"name": "b", "value": "="}]
    assert fake.calls[0][1]["Parameters"] == value


@pytest.mark.parametrize(
    "arguments",
    [
        ["SELECT 1", "--csv", "--json"],
        ["SELECT 1", "--file", "pyproject.toml"],
        ["--file", "nowhere.sql"],
        [""],
        ["-- nothing"],
        ["SELECT 1", "--parameter", "novalue"],
        ["SELECT 1", "--parameter", "a b=1"],
        ["SELECT :a", "--parameter", "a="],
        ["SELECT 1", "--max-rows", "0"],
        ["SELECT 1", "--timeout", "-1"],
        ["SELECT 1", "--archive", "--write"],
        ["SELECT 1; SELECT 2", "--parquet", "x.parquet"],
        ["SELECT 1", "--parquet", "/nowhere/x.parquet"],
        ["SELECT '" + "x" * 100_000 + "'"],
    ],
)
def test_wrong_usage_ends_with_2_and_asks_nothing(fake: FakeRedshift, ask: Ask, arguments: list[str]) -> None:
    found = ask(*arguments)
    assert found.exit_code == 2, found.output
    assert fake.calls == []


def test_no_backend_is_said() -> None:
    found = CliRunner().invoke(headrace, ["sql", "--endpoint", "http://127.0.0.1:9", "SELECT 1"])
    assert found.exit_code == 1
    assert "no backend answers" in found.stderr


def test_sql_that_is_no_utf8_is_refused(fake: FakeRedshift, ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "a.sql"
    path.write_bytes(b"SELECT '\xff'")
    assert ask("--file", str(path)).exit_code == 2
    assert fake.calls == []


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self").exists(), reason="needs a place that can't be written")
def test_a_parquet_file_that_cannot_be_written_is_said(fake: FakeRedshift, ask: Ask) -> None:
    found = ask("SELECT 1", "--parquet", "/proc/self/x.parquet")
    assert found.exit_code == 1
    assert "Give another --parquet" in found.stderr
