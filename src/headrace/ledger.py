"""The books: what was accepted, and what became of it, for each function with a mapping. Values in, values out.

`eligible = processed + failed + filtered + expired + pending` must hold for every function at every moment.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from headrace.errors import UsageError
from headrace.record import parse_sequence_number, parse_shard_id


class Account(msgspec.Struct):
    """One function's ledger over its mappings, in records since their start; the age, in ms, is the highest."""

    eligible: int = 0
    processed: int = 0
    failed: int = 0
    filtered: int = 0
    expired: int = 0
    pending: int = 0
    iterator_age_ms: int = 0

    @property
    def balanced(self) -> bool:
        """Return whether every eligible record is accounted for, once."""
        return self.eligible == self.processed + self.failed + self.filtered + self.expired + self.pending


class RawObject(msgspec.Struct, frozen=True):
    """What a raw object's name says: records `first` to `last` (numbers) of one shard."""

    stream: str
    shard: int
    first: int
    last: int
    count: int


def parse_raw_key(key: str) -> RawObject | None:
    """Take the key of a raw object apart (`docs/formats.md`); None if it is another kind of object, or foreign."""
    if not (key.startswith("raw/") and key.endswith(".ndjson.zst")):
        return None
    head, *rest = key.rsplit("/", 1)[-1].removesuffix(".ndjson.zst").rsplit("-", 4)
    if len(rest) != 4:
        return None
    stream, _, shard = head.rpartition("-shardId-")
    first, last, count, _digest = rest
    try:
        return RawObject(
            stream,
            parse_shard_id(f"shardId-{shard}"),
            parse_sequence_number(first).number,
            parse_sequence_number(last).number,
            int(count),
        )
    except (UsageError, ValueError):
        return None


def covered(objects: Iterable[RawObject]) -> int:
    """Return how many records the objects hold, each counted once.

    Objects of one shard overlap only where a batch was repeated. A batch is split over arrival hours, never thinned, so
    an object without gaps covers its whole range; one with gaps (records given up between) counts what it holds.
    """
    total = 0
    reached: dict[tuple[str, int], int] = {}
    for item in sorted(objects, key=lambda o: (o.stream, o.shard, o.first, -o.last)):
        start = max(item.first, reached.get((item.stream, item.shard), -1) + 1)
        if item.last >= start:
            total += min(item.count, item.last - start + 1)
            reached[item.stream, item.shard] = item.last
    return total


def summary(
    *,
    ready: bool,
    accepted: int,
    accounts: dict[str, Account],
    items: int,
    table_bytes: int,
    rejected: int,
    raw: Iterable[RawObject],
    archive_objects: int,
    archive_bytes: int,
) -> dict[str, Any]:
    """Return the status as `headrace status --json` prints it."""
    return {
        "ready": ready,
        "accepted": accepted,
        "functions": {name: msgspec.to_builtins(account) for name, account in sorted(accounts.items())},
        "events": {"stored": items, "rejected": rejected},
        "table": {"items": items, "bytes": table_bytes},
        "archive": {"records": covered(raw), "objects": archive_objects, "bytes": archive_bytes},
        "failures": {"records": sum(account.failed for account in accounts.values())},
        "balanced": all(account.balanced for account in accounts.values()),
    }
