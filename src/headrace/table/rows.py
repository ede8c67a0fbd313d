"""A row of the embedded store: an item as key and value in bytes (see docs/formats.md). Pure, used by both ends.

Key: length of the partition (2 bytes, big endian), partition, sort, both UTF-8. So rows order by partition (shorter
ones first), then by the bytes of sort, and no two partitions interleave.
Value: a version byte, `expires_at` in epoch seconds (8 bytes, big endian; all ones: never), the attributes as JSON.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from headrace.errors import DataDirectoryError, UsageError
from headrace.table.base import (
    ITEM_BYTES_MAX,
    PARTITION_BYTES_MAX,
    SORT_BYTES_MAX,
    UNIT_BYTES,
    Item,
    check_item,
    check_key,
)

VALUE_VERSION = b"\x01"
HEAD_BYTES = 9  # of a value, before the attributes
_EVENT = b"event#"  # how the sort keys of events begin: `headrace.event`, which this process does without
_NEVER = 2**64 - 1
_EXPIRES = slice(1, HEAD_BYTES)
_LENGTHS = [length.to_bytes(2, "big") for length in range(PARTITION_BYTES_MAX + 1)]
_FRAME_BYTES = 2 + HEAD_BYTES  # of a row: what is neither key nor attributes


class Chunk(NamedTuple):
    """Rows of one request: keys and values in turn, and the write units they consume."""

    rows: list[bytes]
    units: int


def key_of(partition: str, sort: str) -> bytes:
    """Return an item's key; raises UsageError if a part is empty or too long."""
    try:
        first, second = partition.encode(), sort.encode()
    except UnicodeEncodeError as error:
        raise _not_unicode(error) from error
    check_key(first, second)
    return len(first).to_bytes(2, "big") + first + second


def is_event(key: bytes) -> bool:
    """Return whether a row is an event, rather than an aggregate or another table's item."""
    return key.startswith(_EVENT, 2 + int.from_bytes(key[:2], "big"))


def range_of(partition: str, start: str, end: str) -> tuple[bytes, bytes]:
    """Return the keys that bound start <= sort < end; neither bound has to be a possible key."""
    try:
        first, low, high = partition.encode(), start.encode(), end.encode()
    except UnicodeEncodeError as error:
        raise _not_unicode(error) from error
    check_key(first, b"-")
    head = len(first).to_bytes(2, "big") + first
    return head + low, head + high


def head_of(expires_at: int | None) -> bytes:
    """Return what stands before the attributes in a value."""
    seconds = _NEVER if expires_at is None else min(max(expires_at, 0), _NEVER - 1)
    return VALUE_VERSION + seconds.to_bytes(8, "big")


def row_of(item: Item) -> Chunk:
    """Return one item as a chunk."""
    return next(chunks_of([item], 1, ITEM_BYTES_MAX))


def chunks_of(items: Sequence[Item], rows_max: int, bytes_max: int) -> Iterator[Chunk]:
    """Yield items as chunks of at most `rows_max` rows, each ended once it has `bytes_max` bytes.

    Raises UsageError at the first key or item over a limit. Written for speed: it is on the path of every event.
    """
    rows: list[bytes] = []
    add = rows.append
    extra = room = 0  # write units above one a row; bytes so far
    left = rows_max
    known, head = None, head_of(None)
    try:
        for partition, sort, attributes, expires_at in items:
            first, second = partition.encode(), sort.encode()
            length = len(first)
            if not 0 < length <= PARTITION_BYTES_MAX or not 0 < len(second) <= SORT_BYTES_MAX:
                check_key(first, second)
            if expires_at != known:
                known, head = expires_at, head_of(expires_at)
            key = _LENGTHS[length] + first + second
            value = head + attributes
            add(key)
            add(value)
            size = len(key) + len(value) - _FRAME_BYTES
            if size > UNIT_BYTES:
                check_item(size)
                extra += (size - 1) // UNIT_BYTES
            room += size
            left -= 1
            if not left or room >= bytes_max:
                yield Chunk(rows, len(rows) // 2 + extra)
                rows = []
                add = rows.append
                extra = room = 0
                left = rows_max
    except UnicodeEncodeError as error:
        raise _not_unicode(error) from error
    if rows:
        yield Chunk(rows, len(rows) // 2 + extra)


def units_of(pairs: Sequence[bytes]) -> list[int]:
    """Return the write units of each row of keys and values in turn."""
    return [
        max(1, -(-(len(key) + len(value) - _FRAME_BYTES) // UNIT_BYTES))
        for key, value in zip(pairs[::2], pairs[1::2], strict=True)
    ]


def item_of(key: bytes, value: bytes) -> Item:
    """Return a row as an item."""
    if value[:1] != VALUE_VERSION:
        raise DataDirectoryError(
            f"The table holds a row of format {value[0] if value else 'none'}; this version reads {VALUE_VERSION[0]}.",
            "Install the version of headrace that wrote this data directory.",
        )
    split = 2 + int.from_bytes(key[:2], "big")
    seconds = int.from_bytes(value[_EXPIRES], "big")
    return Item(key[2:split].decode(), key[split:].decode(), value[HEAD_BYTES:], None if seconds == _NEVER else seconds)


def expired_at(now_ms: int) -> bytes:
    """Return the bound for `expired`: rows whose `expires_at` is now or before are expired."""
    return (now_ms // 1000).to_bytes(8, "big")


def expired(value: bytes, bound: bytes) -> bool:
    """Return whether a value's `expires_at` has passed."""
    return value[_EXPIRES] <= bound


def read_units(size: int) -> int:
    """Return the read units of `size` bytes read at once."""
    return max(1, -(-size // (4 * UNIT_BYTES)))


def _not_unicode(error: UnicodeEncodeError) -> UsageError:
    return UsageError(f"A key is not valid Unicode: {error.reason} at {error.start}.", "Keys are UTF-8 text.")
