"""The only place that opens, fsyncs and renames durable files.

A durable file is written beside its name, fsynced, renamed over it, and its folder is fsynced: the only order that
survives a power cut. Append-only files (the log) and slot files (checkpoints) go through `File`, so that a test can
put a faulty disk in its place.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol
from uuid import uuid4

from headrace import clock
from headrace.errors import DataDirectoryError, StorageError

if os.name == "posix":
    import fcntl

FULL_BYTES = 64 * 1024 * 1024  # a disk with less is as good as full: the table's memory has to become files
_COPY_BYTES = 1024 * 1024
_TEMPORARY = ".tmp-"
_PAUSE_S = 0.2  # between two looks at a lock
_data_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


class File(Protocol):
    """A durable file: what the log needs of a disk. Raises OSError as the operating system does."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset` (bytes)."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end of the file."""

    def sync(self) -> None:
        """Return once everything written before is on the medium."""

    def truncate(self, length: int) -> None:
        """Cut the file to `length` bytes."""

    def size(self) -> int:
        """Return the length in bytes."""

    def close(self) -> None:
        """Close; does not sync."""


class Disk(Protocol):
    """Where durable files live. `OsDisk` is the real one; tests have a faulty one."""

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open for reading and writing; `create` makes the file if it is missing (call `sync_folder` after)."""

    def sync_folder(self, folder: Path) -> None:
        """Return once the folder's entries (creations, renames, removals) are on the medium."""

    def remove(self, path: Path) -> None:
        """Remove a file; missing is fine."""

    def list(self, folder: Path) -> list[str]:
        """Return the names in a folder, sorted."""


class OsFile:
    """A `File` on the operating system."""

    def __init__(self, path: Path, flags: int) -> None:
        self.fd = os.open(path, flags | os.O_CLOEXEC, 0o644)

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`, however many calls it takes."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self.fd, view, offset)
            view = view[written:]
            offset += written

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`."""
        return os.pread(self.fd, length, offset)

    def sync(self) -> None:
        """Flush data (and the length) to the medium."""
        _data_sync(self.fd)

    def truncate(self, length: int) -> None:
        """Cut the file."""
        os.ftruncate(self.fd, length)

    def size(self) -> int:
        """Return the length in bytes."""
        return os.fstat(self.fd).st_size

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)


class OsDisk:
    """The real disk."""

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open for reading and writing."""
        return OsFile(path, os.O_RDWR | (os.O_CREAT if create else 0))

    def sync_folder(self, folder: Path) -> None:
        """Flush a folder's entries."""
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove(self, path: Path) -> None:
        """Remove a file; missing is fine."""
        path.unlink(missing_ok=True)

    def list(self, folder: Path) -> list[str]:
        """Return the names in a folder, sorted; a missing folder is empty."""
        return sorted(os.listdir(folder)) if folder.exists() else []


class ReadingDisk(OsDisk):
    """The real disk, only looked at: files open on a disk that is mounted read-only, too."""

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open for reading alone."""
        return OsFile(path, os.O_RDONLY)


DISK = OsDisk()


_lasting: set[Path] = set()  # folders that this process knows to be on the medium


def make_folder(folder: Path) -> None:
    """Create a folder and its parents durably.

    One that is there may have been made just now, by a process that has not synced its name yet or was killed before
    it could: so each process does that once. Who made it has synced its parents before.
    """
    is_there = folder.is_dir()
    if is_there and (folder in _lasting or folder.is_mount()):
        return
    if not is_there:
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
    with contextlib.suppress(PermissionError):  # where this user makes no folders
        DISK.sync_folder(folder.parent)
    _lasting.add(folder)


def write_file(path: Path, body: bytes) -> None:
    """Write a whole file durably and all at once: a reader sees the old content or the new, never a part.

    Raises StorageError with the operating system's reason; the old content then still stands.
    """
    try:
        make_folder(path.parent)
        fd, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        DISK.sync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error


def write_parts(path: Path, parts: Iterable[bytes], *, times_ns: tuple[int, int] | None = None) -> int:
    """Write a file from its parts, durably and all at once; return its length. Raises OSError.

    `times_ns` are the times of access and modification that it gets. The folder must be there.
    """
    fd, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            length = sum(file.write(part) for part in parts)
            file.flush()
            if times_ns is not None:
                os.utime(file.fileno(), ns=times_ns)
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    DISK.sync_folder(path.parent)
    return length


def remove_unfinished(folder: Path) -> None:
    """Remove what writes that were cut off have left in a folder; nobody writes a file there meanwhile."""
    try:
        for left in folder.glob(f"{_TEMPORARY}*"):
            left.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from error


def forget_cached(path: Path) -> None:
    """Have the next read of a file come from the medium, where the system can do that."""
    if hasattr(os, "posix_fadvise"):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def move_file(source: Path, target: Path) -> None:
    """Give a finished file its durable place, all at once; on another disk it is copied there first.

    Its time of modification becomes now. Raises StorageError; both files then still are as they were.
    """
    try:
        make_folder(target.parent)
        os.utime(source)
        _sync_file(source)
        try:
            os.replace(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with source.open("rb") as reading:
                write_parts(target, iter(lambda: reading.read(_COPY_BYTES), b""))
            os.unlink(source)
        DISK.sync_folder(target.parent)
    except OSError as error:
        raise storage_error(target, error) from error


def _sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def held_file(path: Path) -> Iterator[File]:
    """Open a durable file to change it, alone among all processes and threads; it is made if it is missing.

    Whoever else asks waits. One that was replaced or removed while this one waited is opened anew.
    """
    while True:
        file = OsFile(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(file.fd, fcntl.LOCK_EX)
            if _is_at(file.fd, path):
                if file.size() == 0:  # new, perhaps by somebody who has not come to this yet
                    DISK.sync_folder(path.parent)
                yield file
                return
        finally:
            file.close()


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def sync_file(path: Path) -> None:
    """Return once a file that somebody else has written, and its name, are on the medium; raises StorageError."""
    try:
        _sync_file(path)
        DISK.sync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error


def copy_file(source: Path, target: Path, length: int | None = None) -> int:
    """Copy a file's first `length` bytes (None: all it has now) to a new file, durably; return how many there were.

    It keeps its time of modification, which is an object's time of creation. The target's folder must be there; sync it
    when everything is in it. Raises OSError.
    """
    with source.open("rb") as reading, target.open("xb") as writing:
        left = os.fstat(reading.fileno()).st_size if length is None else length
        copied = 0
        while chunk := reading.read(min(left - copied, _COPY_BYTES)):
            copied += writing.write(chunk)
        writing.flush()
        status = os.fstat(reading.fileno())
        os.utime(writing.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(writing.fileno())
    return copied


def link_file(source: Path, target: Path) -> int:
    """Give a file that never changes a second name, or copy it where that can't be; return its length."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise
        return copy_file(source, target)
    return target.stat().st_size


