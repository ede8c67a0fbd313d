"""Storage in memory, and Lambda events by hand: for tests of functions."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headrace import record as records
from headrace.archive.base import NO_TAGS, Bucket, ObjectInfo, check_tags
from headrace.errors import Conflict, NotFound
from headrace.table.base import Item, Table, check_item, check_key

ARRIVAL_MS = 1_785_000_000_123  # 2026-07-25T17:20:00.123Z


class MemoryTable(Table):
    """A table in a dict; nothing expires."""

    def __init__(self) -> None:
        self.items: dict[tuple[bytes, bytes], Item] = {}

    def put(self, items: Sequence[Item]) -> None:
        for item in items:
            partition, sort = item.partition.encode(), item.sort.encode()
            check_key(partition, sort)
            check_item(len(partition) + len(sort) + len(item.attributes))
        self.items |= {(item.partition.encode(), item.sort.encode()): item for item in items}

    def put_if_version(self, item: Item, expected: int) -> None:
        stored = self.get(item.partition, item.sort)
        version = msgspec.json.decode(stored.attributes)["version"] if stored else 0
        if version != expected:
            raise Conflict(f"The item has version {version}, not {expected}.")
        self.put([item])

    def get(self, partition: str, sort: str) -> Item | None:
        return self.items.get((partition.encode(), sort.encode()))

    def query(self, partition: str, start: str, end: str, limit: int, newest_first: bool = False) -> list[Item]:
        low, high = (partition.encode(), start.encode()), (partition.encode(), end.encode())
        keys = sorted((key for key in self.items if low <= key < high), reverse=newest_first)
        return [self.items[key] for key in keys[:limit]]

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        for partition, sort in keys:
            self.items.pop((partition.encode(), sort.encode()), None)

    def scan(self, after: tuple[str, str] | None, limit: int) -> list[Item]:
        first = (after[0].encode(), after[1].encode()) if after else (b"", b"")
        return [self.items[key] for key in sorted(self.items) if key > first][:limit]


class MemoryBucket(Bucket):
    """A bucket in a dict."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.tagged: dict[str, dict[str, str]] = {}

    def put(self, key: str, body: bytes) -> None:
        self.objects[key] = body
        self.tagged.pop(key, None)

    def put_file(self, key: str, path: Path) -> None:
        self.put(key, path.read_bytes())
        path.unlink()

    def get(self, key: str) -> bytes:
        self._check(key)
        return self.objects[key]

    def list(self, prefix: str = "", *, tags: bool = False) -> Iterator[ObjectInfo]:
        for key in sorted(self.objects, key=str.encode):
            if key.startswith(prefix):
                found = self.tagged.get(key, NO_TAGS) if tags else NO_TAGS
                yield ObjectInfo(key, len(self.objects[key]), 0, tags=found)

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)
        self.tagged.pop(key, None)

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        check_tags(tags)
        self._check(key)
        self.tagged[key] = dict(tags)

    def tags(self, key: str) -> dict[str, str]:
        self._check(key)
        return dict(self.tagged.get(key, {}))

    def location(self, key: str) -> str:
        self._check(key)
        return f"memory://{key}"

    def _check(self, key: str) -> None:
        if key not in self.objects:
            raise NotFound(f"There is no object {key!r}.")


class Context:
    """What our handlers read of a context."""

    def __init__(self, function_name: str) -> None:
        self.function_name = function_name


def sequence(number: int, shard: int = 0, arrival_ms: int = ARRIVAL_MS) -> str:
    return records.sequence_number(1_785_000_000, shard, number, arrival_ms)


def lambda_record(
    data: bytes | str, key: str = "key-1", *, number: int = 0, shard: int = 0, arrival_ms: int = ARRIVAL_MS
) -> dict[str, Any]:
    """Return a record of a Lambda event."""
    content = data.encode() if isinstance(data, str) else data
    sequence_number = sequence(number, shard, arrival_ms)
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": key,
            "sequenceNumber": sequence_number,
            "data": base64.b64encode(content).decode(),
            "approximateArrivalTimestamp": arrival_ms / 1000,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{records.shard_id(shard)}:{sequence_number}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::000000000000:role/headrace",
        "awsRegion": "us-east-1",
        "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/events",
    }
