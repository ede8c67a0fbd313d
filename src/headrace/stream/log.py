"""One stream's log: a single writer that acknowledges after the sync.

Appends that arrive while a commit is under way form the next group; a group costs one write and one sync. A small one
waits until two turns of the event loop bring nothing more. The kernel syncs while the loop goes on (`aio.py`), a thread
where it can't; what takes longer is done in that thread too.
Numbers are given when a group is written, so one that the disk refuses leaves no hole; who waits is told them at once,
and makes its answer ready while the disk works.
"""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

from headrace import clock
from headrace.disk import DISK, Disk, OsFile, locked, make_folder, storage_error
from headrace.errors import HeadraceError, StorageError, Throttled, UsageError
from headrace.stream import aio, recovery, segment
from headrace.stream.board import FILE as BOARD_FILE
from headrace.stream.board import Board
from headrace.stream.group import Appended, Future, Group, One, Waiter
from headrace.stream.segment import Damage, Part
from headrace.stream.writer import Writer, Written, segment_bases, segment_path

SEGMENT_BYTES = 64 * 1024 * 1024
SEGMENT_AGE_MS = 3_600_000
GATHER_BYTES = 16 * 1024  # how large a group gets by waiting for more: a sync costs as much as half a dozen puts
PENDING_BYTES_MAX = 128 * 1024 * 1024  # of appends that wait for the disk

Entry = tuple[int, bytes, bytes]  # shard, partition key (UTF-8), data
T = TypeVar("T")
_new = tuple.__new__  # makes a NamedTuple from a tuple at half the cost of calling it


class Removed(NamedTuple):
    """What `trim` removed: its place in the log, and per shard the numbers it held, as (first, behind the last)."""

    base: int
    end: int
    numbers: dict[int, tuple[int, int]]


@dataclass
class Stats:
    """What a log accepted since it was opened; `bytes` of keys and data. `records / commits` is the mean group.

    `puts` are PutRecords requests, `failed_puts` those of which no record was accepted; `throttled` are records that
    were refused because of their shard's limits.
    """

    records: int = 0
    bytes: int = 0
    commits: int = 0
    puts: int = 0
    failed_puts: int = 0
    throttled: int = 0


