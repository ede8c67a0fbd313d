"""`headrace sql` over the warehouse of a real backend: right answers, nothing written unasked, no harm from bad SQL."""

import csv
import gzip
import io
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from support.backend import ROOT, TEMPLATE, Backend, backend, wait_until

SENSORS = ROOT / "tests" / "data" / "sensors.csv.gz"
ROWS = 3000
ENDLESS = "SELECT COUNT(*) FROM events a, events b, events c WHERE a.number + b.number > c.number"


@pytest.fixture(scope="module")
def lines() -> list[str]:
    with gzip.open(SENSORS, "rt") as file:
        return [file.readline() for _ in range(ROWS + 1)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> Iterator[Backend]:
    """A backend whose warehouse holds a part of the sensor file, sent twice."""
    folder = tmp_path_factory.mktemp("sql")
    part = folder / "part.csv"
    part.write_text("".join(lines))
    with backend(folder, TEMPLATE) as started:
        started.cli("send", str(part))
        started.cli("send", str(part))
        started.settled(2 * ROWS)
        started.cli("jobs", "run", "compact", "--wait")
        started.cli("jobs", "run", "load", "--wait")
        yield started


def sql(running: Backend, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace", "sql", *arguments],
        env=running.environment, capture_output=True, text=True, timeout=100, input=stdin,
    )  # fmt: skip


def test_the_answer_equals_a_direct_computation(running: Backend, lines: list[str]) -> None:
    found = sql(running, "--csv", stdin="SELECT device_id, COUNT(*), COUNT(DISTINCT id) FROM events GROUP BY 1;")
    assert found.returncode == 0, found.stderr
    rows = list(csv.reader(io.StringIO(found.stdout)))[1:]
    sent = Counter(line.split(",")[1] for line in lines[1:])
    assert {row[0]: int(row[1]) for row in rows} == sent
    assert all(row[1] == row[2] for row in rows)


def test_parameters_types_and_pages(running: Backend) -> None:
    injected = "x' OR '1'='1"
    found = sql(
        running, "--json", "--parameter", f"d={injected}", "SELECT COUNT(*) AS n FROM events WHERE device_id = :d"
    )
    assert json.loads(found.stdout) == [{"n": 0}]
    found = sql(
        running, "--json", "SELECT 7 / 2 AS i, 2.50 * 2 AS d, NULL AS n, 'é' AS t, TRUE AS b, DATE '2026-01-31' AS x"
    )
    assert json.loads(found.stdout) == [{"i": 3, "d": 5.00, "n": None, "t": "é", "b": True, "x": "2026-01-31"}]
    found = sql(running, "--csv", "SELECT device_id, time, id FROM events")
    assert found.stdout.count("\n") == ROWS + 1


def test_what_writes_takes_write_and_loaded_tables_refuse_it(running: Backend) -> None:
    assert sql(running, "CREATE TABLE mine AS SELECT 1 AS a").returncode == 2
    assert sql(running, "--write", "CREATE TABLE mine AS SELECT 1 AS a; INSERT INTO mine VALUES (2)").returncode == 0
    assert sql(running, "--csv", "SELECT SUM(a) FROM mine").stdout == "sum\n3\n"
    found = sql(running, "--write", "DELETE FROM events")
    assert found.returncode == 1
    assert "events" in found.stderr


@pytest.mark.parametrize(
    "statement", ["SELECT * FROM read_csv('/etc/passwd')", "SELECT getenv('HOME')", "SELECT 1 / 0"]
)
def test_what_is_refused_says_why(running: Backend, statement: str) -> None:
    found = sql(running, statement)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith("headrace: ")


def test_a_statement_that_never_ends_is_cancelled(running: Backend) -> None:
    found = sql(running, "--timeout", "2", ENDLESS)
    assert found.returncode == 1
    assert "longer than 2 seconds" in found.stderr
    child = subprocess.Popen(
        [sys.executable, "-m", "headrace", "sql", ENDLESS],
        env=running.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lambda: "STARTED" in states(running))
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert (child.returncode, "Cancelled" in said) == (1, True)
    wait_until(lambda: "STARTED" not in states(running))
    assert sql(running, "--csv", "SELECT 1").stdout.endswith("1\n")


def states(running: Backend) -> list[str]:
    """Return the states of the statements, the newest first."""
    import boto3

    client = boto3.client("redshift-data", endpoint_url=running.url, region_name="us-east-1",
                          aws_access_key_id="x", aws_secret_access_key="x")  # fmt: skip
    return [each["Status"] for each in client.list_statements(Status="ALL")["Statements"]]
