"""Lifecycle on the real backend: aged objects turn cold and are restored; a backup brings all of it back."""

import json
import os
import time
from pathlib import Path

import pytest

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


@pytest.mark.timeout(300)
def test_cold_restored_backed_up_and_gone(tmp_path: Path) -> None:
    bucket = LocalBucket(tmp_path / "data" / "s3" / "archive")
    first, second, third = BODIES
    with backend(tmp_path, TEMPLATE, "--cold-dir", str(tmp_path / "cold"), "--restore-speed", "1000000") as running:
        running.client("kinesis").put_record(StreamName="events", PartitionKey="d", Data=b'{"id":"1"}')
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

        # A raw object that is compacted goes after a week, and its record is known to have been archived.
        running.settled(1)
        (raw,) = bucket.list("raw/")
        age(tmp_path / "data", raw.key, 30)
        running.cli("lifecycle", "run")
        assert [info.key for info in bucket.list("raw/")] == [raw.key]
        bucket.tag(raw.key, {"compacted": "true"})
        running.cli("lifecycle", "run")
        assert list(bucket.list("raw/")) == []
        assert json.loads(running.cli("lifecycle", "log", "--limit", "1", "--json").stdout)[0]["key"] == raw.key
        status = running.status(verify=True)
        assert status["verified"], status["differences"]
        assert status["archive"]["records"] == 1
