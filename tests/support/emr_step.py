"""The step of a cluster on this machine: real spark-submit, with moto's S3 and DynamoDB in this process as AWS."""

import contextlib
import csv
import gzip
import hashlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

import archive as archive_function
from headrace import aws, connect
from headrace.archive import compaction
from headrace.archive.local import LocalBucket
from headrace.billing import files as billing
from headrace.emr import storage
from headrace.emr.storage import Source
from headrace.jobs import history, report, work
from headrace.jobs.run import Attempt, Run
from headrace.operations import bill_closing, job
from headrace.settings import Layout
from headrace.system import JobSettings, System
from headrace.table.aws import DynamoTable
from headrace.table.base import Item, Table
from headrace.template import reader
from support import moto
from support.backend import ROOT
from support.memory import ARRIVAL_MS, MemoryTable, lambda_record

# A month of the sensor file has every kind of series; HEADRACE_TEST_MONTH="" takes all of it, 381 days.
MONTH = os.environ.get("HEADRACE_TEST_MONTH", "2015-09")
SENSORS = ROOT / "tests" / "data" / "sensors.csv.gz"
ARCHIVE, FAILURES, ARTIFACTS, PREFIX = "the-archive", "the-failures", "the-artifacts", "jobs/1"
BATCH = 10_000
CLOSED = "2015-09"
TARIFFS = """\
tariff,valid_from,currency,meter,above,unit_price,free,minimum
basic,2013-01-01,EUR,events,0,0.001,100,5
basic,2015-09-10,EUR,events,0,0.002,,
"""
TENANTS = """\
device_id,tenant,tariff,valid_from
speed_6005,acme,basic,2013-01-01
speed-6005,acme,basic,2013-01-01
occupancy-6005,globex,basic,2015-09-05
"""
WORK_S_MAX = 240


@contextlib.contextmanager
def cloud() -> Iterator[str]:
    """Run moto's server and have botocore of this process reach it; yield its URL."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        url = f"http://127.0.0.1:{port}"
        settings = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        for name, value in {**settings, "AWS_REGION": moto.REGION, "AWS_DEFAULT_REGION": moto.REGION}.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        storage.forget()
        try:
            yield url
        finally:
            server.stop()
            storage.forget()


class Both:
    """The same raw objects, devices and rejected documents on AWS and in a data directory."""

    def __init__(self, data: Path) -> None:
        self.layout = Layout(data)
        self.reports = [name for name in jobs() if name in report.files(ROOT / "reports")]
        self.system: System = reader.read(ROOT / "template.yaml", {})
        self.source = Source(ARCHIVE, moto.REGION)
        for name in (ARCHIVE, FAILURES, ARTIFACTS):
            aws.client("s3").create_bucket(Bucket=name)
        for name in ("events", "devices"):
            moto.create_table(aws.client("dynamodb"), name)
        self.archive, self.failures = storage.bucket(self.source), storage.bucket(Source(FAILURES, moto.REGION))
        self.events, self.devices = DynamoTable.connect("events"), DynamoTable.connect("devices")
        self.near_archive = LocalBucket(self.layout.buckets / self.system.archive_bucket)
        self.near_failures = LocalBucket(self.layout.buckets / "failures")
        self.near_events, self.near_devices = MemoryTable(), MemoryTable()
        self.folder = data.parent / f"{data.name}-reports"
        shutil.copytree(ROOT / "reports", self.folder)
        (self.folder / "tariffs.csv").write_text(TARIFFS)
        (self.folder / "tenants.csv").write_text(TENANTS)
        for path in sorted(self.folder.iterdir()):
            storage.bucket(Source(ARTIFACTS, moto.REGION)).put(f"{PREFIX}/reports/{path.name}", path.read_bytes())

    def fill(self) -> None:
        """Have the function archive the sensor file, register devices, and reject a document."""
        connect.use(buckets={"archive": self.archive})
        os.environ["ARCHIVE_BUCKET"] = "archive"
        records = list(sensor_records())
        for start in range(0, len(records), BATCH):
            archive_function.handler({"Records": records[start : start + BATCH]}, None)
        connect.reset()
        for info in self.archive.list("raw/"):
            self.near_archive.put(info.key, self.archive.get(info.key))
        items = [
            Item("speed_7578", "config", b'{"version":2,"updated_at":"2026-07-01T00:00:00.000Z","config":{"rate":5}}'),
            Item("never-heard", "state", b'{"version":1,"updated_at":"2026-07-01T00:00:00.000Z","state":{"ok":true}}'),
        ]
        rejected = json.dumps({"function": "store", "reason": "json", "arrived_at": "2026-07-25T17:20:00.123Z"})
        for table in (self.devices, self.near_devices):
            table.put(items)
        for bucket in (self.failures, self.near_failures):
            bucket.put("rejected/store/events/shardId-000000000000/1.000000.000000", rejected.encode())

    def run_here(self) -> None:
        """Compact and compute every report on this machine, with DuckDB."""
        compaction.compact(self.near_archive, self.layout.archive, readings=self.system.readings)
        for name in self.reports:
            places = work.Places(
                lambda: job.archived(self.layout, self.system),
                self.near_devices,
                [self.near_failures],
                self.near_archive,
                self.near_events,
                lambda: billing.load(self.folder),
            )
            settings = JobSettings(engine="duckdb", writes_per_s=10_000_000)
            run = Run(f"{name}-1", name, "request", 0, settings, attempts=[Attempt(0)])
            folder = history.Folder(self.layout.jobs, name)
            today = datetime.now(UTC).date()
            work.run_report(report.load(self.folder / f"{name}.sql"), run, folder, places, today, lambda text: None)
        site = bill_closing.Site(self.layout.jobs, self.folder, places, lambda: None)
        settings = JobSettings(writes_per_s=10_000_000, parameters={"close": CLOSED})
        bill_closing.run(
            site, Run("bills-1", "bills", "request", 0, settings, attempts=[Attempt(0)]), lambda text: None
        )


def sensor_records() -> Iterator[dict[str, Any]]:
    """Yield the sensor file's rows as records of three shards, as `headrace send` would have put them."""
    digest = hashlib.sha256(SENSORS.read_bytes()).hexdigest()[:16]
    with gzip.open(SENSORS, "rt") as file:
        for row, line in enumerate(csv.DictReader(file)):
            if not line["time"].startswith(MONTH):
                continue
            shard = hashlib.md5(line["device_id"].encode(), usedforsecurity=False).digest()[0] % 3
            data = {
                "device_id": line["device_id"],
                "time": line["time"],
                "id": f"{digest}-{row:012d}",
                "measure": line["measure"],
                "value": float(line["value"]),
            }
            yield lambda_record(
                json.dumps(data), line["device_id"], number=row, shard=shard, arrival_ms=ARRIVAL_MS + row // 100
            )


