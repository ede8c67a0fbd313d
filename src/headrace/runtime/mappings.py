"""The event source mappings of a system: a poller for each shard, from the moment the stream exists."""

import asyncio
import logging
from pathlib import Path

from headrace.errors import HeadraceError
from headrace.ledger import Account
from headrace.record import shard_id
from headrace.runtime.kinesis_event import Source
from headrace.runtime.poller import Poller, Services
from headrace.runtime.pool import Pool
from headrace.runtime.streams import WatchedStream
from headrace.system import Mapping

SHARDS_LOOK_S = (0.05, 1.0)  # how often new shards are looked for: until there is one, and then

_log = logging.getLogger(__name__)


class MappingRunner:
    """One mapping. A disabled one is only read for the books."""

    def __init__(self, mapping: Mapping, stream: WatchedStream, folder: Path, pool: Pool, services: Services) -> None:
        self.mapping = mapping
        self.pollers: dict[int, Poller] = {}
        self._stream = stream
        self._folder = folder
        self._pool = pool
        self._services = services
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        # A shard that appears after the mapping has started is read from its beginning: all of it is new.
        started = folder.is_dir() and any(folder.iterdir())
        self._position = mapping.starting_position if not started else "TRIM_HORIZON"

    async def run(self) -> None:
        """Follow the stream until `stop`, new shards included."""
        while not self._stopping.is_set():
            try:
                await self._look()
            except (HeadraceError, OSError) as error:
                _log.warning("The stream %s can't be followed: %s", self.mapping.stream, error)
            try:
                async with asyncio.timeout(SHARDS_LOOK_S[bool(self.pollers)]):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    def ready(self) -> bool:
        """Return whether the books know every shard: only then does the ledger say the truth."""
        return bool(self.pollers) and all(
            poller.durable is not None or poller.error is not None or not self.mapping.enabled
            for poller in self.pollers.values()
        )

    def stop(self) -> None:
        """Have every poller finish the call under way."""
        self._stopping.set()
        for poller in self.pollers.values():
            poller.stop()

    async def stopped(self, grace_s: float) -> None:
        """Wait for the pollers to end; after `grace_s` the calls under way are cut off: a restart repeats them."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def close(self) -> None:
        """Close the pollers' files."""
        for poller in self.pollers.values():
            poller.close()

    def low_position(self) -> int:
        """Return the position in the log from which on this mapping still needs records."""
        if not self.pollers:
            return 0
        return min(poller.low_position() for poller in self.pollers.values())

    def add_to(self, account: Account) -> None:
        """Add this mapping's books to its function's."""
        for poller in self.pollers.values():
            state = poller.durable
            if state is not None:
                following = max(poller.bounds()[1], state.next)
                account.eligible += following - state.start
                account.processed += state.processed
                account.failed += state.failed
                account.filtered += state.filtered
                account.expired += state.expired
                account.pending += following - state.next
                account.iterator_age_ms = max(account.iterator_age_ms, poller.age_ms())

    def last_result(self) -> str:
        """Return what became of the last calls, as Lambda's API tells it: the worst of the shards."""
        states = [poller.durable for poller in self.pollers.values()]
        known = [state for state in states if state is not None]
        if any(state.calls or state.ending is not None for state in known):
            return "PROBLEM: Function call failed"
        if problems := [poller.error for poller in self.pollers.values() if poller.error is not None]:
            return f"PROBLEM: {problems[0]}"
        return "OK" if any(state.next > state.start for state in known) else "No records processed"

    async def _look(self) -> None:
        """Follow the shards that have appeared since; later ones are read from their beginning."""
        shards = self._stream.shards()
        for shard, created_s in shards.items():
            if shard not in self.pollers:
                await self._add(Source(self.mapping.stream, shard, created_s))
        if shards or not self._stream.exists():
            self._position = "TRIM_HORIZON"

    async def _add(self, source: Source) -> None:
        path = self._folder / shard_id(source.shard)
        poller = Poller(self.mapping, self._stream, source, path, self._pool, self._services)
        self.pollers[source.shard] = poller
        if self.mapping.enabled:
            self._tasks.append(asyncio.create_task(poller.run(self._position)))
            return
        try:
            await poller.open_existing()
        except HeadraceError as error:
            poller.error = str(error)
            _log.warning("%s: %s", self.mapping.function, error)
