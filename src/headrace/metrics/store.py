"""The metric store: the minutes that still grow are in memory, the others in a file a day.

A minute's values go to its day's file some time after it ended; what comes later for it is appended and added when it
is read. The open minutes, and how far each source of values was read, are saved together (`save`), so that a crash
repeats or loses at most what came since.
"""

import contextlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headrace.disk import DISK, Disk, write_file
from headrace.errors import StorageError
from headrace.metrics.days import Days, Entry
from headrace.metrics.series import DAY_MINUTES, KEPT_DAYS, MINUTE_MS, Series
from headrace.sketch import Sketch

VERSION = 1  # of the state file
SEAL_AFTER_MINUTES = 2  # a minute is open for as long: most of what comes late comes within it
RECENT_MINUTES = 60  # that stay in memory when they are over, for alarms
RECENT_MAX = 20_000  # sketches of those
SERIES_MAX = 20_000
OPEN_MAX = 200_000  # sketches in memory while the disk refuses them; the oldest are dropped beyond
Points = dict[int, Sketch]  # minute since 1970 -> values


class Info:
    """What is known of a series: its unit, the last minute with values, and totals since the process started."""

    __slots__ = ("count", "last_minute", "sum", "unit")

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.last_minute = 0
        self.count: float = 0
        self.sum: float = 0


class State(msgspec.Struct):
    """The state file: series, open minutes, log cursors (path -> [inode, offset]), counters as last seen."""

    version: int = VERSION
    series: list[tuple[str, str, list[tuple[str, str]], str, int]] | None = None  # …, unit, last minute
    open: list[tuple[int, str, str, list[tuple[str, str]], str, list[Any]]] = []
    cursors: dict[str, tuple[int, int]] = {}
    counters: dict[str, float] = {}


