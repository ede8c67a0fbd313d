"""The job `load`: tells the warehouse which files of the archive and of reports it has not loaded yet.

The files get a second name in the warehouse's folder first, so that they stay while they are read, whatever becomes of
the objects. What is not compacted yet comes with a later load.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import msgspec

from headrace import disk, rpc
from headrace.archive import catalogue, erasures
from headrace.archive.base import Bucket
from headrace.archive.catalogue import Catalogue, File, Manifest
from headrace.archive.local import LocalBucket
from headrace.errors import Conflict, InvalidObjectState, NotFound
from headrace.jobs import sources
from headrace.settings import Layout
from headrace.system import System
from headrace.table.base import Table
from headrace.table.local import LocalTable
from headrace.warehouse.engine import FILE, INCOMING, LOADED
from headrace.warehouse.loading import DevicesLoad, EventsFile, EventsLoad, Loaded, Period, RowsLoad
from headrace.warehouse.tables import BILLS, DAILY, DEVICES, EVENTS, HOURLY

TRIES = 5
FILES, ROWS = 200, 2_000_000  # of one transaction, about
START_S_MAX = 60.0  # of the warehouse's process
_REPORTS = {HOURLY: "aggregate_hourly", DAILY: "aggregate_daily"}
_BILL = "bill.json"

Say = Callable[[str], None]


class _Bill(msgspec.Struct):
    month: str
    lines: str
    closed_ms: int


def load(layout: Layout, system: System, say: Say) -> dict[str, int]:
    """Bring the warehouse up to date; return how many rows came, by table. Raises HeadraceError.

    The caller sees to it that there is one load at a time. It may end at any point: the next one goes on.
    """
    bucket = LocalBucket(layout.buckets / system.archive_bucket)
    table = next((each.name for each in system.tables if each.name == "devices"), None)
    devices = LocalTable.connect(table, layout.table_socket) if table else None
    client = rpc.Client(layout.warehouse_socket, START_S_MAX)
    for left in (layout.warehouse / INCOMING).glob("load-*"):
        shutil.rmtree(left, ignore_errors=True)
    found = Sources(bucket, catalogue.of(bucket, layout.archive), devices)
    mark = found.mark()
    if _is_loaded(layout.warehouse, mark):
        say("there is nothing new")
        return dict.fromkeys((EVENTS, HOURLY, DAILY, BILLS, DEVICES), 0)
    for attempt in range(1, TRIES + 1):
        with _folder(layout.warehouse / INCOMING) as folder:
            try:
                done = _Load(found, client, folder, system.readings, say).run()
            except Conflict as error:  # a device was erased: what is listed may still have it
                if attempt == TRIES:
                    raise
                say(error.problem)
                continue
        disk.write_file(layout.warehouse / LOADED, _marked(layout.warehouse, mark).encode())
        return done
    raise AssertionError


def _is_loaded(folder: Path, mark: str) -> bool:
    """Return whether the last load was of the same: then the warehouse need not be started."""
    try:
        return (folder / LOADED).read_text() == _marked(folder, mark)
    except FileNotFoundError:
        return False


def _marked(folder: Path, mark: str) -> str:
    """Return a mark that holds for this very file: not for one that was put in its place."""
    return f"{mark} {(folder / FILE).stat().st_ino}"


@contextlib.contextmanager
def _folder(incoming: Path) -> Iterator[Path]:
    folder = incoming / f"load-{uuid4().hex}"
    disk.make_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Listed(NamedTuple):
    """An object that a period's rows are in: what tells its content from another, its key, the period's first day."""

    mark: str
    parquet: str
    first: str


class Sources:
    """What there is to load."""

    def __init__(self, bucket: Bucket, found: Catalogue, devices: Table | None) -> None:
        self.bucket = bucket
        self._catalogue = found
        self._devices = devices
        self.cut = {key for each in erasures.read(bucket) for key in each.cold}  # what is left of erased devices

    def manifests(self) -> Iterator[Manifest]:
        """Yield what the archive has of each day, in order."""
        return map(self._catalogue.manifest, self._catalogue.days())

    def report(self, report: str) -> dict[str, Listed]:
        """Return a report's objects by key."""
        return {
            info.key: Listed(f"{info.size}-{info.modified_ms}", info.key, _first_day(info.key))
            for info in self.bucket.list(f"reports/{report}/dt=")
            if info.key.endswith(".parquet")
        }

    def bills(self) -> dict[str, Listed]:
        """Return the bills of closed months by key."""
        found = {}
        for info in self.bucket.list("bills/month="):
            if info.key.endswith(f"/{_BILL}"):
                bill = msgspec.json.decode(self.bucket.get(info.key), type=_Bill)
                found[info.key] = Listed(f"{bill.lines}-{bill.closed_ms}", bill.lines, f"{bill.month}-01")
        return found

    def devices(self, path: Path | None) -> str:
        """Write all devices to a file, if one is given; return what tells them from others."""
        digest = sha256()
        with path.open("wb") if path else contextlib.nullcontext() as file:
            for row in sources.device_rows(self._devices) if self._devices else ():
                line = msgspec.json.encode(row) + b"\n"
                digest.update(line)
                if file:
                    file.write(line)
        return digest.hexdigest()[:32]

    def mark(self) -> str:
        """Return what tells all that there is from what there was before."""
        files = [file.key for manifest in self.manifests() for file in manifest.files]
        reports = [self.report(report) for report in _REPORTS.values()]
        return sha256(msgspec.json.encode([files, reports, self.bills(), self.devices(None)])).hexdigest()


