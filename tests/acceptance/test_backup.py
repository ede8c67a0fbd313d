"""`headrace backup` while events come in, and `headrace restore` to a whole that verifies."""

import contextlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.backend import Backend, backend, wait_until
from support.command_line import run
from support.load import Ledger, put_records_body, send
from support.small_disk import small_disk

RATE = 3_000


def body(number: int) -> bytes:
    """Return 500 events; every hundredth one is rejected by `store`."""
    records = []
    for place in range(500):
        row = number * 500 + place
        device = f"device-{row % 97:03d}"
        when = "noon" if row % 100 == 0 else 1_700_000_000 + row // 97
        records.append((device, json.dumps({"device_id": device, "time": when, "id": f"row-{row}"}).encode()))
    return put_records_body("events", records)


@contextlib.contextmanager
def loaded(running: Backend) -> Iterator[list[Ledger]]:
    """Send events for as long as the context lasts; the ledger is there after it."""
    ended = threading.Event()
    ledgers: list[Ledger] = []

    def load() -> None:
        ledgers.append(send(running.url, body, rate=RATE, duration_s=60, connections=2, stop=ended.is_set))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        yield ledgers
    finally:
        ended.set()
        thread.join()


@pytest.mark.timeout(180)
def test_backups_under_load_restore_to_a_consistent_whole(tmp_path: Path) -> None:
    accepted = []
    with backend(tmp_path) as running:
        with loaded(running) as ledgers:
            for number in range(2):
                time.sleep(1.0)
                accepted.append(running.status()["accepted"])
                made = running.cli("backup", str(tmp_path / f"backup-{number}"), "--data", str(running.data), "--json")
                assert json.loads(made.stdout)["running"]
        assert ledgers[0].errors == 0  # nobody has noticed
        with contextlib.ExitStack() as stack:
            restored = [stack.enter_context(restored_backend(tmp_path, number)) for number in range(2)]
            for one, before in zip(restored, accepted, strict=True):
                one.settled(before, 90)
                status = one.status(verify=True)
                assert status["verified"], status["differences"]
                assert before <= status["accepted"] <= ledgers[0].records
                assert status["events"]["rejected"] > 0
                one.client("kinesis").put_record(StreamName="events", PartitionKey="d", Data=b'{"id":"after"}')
                assert one.status()["accepted"] == status["accepted"] + 1
        running.settled(ledgers[0].records, 60)
        assert running.status(verify=True)["verified"]  # the original did not suffer either


@contextlib.contextmanager
def restored_backend(folder: Path, number: int) -> Iterator[Backend]:
    data = folder / f"restored-{number}"
    assert run("restore", str(folder / f"backup-{number}"), "--data", str(data)).exit_code == 0
    restored = Backend(data).start()
    try:
        yield restored
    finally:
        restored.stop()


def test_a_backup_while_nothing_runs(tmp_path: Path) -> None:
    with backend(tmp_path) as running, loaded(running) as ledgers:
        time.sleep(0.5)
    made = run("backup", str(tmp_path / "backup"), "--data", str(tmp_path / "data"), "--json")
    assert made.exit_code == 0, made.stderr
    assert json.loads(made.stdout)["running"] is False
    shutil.rmtree(tmp_path / "data")
    assert run("restore", str(tmp_path / "backup"), "--data", str(tmp_path / "data")).exit_code == 0
    with backend(tmp_path) as running:
        status = running.settled(ledgers[0].records, 60)
        assert status["accepted"] == ledgers[0].records
        assert running.status(verify=True)["verified"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that nobody works in."""
    folder = tmp_path_factory.mktemp("data")
    with backend(folder):
        pass
    return folder / "data"


def test_what_is_refused(data: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    made = tmp_path / "made"
    assert run("backup", str(made), "--data", str(data)).exit_code == 0
    damaged = tmp_path / "damaged"
    shutil.copytree(made, damaged)
    (damaged / "system.json").unlink()
    newer = tmp_path / "newer"
    shutil.copytree(made, newer)
    manifest = json.loads((newer / "backup.json").read_text())
    (newer / "backup.json").write_text(json.dumps(manifest | {"version": 99}))
    cold = tmp_path / "cold"  # of a data directory that keeps its cold objects outside
    cold.mkdir()
    shutil.copytree(data, tmp_path / "colder")
    place = tmp_path / "colder" / "s3" / ".cold.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"folder": str(cold)}))
    cases = [
        (("backup", str(cold / "b"), "--data", str(tmp_path / "colder")), 2, "lies in the cold folder"),
        (("backup", str(data), "--data", str(data)), 2, "exists already"),
        (("backup", str(data / "b"), "--data", str(data)), 2, "lies in the data directory"),
        (("backup", str(there), "--data", str(data)), 2, "exists already"),
        (("backup", str(made), "--data", str(data)), 2, "exists already"),
        (("backup", str(tmp_path / "no" / "b"), "--data", str(data)), 2, "There is no folder"),
        (("backup", str(tmp_path / "b"), "--data", str(tmp_path / "no")), 2, "no data directory"),
        (("restore", str(made), "--data", str(data)), 2, "exists already"),
        (("restore", str(made), "--data", str(made / "d")), 2, "lies in the backup"),
        (("restore", str(made)), 2, "--data"),
        (("restore", str(data), "--data", str(tmp_path / "d")), 2, "is no backup"),
        (("restore", str(damaged), "--data", str(tmp_path / "d")), 1, "is not whole"),
        (("restore", str(newer), "--data", str(tmp_path / "d")), 1, "newer Headrace"),
    ]
    for arguments, code, problem in cases:
        result = run(*arguments)
        assert result.exit_code == code, (arguments, result.stderr)
        assert problem in result.stderr
        assert len(result.stderr.strip().splitlines()) >= 2, result.stderr  # what to do is said, too
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"there", "made", "damaged", "newer", "cold", "colder"}, "something was left"
    assert not list(cold.iterdir())


def test_a_backup_that_does_not_fit_leaves_nothing(data: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path, 8) as disk, disk.ballast(leave_bytes=100_000):
        (data / "large").write_bytes(os.urandom(1_000_000))
        result = run("backup", str(disk.folder / "backup"), "--data", str(data))
        (data / "large").unlink()
        assert result.exit_code == 1
        assert "No space left on device" in result.stderr and "Free space" in result.stderr
        assert {path.name for path in disk.folder.iterdir()} == {"lost+found", "ballast"}


def test_a_verification_that_is_ended_is_a_clear_error(tmp_path: Path) -> None:
    with backend(tmp_path) as running:

        def ended() -> Any:
            """Ask for a verification and end its process; it may be done before it is found."""
            answers = []
            asking = threading.Thread(target=lambda: answers.append(running.cli("status", "--verify", check=False)))
            asking.start()
            while asking.is_alive():
                for pid in running.pids("headrace.app verify"):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)
            return answers[0] if answers[0].returncode else None

        answer = wait_until(ended, 60)
        assert answer.returncode == 1
        assert "The verification was ended before it was done" in answer.stderr
        assert "Traceback" not in (running.data / "logs" / "gateway.log").read_text()