class Store:
    """All series. Not safe for threads."""

    def __init__(self, folder: Path, now_ms: int, disk: Disk = DISK) -> None:
        self._path = folder / "state"
        self._days = Days(folder, disk)
        self._open: dict[int, dict[Series, Sketch]] = {}
        self._recent: dict[int, dict[Series, Sketch]] = {}
        self._recent_from = now_ms // MINUTE_MS - SEAL_AFTER_MINUTES  # from here on, everything is in memory
        self.series: dict[Series, Info] = {}
        self.dropped = 0  # values refused since the start: there were too many series
        self.state = self._load()
        self._read_series()
        for minute, namespace, name, dimensions, unit, packed in self.state.open:
            self._add(Series(namespace, name, tuple(dimensions)), minute, Sketch.unpacked(packed), unit)

    def record(self, series: Series, timestamp_ms: int, values: Sequence[float], unit: str = "None") -> None:
        """Add finite values at a time."""
        if values:
            info = self._info(series, unit)
            if info is None:
                self.dropped += len(values)
                return
            minute = timestamp_ms // MINUTE_MS
            minutes = self._open.setdefault(minute, {})
            sketch = minutes.get(series)
            if sketch is None:
                sketch = minutes[series] = Sketch()
            before = sketch.sum
            sketch.add(values)
            info.last_minute = max(info.last_minute, minute)
            info.count += len(values)
            info.sum += sketch.sum - before

    def merge(self, series: Series, timestamp_ms: int, sketch: Sketch, unit: str = "None") -> None:
        """Add the values of a sketch at a time."""
        if sketch.count:
            info = self._info(series, unit)
            if info is None:
                self.dropped += int(sketch.count)
                return
            self._add(series, timestamp_ms // MINUTE_MS, sketch, unit)
            info.count += sketch.count
            info.sum += sketch.sum

    def has(self, series: Series, timestamp_ms: int) -> bool:
        """Return whether a minute that is open has values of a series."""
        return series in self._open.get(timestamp_ms // MINUTE_MS, {})

    def points(self, wanted: Collection[Series], start_ms: int, end_ms: int) -> dict[Series, Points]:
        """Return the minutes of some series that begin from `start_ms` up to `end_ms`."""
        found: dict[Series, Points] = {series: {} for series in wanted}
        first, end = -(-start_ms // MINUTE_MS), -(-end_ms // MINUTE_MS)
        if first < self._recent_from:
            for minute, series, _, sketch in self._days.read(found, first, min(end, self._recent_from)):
                _merge_into(found[series], minute, sketch)
        for minutes in (self._recent, self._open):
            for minute, by_series in minutes.items():
                if first <= minute < end:
                    for series in found.keys() & by_series.keys():
                        _merge_into(found[series], minute, by_series[series])
        return found

    def seal(self, now_ms: int, *, may_remove: bool = True) -> None:
        """Move minutes that are over to their days' files, and, if allowed, remove days beyond the age limit.

        Raises StorageError: the minutes then stay in memory, for the next time.
        """
        last = now_ms // MINUTE_MS - SEAL_AFTER_MINUTES
        over = sorted(minute for minute in self._open if minute <= last)
        if over:
            try:
                self._days.append(self._entries(over))
            except StorageError:
                self._bound(over)
                raise
            for minute in over:
                self._remember(minute, self._open.pop(minute))
            self._forget(last)
        if may_remove:
            self._remove_old(now_ms)

    def save(self, cursors: dict[str, tuple[int, int]], counters: dict[str, float]) -> None:
        """Save the open minutes with where their sources stand, durably; raises StorageError."""
        entries = self._entries(sorted(self._open))
        rows = [(e.minute, e.series[0], e.series[1], list(e.series[2]), e.unit, e.sketch.packed()) for e in entries]
        series = [(each[0], each[1], list(each[2]), info.unit, info.last_minute) for each, info in self.series.items()]
        self.state = State(series=series, open=rows, cursors=cursors, counters=counters)
        write_file(self._path, msgspec.msgpack.encode(self.state))

    def _remove_old(self, now_ms: int) -> None:
        oldest = now_ms // MINUTE_MS // DAY_MINUTES - KEPT_DAYS
        self._days.remove_before(oldest)
        for series in [each for each, info in self.series.items() if info.last_minute < oldest * DAY_MINUTES]:
            del self.series[series]

    def _add(self, series: Series, minute: int, sketch: Sketch, unit: str) -> None:
        _merge_into(self._open.setdefault(minute, {}), series, sketch)
        info = self._info(series, unit)
        if info is not None:
            info.last_minute = max(info.last_minute, minute)

    def _info(self, series: Series, unit: str) -> Info | None:
        info = self.series.get(series)
        if info is None and len(self.series) < SERIES_MAX:
            info = self.series[series] = Info(unit)
        return info

    def _read_series(self) -> None:
        """Know the series: from the state file, else from all days."""
        if self.state.series is not None:
            for namespace, name, dimensions, unit, last_minute in self.state.series:
                self.series[Series(namespace, name, tuple(dimensions))] = info = Info(unit)
                info.last_minute = last_minute
            return
        for day in self._days.days():
            for series, unit in self._days.names(day):
                if (found := self._info(series, unit)) is not None:
                    found.last_minute = (day + 1) * DAY_MINUTES - 1

    def _remember(self, minute: int, sealed: dict[Series, Sketch]) -> None:
        if minute >= self._recent_from:
            known = self._recent.setdefault(minute, {})
            for series, sketch in sealed.items():
                _merge_into(known, series, sketch)

    def _forget(self, last: int) -> None:
        """Leave older minutes to the files."""
        count = sum(map(len, self._recent.values()))
        for minute in sorted(self._recent):
            if minute > last - RECENT_MINUTES and count <= RECENT_MAX:
                return
            count -= len(self._recent.pop(minute))
            self._recent_from = minute + 1

    def _entries(self, minutes: Iterable[int]) -> list[Entry]:
        return [
            Entry(minute, series, self.series[series].unit if series in self.series else "None", sketch)
            for minute in minutes
            for series, sketch in self._open[minute].items()
        ]

    def _bound(self, over: list[int]) -> None:
        total = sum(map(len, self._open.values()))
        for minute in over:
            if total <= OPEN_MAX:
                return
            total -= len(self._open.pop(minute))

    def _load(self) -> State:
        with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
            state = msgspec.msgpack.decode(self._path.read_bytes(), type=State)
            if state.version == VERSION:
                return state
        return State()


def _merge_into(points: dict[Any, Sketch], key: object, sketch: Sketch) -> None:
    known = points.get(key)
    if known is None:
        known = points[key] = Sketch()
    known.merge(sketch)
