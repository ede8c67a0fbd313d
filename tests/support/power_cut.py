"""What a power cut may leave of a folder, on a disk that only keeps what was synced.

    with recording(folder, lambda: promise) as cuts:
        ...                      # what changes files, in this thread
    for cut in cuts:
        cut.restore(other)       # what a cut at one moment may have left; cut.promise is of that moment

A file's content is kept once the file was synced, a name once its folder was; all else may be kept or lost, each thing
on its own. Of what is not synced at a moment these states are tried: nothing of it is kept, all, one thing, all but one
thing, and all with a part of one file's content. Those that differ in nothing but unfinished files' content are one.
"""

import contextlib
import functools
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from headrace import disk

_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "os.utime"}
_current: "_Recorder | None" = None

Entries = dict[str, int]  # names of a folder, and the inodes they stand for


class Content(NamedTuple):
    """Of a file."""

    body: bytes
    modified_ns: int


class Cut(NamedTuple):
    """A state: files by path, folders with None. For people: the change it was before, and what was kept unsynced."""

    before: str
    kept: str
    tree: dict[str, Content | None]
    promise: Any

    def restore(self, folder: Path) -> None:
        """Make `folder`, which must not be there, what was left."""
        folder.mkdir(parents=True)
        for name, content in sorted(self.tree.items()):
            path = folder / name
            if content is None:
                path.mkdir()
            else:
                path.write_bytes(content.body)
                os.utime(path, ns=(content.modified_ns, content.modified_ns))


class _Recorder:
    def __init__(self, root: Path, promise: Callable[[], Any], is_same: Callable[[str], bool]) -> None:
        self.cuts: list[Cut] = []
        self._root, self._promise, self._is_same = root, promise, is_same
        self._held: dict[int, int] = {}  # a descriptor an inode, so that its number is not given to another
        self._folders: dict[int, Entries] = {}
        self._files: dict[int, Content] = {}
        self._look()
        self._safe_folders, self._safe_files = dict(self._folders), dict(self._files)
        self._seen: set[int] = set()
        self._busy = False

    def before(self, change: str) -> None:
        """Note what a cut would leave now."""
        if self._busy:
            return
        self._busy = True
        try:
            self._look()
            for kept, tree in self._states():
                promise = self._promise()
                there = {(path, None if "/.tmp-" in path else content) for path, content in tree.items()}
                key = hash((frozenset(each for each in there if not self._is_same(each[0])), promise))
                if key not in self._seen:
                    self._seen.add(key)
                    self.cuts.append(Cut(change, kept, tree, promise))
        finally:
            self._busy = False

    def synced(self, fd: int) -> None:
        """Take in that a file or folder was synced."""
        number = os.fstat(fd).st_ino
        if number in self._files:
            self._safe_files[number] = self._files[number]
        if number in self._folders:
            self._safe_folders[number] = self._folders[number]

    def close(self) -> None:
        """Let go of inodes."""
        for fd in self._held.values():
            os.close(fd)

    def _look(self) -> None:
        folders, files = {}, {}
        for folder, _, _ in os.walk(self._root):
            names: Entries = {}
            for entry in os.scandir(folder):
                fd = self._held.get(entry.inode())
                if fd is None:
                    fd = self._held[entry.inode()] = os.open(entry.path, os.O_RDONLY)
                status = os.fstat(fd)
                names[entry.name] = status.st_ino
                if stat.S_ISREG(status.st_mode):
                    files[status.st_ino] = Content(os.pread(fd, status.st_size, 0), status.st_mtime_ns)
            folders[Path(folder).stat().st_ino] = names
        self._folders, self._files = {**self._folders, **folders}, {**self._files, **files}

    def _states(self) -> Iterator[tuple[str, dict[str, Content | None]]]:
        pending: list[tuple[int, str]] = []
        for number, names in self._folders.items():
            safe = self._safe_folders.get(number, {})
            pending += ((number, name) for name in {**safe, **names} if safe.get(name) != names.get(name))
        pending += ((number, "") for number, now in self._files.items() if self._safe_files.get(number) != now)
        yield "nothing", self._tree(set(), {})
        yield "all", self._tree(set(pending), {})
        for one in pending if len(pending) > 1 else ():
            what = one[1] or "a content"
            yield what, self._tree({one}, {})
            yield f"all but {what}", self._tree(set(pending) - {one}, {})
        for number, name in pending:
            if not name:
                old, new = self._safe_files.get(number, Content(b"", 0)), self._files[number]
                for body in _torn(old.body, new.body):
                    part = {number: Content(body, new.modified_ns)}
                    yield "all but a part of a content", self._tree(set(pending), part)

    def _tree(self, kept: set[tuple[int, str]], parts: dict[int, Content]) -> dict[str, Content | None]:
        tree: dict[str, Content | None] = {}

        def add(number: int, path: str) -> None:
            safe, now = self._safe_folders.get(number, {}), self._folders[number]
            for name in {**safe, **now}:
                found = (now if (number, name) in kept else safe).get(name)
                if found is None:
                    continue
                if found in self._folders:
                    tree[path + name] = None
                    add(found, f"{path}{name}/")
                elif found in parts:
                    tree[path + name] = parts[found]
                elif (found, "") in kept or found in self._safe_files:
                    tree[path + name] = self._files[found] if (found, "") in kept else self._safe_files[found]
                else:
                    tree[path + name] = Content(b"", self._files[found].modified_ns)

        add(self._root.stat().st_ino, "")
        return tree


def _torn(old: bytes, new: bytes) -> list[bytes]:
    """Return contents between two: the length alone, half of what is new, and the end without the middle."""
    same = len(old) if new.startswith(old) else 0
    half = (same + len(new)) // 2
    return [new[:same] + bytes(len(new) - same), new[:half], new[:same] + bytes(half - same) + new[half:]]


@contextlib.contextmanager
def recording(
    folder: Path, promise: Callable[[], Any] = lambda: None, is_same: Callable[[str], bool] = lambda path: False
) -> Iterator[list[Cut]]:
    """Record states; what is there now counts as synced. `is_same` says of paths that they make no difference."""
    global _current
    _hooked()
    _current = recorder = _Recorder(folder, promise, is_same)
    synced = os.fsync, disk._data_sync

    def sync(fd: Any) -> None:
        recorder.before("sync")
        recorder.synced(fd)

    os.fsync = disk._data_sync = sync
    try:
        yield recorder.cuts
        recorder.before("the end")
    finally:
        _current = None
        os.fsync, disk._data_sync = synced
        recorder.close()


@functools.cache
def _hooked() -> None:
    sys.addaudithook(_hook)  # for good


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _current is not None and event in _CHANGES:
        _current.before(f"{event} {' '.join(Path(str(each)).name for each in arguments[:2])}")
