"""What a log's files say after a stop of any kind: where it ends, how its shards stand, what is damaged.

Only the last group can be torn: each one is on the medium before the next is written. So bytes that are no whole
frame are a *torn tail*, to be cut off, unless a later group begins after them or the board knows them as durable:
then they were acknowledged and are *damage*: kept, told, and skipped.
"""

import contextlib
from pathlib import Path
from typing import NamedTuple

from headrace.disk import Disk, File
from headrace.stream import segment
from headrace.stream.board import Board
from headrace.stream.segment import Damage, Header, ShardState
from headrace.stream.writer import Tail, segment_bases, segment_path

_CHUNK_BYTES = 1024 * 1024


class Recovered(NamedTuple):
    """A log as it was found and made safe: everything before `tail.end` is on the medium."""

    tail: Tail
    bases: list[int]
    first_numbers: dict[int, int]
    damage: list[Damage]


def load_header(folder: Path, disk: Disk, base: int) -> Header | None:
    """Return the header of the segment at `base`; None if it is damaged."""
    path = segment_path(folder, base)
    with contextlib.closing(disk.open(path)) as file:
        header, _ = segment.read_header(file.read_at, path.name)
    return header if header is not None and header.base == base else None


def recover(folder: Path, disk: Disk, board: Board, shards: int) -> Recovered:
    """Find where the log in `folder` ends, cut a torn tail, and have the rest on the medium.

    Raises OSError, or DataDirectoryError for a segment of a newer version.
    """
    bases = segment_bases(disk.list(folder))
    walk = Walk(board.durable)
    created_ms = 0
    for at in _last_with_header(folder, disk, bases, walk):
        limit = bases[at + 1] if at + 1 < len(bases) else None
        header = walk_file(folder, disk, bases[at], limit, walk)
        created_ms = header.created_ms if header else 0
    if walk.never_used is not None:
        bases.remove(walk.never_used)
        disk.remove(segment_path(folder, walk.never_used))
        disk.sync_folder(folder)
    walk.add_board(board)
    states = {shard: ShardState(*walk.shards.get(shard, (0, 0))) for shard in {*range(shards), *walk.shards}}
    base = bases[-1] if bases and walk.never_used is None and not walk.cut_short else None
    tail = Tail(walk.end, walk.commit, states, base, created_ms)
    return Recovered(tail, bases, first_numbers(folder, disk, bases, states), walk.damage)


def first_numbers(folder: Path, disk: Disk, bases: list[int], shards: dict[int, ShardState]) -> dict[int, int]:
    """Return each shard's first number still held, by the first segment's header; its next number if none is held."""
    first = {shard: state.next_number for shard, state in shards.items()}
    if bases:
        header = load_header(folder, disk, bases[0])
        if header is not None:
            return {shard: header.shards[shard].next_number if shard in header.shards else 0 for shard in shards}
        first |= _first_of_frames(folder, disk, bases)
    return first


def _first_of_frames(folder: Path, disk: Disk, bases: list[int]) -> dict[int, int]:
    """Return the first numbers in the first segment, by its frames: for a segment whose header is damaged."""
    first: dict[int, int] = {}
    with contextlib.closing(disk.open(segment_path(folder, bases[0]))) as file:
        window = segment.Window(file.read_at, bases[0], _CHUNK_BYTES)
        position, limit = bases[0], bases[1] if len(bases) > 1 else bases[0] + file.size()
        while (position := window.find_frame(position, limit)) < limit:
            frame = window.frame(position, limit)
            assert frame is not None
            if frame.shard != segment.FILLER:
                first.setdefault(frame.shard, frame.first_number)
            position += segment.FRAME_HEADER_BYTES + frame.body_bytes
    return first


def _last_with_header(folder: Path, disk: Disk, bases: list[int], walk: "Walk") -> range:
    """Return the places in `bases` to walk: from the last segment whose header is whole, which `walk` starts from."""
    for at in reversed(range(len(bases))):
        header = load_header(folder, disk, bases[at])
        if header is not None:
            walk.commit = header.commit
            walk.shards = {shard: (state.next_number, state.last_arrival_ms) for shard, state in header.shards.items()}
            return range(at, len(bases))
    return range(len(bases))


