"""A disk that fails as disks do: it fills up, its syncs fail, and when power is cut it drops what was not synced.

Files are kept in the real folder as the operating system shows them (its cache), so that readers see them, and in
memory as they are on the medium. `sync` brings the changed 512-byte pages to the medium. A sync that fails forgets
that they were changed, as Linux does: the next one succeeds and does not write them.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PAGE_BYTES = 512


@dataclass
class Medium:
    """One file: its bytes on the medium, in the cache, and which pages of the cache the medium lacks."""

    synced: bytes = b""
    cached: bytearray = field(default_factory=bytearray)
    dirty: set[int] = field(default_factory=set)

    def sync(self, pages: set[int]) -> None:
        image = bytearray(self.synced[: len(self.cached)].ljust(len(self.cached), b"\0"))
        for page in pages:
            span = slice(page * PAGE_BYTES, (page + 1) * PAGE_BYTES)
            image[span] = self.cached[span]
        self.synced = bytes(image)


# What is left of a file when power is cut: told what is on the medium, in the cache, and where they may differ.
Tear = Callable[[Medium], bytes]


def lose(file: Medium) -> bytes:
    """Nothing that was not synced is there."""
    return file.synced


def keep(file: Medium) -> bytes:
    """Everything was written, although nobody waited for it."""
    return bytes(file.cached)


def tear_at(byte: int) -> Tear:
    """Of what was appended since the last sync, the first `byte` bytes are there."""
    return lambda file: bytes(file.cached[: len(file.synced) + byte])


def drop_pages(places: set[int]) -> Tear:
    """Of the changed pages those at `places` (counted over the changed ones) are not there; the length is."""

    def tear(file: Medium) -> bytes:
        image = Medium(file.synced, file.cached)
        image.sync({page for place, page in enumerate(sorted(file.dirty)) if place not in places})
        return image.synced

    return tear


class FaultyFile:
    """A file on a `FaultyDisk`."""

    def __init__(self, disk: "FaultyDisk", path: Path, medium: Medium) -> None:
        self._disk = disk
        self._path = path
        self._medium = medium
        self._fd = os.open(path, os.O_RDWR)

    def write_at(self, offset: int, data: bytes) -> None:
        self._disk.operation("write")
        room = self._disk.space
        written = data if room is None else data[:room]
        if room is not None:
            self._disk.space = room - len(written)
        self._change(offset, written)
        if len(written) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _change(self, offset: int, data: bytes) -> None:
        if data:
            cached = self._medium.cached
            cached.extend(bytes(max(0, offset - len(cached))))
            cached[offset : offset + len(data)] = data
            self._medium.dirty |= set(range(offset // PAGE_BYTES, (offset + len(data) - 1) // PAGE_BYTES + 1))
            os.pwrite(self._fd, data, offset)

    def read_at(self, offset: int, length: int) -> bytes:
        self._disk.operation("read")
        return bytes(self._medium.cached[offset : offset + length])

    def sync(self) -> None:
        self._disk.operation("sync")
        if self._disk.failing_syncs:
            self._disk.failing_syncs -= 1
            self._medium.dirty.clear()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._medium.sync(self._medium.dirty)
        self._medium.dirty = set()

    def truncate(self, length: int) -> None:
        self._disk.operation("truncate")
        if self._disk.failing_truncates:
            self._disk.failing_truncates -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        cached = self._medium.cached
        cached.extend(bytes(max(0, length - len(cached))))
        del cached[length:]
        if length % PAGE_BYTES:
            self._medium.dirty.add(length // PAGE_BYTES)  # its rest is zeroed
        self._medium.dirty = {page for page in self._medium.dirty if page * PAGE_BYTES < length}
        os.ftruncate(self._fd, length)

    def size(self) -> int:
        return len(self._medium.cached)

    def close(self) -> None:
        os.close(self._fd)


class FaultyDisk:
    """A disk on real folders. `space` is the bytes that still fit (None: enough).

    `failing_syncs` and `failing_truncates` count down; `cut_after` is the number of changing operations after which
    power is cut: from then on everything fails. `before` is called with the name of each operation.
    """

    def __init__(self, cut_after: int | None = None) -> None:
        self.space: int | None = None
        self.failing_syncs = 0
        self.failing_truncates = 0
        self.cut_after = cut_after
        self.before: Callable[[str], None] = lambda name: None
        self.operations = 0
        self._files: dict[Path, Medium] = {}
        self._entries: dict[Path, Medium] = {}  # on the medium

    def operation(self, name: str) -> None:
        self.before(name)
        if self.cut_after is not None and self.operations >= self.cut_after:
            raise OSError(errno.EIO, "power is cut")
        if name != "read":
            self.operations += 1

    def cut_power(self) -> None:
        """Have every further operation fail."""
        self.cut_after = 0

    def restart_process(self) -> None:
        """Go on as after the death of the process alone: the cache is still there."""
        self.cut_after = None

    def leave(self, folder: Path, tear: Tear, *, entries: bool = False) -> None:
        """Write into `folder` what is left after a power cut; `entries`: also of names that were not synced."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for path, medium in (self._files if entries else self._entries).items():
            (folder / path.name).write_bytes(tear(medium))

    def unsynced(self) -> dict[str, Medium]:
        """Return the files whose cache differs from the medium, by name."""
        return {path.name: file for path, file in self._files.items() if bytes(file.cached) != file.synced}

    def open(self, path: Path, *, create: bool = False) -> FaultyFile:
        self.operation("open" if create else "read")
        if create and not path.exists():
            path.touch()
            self._files[path] = Medium()
        return FaultyFile(self, path, self._known(path))

    def _known(self, path: Path) -> Medium:
        if path not in self._files:  # from before this disk was watched: it is on the medium
            body = path.read_bytes()
            self._files[path] = self._entries[path] = Medium(body, bytearray(body))
        return self._files[path]

    def sync_folder(self, folder: Path) -> None:
        self.operation("sync_folder")
        for path in [path for path in self._entries if path.parent == folder and path not in self._files]:
            del self._entries[path]
        self._entries |= {path: file for path, file in self._files.items() if path.parent == folder}

    def remove(self, path: Path) -> None:
        self.operation("remove")
        self._files.pop(path, None)
        path.unlink(missing_ok=True)

    def list(self, folder: Path) -> list[str]:
        self.operation("read")
        paths = sorted(folder.iterdir()) if folder.exists() else []
        for path in paths:
            if path.suffix == ".segment":
                self._known(path)
        return [path.name for path in paths]
