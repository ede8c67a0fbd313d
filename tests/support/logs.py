"""Logs to test with: records that can be told apart, and all that a reader finds."""

from collections.abc import Iterable
from pathlib import Path

from headrace.record import Record
from headrace.stream.log import Entry, Log
from headrace.stream.reader import Reader
from support.faulty_disk import FaultyDisk

SHARDS = 3
Held = dict[int, list[tuple[str, bytes]]]  # shard -> keys and data in order


def open_log(folder: Path, disk: FaultyDisk | None = None, **sizes: int) -> Log:
    return Log.open(folder, disk or FaultyDisk(), stream="s", shards=SHARDS, now_ms=lambda: 1_000_000, **sizes)


def batch(name: str, count: int, size: int = 20) -> list[Entry]:
    """Records for all shards in turn, told apart by name."""
    return [
        (at % SHARDS, f"key-{name}-{at}".encode(), f"{name}/{at}/".encode().ljust(size, b"x")) for at in range(count)
    ]


def by_shard(batches: Iterable[list[Entry]]) -> Held:
    held: Held = {shard: [] for shard in range(SHARDS)}
    for entries in batches:
        for shard, key, data in entries:
            held[shard].append((key.decode(), data))
    return held


def read(folder: Path) -> dict[int, list[Record]]:
    reader = Reader(folder)
    held = {}
    for shard in range(SHARDS):
        position, held[shard] = 0, list[Record]()
        while True:
            number = held[shard][-1].number + 1 if held[shard] else 0
            records, position = reader.records(position, shard, number, 7, 10_000)
            if not records:
                break
            held[shard] += records
    reader.close()
    return held


def plain(records: dict[int, list[Record]]) -> Held:
    return {shard: [(record.key, record.data) for record in held] for shard, held in records.items()}
