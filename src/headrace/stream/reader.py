"""Reading a stream's log from any process: no lock, no state on disk, only what is durable.

A *position* is a place between two frames; 0 is the start. One that lies before the first segment still held counts as
that segment's start: records removed meanwhile show as a jump in the numbers. A `Reader` belongs to one thread.
"""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from headrace.disk import DISK, storage_error
from headrace.record import Record
from headrace.stream import segment
from headrace.stream.board import Board
from headrace.stream.segment import FRAME_HEADER_BYTES, Damage, Frame
from headrace.stream.writer import segment_bases, segment_path

FRAMES_BYTES = 16 * 1024 * 1024
_CHUNK_BYTES = 4096  # what a hop reads: small frames share a read, and beside large ones it costs little
_MARK_BYTES = 1024 * 1024
_OPEN_FILES_MAX = 8
_DAMAGE_MAX = 100

_Stand = tuple[int, int]  # of a shard: its next number, its last arrival
_NEVER: _Stand = (0, 0)
_NO_END: _Stand = (2**64, 2**64)

_Place = tuple[int, Frame, "_Segment"]


class FrameInfo(NamedTuple):
    """Where a frame stands, and what is in it. `end` is the position behind it."""

    position: int
    shard: int
    count: int  # type: ignore[assignment]  # not tuple.count
    first_number: int
    arrival_ms: int
    body_bytes: int
    end: int


class _Segment:
    """A segment's file, open for as long as somebody refers to it."""

    def __init__(self, path: Path, base: int) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        header, length = segment.read_header(self.read, path.name)
        states = header.shards if header is not None else {}
        self.shards = {shard: (state.next_number, state.last_arrival_ms) for shard, state in states.items()}
        self.first = base + length  # a damaged header counts as a damaged frame
        self.window = segment.Window(self.read, base, _CHUNK_BYTES)
        self._marks = [(self.first, self.shards)]  # how the shards stood at some places, for `mark`

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def read(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._fd, length, offset)
        except OSError as error:
            raise storage_error(self._path, error) from error

    def mark(self, shard: int, passed: Callable[[int, int], bool], limit: int) -> int:
        """Return a position to start from for the first frame after which `shard` stands so that `passed` holds.

        The first look into a part of the segment walks its frames; later ones are at most _MARK_BYTES from their aim.
        """
        while not passed(*self._marks[-1][1].get(shard, _NEVER)) and self._add_mark(limit):
            pass
        at = bisect_right(self._marks, False, key=lambda mark: passed(*mark[1].get(shard, _NEVER)))
        return self._marks[max(at - 1, 0)][0]

    def _add_mark(self, limit: int) -> bool:
        start, before = self._marks[-1]
        position, shards, stop = start, dict(before), min(limit, start + _MARK_BYTES)
        frame_at = self.window.frame
        while position < stop:
            frame = frame_at(position, limit)
            if frame is None:
                position = self.window.find_frame(position + 1, limit)
                continue
            shards[frame.shard] = frame.first_number + frame.count, frame.arrival_ms
            position += FRAME_HEADER_BYTES + frame.body_bytes
        if position >= limit:
            return False
        self._marks.append((position, shards))
        return True