class Log:
    """A stream's log. Made by `Log.open`; everything else belongs to one event loop.

    `damage` is what recovery found unreadable; `stats` counts since the log was opened.
    """

    def __init__(
        self,
        folder: Path,
        disk: Disk,
        board: Board,
        writer: Writer,
        found: recovery.Recovered,
        held: contextlib.ExitStack,
        now_ms: Callable[[], int],
        pending_bytes_max: int,
    ) -> None:
        self.damage: list[Damage] = list(found.damage)
        self.first_number: dict[int, int] = dict(found.first_numbers)
        self.stats = Stats()
        self._first_position = board.first
        self._folder = folder
        self._disk = disk
        self._board = board
        self._writer = writer
        self._held = held
        self._now_ms = now_ms
        self._pending_bytes_max = pending_bytes_max
        self._group = Group()
        self._waiting_bytes = 0
        self._busy = False  # with a group
        self._kernel: aio.KernelSync | None = None
        self._by_thread = False  # how groups are synced
        self._closed = False
        self._drained: asyncio.Future[None] | None = None
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"log {folder.name}", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls,
        folder: Path,
        disk: Disk = DISK,
        *,
        stream: str,
        shards: int,
        segment_bytes: int = SEGMENT_BYTES,
        segment_age_ms: int = SEGMENT_AGE_MS,
        pending_bytes_max: int = PENDING_BYTES_MAX,
        now_ms: Callable[[], int] = clock.now_ms,
    ) -> "Log":
        """Open the log in `folder` (made if missing) and recover it; shards 0 to `shards` − 1 exist at least.

        Raises DataDirectoryError if another process has it or it is of a newer version, StorageError if the disk
        refuses. An interrupted `delete` is finished first: the log is then a new one.
        """
        with contextlib.ExitStack() as held:
            try:
                make_folder(folder)
                held.enter_context(locked(folder / "lock", "the stream's writer"))
                board = _board(folder, disk, held)
                found = recovery.recover(folder, disk, board, shards)
                writer = Writer(folder, disk, board, stream, found.tail, segment_bytes, segment_age_ms)
            except OSError as error:
                raise storage_error(folder, error) from error
            for shard, state in found.tail.shards.items():
                board.set_first(shard, found.first_numbers[shard])
                board.set_next(shard, state.next_number, state.last_arrival_ms)
            board.first = found.bases[0] if found.bases else found.tail.end
            board.tail = found.bases[-1] if found.bases else found.tail.end
            board.durable = found.tail.end
            return cls(folder, disk, board, writer, found, held.pop_all(), now_ms, pending_bytes_max)

    @property
    def next_number(self) -> dict[int, int]:
        """Return shard -> the number its next record gets; every number below is durable."""
        return {shard: state.next_number for shard, state in self._writer.shards.items()}

    @property
    def last_arrival_ms(self) -> dict[int, int]:
        """Return shard -> the arrival of its last record; 0 if it never had one."""
        return {shard: state.last_arrival_ms for shard, state in self._writer.shards.items()}

    @property
    def durable(self) -> int:
        """Return the position up to which the log is on the medium."""
        return self._writer.durable

    @property
    def first_position(self) -> int:
        """Return the position of the first segment held; `durable - first_position` is the log's size in bytes."""
        return self._first_position

    def append(self, entries: Sequence[Entry]) -> asyncio.Future[Appended]:
        """Append records in order; the future's value says where they are. See `append_parts`."""
        parts: dict[int, Part] = {}
        for shard, key, data in entries:
            keys, datas = parts.get(shard) or parts.setdefault(shard, Part([], []))
            keys.append(key)
            datas.append(data)
        return self.appended(parts)

    def appended(self, parts: dict[int, Part]) -> asyncio.Future[Appended]:
        """Append records that are sorted by shard already; the future's value says where. See `append_parts`."""
        waiter = Future(asyncio.get_running_loop().create_future())
        self.append_parts(parts, waiter)
        return waiter.future

    def append_parts(self, parts: dict[int, Part], waiter: Waiter) -> None:
        """Append records that are sorted by shard already, and have `waiter` told.

        The parts are the log's from then on, and none is empty. If the disk refuses, appending works again as soon as
        the disk does. Raises UsageError for a shard the log does not have or a record out of bounds, Throttled if too
        many bytes wait for the disk already; nothing is appended then.
        """
        group = self._admit(self._checked(parts))
        if not parts:
            waiter.numbered(Appended({}, {}))
            waiter.durable()
            return
        places = {}
        for shard, part in parts.items():
            whole = group.parts.setdefault(shard, part)
            places[shard] = 0
            if whole is not part:
                places[shard] = len(whole.keys)
                whole.keys.extend(part.keys)
                whole.datas.extend(part.datas)
        group.waiting.append((waiter, places))

    def append_one(self, shard: int, key: bytes, data: bytes, one: One) -> None:
        """Append one record as `append_parts` does, at half its cost."""
        size = len(key) + len(data)
        if size > segment.KEY_BYTES_MAX or shard not in self._writer.shards:
            self._checked({shard: Part([key], [data])})
        group = self._admit(size)
        part = group.parts.get(shard)
        if part is None:
            part = group.parts[shard] = Part([], [])
        keys, datas = part
        group.ones.append((one, shard, len(keys)))
        keys.append(key)
        datas.append(data)

    async def trim(self, now_ms: int, retention_ms: int, low_position: int) -> list[Removed]:
        """Remove whole segments from the start: all records older than the retention, none behind `low_position`.

        Never the last segment. Pass the lowest position that a mapping still needs; `durable` to force it. Raises
        StorageError if the disk refuses; what was removed before is gone.
        """
        if self._closed:
            return []
        removed = await self._in_thread(lambda: self._trim(now_ms - retention_ms, low_position))
        for one in removed:
            self._first_position = one.end
            for shard, (_, behind) in one.numbers.items():
                self.first_number[shard] = behind
        return removed

    async def close(self) -> None:
        """Finish what was appended, and give the folder free."""
        await self._stop(self._writer.close)

    async def delete(self) -> None:
        """Close, and remove all that the log holds: readers find it empty. `open` finishes an interrupted delete."""
        await self._stop(self._delete)

    # -- grouping, on the event loop

    def _admit(self, size: int) -> Group:
        """Return the group that so many bytes join, which is written soon. Raises if they can't be taken now."""
        if self._closed:
            raise StorageError(f"The log in {self._folder} is closed.", "The backend is stopping; try again.")
        if self._waiting_bytes + size > self._pending_bytes_max and self._waiting_bytes:
            raise Throttled("Too many bytes wait for the disk.", "Try again with backoff.")
        group = self._group
        if not group.bytes and not self._busy:
            loop = asyncio.get_running_loop()
            loop.call_soon(self._start, loop)  # what else comes in this turn of the loop joins the group
        group.bytes += size
        self._waiting_bytes += size
        return group

    def _checked(self, parts: dict[int, Part]) -> int:
        """Return how many bytes the parts have; checks each, since a group fails as one."""
        total = 0
        known = self._writer.shards
        for shard, (keys, datas) in parts.items():
            if shard not in known:
                raise UsageError(f"The log has no shard {shard}.", "Use one of next_number's.")
            size = sum(map(len, keys)) + sum(map(len, datas))
            total += size
            if size <= segment.KEY_BYTES_MAX:
                continue  # then no key and no data is out of bounds
            if max(map(len, datas)) > segment.DATA_BYTES_MAX or max(map(len, keys)) > segment.KEY_BYTES_MAX:
                raise UsageError(
                    f"A record has at most {segment.DATA_BYTES_MAX} bytes of data and {segment.KEY_BYTES_MAX} of key.",
                    "Send it in parts.",
                )
        return total

    def _start(self, loop: asyncio.AbstractEventLoop, had: int = 0) -> None:
        """Have the group written that has formed, if it did not grow since it `had` so many bytes, two turns ago."""
        group = self._group
        if self._busy or not group.parts:
            return
        if had < group.bytes < GATHER_BYTES:
            loop.call_soon(loop.call_soon, self._start, loop, group.bytes)
            return
        self._busy = True
        try:
            now_ms = self._now_ms()
            has_room = self._writer.has_room(now_ms)
        except Exception as failure:  # nobody but those who wait for the group would learn of it
            self._write(loop, 0, failure)
            return
        if has_room:
            self._write(loop, now_ms)
        else:
            started = loop.create_task(self._in_thread(lambda: self._writer.start_segment(now_ms)))
            started.add_done_callback(lambda done: self._write(loop, now_ms, done.exception()))

    def _write(self, loop: asyncio.AbstractEventLoop, now_ms: int, error: BaseException | None = None) -> None:
        """Write the group that has formed, and begin its sync; `error` is why it can't be."""
        group, self._group = self._group, Group()
        try:
            if error is not None:
                raise error
            written = self._writer.write(group.parts, now_ms)
            self._sync(loop, lambda error: self._synced(loop, group, written, error))
        except Exception as failure:
            self._finish(loop, group, None, failure)
        else:
            group.number(written)  # while the disk works

    def _sync(self, loop: asyncio.AbstractEventLoop, done: Callable[[OSError | None], None]) -> None:
        file = self._writer.file
        assert file is not None
        if isinstance(file, OsFile) and not self._by_thread:
            try:
                self._kernel_of(loop).start(file.fd, done)
            except OSError:
                self._by_thread = True
            else:
                return
        self._jobs.put(lambda: _tell(loop, done, _failure_of(file.sync)))

    def _kernel_of(self, loop: asyncio.AbstractEventLoop) -> aio.KernelSync:
        if self._kernel is None or self._kernel.loop is not loop:
            if self._kernel is not None:
                self._kernel.close()
            self._kernel = aio.KernelSync(loop)
        return self._kernel

    def _synced(self, loop: asyncio.AbstractEventLoop, group: Group, written: Written, error: OSError | None) -> None:
        if error is not None and not self._by_thread and aio.is_unknown(error):
            self._by_thread = True
            self._sync(loop, lambda error: self._synced(loop, group, written, error))
            return
        try:
            self._writer.synced(written, error)
        except Exception as failure:
            self._finish(loop, group, None, failure)
        else:
            self._finish(loop, group, written, None)

    def _finish(
        self, loop: asyncio.AbstractEventLoop, group: Group, written: Written | None, error: Exception | None
    ) -> None:
        self._busy = False
        self._waiting_bytes -= group.bytes
        self._start(loop)  # the disk works while the answers are written
        waiting: list[Waiter | One] = [waiter for waiter, _ in group.waiting]
        waiting += [one for one, _, _ in group.ones]
        if written is None:
            for waiter in waiting:
                waiter.refused(_copy(error))
        else:
            self.stats.commits += 1
            self.stats.bytes += group.bytes
            self.stats.records += sum(len(part.keys) for part in group.parts.values())
            for waiter in waiting:
                try:
                    waiter.durable()
                except Exception as failure:  # as where it could not make its answer ready
                    waiter.refused(failure)
        if self._drained is not None and not self._busy:
            _resolve(self._drained, None)

    async def _stop(self, last: Callable[[], None]) -> None:
        if self._closed:
            return
        self._closed = True
        if self._busy or self._group.parts:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained
        try:
            await self._in_thread(last)
        finally:
            if self._kernel is not None:
                self._kernel.close()
            self._jobs.put(None)
            self._thread.join()
            self._held.close()

    async def _in_thread(self, call: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                result = call()
            except BaseException as error:
                _tell(loop, lambda error=error: _fail(future, error))
            else:
                _tell(loop, lambda: _resolve(future, result))

        self._jobs.put(work)
        return await future

    # -- in the thread

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _trim(self, before_ms: int, low_position: int) -> list[Removed]:
        removed: list[Removed] = []
        old: list[int] = []
        try:
            for base, end in itertools.pairwise(segment_bases(self._disk.list(self._folder))):
                after = recovery.load_header(self._folder, self._disk, end)
                old.append(base)
                if end > low_position:
                    break
                if after is None:
                    continue  # damaged: the next one tells of both segments
                if any(state.last_arrival_ms >= before_ms for state in after.shards.values()):
                    break
                removed.append(self._remove(old, end, after))
                old = []
            if removed:
                self._disk.sync_folder(self._folder)
        except OSError as error:
            raise storage_error(self._folder, error) from error
        return removed

    def _remove(self, bases: list[int], end: int, after: segment.Header) -> Removed:
        held = self._board.bounds()
        numbers = {shard: (held[shard][0], state.next_number) for shard, state in after.shards.items()}
        for shard, (_, behind) in numbers.items():
            self._board.set_first(shard, behind)
        self._board.first = end  # readers are told before the files go
        for base in bases:
            self._disk.remove(segment_path(self._folder, base))
        return Removed(bases[0], end, numbers)

    def _delete(self) -> None:
        self._writer.close()
        self._board.set_deleted()
        try:
            _remove_all(self._folder, self._disk)
        except OSError as error:
            raise storage_error(self._folder, error) from error


def _board(folder: Path, disk: Disk, held: contextlib.ExitStack) -> Board:
    board = Board(folder, writable=True)
    if board.deleted:
        board.close()
        _remove_all(folder, disk)
        board = Board(folder, writable=True)
    held.callback(board.close)
    return board


def _remove_all(folder: Path, disk: Disk) -> None:
    for base in segment_bases(disk.list(folder)):
        disk.remove(segment_path(folder, base))
    disk.remove(folder / BOARD_FILE)
    disk.sync_folder(folder)


def _failure_of(call: Callable[[], None]) -> OSError | None:
    try:
        call()
    except OSError as error:
        return error
    return None


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: Any) -> None:
    """Have the loop call; one that was closed has nobody who waits."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *arguments)


def _copy(error: Exception | None) -> Exception:
    """Return an error for one of several waiting: each one raised collects a traceback of its own."""
    if isinstance(error, HeadraceError):
        copy = type(error)(error.problem, error.hint)
        copy.__cause__ = error.__cause__
        return copy
    return error or StorageError("The append failed.")


def _resolve(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
