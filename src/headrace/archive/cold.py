"""The cold folder: where the bytes of objects in GLACIER and DEEP_ARCHIVE are. Another disk, or a mounted bucket.

Each data directory has its own, `<folder>/<bucket>/<key>`. Which one that is stands beside the buckets, with an id that
the folder has in a file of its own: a mount that is missing is so told from an empty cold folder, and is never written.
"""

import uuid
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, TypeVar

import msgspec
import zstandard

from headrace import disk
from headrace.archive.metadata import Cold
from headrace.errors import StorageError, UsageError

FILE = ".cold.json"  # beside the buckets
MARKER = "headrace-cold.json"  # in the cold folder
VERSION = 1
_PART = 1024 * 1024
_LEVEL = 12
_WORTH = 0.95  # packed only where that leaves no more than this

_T = TypeVar("_T")


class _Place(msgspec.Struct):
    """`.cold.json`: the folder, relative to the one of the buckets' parent where it is inside, and its id."""

    version: int
    folder: str
    id: str


class _Marker(msgspec.Struct):
    version: int
    id: str


def choose(buckets: Path, folder: Path | None) -> Path:
    """Make `folder` the cold folder (None: the one there was, else `cold` beside the buckets); return it.

    Raises UsageError if it can't be, so that nothing that is cold is lost sight of.
    """
    data = buckets.parent
    place = _read(buckets / FILE, _Place)
    if folder is None and place is not None:
        return data / place.folder
    folder = (folder or data / "cold").absolute()
    if place is not None and folder == data / place.folder:
        return folder
    if folder.is_relative_to(buckets):
        raise UsageError(f"The cold folder {folder} lies among the buckets.", "Name one outside, best on another disk.")
    marker = _read(folder / MARKER, _Marker)
    if place is not None and (marker is None or marker.id != place.id) and not _is_unused(data / place.folder):
        raise UsageError(
            f"There are cold objects in {data / place.folder}, and {folder} does not have them.",
            f"Move that folder there with all that is in it, or go on with --cold-dir {data / place.folder}.",
        )
    if marker is not None and (place is None or marker.id != place.id):
        raise UsageError(
            f"{folder} is the cold folder of another data directory.", "Name one of its own: --cold-dir DIR."
        )
    if marker is None:
        marker = _Marker(VERSION, uuid.uuid4().hex)
        try:
            disk.write_file(folder / MARKER, msgspec.json.encode(marker))
        except StorageError as error:
            raise UsageError(
                f"The cold folder can't be used: {error.problem}",
                "Mount it for writing, or name another: --cold-dir DIR.",
            ) from error
    inside = folder.relative_to(data) if folder.is_relative_to(data) else folder
    disk.write_file(buckets / FILE, msgspec.json.encode(_Place(VERSION, str(inside), marker.id)))
    return folder


def _is_unused(folder: Path) -> bool:
    """Return whether a cold folder is there and holds nothing."""
    try:
        return disk.DISK.list(folder) == [MARKER]
    except OSError:
        return False


def _read(path: Path, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None


class ColdFolder:
    """The cold folder of the buckets in `buckets`. Raises StorageError where it is not there or refuses."""

    def __init__(self, buckets: Path) -> None:
        self._buckets = buckets

    @property
    def folder(self) -> Path:
        """Return where it is, or would be."""
        place = _read(self._buckets / FILE, _Place)
        return self._buckets.parent / (place.folder if place is not None else "cold")

    def check(self) -> None:
        """Raise StorageError unless the folder is there and is the one it should be."""
        place = _read(self._buckets / FILE, _Place)
        if place is None:
            choose(self._buckets, None)
            return
        folder = self._buckets.parent / place.folder
        marker = _read(folder / MARKER, _Marker)
        if marker is None:
            raise StorageError(
                f"The cold folder {folder} is not there: it has no {MARKER} that can be read.",
                "Mount its disk; nothing is moved or deleted there before. If it is elsewhere now: up --cold-dir DIR.",
            )
        if marker.id != place.id:
            raise StorageError(
                f"{folder} is not the cold folder of this data directory: its id is another.",
                "Mount the right disk there, or name the right folder: up --cold-dir DIR.",
            )

    def store(self, source: Path, bucket: str, key: str) -> Cold:
        """Copy a file there, durably, and read it back; return what has to be known to get it again.

        It is compressed where that saves, and only if it comes back byte for byte. It keeps its time of creation.
        """
        self.check()
        target = self._path(bucket, key)
        try:
            disk.make_folder(target.parent)
            times = source.stat()
            with source.open("rb") as reading:
                size, digest = _measure(reading)
            cold = Cold(size, digest, packed=True)
            packed = disk.write_parts(target, _compressed(source), times_ns=(times.st_atime_ns, times.st_mtime_ns))
            if packed > size * _WORTH:
                cold = Cold(size, digest)
                disk.write_parts(target, _parts(source), times_ns=(times.st_atime_ns, times.st_mtime_ns))
            disk.forget_cached(target)
            self._verify(target, cold)
        except OSError as error:
            raise disk.storage_error(target, error) from error
        return cold

    def fetch(self, bucket: str, key: str, cold: Cold, target: Path) -> None:
        """Write a cold object's bytes to a file, durably, once they have proved to be the ones that were stored."""
        self.check()
        source = self._path(bucket, key)
        try:
            self._verify(source, cold)
            disk.make_folder(target.parent)
            disk.write_parts(target, _unpacked(source, cold))
        except OSError as error:
            raise disk.storage_error(source, error) from error

    def holds(self, bucket: str, key: str) -> bool:
        """Return whether there is a file for an object."""
        return self._path(bucket, key).is_file()

    def remove(self, bucket: str, key: str) -> None:
        """Remove an object's file durably; a missing one is fine."""
        self.check()
        path = self._path(bucket, key)
        try:
            if path.exists():
                disk.DISK.remove(path)
                disk.DISK.sync_folder(path.parent)
        except OSError as error:
            raise disk.storage_error(path, error) from error

    def _path(self, bucket: str, key: str) -> Path:
        return self.folder / bucket / key

    def _verify(self, path: Path, cold: Cold) -> None:
        try:
            size, digest = 0, sha256()
            for part in _unpacked(path, cold):
                size += len(part)
                digest.update(part)
        except zstandard.ZstdError:
            size = -1
        if size != cold.size or digest.hexdigest() != cold.sha256:
            raise StorageError(
                f"{path} is damaged: it does not have the content that was stored.",
                "Check that disk (dmesg, SMART), and put the file back from a backup.",
            )


def _measure(reading: IO[bytes]) -> tuple[int, str]:
    size, digest = 0, sha256()
    while part := reading.read(_PART):
        size += len(part)
        digest.update(part)
    return size, digest.hexdigest()


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as reading:
        while part := reading.read(_PART):
            yield part


def _compressed(path: Path) -> Iterator[bytes]:
    packing = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj(size=path.stat().st_size)
    for part in _parts(path):
        yield packing.compress(part)
    yield packing.flush()


def _unpacked(path: Path, cold: Cold) -> Iterator[bytes]:
    if not cold.packed:
        yield from _parts(path)
        return
    with path.open("rb") as reading, zstandard.ZstdDecompressor().stream_reader(reading) as unpacking:
        while part := unpacking.read(_PART):
            yield part
