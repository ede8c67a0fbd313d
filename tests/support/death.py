"""Processes that kill themselves before one of the changes that they make."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from headrace import disk

TESTS = Path(__file__).parents[1]
CHANGES = ("put", "put_file", "tag", "delete", "put_if_version")  # of buckets and tables


def run(module: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run a module of `support` as a process to its end, which it reaches or not."""
    command = [sys.executable, "-m", f"support.{module}", *map(str, arguments)]
    ended = subprocess.run(command, cwd=TESTS, check=False, timeout=100, capture_output=True, text=True)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended


def before_change(step: int, places: Iterable[object]) -> None:
    """Have this process killed before the `step`-th change of one of these, or of a durable file, counted from 1."""
    left = step

    def killed_before(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                now()
            return change(*arguments, **named)

        return changed

    for place in places:
        for name in CHANGES:
            if hasattr(place, name):
                setattr(place, name, killed_before(getattr(place, name)))
    disk.write_file = killed_before(disk.write_file)


def now() -> None:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)
