"""`headrace backup` and `headrace restore`: a data directory copied to one consistent whole while it is at work.

The order makes it fit together. Checkpoints and journalled invokes come first, then what functions have written
(table, archive, failures; cold objects after the others), the log comes last. So table and archive hold at least what
the checkpoints say is done with, and the log holds every record that anything else in the backup knows of. What a
function has done after its checkpoint was copied is done once more after a restore: keys make that harmless, as after a
crash. Closed segments are taken before everything else too, so that retention can't remove meanwhile what the
checkpoints still need.

A backup appears under its name when it is whole, or not at all.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version as installed
from pathlib import Path
from uuid import uuid4

import msgspec

from headrace import clock, cold_folder, disk, rpc
from headrace.archive.metadata import FILE as JOURNAL
from headrace.archive.restores import FOLDER as RESTORED
from headrace.errors import DataDirectoryError, StorageError, UsageError
from headrace.settings import DATA_FORMAT, Layout
from headrace.stream import catalog
from headrace.stream.board import FILE as BOARD
from headrace.stream.reader import Reader
from headrace.stream.writer import segment_bases, segment_path
from headrace.warehouse.engine import FILE as WAREHOUSE
from headrace.warehouse.engine import INCOMING

MANIFEST = "backup.json"
VERSION = 1
_SNAPSHOT_S_MAX = 600.0
_WAREHOUSE_START_S_MAX = 60.0
_LOCKS = ("lock", ".lock", "LOCK")

Copy = Callable[[Path, Path], int]


class Manifest(msgspec.Struct):
    """What a backup says of itself; written last. `files` and `bytes` count everything else in it."""

    version: int
    format: int
    headrace: str
    created_ms: int
    running: bool
    files: int
    bytes: int


def backup(layout: Layout, target: Path) -> Manifest:
    """Copy a data directory, at work or not, to the new folder `target`."""
    data, target = layout.data.resolve(), target.resolve()
    _check_data(layout)
    _check_target(target, "Name a folder that does not exist yet: each backup gets one of its own.")
    for what, folder in ("data directory", data), ("cold folder", cold_folder.place(layout.buckets).resolve()):
        if target.is_relative_to(folder):
            raise UsageError(
                f"{target} lies in the {what} {folder} itself.", "Name a folder outside, best on another disk."
            )
    with _appearing(target) as folder, _held(layout) as running:
        _Backup(layout, folder, running).run()
        files, size = _count(folder)
        manifest = Manifest(VERSION, DATA_FORMAT, installed("headrace"), clock.now_ms(), running, files, size)
        disk.write_file(folder / MANIFEST, msgspec.json.encode(manifest))
    return manifest


def restore(source: Path, data: Path) -> Manifest:
    """Copy a backup to the new data directory `data`, ready for `headrace up`."""
    source, data = source.resolve(), data.resolve()
    manifest = _read_manifest(source)
    _check_target(data, "Name a data directory that does not exist yet: a restore never overwrites one.")
    if data.is_relative_to(source):
        raise UsageError(f"{data} lies in the backup itself.", "Name a folder outside it.")
    files, size = _count(source)
    if (files, size) != (manifest.files, manifest.bytes):
        raise DataDirectoryError(
            f"{source} is not whole: it has {files:,} files of {size:,} bytes instead of {manifest.files:,} of "
            f"{manifest.bytes:,}.",
            "Copy it anew from where it was made, or use another backup.",
        )
    with _appearing(data) as folder:
        _copy_tree(source, folder, disk.copy_file, without=(MANIFEST,))
    return manifest


class _Backup:
    """One backup: into `folder`, which exists and is empty."""

    def __init__(self, layout: Layout, folder: Path, running: bool) -> None:
        self._from = layout
        self._to = Layout(folder)
        self._running = running

    def run(self) -> None:
        """Copy everything, in the order that makes it fit."""
        streams = [path.name for path in _folders(self._from.streams)]
        for name in streams:
            self._copy_log(name, closed_only=True)
        for part in (self._from.checkpoints, self._from.invokes):
            _copy_tree(part, self._to.data / part.name, disk.copy_file)
        self._copy_table()
        # What reports were computed from, before their output; what is under way is computed anew after a restore.
        disk.make_folder(self._to.jobs)
        for job in _folders(self._from.jobs):
            _copy_tree(job, self._to.jobs / job.name, disk.copy_file, without=("work",))
        self._copy_buckets()
        self._copy_warehouse()
        for name in {*streams, *(path.name for path in _folders(self._from.streams))}:
            self._copy_log(name, closed_only=False)
        self._copy_rest()

    def _copy_log(self, stream: str, *, closed_only: bool) -> None:
        """Copy a stream's segments, up to where the log is durable: closed ones are linked, they never change."""
        source, target = self._from.streams / stream, self._to.streams / stream
        reader = Reader(source)
        durable = reader.durable()  # asked before the segments are listed: all of it is in them
        reader.close()
        bases = segment_bases(disk.DISK.list(source))
        if not self._running and bases:  # the board may be old, and nobody writes: the start cuts a torn end off
            durable = max(durable, bases[-1] + segment_path(source, bases[-1]).stat().st_size)
        disk.make_folder(target)
        for at, base in enumerate(bases):
            path, copy = segment_path(source, base), segment_path(target, base)
            if copy.exists() or base >= durable:
                continue
            with contextlib.suppress(FileNotFoundError):  # retention was faster
                if at + 1 < len(bases):
                    _copy_closed(path, copy, bases[at + 1] - base)
                elif not closed_only:
                    disk.copy_file(path, copy, durable - base)
        if not closed_only:
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                disk.copy_file(source / catalog.FILE, target / catalog.FILE)
        disk.DISK.sync_folder(target)

    def _copy_table(self) -> None:
        if not self._running:
            _copy_tree(self._from.table, self._to.table, disk.copy_file)
            return
        client = rpc.Client(self._from.table_socket)
        try:
            client.call("snapshot", str(self._to.table))
        finally:
            client.close()

    def _copy_warehouse(self) -> None:
        """Copy the warehouse's tables, those that users made among them; statements and results stay behind."""
        if not (self._from.warehouse / WAREHOUSE).exists():
            return
        disk.make_folder(self._to.warehouse)
        if not self._running:
            for path in self._from.warehouse.glob(f"{WAREHOUSE}*"):  # and what is not yet merged into it
                disk.copy_file(path, self._to.warehouse / path.name)
            return
        copy = self._from.warehouse / INCOMING / f"backup-{uuid4().hex}.duckdb"
        client = rpc.Client(self._from.warehouse_socket, _WAREHOUSE_START_S_MAX)
        try:
            client.call("copy", str(copy))
            disk.move_file(copy, self._to.warehouse / WAREHOUSE)
        finally:
            client.close()
            copy.unlink(missing_ok=True)

    def _copy_buckets(self) -> None:
        """Copy the buckets, then the cold folder, which lies in the data directory of the copy.

        A folder's journal comes after its objects: one that turns cold meanwhile is then an object, or in the journal.
        Restored copies stay behind: they can be made again.
        """
        _copy_tree(self._from.buckets, self._to.buckets, disk.link_file, without=(cold_folder.FILE, RESTORED))
        cold = cold_folder.place(self._from.buckets)
        if not (self._from.buckets / cold_folder.FILE).exists():
            return
        cold_folder.check(self._from.buckets)
        target = cold_folder.choose(self._to.buckets, None)
        for path in _folders(cold):
            _copy_tree(path, target / path.name, disk.link_file)

    def _copy_rest(self) -> None:
        """Copy what is left: files of the data directory itself, and folders that this version knows nothing of."""
        known = {"streams", "checkpoints", "invokes", "table", "jobs", "s3", "archive", "warehouse", "logs", "run"}
        cold = cold_folder.place(self._from.buckets)
        for path in sorted(self._from.data.iterdir()):
            if path.is_dir() and path.name not in known and path != cold:
                _copy_tree(path, self._to.data / path.name, disk.copy_file)
            elif path.is_file() and not _is_passing(path.name):
                disk.copy_file(path, self._to.data / path.name)
        disk.DISK.sync_folder(self._to.data)


