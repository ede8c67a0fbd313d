"""The writing end of a log: groups go to the last segment, one write and one sync each. Single owner.

Whoever owns it calls `write`, syncs `file` in the way that suits, and tells `synced` how that went; only then the next
group is written. When the disk refuses, nothing of the group counts: the file is cut back to where the group began,
and the next group is written there. After a failed *sync* nobody knows what of the file's new bytes the system still
holds as written, and a second sync may succeed without writing them: that segment gets no further byte, and the next
group starts a new one. What a segment holds beyond the next one's base is no part of the log.

While groups are small, zeros are written ahead of them: to sync what takes new room the file system has to note that
room, and its journal's write takes half as long again. What is behind the log's end goes when the segment is closed, or
when the next start finds it there.
"""

import contextlib
from pathlib import Path
from typing import NamedTuple

from headrace.disk import Disk, File, storage_error
from headrace.errors import StorageError
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


AHEAD_BYTES = 1024 * 1024  # of zeros
SMALL_BYTES = 64 * 1024  # a group; a larger one costs more by being written twice than by the journal


class Tail(NamedTuple):
    """Where a log ends: what a writer starts from. Without `base` (None) the next group starts a new segment."""

    end: int
    commit: int
    shards: dict[int, ShardState]
    base: int | None = None
    created_ms: int = 0


class Written(NamedTuple):
    """A group that is written and not synced yet: each shard's first number in it and arrival, and where it ends."""

    first_number: dict[int, int]
    arrival_ms: dict[int, int]
    after: dict[int, ShardState]
    end: int


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
        self.file: File | None = None
        if tail.base is not None:
            self.file = disk.open(segment_path(folder, tail.base))
        self.shards = dict(tail.shards)
        self.end = tail.end  # where the next frame goes
        self._length = self.end - self._base  # of the file, with the zeros
        self.durable = tail.end  # behind the last frame: the same, but for a new segment's header

    def has_room(self, now_ms: int) -> bool:
        """Return whether the last segment takes a group; else `start_segment`: it is full, old, or given up."""
        return self.file is not None and (
            self._empty
            or (self.end - self._base < self._segment_bytes and now_ms - self._created_ms < self._segment_age_ms)
        )

    def start_segment(self, now_ms: int) -> None:
        """Go on in a new segment, which is on the medium when this returns. Raises StorageError."""
        file, header_bytes = self._new_segment(now_ms)
        self.close()
        self.file, self._base, self._created_ms, self._empty = file, self.end, now_ms, True
        self._board.tail = self._base
        self.end += header_bytes
        self._length = header_bytes

    def write(self, parts: dict[int, Part], now_ms: int) -> Written:
        """Write one group behind the last one. Raises StorageError: then nothing of it counts."""
        assert self.file is not None
        self._commit += 1  # a number is never used twice, also after a failure
        data, after = segment.encode_group(parts, self.end, self._commit, self.shards, now_ms)
        self._write_ahead(self.file, self.end - self._base, len(data))
        try:
            self.file.write_at(self.end - self._base, data)
        except OSError as error:
            raise self._refused(error, give_up=False) from error
        return Written(
            {shard: self.shards[shard].next_number for shard in after},
            {shard: state.last_arrival_ms for shard, state in after.items()},
            after,
            self.end + len(data),
        )

    def synced(self, written: Written, error: OSError | None) -> None:
        """Take note that a group is on the medium, and publish it. Raises StorageError if its sync failed."""
        if error is not None:
            raise self._refused(error, give_up=True) from error
        self.end = self.durable = written.end
        self._empty = False
        self.shards.update(written.after)
        for shard, state in written.after.items():
            self._board.set_next(shard, state.next_number, state.last_arrival_ms)
        self._board.durable = written.end

    def close(self) -> None:
        """Close the segment's file, without the zeros; a further group needs a new segment."""
        if self.file is not None:
            with contextlib.suppress(OSError):
                self.file.truncate(self.end - self._base)
            with contextlib.suppress(OSError):
                self.file.close()
            self.file = None

    def _write_ahead(self, file: File, start: int, length: int) -> None:
        """See that a small group finds its room; a disk that has none says so when the group is written."""
        end = start + length
        if end <= self._length:
            return
        first, self._length = max(start, self._length), end
        if length >= SMALL_BYTES:
            return
        self._length += AHEAD_BYTES
        try:
            file.write_at(first, bytes(self._length - first))
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(start)  # give back what there was room for

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

    def _refused(self, error: OSError, *, give_up: bool) -> StorageError:
        """Drop what a failed group left behind the log's end; where even that fails, the segment is given up."""
        assert self.file is not None
        path = segment_path(self._folder, self._base)
        self._length = self.end - self._base
        try:
            self.file.truncate(self._length)
        except OSError:
            give_up = True
        if give_up:
            self.close()
        return storage_error(path, error)
