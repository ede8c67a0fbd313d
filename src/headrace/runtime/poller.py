"""Follows one shard for one mapping: gathers a batch, journals it, has it called, and does what the rules say.

What is written when: the batch and the number of its failed calls before each call; what a call has led to with the
next batch's journal entry, or at once if there is no next batch yet. Any error that is not the function's (the disk
refuses, no process can be started) pauses this shard alone and counts no attempt.
"""

import asyncio
import itertools
import logging
import random
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import msgspec

from headrace import clock
from headrace.archive.base import Bucket
from headrace.errors import HeadraceError
from headrace.plural import counted
from headrace.record import shard_id
from headrace.runtime import batch_journal, failures, kinesis_event, mapping
from headrace.runtime.batch_journal import BatchJournal
from headrace.runtime.checkpoint import Checkpoint
from headrace.runtime.kinesis_event import Source
from headrace.runtime.mapping import Gathering, Outcome, Span, State
from headrace.runtime.messages import Batch, Call, Reply
from headrace.runtime.pool import Pool
from headrace.runtime.streams import WatchedStream
from headrace.stream.reader import FrameInfo, Reader
from headrace.system import Mapping

FAULT_PAUSE_S = (0.2, 10.0)  # first and longest, after an error that is not the function's
_RECORD_INDEX_BYTES = 10  # of a frame's body, a record: what is neither key nor data
_READ_BYTES_MAX = 64 * 1024 * 1024
# Between the starts of two batches of a shard, unless the second is full: a batch costs more than a record.
PACE_S = 0.05
LOOK_AGAIN_S = 1.0
WINDOW_LOOK_S = 0.1  # while a batching window runs: what it may add to the window

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Piece(NamedTuple):
    """Where records of the batch stand in the log: `size` of them from `first` on, in the frame at `position`."""

    first: int
    size: int
    arrival_ms: int
    position: int
    end: int  # where to look for what follows


class Services(NamedTuple):
    """What pollers share."""

    disk_threads: Executor
    bucket: Callable[[str], Bucket]
    now_ms: Callable[[], int] = clock.now_ms
    journal: BatchJournal | None = None


