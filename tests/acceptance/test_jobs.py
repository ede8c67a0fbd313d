"""From a file of sensors to hourly aggregates: sent twice, killed in every stage, and equal to a direct computation."""

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import duckdb
import psutil
import pytest

from support.backend import ROOT, TEMPLATE, Backend, backend, wait_until
from support.jobs import amount, needs_java

SENSORS = ROOT / "tests" / "data" / "sensors.csv.gz"
ROWS = 59_259
Key = tuple[str, str, datetime]


@pytest.fixture(scope="module")
def expected() -> dict[Key, dict[str, Any]]:
    """Each hour's aggregate, computed from one sending of the file."""
    groups: dict[Key, list[float]] = defaultdict(list)
    with gzip.open(SENSORS, "rt") as file:
        for line in csv.DictReader(file):
            time = datetime.fromisoformat(line["time"]).astimezone(UTC).replace(tzinfo=None)
            hour = time.replace(minute=0, second=0, microsecond=0)
            groups[line["device_id"], line["measure"], hour].append(float(line["value"]))
    return {
        key: {
            "count": len(values),
            "min": min(values),
            "max": max(values),
            "sum": sum(filter(None, map(amount, values))),
        }
        for key, values in groups.items()
    }


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend that was sent the file twice, with kills, and has compacted it, with kills."""
    fast = ("--parameters", "AggregateWritesPerSecond=20000")
    with backend(tmp_path_factory.mktemp("jobs"), TEMPLATE, *fast) as running:
        first = subprocess.Popen(
            [sys.executable, "-m", "headrace", "send", str(SENSORS)],
            env=running.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(lambda: running.status()["accepted"] > 5_000 or first.poll() is not None)
        first.kill()
        first.wait()
        running.kill("worker archive")
        running.cli("send", str(SENSORS))
        running.kill("worker archive")
        running.cli("send", str(SENSORS))
        running.settled(ROWS)
        run = started(running, "compact")
        killed(running, "compact", lambda: any((running.data / "archive").rglob("*.parquet")))
        assert ended(running, run)["state"] == "succeeded"
        yield running


def started(running: Backend, job: str, *options: str) -> str:
    return str(json.loads(running.cli("jobs", "run", job, *options, "--json").stdout)["id"])


def ended(running: Backend, run: str) -> Any:
    def look() -> Any:
        found = running.get(f"/_headrace/jobs/runs/{run}")
        return found if found["state"] in ("succeeded", "failed", "cancelled") else None

    return wait_until(look, 900, 0.2)


def killed(running: Backend, job: str, moment: Callable[[], bool]) -> None:
    """SIGKILL the child of a job at a moment, or when it has come to its end before that."""
    (pid,) = wait_until(lambda: running.pids(f"app job {job}"), 20, 0.005)[:1]
    wait_until(lambda: moment() or not psutil.pid_exists(pid), 300, 0.002)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def aggregates(running: Backend, report: str) -> dict[Key, dict[str, Any]]:
    """Return what is in the report's objects, each key once."""
    files = running.data / "s3" / "archive" / "reports" / report / "*" / "*.parquet"
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"SELECT device_id, reading, period_start, count, min, max, sum FROM read_parquet('{files}')"
        ).fetchall()
    found = {tuple(row[:3]): dict(zip(("count", "min", "max", "sum"), row[3:], strict=True)) for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("engine", ["duckdb", pytest.param("spark", marks=needs_java)])
def test_aggregates_of_a_file_sent_twice_equal_one_sending(
    archived: Backend, expected: dict[Key, dict[str, Any]], engine: str
) -> None:
    run = started(archived, "aggregate_hourly", "--engine", engine, "--from", "2000-01-01")
    work = archived.data / "jobs" / "aggregate_hourly" / "work"
    killed(archived, "aggregate_hourly", lambda: any(work.glob("*/out/*" if engine == "duckdb" else "*/tmp/*")))
    found = ended(archived, run)
    assert found["state"] == "succeeded", archived.cli("jobs", "logs", run).stdout
    assert found["attempts"][-1]["outcome"] == "succeeded"
    assert aggregates(archived, "aggregate_hourly") == expected
    device, reading, _ = next(iter(expected))
    hours = {hour: each for (of, name, hour), each in expected.items() if (of, name) == (device, reading)}
    assert asked(archived, device, reading) == hours


def asked(running: Backend, device: str, reading: str) -> dict[datetime, dict[str, Any]]:
    """Return a device's hours as it asks for them itself."""
    found: dict[datetime, dict[str, Any]] = {}
    cursor: list[str] = []
    while True:
        result = running.cli(
            "aggregates", device, "--period", "hour", "--reading", reading, "--limit", "1000", "--json", *cursor
        )
        answer = json.loads(result.stdout, parse_float=str)
        for each in answer["aggregates"]:
            start = datetime.fromisoformat(each["start"]).replace(tzinfo=None)
            numbers = {name: float(each[name]) for name in ("min", "max")}
            found[start] = {"count": each["count"], **numbers, "sum": Decimal(each["sum"])}
        if answer["cursor"] is None:
            return found
        cursor = ["--cursor", answer["cursor"]]


def test_a_late_event_corrects_its_hour_and_nothing_else(
    archived: Backend, expected: dict[Key, dict[str, Any]]
) -> None:
    assert ended(archived, started(archived, "aggregate_hourly"))["state"] == "succeeded"
    (device, reading, hour), before = next(iter(expected.items()))
    event = {"device_id": device, "time": f"{hour.isoformat()}Z", "id": "late", reading: before["max"] + 1}
    archived.client("kinesis").put_record(StreamName="events", PartitionKey=device, Data=json.dumps(event))
    records = archived.status()["accepted"]
    archived.settled(records)
    wait_until(lambda: archived.status(verify=True)["archive"]["records"] == records)
    run = ended(archived, started(archived, "aggregate_hourly"))  # it is seen before it is compacted
    assert run["result"]["days"] == 1
    after = aggregates(archived, "aggregate_hourly")
    assert after.pop((device, reading, hour))["count"] == before["count"] + 1
    assert after == {key: each for key, each in expected.items() if key != (device, reading, hour)}
    expected[device, reading, hour] = aggregates(archived, "aggregate_hourly")[device, reading, hour]


def test_a_run_that_is_cancelled_changes_nothing(archived: Backend) -> None:
    ended(archived, started(archived, "device_daily"))
    folder = archived.data / "s3" / "archive" / "reports"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
    run = started(archived, "device_daily", "--from", "2000-01-01")
    archived.cli("jobs", "cancel", run)
    assert ended(archived, run)["state"] == "cancelled"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")} == before


def test_what_is_asked_wrongly_is_told(archived: Backend) -> None:
    result = archived.cli("jobs", "run", "aggregate_hourly", "--parameter", "gap=1", "--wait", check=False)
    assert result.returncode == 1 and "no parameter gap" in result.stderr
    result = archived.cli("jobs", "run", "nothing", check=False)
    assert result.returncode == 1 and "There is no job 'nothing'" in result.stderr