def _copy_closed(path: Path, copy: Path, length: int) -> None:
    """Link a closed segment; where bytes behind its end were given up, copy what counts."""
    if path.stat().st_size > length:
        disk.copy_file(path, copy, length)
    else:
        disk.link_file(path, copy)


def _copy_tree(source: Path, target: Path, copy: Copy, without: tuple[str, ...] = ()) -> None:
    """Copy the files under a folder durably, its journal last; ones that go meanwhile are left out."""
    target.mkdir(exist_ok=True)
    for path in sorted(source.iterdir()) if source.is_dir() else ():
        if path.is_dir() and path.name not in without:
            _copy_tree(path, target / path.name, copy)
        elif path.is_file() and not _is_passing(path.name) and path.name not in (JOURNAL, *without):
            with contextlib.suppress(FileNotFoundError):
                copy(path, target / path.name)
    with contextlib.suppress(FileNotFoundError):
        disk.copy_file(source / JOURNAL, target / JOURNAL)  # never linked: it changes
    disk.DISK.sync_folder(target)


def _is_passing(name: str) -> bool:
    """Return whether a file means something only to the processes that are running."""
    return name in (*_LOCKS, BOARD) or name.startswith(".tmp-")


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _count(folder: Path) -> tuple[int, int]:
    """Return the number of files under a folder, and their bytes, without the manifest."""
    files = size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            if (path := Path(parent, name)) != folder / MANIFEST:
                files, size = files + 1, size + path.stat().st_size
    return files, size


