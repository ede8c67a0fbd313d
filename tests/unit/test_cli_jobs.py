"""`headrace jobs` over the real HTTP handlers and the real jobs server, whose children never start."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace import rpc
from headrace.cli import jobs as jobs_cli
from headrace.cli.backend import Backend
from headrace.errors import Unavailable
from headrace.jobs import run as transitions
from headrace.jobs.api import JobsApi
from headrace.jobs.history import Folder
from headrace.jobs.run import Asked, Run
from headrace.jobs.server import JobsServer
from headrace.settings import Layout
from headrace.system import Schedule, System
from support.command_line import run
from support.fake_backend import fake_backend


class Client:
    """Calls the server's methods as the socket does, with everything packed on the way."""

    def __init__(self, server: JobsServer) -> None:
        self.server = server

    async def call(self, method: str, params: object = None) -> Any:
        given = rpc.encode(params)
        methods: dict[str, Any] = {
            "list": lambda: self.server.jobs(),
            "run": lambda: self.server.run(rpc.decode(given, type=Asked)),
            "runs": lambda: self.server.runs(*rpc.decode(given)),
            "show": lambda: self.server.show(rpc.decode(given)),
            "cancel": lambda: self.server.cancel(rpc.decode(given)),
            "log": lambda: self.server.log(*rpc.decode(given)),
        }
        return msgspec.Raw(rpc.encode(methods[method]()))


class Jobs:
    def __init__(self, url: str, server: JobsServer, layout: Layout) -> None:
        self.url, self.server, self.layout = url, server, layout

    def cli(self, *arguments: str) -> Any:
        return run("jobs", *arguments, env={"HEADRACE_ENDPOINT": self.url})

    def failed(self) -> Run:
        """A run that has failed after a second, with a line in its log."""
        made = self.server.run(Asked("hourly"))
        transitions.begin(made, made.created_ms)
        error = ("No \x1b space.", "Free some.")
        transitions.fail(made, "failed", error, made.created_ms + 1_000, for_good=True, committed=False)
        Folder(self.layout.jobs, "hourly").log(made.id).write_text("one\x07\ntwo\n")
        return made


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "hourly.sql").write_text("-- What was.\nSELECT 1 AS one")
    layout = Layout(tmp_path / "data")
    schedules = (Schedule(logical_id="S", job="hourly", expression="rate(1 hour)"),)
    system = System(template="", parameters={}, reports=str(tmp_path / "reports"), schedules=schedules)
    server = JobsServer(layout, system)
    with fake_backend() as fake:
        fake.paths = JobsApi(Client(server)).paths()  # type: ignore[arg-type]
        yield Jobs(fake.url, server, layout)


def test_jobs_are_listed_with_their_last_run(jobs: Jobs) -> None:
    jobs.failed()
    listed = {job["job"]: job for job in json.loads(jobs.cli("list", "--json").stdout)}
    assert list(listed) == ["compact", "load", "bills", "hourly"]
    assert listed["hourly"]["description"] == "What was." and listed["hourly"]["last"]["state"] == "failed"
    line = next(line for line in jobs.cli("list").stdout.splitlines() if line.startswith("hourly"))
    assert "rate(1 hour)" in line and "failed" in line


def test_a_run_is_asked_for_with_days_engine_and_parameters(jobs: Jobs) -> None:
    result = jobs.cli(
        "run", "hourly", "--engine", "spark", "--from", "2026-01-01", "--to", "2026-02-01",
        "--parameter", "gap_s=60", "--parameter", "unit=C", "--parameter", "factor=0.5", "--parameter", "limit=inf",
        "--json",
    )  # fmt: skip
    made = json.loads(result.stdout)
    assert (made["first"], made["last"], made["state"]) == ("2026-01-01", "2026-01-31", "waiting")
    assert made["settings"]["engine"] == "spark"
    assert made["settings"]["parameters"] == {"gap_s": 60, "unit": "C", "factor": 0.5, "limit": "inf"}
    shown = jobs.cli("show", made["id"]).stdout
    assert "days from 2026-01-01 to 2026-02-01" in shown and "waiting" in shown
    assert "cancelled" in jobs.cli("cancel", "hourly").stdout


