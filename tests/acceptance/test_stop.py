"""A stop at any moment, the start included, leaves nothing behind that works on the data; no other end is one."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from headrace.disk import is_locked
from support.backend import TEMPLATE, Backend, command_line, wait_until


@pytest.mark.parametrize("started", ["headrace.app table", "headrace.app metrics", "headrace.runtime.worker"])
def test_a_stop_during_the_start(tmp_path: Path, started: str) -> None:
    """As soon as the first process has started, the last one, and the first worker."""
    up = Backend(tmp_path / "data")
    process = up.spawn()
    wait_until(lambda: up.pids(started), 20, 0.002)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGTERM)
    assert up.stop() == 0, up.output()
    assert [child for child in children if child.is_running() and "headrace.app" in command_line(child)] == []
    assert not any(is_locked(lock) for lock in tmp_path.rglob("*lock"))


def test_an_output_that_takes_nothing_ends_nothing(tmp_path: Path) -> None:
    """As a file on a full disk, or a terminal that was closed."""
    Backend(tmp_path / "data").start().stop()
    up = Backend(tmp_path / "data", TEMPLATE, "--parameters", "EventsTtlDays=7")  # what changes is said, too
    with Path("/dev/full").open("w") as full:
        process = up.spawn(full)
        try:
            wait_until(lambda: up.get("/_headrace/health")["ready"], 40)
            (table,) = up.pids("headrace.app table")
            os.kill(table, signal.SIGKILL)
            wait_until(lambda: up.pids("headrace.app table") not in ([], [table]), 30)
            wait_until(lambda: up.get("/_headrace/health")["ready"], 30)
            assert "table ended (signal SIGKILL)" in (up.data / "logs" / "supervisor.log").read_text()
            assert process.poll() is None
        finally:
            process.terminate()
            process.wait(30)
