"""A table on this machine: talks to the process that owns the store.

Keys and values are made here, in the callers' processes, so that the one process behind the socket only moves bytes.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from headrace import clock, rpc
from headrace.errors import HeadraceError, Throttled, Unavailable
from headrace.table import rows
from headrace.table.base import Item, Table

CHUNK_ROWS = 500  # the store holds up reads while it applies one chunk: about a millisecond
CHUNK_BYTES = 1024 * 1024
CHUNKS_AHEAD = 8  # sent before the first answer is awaited
PAUSE_S = (0.025, 0.5)  # first and longest before a try again; what is not used meanwhile is saved up
THROTTLED_S_MAX = 60.0  # how long it tries again where there is no invocation that ends

T = TypeVar("T")

_page_decoder = msgspec.msgpack.Decoder(tuple[list[bytes], bytes | None])
_refused_decoder = msgspec.msgpack.Decoder(int | None)
_value_decoder = msgspec.msgpack.Decoder(bytes | None)


class LocalTable(Table):
    """The table `name` behind the table process's socket. Safe to share between threads.

    What may be repeated without harm (all but `put_if_version`) is repeated for `patience_s` while the process does
    not answer, so that its restart is a pause and not an error. Writes that the table's capacity has no room for are
    tried again with backoff and jitter until `deadline_s` (nobody's: for a minute); then Throttled is raised.
    """

    def __init__(
        self,
        name: str,
        client: rpc.Client,
        patience_s: float = 10.0,
        deadline_s: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._name = name
        self._client = client
        self._patience_s = patience_s
        self._deadline_s = deadline_s

    @classmethod
    def connect(cls, name: str, socket: Path, deadline_s: Callable[[], float | None] = lambda: None) -> "LocalTable":
        """Return the table behind `socket`; the connection is made when it is first used.

        `deadline_s` returns the monotonic second until which a call may last, if there is one.
        """
        return cls(name, rpc.Client(socket), deadline_s=deadline_s)

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        self._client.close()

    def put(self, items: Sequence[Item]) -> None:
        """Write items: every chunk is sent before the first answer is awaited, up to a bound."""
        chunks = list(rows.chunks_of(items, CHUNK_ROWS, CHUNK_BYTES))  # all of them first: a bad item writes nothing
        calls = [(self._name, chunk.units, chunk.rows) for chunk in chunks]
        results = self._patiently(lambda: self._send_all("put", calls))
        refused = [_refused_decoder.decode(result) or 0 for result in results]
        if any(refused):
            self._put_rest(_rest([chunk.rows for chunk in chunks], refused))

    def put_if_version(self, item: Item, expected: int) -> None:
        """Write an item if the stored one has the expected version."""
        (key, value), units = rows.row_of(item)
        params = (self._name, units, key, value, expected)
        self._unthrottled(lambda: self._client.call("put_if_version", params))

    def put_absent(self, items: Sequence[Item]) -> None:
        """Write those items whose keys are free: the store looks and writes in one step, many at a time."""
        calls = [(self._name, chunk.units, chunk.rows) for chunk in rows.chunks_of(items, CHUNK_ROWS, CHUNK_BYTES)]
        self._unthrottled(lambda: self._patiently(lambda: self._send_all("put_absent", calls)))

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
        self._unthrottled(lambda: self._patiently(lambda: self._send_all("delete", calls)))

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
            if not low <= resume or (resume >= high if newest_first and high is not None else resume == low):
                raise HeadraceError(
                    f"The table process answered a page of {self._name!r} that does not lead on.",
                    "Its version differs from this one's: restart `headrace up`, and use its own command line.",
                )
            low, high = (low, resume) if newest_first else (resume, high)
        return items

    def _put_rest(self, parts: list[list[bytes]]) -> None:
        """Write rows that were refused, part after part, each until all of it is written."""
        tries = Tries(self._deadline_s(), THROTTLED_S_MAX)
        for number, part in enumerate(parts):
            left = part
            while left:
                try:
                    tries.pause(self._name)
                except Throttled as error:
                    error.unwritten = _keys(left, *parts[number + 1 :])
                    raise
                params = (self._name, sum(rows.units_of(left)), left)
                refused = _refused_decoder.decode(self._call("put", params)) or 0
                left = left[len(left) - 2 * refused :]

    def _unthrottled(self, call: Callable[[], T]) -> T:
        """Make a call that is refused whole until it is not."""
        tries = Tries(self._deadline_s(), THROTTLED_S_MAX)
        while True:
            try:
                return call()
            except Throttled:
                tries.pause(self._name)

    def _send_all(self, method: str, calls: Sequence[tuple[object, ...]]) -> list[msgspec.Raw]:
        """Send every call, keeping a bounded number under way; return the results, in order.

        Raises the first error once all that were sent are answered.
        """
        pending: deque[rpc.Pending] = deque()
        results: list[msgspec.Raw] = []
        failure: HeadraceError | None = None
        for params in calls:
            pending.append(self._client.send(method, params))
            if len(pending) > CHUNKS_AHEAD:
                failure = self._outcome(pending.popleft(), results)
            if failure is not None:
                break
        for one in pending:
            outcome = self._outcome(one, results)
            failure = failure or outcome
        if failure is not None:
            raise failure
        return results

    def _outcome(self, pending: rpc.Pending, results: list[msgspec.Raw]) -> HeadraceError | None:
        try:
            results.append(self._client.wait(pending))
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


class Tries:
    """Pauses between tries that were throttled: twice as long each time, with jitter, and not beyond a deadline."""

    def __init__(self, deadline_s: float | None, patience_s: float) -> None:
        self._failed = 0
        self._deadline_s = clock.monotonic_s() + patience_s if deadline_s is None else deadline_s

    def pause(self, table: str) -> None:
        """Wait before the next try; raises Throttled if it would be too late."""
        pause_s = min(PAUSE_S[1], PAUSE_S[0] * 2**self._failed) * (0.5 + random.random())  # noqa: S311
        self._failed = min(self._failed + 1, 10)
        if clock.monotonic_s() + pause_s > self._deadline_s:
            raise Throttled(
                f"The write capacity of the table {table!r} is used up, and there is no time left to try again.",
                "Raise its write units and restart, or write less at once.",
            )
        clock.sleep(pause_s)


def _keys(*parts: Sequence[bytes]) -> frozenset[tuple[str, str]]:
    """Return (partition, sort) of rows."""
    return frozenset(
        rows.item_of(key, value)[:2] for part in parts for key, value in zip(part[::2], part[1::2], strict=True)
    )


def _rest(chunks: Sequence[list[bytes]], refused: Sequence[int]) -> list[list[bytes]]:
    """Return the rows that are still to be written: of each chunk the last `refused`.

    Not those of whose key a later row was written already: the last of a key wins.
    """
    written: set[bytes] = set()
    parts: list[list[bytes]] = []
    for chunk, count in zip(reversed(chunks), reversed(refused), strict=True):
        cut = len(chunk) - 2 * count
        tail = zip(chunk[cut::2], chunk[cut + 1 :: 2], strict=True)
        parts.append([part for row in tail if row[0] not in written for part in row])
        written.update(chunk[:cut:2])
    return parts[::-1]
