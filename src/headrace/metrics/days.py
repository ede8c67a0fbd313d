"""A file a day of one-minute sketches: appended to once a minute, read by hopping over what is not asked for.

Format: docs/formats.md. A frame that is damaged is skipped: reading goes on at the next one whose CRC is right.
"""

import struct
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec

from headrace import clock
from headrace.disk import DISK, Disk, File, make_folder, storage_error
from headrace.errors import DataDirectoryError
from headrace.metrics.series import DAY_MINUTES, Series
from headrace.sketch import Sketch

VERSION = 1
SUFFIX = ".points"
_FILE_HEAD = b"HRMET" + bytes([VERSION, 0, 0])
_FRAME_MAGIC = b"\xf7HRp"
_FRAME = struct.Struct("<4sIIIHBx")  # magic, CRC of what follows, length of the body, series, minute of the day, kind
_CRC_FROM = 8
_NAME, _POINT = 0, 1

_encode = msgspec.msgpack.encode
_decode_name = msgspec.msgpack.Decoder(tuple[str, str, list[tuple[str, str]], str]).decode
_decode_point = msgspec.msgpack.Decoder(tuple[float | int, float | int, float | int, float | int, list[int | float]])


class Entry(NamedTuple):
    """One series' values of one minute (minutes since 1970)."""

    minute: int
    series: Series
    unit: str
    sketch: Sketch


class Days:
    """The day files of a folder. The numbers that stand for series are a file's own."""

    def __init__(self, folder: Path, disk: Disk = DISK) -> None:
        self._folder = folder
        self._disk = disk
        self._numbers: dict[int, dict[tuple[Series, str], int]] = {}  # day -> series and unit -> number
        make_folder(folder)

    def append(self, entries: Iterable[Entry]) -> None:
        """Return once the entries are durable; raises StorageError. A repeated call adds them again."""
        by_day: dict[int, list[Entry]] = {}
        for entry in entries:
            by_day.setdefault(entry.minute // DAY_MINUTES, []).append(entry)
        for day, found in by_day.items():
            path = self._path(day)
            try:
                self._append(path, day, found)
            except OSError as error:
                raise storage_error(path, error) from error

    def read(self, wanted: Iterable[Series], first: int, end: int) -> Iterator[Entry]:
        """Yield the entries of some series from minute `first` up to `end`, in the order they were written."""
        series = set(wanted)
        for day in self.days():
            if first < (day + 1) * DAY_MINUTES and end > day * DAY_MINUTES:
                yield from self._read_day(day, series, first - day * DAY_MINUTES, end - day * DAY_MINUTES)

    def names(self, day: int) -> list[tuple[Series, str]]:
        """Return the series of a day, with their units."""
        return list(self._known(day))

    def days(self) -> list[int]:
        """Return the days (since 1970) that have a file, the oldest first."""
        days = (_day_of(name) for name in self._disk.list(self._folder))
        return [day for day in days if day is not None]

    def remove_before(self, day: int) -> None:
        """Remove the files of earlier days."""
        for old in self.days():
            if old < day:
                self._disk.remove(self._path(old))
                self._numbers.pop(old, None)

    def _append(self, path: Path, day: int, entries: list[Entry]) -> None:
        numbers = dict(self._known(day))
        file = self._disk.open(path, create=True)
        try:
            size = file.size()
            if size < len(_FILE_HEAD):
                size = 0  # a crash tore the first write
            frames = [_FILE_HEAD] if size == 0 else []
            for entry in entries:
                key = entry.series, entry.unit
                if key not in numbers:
                    numbers[key] = len(numbers)
                    frames.append(_frame(numbers[key], 0, _NAME, _encode((*entry.series, entry.unit))))
                minute = entry.minute % DAY_MINUTES
                frames.append(_frame(numbers[key], minute, _POINT, _encode(entry.sketch.packed())))
            _write(file, size, b"".join(frames))
        finally:
            file.close()
        if size == 0:
            self._disk.sync_folder(self._folder)
        self._numbers[day] = numbers

    def _known(self, day: int) -> dict[tuple[Series, str], int]:
        known = self._numbers.get(day)
        if known is None:
            known = self._numbers[day] = {}
            for body, number, _, kind, _ in _frames(self._body(day)):
                if kind == _NAME:
                    namespace, name, dimensions, unit = _decode_name(body)
                    known[Series(namespace, name, tuple(dimensions)), unit] = number
        return known

    def _read_day(self, day: int, wanted: set[Series], first: int, end: int) -> Iterator[Entry]:
        named = {number: key for key, number in self._known(day).items() if key[0] in wanted}
        if not named:
            return
        for body, number, minute, kind, intact in _frames(self._body(day)):
            if kind == _POINT and number in named and first <= minute < end and intact():
                series, unit = named[number]
                sketch = Sketch.unpacked(_decode_point.decode(body))
                yield Entry(day * DAY_MINUTES + minute, series, unit, sketch)

    def _body(self, day: int) -> bytes:
        path = self._path(day)
        try:
            file = self._disk.open(path)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise storage_error(path, error) from error
        try:
            found = file.read_at(0, file.size())
        finally:
            file.close()
        if len(found) >= len(_FILE_HEAD) and found[:5] == _FILE_HEAD[:5] and found[5] != VERSION:
            raise DataDirectoryError(
                f"{path} is of format {found[5]}; this headrace reads format {VERSION}.",
                "Start the newer headrace that wrote it.",
            )
        return found

    def _path(self, day: int) -> Path:
        return self._folder / f"{clock.EPOCH + timedelta(days=day):%Y-%m-%d}{SUFFIX}"


class _Intact(NamedTuple):
    """Says, when asked, whether a frame's CRC is right."""

    data: memoryview
    crc: int

    def __call__(self) -> bool:
        return crc32(self.data) == self.crc


def _frame(number: int, minute: int, kind: int, body: bytes) -> bytes:
    rest = _FRAME.pack(_FRAME_MAGIC, 0, len(body), number, minute, kind)[_CRC_FROM:] + body
    return _FRAME_MAGIC + crc32(rest).to_bytes(4, "little") + rest


def _frames(data: bytes) -> Iterator[tuple[bytes, int, int, int, _Intact]]:
    """Yield body, series number, minute, kind and the check of each frame; names are checked already."""
    view = memoryview(data)
    at, end = len(_FILE_HEAD), len(data)
    while at + _FRAME.size <= end:
        magic, crc, length, number, minute, kind = _FRAME.unpack_from(data, at)
        stop = at + _FRAME.size + length
        intact = _Intact(view[at + _CRC_FROM : stop], crc)
        # A frame that nothing follows, or whose follower is none, must prove itself: its length may be what is wrong.
        proven = stop < end and data[stop : stop + 4] == _FRAME_MAGIC and kind != _NAME
        if magic == _FRAME_MAGIC and stop <= end and (proven or intact()):
            yield data[at + _FRAME.size : stop], number, minute, kind, intact
            at = stop
        else:
            at = data.find(_FRAME_MAGIC, at + 1)
            if at < 0:
                return


def _write(file: File, size: int, body: bytes) -> None:
    """Append durably; a write that fails leaves the file as it was, as far as the disk lets it."""
    try:
        file.write_at(size, body)
        file.sync()
    except OSError:
        file.truncate(size)
        raise


def _day_of(name: str) -> int | None:
    if not name.endswith(SUFFIX):
        return None
    try:
        return (datetime.strptime(name.removesuffix(SUFFIX), "%Y-%m-%d").replace(tzinfo=UTC) - clock.EPOCH).days
    except ValueError:
        return None
