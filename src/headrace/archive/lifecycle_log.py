"""The lifecycle log: every object that a rule has moved or deleted, and when. Kept for ever.

A file a month, `<YYYY-MM>.ndjson`, appended to and synced; a deletion is in it before it is done.
"""

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from headrace import disk

VERSION = 1


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was done to an object. `action` is `transition`, `expire` or `abort`; times in milliseconds since 1970."""

    v: int = VERSION
    at_ms: int
    action: str
    bucket: str
    key: str
    rule: str
    size: int
    created_ms: int
    storage_class: str
    to: str | None = None


class LifecycleLog:
    """The log in `folder`, which is made with the first line."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process executes rules, and keep them from it; raises StorageError."""
        path = self._folder / "lock"
        try:
            disk.make_folder(self._folder)
            with disk.held_file(path):
                yield
        except OSError as error:
            raise disk.storage_error(Path(error.filename or path), error) from error

    def append(self, lines: Iterable[Line]) -> None:
        """Append lines durably, all with one sync; raises StorageError."""
        lines = list(lines)
        if not lines:
            return
        path = self._folder / f"{datetime.fromtimestamp(lines[0].at_ms / 1000, UTC):%Y-%m}.ndjson"
        text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        try:
            disk.make_folder(self._folder)
            with disk.held_file(path) as file:
                end = file.size()
                if end and file.read_at(end - 1, 1) != b"\n":  # a write that a crash cut off
                    text = b"\n" + text
                file.write_at(end, text)
                file.sync()
        except OSError as error:
            raise disk.storage_error(path, error) from error

    def read(self, limit: int) -> list[Line]:
        """Return the last lines, at most `limit`, oldest first; one that can't be read is passed over.

        No more than these lines is held in memory: a busy month has half a million.
        """
        found: list[Line] = []
        for path in sorted(self._folder.glob("*.ndjson"), reverse=True):
            with path.open("rb") as file:
                found = [*_decoded(deque(file, limit - len(found))), *found]
            if len(found) >= limit:
                break
        return found

    def lines(self) -> Iterator[Line]:
        """Yield all lines, oldest first."""
        for path in sorted(self._folder.glob("*.ndjson")):
            with path.open("rb") as file:
                yield from _decoded(file)


def _decoded(texts: Iterable[bytes]) -> Iterator[Line]:
    for text in texts:
        try:
            yield msgspec.json.decode(text, type=Line)
        except msgspec.DecodeError:
            continue
