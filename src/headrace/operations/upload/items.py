"""A table's items, moved to DynamoDB a page at a time: what is not there yet, or older there."""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from enum import Enum
from hashlib import sha256
from itertools import groupby

import msgspec

from headrace.errors import Conflict, HeadraceError
from headrace.operations.upload.journal import Journal
from headrace.registration import add_erasures, is_erasure
from headrace.table.aws import KEYS_AT_ONCE, DynamoTable
from headrace.table.base import Item, Table

PAGE_ITEMS = 1000
RANGE_ITEMS = 10  # of one device in a page: as many are read by one query, fewer by their keys
READS_AT_ONCE = 16

Key = tuple[str, str]
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class There(Enum):
    """How an item stands on AWS."""

    MISSING = "missing"
    OLDER = "older"
    SAME = "same"
    NEWER = "newer"  # or only different: then AWS's is kept as well


def compared(local: Item, stored: Item | None) -> There:
    """Return how an item stands on AWS. Pure.

    The later of two events of one identity is the one that arrived later, of two aggregates that of more readings, of
    anything else (config, state, registration) that of the higher version.
    """
    if stored is None:
        return There.MISSING
    mine, theirs = _members(local.attributes), _members(stored.attributes)
    if mine.keys() == theirs.keys() and all(bytes(mine[name]) == bytes(theirs[name]) for name in mine):
        return There.SAME
    own, other = _age(local.sort, mine), _age(stored.sort, theirs)
    return There.OLDER if own > other else There.NEWER


def _age(sort: str, members: Mapping[str, msgspec.Raw]) -> float:
    """Return what grows with each newer content of one key; 0 where nothing tells."""
    name = "arrived_at" if sort.startswith("event#") else "count" if sort.startswith("aggregate#") else "version"
    try:
        value = msgspec.json.decode(members[name])
        return datetime.fromisoformat(value).timestamp() if name == "arrived_at" else float(value)
    except (KeyError, ValueError, TypeError):
        return 0.0


def move(step: str, source: Table, target: DynamoTable, journal: Journal, told: Callable[[], None]) -> None:
    """Move a whole table, from where the journal is; `told` is called after each page. Raises HeadraceError."""
    counts = journal.counts(step)
    place = journal.state.after
    after: Key | None = (place[0], place[1]) if place else None
    while page := source.scan(after, PAGE_ITEMS):
        outcome = move_page(page, target)
        counts.seen += len(page)
        counts.bytes += sum(len(item.attributes) for item in page)
        counts.put += outcome.put
        counts.there += outcome.there
        counts.kept += outcome.kept
        after = page[-1].partition, page[-1].sort
        journal.state.after = list(after)
        journal.state.digests[step] = _digest(journal.state.digests.get(step, ""), page)
        journal.save()
        told()


class Outcome(msgspec.Struct, frozen=True):
    """What became of a page."""

    put: int
    there: int
    kept: int


def move_page(page: Sequence[Item], target: DynamoTable) -> Outcome:
    """Put what AWS lacks, and read it back; raises HeadraceError if it is then not what was put."""
    erasures = [item for item in page if is_erasure(item)]
    added = add_erasures(target, erasures)
    page = [item for item in page if not is_erasure(item)]
    before = stands(page, target)
    wanted = [item for item in page if before[item[:2]] in (There.MISSING, There.OLDER)]
    if wanted:
        _put(wanted, target)
        after = stands(wanted, target)
        wrong = [item for item in wanted if after[item[:2]] in (There.MISSING, There.OLDER)]
        if wrong:
            raise HeadraceError(
                f"{len(wrong)} of {len(wanted)} items are not on AWS after they were put, such as {wrong[0][:2]}.",
                "Does something else delete from that table? Run the command again.",
            )
    kept = sum(1 for state in before.values() if state is There.NEWER)
    there = len(page) - len(wanted) - kept + len(erasures) - added
    return Outcome(len(wanted) + added, there, kept)


def stands(page: Sequence[Item], target: DynamoTable) -> dict[Key, There]:
    """Return how each item of a page stands on AWS."""

    groups = [list(items) for _, items in groupby(page, key=lambda item: item.partition)]
    ranges = [items for items in groups if len(items) >= RANGE_ITEMS]
    single = [item[:2] for items in groups if len(items) < RANGE_ITEMS for item in items]
    chunks = [single[at : at + KEYS_AT_ONCE] for at in range(0, len(single), KEYS_AT_ONCE)]
    stored: dict[Key, Item] = {}
    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        of_ranges = threads.map(lambda items: _range(target, items), ranges)
        of_keys = threads.map(target.get_many, chunks)
        for found in (*of_ranges, *of_keys):
            stored |= {item[:2]: item for item in found}
    return {item[:2]: compared(item, stored.get(item[:2])) for item in page}


def _range(target: DynamoTable, items: Sequence[Item]) -> list[Item]:
    """Return all of AWS's items of one device between the first and the last of these, both included."""
    return target.query(items[0].partition, items[0].sort, items[-1].sort + "\0", 10**9)


def _put(items: Sequence[Item], target: DynamoTable) -> None:
    """Put events and aggregates in batches; where versions count, each on the condition that AWS's is older."""
    plain = [item for item in items if item.sort.startswith(("event#", "aggregate#"))]
    target.put(plain)

    def put(item: Item) -> None:
        with contextlib.suppress(Conflict):  # somebody wrote a newer one since it was looked at
            target.put_if_newer(item)

    versioned = [item for item in items if not item.sort.startswith(("event#", "aggregate#"))]
    if versioned:
        with ThreadPoolExecutor(READS_AT_ONCE) as threads:
            list(threads.map(put, versioned))


def _digest(before: str, page: Iterable[Item]) -> str:
    """Return a digest of all items so far, in their order: of keys and attributes."""
    digest = sha256(before.encode())
    for item in page:
        for part in (item.partition.encode(), item.sort.encode(), item.attributes):
            digest.update(len(part).to_bytes(4, "big") + part)
    return digest.hexdigest()
