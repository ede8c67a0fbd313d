"""The system's resources in an account (moto's, or with REMOTE=1 a real one), and what is in them afterwards.

On a real account every name is its own, everything is tagged `headrace-test`, and all of it is removed at the end.
What a run will cost is estimated first; HEADRACE_TEST_USD (1 by default) is what it may cost at most.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from headrace.archive import raw
from headrace.archive.aws import S3Bucket
from headrace.archive.base import Bucket
from headrace.table.aws import DynamoTable
from headrace.table.base import Item
from support import moto
from support.moto_server import moto_server

SHARDS = 4
NOUNS = ("events", "devices", "archive", "failures")


@dataclass
class Cloud:
    """Clients, and the names that the template's resources have here."""

    environment: dict[str, str]
    names: dict[str, str]
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    def client(self, service: str) -> Any:
        import boto3
        from botocore.config import Config

        return boto3.client(
            service,
            # moto answers late under load, and a repeated call would find what the first has made; AWS throttles.
            config=Config(
                read_timeout=300, retries={"mode": "standard", "total_max_attempts": 10 if moto.IS_REMOTE else 1}
            ),
            endpoint_url=self.environment.get("AWS_ENDPOINT_URL"),
            region_name=self.environment["AWS_REGION"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=self.environment.get("AWS_SESSION_TOKEN"),
        )

    def table(self, noun: str) -> DynamoTable:
        return DynamoTable(self.names[noun], self.client("dynamodb"))

    def bucket(self, noun: str) -> S3Bucket:
        return S3Bucket(self.names[noun], self.client("s3"))


@contextlib.contextmanager
def cloud(events: int, event_bytes: int) -> Iterator[Cloud]:
    """Have the resources that so many events need."""
    if not moto.IS_REMOTE:
        with moto_server() as environment, _resources(Cloud(environment, {noun: noun for noun in NOUNS})) as made:
            yield made
        return
    check_budget(events, event_bytes)
    import boto3

    session = boto3.Session()
    keys = session.get_credentials()
    if keys is None or session.region_name is None:
        pytest.fail("REMOTE=1 needs credentials and a region: aws configure, AWS_PROFILE, AWS_REGION")
    frozen = keys.get_frozen_credentials()
    environment = {
        "AWS_REGION": session.region_name,
        "AWS_DEFAULT_REGION": session.region_name,
        "AWS_ACCESS_KEY_ID": frozen.access_key,
        "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
    } | ({"AWS_SESSION_TOKEN": frozen.token} if frozen.token else {})
    prefix = f"headrace-test-{uuid4().hex[:8]}"
    with _resources(Cloud(environment, {noun: f"{prefix}-{noun}" for noun in NOUNS})) as made:
        yield made


def estimated_usd(events: int, event_bytes: int) -> float:
    """Return about what a run costs, rounded up: us-east-1, an hour of the stream, every request, a day of storage."""
    writes = events * 2 * 0.625 / 1e6 + events * 0.25 / 1e6  # twice, for repeated batches; read once
    stream = SHARDS * 0.015 + events * 0.014 / 1e6 + events * 3 * event_bytes * 0.04 / 2**30
    metrics = 20 * 0.30 / 30 / 24 + events / 100 / 1000 * 0.01
    objects = (events / 100 + 1000) * 0.005 / 1000
    return float(writes + stream + metrics + objects)


def check_budget(events: int, event_bytes: int) -> None:
    """Fail unless a run's estimate is within what it may cost: nothing has been called by then."""
    given = os.environ.get("HEADRACE_TEST_USD") or "1"
    try:
        limit = float(given)
    except ValueError:
        pytest.fail(f"HEADRACE_TEST_USD is {given!r}: give dollars, such as 2.50")
    estimate = estimated_usd(events, event_bytes)
    if not estimate <= limit:
        pytest.fail(f"this would cost about ${estimate:.2f}, over ${limit:.2f}: set HEADRACE_TEST_USD to allow it")
    print(f"about ${estimate:.2f} of ${limit:.2f}")


@contextlib.contextmanager
def _resources(made: Cloud) -> Iterator[Cloud]:
    kinesis, dynamodb, s3 = made.client("kinesis"), made.client("dynamodb"), made.client("s3")
    tags = {tag["Key"]: tag["Value"] for tag in moto.TAGS}
    with contextlib.ExitStack() as cleaning:
        kinesis.create_stream(StreamName=made.names["events"], ShardCount=SHARDS)
        cleaning.callback(kinesis.delete_stream, StreamName=made.names["events"], EnforceConsumerDeletion=True)
        kinesis.add_tags_to_stream(StreamName=made.names["events"], Tags=tags)
        for noun in ("events", "devices"):
            moto.create_table(dynamodb, made.names[noun])
            cleaning.callback(dynamodb.delete_table, TableName=made.names[noun])
        for noun in ("archive", "failures"):
            moto.create_bucket(s3, made.names[noun])
            cleaning.callback(moto.remove_bucket, s3, made.names[noun])
        kinesis.get_waiter("stream_exists").wait(StreamName=made.names["events"], WaiterConfig={"Delay": 1})
        yield made


# What is there afterwards, from any table, bucket and metrics: what a run on one machine and one in an account share.


Compared = list[tuple[str, str, str, dict[str, bytes]]]


def comparable_items(items: list[Item], ttl_s: int) -> Compared:
    """Return each item's device, time, id and attributes, in order.

    When a record arrived differs from run to run, and so does its number; that expiry counts from arrival does not.
    """
    found = []
    for item in items:
        attributes = raw_members(item.attributes)
        arrived_at = json.loads(attributes.pop("arrived_at"))
        arrived = datetime.fromisoformat(arrived_at)
        assert item.expires_at == int(arrived.timestamp()) + ttl_s
        _, time, own = item.sort.split("#", 2)
        if datetime.fromisoformat(time) == arrived:
            time = "arrival"
        found.append((item.partition, time, re.sub(r"^\d+(?=(\.\d{6}){2}$)", "number", own), attributes))
    assert len({item[:2] for item in items}) == len(items)
    return sorted(found, key=repr)


def raw_members(text: bytes) -> dict[str, bytes]:
    """Return a JSON object's members as they are spelled."""
    import msgspec

    members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    return {name: bytes(value) for name, value in members.items()}


def comparable_lines(bucket: Bucket) -> dict[tuple[str, str], list[tuple[bytes, str | None]]]:
    """Return raw lines by shard and partition key, in their order; how they are cut into objects depends on batches."""
    found: dict[tuple[str, str], list[tuple[int, bytes, str | None]]] = {}
    for info in bucket.list("raw/"):
        name = raw.parse_key(info.key)
        body = bucket.get(info.key)
        assert name is not None and raw.is_whole(name, body)
        lines = raw.lines(body)
        assert (lines[0].seq, lines[-1].seq, len(lines)) == (name.first, name.last, name.records)
        for line in lines:
            of_key = found.setdefault((line.shard, line.key), [])
            of_key.append((int(line.seq), bytes(line.data), line.data_b64))
    return {key: [each[1:] for each in sorted(lines)] for key, lines in found.items()}


def comparable_rejections(bucket: Bucket) -> list[Any]:
    """Return rejected documents without what differs from run to run: sequence numbers, times and their lengths."""
    found = []
    for info in bucket.list("rejected/"):
        document = json.loads(bucket.get(info.key))
        assert info.key.endswith(f"{document['subsequence']:06d}.{document['index']:06d}")
        (record,) = document["payload"]["Records"]
        kept = ("function", "shard", "subsequence", "index", "reason", "partition_key")
        message = re.sub(r"^an item of [0-9,]+ bytes", "an item of bytes", document["message"])
        found.append([*(document[name] for name in kept), message, record["kinesis"]["data"]])
    return sorted(found)


def totals(cloudwatch: Any, began: datetime, names: list[str]) -> dict[str, tuple[float, float, float, float]]:
    """Return count, sum, least and greatest of each metric since then."""
    found = {}
    for name in names:
        points = cloudwatch.get_metric_statistics(
            Namespace="Headrace", MetricName=name, Period=60, Statistics=["SampleCount", "Sum", "Minimum", "Maximum"],
            StartTime=began - timedelta(minutes=2), EndTime=datetime.now(UTC) + timedelta(minutes=2),
        )["Datapoints"]  # fmt: skip
        if points:
            found[name] = (
                sum(point["SampleCount"] for point in points),
                sum(point["Sum"] for point in points),
                min(point["Minimum"] for point in points),
                max(point["Maximum"] for point in points),
            )
    return found
