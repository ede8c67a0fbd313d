"""A stream as the runtime sees it: its shards, and word to everyone who waits when its log has grown."""

import asyncio
from pathlib import Path

import msgspec

from headrace import clock
from headrace.stream.reader import Reader

TICK_S = 0.005
TICK_IDLE_S = 0.02
IDLE_AFTER_S = 1.0


class _Shard(msgspec.Struct):
    shard: int
    created_s: int


class _Catalog(msgspec.Struct):
    shards: list[_Shard] = []


class WatchedStream:
    """One stream's folder, watched: its end is looked at every 5 ms (20 ms after an idle second) while anyone waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._catalog = folder / "stream.json"
        self._reader = Reader(folder)
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None

    def exists(self) -> bool:
        """Return whether there is such a stream; its shards may still be unknown while its log is opened."""
        return self._catalog.exists()

    def shards(self) -> dict[int, int]:
        """Return the shards and the second each was made; none while the stream does not exist."""
        try:
            catalog = msgspec.json.decode(self._catalog.read_bytes(), type=_Catalog)
        except (OSError, msgspec.DecodeError):
            return {}
        known = self._reader.bounds()
        return {each.shard: each.created_s for each in catalog.shards if each.shard in known}

    async def grown(self, beyond: int, seconds: float | None) -> None:
        """Return once the log's durable end is beyond that position, or when the time is up."""
        if self._reader.durable() > beyond:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        await asyncio.wait([waiter], timeout=seconds)
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def wake(self) -> None:
        """Have everyone who waits look again."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    def close(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
        self._reader.close()

    async def _watch(self) -> None:
        seen = self._reader.durable()
        grown_s = clock.monotonic_s()
        while self._waiting:
            now_s = clock.monotonic_s()
            await asyncio.sleep(TICK_S if now_s - grown_s < IDLE_AFTER_S else TICK_IDLE_S)
            durable = self._reader.durable()
            if durable != seen:
                seen, grown_s = durable, now_s
                self.wake()
