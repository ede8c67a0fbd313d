"""A bucket in a folder: the object `a/b` is the plain file `a/b` under it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from headrace import disk
from headrace.archive.base import KEY_BYTES_MAX, Bucket, ObjectInfo
from headrace.errors import NotFound, StorageError, UsageError

_TEMPORARY = ".tmp-"  # what disk.write_file has not yet renamed; never an object
_NAME_BYTES_MAX = 255  # of one file or folder name


class LocalBucket(Bucket):
    """The bucket in `folder`, which is made by the first put.

    On top of what S3 refuses, a part of a key between slashes can't be empty, `.`, `..`, start with `.tmp-` or have
    more than 255 bytes, and a key can't be both an object and the folder of others.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: str, body: bytes) -> None:
        """Write an object: a new file, fsynced, renamed over the old one."""
        path = self._path(key)
        try:
            disk.write_file(path, body)
        except StorageError as error:
            if isinstance(error.__cause__, (FileExistsError, NotADirectoryError, IsADirectoryError)):
                raise UsageError(
                    f"{key!r} can't be an object: a part of it already is one, or it is the folder of others.",
                    "Give it another key.",
                ) from error
            raise

    def get(self, key: str) -> bytes:
        """Return an object's content."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFound(f"There is no object {key!r} in {self._folder.name}.", "List the bucket to see.") from None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield objects in key order, one folder's names in memory at a time."""
        return _objects(self._folder, "", prefix)

    def delete(self, key: str) -> None:
        """Delete an object; its folders stay."""
        path = self._path(key)
        try:
            if path.is_file():
                disk.DISK.remove(path)
                disk.DISK.sync_folder(path.parent)
        except OSError as error:
            raise disk.storage_error(path, error) from error

    def _path(self, key: str) -> Path:
        if not _is_key(key):
            raise UsageError(
                f"{key[:100]!r} can't be the key of an object.",
                f"A key has up to {KEY_BYTES_MAX} bytes; its parts between slashes are not empty, `.` or `..`, don't "
                f"start with `.tmp-`, hold no NUL and have up to {_NAME_BYTES_MAX} bytes.",
            )
        return self._folder / key


def _is_key(key: str) -> bool:
    try:
        return len(key.encode()) <= KEY_BYTES_MAX and "\0" not in key and all(map(_is_name, key.split("/")))
    except UnicodeEncodeError:  # a lone surrogate
        return False


def _is_name(part: str) -> bool:
    return part not in ("", ".", "..") and not part.startswith(_TEMPORARY) and len(part.encode()) <= _NAME_BYTES_MAX


def _objects(folder: Path, path: str, prefix: str) -> Iterator[ObjectInfo]:
    """Yield the objects under `folder`, whose own key is `path` (empty, or ending in a slash)."""
    for key, entry in _entries(folder, path):
        if key.endswith("/"):
            if key.startswith(prefix) or prefix.startswith(key):
                yield from _objects(folder / entry.name, key, prefix)
        elif key.startswith(prefix):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                status = entry.stat()
                yield ObjectInfo(key, status.st_size, status.st_mtime_ns // 1_000_000)


def _entries(folder: Path, path: str) -> list[tuple[str, "os.DirEntry[str]"]]:
    """Return a folder's entries in key order: a folder's key ends in a slash, which puts `a.b` before `a/`."""
    try:
        with os.scandir(folder) as found:
            entries = [
                (path + entry.name + ("/" if entry.is_dir() else ""), entry)
                for entry in found
                if not entry.name.startswith(_TEMPORARY)
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(entries, key=lambda entry: os.fsencode(entry[0]))
