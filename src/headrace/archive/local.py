"""A bucket in a folder: the object `a/b` is the plain file `a/b` under it.

A file that is there is the object, whatever else is known of it. Where it is not, its folder's journal (`metadata.py`)
may say that it is cold: then its bytes are in the cold folder (`cold.py`), readable in a copy once it is restored.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from headrace import clock, disk
from headrace.archive.base import (
    COLD_CLASSES,
    KEY_BYTES_MAX,
    NO_TAGS,
    STANDARD,
    Bucket,
    ObjectInfo,
    Restore,
    check_tags,
    invalid_state,
    not_found,
)
from headrace.archive.cold import ColdFolder
from headrace.archive.lifecycle import Upload
from headrace.archive.metadata import FILE as JOURNAL
from headrace.archive.metadata import Cold, Entry, Held, Metadata
from headrace.archive.restores import Restores
from headrace.errors import StorageError, UsageError

_TEMPORARY = ".tmp-"  # what disk.write_file has not yet renamed; never an object
_MARKED_AFTER_MS = 2_000
_NAME_BYTES_MAX = 255  # of one file or folder name


class LocalBucket(Bucket):
    """The bucket in `folder`, which is made by the first put.

    On top of what S3 refuses, a part of a key between slashes can't be empty, `.`, `..`, `.headrace`, start with
    `.tmp-` or have more than 255 bytes, and a key can't be both an object and the folder of others.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._metadata = Metadata()
        self.restores = Restores(folder.parent)
        self.cold = ColdFolder(folder.parent)

    @property
    def name(self) -> str:
        """Return the bucket's name."""
        return self._folder.name

    def put(self, key: str, body: bytes) -> None:
        """Write an object: a new file, fsynced, renamed over the old one."""
        path = self.path(key)
        self._replace(key, lambda: disk.write_file(path, body))

    def put_file(self, key: str, path: Path) -> None:
        """Fsync a file and rename it to its place."""
        target = self.path(key)
        self._replace(key, lambda: disk.move_file(path, target))

    def get(self, key: str) -> bytes:
        """Return an object's content."""
        try:
            return self.path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            pass
        try:
            return Path(self.location(key)).read_bytes()
        except FileNotFoundError:  # deleted meanwhile, or turned cold, or its restored copy has gone
            info = self.find(key)
            raise invalid_state(key, info.storage_class) from None

    def list(
        self, prefix: str = "", *, tags: bool = False, unchanged: Mapping[str, str] = MappingProxyType({})
    ) -> Iterator[ObjectInfo]:
        """Yield objects in key order, one folder's names in memory at a time.

        Folders that still have the mark which `unchanged` says (by their keys' prefix, see `mark`) are passed by.
        """
        for found in self._objects(self._folder, "", prefix, unchanged):
            yield found if tags else found._replace(tags=NO_TAGS)

    def delete(self, key: str) -> None:
        """Delete an object; its folders stay."""
        path = self.path(key)
        if not self._metadata.exists(path.parent):
            self._remove(path)
            return
        with self._metadata.held(path.parent) as held:
            entry = held.get(path.name)
            if entry is not None and entry.cold is not None:
                self.cold.check()  # else its file there would stay for ever
                held.set(path.name, None)  # first: what a cut off move has left must not come back
            self._remove(path)
            held.set(path.name, None)
            if entry is not None and entry.cold is not None:
                self._remove_cold(key)

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """Replace an object's tags: a line in its folder's journal."""
        check_tags(tags)
        path = self.path(key)
        self.find(key)
        with self._metadata.held(path.parent) as held:
            held.set(path.name, msgspec.structs.replace(self.entry(key, held), tags=dict(tags)))

    def tags(self, key: str) -> dict[str, str]:
        """Return an object's tags."""
        return dict(self.find(key).tags)

    def location(self, key: str) -> str:
        """Return the path of an object's file, or of its restored copy."""
        path = self.path(key)
        if path.is_file():
            return str(path)
        info = self.find(key)
        if not info.readable:
            raise invalid_state(key, info.storage_class)
        return str(self.restores.path(self.name, key) if info.storage_class in COLD_CLASSES else path)

    def find(self, key: str) -> ObjectInfo:
        """Return what a listing says of one object, tags included; raises NotFound."""
        path = self.path(key)
        for _ in range(2):  # the second look is for one that was put over a cold one in between
            status = _status(path)
            entry = self._metadata.read(path.parent).entries.get(path.name)
            found = _describe(key, status, entry, self.restores.of(self.name))
            if found is not None:
                return found
        raise not_found(self.name, key)

    def entry(self, key: str, held: Held) -> Entry:
        """Return an object's entry, a new one where it has none that counts; its folder's journal is held.

        Raises NotFound.
        """
        path = self.path(key)
        entry, status = held.get(path.name), _status(path)
        found = _describe(key, status, entry, {})
        if found is None:
            raise not_found(self.name, key)
        if entry is None or entry.created_ms != found.modified_ms:
            return Entry(name=path.name, created_ms=found.modified_ms)
        return entry if status is None else msgspec.structs.replace(entry, storage_class=found.storage_class, cold=None)

    def cold_of(self, key: str) -> Cold | None:
        """Return what has to be known to read an object in the cold folder; None if it is not there."""
        path = self.path(key)
        entry = self._metadata.read(path.parent).entries.get(path.name)
        return entry.cold if entry is not None and not path.is_file() else None

    def held(self, key: str) -> contextlib.AbstractContextManager[Held]:
        """Hold the journal of an object's folder: nobody puts, tags, moves or deletes one in it meanwhile."""
        return self._metadata.held(self.path(key).parent)

    def path(self, key: str) -> Path:
        """Return the file of an object that is not cold; raises UsageError for what can't be a key."""
        if not _is_key(key):
            raise UsageError(
                f"{key[:100]!r} can't be the key of an object.",
                f"A key has up to {KEY_BYTES_MAX} bytes; its parts between slashes are not empty, `.`, `..` or "
                f"`{JOURNAL}`, don't start with `.tmp-`, hold no NUL and have up to {_NAME_BYTES_MAX} bytes.",
            )
        return self._folder / key

    def uploads(self) -> Iterator[Upload]:
        """Yield the puts that were begun and never finished: what a crash has left behind."""
        for folder, _, names in os.walk(self._folder):
            for name in names:
                if name.startswith(_TEMPORARY):
                    path = Path(folder, name)
                    with contextlib.suppress(FileNotFoundError):
                        status = path.stat()
                        key = path.relative_to(self._folder).as_posix()
                        yield Upload(key, name, status.st_mtime_ns // 1_000_000, status.st_size)

    def abort(self, upload: Upload) -> None:
        """Remove what an unfinished put has left."""
        path = self._folder / upload.key
        if path.name.startswith(_TEMPORARY):
            self._remove(path)

    def _replace(self, key: str, write: Callable[[], None]) -> None:
        """Put an object by `write`, and forget what was known of the one before.

        A folder's journal is held for that: who moves objects to the cold folder holds it too. Where there is none, the
        second look finds one that was made meanwhile.
        """
        path = self.path(key)
        with _as_key_error(key):
            written = not self._metadata.exists(path.parent)
            if written:
                write()
                if not self._metadata.exists(path.parent):
                    return
            with self._metadata.held(path.parent) as held:
                if not written or not path.is_file():
                    write()
                entry = held.get(path.name)
                held.set(path.name, None)
                if entry is not None and entry.cold is not None:
                    with contextlib.suppress(StorageError):  # then it stays there, and is no object's any more
                        self._remove_cold(key)

    def _remove(self, path: Path) -> None:
        try:
            if path.is_file():
                disk.DISK.remove(path)
                disk.DISK.sync_folder(path.parent)
        except OSError as error:
            raise disk.storage_error(path, error) from error

    def _remove_cold(self, key: str) -> None:
        """Remove what is left of an object that was cold: its bytes there, and its restored copy."""
        self.restores.end(self.name, key)
        self.cold.remove(self.name, key)

    def mark(self, prefix: str) -> str | None:
        """Return what changes with every put, delete and tag of an object right in the folder that a prefix names.

        None where there is no such folder, and for a while after a change: file systems tell times so coarsely that
        another change could leave the same mark.
        """
        folder = self._folder / prefix
        try:
            status = folder.stat()
            journal = (folder / JOURNAL).stat() if self._metadata.exists(folder) else status
        except FileNotFoundError:
            return None
        changed_ms = max(status.st_mtime_ns, journal.st_mtime_ns) // 1_000_000
        if abs(clock.now_ms() - changed_ms) < _MARKED_AFTER_MS:
            return None
        return f"{status.st_mtime_ns}-{journal.st_ino}-{journal.st_size}-{journal.st_mtime_ns}"

    def _objects(self, folder: Path, path: str, prefix: str, unchanged: Mapping[str, str]) -> Iterator[ObjectInfo]:
        """Yield the objects under `folder`, whose own key is `path` (empty, or ending in a slash)."""
        if path in unchanged and unchanged[path] == self.mark(path):
            return
        names = _names(folder)
        restores = self.restores.of(self.name)
        entries = self._metadata.read(folder).entries if JOURNAL in names else {}
        for key, name in _in_key_order(path, names, entries):
            if key.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._objects(folder / name, key, prefix, unchanged)
            elif key.startswith(prefix):
                file = names.get(name)
                status, entry = None, entries.get(name)
                if file is not None and not file.is_dir():
                    try:
                        status = file.stat()
                    except FileNotFoundError:  # deleted meanwhile, or moved to the cold folder
                        entry = self._metadata.read(folder).entries.get(name)
                found = _describe(key, status, entry, restores)
                if found is not None:
                    yield found


def _status(path: Path) -> os.stat_result | None:
    """Return the status of an object's file; None where there is none, or a folder."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return None if stat.S_ISDIR(status.st_mode) else status


def _describe(
    key: str, status: os.stat_result | None, entry: Entry | None, restores: Mapping[str, Restore]
) -> ObjectInfo | None:
    """Return an object's description by its file, where there is one, and its entry; None if it is not there."""
    if status is not None:
        created_ms = status.st_mtime_ns // 1_000_000
        if entry is None or entry.created_ms != created_ms:
            return ObjectInfo(key, status.st_size, created_ms)
        # A file that is still there although its entry is that of a cold object: the move there was cut off.
        storage_class = STANDARD if entry.cold is not None else entry.storage_class
        return ObjectInfo(key, status.st_size, created_ms, storage_class, tags=entry.tags)
    if entry is None or entry.cold is None:
        return None
    restore = restores.get(key)
    readable = restore is not None and restore.done
    size, created_ms = entry.cold.size, entry.created_ms
    return ObjectInfo(key, size, created_ms, entry.storage_class, readable, entry.tags, restore)


def _is_key(key: str) -> bool:
    try:
        return len(key.encode()) <= KEY_BYTES_MAX and "\0" not in key and all(map(_is_name, key.split("/")))
    except UnicodeEncodeError:  # a lone surrogate
        return False


def _is_name(part: str) -> bool:
    reserved = part in ("", ".", "..", JOURNAL) or part.startswith(_TEMPORARY)
    return not reserved and len(part.encode()) <= _NAME_BYTES_MAX


def _names(folder: Path) -> dict[str, "os.DirEntry[str]"]:
    """Return what is in a folder by name, half-written files left out; nothing where there is no folder."""
    try:
        with os.scandir(folder) as found:
            return {entry.name: entry for entry in found if not entry.name.startswith(_TEMPORARY)}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _in_key_order(
    path: str, names: Mapping[str, "os.DirEntry[str]"], entries: Mapping[str, Entry]
) -> list[tuple[str, str]]:
    """Return keys and names in key order: a folder's key ends in a slash, which puts `a.b` before `a/`."""
    keys = [(path + name + ("/" if file.is_dir() else ""), name) for name, file in names.items() if name != JOURNAL]
    cold = (name for name, entry in entries.items() if entry.cold is not None)
    keys += [(path + name, name) for name in cold if name not in names or names[name].is_dir()]
    return sorted(keys, key=lambda key: os.fsencode(key[0]))


@contextlib.contextmanager
def _as_key_error(key: str) -> Iterator[None]:
    """Say it of the key where a file can't be made because it is a folder, or a folder because it is a file."""
    try:
        yield
    except StorageError as error:
        if isinstance(error.__cause__, FileExistsError | NotADirectoryError | IsADirectoryError):
            raise UsageError(
                f"{key!r} can't be an object: a part of it already is one, or it is the folder of others.",
                "Give it another key.",
            ) from error
        raise