def arguments(jobs: Sequence[str]) -> list[str]:
    """Return what the template's state machine gives the step after `job.py`, for these jobs."""
    values = {
        "AWS::Region": moto.REGION,
        "Archive": ARCHIVE,
        "Failures": FAILURES,
        "ArtifactsBucket": ARTIFACTS,
        "ArtifactsPrefix": PREFIX,
        "EventsTable": "events",
        "DevicesTable": "devices",
        "AggregateWritesPerSecond": "100000",
    }
    content = yaml.load((ROOT / "template.yaml").read_text(), _resolving(values))
    states = content["Resources"]["Jobs"]["Properties"]["Definition"]["States"]
    (step,) = [found for found in _members(states, "HadoopJarStep") if "spark-submit" in found["Args"]]
    words = [str(word) for word in step["Args"]]
    words = words[next(place for place, word in enumerate(words) if word.endswith("/emr/job.py")) + 1 :]
    assert words[0] == "--job" and "jobs.job" in words[1]  # the names of the execution's jobs, joined by commas
    return ["--job", ",".join(jobs), *words[2:]]


def jobs() -> list[str]:
    """Return the jobs that the template's schedule names, in order."""
    content = yaml.load((ROOT / "template.yaml").read_text(), _resolving({"AggregateWritesPerSecond": "1"}))
    schedule = content["Resources"]["Jobs"]["Properties"]["Events"]["Nightly"]["Properties"]
    return [each["job"] for each in json.loads(schedule["Input"])["jobs"]]


def _resolving(values: Mapping[str, str]) -> type[yaml.SafeLoader]:
    """Return a YAML loader that knows `!Ref` and `!Sub` of these names, and of parameters their defaults."""

    class Resolving(yaml.SafeLoader):
        pass

    parameters = yaml.load((ROOT / "template.yaml").read_text(), _ignoring())["Parameters"]
    known = {name: str(each.get("Default", "")) for name, each in parameters.items()} | dict(values)

    def resolve(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            return None
        if tag == "Ref":
            return known.get(node.value, node.value)
        return re.sub(r"\$\{([\w:]+)\}", lambda found: known.get(found[1], found[1]), str(node.value))

    Resolving.add_multi_constructor("!", resolve)
    return Resolving


def _ignoring() -> type[yaml.SafeLoader]:
    class Ignoring(yaml.SafeLoader):
        pass

    Ignoring.add_multi_constructor("!", lambda loader, tag, node: None)
    return Ignoring


def _members(value: Any, name: str) -> Iterator[Any]:
    """Yield every member of that name, wherever it is."""
    if isinstance(value, dict):
        if name in value:
            yield value[name]
        for each in value.values():
            yield from _members(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from _members(each, name)


SUBMIT = os.environ.get("HEADRACE_TEST_SPARK_SUBMIT", str(Path(sys.executable).parent / "spark-submit"))
# In the place of what the cluster is told: where to run, and that compiling is not worth it for a small job.
_SETTINGS = {
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.ui.enabled": "false",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
SUBMITTED = ("--master", "local[2]", *(word for pair in _SETTINGS.items() for word in ("--conf", "=".join(pair))))


class Step:
    """A running step."""

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        script = ROOT / "src" / "headrace" / "emr" / "job.py"
        command = [SUBMIT, *SUBMITTED, str(script), *words]
        settings = {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_DIRS": str(folder), "SPARK_LOCAL_IP": "127.0.0.1"}
        self.log = folder / f"step-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, **settings}, stdout=log, stderr=log, start_new_session=True, cwd=folder
            )

    def wait(self) -> int:
        return self._process.wait(WORK_S_MAX)

    def kill_when(self, due: Callable[[], bool]) -> None:
        """Kill driver and executors once something is so."""
        ends = time.monotonic() + WORK_S_MAX
        while not due():
            assert self._process.poll() is None and time.monotonic() < ends, self.log.read_text()
            time.sleep(0.1)
        self.kill()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def items(table: Table) -> dict[tuple[str, str], dict[str, Any]]:
    """Return every item by key, its attributes read."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    after = None
    while page := table.scan(after, 1000):
        found |= {(item.partition, item.sort): json.loads(item.attributes) for item in page}
        after = page[-1].partition, page[-1].sort
    return found
