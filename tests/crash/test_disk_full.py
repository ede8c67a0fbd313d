"""A disk that fills up, or becomes read-only, under load: clear errors, nothing acknowledged is lost, no restart."""

import contextlib
import http.client
import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace import disk as durable
from headrace.errors import StorageError
from support.backend import Backend, backend, wait_until
from support.command_line import run
from support.load import put_records_body
from support.small_disk import MB, SmallDisk, small_disk

PER_REQUEST = 200
CLIENTS = 2
PROCESSES = ("gateway", "table", "runtime")


def body(number: int) -> bytes:
    """Return events with identities of their own: a body that is sent again is the same events."""
    records = []
    for place in range(PER_REQUEST):
        row = number * PER_REQUEST + place
        device = f"device-{row % 97:03d}"
        event = {"device_id": device, "time": 1_700_000_000 + row // 97, "id": f"row-{row:09d}", "value": row}
        records.append((device, json.dumps(event).encode()))
    return put_records_body("events", records)


class Load:
    """Clients that send each body until it is acknowledged whole, and keep what they were told."""

    def __init__(self, running: Backend) -> None:
        self.running = running
        self.acknowledged: list[tuple[str, str]] = []
        self.bodies = 0
        self.cut_off = 0  # connections that ended under a request
        self.refused: Counter[tuple[str, str]] = Counter()  # (error code, message) of a record
        self.odd: list[str] = []  # answers that no client should see
        self._next = iter(range(10**9))
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.running.port, timeout=60)) as connection:
            while not self._ended.is_set():
                whole = body(next(self._next))
                while not self._sent(connection, whole) and not self._ended.is_set():
                    time.sleep(0.05)
                time.sleep(0.03)

    def _sent(self, connection: http.client.HTTPConnection, whole: bytes) -> bool:
        """Send a body once; return whether all of it was acknowledged."""
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Kinesis_20131202.PutRecords"}
        try:
            connection.request("POST", "/", whole, headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()  # it connects again
            self.cut_off += 1
            return False
        if response.status != 200:
            self.odd.append(f"{response.status} {text!r}")
            return False
        answer = json.loads(text)
        if answer["FailedRecordCount"]:
            self.refused.update((one["ErrorCode"], one["ErrorMessage"]) for one in answer["Records"])
            return False
        self.bodies += 1
        self.acknowledged += [(one["ShardId"], one["SequenceNumber"]) for one in answer["Records"]]
        return True


def fill(disk: SmallDisk, load: Load, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Let the load fill what is left of the disk, and go on for a while; then free the space."""
    before = sum(load.refused.values())
    with disk.ballast(leave_bytes=3 * MB):
        wait_until(lambda: sum(load.refused.values()) > before, 30)
        meanwhile()
        time.sleep(2)
    bodies = load.bodies
    wait_until(lambda: load.bodies > bodies + 10, 30)  # by itself


def settled_and_verified(running: Backend, load: Load) -> Any:
    """Wait until all is done with, and have everything compared; return the status."""
    running.settled(len(load.acknowledged), 90)
    status = running.status(verify=True)
    assert status["verified"], status["differences"]
    assert status["failures"]["records"] == 0
    assert len(set(load.acknowledged)) == len(load.acknowledged)
    return status


def pids(running: Backend) -> list[list[int]]:
    return [running.pids(f"headrace.app {name}") for name in PROCESSES]


@pytest.mark.timeout(240)
def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path, 260) as disk, backend(disk.folder) as running:
        before, told = pids(running), list[str]()
        with Load(running) as load:
            wait_until(lambda: load.bodies > 20, 20)
            for _ in range(2):
                fill(disk, load, lambda: told.append(running.cli("status").stdout))
        assert all("THE DISK IS FULL" in text for text in told), told
        code, message = next(iter(load.refused))
        assert code == "InternalFailure"
        assert "No space left on device" in message
        assert "Free space on this disk; writing resumes by itself." in message
        assert not load.odd
        assert not load.cut_off
        assert settled_and_verified(running, load)["accepted"] == len(load.acknowledged)
        assert pids(running) == before, "a process was restarted"
        assert running.stop() == 0


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_killed_while_the_disk_is_full(tmp_path: Path, name: str) -> None:
    with small_disk(tmp_path, 260) as disk, backend(disk.folder) as running:
        with Load(running) as load:
            wait_until(lambda: load.bodies > 20, 20)
            fill(disk, load, lambda: running.kill(f"headrace.app {name}"))
        wait_until(lambda: running.get("/_headrace/health")["ready"], 30)
        settled_and_verified(running, load)
        assert running.process.poll() is None, running.output()


@pytest.mark.timeout(240)
def test_a_disk_that_becomes_read_only(tmp_path: Path) -> None:
    """The kernel does that to a file system with errors; it is mended unmounted, so the backend is started again."""
    with small_disk(tmp_path, 260) as disk:
        if not disk.can_fail:
            pytest.skip("this kernel has no trigger_fs_error: a file system can't be made to fail")
        running = Backend(disk.folder / "data").start()
        try:
            with Load(running) as load:
                wait_until(lambda: load.bodies > 20, 20)
                disk.fail()
                wait_until(lambda: load.refused, 20)
                time.sleep(1)
                assert "THE DISK IS READ-ONLY" in running.cli("status").stdout  # reading goes on
                for command in (
                    ("sql", "--archive", "SELECT 1 AS one FROM events"),
                    ("export", "--output", "/dev/null"),
                ):
                    assert "The disk is read-only: remount it" in running.cli(*command, check=False).stderr
                assert "read-only" in running.cli("doctor", "--data", str(running.data), check=False).stdout
            messages = {message for _, message in load.refused}
            assert any("Read-only file system" in message and "remount" in message for message in messages), messages
            assert not load.odd
        finally:
            running.stop()
        disk.unmount()
        disk.repair()
        disk.mount()
        with backend(disk.folder) as again:
            status = settled_and_verified(again, load)
            assert status["accepted"] >= len(load.acknowledged)  # what was refused may have been kept


def test_a_disk_that_takes_no_more_files(tmp_path: Path) -> None:
    with small_disk(tmp_path, 100) as disk, backend(tmp_path) as running:
        running.stop()
        shutil.move(running.data, disk.folder / "data")
        with disk.no_more_files():
            assert durable.room(disk.folder).full
            with pytest.raises(StorageError, match=r"No space left on device\.\n.*takes no more files"):
                durable.write_file(disk.folder / "one", b"more")
            result = run("doctor", "--data", disk.folder / "data")
            assert "takes no more files" in result.stdout