class Room(NamedTuple):
    """What a disk still takes; `free_files` is None where a file system does not count them."""

    free_bytes: int
    free_files: int | None
    full: bool
    read_only: bool


def room(folder: Path) -> Room:
    """Return what the disk of a folder still takes."""
    found = os.statvfs(folder)
    free_bytes = found.f_bavail * found.f_frsize
    free_files = found.f_favail if found.f_files else None
    full = free_bytes < FULL_BYTES or free_files == 0
    return Room(free_bytes, free_files, full, bool(found.f_flag & os.ST_RDONLY) or _refuses_files(folder))


def _refuses_files(folder: Path) -> bool:
    """Return whether a disk that counts as writable is read-only: newer kernels leave it so after an error."""
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600))  # nameless, and gone
    except OSError as error:
        return error.errno == errno.EROFS
    except AttributeError:  # not on Linux
        pass
    return False


def storage_error(path: Path, error: OSError) -> StorageError:
    """Return the StorageError that tells an operator what to do about `error`."""
    hints = {
        errno.ENOSPC: "Free space on this disk; writing resumes by itself.",
        errno.EDQUOT: "The quota is used up: raise it or free space; writing resumes by itself.",
        errno.EROFS: "The disk is read-only: remount it for writing, or give another --data directory.",
        errno.EACCES: "Give this user write permission, or another --data directory.",
        errno.EMFILE: "Too many open files: raise the limit (ulimit -n).",
    }
    if error.errno == errno.ENOSPC:
        with contextlib.suppress(OSError):
            if room(path.parent).free_files == 0:
                hints[errno.ENOSPC] = "The disk takes no more files (df -i): remove some; writing resumes by itself."
    reason = os.strerror(error.errno) if error.errno else str(error)
    return StorageError(f"{path}: {reason}.", hints.get(error.errno or 0, "Check the disk (dmesg, SMART)."))


@contextlib.contextmanager
def locked(path: Path, owner: str, patience_s: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock on `path` for as long as the context lasts; it ends with the process.

    Raises DataDirectoryError if another process still holds it after `patience_s`.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        if not _is_taken(fd, patience_s):
            holder = os.pread(fd, 200, 0).decode(errors="replace").strip()
            raise DataDirectoryError(
                f"{path.parent} is in use by {holder or 'another process'}.",
                "Stop that one first, or give another --data directory.",
            )
        with contextlib.suppress(OSError):  # the text is only for people: a full disk does not cost the lock
            os.ftruncate(fd, os.pwrite(fd, f"{owner} (pid {os.getpid()})".encode(), 0))
        yield
    finally:
        os.close(fd)


def _is_taken(fd: int, patience_s: float) -> bool:
    """Take the lock on a file; return False if another process still has it after so long."""
    until_s = clock.monotonic_s() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic_s() >= until_s:
                return False
            clock.sleep(_PAUSE_S)
        else:
            return True


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock on `path`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)


@contextlib.contextmanager
def work_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder that is gone afterwards; what processes that were killed have left in `parent` goes as well.

    What is in it need not last. Raises StorageError.
    """
    with contextlib.ExitStack() as stack:
        try:
            make_folder(parent)
            with held_file(parent / "lock"):  # between the making of a folder and its lock nobody removes it
                for left in parent.iterdir():
                    if left.is_dir() and not is_locked(left / "lock"):
                        shutil.rmtree(left, ignore_errors=True)
                work = parent / uuid4().hex
                work.mkdir()
                stack.enter_context(locked(work / "lock", "its process"))
        except OSError as error:
            raise storage_error(parent, error) from error
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        yield work