class Walk:
    """Goes over segments' frames and collects how the log stands."""

    def __init__(self, durable: int) -> None:
        self.durable = durable  # the board's word: the truth, or less
        self.shards: dict[int, tuple[int, int]] = {}  # next number, last arrival: a ShardState costs too much here
        self.commit = 0
        self.damage: list[Damage] = []
        self.group = -1  # where the last group starts
        self.end = 0  # behind the last whole frame
        self.cut_short = False  # acknowledged bytes are missing at the end
        self.never_used: int | None = None  # the base of a last segment that was not made to the end

    def frames(self, window: segment.Window, position: int, limit: int) -> None:
        """Walk one segment's frames from `position` up to `limit`: `end` is then that, or where a torn tail starts."""
        self.end, self.group = position, -1
        while self.end < limit:
            frame = window.frame(self.end, limit)
            if frame is None or frame.commit < self.commit:
                after = self._resume(window, self.end, limit)
                if after is None:
                    return
                self.damage.append(Damage(self.end, after, "no frame"))
                self.end = after
                continue
            after = self.end + segment.FRAME_HEADER_BYTES + frame.body_bytes
            if not segment.body_is_whole(frame, window.body(self.end, frame)):
                if after > self.durable and not self._later_group(window, after, limit, self.end):
                    return
                self.damage.append(Damage(self.end, after, "CRC of records", frame.shard, frame.first_number))
            self.commit, self.group = frame.commit, self.end - frame.group_offset
            if frame.shard != segment.FILLER:
                self.shards[frame.shard] = frame.first_number + frame.count, frame.arrival_ms
            self.end = after

    def add_board(self, board: Board) -> None:
        """Never go behind what was published: neither in the log's length nor in any shard's numbers."""
        if self.end < self.durable:
            self.damage.append(Damage(self.end, self.durable, "missing"))
            self.end, self.cut_short = self.durable, True
        for shard, (number, arrival_ms) in board.next_numbers().items():
            walked = self.shards.get(shard, (0, 0))
            self.shards[shard] = max(walked[0], number), max(walked[1], arrival_ms)

    def _resume(self, window: segment.Window, bad: int, limit: int) -> int | None:
        """Return where to read on if what stands at `bad` was acknowledged; None if it is a torn tail."""
        after = window.find_frame(bad + 1, limit)
        if self._later_group(window, after, limit, bad):
            return after
        return min(after, self.durable, limit) if bad < self.durable else None

    def _later_group(self, window: segment.Window, position: int, limit: int, bad: int) -> bool:
        """Return whether from `position` on there is a group begun after `bad`: what is there was durable then."""
        while (position := window.find_frame(position, limit)) < limit:
            frame = window.frame(position, limit)
            assert frame is not None
            if frame.commit > self.commit and position - frame.group_offset > bad:
                return True
            position += segment.FRAME_HEADER_BYTES
        return False


def walk_file(
    folder: Path, disk: Disk, base: int, limit: int | None, walk: Walk, *, settle: bool = True
) -> Header | None:
    """Walk the segment at `base`; the last one (`limit` is None) is then cut to its whole frames and synced.

    Without `settle` nothing is written.
    """
    path = segment_path(folder, base)
    with contextlib.closing(disk.open(path)) as file:
        header, header_bytes = segment.read_header(file.read_at, path.name)
        window = segment.Window(file.read_at, base, _CHUNK_BYTES)
        end, first = base + file.size(), base + header_bytes
        if limit is not None:
            walk.durable = max(walk.durable, limit)  # the next segment was begun: all of this one is acknowledged
            end = min(end, limit)
        if header is None:
            # A header is durable before the first frame is written: with frames it is damage, without it was torn.
            first = window.find_frame(base, end)
            if first >= end and limit is None and walk.durable <= base:
                walk.never_used, walk.end = base, base
                return None
            walk.damage.append(Damage(base, first, "segment header"))
        walk.frames(window, first, end)
        if limit is None and settle:
            _make_durable(file, base, max(walk.group, base) if walk.group != first else base, walk.end)
            disk.sync_folder(folder)
        elif limit is not None and walk.end < limit:
            walk.damage.append(Damage(walk.end, limit, "missing"))
            walk.end = limit
    return header


def _make_durable(file: File, base: int, group: int, end: int) -> None:
    """Cut what is behind `end`; write the last group, from `group` on, again, and sync.

    A sync that failed before this process was started may have left the group in the system's cache and not on the
    medium, though marked as written: only when written again does the next sync carry it out.
    """
    if base + file.size() > end:
        file.truncate(end - base)
    for offset in range(group - base, end - base, _CHUNK_BYTES):
        file.write_at(offset, file.read_at(offset, min(_CHUNK_BYTES, end - base - offset)))
    file.sync()
