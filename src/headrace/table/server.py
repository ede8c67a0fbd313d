"""The table process: the one owner of the store, behind a unix socket.

Everything but the fsync runs on the event loop. A read is answered at once; writes are queued (see writer.py) and
applied one a turn of the loop, so that reads are served in between.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from headrace import clock, disk, rpc
from headrace.errors import HeadraceError, NotFound, Throttled
from headrace.limits import Bucket
from headrace.table import rows
from headrace.table.store import Count, Page, Store
from headrace.table.writer import Stalled, Writer

EXACT_ITEMS_MAX = 100_000

_put_decoder = msgspec.msgpack.Decoder(tuple[str, int, list[bytes]])
_put_if_version_decoder = msgspec.msgpack.Decoder(tuple[str, int, bytes, bytes, int])
_delete_decoder = msgspec.msgpack.Decoder(tuple[str, list[bytes]])
_get_decoder = msgspec.msgpack.Decoder(tuple[str, bytes])
_query_decoder = msgspec.msgpack.Decoder(tuple[str, bytes, bytes | None, int, bool])


class Sweep(NamedTuple):
    """How expired rows are removed: at most `deletes_max` a step, then a pause; `rest_s` between two whole passes."""

    deletes_max: int = 1000
    pause_s: float = 1.0
    rest_s: float = 60.0


SLOWLY = Sweep()


class Usage:
    """What a table has seen since the process started.

    Capacity units consumed, expired items removed, writes of an item refused because of the capacity.
    """

    __slots__ = ("read_units", "removed", "throttled", "write_units")

    def __init__(self) -> None:
        self.read_units = 0
        self.removed = 0
        self.throttled = 0
        self.write_units = 0


class TableServer:
    """Answers the table's methods. Made by `start`."""

    def __init__(
        self,
        store: Store,
        sweep: Sweep,
        now_ms: Callable[[], int],
        may_remove: Callable[[], bool],
        buckets: Mapping[str, Bucket],
        now_s: Callable[[], float],
    ) -> None:
        self._buckets = buckets
        self._now_s = now_s
        self._store = store
        self._may_remove = may_remove
        self._sweep = sweep
        self._now_ms = now_ms
        self._writer = Writer(store)
        self._usage: dict[str, Usage] = {name: Usage() for name in store.tables}
        self._counted: dict[str, tuple[int, Count]] = {}
        self._swept: dict[str, Count] = {}  # what the sweep has met, in this pass or in the last one
        self._rpc = rpc.Server(
            {
                "put": self._put,
                "put_if_version": self._put_if_version,
                "put_absent": self._put_absent,
                "delete": self._delete,
                "get": self._get,
                "query": self._query,
                "snapshot": self._snapshot,
                "stats": self._stats,
                "usage": self._totals,
                "ping": lambda _: None,
            }
        )
        self._keeping: list[asyncio.Task[None]] = []

    async def listen(self, socket: Path) -> None:
        """Begin to serve, and to keep house."""
        await self._rpc.start(socket)
        self._keeping = [asyncio.create_task(self._sweep_forever()), asyncio.create_task(self._mend_forever())]

    async def stop(self) -> None:
        """Answer what was submitted, then stop and close the store."""
        for task in self._keeping:
            task.cancel()
        await self._writer.close()
        await self._rpc.stop()
        self._store.close()

    def _put(self, params: msgspec.Raw) -> Awaitable[int | None]:
        """Write rows. The result is how many of the last ones are refused for the table's capacity (nil: none)."""
        table, units, pairs = _put_decoder.decode(params)
        usage = self._used(table)
        bucket = self._buckets.get(table)
        if bucket is not None:
            return self._put_within(table, usage, bucket, pairs)
        usage.write_units += units
        return self._writer.submit(partial(self._store.put, table, pairs))

    async def _put_within(self, table: str, usage: Usage, bucket: Bucket, pairs: list[bytes]) -> int:
        now_s, count = self._now_s(), 0
        for units in rows.units_of(pairs):
            if not bucket.take(now_s, units):
                break
            count += 1
            usage.write_units += units
        refused = len(pairs) // 2 - count
        usage.throttled += refused
        if count:
            await self._writer.submit(partial(self._store.put, table, pairs[: 2 * count]))
        return refused

    def _consume(self, table: str, units: int) -> None:
        """Count write units; raises Throttled, and counts nothing, if the table's capacity is used up."""
        usage = self._used(table)
        bucket = self._buckets.get(table)
        if bucket is not None and not bucket.take(self._now_s(), units):
            usage.throttled += 1
            raise Throttled(
                f"The write capacity of the table {table!r} is used up.",
                "Try again with backoff, or raise its write units and restart.",
            )
        usage.write_units += units

    def _put_if_version(self, params: msgspec.Raw) -> "asyncio.Future[None]":
        table, units, key, value, expected = _put_if_version_decoder.decode(params)
        self._consume(table, units)
        apply = partial(self._store.put_if_version, table, key, value, expected, self._now_ms())
        return self._writer.submit(apply)

    def _put_absent(self, params: msgspec.Raw) -> "asyncio.Future[None]":
        """Write the rows whose keys are free. All of them consume units, as conditional writes do."""
        table, units, pairs = _put_decoder.decode(params)
        self._consume(table, units)
        return self._writer.submit(partial(self._store.put_absent, table, pairs, self._now_ms()))

    def _delete(self, params: msgspec.Raw) -> "asyncio.Future[None]":
        table, keys = _delete_decoder.decode(params)
        self._consume(table, len(keys))
        return self._writer.submit(partial(self._store.delete, table, keys))

    def _get(self, params: msgspec.Raw) -> bytes | None:
        table, key = _get_decoder.decode(params)
        value = self._store.get(table, key, self._now_ms())
        self._used(table).read_units += rows.read_units(len(value or b""))
        return value

    def _query(self, params: msgspec.Raw) -> Page:
        table, low, high, limit, newest_first = _query_decoder.decode(params)
        page = self._store.page(table, low, high, limit, newest_first, self._now_ms())
        self._used(table).read_units += rows.read_units(sum(map(len, page.rows)))
        return page

    async def _stats(self, _: msgspec.Raw) -> dict[str, Any]:
        counts = {name: await self._count(name) for name in self._usage}
        return {
            "tables": {
                name: {
                    "items": counts[name].rows,
                    "events": counts[name].events,
                    "bytes": self._store.bytes_used(name),
                    "write_units": usage.write_units,
                    "read_units": usage.read_units,
                    "removed": usage.removed,
                    "throttled": usage.throttled,
                }
                for name, usage in self._usage.items()
            },
            "groups": self._writer.groups,
        }

    def _totals(self, _: msgspec.Raw) -> dict[str, dict[str, int]]:
        """Return each table's units since the process started: what `stats` says of them, and cheap."""
        return {
            name: {"write_units": usage.write_units, "read_units": usage.read_units, "throttled": usage.throttled}
            for name, usage in self._usage.items()
        }

    async def _snapshot(self, params: msgspec.Raw) -> None:
        """Copy the store as it is into a new folder: all that was acknowledged before the call is in it."""
        folder = Path(rpc.decode(params, type=str))
        try:
            await asyncio.to_thread(self._store.snapshot, folder)
        except OSError as error:
            raise disk.storage_error(folder, error) from error

    def _used(self, table: str) -> Usage:
        usage = self._usage.get(table)
        if usage is None:
            raise NotFound(f"There is no table {table!r}.", f"There are: {', '.join(self._usage) or 'none'}.")
        return usage

    async def _count(self, table: str) -> Count:
        """Return how many items a table has: counted if they are few.

        Else it is RocksDB's estimate, and of events the share that the sweep has met.
        """
        estimate = self._store.items_estimate(table)
        if estimate > EXACT_ITEMS_MAX:
            swept = self._swept.get(table, Count())
            return Count(estimate, estimate * swept.events // swept.rows if swept.rows else estimate)
        sequence = self._store.sequence()
        known = self._counted.get(table)
        if known is not None and known[0] == sequence:
            return known[1]
        count = Count()
        low: bytes | None = b""
        while low is not None:
            some, low = self._store.count(table, low, self._now_ms())
            count = count.more(some)
            await asyncio.sleep(0)
        self._counted[table] = sequence, count
        return count

    async def _sweep_forever(self) -> None:
        """Remove expired rows, slowly: they are invisible already. Not while the clock is in doubt."""
        while True:
            for table in self._store.tables:
                met = Count()
                low: bytes | None = b""
                while low is not None:
                    await asyncio.sleep(self._sweep.pause_s)
                    if not self._may_remove():
                        continue
                    with contextlib.suppress(HeadraceError, Stalled):
                        removed, some, low = self._store.sweep(table, low, self._now_ms(), self._sweep.deletes_max)
                        self._usage[table].removed += removed
                        met = met.more(some)
                        if low is None or met.rows >= EXACT_ITEMS_MAX:  # by then it tells enough
                            self._swept[table] = met
            await asyncio.sleep(self._sweep.rest_s)

    async def _mend_forever(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            self._writer.mend()


async def start(
    folder: Path,
    socket: Path,
    tables: Sequence[str],
    *,
    sweep: Sweep = SLOWLY,
    now_ms: Callable[[], int] = clock.now_ms,
    may_remove: Callable[[], bool] = lambda: True,
    write_units: Mapping[str, int] | None = None,
    now_s: Callable[[], float] = clock.monotonic_s,
) -> TableServer:
    """Open the store in `folder` and serve its tables on `socket`; `stop` the answer in the end.

    Expired rows are removed only while `may_remove` says so. A table in `write_units` takes so many a second in the
    long run: what is over is refused.
    """
    disk.make_folder(socket.parent)
    buckets = {name: Bucket(units, now_s()) for name, units in (write_units or {}).items()}
    server = TableServer(Store.open(folder, tables), sweep, now_ms, may_remove, buckets, now_s)
    await server.listen(socket)
    return server
