"""The catalogue: which compacted files there are. It alone decides what readers see (`docs/formats.md`).

A manifest a day, `catalogue/dt=<date>.json`, replaced as a whole; and `catalogue/compacted.json`, which records of the
streams are in compacted files, for the books, as raw objects are deleted in time.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from headrace import disk
from headrace.archive.base import Bucket
from headrace.errors import DataDirectoryError, NotFound

VERSION = 1
PREFIX = "catalogue/"
FILES = "events/"  # what compacted files' keys start with
_DAY = f"{PREFIX}dt="
_MANIFEST = re.compile(rf"{_DAY}(\d{{4}}-\d\d-\d\d)\.json", re.ASCII)
_FILE = re.compile(rf"{FILES}dt=\d{{4}}-\d\d-\d\d/\d{{8}}T\d{{6}}-[0-9a-f]{{12}}(-[0-9a-f]{{8}})?\.parquet", re.ASCII)
_COMPACTED = f"{PREFIX}compacted.json"

T = TypeVar("T")
Run = tuple[int, int]  # numbers of records, both ends included


class File(msgspec.Struct, frozen=True):
    """A compacted file. Times are microseconds since 1970; `typed` names its columns of readings, in order."""

    key: str
    rows: int
    bytes: int
    created_ms: int
    first_time: int
    last_time: int
    first_arrival: int
    last_arrival: int
    first_device: str
    last_device: str
    typed: tuple[str, ...]
    unchecked: bool = False  # may hold events that the day's other files hold as well
    sha256: str | None = None  # of its bytes, in hex; files of before there were digests have none


class Replaced(msgspec.Struct, frozen=True):
    """A file that readers of an older manifest may still read; it is deleted some time after it was replaced."""

    key: str
    at_ms: int


class Manifest(msgspec.Struct, frozen=True):
    """A day of event time."""

    date: str
    files: tuple[File, ...] = ()
    replaced: tuple[Replaced, ...] = ()
    version: int = VERSION


class _Versioned(msgspec.Struct, frozen=True):
    version: int


class _Compacted(msgspec.Struct, frozen=True):
    shards: dict[str, list[Run]] = {}  # by `<stream>/<shard id>`
    version: int = VERSION


class Range(NamedTuple):
    """Which events a reader wants: times in microseconds, `end_us` exclusive; None is no limit."""

    start_us: int | None = None
    end_us: int | None = None
    device: str | None = None

    def wants_day(self, day: str) -> bool:
        """Return whether a day (`YYYY-MM-DD`) may have such events."""
        first = _day_us(day)
        return not (
            (self.end_us is not None and self.end_us <= first)
            or (self.start_us is not None and first + 86_400_000_000 <= self.start_us)
        )

    def wants(self, file: File) -> bool:
        """Return whether a file may hold such events."""
        return not (
            (self.end_us is not None and self.end_us <= file.first_time)
            or (self.start_us is not None and file.last_time < self.start_us)
            or (self.device is not None and not _between(file.first_device, self.device, file.last_device))
        )


def key_of(day: str, name: str) -> str:
    """Return the key of a compacted file."""
    return f"{FILES}dt={day}/{name}.parquet"


def is_file(key: str) -> bool:
    """Return whether a key is one that a compaction gives to a file."""
    return _FILE.fullmatch(key) is not None


def day_of(key: str) -> str:
    """Return the day of a compacted file's key."""
    return key[len(FILES) + len("dt=") :].partition("/")[0]


