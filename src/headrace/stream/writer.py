"""The writing end of a log: groups go to the last segment, one write and one sync each. Blocking, single owner.

When the disk refuses, nothing of the group counts: the file is cut back to where the group began, and the next
group is written there. After a failed *sync* nobody knows what of the file's new bytes the system still holds as
written, and a second sync may succeed without writing them: that segment gets no further byte, and the next group
starts a new one. What a segment holds beyond the next one's base is no part of the log.
"""

import contextlib
from pathlib import Path
from typing import NamedTuple

from headrace.disk import Disk, File, storage_error
from headrace.stream import segment
from headrace.stream.board import Board
from headrace.stream.segment import Header, Part, ShardState


def segment_path(folder: Path, base: int) -> Path:
    """Return the file of the segment that starts at `base`."""
    return folder / f"{base:020d}.segment"


def segment_bases(names: list[str]) -> list[int]:
    """Return the bases of the segments among a folder's names, in order."""
    stems = (name.removesuffix(".segment") for name in names if name.endswith(".segment"))
    return sorted(int(stem) for stem in stems if len(stem) == 20 and stem.isdigit())


class Tail(NamedTuple):
    """Where a log ends: what a writer starts from. Without `base` (None) the next group starts a new segment."""

    end: int
    commit: int
    shards: dict[int, ShardState]
    base: int | None = None
    created_ms: int = 0


class Committed(NamedTuple):
    """A group that is on the medium: each shard's first number in it, and its arrival."""

    first_number: dict[int, int]
    arrival_ms: dict[int, int]


class Writer:
    """Appends groups after `tail`, and publishes on `board` what is durable."""

    def __init__(
        self, folder: Path, disk: Disk, board: Board, stream: str, tail: Tail, segment_bytes: int, segment_age_ms: int
    ) -> None:
        self._folder = folder
        self._disk = disk
        self._board = board
        self._stream = stream
        self._segment_bytes = segment_bytes
        self._segment_age_ms = segment_age_ms
        self._commit = tail.commit
        self._created_ms = tail.created_ms
        self._base = tail.base if tail.base is not None else tail.end
        self._empty = False
        self._file: File | None = None
        if tail.base is not None:
            self._file = disk.open(segment_path(folder, tail.base))
        self.shards = dict(tail.shards)
        self.end = tail.end  # where the next frame goes
        self.durable = tail.end  # behind the last frame: the same, but for a new segment's header

    def commit(self, parts: dict[int, Part], now_ms: int) -> Committed:
        """Append one group; returns when it is on the medium. Raises StorageError: then nothing of it counts."""
        file = self._segment_for(now_ms)
        self._commit += 1  # a number is never used twice, also after a failure
        data, after = segment.encode_group(parts, self.end, self._commit, self.shards, now_ms)
        written = False
        try:
            file.write_at(self.end - self._base, data)
            written = True
            file.sync()
        except OSError as error:
            self._cut_back(file, give_up=written)
            raise storage_error(segment_path(self._folder, self._base), error) from error
        committed = Committed(
            {shard: self.shards[shard].next_number for shard in after},
            {shard: state.last_arrival_ms for shard, state in after.items()},
        )
        self._publish(self.end + len(data), after)
        return committed

    def close(self) -> None:
        """Close the segment's file; a further group would start a new segment."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _publish(self, end: int, after: dict[int, ShardState]) -> None:
        self.end = self.durable = end
        self._empty = False
        self.shards.update(after)
        for shard, state in after.items():
            self._board.set_next(shard, state.next_number, state.last_arrival_ms)
        self._board.durable = end

    def _segment_for(self, now_ms: int) -> File:
        """Return the file to append to, a new segment's if the last one is full, old, or given up."""
        if self._file is not None and (
            self._empty
            or (self.end - self._base < self._segment_bytes and now_ms - self._created_ms < self._segment_age_ms)
        ):
            return self._file
        file, header_bytes = self._new_segment(now_ms)
        self.close()
        self._file, self._base, self._created_ms, self._empty = file, self.end, now_ms, True
        self._board.tail = self._base
        self.end += header_bytes
        return file

    def _new_segment(self, now_ms: int) -> tuple[File, int]:
        """Create the segment that starts at the log's end. Its header is durable before the first frame is written."""
        path = segment_path(self._folder, self.end)
        header = segment.encode_header(Header(self._stream, self.end, now_ms, self._commit, self.shards))
        file: File | None = None
        try:
            file = self._disk.open(path, create=True)
            file.truncate(0)
            file.write_at(0, header)
            file.sync()
            self._disk.sync_folder(self._folder)
        except OSError as error:
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()
                    self._disk.remove(path)
            raise storage_error(path, error) from error
        return file, len(header)

    def _cut_back(self, file: File, *, give_up: bool) -> None:
        """Drop what a failed group left behind the log's end; where even that fails, the segment is given up."""
        try:
            file.truncate(self.end - self._base)
        except OSError:
            give_up = True
        if give_up:
            self.close()
