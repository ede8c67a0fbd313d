"""The functions `store` and `archive` called in one loop, with storage that keeps nothing: the handlers' own cost.

This is what `end_to_end.py` is compared with: no stream, no processes, no durability.
"""

import argparse
import io
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pybase64

from bodies import event

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "functions"))

from headrace import connect
from headrace.archive.base import Bucket, ObjectInfo
from headrace.record import sequence_number, shard_id
from headrace.table.base import Item, Table


class NoTable(Table):
    """A table that forgets."""

    def put(self, items: Sequence[Item]) -> None: ...
    def put_if_version(self, item: Item, expected: int) -> None: ...
    def get(self, partition: str, sort: str) -> Item | None: ...
    def delete(self, keys: Sequence[tuple[str, str]]) -> None: ...
    def query(self, partition: str, start: str, end: str, limit: int, newest_first: bool = False) -> list[Item]:
        return []

    def scan(self, after: tuple[str, str] | None, limit: int) -> list[Item]:
        return []


class NoBucket(Bucket):
    """A bucket that forgets."""

    def put(self, key: str, body: bytes) -> None: ...
    def put_file(self, key: str, path: Path) -> None: ...
    def delete(self, key: str) -> None: ...
    def tag(self, key: str, tags: Mapping[str, str]) -> None: ...
    def get(self, key: str) -> bytes:
        return b""

    def list(self, prefix: str = "", *, tags: bool = False) -> Iterator[ObjectInfo]:
        return iter(())

    def tags(self, key: str) -> dict[str, str]:
        return {}

    def location(self, key: str) -> str:
        return ""


def batch(size: int, salt: int) -> dict[str, Any]:
    """Return a Lambda event of `size` records."""
    now_ms = time.time_ns() // 1_000_000
    records = []
    for place in range(size):
        key, data = event(place * 7919 % 10_000, salt)
        number = sequence_number(now_ms // 1000, 0, salt * size + place, now_ms)
        records.append(
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": key,
                    "sequenceNumber": number,
                    "data": pybase64.b64encode(data.replace(b"2000-01-01", b"2026-01-01")).decode(),
                    "approximateArrivalTimestamp": now_ms / 1000,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"{shard_id(0)}:{number}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": "arn:aws:iam::000000000000:role/headrace",
                "awsRegion": "us-east-1",
                "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/events",
            }
        )
    return {"Records": records}


class Context:
    """What the handlers read of a context."""

    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def __init__(self, name: str) -> None:
        self.function_name = name


def main() -> None:
    """Print events/s of both handlers, one after the other on the same batches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--profile", choices=["store", "archive"], help="run this handler alone")
    arguments = parser.parse_args()
    names = {"EVENTS_TABLE": "events", "ARCHIVE_BUCKET": "archive", "FAILURES_BUCKET": "failures"}
    os.environ |= {**names, "READINGS": "temperature,humidity", "EVENTS_TTL_DAYS": "30"}
    connect.use(tables={"events": NoTable()}, buckets={"archive": NoBucket(), "failures": NoBucket()})
    import archive
    import store

    handlers = {"store": store.handler, "archive": archive.handler}
    if arguments.profile:
        handlers = {arguments.profile: handlers[arguments.profile]}
    batches = [batch(1000, salt) for salt in range(8)]
    spent = dict.fromkeys(handlers, 0.0)
    began, events = time.perf_counter(), 0
    with redirect_stdout(io.StringIO()):
        while time.perf_counter() - began < arguments.seconds:
            for one in batches:
                for name, handler in handlers.items():
                    at = time.perf_counter()
                    handler(one, Context(name))
                    spent[name] += time.perf_counter() - at
                events += 1000
    print(", ".join(f"{name} {1e6 * seconds / events:.2f} us an event" for name, seconds in spent.items()))
    print(f"{events / sum(spent.values()):.0f}")


if __name__ == "__main__":
    main()
