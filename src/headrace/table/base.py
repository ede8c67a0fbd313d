"""The table: items under (partition, sort), as DynamoDB keeps them. One interface, two implementations.

`local.py` talks to the embedded store's process; `aws.py` to DynamoDB. A key's two parts are strings and order by
their UTF-8 bytes. `attributes` is the rest of the item as one JSON object: the implementations move it as bytes.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from headrace.errors import Conflict, UsageError

PARTITION_BYTES_MAX = 2048
SORT_BYTES_MAX = 1024
ITEM_BYTES_MAX = 400 * 1024  # both parts of the key and the attributes, together
UNIT_BYTES = 1024  # a write unit; a read unit is four times that
_AT_ONCE = 32


class Item(NamedTuple):
    """An item. `attributes` is a JSON object without the key attributes; `expires_at` is in epoch seconds."""

    partition: str
    sort: str
    attributes: bytes
    expires_at: int | None = None


class Table(ABC):
    """One table. Every write is durable when the call returns.

    Raises UsageError for a key or item over its limit (nothing of that call is written), StorageError where the disk
    refuses (parts of the call may be written: repeating it is harmless), Unavailable where the store does not answer,
    Throttled where there is no capacity left in time; what a `put` has not written is in the error's `unwritten`, where
    that is known.
    """

    @abstractmethod
    def put(self, items: Sequence[Item]) -> None:
        """Write any number of items; each replaces the one of its key, and the last written of a key wins."""

    @abstractmethod
    def put_if_version(self, item: Item, expected: int) -> None:
        """Write `item` if the stored one's attribute "version" equals `expected` (0: there is none); else Conflict."""

    def put_absent(self, items: Sequence[Item]) -> None:
        """Write those items of whose key there is none yet; the others stay as they are. Repeating it is harmless.

        The items need an attribute "version", as for `put_if_version`. Of a key that is there twice, either is written.
        """

        def put(item: Item) -> None:
            with contextlib.suppress(Conflict):
                self.put_if_version(item, 0)

        if items:
            with ThreadPoolExecutor(min(len(items), _AT_ONCE)) as threads:
                for _ in threads.map(put, items):
                    pass

    @abstractmethod
    def get(self, partition: str, sort: str) -> Item | None:
        """Return the item of that key as last written, or None; an expired one is never returned."""

    @abstractmethod
    def query(self, partition: str, start: str, end: str, limit: int, newest_first: bool = False) -> list[Item]:
        """Return up to `limit` items of a partition with start <= sort < end, in order of sort or in reverse."""

    @abstractmethod
    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """Delete the items of these (partition, sort) keys; a missing one is fine."""

    @abstractmethod
    def scan(self, after: tuple[str, str] | None, limit: int) -> list[Item]:
        """Return up to `limit` items that follow the key `after` (None: from the start) in an order that is stable.

        All items of a partition stand together, in order of sort. An empty list is the end, and nothing else is.
        """


def check_key(partition: bytes, sort: bytes) -> None:
    """Raise UsageError unless the two parts of a key (UTF-8) are within their limits and not empty."""
    for name, part, bytes_max in (("partition", partition, PARTITION_BYTES_MAX), ("sort", sort, SORT_BYTES_MAX)):
        if not 1 <= len(part) <= bytes_max:
            raise UsageError(
                f"The {name} key has {len(part)} bytes ({part[:40].decode(errors='replace')!r}).",
                f"A {name} key may have 1 to {bytes_max} bytes of UTF-8.",
            )


def check_item(size: int) -> None:
    """Raise UsageError if an item of `size` bytes, key included, is over the limit."""
    if size > ITEM_BYTES_MAX:
        raise UsageError(
            f"An item of {size:,} bytes is over the limit of {ITEM_BYTES_MAX:,}, key included.",
            "Make it smaller, or keep the large part in a bucket and its key in the item.",
        )
