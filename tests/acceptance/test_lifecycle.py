"""Lifecycle on the real backend: aged objects turn cold and are restored; a backup brings all of it back."""

import json
import os
import time
from pathlib import Path

from headrace.archive.local import LocalBucket
from support.backend import TEMPLATE, Backend, backend, wait_until
from support.command_line import run

DAY_NS = 86_400 * 1_000_000_000
BODIES = {f"events/dt=2026-01-0{day}/part-0.parquet": os.urandom(200_000) for day in (1, 2, 3)}


def listed(running: Backend) -> dict[str, str]:
    rows = json.loads(running.cli("archive", "list", "--prefix", "events/", "--json").stdout)
    return {row["key"]: f"{row['storage_class']}{'' if row['readable'] else ' unreadable'}" for row in rows}


def age(data: Path, key: str, days: int) -> None:
    at = time.time_ns() - days * DAY_NS
    os.utime(data / "s3" / "archive" / key, ns=(at, at))


def test_cold_restored_backed_up_and_gone(tmp_path: Path) -> None:
    bucket = LocalBucket(tmp_path / "data" / "s3" / "archive")
    first, second, third = BODIES
    with backend(tmp_path, TEMPLATE, "--cold-dir", str(tmp_path / "cold"), "--restore-speed", "1000000") as running:
        for (key, body), days in zip(BODIES.items(), (100, 500, 10), strict=True):
            bucket.put(key, body)
            age(tmp_path / "data", key, days)
        plan = json.loads(running.cli("lifecycle", "plan", "--json").stdout)
        assert sorted((step["to"], step["objects"]) for step in plan["steps"]) == [("DEEP_ARCHIVE", 1), ("GLACIER", 1)]
        running.cli("lifecycle", "run")
        cold = {first: "GLACIER unreadable", second: "DEEP_ARCHIVE unreadable", third: "STANDARD"}
        assert listed(running) == cold
        status = running.status()
        assert status["archive"]["cold"] == {"objects": 2, "bytes": 400_000}
        assert status["archive"]["bytes"] >= 600_000
        running.cli("archive", "restore", first, second, "--days", "3")
        wait_until(lambda: listed(running)[second] == "DEEP_ARCHIVE")
        assert {key: bucket.get(key) for key in BODIES} == BODIES
        made = running.cli("backup", str(tmp_path / "backup"), "--data", str(running.data), "--json")
        assert json.loads(made.stdout)["running"]

    assert run("restore", str(tmp_path / "backup"), "--data", str(tmp_path / "again")).exit_code == 0
    assert run("doctor", "--data", str(tmp_path / "again")).exit_code == 0
    original = {info.key: info.modified_ms for info in bucket.list()}
    restored = LocalBucket(tmp_path / "again" / "s3" / "archive")
    assert {info.key: info.modified_ms for info in restored.list()} == original
    again = Backend(tmp_path / "again").start()
    try:
        assert listed(again) == cold
        again.cli("lifecycle", "run")
        assert listed(again) == cold  # creation times came with it: nothing is due
        assert again.cli("archive", "restore", first, "--tier", "Expedited").returncode == 0
    finally:
        again.stop()

    (tmp_path / "cold").rename(tmp_path / "unplugged")
    with backend(tmp_path) as running:
        age(tmp_path / "data", third, 100)
        result = running.cli("lifecycle", "run", check=False)
        assert result.returncode == 1 and "Mount its disk" in result.stderr
        assert listed(running)[third] == "STANDARD"
        assert "is not there" in (tmp_path / "data.up.log").read_text()
        (tmp_path / "unplugged").rename(tmp_path / "cold")
        running.cli("lifecycle", "run")
        assert listed(running)[third] == "GLACIER unreadable"
