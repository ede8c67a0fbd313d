"""Asynchronous invokes: journalled before they are accepted, called in order, retried, given up to the failures bucket.

One file an invoke, `<function>/<accepted, ms>-<request id>.json`. It is removed when the invoke is done with; `calls`
in it counts the calls known to have failed, so a crash repeats a call and forgets none.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from headrace import clock
from headrace.archive.base import Bucket
from headrace.disk import DISK, write_file
from headrace.errors import HeadraceError, Throttled, UsageError
from headrace.runtime import failures
from headrace.runtime.messages import Call, Reply
from headrace.runtime.pool import PROCESSORS, Pool, Pools

VERSION = 1
RETRY_S = (1.0, 2.0)  # before the second and the third call
THROTTLED_S = (0.2, 30.0)  # first and longest wait while the function takes no call; such waits count no call
WAITING_MAX = 100_000  # of one function; more are throttled
_THREADS = 4

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Entry(msgspec.Struct):
    """A journalled invoke; `payload` is the event as sent."""

    function: str
    request_id: str
    accepted_ms: int
    payload: msgspec.Raw
    calls: int = 0
    client_context: str | None = None
    version: int = VERSION


class AsyncInvokes:
    """The invokes of all functions that are accepted and not done with."""

    def __init__(
        self, folder: Path, pools: Pools, bucket: Callable[[str], Bucket], now_ms: Callable[[], int] = clock.now_ms
    ) -> None:
        self.threads = ThreadPoolExecutor(_THREADS, "invokes")
        self.bucket = bucket
        self.now_ms = now_ms
        self._folder = folder
        self._lanes = {pool.function.name: Lane(pool, self) for pool in pools}

    def start(self) -> None:
        """Take up what a former process has left, in the order of acceptance."""
        for name, lane in self._lanes.items():
            folder = self._folder / name
            for file in DISK.list(folder):
                if not file.startswith("."):
                    lane.add(folder / file)

    async def accept(self, function: str, request_id: str, payload: bytes, client_context: str | None) -> None:
        """Return once the invoke is durable; raises Throttled or StorageError."""
        lane = self._lanes[function]
        if lane.waiting >= WAITING_MAX:
            raise Throttled("Rate Exceeded.", "Too many asynchronous invokes of this function wait.")
        now_ms = self.now_ms()
        entry = Entry(function, request_id, now_ms, msgspec.Raw(payload or b"{}"), client_context=client_context)
        path = self._folder / function / f"{now_ms:015d}-{request_id}.json"
        await self.in_thread(write_file, path, msgspec.json.encode(entry))
        lane.add(path)

    async def stop(self, grace_s: float) -> None:
        """Let the calls under way finish within `grace_s`; what is not done stays in the journal."""
        await asyncio.gather(*(lane.stop(grace_s) for lane in self._lanes.values()))
        self.threads.shutdown()

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do blocking work in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, work, *arguments)


class Lane:
    """One function's invokes: as many at once as there are processors, the rest wait on disk."""

    def __init__(self, pool: Pool, invokes: AsyncInvokes) -> None:
        self._pool = pool
        self._invokes = invokes
        self._queue: deque[Path] = deque()
        self._later: set[asyncio.TimerHandle] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._pause_s = THROTTLED_S[0]
        self._stopping = False

    @property
    def waiting(self) -> int:
        """Return how many invokes are not done with."""
        return len(self._queue) + len(self._later) + len(self._running)

    def add(self, path: Path) -> None:
        """Call this journalled invoke when its turn comes."""
        self._queue.append(path)
        self._next()

    async def stop(self, grace_s: float) -> None:
        """Start nothing more; wait for what runs, then cut it off."""
        self._stopping = True
        for handle in self._later:
            handle.cancel()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _next(self) -> None:
        while self._queue and len(self._running) < PROCESSORS and not self._stopping:
            task = asyncio.create_task(self._run(self._queue.popleft()))
            self._running.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("An asynchronous invoke of %s was dropped", self._pool.function.name, exc_info=error)
        self._next()

    def _add_after(self, seconds: float, path: Path) -> None:
        def add() -> None:
            self._later.discard(handle)
            self.add(path)

        handle = asyncio.get_running_loop().call_later(seconds, add)
        self._later.add(handle)

    async def _run(self, path: Path) -> None:
        """Call one invoke once; it is done with, or comes back later."""
        try:
            entry = await self._invokes.in_thread(_read, path)
            await self._attempt(path, entry)
        except (HeadraceError, OSError) as error:  # throttled, no process to be had, the disk refuses
            _log.warning("An asynchronous invoke of %s waits: %s", self._pool.function.name, error)
            self._add_after(self._pause_s, path)
            self._pause_s = min(THROTTLED_S[1], self._pause_s * 2)
        else:
            self._pause_s = THROTTLED_S[0]

    async def _attempt(self, path: Path, entry: Entry) -> None:
        rules = self._pool.function.asynchronous
        if self._invokes.now_ms() - entry.accepted_ms > rules.age_s_max * 1000:
            await self._give_up(path, entry, failures.INVOKE_AGE_EXCEEDED, None)
            return
        call = Call(
            entry.request_id, self._pool.function.timeout_s, bytes(entry.payload), client_context=entry.client_context
        )
        reply = await self._pool.invoke(call)
        if not reply.error:
            await self._invokes.in_thread(DISK.remove, path)
            return
        entry.calls += 1
        if entry.calls > rules.retries:
            await self._give_up(path, entry, failures.INVOKE_RETRIES_EXHAUSTED, reply)
            return
        await self._invokes.in_thread(write_file, path, msgspec.json.encode(entry))
        self._add_after(RETRY_S[min(entry.calls, len(RETRY_S)) - 1], path)

    async def _give_up(self, path: Path, entry: Entry, condition: str, reply: Reply | None) -> None:
        document = failures.invoke_document(
            entry.function, entry.request_id, condition, entry.calls, entry.accepted_ms,
            self._invokes.now_ms(), bytes(entry.payload), reply.payload if reply is not None else None,
        )  # fmt: skip
        name = self._pool.function.asynchronous.failures_bucket or failures.DEFAULT_BUCKET
        bucket = self._invokes.bucket(name)
        await self._invokes.in_thread(bucket.put, document.key, document.body)
        await self._invokes.in_thread(DISK.remove, path)
        _log.warning("%s: an asynchronous invoke given up (%s): %s", entry.function, condition, document.key)


def _read(path: Path) -> Entry:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Entry)
    except msgspec.DecodeError as error:
        raise UsageError(f"{path} is no journalled invoke: {error}.", "Remove it, or restore it.") from error
