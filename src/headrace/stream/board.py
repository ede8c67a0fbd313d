"""What the owner of a log tells the readers in other processes: the file `durable`, mapped into memory.

It holds how far the log is durable, where its first and last segment start, and each shard's numbers. Every value is
eight bytes, aligned, stored at once, so that no reader sees half of one. The file is not synced: after a power cut
it may be old, never ahead, since a value is stored only when what it tells is on the medium.
"""

import mmap
import os
from pathlib import Path

from headrace.errors import DataDirectoryError

FILE = "durable"
SHARDS_MAX = 8000
_MAGIC = int.from_bytes(b"HRDUR\0\0\1", "big")  # the last byte is the version
_MAGIC_AT, _DURABLE, _TAIL, _FIRST, _SHARDS, _DELETED = range(6)
_SLOTS = 8
_SLOT = 4  # shard, first number, next number, last arrival
_FILE_BYTES = (_SLOTS + _SLOT * SHARDS_MAX) * 8


def _allocate(fd: int) -> None:
    # Every block is taken now: a store into a hole of a mapped file kills the process when the disk is full.
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, _FILE_BYTES)
    size = os.fstat(fd).st_size
    if size < _FILE_BYTES:
        os.pwrite(fd, bytes(_FILE_BYTES - size), size)
    elif size > _FILE_BYTES:
        os.ftruncate(fd, _FILE_BYTES)


class Board:
    """The mapped file. The owner of the log opens it `writable`, one only; readers any number of times."""

    def __init__(self, folder: Path, *, writable: bool = False) -> None:
        path = folder / FILE
        fd = os.open(path, (os.O_RDWR | os.O_CREAT if writable else os.O_RDONLY) | os.O_CLOEXEC, 0o644)
        try:
            if writable:
                _allocate(fd)
            if os.fstat(fd).st_size != _FILE_BYTES:
                raise FileNotFoundError(path)  # being made
            self._map = mmap.mmap(fd, _FILE_BYTES, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
        finally:
            os.close(fd)
        self._bytes = memoryview(self._map)
        self._words = self._bytes.cast("Q")
        self._slots: dict[int, int] = {}
        if self._words[_MAGIC_AT] != _MAGIC:
            self._not_ours(path, writable)

    def _not_ours(self, path: Path, writable: bool) -> None:
        found = self._words[_MAGIC_AT]
        if found >> 8 != _MAGIC >> 8 and writable:
            self._bytes[:] = bytes(_FILE_BYTES)
            self._words[_MAGIC_AT] = _MAGIC
            return
        self.close()
        if found >> 8 != _MAGIC >> 8:
            raise FileNotFoundError(path)  # being made
        raise DataDirectoryError(
            f"{path} is of format {found & 0xFF}; this headrace reads format {_MAGIC & 0xFF}.",
            "Upgrade headrace, or give another --data directory.",
        )

    @property
    def durable(self) -> int:
        """Return the position up to which every byte of the log is on the medium."""
        return self._words[_DURABLE]

    @durable.setter
    def durable(self, position: int) -> None:
        self._words[_DURABLE] = position

    @property
    def tail(self) -> int:
        """Return the base of the last segment."""
        return self._words[_TAIL]

    @tail.setter
    def tail(self, base: int) -> None:
        self._words[_TAIL] = base

    @property
    def first(self) -> int:
        """Return the base of the first segment still held."""
        return self._words[_FIRST]

    @first.setter
    def first(self, base: int) -> None:
        self._words[_FIRST] = base

    @property
    def deleted(self) -> bool:
        """Return whether the stream was deleted: a new one of its name has a board of its own."""
        return bool(self._words[_DELETED])

    def set_deleted(self) -> None:
        """Tell readers that the stream is gone."""
        self._words[_DELETED] = 1

    def set_next(self, shard: int, number: int, arrival_ms: int) -> None:
        """Tell that `shard`'s next record gets `number`, and when its last one arrived."""
        slot = self._slot(shard)
        self._words[slot + 3] = arrival_ms
        self._words[slot + 2] = number

    def set_first(self, shard: int, number: int) -> None:
        """Tell that `shard`'s first record still held is `number`."""
        self._words[self._slot(shard) + 1] = number

    def bounds(self) -> dict[int, tuple[int, int]]:
        """Return shard -> (first number held, next number)."""
        words = self._words
        stop = _SLOTS + _SLOT * words[_SHARDS]
        return {words[at]: (words[at + 1], words[at + 2]) for at in range(_SLOTS, stop, _SLOT)}

    def next_numbers(self) -> dict[int, tuple[int, int]]:
        """Return shard -> (next number, arrival of the last record)."""
        words = self._words
        stop = _SLOTS + _SLOT * words[_SHARDS]
        return {words[at]: (words[at + 2], words[at + 3]) for at in range(_SLOTS, stop, _SLOT)}

    def _slot(self, shard: int) -> int:
        if not self._slots:
            self._slots = {self._words[at]: at for at in range(_SLOTS, _SLOTS + _SLOT * self._words[_SHARDS], _SLOT)}
        slot = self._slots.get(shard)
        if slot is None:
            slot = self._slots[shard] = _SLOTS + _SLOT * len(self._slots)
            self._words[slot] = shard
            self._words[_SHARDS] = len(self._slots)  # a slot counts once it is filled
        return slot

    def close(self) -> None:
        """Unmap the file."""
        self._words.release()
        self._bytes.release()
        self._map.close()
