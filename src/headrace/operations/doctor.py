"""`headrace doctor`: what is wrong with this installation or data directory, and the mend.

Looks only, unless it is asked to repair. Repairing is refused while a backend is at work, and
throws nothing away: what it takes out of the way is kept under `damaged/` in the data directory.
"""

import contextlib
import importlib.util
import os
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headrace import cold_folder, disk, rpc, shapes
from headrace.archive import catalogue, compaction, engine, erasures, metadata, staging
from headrace.archive.catalogue import Catalogue, File
from headrace.archive.lifecycle_log import LifecycleLog
from headrace.archive.local import LocalBucket
from headrace.errors import DataDirectoryError, HeadraceError, InvalidObjectState, NotFound, StorageError
from headrace.plural import counted
from headrace.runtime.checkpoint import Checkpoint
from headrace.settings import DATA_FORMAT, Layout
from headrace.stream import catalog, repair
from headrace.stream.segment import Damage

PYTHON_MIN = (3, 11)
MODULES = ("rocksdict", "uvloop", "httptools", "msgspec", "boto3", "botocore", "zstandard", "yaml", "aws_kinesis_agg")
FILES_MIN = 256
NAMED_MAX = 20  # of what is wrong in one way
FREE_LITTLE = 1024 * 1024 * 1024
_SOCKET_BYTES_MAX = 100
_PUT_BACK = (
    "Put them back from a backup under the same names. Without one, stop the backend and name each of them: "
    "`headrace doctor --give-up KEY` goes on without it, and brings back what raw objects still hold."
)


class Finding(msgspec.Struct, omit_defaults=True):
    """Something that is wrong. `mend` says what to do; `repaired` what was done; `serious` decides the exit code."""

    what: str
    problem: str
    mend: str
    serious: bool = True
    repaired: str | None = None


class Report(msgspec.Struct):
    """What was looked at, and what was found."""

    checked: list[str]
    findings: list[Finding]

    @property
    def well(self) -> bool:
        """Return whether nothing serious is left."""
        return all(one.repaired is not None or not one.serious for one in self.findings)


def examine(layout: Layout | None, *, mend: bool = False, given_up: Iterable[str] = ()) -> Report:
    """Look at the installation, and at a data directory unless it is None.

    With `mend`, what can be repaired is; raises DataDirectoryError if a backend is at work in it. `given_up` are keys
    of compacted files: those of them that are lost are then taken out of the catalogue.
    """
    checked = ["the installation"]
    findings = [*_installation()]
    if layout is not None:
        checked.append(str(layout.data))
        with contextlib.ExitStack() as held:
            if mend and layout.data.is_dir():
                held.enter_context(disk.locked(layout.data / "lock", "headrace doctor"))
            findings += _Examination(layout, mend=mend, given_up=given_up).run()
    return Report(checked, findings)


def _installation() -> Iterator[Finding]:
    if sys.version_info < PYTHON_MIN:
        found = ".".join(map(str, sys.version_info[:3]))
        yield Finding("python", f"This is Python {found}.", "Install Headrace in Python 3.11 or newer.")
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        yield Finding("modules", f"Not installed: {', '.join(missing)}.", "pip install --force-reinstall headrace")
    for service in ("kinesis", "lambda"):
        try:
            shapes.model_file(service)
        except HeadraceError as error:
            yield Finding("model", error.problem, error.hint)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # the gateway takes all it may have
    if limit == resource.RLIM_INFINITY:
        return
    if limit < FILES_MIN:
        yield Finding("open files", f"A process may open {limit} files here.", "Raise the limit: ulimit -n 65536")
    elif limit < 1024:
        mend = "More connections than that need: ulimit -n 65536"
        yield Finding("open files", f"A process may open {limit} files here.", mend, serious=False)


