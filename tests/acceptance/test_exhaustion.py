"""The gateway with no file descriptors left, and a supervisor that is killed."""

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.backend import TEMPLATE, Backend, backend, wait_until

LIMIT = 150
HEADERS = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Kinesis_20131202.PutRecord"}


@contextlib.contextmanager
def connected(running: Backend) -> Iterator[http.client.HTTPConnection]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)) as connection:
        yield connection


def put(connection: http.client.HTTPConnection, name: str) -> bool:
    """Put a record; False if the connection was closed instead of answered."""
    body = {"StreamName": "events", "PartitionKey": "d", "Data": "e30="}
    try:
        connection.request("POST", "/", json.dumps(body), HEADERS)
        response = connection.getresponse()
        text = response.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return False
    assert response.status == 200, (name, text)
    return True


@pytest.mark.timeout(120)
def test_no_descriptors_left(tmp_path: Path) -> None:
    """Who is connected is served; who is not is turned away at once and served when others have gone."""
    with backend(tmp_path) as running, connected(running) as old, contextlib.ExitStack() as idle:
        assert put(old, "before")
        (gateway,) = running.pids("headrace.app gateway")
        resource.prlimit(gateway, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
        held = [idle.enter_context(socket.create_connection(("127.0.0.1", running.port), 5)) for _ in range(2 * LIMIT)]
        wait_until(lambda: psutil.Process(gateway).num_fds() >= LIMIT - 2, 10)
        for _ in range(20):
            assert put(old, "while others wait")
        began = time.monotonic()
        with connected(running) as new:
            put(new, "turned away")
        assert time.monotonic() - began < 5
        for one in held:
            one.close()

        def served() -> bool:
            with connected(running) as new:
                return put(new, "after")

        assert wait_until(served, 10)
        assert put(old, "after")
        assert running.pids("headrace.app gateway") == [gateway]
        busy_s = psutil.Process(gateway).cpu_times().user
        time.sleep(0.5)
        assert psutil.Process(gateway).cpu_times().user - busy_s < 0.25  # it does not spin
        running.settled(23, 60)
        assert running.status(verify=True)["verified"]


@pytest.mark.timeout(120)
def test_a_supervisor_that_can_start_no_process_keeps_the_others(tmp_path: Path) -> None:
    with backend(tmp_path) as running:
        up = running.process.pid
        limits = resource.prlimit(up, resource.RLIMIT_NOFILE)
        resource.prlimit(up, resource.RLIMIT_NOFILE, (psutil.Process(up).num_fds() - 2, limits[1]))
        running.kill("headrace.app metrics")
        wait_until(lambda: "metrics can't be started: [Errno 24] Too many open files" in running.output())
        assert running.process.poll() is None
        resource.prlimit(up, resource.RLIMIT_NOFILE, limits)
        wait_until(lambda: running.pids("headrace.app metrics"))

        (metrics,) = running.pids("headrace.app metrics")
        os.kill(metrics, signal.SIGRTMIN + 7)  # of no name
        wait_until(lambda: f"metrics ended (signal {signal.SIGRTMIN + 7})" in running.output())
        wait_until(lambda: running.pids("headrace.app metrics") not in ([], [metrics]))


@pytest.mark.timeout(120)
def test_an_up_that_can_start_no_process_says_so(tmp_path: Path) -> None:
    command = ["sh", "-c", 'ulimit -n 20; exec "$@"', "sh", *Backend(tmp_path / "data").command]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stdout
    assert "can't be started: [Errno 24] Too many open files" in done.stderr and "ulimit -n" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(120)
def test_an_up_without_standard_streams(tmp_path: Path) -> None:
    running = Backend(tmp_path / "data")
    running.data.parent.mkdir(exist_ok=True)
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *running.command]
    process = subprocess.Popen(command, env=running.environment, cwd=tmp_path)
    try:
        wait_until(lambda: running.get("/_headrace/health")["ready"], 40)
    finally:
        process.terminate()
        assert process.wait(30) == 0


@pytest.mark.timeout(120)
def test_a_killed_supervisor_takes_its_children_along_and_the_next_start_recovers(tmp_path: Path) -> None:
    running = Backend(tmp_path / "data").start()
    with connected(running) as connection:
        assert put(connection, "before")
    children = psutil.Process(running.process.pid).children(recursive=True)
    assert len(children) >= 3
    running.kill_all()
    _, alive = psutil.wait_procs(children, 5)
    assert not alive
    doctor = running.cli("doctor", "--data", str(running.data))  # what it left behind is no harm
    assert "note: " in doctor.stdout and "killed" in doctor.stdout
    with backend(tmp_path) as again:
        again.settled(1, 60)
        assert again.status(verify=True)["verified"]
        second = again.cli("up", "--data", str(again.data), "--port", "0", "--template", str(TEMPLATE), check=False)
        assert second.returncode == 1 and "is in use by headrace up" in second.stderr


@pytest.mark.timeout(120)
def test_a_supervisor_killed_while_it_stops(tmp_path: Path) -> None:
    running = Backend(tmp_path / "data").start()
    children = psutil.Process(running.process.pid).children(recursive=True)
    running.process.send_signal(signal.SIGTERM)
    time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.kill(running.process.pid, signal.SIGKILL)
    running.kill_all()
    _, alive = psutil.wait_procs(children, 8)
    assert not alive
