"""Group commit: writes of all callers are applied in order and made durable together."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from headrace import clock, disk
from headrace.errors import HeadraceError, StorageError, Unavailable

STALL_PAUSE_S = 0.005
REOPEN_AFTER_S = 1.0

NO_SPACE = "No space left on device"

Group = list[tuple["asyncio.Future[None]", Exception | None]]  # writes applied, each with what was wrong with it


class Stalled(Exception):
    """The store wants writes to pause until it has caught up; nothing was written."""


class Durable(Protocol):
    """What group commit needs of a store."""

    def sync(self) -> None:
        """Return once everything written before this call is on the medium; called in another thread."""

    def space_left(self) -> int:
        """Return the free bytes of the disk."""

    def reopen(self) -> None:
        """Close and open again: the way out of an error after which every write is refused."""


class Writer:
    """Applies writes to the store in order and answers each after an fsync that covers it.

    One write a turn of the event loop, so that reads are served in between. The fsync runs in another thread and
    covers all that was applied before it began; what is applied meanwhile forms the next group.
    """

    def __init__(self, store: Durable, now_s: Callable[[], float] = clock.monotonic_s) -> None:
        self._store = store
        self._now_s = now_s
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sync")
        self._queue: deque[tuple[Callable[[], None], asyncio.Future[None]]] = deque()
        self._applied: Group = []
        self._stepping = False
        self._syncing = False
        self._closing = False
        self._failure: StorageError | None = None
        self._mended_s = 0.0
        self.groups = 0

    def submit(self, apply: Callable[[], None]) -> "asyncio.Future[None]":
        """Queue a write; the future ends once it is durable, or with what was wrong with it."""
        if self._closing:
            raise Unavailable("The table process is stopping.", "Try again once it is back.")
        done = self._loop.create_future()
        self._queue.append((apply, done))
        if not self._stepping:
            self._stepping = True
            self._loop.call_soon(self._step)
        return done

    def mend(self) -> None:
        """Reopen the store if it refuses writes, unless the disk is still full. To be called now and then.

        RocksDB resumes by itself only after some errors. On a full disk reopening could fail and end the reads, too.
        """
        failure = self._failure
        if failure is None or self._syncing or self._now_s() - self._mended_s < REOPEN_AFTER_S:
            return
        if NO_SPACE in failure.problem and self._store.space_left() < disk.FULL_BYTES:
            return
        self._mended_s = self._now_s()
        applied, self._applied = self._applied, []
        _answer(applied, failure)  # what was applied to the store as it was is not known to survive
        with contextlib.suppress(HeadraceError):
            self._store.reopen()
            self._failure = None

    async def close(self) -> None:
        """Refuse new writes; return once those submitted have been answered."""
        self._closing = True
        while self._queue or self._applied or self._syncing:
            await asyncio.sleep(0.001)
        self._thread.shutdown()

    def _step(self) -> None:
        apply, done = self._queue[0]
        try:
            apply()
        except Stalled:
            self._loop.call_later(STALL_PAUSE_S, self._step)
            return
        except StorageError as error:
            self._failed(error)
            _answer([(done, error)], None)
        except Exception as error:  # a Conflict, say, with a write that is not durable yet: answered with that one
            self._applied.append((done, error))
        else:
            self._applied.append((done, None))
        self._queue.popleft()
        if self._applied and not self._syncing:
            self._sync()
        if self._queue:
            self._loop.call_soon(self._step)
        else:
            self._stepping = False

    def _sync(self) -> None:
        group, self._applied = self._applied, []
        self._syncing = True
        sync = self._loop.run_in_executor(self._thread, self._store.sync)
        sync.add_done_callback(partial(self._synced, group))

    def _synced(self, group: "Group", sync: "asyncio.Future[None]") -> None:
        self._syncing = False
        self.groups += 1
        failure = sync.exception()
        if failure is not None:
            self._failed(failure)
        elif any(outcome is None for _, outcome in group):
            self._failure = None  # the disk takes writes again
        _answer(group, failure)
        if self._applied:
            self._sync()

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, StorageError):
            if self._failure is None:
                self._mended_s = self._now_s()
            self._failure = error


def _answer(group: Group, failure: BaseException | None) -> None:
    for done, outcome in group:
        error = outcome or failure
        if done.cancelled():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
