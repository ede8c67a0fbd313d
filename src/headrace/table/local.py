"""A table on this machine: talks to the process that owns the store.

Keys and values are made here, in the callers' processes, so that the one process behind the socket only moves bytes.
"""

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from headrace import clock, rpc
from headrace.errors import HeadraceError, Unavailable
from headrace.table import rows
from headrace.table.base import Item, Table

CHUNK_ROWS = 500  # the store holds up reads while it applies one chunk: about a millisecond
CHUNK_BYTES = 1024 * 1024
CHUNKS_AHEAD = 8  # sent before the first answer is awaited

T = TypeVar("T")

_page_decoder = msgspec.msgpack.Decoder(tuple[list[bytes], bytes | None])
_value_decoder = msgspec.msgpack.Decoder(bytes | None)


class LocalTable(Table):
    """The table `name` behind the table process's socket. Safe to share between threads.

    What may be repeated without harm (all but `put_if_version`) is repeated for `patience_s` while the process does
    not answer, so that its restart is a pause and not an error.
    """

    def __init__(self, name: str, client: rpc.Client, patience_s: float = 10.0) -> None:
        self._name = name
        self._client = client
        self._patience_s = patience_s

    @classmethod
    def connect(cls, name: str, socket: Path) -> "LocalTable":
        """Return the table behind `socket`; the connection is made when it is first used."""
        return cls(name, rpc.Client(socket))

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        self._client.close()

    def put(self, items: Sequence[Item]) -> None:
        """Write items: every chunk is sent before the first answer is awaited, up to a bound."""
        chunks = list(rows.chunks_of(items, CHUNK_ROWS, CHUNK_BYTES))  # all of them first: a bad item writes nothing
        calls = [(self._name, chunk.units, chunk.rows) for chunk in chunks]
        self._patiently(lambda: self._send_all("put", calls))

    def put_if_version(self, item: Item, expected: int) -> None:
        """Write an item if the stored one has the expected version."""
        (key, value), units = rows.row_of(item)
        self._client.call("put_if_version", (self._name, units, key, value, expected))

    def get(self, partition: str, sort: str) -> Item | None:
        """Return the item of a key, or None."""
        key = rows.key_of(partition, sort)
        value = _value_decoder.decode(self._call("get", (self._name, key)))
        return None if value is None else rows.item_of(key, value)

    def query(self, partition: str, start: str, end: str, limit: int, newest_first: bool = False) -> list[Item]:
        """Return the items of a range; long ones come in several answers."""
        low, high = rows.range_of(partition, start, end)
        return self._pages(low, high, limit, newest_first)

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """Delete the items of these keys."""
        all_keys = [rows.key_of(partition, sort) for partition, sort in keys]
        chunks = [all_keys[at : at + CHUNK_ROWS] for at in range(0, len(all_keys), CHUNK_ROWS)]
        calls = [(self._name, chunk) for chunk in chunks]
        self._patiently(lambda: self._send_all("delete", calls))

    def scan(self, after: tuple[str, str] | None, limit: int) -> list[Item]:
        """Return the items that follow a key, in the order of the store's keys."""
        low = b"" if after is None else rows.key_of(*after) + b"\0"
        return self._pages(low, None, limit, False)

    def _pages(self, low: bytes, high: bytes | None, limit: int, newest_first: bool) -> list[Item]:
        items: list[Item] = []
        while limit > 0:
            params = (self._name, low, high, limit, newest_first)
            page, resume = _page_decoder.decode(self._call("query", params))
            items += map(rows.item_of, page[::2], page[1::2])
            limit -= len(page) // 2
            if resume is None:
                break
            low, high = (low, resume) if newest_first else (resume, high)
        return items

    def _send_all(self, method: str, calls: Sequence[tuple[object, ...]]) -> None:
        """Send every call, keeping a bounded number under way; raises the first error once all are answered."""
        pending: deque[rpc.Pending] = deque()
        failure: HeadraceError | None = None
        for params in calls:
            pending.append(self._client.send(method, params))
            if len(pending) > CHUNKS_AHEAD:
                failure = failure or self._outcome(pending.popleft())
            if failure is not None:
                break
        for one in pending:
            outcome = self._outcome(one)
            failure = failure or outcome
        if failure is not None:
            raise failure

    def _outcome(self, pending: rpc.Pending) -> HeadraceError | None:
        try:
            self._client.wait(pending)
        except HeadraceError as error:
            return error
        return None

    def _call(self, method: str, params: object) -> msgspec.Raw:
        return self._patiently(lambda: self._client.call(method, params))

    def _patiently(self, call: Callable[[], T]) -> T:
        deadline = clock.monotonic_s() + self._patience_s
        while True:
            try:
                return call()
            except Unavailable:
                if clock.monotonic_s() > deadline:
                    raise
                clock.sleep(0.05)
