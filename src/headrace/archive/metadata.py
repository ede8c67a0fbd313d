"""What a folder's objects have beside their bytes: tags, storage class, where a cold one is, a restore.

A journal a folder, `.headrace` beside the objects (`docs/formats.md`): a change is a line at its end and one fsync, so
tagging thousands of objects is cheap, and a listing that has the folder's names open anyway reads one file more. An
object without an entry is in STANDARD, untagged; an entry counts only for the object that was put at its `created_ms`.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from zlib import crc32

import msgspec

from headrace import disk
from headrace.archive.base import STANDARD

FILE = ".headrace"
VERSION = 1
_SLACK_LINES = 256  # how many outdated lines a journal may have whatever its size


class Cold(msgspec.Struct, frozen=True):
    """A cold object: its size and digest as it was put; in the cold folder it is zstd-compressed if `packed`."""

    size: int
    sha256: str
    packed: bool = False


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One object's metadata."""

    name: str
    created_ms: int
    storage_class: str = STANDARD
    tags: dict[str, str] = {}
    cold: Cold | None = None


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of a journal: the entry that stands from here on, or the name that has none any more."""

    v: int
    entry: Entry | None = None
    gone: str | None = None


class Journal(msgspec.Struct):
    """A folder's journal as read: entries by name; what was read of the file, and how many lines could not be."""

    entries: Mapping[str, Entry]
    length: int = 0  # bytes of whole lines; what follows is a write that a crash has cut off
    lines: int = 0
    damaged: int = 0


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode


def parse(content: bytes) -> Journal:
    """Return what a journal says; a line that is damaged, or of a newer version, is passed over and counted."""
    entries: dict[str, Entry] = {}
    length = content.rfind(b"\n") + 1
    last = content.rfind(b"\n", 0, max(0, length - 1)) + 1
    if b"\0" in content[last:length]:  # no text has one: a power cut has left the end of this write without its middle
        length = last
    damaged = 0
    lines = content[:length].split(b"\n")[:-1]
    for text in lines:
        line = _parse_line(text)
        if line is None:
            damaged += 1
        elif line.entry is not None:
            entries[line.entry.name] = line.entry
        elif line.gone is not None:
            entries.pop(line.gone, None)
    return Journal(entries, length, len(lines), damaged)


def _parse_line(text: bytes) -> _Line | None:
    try:
        if int(text[:8], 16) != crc32(text[9:]):
            return None
        line = _decode(text[9:])
    except (ValueError, msgspec.DecodeError):
        return None
    return line if line.v == VERSION else None


def _text(line: _Line) -> bytes:
    body = _encode(line)
    return b"%08x %s\n" % (crc32(body), body)


class Metadata:
    """The journals of a bucket's folders; what was last read is kept, as long as its file is as it was."""

    def __init__(self) -> None:
        self._last: tuple[Path, tuple[int, ...], Journal] | None = None

    def read(self, folder: Path) -> Journal:
        """Return a folder's journal, an empty one where there is none."""
        path = folder / FILE
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return Journal({})
        signature = status.st_ino, status.st_size, status.st_mtime_ns
        last = self._last
        if last is not None and last[:2] == (path, signature):
            return last[2]
        try:
            journal = parse(path.read_bytes())
        except FileNotFoundError:
            return Journal({})
        if journal.length == status.st_size:
            self._last = path, signature, journal
        return journal

    def exists(self, folder: Path) -> bool:
        """Return whether a folder has a journal."""
        return (folder / FILE).exists()

    @contextlib.contextmanager
    def held(self, folder: Path) -> Iterator["Held"]:
        """Hold a folder's journal, which is made if it is missing: nobody else changes what it says meanwhile.

        Raises StorageError for what the disk refuses within.
        """
        path = folder / FILE
        try:
            with disk.held_file(path) as file:
                held = Held(path, file, self.read(folder))
                yield held
                held.tidy()
                status = path.stat()
                self._last = path, (status.st_ino, status.st_size, status.st_mtime_ns), held.journal
        except OSError as error:
            raise disk.storage_error(Path(error.filename or path), error) from error

    def forget(self, folder: Path, name: str) -> None:
        """Remove an entry durably, if there is one."""
        if name in self.read(folder).entries:
            with self.held(folder) as held:
                held.set(name, None)


class Held:
    """A journal that is held: `get` and `set` an entry."""

    def __init__(self, path: Path, file: disk.File, journal: Journal) -> None:
        self.journal = journal
        self._path = path
        self._file = file

    def get(self, name: str) -> Entry | None:
        """Return the entry of a name, if it has one."""
        return self.journal.entries.get(name)

    def set(self, name: str, entry: Entry | None) -> None:
        """Make an entry stand from now on, durably; None: the name has none any more."""
        journal = self.journal
        if entry == journal.entries.get(name):
            return
        text = _text(_Line(VERSION, entry) if entry is not None else _Line(VERSION, None, name))
        if self._file.size() > journal.length:
            self._file.truncate(journal.length)
        self._file.write_at(journal.length, text)
        self._file.sync()
        entries = dict(journal.entries)
        entries.pop(name, None)
        if entry is not None:
            entries[name] = entry
        self.journal = Journal(entries, journal.length + len(text), journal.lines + 1, journal.damaged)

    def tidy(self) -> None:
        """Write the file anew where most of its lines are outdated: the last thing to be done with it."""
        journal = self.journal
        if journal.lines > 2 * len(journal.entries) + _SLACK_LINES and not journal.damaged:
            content = b"".join(_text(_Line(VERSION, entry)) for entry in journal.entries.values())
            disk.write_file(self._path, content)
            self.journal = Journal(journal.entries, len(content), len(journal.entries))
