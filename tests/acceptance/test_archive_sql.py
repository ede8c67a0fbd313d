"""SQL straight over the archive of a real backend: what it answers, and that no query does harm."""

import csv
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.backend import ROOT, TEMPLATE, Backend, backend, wait_until

SENSORS = ROOT / "tests" / "data" / "sensors.csv.gz"
ROWS = 3000
DEVICES: dict[str, int] = {}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend with a part of the sensor file, sent twice: one half compacted in between."""
    folder = tmp_path_factory.mktemp("archive-sql")
    with gzip.open(SENSORS, "rt") as file:
        lines = [file.readline() for _ in range(ROWS + 1)]
    for line in lines[1:]:
        device = line.split(",")[1]
        DEVICES[device] = DEVICES.get(device, 0) + 1
    part = folder / "part.csv"
    part.write_text("".join(lines))
    os.environ["HEADRACE_SQL_MEMORY_MB"] = "256"
    try:
        with backend(folder, TEMPLATE) as started:
            started.cli("send", str(part))
            started.settled(ROWS)
            started.cli("jobs", "run", "compact", "--wait")
            started.cli("send", str(part))
            started.settled(2 * ROWS)
            yield started
    finally:
        del os.environ["HEADRACE_SQL_MEMORY_MB"]


def sql(running: Backend, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace", "sql", "--archive", *arguments],
        env=running.environment, capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def test_raw_and_compacted_events_are_counted_once(running: Backend) -> None:
    found = sql(
        running,
        "SELECT device_id, COUNT(*) AS n, COUNT(DISTINCT id) FROM events GROUP BY 1 ORDER BY 1;"
        "SELECT COUNT(*) FROM readings; SELECT table_name FROM svv_tables ORDER BY 1",
        "--csv",
    )
    assert found.returncode == 0, found.stderr
    rows = list(csv.reader(io.StringIO(found.stdout)))
    assert rows[0] == ["device_id", "n", "count"]
    assert {row[0]: int(row[1]) for row in rows[1 : 1 + len(DEVICES)]} == DEVICES
    assert rows[1 + len(DEVICES) : 3 + len(DEVICES)] == [["count"], [str(sum(DEVICES.values()))]]
    assert [row[0] for row in rows[-5:]] == ["devices", "events", "properties", "readings", "rejected"]


def test_a_large_result_is_streamed_as_json_and_parquet(running: Backend, tmp_path: Path) -> None:
    found = sql(running, "SELECT device_id, time, amount FROM readings ORDER BY 1, 2", "--json")
    rows = json.loads(found.stdout)
    assert len(rows) == sum(DEVICES.values())
    assert rows[0]["time"] <= rows[1]["time"]
    path = tmp_path / "x.parquet"
    found = sql(running, "SELECT device_id, time, amount FROM readings", "--parquet", str(path))
    assert found.returncode == 0, found.stderr
    assert path.read_bytes()[:4] == b"PAR1"


def test_a_query_that_never_ends_is_ended(running: Backend) -> None:
    began = time.monotonic()
    endless = "SELECT COUNT(*) FROM readings a, readings b, readings c WHERE a.value + b.value > c.value"
    found = sql(running, endless, "--timeout", "4")
    assert (found.returncode, found.stdout) == (1, "")
    assert "took longer than 4 seconds" in found.stderr
    assert time.monotonic() - began < 40
    assert running.pids("archive-sql") == []


def test_ctrl_c_ends_the_query(running: Backend) -> None:
    endless = "SELECT COUNT(*) FROM readings a, readings b, readings c WHERE a.value + b.value > c.value"
    child = subprocess.Popen(
        [sys.executable, "-m", "headrace", "sql", "--archive", endless],
        env=running.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lambda: running.pids("archive-sql"))
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 1
    assert "Cancelled" in said
    wait_until(lambda: not running.pids("archive-sql"))


def test_a_query_that_eats_memory_is_told_so(running: Backend) -> None:
    found = sql(
        running, "SELECT LEN(LISTAGG(a.id || b.id || c.id)) FROM events a, events b, (SELECT id FROM events LIMIT 9) c"
    )
    assert found.returncode == 1
    assert "memory" in found.stderr
    assert running.get("/_headrace/health")["ready"]


@pytest.mark.parametrize("statement", ["SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM archived"])
def test_sql_reaches_nothing_but_the_views(running: Backend, statement: str) -> None:
    found = sql(running, statement, "--max-rows", "1")
    assert (found.returncode, found.stdout) == (1, "")
    assert "READ_CSV" in found.stderr or "There is no table archived" in found.stderr


def test_a_reader_that_goes_away_ends_the_query_in_silence(running: Backend) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "headrace", "sql", "--archive", "--csv", "SELECT a.id, b.id FROM events a, events b"],
        env=running.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None and child.stderr is not None
    assert child.stdout.readline() == "id,id\n"
    child.stdout.close()
    assert child.stderr.read() == ""
    child.stderr.close()
    assert child.wait(timeout=60) == 0
    wait_until(lambda: not running.pids("archive-sql"))


def test_nothing_is_left_behind_and_devices_are_served_all_the_while(running: Backend) -> None:
    assert list((running.data / "archive" / "queries").iterdir()) == []
    assert running.status()["accepted"] == 2 * ROWS