class Poller:
    """One mapping on one shard. `run` goes on until `stop`."""

    def __init__(
        self, rules: Mapping, stream: WatchedStream, source: Source, path: Path, pool: Pool, services: Services
    ) -> None:
        self.rules = rules
        self.source = source
        self.error: str | None = None
        self._failing = ""  # why the last call failed, if it did
        self._stream = stream
        self._path = path
        self._pool = pool
        self._services = services
        self._reader = Reader(stream.folder)
        self._record_bytes = kinesis_event.record_bytes(source)
        self._checkpoint: Checkpoint | None = None
        self._state: State
        self._pieces: list[Piece] = []
        self._looked = 0  # up to this position the shard has nothing beyond the pieces
        self._begun_s = 0.0  # when the last batch was begun
        self._stopping = asyncio.Event()
        self._awake = asyncio.Event()  # ends a pause

    @property
    def durable(self) -> State | None:
        """Return the state that a restart would find; None before the starting position is known."""
        return self._checkpoint.state if self._checkpoint is not None else None

    @property
    def trouble(self) -> str | None:
        """Return what keeps this shard from getting on, in a line; None if nothing does."""
        if self.error is not None:
            return f"{shard_id(self.source.shard)}: {' '.join(self.error.split())}"
        state = self.durable
        if state is None or not state.calls or not self._failing:
            return None
        batch = f"{shard_id(self.source.shard)}, {counted(state.count, 'record')} from number {state.next}"
        return f"{batch}, call {state.calls}: {self._failing}"

    def bounds(self) -> tuple[int, int]:
        """Return the shard's first number held and its next number."""
        return self._reader.bounds().get(self.source.shard, (0, 0))

    def age_ms(self) -> int:
        """Return how long ago the oldest record that is not done with arrived; 0 if there is none."""
        state = self.durable
        if state is None or self.bounds()[1] <= state.next:
            return 0
        frame = next(self._frames(state.position, state.next, 1), None)
        return max(0, self._services.now_ms() - frame.arrival_ms) if frame is not None else 0

    def low_position(self) -> int:
        """Return the position in the log from which on a restart would need records."""
        durable_end = self._reader.durable()  # asked first: what comes after it stays
        state = self.durable
        if state is None:
            return 0
        return durable_end if state.next >= self.bounds()[1] else state.position

    async def open_existing(self) -> None:
        """Read the checkpoint if there is one, for the books alone."""
        self._checkpoint = await self._in_thread(Checkpoint.open, self._path)

    def stop(self) -> None:
        """Finish the call under way, then `run` returns."""
        self._stopping.set()
        self._awake.set()
        self._stream.wake()

    def hurry(self) -> None:
        """End the pause before the next try: its cause may be mended."""
        self._awake.set()

    async def open(self, starting_position: str) -> None:
        """Read the checkpoint, or make it at the starting position; does nothing the second time."""
        if self._checkpoint is None:
            found = await self._in_thread(Checkpoint.open, self._path)
            if found is None:
                state = self._first_state(starting_position)
                found = await self._in_thread(Checkpoint.create, self._path, state)
            self._checkpoint, self._state = found, found.state

    async def run(self, starting_position: str) -> None:
        """Follow the shard until `stop`."""
        pause_s = FAULT_PAUSE_S[0]
        while not self._stopping.is_set():
            try:
                await self.open(starting_position)
                while not self._stopping.is_set():
                    await self._step()
                    if self.error is not None:
                        self.error, pause_s = None, FAULT_PAUSE_S[0]
            except Exception as error:
                expected = isinstance(error, (HeadraceError, OSError))
                self.error = str(error) if expected else f"{type(error).__name__}: {error}"
                place = shard_id(self.source.shard)
                _log.warning("%s on %s: %s", self.rules.function, place, self.error, exc_info=not expected)
                await self._sleep(pause_s)
                pause_s = min(FAULT_PAUSE_S[1], pause_s * 2)
        if self._checkpoint is not None:
            await self._save()

    def close(self) -> None:
        """Close the files; nothing is saved."""
        if self._checkpoint is not None:
            self._checkpoint.close()
        self._reader.close()

    async def _step(self) -> None:
        """Do the next thing: settle what is given up, gather a batch, or call the one under way."""
        if self._state.ending is not None:
            await self._settle()
        elif self._state.count == 0:
            await self._gather()
        else:
            await self._call()

    async def _call(self) -> None:
        self._skip_gap()
        state = self._state
        if state.count == 0:
            return  # the log has lost the batch's head meanwhile
        self._find_pieces()
        spans = [Span(piece.size, piece.arrival_ms) for piece in self._pieces]
        now_ms = self._services.now_ms()
        if old := mapping.too_old(self.rules, spans, now_ms):
            self._state = mapping.aged(state, old, now_ms, str(uuid4()))
            return
        await self._save()
        request_id = str(uuid4())
        call = Call(request_id, self._pool.function.timeout_s, batch=self._batch(state))
        began_s = clock.monotonic_s()
        reply = await self._pool.invoke_mapped(call)
        outcome = _outcome(reply)
        self._journal(state, request_id, now_ms, began_s, reply)
        after = mapping.after(self.rules, state, outcome, self._services.now_ms(), request_id)
        self._state = self._placed(after)
        if outcome.failed or outcome.reported is not None:
            await self._save()
            if after.ending is None:
                await self._sleep(self._pause_s())

    def _journal(self, state: State, request_id: str, started_ms: int, began_s: float, reply: Reply) -> None:
        """Note the call for `headrace trace` and `status`; the records' fate does not depend on it."""
        duration_ms = round((clock.monotonic_s() - began_s) * 1000, 1)
        entry = batch_journal.entry_of(self.source, state, request_id, started_ms, duration_ms, reply)
        self._failing = entry.detail if entry.result == batch_journal.FAILED else ""
        if self._services.journal is not None:
            self._services.journal.note(self.rules.function, entry)

    def _batch(self, state: State) -> Batch:
        return Batch(
            str(self._stream.folder),
            self.source.stream,
            self.source.shard,
            self.source.shard_created_s,
            self._pieces[0].position if self._pieces else state.position,
            state.next,
            state.count,
            self.rules.report_item_failures,
        )

    def _pause_s(self) -> float:
        """Return how long to wait before the next call; not beyond the time the batch gets too old."""
        pause_ms = mapping.pause_ms(self._state, random.random())  # noqa: S311
        if self.rules.record_age_s_max >= 0 and self._pieces:
            left_ms = self._pieces[0].arrival_ms + self.rules.record_age_s_max * 1000 - self._services.now_ms() + 1
            pause_ms = max(0, min(pause_ms, left_ms))
        return pause_ms / 1000

    # -- a new batch

    async def _gather(self) -> None:
        """Wait for records and begin a batch: when it is full, or its window is over."""
        gathering = Gathering(self.rules, self._record_bytes)
        self._pieces = []
        window_ends_s: float | None = None
        while not self._stopping.is_set():
            seen = self._reader.durable()
            if gathering.count == 0:
                self._skip_gap()
            self._collect(gathering)
            if not gathering.full:
                self._looked = seen  # nothing of this shard is left before it
            now_s = clock.monotonic_s()
            if gathering.count and window_ends_s is None:
                window_ends_s = max(now_s + self.rules.window_s, self._begun_s + PACE_S)
            if window_ends_s is not None and (gathering.full or now_s >= window_ends_s):
                self._begun_s = now_s
                self._state = mapping.begin(self._state, gathering.count)
                return
            await self._save()
            if window_ends_s is None:
                await self._stream.grown(seen, LOOK_AGAIN_S)
            else:
                await self._sleep(min(WINDOW_LOOK_S, window_ends_s - now_s))

    def _skip_gap(self) -> None:
        """Count what the log has lost before the next record as expired; tell if the log ends before it."""
        first, following = self.bounds()
        if first > self._state.next:
            self._state = mapping.skip(self._state, first)
            self._pieces, self._looked = [], 0
        if following < self._state.next and self.error is None:
            self.error = (
                f"The checkpoint {self._path} is at record {self._state.next} of a log that ends at {following}: "
                "the log was replaced by another. Remove the checkpoint to read this one from the starting position."
            )
            _log.warning("%s: %s", self.rules.function, self.error)

    def _collect(self, gathering: Gathering) -> None:
        """Add what has come since to the batch being gathered."""
        last = self._pieces[-1] if self._pieces else None
        number = last.first + last.size if last is not None else self._state.next
        position = max(self._looked, last.end if last is not None else self._state.position)
        for frame in self._frames(position, number, mapping.PAYLOAD_BYTES_MAX):
            if frame.first_number > number:  # damage or removal: a batch's numbers have no gap
                if gathering.count:
                    gathering.full = True
                    return
                self._state = mapping.skip(self._state, frame.first_number)
                number = frame.first_number
            number += self._take(gathering, frame, number)
            if gathering.full:
                return

    def _take(self, gathering: Gathering, frame: FrameInfo, number: int) -> int:
        """Add a frame's records from `number` on; return how many were taken."""
        available = frame.first_number + frame.count - number
        content = frame.body_bytes - _RECORD_INDEX_BYTES * frame.count
        if gathering.fits(frame.count, content):
            taken = gathering.add(available, frame.arrival_ms, content)
        else:
            records, _ = self._reader.records(frame.position, frame.shard, number, available, _READ_BYTES_MAX)
            sizes = [len(record.key.encode()) + len(record.data) for record in records]
            taken = gathering.add_each(sizes or [0] * available, frame.arrival_ms)
        if taken:
            whole = taken == available
            self._pieces.append(
                Piece(number, taken, frame.arrival_ms, frame.position, frame.end if whole else frame.position)
            )
        return taken

    # -- the batch under way

    def _find_pieces(self) -> None:
        """Know where the batch under way stands in the log: it may come from a checkpoint, or be a part of one."""
        start, end = self._state.next, self._state.next + self._state.count
        known = self._pieces
        if not (known and known[0].first <= start and known[-1].first + known[-1].size >= end):
            frames = itertools.takewhile(
                lambda frame: frame.first_number < end, self._frames(self._state.position, start, _READ_BYTES_MAX)
            )
            known = [Piece(f.first_number, f.count, f.arrival_ms, f.position, f.end) for f in frames]
        self._pieces = [_cut(piece, start, end) for piece in known if _meets(piece, start, end)]

    def _placed(self, state: State) -> State:
        """Return the state with the position at which its next record is to be looked for."""
        position = state.position
        for piece in self._pieces:
            if piece.first <= state.next:
                position = piece.position if state.next < piece.first + piece.size else piece.end
        return msgspec.structs.replace(state, position=position) if position != state.position else state

    async def _settle(self) -> None:
        """Write the document of what is given up, then move on. Each step is durable before the next."""
        await self._save()
        self._find_pieces()
        bucket, key = await self._in_thread(self._write_document, self._state)
        ending = self._state.ending
        assert ending is not None
        _log.warning(
            "%s: %d records of %s given up (%s): %s in the bucket %s",
            self.rules.function, ending.count, shard_id(self.source.shard), ending.condition, key, bucket,
        )  # fmt: skip
        self._state = self._placed(mapping.settled(self._state))
        await self._save()

    def _write_document(self, state: State) -> tuple[str, str]:
        """Put the document of the state's ending into the bucket; in a thread, so with a reader of its own."""
        assert state.ending is not None
        reader = Reader(self._stream.folder)
        end = state.next + state.ending.count
        try:
            found, _ = reader.records(
                state.position, self.source.shard, state.next, state.ending.count, _READ_BYTES_MAX
            )
        finally:
            reader.close()
        records = [record for record in found if record.number < end]
        document = failures.batch_document(self.rules, self.source, state.next, state.ending, records)
        name = self.rules.failures_bucket or failures.DEFAULT_BUCKET
        self._services.bucket(name).put(document.key, document.body)
        return name, document.key

    # -- small things

    def _first_state(self, starting_position: str) -> State:
        number, position = self._reader.first_number(self.source.shard), 0
        if starting_position == "LATEST":
            number, position = self.bounds()[1], self._reader.durable()
        elif starting_position == "AT_TIMESTAMP" and self.rules.starting_timestamp_ms is not None:
            number, position = self._reader.find_time(self.source.shard, self.rules.starting_timestamp_ms)
        return State(start=number, next=number, position=position)

    def _frames(self, position: int, number: int, limit_bytes: int) -> Any:
        return self._reader.next_frames(position, self.source.shard, limit_bytes, number=number)

    async def _save(self) -> None:
        assert self._checkpoint is not None
        if self._state is not self._checkpoint.state:
            await self._in_thread(self._checkpoint.save, self._state)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._services.disk_threads, work, *arguments)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
                if not self._stopping.is_set():
                    self._awake.clear()
        except TimeoutError:
            return


def _meets(piece: Piece, start: int, end: int) -> bool:
    return piece.first < end and piece.first + piece.size > start


def _cut(piece: Piece, start: int, end: int) -> Piece:
    """Return the part of a piece between two numbers."""
    first, behind = max(piece.first, start), min(piece.first + piece.size, end)
    whole_end = piece.end if behind == piece.first + piece.size else piece.position
    return piece._replace(first=first, size=behind - first, end=whole_end)


def _outcome(reply: Reply) -> Outcome:
    """Return a worker's reply as the rules see it; raises if the function was not called at all."""
    if reply.not_called is not None:
        raise HeadraceError(f"The log can't be read: {reply.not_called}")
    return Outcome(
        failed=reply.error or reply.bad_answer is not None,
        function_error=mapping.UNHANDLED if reply.error else None,
        reported=reply.reported,
        documented=reply.documented,
        lost=reply.lost,
    )
