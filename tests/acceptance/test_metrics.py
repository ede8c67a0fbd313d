"""Events in; readings, the platform's own metrics and the alarms out: by boto3, the command line and Prometheus."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.backend import Backend, backend, wait_until


def total(running: Backend, namespace: str, name: str, *dimension: str, stat: str = "Sum") -> float:
    now = datetime.now(UTC)
    dimensions = [dict(zip(("Name", "Value"), dimension, strict=True))] if dimension else []
    rows = running.client("cloudwatch").get_metric_statistics(
        Namespace=namespace, MetricName=name, Dimensions=dimensions, Period=60, Statistics=[stat],
        StartTime=now - timedelta(hours=1), EndTime=now + timedelta(minutes=2),
    )["Datapoints"]  # fmt: skip
    return float(sum(row[stat] for row in rows))


def send(running: Backend, count: int) -> None:
    data = [json.dumps({"device_id": f"d{at % 7}", "temperature_f": 60 + at / 10}) for at in range(count)]
    records = [{"Data": each, "PartitionKey": f"d{at % 7}"} for at, each in enumerate(data)]
    running.client("kinesis").put_records(StreamName="events", Records=records)


def test_readings_and_platform_metrics_are_seen_and_survive_kills(tmp_path: Path) -> None:
    with backend(tmp_path) as running:
        assert running.get("/_headrace/health")["processes"]["metrics"] is True
        send(running, 300)

        def readings() -> float:
            return total(running, "Headrace", "temperature_f", stat="SampleCount")

        wait_until(lambda: readings() == 300, 20, 0.2)
        assert total(running, "Headrace", "temperature_f") == pytest.approx(sum(60 + at / 10 for at in range(300)))
        running.kill("headrace.app metrics")
        send(running, 200)  # while nobody counts
        wait_until(lambda: readings() == 500, 20, 0.2)
        wait_until(lambda: total(running, "AWS/Kinesis", "IncomingRecords", "StreamName", "events") >= 200, 30, 0.5)
        wait_until(lambda: total(running, "AWS/Lambda", "Duration", "FunctionName", "store") > 0, 30, 0.5)

        rows = {(row["metric"], *row["dimensions"].values()): row for row in listed(running)}
        assert rows["temperature_f",]["datapoints"][-1]["Minimum"] == 60
        for name in ("Invocations", "Errors", "Throttles", "ConcurrentExecutions", "IteratorAge"):
            assert (name, "store") in rows
        for name in ("PendingRecords", "FailedRecords", "ExpiredRecords"):
            assert (name, "archive") in rows
        assert ("ConsumedWriteCapacityUnits", "events") in rows
        assert ("PutRecords.Success", "events") in rows
        assert ("DiskFreeBytes",) in rows
        assert "temperature_f: p90 by 1 min" in running.cli("metrics", "temperature_f", "--stat", "p90").stdout
        assert running.cli("metrics", "nothing", check=False).returncode == 1

        alarms = json.loads(running.cli("alarms", "--json").stdout)
        assert {"StoreIsBehind", "FunctionsFail"} <= {alarm["name"] for alarm in alarms}
        assert "FunctionsFail" in running.cli("alarms").stdout

        seen = json.loads(running.cli("cost", "--observed", "--devices", "7", "--times", "1000", "--json").stdout)
        assert seen["traffic"]["source"].startswith("observed at ")
        assert seen["traffic"]["devices"] * seen["traffic"]["rate_s"] == pytest.approx(500_000 / 60, rel=0.7)
        assert 30 < seen["traffic"]["bytes"] < 60
        assert 0 < seen["assumptions"]["store_call_s"] < 5
        assert seen["assumptions"]["readings_per_event"] == pytest.approx(1, rel=0.5)
        assert seen["monthly"] > 0


def listed(running: Backend) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(running.cli("metrics", "--json", "--last", "10m").stdout)
    return found