def _check_data(layout: Layout) -> None:
    if not layout.version.exists():
        raise UsageError(
            f"{layout.data} is no data directory of Headrace: it has no {layout.version.name}.",
            "Name the one that `headrace up` was started with: --data DIR, or HEADRACE_DATA.",
        )


def _check_target(target: Path, hint: str) -> None:
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} exists already.", hint)
    if not target.parent.is_dir():
        raise UsageError(f"There is no folder {target.parent}.", "Make it, or name another place.")


def _read_manifest(source: Path) -> Manifest:
    hint = "Name a folder that `headrace backup` has made."
    try:
        manifest = msgspec.json.decode((source / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        raise UsageError(f"{source} is no backup: {MANIFEST} can't be read ({error.strerror}).", hint) from error
    except msgspec.DecodeError as error:
        raise DataDirectoryError(f"{source / MANIFEST} is damaged: {error}.", "Use another backup.") from error
    if manifest.version > VERSION or manifest.format > DATA_FORMAT:
        raise DataDirectoryError(
            f"{source} was made by a newer Headrace ({manifest.headrace}).",
            "Install that version (pip install -U headrace) and restore with it.",
        )
    return manifest


@contextlib.contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """Give a folder to fill; it gets its name at the end, and is removed if something went wrong."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
        folder.chmod(0o755)
        try:
            yield folder
            disk.DISK.sync_folder(folder)
            folder.rename(target)
            disk.DISK.sync_folder(target.parent)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError as error:
        raise disk.storage_error(Path(error.filename or target), error) from error


@contextlib.contextmanager
def _held(layout: Layout) -> Iterator[bool]:
    """Keep the data directory as it is: hold it if nobody does; True if a backend is at work in it."""
    with contextlib.ExitStack() as stack:
        running = False
        try:
            stack.enter_context(disk.locked(layout.data / "lock", "headrace backup"))
        except DataDirectoryError:
            running = True
        except StorageError as error:
            # A disk that has become read-only is what a backup is made of in a hurry: nobody writes there.
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EROFS:
                raise
        yield running
