"""Shell completion: the scripts, and what they are answered."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.cli.main import COMMANDS
from headrace.gateway.admin import PROCESSES, Admin
from headrace.settings import Layout
from support.command_line import run
from support.fake_backend import FakeBackend, fake_backend


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeBackend]:
    with fake_backend() as running:
        running.paths = Admin(Layout(tmp_path), ["store", "archive"], failures=None, archive=None, replay=_no).paths()
        yield running


async def _no(function: str, payload: bytes) -> tuple[bool, str | None]:
    return False, "no"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_can_read(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0 and "_HEADRACE_COMPLETE" in result.stdout
    if executable := shutil.which(shell):
        subprocess.run([executable, "-n"], input=result.stdout, text=True, check=True, timeout=30)
    assert run("completion", "cmd").exit_code == 2


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("headrace ", list(COMMANDS)),
        ("headrace st", ["status", "streams"]),
        ("headrace --en", ["--endpoint"]),
        ("headrace status --v", ["--verify"]),
        ("headrace failures r", ["replay"]),
        ("headrace logs ", ["store", "archive", *PROCESSES]),
        ("headrace logs s", ["store", "supervisor"]),
        ("headrace invoke s", ["store"]),
        ("headrace invoke --endpoint http://127.0.0.1:9 s", []),
    ],
)
def test_what_completes(fake: FakeBackend, words: str, completions: list[str]) -> None:
    place = len(words.split()) - (not words.endswith(" "))
    environment = {"COMP_WORDS": words, "COMP_CWORD": str(place), "_HEADRACE_COMPLETE": "bash_complete"}
    result = run(env={**environment, "HEADRACE_ENDPOINT": fake.url})
    assert [line.partition(",")[2] for line in result.stdout.split()] == completions


def test_a_backend_that_is_down_completes_nothing_and_says_nothing() -> None:
    environment = {"COMP_WORDS": "headrace logs ", "COMP_CWORD": "2", "_HEADRACE_COMPLETE": "bash_complete"}
    result = run(env={**environment, "HEADRACE_ENDPOINT": "http://127.0.0.1:9"})
    assert (result.stdout.strip(), result.stderr) == ("", "")
