"""A stop at any moment, the start included, leaves nothing behind that works on the data."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from headrace.disk import is_locked
from support.backend import Backend, command_line, wait_until


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
