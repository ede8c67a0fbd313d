"""Loading Redshift: what is new becomes load files, manifests and batches of SQL; the state machine executes them.

The cluster reaches no Redshift. It writes `load/next.json`; the state machine executes its batches in order, and puts
`load/done/<load>` after each. A batch stays in `jobs/load/state.json` until that is seen: executed twice it changes
nothing (`statements.py`). The state is put on condition that it is the one read; files of batches that it does not
know are what a run has left that was ended, and are removed.

Load files are plain Parquet (version 1, snappy) with the columns of the warehouse's tables: nothing in them depends on
when which reading got a column, or on encodings that only some readers know.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from headrace.archive.catalogue import Catalogue, File
from headrace.emr import encoding, statements, storage
from headrace.emr.lease import Lease
from headrace.emr.spread import Spread
from headrace.emr.statements import Copied, Noted
from headrace.emr.storage import Source
from headrace.errors import HeadraceError
from headrace.jobs import sources
from headrace.table.base import Table
from headrace.warehouse import tables
from headrace.warehouse.tables import BILLS, DAILY, DEVICES, EVENTS, HOURLY, READINGS

JOB = "load"
STATE = f"jobs/{JOB}/state.json"
NEXT, DONE, FILES = "load/next.json", "load/done/", "load/files/"
VERSION = 1
NEXT_BYTES_MAX = 200_000  # a state of the state machine holds 256 KB
BATCH_FILES = 40
BATCH_BYTES = 2 * 1024 * 1024 * 1024
_REPORTS = {HOURLY: "aggregate_hourly", DAILY: "aggregate_daily"}
_BILLS = "bills/month="


class Batch(msgspec.Struct):
    """SQL that is one transaction; `optional`: it may fail, as what it does may be done already."""

    load: str
    sqls: list[str]
    optional: bool = False


class State(msgspec.Struct):
    """What is planned: by table the keys of files and their marks. And whose reading each column of `events` is."""

    setup: str = ""
    columns: dict[str, str] = {}
    planned: dict[str, dict[str, str]] = {}
    pending: list[Batch] = []
    version: int = VERSION


class _Next(msgspec.Struct):
    batches: list[Batch]
    version: int = VERSION


class _Bill(msgspec.Struct):
    lines: str


class Setting(NamedTuple):
    """Where to load from."""

    source: Source
    catalogue: Catalogue
    spread: Spread
    devices: Table
    readings: Sequence[str]
    memory_mb: int


def load(setting: Setting, lease: Lease, folder: Path) -> dict[str, Any]:
    """Plan what is new and write `load/next.json`; return what was planned. Raises HeadraceError."""
    return _Load(setting, lease, folder).do()


class _Load:
    def __init__(self, setting: Setting, lease: Lease, folder: Path) -> None:
        self._setting = setting
        self._lease = lease
        self._folder = folder
        self._bucket = storage.bucket(setting.source)
        self._exchange = storage.exchange(setting.source)
        self._state = State()
        self._new: list[Batch] = []
        self._files = 0

    def do(self) -> dict[str, Any]:
        found = self._exchange.read(STATE)
        self._state = _read(found[0]) if found else State()
        self._acknowledge()
        self._remove_left()
        self._tables()
        self._events()
        for table, name in _REPORTS.items():
            self._periods(table, self._exchange.etags(f"reports/{name}/dt="))
        self._bills()
        self._devices()
        self._state.pending += self._new
        self._lease.check()
        self._exchange.write(STATE, msgspec.json.encode(self._state), found[1] if found else None)
        batches = _fitting(self._state.pending)
        self._bucket.put(NEXT, msgspec.json.encode(_Next(batches)))
        return {"files": self._files, "batches": len(self._new), "pending": len(self._state.pending)}

    def _acknowledge(self) -> None:
        """Forget what was executed, and remove its files."""
        done = {info.key.removeprefix(DONE) for info in self._bucket.list(DONE)}
        self._state.pending = [batch for batch in self._state.pending if batch.load not in done]
        for load in done:
            self._remove(f"{FILES}{load}/")
        # At last: without it a run that is ended here would execute the batch again, but not lose it.
        for load in done:
            self._bucket.delete(f"{DONE}{load}")

    def _remove_left(self) -> None:
        known = {batch.load for batch in self._state.pending}
        for info in list(self._bucket.list(FILES)):
            if info.key.removeprefix(FILES).partition("/")[0] not in known:
                self._bucket.delete(info.key)

    def _remove(self, prefix: str) -> None:
        for info in list(self._bucket.list(prefix)):
            self._bucket.delete(info.key)

    def _tables(self) -> None:
        """Plan the tables, and a column for each reading that has none."""
        sqls = statements.setup()
        mark = sha256("\n".join(sqls).encode()).hexdigest()[:12]
        if self._state.setup != mark:
            self._new.append(Batch(f"setup{mark}", sqls))
            self._state.setup = mark
        for column, reading in tables.with_columns((*self._state.columns.values(), *self._setting.readings)).items():
            if column not in self._state.columns:
                self._state.columns[column] = reading
                self._new.append(Batch(_id(), [tables.add_column_sql(reading)], optional=True))

    def _events(self) -> None:
        readable = {info.key for info in self._bucket.list("events/") if info.readable}
        catalogue, planned = self._setting.catalogue, self._state.planned.get(EVENTS, {})
        present = [file for day in catalogue.days() for file in catalogue.manifest(day).files]
        new = [file for file in present if file.key in readable and file.key not in planned]
        for group in _grouped(new):
            self._add(group)
        known = {*planned, *(file.key for file in new)}
        self._state.planned[EVENTS] = {file.key: "" for file in present if file.key in known}

    def _add(self, files: Sequence[File]) -> None:
        load = _id()
        columns = statements.columns_of(EVENTS, self._state.columns)
        encodes = [
            encoding.Encode(
                self._setting.source,
                file.key,
                file.typed,
                columns,
                {column: name for column, name in self._state.columns.items() if name in file.typed},
                f"{FILES}{load}/{number}",
                self._setting.memory_mb,
            )
            for number, file in enumerate(files)
        ]
        encoded = self._setting.spread(encoding.encode, encodes)
        events = {each.events: each.events_bytes for each in encoded}
        readings = {each.readings: each.readings_bytes for each in encoded}
        copied = [
            self._copied(load, EVENTS, columns, events),
            self._copied(load, READINGS, statements.columns_of(READINGS), readings),
        ]
        noted = [Noted(EVENTS, file.key, file.rows) for file in files]
        first, last = min(file.first_time for file in files), max(file.last_time for file in files)
        self._plan(Batch(load, statements.added(load, copied, noted, first, last)), len(files))

    def _periods(self, table: str, present: dict[str, str]) -> None:
        """Plan the days of a report whose objects have changed: `present` are their keys and ETags."""
        planned = self._state.planned.get(table, {})
        changed = [key for key in {**planned, **present} if planned.get(key) != present.get(key)]
        for start in range(0, len(changed), BATCH_FILES):
            some = changed[start : start + BATCH_FILES]
            removed = statements.on_day(tables.PERIOD_START, map(_day_of, some))
            self._replace(table, [key for key in some if key in present], some, removed)
        self._state.planned[table] = present

    def _bills(self) -> None:
        """Plan the months that were closed since: what is closed never changes."""
        planned = self._state.planned.setdefault(BILLS, {})
        for info in list(self._bucket.list(_BILLS)):
            if info.key.endswith("/bill.json") and info.key not in planned:
                lines = msgspec.json.decode(self._bucket.get(info.key), type=_Bill).lines
                month = date.fromisoformat(f"{info.key.removeprefix(_BILLS)[:7]}-01")
                self._replace(BILLS, [lines], [info.key], statements.in_month("month", [month]))
                planned[info.key] = lines

    def _devices(self) -> None:
        """Plan all devices, if any has changed."""
        folder = self._folder / "devices"
        folder.mkdir(parents=True, exist_ok=True)
        relations = {each.name: each for each in sources.relations(folder, (), self._setting.devices, ())}
        lines = b"".join(Path(path).read_bytes() for path in relations[DEVICES].files)
        mark = sha256(lines).hexdigest()[:16]
        if self._state.planned.get(DEVICES, {}).get(DEVICES) == mark:
            return
        self._state.planned[DEVICES] = {DEVICES: mark}
        if not lines:
            self._replace(DEVICES, [], [DEVICES], "1 = 1")
            return
        load = _id()
        key = f"{FILES}{load}/devices.ndjson"
        self._bucket.put(key, lines)
        self._replace(DEVICES, [key], [DEVICES], "1 = 1", load)

    def _replace(self, table: str, keys: Sequence[str], noted: Sequence[str], removed: str, load: str = "") -> None:
        load = load or _id()
        columns = statements.columns_of(table)
        targets = [f"{FILES}{load}/{number}.parquet" for number in range(len(keys))]
        rows = [
            encoding.Rows(self._setting.source, key, columns, target, self._setting.memory_mb)
            for key, target in zip(keys, targets, strict=True)
        ]
        encoded = self._setting.spread(encoding.encode_rows, rows)
        copied = Copied(table, columns, None)
        if keys:
            copied = self._copied(load, table, columns, dict(zip(targets, encoded, strict=True)))
        batch = Batch(load, statements.replaced(load, copied, [Noted(table, key, 0) for key in noted], removed))
        self._plan(batch, len(keys))

    def _copied(self, load: str, table: str, columns: Mapping[str, str], files: Mapping[str, int]) -> Copied:
        """Put the manifest of a table's load files."""
        key = f"{FILES}{load}/{table}.manifest"
        urls = {self._setting.source.url(name): size for name, size in files.items()}
        self._bucket.put(key, statements.manifest(urls))
        return Copied(table, columns, self._setting.source.url(key), statements.KEYS.get(table, ()))

    def _plan(self, batch: Batch, files: int) -> None:
        if len(batch.sqls) > statements.STATEMENTS_MAX:
            raise HeadraceError(f"A batch of {len(batch.sqls)} statements is more than Redshift takes.")
        self._new.append(batch)
        self._files += files


def _grouped(files: Sequence[File]) -> Iterator[list[File]]:
    """Yield files for batches: no event is twice in one, as an unchecked file has a batch of its own. Pure."""
    group: list[File] = []
    size = 0
    for file in files:
        if file.unchecked:
            yield [file]
            continue
        if group and (len(group) == BATCH_FILES or size + file.bytes > BATCH_BYTES):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.bytes
    if group:
        yield group


def _fitting(batches: Sequence[Batch]) -> list[Batch]:
    """Return the first batches, as many as `next.json` may hold. Pure."""
    found: list[Batch] = []
    size = 100
    for batch in batches:
        size += len(msgspec.json.encode(batch)) + 1
        if found and size > NEXT_BYTES_MAX:
            break
        found.append(batch)
    return found


def _day_of(key: str) -> date:
    return date.fromisoformat(key.partition("/dt=")[2][:10])


def _id() -> str:
    return uuid4().hex[:12]


def _read(body: bytes) -> State:
    try:
        return msgspec.json.decode(body, type=State)
    except msgspec.DecodeError as error:
        raise HeadraceError(
            f"{STATE} can't be read: {error}.", "Delete it to plan everything anew: what is loaded is not loaded twice."
        ) from None
