"""An archive in a folder, as tests fill, compact and read it."""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import pytest
import zstandard

from headrace.archive import catalogue, compaction, native, raw, snapshot
from headrace.archive.base import Bucket
from headrace.archive.catalogue import Range
from headrace.archive.local import LocalBucket
from support.memory import ARRIVAL_MS, lambda_record

READINGS = ("temperature", "humidity")
DAY_MS = 86_400_000
needs_native = pytest.mark.skipif(
    not native.IS_COMPILED and not os.environ.get("CI"),
    reason="needs the native decoder: a C compiler and Python's headers, then `make clean`",
)


class Archive:
    """A bucket and the work folder beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "archive"
        self.bucket = LocalBucket(folder / "s3" / "archive")
        self.catalogue = catalogue.of(self.bucket, self.folder)
        self._number = 0

    def put(self, *events: Mapping[str, Any] | bytes, shard: int = 0, arrival_ms: int = ARRIVAL_MS) -> list[str]:
        """Put events in one raw object, as the function does; return its key."""
        records = []
        for event in events:
            data = event if isinstance(event, bytes) else json.dumps(event).encode()
            records.append(lambda_record(data, number=self._number, shard=shard, arrival_ms=arrival_ms))
            self._number += 1
        made = raw.objects(records)
        for key, body in made:
            self.bucket.put(key, body)
        return [key for key, _ in made]

    def compact(self, bucket: Bucket | None = None, **options: Any) -> compaction.Summary:
        options.setdefault("readings", READINGS)
        return compaction.compact(bucket or self.bucket, self.folder, **options)

    def read(self, select: str, wanted: Range = snapshot.ALL, **options: Any) -> list[tuple[Any, ...]]:
        """Return what a SELECT over `events` and `readings` gives."""
        options.setdefault("readings", READINGS)
        taking = snapshot.open(self.bucket, self.folder, wanted=wanted, **options)
        with taking as taken, duckdb.connect() as connection:
            taken.relation(connection)
            found: list[tuple[Any, ...]] = connection.execute(select).fetchall()
            return found

    def identities(self, **options: Any) -> list[tuple[str, str, str]]:
        """Return device, time and id of every event, in order; one that is there twice is so here."""
        select = "SELECT device_id, CAST(time AS VARCHAR), id FROM events ORDER BY ALL"
        return [(device, time, identity) for device, time, identity in self.read(select, **options)]

    def files(self, prefix: str = "events/") -> list[str]:
        return [info.key for info in self.bucket.list(prefix)]

    def forget_digests(self, day: str = "2026-07-01") -> None:
        """Make a day's manifest what it was before files had digests."""
        key = f"catalogue/dt={day}.json"
        manifest = json.loads(self.bucket.get(key))
        for file in manifest["files"]:
            del file["sha256"]
        self.bucket.put(key, json.dumps(manifest).encode())

    def flip(self, key: str) -> bytes:
        """Change a bit of a compacted file so that engines read another value; return the bytes as they were."""
        path, body = self.bucket.path(key), self.bucket.get(key)
        select = f"SELECT * FROM read_parquet('{path}') ORDER BY ALL"
        rows = duckdb.execute(select).fetchall()
        for at in range(4, len(body)):
            path.write_bytes(body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])
            with contextlib.suppress(duckdb.Error):
                if duckdb.execute(select).fetchall() != rows:
                    return body
        raise AssertionError("every bit is checked by engines")


def of_version_2(archive: Archive, key: str) -> str:
    """Put a raw object's lines as a later Headrace may write them in its place; return the new key."""
    name = raw.parse_key(key)
    assert name is not None
    body = zstandard.compress(zstandard.decompress(archive.bucket.get(key)).replace(b'{"v":1,', b'{"v":2,'))
    newer = key.replace(name.digest, sha256(body).hexdigest()[:16])
    archive.bucket.put(newer, body)
    archive.bucket.delete(key)
    return newer


def event(number: int, day: int = 1, **members: Any) -> dict[str, Any]:
    """Return an event of July 2026; two of the same number and day have the same identity."""
    sent = {
        "device_id": f"pump-{number % 3}",
        "time": f"2026-07-{day:02d}T00:00:{number % 60:02d}Z",
        "id": f"e-{number}",
    }
    return sent | {"temperature": number + 0.5} | members


def expected(*events: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what `Archive.identities` gives for events, each once."""
    return sorted({(e["device_id"], e["time"].replace("T", " ").rstrip("Z"), e["id"]) for e in events})


def events(numbers: Iterable[int], day: int = 1) -> list[dict[str, Any]]:
    return [event(number, day) for number in numbers]
