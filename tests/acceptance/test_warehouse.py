"""The warehouse from outside: a sensor file sent twice, SIGKILL while it is loaded, asked with an unmodified SDK."""

import csv
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import duckdb
import pytest
from botocore.exceptions import ClientError

from support.backend import CREDENTIALS, ROOT, Backend, backend, wait_until

pytestmark = pytest.mark.timeout(300)  # with two sendings, and the archive's window twice
SENSORS = ROOT / "tests" / "data" / "sensors.csv.gz"
ROWS = 59_259
DAYS = ("2015-09-08", "2015-09-12")  # of which aggregates are computed: their items are written slowly


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with backend(tmp_path_factory.mktemp("warehouse")) as started:
        for _ in range(2):
            started.cli("send", str(SENSORS))
        started.settled(2 * ROWS)
        load(started, "compact")
        for job in ("aggregate_hourly", "aggregate_daily"):
            started.cli("jobs", "run", job, "--from", DAYS[0], "--to", DAYS[1], "--wait")
        run = json.loads(started.cli("jobs", "run", "load", "--json").stdout)["id"]
        started.kill("headrace.app warehouse")  # as soon as there is one; the run tries again by itself
        ended = wait_until(lambda: over(json.loads(started.cli("jobs", "show", run, "--json").stdout)), 120, 1)
        assert ended["state"] == "succeeded", ended
        yield started


@pytest.fixture(scope="module")
def client(running: Backend) -> Any:
    return boto3.client("redshift-data", endpoint_url=running.url, region_name="us-east-1", **credentials())


def over(run: dict[str, Any]) -> dict[str, Any] | None:
    return run if run["state"] in ("succeeded", "failed", "cancelled") else None


