"""The command tree itself: every command is there, is documented, and is cheap to list."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from headrace.cli.main import COMMANDS, Tree, headrace
from headrace.errors import HeadraceError, TemplateError
from support.command_line import run

README = Path(__file__).resolve().parents[2] / "README.md"
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)

# The contract: commands with their arguments and options.
CONTRACT = {
    "up": ["--template", "--data", "--host", "--port", "--parameters", "--enforce-limits", "--insecure", "--cold-dir"],
    "init": ["NAME"],
    "env": ["--json"],
    "send": ["FILE", "--pack", "--tz"],
    "simulate": ["--devices", "--rate", "--duration", "--seed", "--late", "--skew", "--ledger", "--verify"],
    "status": ["--verify", "--json", "--aws"],
    "latest": ["DEVICE", "--json", "--aws"],
    "history": ["DEVICE", "--from", "--to", "--limit", "--newest", "--cursor", "--json", "--aws"],
    "aggregates": ["DEVICE", "--period", "--reading", "--from", "--to", "--limit", "--newest", "--cursor", "--json"],
    "config": ["DEVICE", "get", "set", "--expected-version", "--json", "--aws"],
    "devices add": ["DEVICE", "--label", "--json"],
    "devices list": ["--label", "--tenant", "--retired", "--unregistered", "--limit", "--json"],
    "devices show": ["DEVICE", "--json"],
    "devices import": ["FILE", "device_id", "--json"],
    "devices retire": ["DEVICE", "--json"],
    "devices erase": ["DEVICE", "--yes", "--json"],
    "invoke": ["FUNCTION", "--payload"],
    "logs": ["FUNCTION", "-f", "--json", "--aws"],
    "failures list": ["--json", "--aws"],
    "failures show": ["ID", "--json", "--aws"],
    "failures replay": ["ID", "--all"],
    "archive list": ["--json", "--aws"],
    "archive restore": ["KEY", "--days", "--tier", "--json"],
    "export": ["--format", "--device", "--from", "--to", "--output", "--leave-out-cold", "--json"],
    "lifecycle plan": ["--at", "--json"],
    "lifecycle run": ["--clock-is-right", "--json"],
    "lifecycle log": ["--json"],
    "jobs list": ["--json", "--aws"],
    "sql": [
        "SQL",
        "--file",
        "--csv",
        "--json",
        "--parquet",
        "--archive",
        "--write",
        "--timeout",
        "--max-rows",
        "--aws",
    ],
    "bills list": ["--json", "--aws"],
    "bills show": ["--month", "--tenant", "--html", "--csv", "--warn-at", "--no-refresh", "--json", "--aws"],
    "bills usage": ["--month", "--tenant", "--device", "--days", "--warn-at", "--no-refresh", "--json", "--aws"],
    "bills close": ["YYYY-MM", "--json"],
    "bills check": ["[FOLDER]", "--json"],
    "jobs run": ["NAME", "--engine", "duckdb|spark", "--from", "--to", "--parameter", "--wait", "--json"],
    "jobs show": ["NAME", "--limit", "--json"],
    "jobs cancel": ["NAME", "--json"],
    "jobs logs": ["NAME", "-f", "--json"],
    "streams": ["--json", "--aws"],
    "metrics": ["NAME", "--namespace", "--last", "--stat", "--json", "--aws"],
    "alarms": ["--json", "--aws"],
    "package": ["FUNCTION", "--to", "--unpacked", "--here", "--template", "--parameters", "--json"],
    "deploy": [
        "--plan",
        "--yes",
        "--devices",
        "--rate",
        "--stack",
        "--region",
        "--profile",
        "--template",
        "--parameters",
    ],
    "destroy": ["--delete-data", "--confirm", "--yes", "--stack", "--region", "--profile", "--json"],
    "cost": ["--devices", "--rate", "--bytes", "--events-per-record", "--observed", "--assume", "--prices", "--json"],
    "backup": ["DIR", "--json"],
    "restore": ["DIR", "--data", "--json"],
    "doctor": ["--repair", "--json"],
    "upload": ["--stack", "--data", "--archive-bucket", "--dry-run", "--restart", "--json"],
    "trace": ["SHARD", "SEQUENCE", "--stream", "--json"],
    "completion": ["bash", "zsh", "fish"],
}


@pytest.mark.parametrize("command", CONTRACT)
def test_help_names_what_the_contract_names(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    for word in CONTRACT[command]:
        assert word in result.stdout


@pytest.mark.parametrize("page", ["README.md", "docs/aws.md"])
def test_the_readme_names_only_what_there_is(page: str) -> None:
    text = (README.parent / page).read_text(encoding="utf-8")
    calls = re.findall(r"\bheadrace ([a-z]+)([^`&|\n]*)", "\n".join(CODE.findall(text)))
    assert len(calls) >= 10
    for name, rest in calls:
        assert name in COMMANDS, name
        path = [name, *rest.split()[:1]] if name in ("failures", "archive", "lifecycle", "jobs", "bills") else [name]
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in run(*path, "--help").stdout, f"headrace {name}{rest}"


def test_the_readme_names_every_command_once() -> None:
    text = README.read_text(encoding="utf-8")
    named = re.findall(r"^\| `headrace ([a-z]+)(?: ([a-z]+))?", text, re.MULTILINE)
    groups = {path[0] for path in commands(headrace) if len(path) > 1}
    assert sorted((name, *([second] if name in groups else [])) for name, second in named) == sorted(commands(headrace))


def test_the_tree_holds_the_contracts_commands_and_no_others() -> None:
    assert set(COMMANDS) == {command.partition(" ")[0] for command in CONTRACT}
    listing = run("--help").stdout
    for name, (_, summary) in COMMANDS.items():
        assert name in listing and summary in listing


@pytest.mark.parametrize("name", COMMANDS)
def test_a_summary_is_the_first_line_of_its_commands_help(name: str) -> None:
    command = headrace.get_command(click.Context(headrace), name)
    assert command is not None and command.help is not None
    assert command.help.splitlines()[0] == COMMANDS[name][1]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        found += commands(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return found


@pytest.mark.parametrize("path", commands(headrace), ids=" ".join)
def test_every_command_accepts_an_endpoint(path: tuple[str, ...]) -> None:
    result = run(*path, "--endpoint", "http://127.0.0.1:9", "--help")
    assert result.exit_code == 0


@pytest.mark.parametrize("path", commands(headrace), ids=" ".join)
def test_every_command_that_shows_something_takes_json(path: tuple[str, ...]) -> None:
    result = run(*path, "--json", "--help")
    assert (result.exit_code == 0) == (path[0] not in ("up", "init", "completion"))


@pytest.mark.parametrize("arguments", [["nothing"], ["status", "--nothing"], ["latest"], ["failures", "drop"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and "Usage:" in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (
            HeadraceError("It broke.", "Mend it.\nThen try again."),
            1,
            "headrace: It broke.\n  Mend it.\n  Then try again.\n",
        ),
        (HeadraceError("It broke."), 1, "headrace: It broke.\n"),
        (TemplateError("t.yaml", 3, "no such key"), 2, "headrace: t.yaml:3: no such key\n"),
    ],
)
def test_an_expected_error_is_its_problem_and_hint(error: HeadraceError, code: int, text: str) -> None:
    def fail() -> None:
        raise error

    tree = Tree("headrace", callback=fail, invoke_without_command=True)
    result = CliRunner().invoke(tree, [])
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", text)


def test_listing_the_commands_imports_nothing_heavy() -> None:
    script = (
        "import sys; from headrace.cli.main import headrace\n"
        "headrace.main(['--help'], standalone_mode=False)\n"
        "print(sorted({'boto3', 'botocore', 'msgspec', 'http.client', 'headrace.cli.send'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "headrace", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("headrace ")


def test_output_that_can_not_be_written_is_said() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "headrace", "--help"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        1,
        "headrace: What is printed can't be written: No space left on device.",
    )


def test_a_terminal_does_not_obey_what_a_device_sent() -> None:
    from headrace.cli.output import printable, table

    assert printable("pump\x1b[31m\n é") == "pump\\x1b[31m\\n é"
    assert "\x1b" not in table(["device"], [["pump\x1b[31m"]])


def test_columns_stand_under_each_other_whatever_the_letters() -> None:
    from headrace.cli.output import table

    assert table(("device", "n"), [["温度", 1], ["pump", 20]]).splitlines() == [
        "device   n",
        "温度     1",
        "pump    20",
    ]
