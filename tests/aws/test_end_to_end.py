"""The packaged functions under Lambda's own runtime client, on Kinesis, DynamoDB, S3 and CloudWatch (moto's, or real).

What they leave there is what a run on one machine leaves here, item by item.
"""

import base64
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace import template
from headrace.archive.local import LocalBucket
from headrace.deploy import package
from headrace.deploy.wheels import Target
from headrace.settings import Layout
from headrace.system import System
from headrace.table.local import LocalTable
from support import moto
from support.backend import ROOT, TEMPLATE, Backend, backend, wait_until
from support.cloud import (
    Cloud,
    Compared,
    cloud,
    comparable_items,
    comparable_lines,
    comparable_rejections,
    totals,
)
from support.event_source import EventSource, MetricAgent
from support.lambda_runtime import FunctionError, LambdaFunction, runtime_folder
from support.odd_events import ODD, OTHERS, Sent, ndjson

SENSORS = ROOT / "tests" / "data" / "sensors.csv.gz"
EACH = 1 if os.environ.get("WHOLE") == "1" else 15  # of how many rows one is sent: moto takes minutes for all of them
EVENTS_MAX = 64_000


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The functions' packages for this machine, unpacked, by the function's name."""
    folder = tmp_path_factory.mktemp("packages")
    found = {}
    for source in package.sources(TEMPLATE, {}):
        built = package.build(msgspec.structs.replace(source, target=Target.here()), folder)
        found[source.name] = folder / source.name
        package.unpack(built, found[source.name])
    return found


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runtime_folder(tmp_path_factory.mktemp("runtime"))


class Run:
    """Both platforms, given the same."""

    def __init__(self, local: Backend, remote: Cloud, functions: dict[str, LambdaFunction], system: System) -> None:
        self.local = local
        self.remote = remote
        self.functions = functions
        self.agent = MetricAgent(remote.client("cloudwatch"))
        kinesis = remote.client("kinesis")
        self.sources = {
            mapping.function: EventSource(kinesis, remote.names["events"], mapping, functions[mapping.function])
            for mapping in system.mappings
        }
        self.readings = list(system.readings)
        self.ttl_s = int(system.parameters["EventsTtlDays"]) * 86_400
        self.records = 0
        self.taken = dict.fromkeys(self.sources, 0)

    def send_file(self, file: Path, rows: int) -> None:
        self.local.cli("send", str(file))
        environment = {**os.environ, **self.remote.environment}
        endpoint = self.remote.environment.get("AWS_ENDPOINT_URL")
        endpoint = endpoint or f"https://kinesis.{environment['AWS_REGION']}.amazonaws.com"
        arguments = ["send", str(file), "--stream", self.remote.names["events"], "--endpoint", endpoint]
        subprocess.run([sys.executable, "-m", "headrace", *arguments], env=environment, check=True, capture_output=True)
        self.records += rows

    def send(self, records: Sent, at_once: int = 100) -> None:
        for client, stream in (
            (self.local.client("kinesis"), "events"),
            (self.remote.client("kinesis"), self.remote.names["events"]),
        ):
            for at in range(0, len(records), at_once):
                entries = [{"Data": data, "PartitionKey": key} for key, data in records[at : at + at_once]]
                assert client.put_records(StreamName=stream, Records=entries)["FailedRecordCount"] == 0
        self.records += len(records)

    def settle(self) -> None:
        """Have both platforms take everything."""
        for source in self.sources.values():
            self.taken[source.mapping.function] += source.drain(self.agent)
            assert self.taken[source.mapping.function] == self.records
            assert source.documents == []
        self.agent.flush()
        self.local.settled(self.records)

    def local_items(self) -> Compared:
        table = LocalTable.connect("events", Layout(self.local.data).table_socket)
        items = table.scan(None, 1_000_000)
        table.close()
        return comparable_items(items, self.ttl_s)

    def remote_items(self, devices: set[str]) -> Compared:
        """Return the items of these devices: moto reads a device's quickly, and all of them slowly."""
        table = self.remote.table("events")
        items = [item for device in devices for item in table.query(device, "event#", "event$", 1_000_000)]
        return comparable_items(items, self.ttl_s)


@pytest.fixture(scope="module")
def remote() -> Iterator[Cloud]:
    """First of all, as it refuses what would cost too much."""
    with cloud(EVENTS_MAX, 150) as made:
        yield made


