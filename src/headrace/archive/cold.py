"""The cold folder: where the bytes of objects in GLACIER and DEEP_ARCHIVE are. Another disk, or a mounted bucket.

The object `a/b` of a bucket is `<folder>/<bucket>/a/b`. Which folder it is says `cold_folder.py`.
"""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO

from headrace import cold_folder, disk
from headrace.archive.metadata import Cold
from headrace.errors import StorageError

_PART = 1024 * 1024
_LEVEL = 12
_WORTH = 0.95  # packed only where that leaves no more than this


class ColdFolder:
    """The cold folder of the buckets in `buckets`. Raises StorageError where it is not there or refuses."""

    def __init__(self, buckets: Path) -> None:
        self._buckets = buckets

    @property
    def folder(self) -> Path:
        """Return where it is, or would be."""
        return cold_folder.place(self._buckets)

    def check(self) -> None:
        """Raise StorageError unless the folder is there and is the one it should be."""
        cold_folder.check(self._buckets)

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
            packed = sum(map(len, _compressed(source))) <= size * _WORTH
            parts = _compressed(source) if packed else _parts(source)
            disk.write_parts(target, parts, times_ns=(times.st_atime_ns, times.st_mtime_ns))
            cold = Cold(size, digest, packed)
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

    def clean(self, bucket: str, key: str) -> None:
        """Remove what moves that were cut off have left beside an object's place; nobody moves one meanwhile."""
        disk.remove_unfinished(self._path(bucket, key).parent)

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
        import zstandard  # here and below: for what is done now and then, in one process of many

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
    import zstandard

    packing = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj(size=path.stat().st_size)
    for part in _parts(path):
        yield packing.compress(part)
    yield packing.flush()


def _unpacked(path: Path, cold: Cold) -> Iterator[bytes]:
    import zstandard

    if not cold.packed:
        yield from _parts(path)
        return
    with path.open("rb") as reading, zstandard.ZstdDecompressor().stream_reader(reading) as unpacking:
        while part := unpacking.read(_PART):
            yield part