class Catalogue:
    """The catalogue of one archive. `lock` is a file that whoever changes a manifest holds meanwhile.

    Where writers are on several machines, a subclass replaces `_replace` (`archive/exchange.py`).
    """

    def __init__(self, bucket: Bucket, lock: Path) -> None:
        self._bucket = bucket
        self._lock = lock

    def days(self) -> list[str]:
        """Return the days that have a manifest, in order; a copy that somebody made of one is none."""
        found = (_MANIFEST.fullmatch(info.key) for info in self._bucket.list(_DAY))
        return [each[1] for each in found if each]

    def manifest(self, day: str) -> Manifest:
        """Return a day's manifest, an empty one where there is none; raises DataDirectoryError."""
        key = f"{_DAY}{day}.json"
        body = self._body(key)
        return Manifest(day) if body is None else _decode(key, body, Manifest)

    def change(self, day: str, changed: Callable[[Manifest], Manifest]) -> Manifest:
        """Replace a day's manifest by what is made of it, all at once; nobody else changes one meanwhile."""
        key = f"{_DAY}{day}.json"

        def make(body: bytes | None) -> tuple[bytes | None, Manifest]:
            before = Manifest(day) if body is None else _decode(key, body, Manifest)
            manifest = changed(before)
            return (msgspec.json.encode(manifest) if manifest != before else None), manifest

        return self._replace(key, make)

    def forget(self, keys: Iterable[str]) -> None:
        """Take out files that are about to be deleted for good, by a lifecycle rule: readers no longer miss them."""
        by_day: dict[str, set[str]] = {}
        for key in keys:
            if key.startswith(f"{FILES}dt="):
                by_day.setdefault(day_of(key), set()).add(key)
        for day, gone in by_day.items():
            self.change(day, lambda manifest, gone=gone: _without(manifest, gone))  # type: ignore[misc]

    def compacted(self) -> dict[str, list[Run]]:
        """Return which records are compacted: by `<stream>/<shard id>` the runs of their numbers, in order."""
        body = self._body(_COMPACTED)
        return {} if body is None else _decode(_COMPACTED, body, _Compacted).shards

    def add_compacted(self, shards: dict[str, list[Run]]) -> None:
        """Note that these records are compacted as well."""

        def make(body: bytes | None) -> tuple[bytes | None, None]:
            all_shards = {} if body is None else _decode(_COMPACTED, body, _Compacted).shards
            for shard, runs in shards.items():
                all_shards[shard] = merged([*all_shards.get(shard, ()), *runs])
            return msgspec.json.encode(_Compacted(all_shards)), None

        self._replace(_COMPACTED, make)

    def _replace(self, key: str, make: Callable[[bytes | None], tuple[bytes | None, T]]) -> T:
        """Put what is made of an object (None: there is none, or nothing to put), and return what comes with it."""
        with self._held():
            body, found = make(self._body(key))
            if body is not None:
                self._bucket.put(key, body)
            return found

    def _body(self, key: str) -> bytes | None:
        try:
            return self._bucket.get(key)
        except NotFound:
            return None

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        disk.make_folder(self._lock.parent)
        with disk.held_file(self._lock):
            yield


def of(bucket: Bucket, folder: Path) -> Catalogue:
    """Return the catalogue of an archive whose work folder is `folder`."""
    return Catalogue(bucket, folder / "catalogue.lock")


def merged(runs: Iterable[Run]) -> list[Run]:
    """Return runs of numbers in order, those joined that touch or overlap."""
    found: list[Run] = []
    for first, last in sorted(map(tuple, runs)):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def _without(manifest: Manifest, gone: set[str]) -> Manifest:
    return msgspec.structs.replace(
        manifest,
        files=tuple(file for file in manifest.files if file.key not in gone),
        replaced=tuple(each for each in manifest.replaced if each.key not in gone),
    )


def _decode(key: str, body: bytes, kind: type[T]) -> T:
    try:
        version = msgspec.json.decode(body, type=_Versioned).version
        if version == VERSION:
            return msgspec.json.decode(body, type=kind)
        problem = f"has version {version}; this Headrace knows {VERSION}"
        hint = "Use the Headrace that wrote it, or a newer one."
    except msgspec.DecodeError as error:
        problem, hint = f"can't be read: {error}", "Put it back from a backup under the same name."
    raise DataDirectoryError(f"{key} {problem}.", hint)


def _between(first: str, device: str, last: str) -> bool:
    return first.encode() <= device.encode() <= last.encode()


def _day_us(day: str) -> int:
    return (date.fromisoformat(day) - date(1970, 1, 1)).days * 86_400_000_000
