"""The durable state of a mapping on one shard: a file of two slots that are written in turn.

The newer of the valid slots counts. A write that a crash tears leaves the other slot, so a checkpoint falls back by
one write at most and is never half of two. The file keeps its size, so a save costs one fdatasync of one block.
"""

import struct
from pathlib import Path
from zlib import crc32

import msgspec

from headrace.disk import DISK, Disk, storage_error, write_file
from headrace.errors import DataDirectoryError
from headrace.runtime.mapping import State

VERSION = 1
SLOT_BYTES = 16 * 1024  # a batch of 10,000 records, all documented, takes 2 KB
_MAGIC = b"HRCP"
_HEADER = struct.Struct("<4sHHQII")  # magic, version, 0, save number, length of the JSON, CRC of all before and of it
_CRC_AT = _HEADER.size - 4


class Checkpoint:
    """One checkpoint file, open. Saves block and must not overlap; `state` is the last one that is durable."""

    def __init__(self, path: Path, disk: Disk, state: State, number: int) -> None:
        self._path = path
        self._file = disk.open(path)
        self._number = number
        self.state = state

    @classmethod
    def open(cls, path: Path, disk: Disk = DISK) -> "Checkpoint | None":
        """Return the checkpoint at `path`; None if there is none. Raises DataDirectoryError if it is damaged."""
        try:
            file = disk.open(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(path, error) from error
        try:
            slots = [_decode(path, file.read_at(at, SLOT_BYTES)) for at in (0, SLOT_BYTES)]
        finally:
            file.close()
        found = max((slot for slot in slots if slot is not None), key=lambda slot: slot[0], default=None)
        if found is None:
            raise DataDirectoryError(
                f"The checkpoint {path} is damaged in both its slots.",
                "Remove the file: the function then reads the stream from its starting position again.",
            )
        return cls(path, disk, found[1], found[0])

    @classmethod
    def create(cls, path: Path, state: State, disk: Disk = DISK) -> "Checkpoint":
        """Make the file durably, all at once, with a first state."""
        write_file(path, _encode(0, state).ljust(2 * SLOT_BYTES, b"\0"))
        return cls(path, disk, state, 0)

    def save(self, state: State) -> None:
        """Return once `state` is durable; on StorageError the state before still is."""
        number = self._number + 1
        try:
            self._file.write_at(number % 2 * SLOT_BYTES, _encode(number, state))
            self._file.sync()
        except OSError as error:
            raise storage_error(self._path, error) from error
        self._number = number
        self.state = state

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _encode(number: int, state: State) -> bytes:
    body = msgspec.json.encode(state)
    head = _HEADER.pack(_MAGIC, VERSION, 0, number, len(body), 0)[:_CRC_AT]
    slot = head + crc32(body, crc32(head)).to_bytes(4, "little") + body
    assert len(slot) <= SLOT_BYTES
    return slot


def _decode(path: Path, slot: bytes) -> tuple[int, State] | None:
    """Return a slot's number and state; None if it is empty or torn. Raises for a slot of a newer version."""
    if len(slot) < _HEADER.size or not slot.startswith(_MAGIC):
        return None
    _, version, _, number, length, crc = _HEADER.unpack_from(slot)
    body = slot[_HEADER.size : _HEADER.size + length]
    if len(body) != length or crc32(body, crc32(slot[:_CRC_AT])) != crc:
        return None
    if version != VERSION:
        raise DataDirectoryError(
            f"The checkpoint {path} is of format {version}; this headrace reads format {VERSION}.",
            "Start the newer headrace that wrote it.",
        )
    return number, msgspec.json.decode(body, type=State)
