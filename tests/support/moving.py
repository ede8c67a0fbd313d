"""A backend, and moto's AWS with a stack to move it to by `headrace upload`."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headrace.archive import catalogue
from headrace.archive.aws import S3Bucket
from headrace.archive.local import LocalBucket
from headrace.settings import Layout
from headrace.table.aws import DynamoTable
from headrace.table.base import Item, Table
from headrace.table.local import LocalTable
from support.backend import Backend, backend
from support.cloud import Cloud
from support.moto_server import moto_server

NAMES = {"events": "stack-events", "devices": "stack-devices", "archive": "stack-archive", "failures": "stack-failures"}
KEYS = [("device_id", "HASH"), ("sk", "RANGE")]
TABLE = {
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name, _ in KEYS],
    "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in KEYS],
    "BillingMode": "PAY_PER_REQUEST",
}
OUTPUTS = {
    "EventsTableName": "events",
    "DevicesTableName": "devices",
    "ArchiveBucketName": "archive",
    "FailuresBucketName": "failures",
}
STACK = {
    "Resources": {
        **{
            f"{noun}Table": {"Type": "AWS::DynamoDB::Table", "Properties": {"TableName": NAMES[noun], **TABLE}}
            for noun in ("events", "devices")
        },
        **{
            f"{noun}Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": NAMES[noun]}}
            for noun in ("archive", "failures")
        },
    },
    "Outputs": {output: {"Value": NAMES[noun]} for output, noun in OUTPUTS.items()},
}


class Moving:
    """A backend with a past, and an AWS to move it to."""

    def __init__(self, local: Backend, remote: Cloud) -> None:
        self.local = local
        self.remote = remote
        self.layout = Layout(local.data)
        self._tables = {noun: LocalTable.connect(noun, self.layout.table_socket) for noun in ("events", "devices")}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "headrace", "upload", "--data", str(self.local.data), *arguments]

    def run(self, *arguments: str, **changed: str | None) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in self.local.environment.items() if not name.startswith("AWS_")}
        for name, value in {**self.remote.environment, **changed}.items():
            if value is not None:
                environment[name] = value
        return subprocess.run(
            self.command(*arguments), env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    def uploaded(self, *arguments: str) -> Any:
        result = self.run("--json", *arguments)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)["counts"]

    def killed(self, saves: int, later_s: float) -> bool:
        """Run until the journal was saved so often, and a little longer; return whether it was killed by then."""
        environment = {**self.local.environment, **self.remote.environment}
        process = subprocess.Popen(
            self.command(), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        seen: set[tuple[str, int]] = set()
        before = self.journals()
        while process.poll() is None and len(seen - before) < saves:
            seen |= self.journals()
            time.sleep(0.002)
        time.sleep(later_s)
        ended = process.poll() is not None
        process.kill()
        process.wait(20)
        return not ended

    def journals(self) -> set[tuple[str, int]]:
        return {(path.name, path.stat().st_mtime_ns) for path in self.layout.uploads.glob("*.json")}

    def table(self, noun: str) -> LocalTable:
        return self._tables[noun]

    def close(self) -> None:
        for table in self._tables.values():
            table.close()

    def bucket(self, noun: str) -> LocalBucket:
        return LocalBucket(self.layout.buckets / noun)

    def their_table(self, noun: str) -> DynamoTable:
        return self.remote.table(noun)

    def send(self, *events: dict[str, Any]) -> None:
        client = self.local.client("kinesis")
        before = self.local.status()["accepted"]
        for one in events:
            client.put_record(StreamName="events", PartitionKey="k", Data=json.dumps(one).encode())
        self.local.settled(before + len(events))


@contextlib.contextmanager
def moving_system(folder: Path) -> Iterator[Moving]:
    """Have a backend in a folder, and an AWS that has nothing yet."""
    with backend(folder) as local, moto_server() as environment:
        remote = Cloud(environment, NAMES)
        remote.client("cloudformation").create_stack(StackName="headrace", TemplateBody=json.dumps(STACK))
        made = Moving(local, remote)
        yield made
        made.close()


def all_of(table: Table) -> dict[tuple[str, str], Item]:
    found: dict[tuple[str, str], Item] = {}
    after = None
    while page := table.scan(after, 1000):
        found |= {item[:2]: item for item in page}
        after = page[-1].partition, page[-1].sort
    return found


def objects_of(bucket: LocalBucket | S3Bucket) -> dict[str, tuple[int, str, dict[str, str]]]:
    """Return what is listed; moto does not tell the tags of cold objects, which S3 does."""
    return {
        info.key: (info.size, info.storage_class, dict(bucket.tags(info.key)) if info.readable else {})
        for info in bucket.list()
        if not info.key.startswith(catalogue.PREFIX)
    }