class Reader:
    """Reads one stream's log, from its folder, which may still be missing or empty.

    `damage` lists what was met that can't be read (the first hundred places); it was skipped.
    """

    def __init__(self, folder: Path) -> None:
        self.damage: list[Damage] = []
        self._folder = folder
        self._board: Board | None = None
        self._listed = (-1, -1)  # the first and last segment by the board when `_bases` was read
        self._bases: list[int] = []
        self._open: dict[int, _Segment] = {}  # the least recently opened first
        self._bodies: dict[int, tuple[int, segment.Body]] = {}  # shard -> position, body of a frame read in part

    def durable(self) -> int:
        """Return the position up to which records can be read; 0 while there is no log."""
        board = self._live_board()
        return board.durable if board is not None else 0

    def bounds(self) -> dict[int, tuple[int, int]]:
        """Return shard -> (first number held, next number), as of now, without a look at any segment."""
        board = self._live_board()
        return board.bounds() if board is not None else {}

    def first_number(self, shard: int) -> int:
        """Return the first number of a shard that is still held; its next number if none is."""
        return self.bounds().get(shard, (0, 0))[0]

    def next_frames(
        self, position: int, shard: int, limit_bytes: int = FRAMES_BYTES, *, number: int = 0
    ) -> Iterator[FrameInfo]:
        """Yield a shard's frames that hold `number` or later ones, as far as they are durable now; headers only.

        `position` is where to look first (see `records`). Ends with the frame that has the bodies reach `limit_bytes`.
        """
        for at, frame, _ in self._frames_of(position, shard, number, self.durable()):
            end = at + FRAME_HEADER_BYTES + frame.body_bytes
            yield FrameInfo(at, shard, frame.count, frame.first_number, frame.arrival_ms, frame.body_bytes, end)
            limit_bytes -= frame.body_bytes
            if limit_bytes <= 0:
                return

    def records(self, position: int, shard: int, number: int, count: int, bytes_max: int) -> tuple[list[Record], int]:
        """Return up to `count` records of a shard, from `number` on, and the position to go on from.

        `position` is that of the frame with `number`, or any before it; a wrong one costs time, never a record. Keys
        and data stay within `bytes_max`, but one record comes whatever its size. Records are in order; a jump in the
        numbers is what was removed or damaged. An empty list means that there is no such record yet.
        """
        durable = self.durable()
        records: list[Record] = []
        for at, frame, file in self._frames_of(position, shard, number, durable):
            wanted = max(number, frame.first_number)
            more, size, whole = self._read(at, frame, file, wanted, count - len(records), bytes_max, not records)
            records += more
            bytes_max -= size
            if not whole:
                return records, at
            if len(records) >= count or bytes_max <= 0:
                return records, at + FRAME_HEADER_BYTES + frame.body_bytes
        return records, durable

    def find(self, shard: int, number: int) -> int:
        """Return the position of the frame with the first record of at least `number`; `durable` if there is none."""
        durable = self.durable()
        for at, _, _ in self._wanted(self._seek_number(shard, number, durable), shard, number, durable):
            return at
        return durable

    def find_time(self, shard: int, arrival_ms: int) -> tuple[int, int]:
        """Return (number, position) of the first record that arrived at `arrival_ms` or later; the next one if none."""
        board = self._live_board()
        if board is None:
            return 0, 0
        durable, following = board.durable, board.bounds().get(shard, (0, 0))[1]
        start = self._seek(shard, lambda _, arrived: arrived >= arrival_ms, durable)
        for at, frame, _ in self._frames(start, shard, durable):
            if frame.arrival_ms >= arrival_ms:
                return frame.first_number, at
        return following, durable

    def close(self) -> None:
        """Close every file; the reader can be used again."""
        self._open.clear()
        self._bodies.clear()
        self._bases, self._listed = [], (-1, -1)
        if self._board is not None:
            self._board.close()
            self._board = None

    # -- frames

    def _frames_of(self, position: int, shard: int, number: int, durable: int) -> Iterator[_Place]:
        """Yield a shard's frames that hold `number` or later ones, looking from `position` on first."""
        frames = self._wanted(self._skip(position, shard, number), shard, number, durable)
        first = next(frames, None)
        if position > 0 and (number < first[1].first_number if first else number < self.bounds().get(shard, (0, 0))[1]):
            # Removed, damaged, or the position was behind the number's: the segments know.
            sure = self._seek_number(shard, number, durable)
            if sure < (first[0] if first else position):
                frames = self._wanted(sure, shard, number, durable)
                first = next(frames, None)
        if first is not None:
            yield first
            yield from frames

    def _wanted(self, position: int, shard: int, number: int, durable: int) -> Iterator[_Place]:
        for place in self._frames(position, shard, durable):
            frame = place[1]
            if frame.first_number + frame.count > number:
                yield place

    def _frames(self, position: int, shard: int, durable: int) -> Iterator[_Place]:
        """Yield a shard's frames from `position` up to `durable`, over segment ends and damage."""
        start = position
        while position < durable:
            file, limit = self._segment_at(position, durable)
            if file is None:
                return
            position = max(position, file.first)
            while position < limit:
                position, frame = file.window.next_frame(shard, position, limit)
                if frame is not None:
                    yield position, frame, file
                    position += FRAME_HEADER_BYTES + frame.body_bytes
                elif position < limit:
                    position = self._pass_damage(file, position, limit, position == start)

    def _pass_damage(self, file: _Segment, position: int, limit: int, asked_for: bool) -> int:
        """Return where to read on, given that no frame is at `position`."""
        after = file.window.find_frame(position + 1, limit)
        if asked_for:  # is there a frame's end at all, or does the caller's position lie within one?
            walk = file.first
            while walk < position and (frame := file.window.frame(walk, limit)) is not None:
                walk += FRAME_HEADER_BYTES + frame.body_bytes
            if walk > position:
                return after
        self._tell(Damage(position, after, "no frame"))
        return after

    def _read(
        self, at: int, frame: Frame, file: _Segment, number: int, count: int, bytes_max: int, first: bool
    ) -> tuple[list[Record], int, bool]:
        """Return a frame's records from `number` on within the bounds, their bytes, and whether that is its rest."""
        kept = self._bodies.pop(frame.shard, None)
        if kept is not None and kept[0] == at:
            body = kept[1]
        else:
            data = file.window.body(at, frame)
            if frame.flags or not segment.body_is_whole(frame, data):
                return self._read_damaged(at, frame, data, number, count)
            body = segment.open_body(frame, data)
        records, size = segment.decode_records(frame, body, number, count, bytes_max, at_least=1 if first else 0)
        whole = number + len(records) >= frame.first_number + frame.count
        if not whole:
            self._bodies[frame.shard] = at, body
        return records, size, whole

    def _read_damaged(
        self, at: int, frame: Frame, body: bytes, number: int, count: int
    ) -> tuple[list[Record], int, bool]:
        """Do as `_read` for a body with damage in it; a frame is small enough to leave the bound on bytes aside."""
        readable, lost = segment.decode_damaged(frame, body)
        end = at + FRAME_HEADER_BYTES + frame.body_bytes
        for place in lost if not frame.flags & segment.LOSSY else ():
            self._tell(Damage(at, end, "CRC of a record", frame.shard, place))
        rest = [record for record in readable if record.number >= number]
        records = rest[:count]
        return records, sum(len(record.data) for record in records), len(records) == len(rest)

    def _tell(self, damage: Damage) -> None:
        if len(self.damage) < _DAMAGE_MAX and damage not in self.damage:
            self.damage.append(damage)

    # -- segments

    def _skip(self, position: int, shard: int, number: int) -> int:
        """Return a later segment's start if `position` lies in one that ends before `number`."""
        self._list()
        at = bisect_right(self._bases, position)
        if number and at < len(self._bases) and self._stand(at, shard)[0] <= number:
            places = range(len(self._bases))
            passed = bisect_right(places, number, at, key=lambda place: self._stand(place, shard)[0])
            return self._bases[passed - 1]
        return position

    def _seek_number(self, shard: int, number: int, durable: int) -> int:
        return self._seek(shard, lambda following, _: following > number, durable)

    def _seek(self, shard: int, passed: Callable[[int, int], bool], durable: int) -> int:
        """Return a position before the first frame of `shard` after which `passed` holds, and not far before."""
        self._list()
        if not self._bases:
            return 0
        at = bisect_right(range(len(self._bases)), False, key=lambda place: passed(*self._stand(place, shard)))
        base = self._bases[max(at - 1, 0)]
        file, limit = self._segment_at(base, durable)
        return file.mark(shard, passed, limit) if file is not None else base

    def _stand(self, place: int, shard: int) -> _Stand:
        """Return how a shard stood at the start of the segment at `place`; never less than it was.

        Where the header is damaged, the next one tells: to look too early costs time, too late would cost records.
        """
        for base in self._bases[place:]:
            file = self._file(base)
            if file is not None and file.shards:
                return file.shards.get(shard, _NEVER)
        return _NO_END

    def _segment_at(self, position: int, durable: int) -> tuple["_Segment | None", int]:
        """Return the segment that holds `position`, or the first one held after it, and where its frames end."""
        while True:
            self._list()
            at = max(bisect_right(self._bases, position) - 1, 0)
            if at >= len(self._bases) or self._bases[at] >= durable:
                return None, 0
            file = self._file(self._bases[at])
            if file is not None:
                return file, min(self._bases[at + 1] if at + 1 < len(self._bases) else durable, durable)
            self._listed = (-1, -1)  # removed meanwhile

    def _file(self, base: int) -> _Segment | None:
        file = self._open.get(base)
        if file is None:
            try:
                file = _Segment(segment_path(self._folder, base), base)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise storage_error(segment_path(self._folder, base), error) from error
            if len(self._open) >= _OPEN_FILES_MAX:
                del self._open[next(iter(self._open))]
            self._open[base] = file
        return file

    def _list(self) -> None:
        """Know the segments: the folder is read only when the board tells of another first or last one."""
        board = self._live_board()
        if board is not None and (listed := (board.first, board.tail)) != self._listed:
            first, last = listed
            self._bases = [base for base in segment_bases(DISK.list(self._folder)) if first <= base <= last]
            self._open = {base: file for base, file in self._open.items() if base >= first}
            self._listed = listed if self._bases else (-1, -1)  # the first segment is still to come

    def _live_board(self) -> Board | None:
        board = self._board
        if board is None or board.deleted:
            self.close()
            try:
                board = Board(self._folder)
            except FileNotFoundError:
                return None
            if board.deleted:
                board.close()
                return None
            self._board = board
        return board