class _Examination:
    """One look at a data directory."""

    def __init__(self, layout: Layout, *, mend: bool, given_up: Iterable[str]) -> None:
        self._layout = layout
        self._mend = mend
        self._given_up = set(given_up) if mend else set()
        self._aside = layout.data / "damaged"

    def run(self) -> Iterator[Finding]:
        """Yield what is wrong; what depends on a thing that is wrong is left out."""
        layout = self._layout
        if not layout.version.exists():
            yield Finding(
                "data directory", f"{layout.data} is no data directory of Headrace: {layout.version.name} is missing.",
                "Name the one that `headrace up` was started with (--data DIR), or restore that file from a backup.",
            )  # fmt: skip
            return
        form = list(self._format())
        yield from form
        yield from self._permissions()
        yield from self._space()
        if form:
            return
        yield from self._processes()
        for folder in _folders(layout.streams):
            yield from self._stream(folder)
        yield from self._checkpoints()
        yield from self._invokes()
        yield from self._table()
        yield from self._buckets()
        yield from self._erasures()
        yield from self._compacted()

    def _format(self) -> Iterator[Finding]:
        path = self._layout.version
        try:
            found = msgspec.json.decode(path.read_bytes(), type=dict[str, int])["format"]
        except (OSError, msgspec.DecodeError, KeyError):
            mend = f'Restore it from a backup; it should read {{"format":{DATA_FORMAT}}}.'
            yield Finding("format", f"{path} is damaged.", mend)
            return
        if found > DATA_FORMAT:
            problem = f"{self._layout.data} is of format {found}; this version knows {DATA_FORMAT}."
            yield Finding("format", problem, "Install the newer version: pip install -U headrace")

    def _permissions(self) -> Iterator[Finding]:
        layout = self._layout
        if disk.room(layout.data).read_only:
            mend = "Remount it for writing; after an error of the file system check that first (fsck)."
            yield Finding("permissions", f"{layout.data} is on a disk that is mounted read-only.", mend)
            return
        folders = [layout.data, layout.streams, layout.checkpoints, layout.invokes, layout.table, layout.buckets]
        files = [*layout.streams.glob("*/*"), *layout.checkpoints.glob("*/*/*"), *layout.buckets.glob("*")]
        for path in (*folders, *files):
            needed = os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)
            if path.exists() and not os.access(path, needed):
                mend = f"Give the user that runs `headrace up` the directory: chown -R USER {layout.data}"
                yield Finding("permissions", f"{path} can't be read and written by this user.", mend)
                return

    def _space(self) -> Iterator[Finding]:
        room = disk.room(self._layout.data)
        if room.free_files == 0:
            yield Finding(
                "disk", f"The disk of {self._layout.data} takes no more files, however much space it has (df -i).",
                "Remove files; writing resumes by itself.",
            )  # fmt: skip
        elif room.free_bytes < FREE_LITTLE:
            yield Finding(
                "disk", f"{room.free_bytes / 1e6:,.0f} MB are free on the disk of {self._layout.data}.",
                "Free space, or shorten the stream's retention; writing resumes by itself.", serious=room.full,
            )  # fmt: skip

    def _processes(self) -> Iterator[Finding]:
        layout = self._layout
        sockets = (layout.table_socket, layout.runtime_socket)
        longest = max(len(os.fsencode(path)) for path in sockets)
        if longest > _SOCKET_BYTES_MAX:
            mend = "Set TMPDIR to a shorter path, such as /tmp."
            yield Finding("sockets", f"The path of the sockets, {layout.sockets}, is too long.", mend)
            return
        if self._mend or not disk.is_locked(layout.data / "lock"):
            left = [path for path in sockets if path.exists()]
            if left:
                done = "removed" if self._mend else None
                for path in left if self._mend else ():
                    path.unlink()
                problem = f"{layout.sockets} has sockets of a backend that was killed."
                yield Finding("sockets", problem, "The next start replaces them.", serious=False, repaired=done)
            return
        for path in sockets:
            client = rpc.Client(path, patience_s=1.0)
            try:
                client.call("ping")
            except HeadraceError as error:
                mend = f"See {layout.logs / path.stem}.log; `headrace up` restarts what ends."
                yield Finding("processes", error.problem, mend)
            finally:
                client.close()

    def _stream(self, folder: Path) -> Iterator[Finding]:
        try:
            if catalog.load(folder) is None:
                catalog.check_empty(folder)
                return
        except DataDirectoryError as error:
            yield Finding("stream", error.problem, error.hint)
            return
        try:
            found = repair.scan(folder)
        except (HeadraceError, OSError) as error:
            yield Finding("log", f"{folder} can't be read: {error}", "Check the disk (dmesg, SMART).")
            return
        for damage in found:
            yield self._damage(folder, damage)

    def _damage(self, folder: Path, damage: Damage) -> Finding:
        numbers = repair.lost(folder, damage)
        where = f"{folder.name}: bytes {damage.position} to {damage.end} of the log ({damage.reason})"
        lost = counted(len(numbers), "record")
        what = f", {lost} of shard {damage.shard} from number {numbers[0]}" if numbers else ""
        mend = "Readers go on around it. Stop the backend and run `headrace doctor --repair` to set it aside."
        repaired = None
        if not repair.can_set_aside(damage):
            mend = "Readers go on around it; there is nothing to do, or restore a backup."
        elif self._mend:
            try:
                repaired = f"set aside in {repair.set_aside(folder, damage, self._aside / 'streams' / folder.name)}"
            except StorageError as error:
                mend = f"It could not be set aside: {error.problem} {error.hint}"
        return Finding("log", f"{where} can't be read{what}.", mend, repaired=repaired)

    def _checkpoints(self) -> Iterator[Finding]:
        mend = "The function then reads its shard anew: stop the backend and run `headrace doctor --repair`."

        def read(path: Path) -> None:
            checkpoint = Checkpoint.open(path, disk.ReadingDisk())
            if checkpoint is not None:
                checkpoint.close()

        yield from self._files("checkpoint", self._layout.checkpoints.glob("*/*/shardId-*"), read, mend)

    def _invokes(self) -> Iterator[Finding]:
        mend = "It is never called: stop the backend and run `headrace doctor --repair`."

        def read(path: Path) -> None:
            msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])["payload"]

        yield from self._files("invoke", self._layout.invokes.glob("*/[!.]*.json"), read, mend)

    def _files(self, what: str, paths: Iterator[Path], read: Callable[[Path], None], mend: str) -> Iterator[Finding]:
        """Yield the files that `read` refuses; a repair moves them out of the way."""
        for path in sorted(paths):
            try:
                read(path)
            except FileNotFoundError:
                continue  # done with meanwhile
            except (HeadraceError, OSError, msgspec.DecodeError, KeyError) as error:
                problem = error.problem if isinstance(error, HeadraceError) else f"{path} can't be read: {error!r}"
                yield Finding(what, problem, mend, repaired=self._move_aside(path) if self._mend else None)

    def _move_aside(self, path: Path) -> str:
        kept = self._aside / path.relative_to(self._layout.data)
        disk.make_folder(kept.parent)
        path.replace(kept)
        disk.DISK.sync_folder(kept.parent)
        disk.DISK.sync_folder(path.parent)
        return f"moved to {kept}"

    def _table(self) -> Iterator[Finding]:
        folder = self._layout.table
        started = (folder / "format.json").exists()
        if started and not (folder / "db" / "CURRENT").exists() and any(self._layout.checkpoints.glob("*/*/*")):
            yield Finding("table", f"{folder / 'db'} holds no table store.", "Restore the data from a backup.")
        elif started and (self._mend or not disk.is_locked(self._layout.data / "lock")):
            with contextlib.suppress(ImportError):  # said of the installation
                from headrace.table import store

                try:
                    store.check(folder)
                except DataDirectoryError as error:
                    yield Finding("table", error.problem, error.hint)

    def _buckets(self) -> Iterator[Finding]:
        """Look at what is known of objects beside their bytes, and whether the cold folder has those it should."""
        layout = self._layout
        cold: Path | None = None
        try:
            if (layout.buckets / cold_folder.FILE).exists():
                cold_folder.check(layout.buckets)
            cold = cold_folder.place(layout.buckets)
        except HeadraceError as error:
            yield Finding("cold folder", error.problem, error.hint)
        missing = []
        for path in sorted(layout.buckets.glob(f"[!.]*/**/{metadata.FILE}")):
            journal = metadata.parse(path.read_bytes())
            if journal.damaged:
                mend = "Tags and storage classes that stood there are lost; cold objects come back from a backup."
                yield Finding("objects", f"{path} has {journal.damaged} lines that can't be read.", mend)
            for entry in journal.entries.values():
                if cold is None or entry.cold is None:
                    continue
                key = path.parent.relative_to(layout.buckets) / entry.name
                if not (layout.buckets / key).exists() and not (cold / key).exists():
                    missing.append(key.as_posix())
        if missing:
            problem = f"{len(missing)} cold objects are not in {cold}, the first is {missing[0]}."
            yield Finding(
                "cold folder", problem, "Put those files back there, from a backup or where they were moved to."
            )

    def _erasures(self) -> Iterator[Finding]:
        """Look for erases that were begun and have not ended, and for lists of them that stop every reader."""
        for path in sorted(self._layout.buckets.glob(f"[!.]*/{erasures.KEY}")):
            try:
                found = erasures.read(LocalBucket(path.parent.parent))
            except DataDirectoryError as error:
                yield Finding("erasures", error.problem, error.hint)
                continue
            for each in found:
                if not each.finished:
                    problem = (
                        f"The device {each.device_id!r} is not erased everywhere: that was begun and has not ended."
                    )
                    mend = "Nothing of it is shown from the archive. Erase it again: headrace devices erase DEVICE"
                    yield Finding("erasures", problem, mend, serious=False)

    def _compacted(self) -> Iterator[Finding]:
        """Look whether the files that the catalogues count are there as they were written, and no others.

        And whether raw objects that are still to be compacted can be.
        """
        for path in sorted(self._layout.buckets.glob(f"[!.]*/{catalogue.PREFIX}")):
            bucket = LocalBucket(path.parent)
            known = catalogue.of(bucket, self._layout.archive)
            log = LifecycleLog(self._layout.lifecycle)
            try:
                known.compacted()
                files = [file for day in known.days() for file in known.manifest(day).files]
                uncounted = compaction.uncounted(bucket, self._layout.archive, known, log)
            except HeadraceError as error:
                yield Finding("archive", error.problem, error.hint)
                continue
            there = {info.key: info for info in bucket.list(catalogue.FILES)}  # later: what is replaced stays a while
            wrong = [file for file in files if file.key not in there or there[file.key].size != file.bytes]
            yield from self._lost(bucket, known, wrong, "missing or cut short")
            yield from self._lost(bucket, known, self._damaged(bucket, set(files) - set(wrong)), "damaged")
            yield from self._raw(bucket)
            if uncounted:
                manifest = f"{catalogue.PREFIX}dt={catalogue.day_of(uncounted[0])}.json"
                yield Finding(
                    "archive",
                    f"Compacted files of {bucket.name} are in no manifest, so nobody reads them{_named(uncounted)}.",
                    f"Was {manifest} deleted or edited? Put it back from a backup.",
                )
        for key in sorted(self._given_up):
            yield Finding("archive", f"{key} is cold, or no lost file.", "Nothing of it was given up.")

    def _raw(self, bucket: LocalBucket) -> Iterator[Finding]:
        found: dict[tuple[str, str], list[str]] = {}
        for info in compaction.pending(bucket, self._layout.archive):
            with contextlib.suppress(NotFound, InvalidObjectState):  # it was removed meanwhile, or is cold
                problem = staging.unpacked(bucket, info.key)
                if isinstance(problem, staging.Problem):
                    found.setdefault((problem.problem, problem.hint), []).append(problem.key)
        for (what, hint), keys in found.items():
            yield Finding(
                "archive", f"Raw objects of {bucket.name} can't be compacted{_named(keys)}. Each {what}.", hint
            )

    def _damaged(self, bucket: LocalBucket, files: Iterable[File]) -> list[File]:
        """Read compacted files from end to end."""
        with engine.connected(self._layout.archive, engine.DEFAULT) as connection:
            return [file for file in sorted(files, key=lambda file: file.key) if _is_damaged(connection, bucket, file)]

    def _lost(self, bucket: LocalBucket, known: Catalogue, files: Iterable[File], what: str) -> Iterator[Finding]:
        """Tell of lost files; those that are given up are moved out of the way."""
        left = []
        for file in files:
            if file.key not in self._given_up or bucket.cold_of(file.key) is not None:
                left.append(file.key)
                continue
            self._given_up.remove(file.key)
            if bucket.path(file.key).is_file():
                self._move_aside(bucket.path(file.key))
            count = compaction.give_up(bucket, known, file)
            events = f"{counted(file.rows, 'event')} of {catalogue.day_of(file.key)}"
            devices = f"devices {file.first_device!r} to {file.last_device!r}"
            done = f"given up; raw objects that may hold some of them are compacted again ({count:,})"
            yield Finding("archive", f"{file.key} is {what}: {events}, {devices}.", _PUT_BACK, repaired=done)
        if left:
            yield Finding("archive", f"Compacted files of {bucket.name} are {what}{_named(left)}.", _PUT_BACK)


def _is_damaged(connection: Any, bucket: LocalBucket, file: File) -> bool:
    """Return whether a compacted file is not what was written; of a cold one it is known what was moved there."""
    cold = bucket.cold_of(file.key)
    if cold is not None and file.sha256 not in (None, cold.sha256):
        return True
    with contextlib.suppress(InvalidObjectState, NotFound):  # it is cold, or was removed meanwhile
        path = bucket.location(file.key)
        return engine.is_damaged(connection, path, file) and Path(path).exists()
    return False


def _named(keys: Sequence[str]) -> str:
    """Return how many there are and which, to go on a sentence."""
    more = f" and {len(keys) - NAMED_MAX:,} more" if len(keys) > NAMED_MAX else ""
    return f" ({len(keys):,}): {', '.join(keys[:NAMED_MAX])}{more}"


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