def credentials() -> dict[str, str]:
    return {
        "aws_access_key_id": CREDENTIALS["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    }


def load(running: Backend, *jobs: str) -> dict[str, int]:
    for job in jobs:
        told = json.loads(running.cli("jobs", "run", job, "--wait", "--json").stdout)
    result: dict[str, int] = told["result"]
    return result


def ask(client: Any, sql: str, **more: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a query as an SDK has them."""
    asked = client.execute_statement(Database="headrace", WorkgroupName="headrace", Sql=sql, **more)
    told = wait_until(lambda: ended(client, asked["Id"]), 30, 0.02)
    assert told["Status"] == "FINISHED", told
    pages = client.get_paginator("get_statement_result").paginate(Id=asked["Id"])
    return [tuple(map(value, row)) for page in pages for row in page["Records"]]


def ended(client: Any, statement: str) -> Any:
    told = client.describe_statement(Id=statement)
    return told if told["Status"] in ("FINISHED", "FAILED", "ABORTED") else None


def value(field: dict[str, Any]) -> Any:
    return None if "isNull" in field else next(iter(field.values()))


@pytest.fixture(scope="module")
def sensors() -> list[tuple[str, datetime, str, float]]:
    """The file's rows, read from it alone: device, time, measure, value."""
    with gzip.open(SENSORS, "rt") as file:
        return [
            (row["device_id"], datetime.fromisoformat(row["time"]).astimezone(UTC), row["measure"], float(row["value"]))
            for row in csv.DictReader(file)
        ]


def test_counts_by_device_and_day_are_those_of_one_sending(
    client: Any, sensors: list[tuple[str, datetime, str, float]]
) -> None:
    expected = Counter((device, f"{time:%Y-%m-%d}") for device, time, _, _ in sensors)
    for table in ("events", "readings"):
        sql = f"SELECT device_id, TRUNC(time), COUNT(*) FROM {table} GROUP BY 1, 2"
        assert {row[:2]: row[2] for row in ask(client, sql)} == expected


def test_aggregates_come_from_the_reports(client: Any, sensors: list[tuple[str, datetime, str, float]]) -> None:
    series: dict[tuple[str, str], list[float]] = {}
    for device, time, measure, number in sensors:
        if DAYS[0] <= f"{time:%Y-%m-%d}" < DAYS[1]:
            series.setdefault((device, measure), []).append(number)
    for table in ("hourly", "daily"):
        rows = ask(
            client, f"SELECT device_id, reading, CAST(SUM(count) AS BIGINT), MAX(max) FROM {table} GROUP BY 1, 2"
        )
        assert {row[:2]: row[2:] for row in rows} == {key: (len(each), max(each)) for key, each in series.items()}


def test_a_load_without_news_adds_nothing_and_a_merged_file_only_what_is_new(running: Backend, client: Any) -> None:
    assert not any(load(running, "load").values())
    device = ask(client, "SELECT device_id, time FROM events ORDER BY time LIMIT 1")[0]
    event = {
        "device_id": device[0],
        "time": device[1].replace(" ", "T") + "Z",
        "id": "late",
        "temperature": 1.5,
        "x": 2,
    }
    kinesis = boto3.client("kinesis", endpoint_url=running.url, region_name="us-east-1", **credentials())
    for _ in range(2):
        kinesis.put_record(StreamName="events", Data=json.dumps(event), PartitionKey="late")
    running.settled(2 * ROWS + 2)
    assert load(running, "compact", "load")["events"] == 1
    assert ask(client, "SELECT COUNT(*) FROM events") == [(ROWS + 1,)]
    found = ask(
        client, "SELECT reading, value FROM readings WHERE id = :id ORDER BY reading", Parameters=parameter("late")
    )
    assert found == [("temperature", 1.5), ("x", 2.0)]


def parameter(text: str) -> list[dict[str, str]]:
    return [{"name": "id", "value": text}]


@pytest.mark.parametrize("text", ["'; DROP TABLE events; --", "x' OR '1'='1", ":id", "\\", "日本", "a\nb"])
def test_a_parameter_is_never_sql(client: Any, text: str) -> None:
    assert ask(client, "SELECT COUNT(*) FROM events WHERE id = :id", Parameters=parameter(text)) == [(0,)]
    assert ask(client, "SELECT :id", Parameters=parameter(text)) == [(text,)]


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("DELETE FROM events", "loaded by Headrace"),
        ("DROP TABLE hourly", "loaded by Headrace"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT 1; SELECT 2", "BatchExecuteStatement"),
        ("COPY events FROM 's3://archive/events/' IAM_ROLE default FORMAT PARQUET", "loaded by Headrace"),
        ("UNLOAD ('SELECT 1') TO 's3://archive/raw/x' IAM_ROLE default FORMAT PARQUET", "kept by Headrace"),
        ("UNLOAD ('SELECT 1') TO 's3://nobody/x' IAM_ROLE default FORMAT PARQUET", "no bucket"),
    ],
)
def test_what_is_refused_says_why_and_changes_nothing(client: Any, sql: str, problem: str) -> None:
    asked = client.execute_statement(Database="headrace", WorkgroupName="headrace", Sql=sql)
    told = wait_until(lambda: ended(client, asked["Id"]), 30, 0.02)
    assert told["Status"] == "FAILED" and problem in told["Error"], told
    with pytest.raises(ClientError) as refused:
        client.get_statement_result(Id=asked["Id"])
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_unload_and_copy_bring_every_row_back(client: Any, running: Backend) -> None:
    count = ask(client, "SELECT COUNT(*) FROM events")[0][0]
    batch = [
        "CREATE TABLE copied (device_id VARCHAR(100), time TIMESTAMP, value DOUBLE PRECISION)",
        "UNLOAD ('SELECT device_id, time, value FROM readings') "
        "TO 's3://archive/unload/r-' IAM_ROLE default FORMAT PARQUET",
    ]
    for sql in batch:
        asked = client.execute_statement(Database="headrace", WorkgroupName="headrace", Sql=sql)
        assert wait_until(lambda: ended(client, asked["Id"]))["Status"] == "FINISHED"  # noqa: B023
    sqls = ["COPY copied FROM 's3://archive/unload/r-' IAM_ROLE default FORMAT PARQUET", "SELECT COUNT(*) FROM copied"]
    asked = client.batch_execute_statement(Database="headrace", WorkgroupName="headrace", Sqls=sqls)
    told = wait_until(lambda: ended(client, asked["Id"]))
    assert told["Status"] == "FINISHED", told
    rows = client.get_statement_result(Id=told["SubStatements"][1]["Id"])["Records"]
    assert rows == [[{"longValue": told["SubStatements"][0]["ResultRows"]}]]
    assert rows[0][0]["longValue"] >= count


def test_a_backup_has_the_tables_users_own_among_them(running: Backend, client: Any, tmp_path: Path) -> None:
    counts = "SELECT COUNT(*) FROM events UNION ALL SELECT COUNT(*) FROM copied"
    expected = sorted(ask(client, counts))
    running.cli("backup", "--data", str(running.data), str(tmp_path / "backup"))
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{tmp_path}/backup/warehouse/warehouse.duckdb' AS headrace (READ_ONLY)")
        connection.execute("USE headrace.public")
        assert sorted(connection.execute(counts).fetchall()) == expected
