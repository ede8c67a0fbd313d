"""What the gateway does beside answering: retention, and telling the metrics what streams took."""

import asyncio
import contextlib

from headrace import errors, rpc
from headrace.stream.streams import Streams
from headrace.timekeeping import Timekeeper
from headrace.wire import WireError

RETENTION_EVERY_S = 30.0
MEASURE_EVERY_S = 5.0
MEASURED = ("records", "bytes", "puts", "failed_puts", "throttled")  # of a log's statistics


async def keep_retention(streams: Streams, runtime: rpc.AsyncClient, timekeeper: Timekeeper) -> None:
    """Delete segments that are past retention and that every enabled mapping has passed, for ever.

    Not while the clock is in doubt.
    """
    while True:
        await asyncio.sleep(RETENTION_EVERY_S)
        if (await asyncio.to_thread(timekeeper.check)).paused:
            continue
        for name in streams.names():
            # A stream that is being deleted, a runtime that restarts, a disk in trouble: the next round tries again.
            with contextlib.suppress(errors.HeadraceError, WireError, OSError):
                low = rpc.decode(await runtime.call("positions", {"stream": name}), type=int | None)
                await streams.trim(name, low)


class StreamMeter:
    """Tells the metrics process what streams took since it was last told."""

    def __init__(self, streams: Streams, metrics: rpc.AsyncClient) -> None:
        self._streams = streams
        self._metrics = metrics
        self._told: dict[str, dict[str, int]] = {}

    async def forever(self) -> None:
        """Tell it again and again."""
        while True:
            await asyncio.sleep(MEASURE_EVERY_S)
            with contextlib.suppress(errors.HeadraceError):
                await self.tell()

    async def tell(self) -> None:
        """Tell it once; raises Unavailable, and what was to be told is told the next time."""
        totals = {each.name: {key: getattr(each.log.stats, key) for key in MEASURED} for each in self._streams.all()}
        news = {}
        for name, measured in totals.items():
            before = self._told.get(name, {})
            if any(measured[key] < before.get(key, 0) for key in MEASURED):
                before = {}  # a new stream of an old name
            news[name] = {key: total - before.get(key, 0) for key, total in measured.items()}
        await self._metrics.call("streams", news)
        self._told = totals