def test_what_a_run_passed_over_is_pointed_at(jobs: Jobs) -> None:
    for problems in (0, 2):
        made = jobs.server.run(Asked("hourly"))
        transitions.begin(made, made.created_ms)
        transitions.succeed(made, {"objects": 3, "problems": problems}, made.created_ms + 1_000)
        shown = jobs.cli("show", made.id).stdout
        assert f"  objects 3, problems {problems}" in shown
        assert (f"SOME WAS PASSED OVER: headrace jobs logs {made.id}" in shown) is bool(problems)
        assert ("succeeded (some was passed over)" in jobs.cli("list").stdout) is bool(problems)


def test_a_failed_run_is_shown_with_what_to_do(jobs: Jobs) -> None:
    made = jobs.failed()
    shown = jobs.cli("show", made.id).stdout
    assert "failed  on duckdb, by request" in shown and "No \\x1b space." in shown and "Free some." in shown
    assert made.id in jobs.cli("show", "hourly").stdout
    assert json.loads(jobs.cli("show", "hourly", "--json").stdout)[0]["id"] == made.id
    assert jobs.cli("logs", "hourly").stdout == "one\\x07\ntwo\n"
    assert jobs.cli("logs", made.id, "-f").stdout == "one\\x07\ntwo\n"
    assert json.loads(jobs.cli("logs", made.id, "--json").stdout)["text"] == "one\x07\ntwo\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("run", "huorly"), 1, "There is no job 'huorly'"),
        (("run", "hourly", "--engine", "hive"), 2, "duckdb"),
        (("run", "hourly", "--from", "yesterday"), 2, "2026-01-31"),
        (("run", "hourly", "--from", "2026-01-02", "--to", "2026-01-02"), 2, "there is no day"),
        (("run", "hourly", "--parameter", "x"), 2, "gap_s=900"),
        (("run", "compact", "--engine", "spark"), 2, "compact is no report: it takes no engine"),
        (("run", "compact", "--from", "2026-01-01"), 2, "it takes no from"),
        (("run", "load", "--parameter", "x=1"), 2, "it takes no parameters"),
        (("run", "bills", "--to", "2026-01-01"), 2, "it takes no to"),
        (("run", "bills", "--parameter", "close=2999-01"), 2, "2999-01 has not ended"),
        (("run", "bills", "--parameter", "close=2026-13"), 2, "'2026-13' is no month"),
        (("show", "hourly-1"), 1, "There is no run"),
        (("cancel", "compact"), 1, "There is no run"),
        (("logs", "nothing"), 1, "There is no run"),
    ],
)
def test_what_is_wrong_is_told(jobs: Jobs, arguments: tuple[str, ...], code: int, says: str) -> None:
    result = jobs.cli(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in result.stderr
    assert jobs.server.runs(None, 10) == [], "what is refused is no run"


def test_a_second_run_is_refused_while_one_has_not_ended(jobs: Jobs) -> None:
    first = json.loads(jobs.cli("run", "hourly", "--json").stdout)
    result = jobs.cli("run", "hourly")
    assert result.exit_code == 1 and f"headrace jobs cancel {first['id']}" in result.stderr


def test_a_page_in_a_browser_starts_nothing(jobs: Jobs) -> None:
    import urllib.error
    import urllib.request

    for path in ("hourly/run", "runs/hourly/cancel"):
        request = urllib.request.Request(f"{jobs.url}/_headrace/jobs/{path}", b"{}", {"Content-Type": "text/plain"})
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(request)
        raised.value.close()
        assert raised.value.code == 400
    assert jobs.server.runs(None, 10) == []


def test_a_run_is_not_waited_for_at_a_backend_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_cli, "RESTART_S_MAX", 0.0)
    with pytest.raises(Unavailable, match="no backend answers"):
        jobs_cli.wait_for(Backend("http://127.0.0.1:9"), "hourly-1")