class _Load:
    def __init__(self, found: Sources, client: rpc.Client, folder: Path, readings: tuple[str, ...], say: Say) -> None:
        self._sources = found
        self._client = client
        self._folder = folder
        self._readings = readings
        self._say = say
        self._files = 0

    def run(self) -> dict[str, int]:
        # What is loaded is asked for first: an erasure that comes after this makes the warehouse refuse.
        before = rpc.decode(self._client.call("loaded", list(self._readings)), type=Loaded)
        done = {EVENTS: self._events(before)}
        for table, report in _REPORTS.items():
            done[table] = self._periods(before, table, self._sources.report(report))
        done[BILLS] = self._periods(before, BILLS, self._sources.bills())
        done[DEVICES] = self._devices(before)
        return done

    def _events(self, before: Loaded) -> int:
        loaded = before.tables.get(EVENTS, {})
        rows = waiting = 0
        load = EventsLoad(before.generation, [], {})
        for manifest in self._sources.manifests():
            day = manifest.date
            new = sorted((file for file in manifest.files if file.key not in loaded), key=lambda file: file.key)
            if files := [given for file in new if (given := self._given(day, file)) is not None]:
                load.files += files
                load.present[day] = [file.key for file in manifest.files]
                waiting += sum(file.rows for file in new)
            if waiting >= ROWS or len(load.files) >= FILES:
                rows += self._send(load)
                load, waiting = EventsLoad(before.generation, [], {}), 0
        return rows + self._send(load)

    def _send(self, load: EventsLoad) -> int:
        """Load days together: a transaction each would cost more than what small days hold."""
        if not load.files:
            return 0
        rows = rpc.decode(self._client.call("events", load), type=int)
        self._remove(*(file.path for file in load.files))
        return rows

    def _given(self, day: str, file: File) -> EventsFile | None:
        if file.key in self._sources.cut:
            self._say(f"{file.key} holds a device that was erased while it was cold: restore it, and erase again")
            return None
        path = self._linked(file.key)
        return EventsFile(file.key, day, path, file.typed, file.unchecked) if path else None

    def _periods(self, before: Loaded, table: str, found: Mapping[str, Listed]) -> int:
        """Load what differs, and take out what is gone."""
        loaded = before.tables.get(table, {})
        rows = 0
        changed = [
            Period(key, mark, first, path)
            for key, (mark, parquet, first) in found.items()
            if loaded.get(key) != mark and (path := self._linked(parquet))
        ]
        changed += [Period(key, "", _first_day(key), None) for key in loaded.keys() - found.keys()]
        for start in range(0, len(changed), FILES):
            load = RowsLoad(before.generation, table, changed[start : start + FILES])
            rows += rpc.decode(self._client.call("rows", load), type=int)
            self._remove(*(period.path for period in load.periods if period.path))
        return rows

    def _devices(self, before: Loaded) -> int:
        path = self._folder / "devices.ndjson"
        mark = self._sources.devices(path)
        if before.tables.get(DEVICES, {}).get(DEVICES) == mark:
            return 0
        return rpc.decode(self._client.call("devices", DevicesLoad(before.generation, mark, str(path))), type=int)

    def _linked(self, key: str) -> str | None:
        """Give an object a second name in the load's folder; None where it can't be read now."""
        self._files += 1
        target = self._folder / f"{self._files}.parquet"
        try:
            disk.link_file(Path(self._sources.bucket.location(key)), target)
        except InvalidObjectState:
            self._say(f"{key} is cold: it is loaded once it is restored")
            return None
        except (NotFound, FileNotFoundError):
            self._say(f"{key} was replaced meanwhile: the next load has what it held")
            return None
        return str(target)

    def _remove(self, *paths: str) -> None:
        for path in paths:
            Path(path).unlink(missing_ok=True)


def _first_day(key: str) -> str:
    """Return the first day of the period that a key names: `…/dt=2026-01-31/…`, `…/month=2026-01/…`."""
    name, _, rest = key.partition("/dt=")
    if rest:
        return rest[:10]
    return f"{name.partition('/month=')[2][:7]}-01"