@pytest.fixture(scope="module")
def run(
    remote: Cloud, packages: dict[str, Path], runtime: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    system = template.read(TEMPLATE, {})
    with ExitStack() as stack:
        local = stack.enter_context(backend(tmp_path_factory.mktemp("local")))
        functions = {}
        for function in system.functions:
            own = {name: remote.names.get(value, value) for name, value in function.environment.items()}
            variables = {**remote.environment, **own}
            made = LambdaFunction(
                function.name, function.handler, packages[function.name], runtime, variables, function.timeout_s
            )
            functions[function.name] = stack.enter_context(made)
        yield Run(local, remote, functions, system)


def agree(run: Run, events: int) -> None:
    """Check that both platforms hold the same."""
    local = run.local_items()
    remote = run.remote_items({device for device, *_ in local})
    assert len(local) == events
    assert remote == local
    count = run.remote.client("dynamodb").describe_table(TableName=run.remote.names["events"])["Table"]["ItemCount"]
    assert count == events or "AWS_ENDPOINT_URL" not in run.remote.environment  # DynamoDB counts every six hours
    buckets = Layout(run.local.data).buckets
    assert comparable_lines(run.remote.bucket("archive")) == comparable_lines(LocalBucket(buckets / "archive"))
    rejections = comparable_rejections(run.remote.bucket("failures"))
    assert rejections == comparable_rejections(LocalBucket(buckets / "failures"))
    check_metrics(run)


def check_metrics(run: Run) -> None:
    """Check that both have the same values of each metric; counts are told a batch, so only their sums are equal."""
    counts = ["Events", "Rejected", "NonFiniteReadings"]
    clients = run.local.client("cloudwatch"), run.remote.client("cloudwatch")

    def told() -> list[dict[str, tuple[float, float, float, float]]]:
        return [totals(client, run.remote.began, run.readings + counts) for client in clients]

    def are_equal() -> bool:
        here, there = told()
        return (
            here.keys() == there.keys() >= set(counts)
            and all(here[name][1] == there[name][1] for name in counts)
            and all(here[name] == pytest.approx(there[name]) for name in here.keys() - set(counts))
        )

    try:
        wait_until(are_equal, 300 if moto.IS_REMOTE else 30, 0.5)  # both take their time to count
    except AssertionError:
        here, there = told()
        assert here == there


def test_the_sensor_file_is_the_same_on_both(run: Run, tmp_path: Path) -> None:
    with gzip.open(SENSORS, "rt") as file:
        head, *rows = file
    some = tmp_path / "sensors.csv"
    some.write_text(head + "".join(rows[::EACH]))
    count = len(rows[::EACH])
    run.send_file(some, count)
    run.settle()
    agree(run, count)


def test_odd_values_are_the_same_on_both(run: Run) -> None:
    before = len(run.local_items())
    run.send(ODD)
    run.settle()
    agree(run, before + 500 + 13)
    assert len(comparable_rejections(run.remote.bucket("failures"))) == 12


def test_others_of_their_kind_are_the_same_on_both(run: Run, tmp_path: Path) -> None:
    before, rejected = len(run.local_items()), len(comparable_rejections(run.remote.bucket("failures")))
    file = tmp_path / "fleet.ndjson"
    file.write_text(ndjson(300), encoding="utf-8")
    run.send_file(file, 310)
    run.send(OTHERS, at_once=10)  # large ones are among them
    run.settle()
    agree(run, before + 310 + 1_546)
    assert len(comparable_rejections(run.remote.bucket("failures"))) == rejected + 28


def test_a_second_delivery_changes_nothing(run: Run) -> None:
    objects = {info.key for info in run.remote.bucket("archive").list()}
    devices = {"gerät/7", "odd-1", "a", "b", "c", "d"}
    items = run.remote_items(devices)
    for name, source in run.sources.items():
        again = EventSource(
            run.remote.client("kinesis"), run.remote.names["events"], source.mapping, run.functions[name]
        )
        assert again.drain(lambda _: None) == run.records
    assert run.remote_items(devices) == items
    assert len(run.remote_items(devices)) == len(items)
    keys = {info.key for info in run.remote.bucket("archive").list()}
    assert keys >= objects  # sent in two files, taken in one go: only the batches at the seam are others
    found = comparable_lines(run.remote.bucket("archive"))
    assert {key: set(lines) for key, lines in found.items()} == {
        key: set(lines)
        for key, lines in comparable_lines(LocalBucket(Layout(run.local.data).buckets / "archive")).items()
    }


def test_devices_are_answered_the_same(run: Run) -> None:
    client = run.local.client("lambda")
    deviceless = {"operation": "latest"}
    asked: list[dict[str, Any]] = [
        deviceless,
        {"operation": "latest", "device_id": "nobody"},
        *({"operation": "latest", "device_id": device} for device in ("gerät/7", "a", "c", "d", "odd-1")),
        *({"operation": "history", "device_id": "odd-1", "limit": 7, "newest": newest} for newest in (False, True)),
        *({"operation": "history", "device_id": device} for device in ("a", "n", "s", "m", "a\0b", " ")),
        {"operation": "history", "device_id": "c", "from": "2026-07-25T17:20:02Z", "to": "2026-07-25T17:20:05Z"},
        {"operation": "aggregates", "device_id": "a", "period": "day"},
        {"operation": "config_get", "device_id": "a"},
        {"operation": "config_set", "device_id": "a", "config": {"rate": 1.50}, "expected_version": 0},
        {"operation": "config_set", "device_id": "a", "config": {"rate": 2}, "expected_version": 0},
        {"operation": "config_set", "device_id": "a", "config": {"rate": 3}},
        {"operation": "config_get", "device_id": "a"},
        {"operation": "state_report", "device_id": "a", "state": {"rate": 3}, "expected_version": 0},
        {"operation": "nothing"},
    ]
    for payload in asked:
        here = json.load(client.invoke(FunctionName="device_api", Payload=json.dumps(payload))["Payload"])
        there = run.functions["device_api"].invoke(payload)
        assert without_arrival(there) == without_arrival(here), payload


def without_arrival(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {name: without_arrival(value) for name, value in answer.items() if name != "arrived_at"}
    return [without_arrival(each) for each in answer] if isinstance(answer, list) else answer


def test_a_broken_call_is_a_function_error(run: Run) -> None:
    with pytest.raises(FunctionError, match="KeyError"):
        run.functions["store"].invoke({})
    record = {"kinesis": {"data": base64.b64encode(b"{}").decode()}}
    with pytest.raises(FunctionError):
        run.functions["archive"].invoke({"Records": [record]})
