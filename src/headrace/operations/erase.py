"""Erasing a device, in a process of its own: what it is asked for is in `devices.py`.

What is to be gone is noted first, durably, in the table and in the archive: from then on no reader and no delivery
brings back what arrived before. Then it is removed, place by place; all of it can be repeated, and whatever ends it,
the next erase of the device begins anew and ends it. Other devices' events are there once at every moment.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from headrace import clock, device_registry, disk, rpc
from headrace.archive import erasing, erasures
from headrace.archive.base import Bucket
from headrace.archive.local import LocalBucket
from headrace.errors import InvalidObjectState, NotFound
from headrace.event import SORT_END, SORT_START, times
from headrace.jobs import days, history, report, work
from headrace.operations import bill_keeping, erase_failures
from headrace.operations.devices import Wanted
from headrace.record import parse_shard_id
from headrace.registration import Erasure, add_erasure, is_before
from headrace.settings import Layout
from headrace.stream.reader import Reader
from headrace.system import System
from headrace.table.base import Item, Table
from headrace.table.local import LocalTable
from headrace.warehouse.engine import FILE

ARRIVING_S = 60.0  # for functions to be done with what had arrived
WAREHOUSE_S = 60.0  # for its process to answer
BILLS = "bill"  # reports of that name hold accounts
AGGREGATES = "aggregate#"
_PAGE = 1000
_PAUSE_S = 0.2


class Done(msgspec.Struct, kw_only=True):
    """What an erase did. `left` says what is still there and what to do, a text each."""

    device_id: str
    before: str
    table_events: int = 0
    table_aggregates: int = 0
    registry_items: int = 0
    raw_objects: int = 0
    raw_records: int = 0
    files: int = 0
    file_events: int = 0
    reports: int = 0
    report_rows: int = 0
    failures: int = 0
    warehouse_rows: int = 0
    cold: list[str] = []
    left: list[str] = []


class Places(NamedTuple):
    """Where a device's data is.

    `keep_usage` has bills keep what they need of what had arrived of the device before a moment. `arriving` returns
    what counts the records that have come by then and that functions are not done with.
    """

    archive: Bucket
    folder: Path
    failures: Sequence[Bucket]
    events: Table
    devices: Table
    jobs: Path
    reports: Sequence[str]  # the names of those that there may be
    warehouse: Callable[[str], int]
    arriving: Callable[[], Callable[[], int]]
    keep_usage: Callable[[str, int], object] = lambda device_id, before_ms: None


def erase(places: Places, device_id: str, *, arriving_s: float = ARRIVING_S, job_s: float = work.PATIENCE_S) -> Done:
    """Erase what arrived of a device until now; return what was done. Raises HeadraceError; repeat it then."""
    device_registry.check_device_id(device_id)
    disk.make_folder(places.folder)
    with disk.held_file(places.folder / "erase.lock"):  # one at a time; others wait
        erasing.clean(places.folder)
        before_ms = clock.now_ms()
        done = Done(device_id=device_id, before=clock.rfc3339_ms(before_ms))
        _await_arriving(places, done, arriving_s)
        places.keep_usage(device_id, before_ms)  # while all of it is in the archive
        noted = erasures.begin(places.archive, device_id, before_ms * 1000)
        add_erasure(places.devices, Erasure(device_id, before_ms))
        archived = erasing.erase(places.archive, places.folder, noted)
        done.raw_objects, done.raw_records = archived.raw_objects, archived.raw_records
        done.files, done.file_events = archived.files, archived.events
        done.cold += archived.cold
        done.left += archived.problems
        noted = msgspec.structs.replace(noted, cold=(*archived.cold, *archived.damaged))
        erasures.write(places.archive, noted)  # before anybody restores them
        for name in places.reports:
            _erase_report(places, name, device_id, done, job_s)
        _erase_items(places, device_id, before_ms, done)
        for bucket in places.failures:
            _erase_failures(bucket, device_id, before_ms, done)
        done.warehouse_rows = places.warehouse(device_id)
        erasures.write(places.archive, msgspec.structs.replace(noted, finished=True))
        return done


def _await_arriving(places: Places, done: Done, seconds: float) -> None:
    """Wait until functions are done with what had arrived; what they are not done with is hidden later all the same."""
    clock.sleep(_PAUSE_S)  # a put that was under way is in the log by then
    pending = places.arriving()
    until_s = clock.monotonic_s() + seconds
    while count := pending():
        if clock.monotonic_s() > until_s:
            done.left.append(
                f"Records that arrived before ({count:,}) are still on their way to the table or the archive. What is "
                "of the device in them is not shown; erase again once `headrace status` has no pending records."
            )
            return
        clock.sleep(_PAUSE_S)


def _erase_report(places: Places, name: str, device_id: str, done: Done, seconds: float) -> None:
    """Take the device out of a report, and have the days that it was in computed again."""
    folder = history.Folder(places.jobs, name)
    with work.alone(folder, seconds):  # what was computed from the archive as it was is in place then
        if folder.committed() is not None:
            done.left.append(f"A run of {name} was interrupted: `headrace jobs run {name} --wait`, then erase again.")
        changed = []
        for key in erasing.report_keys(places.archive, name):
            try:
                rows = erasing.erase_report(places.archive, places.folder, key, device_id)
            except InvalidObjectState:
                done.cold.append(key)
                continue
            except NotFound:
                continue
            if rows:
                done.reports, done.report_rows = done.reports + 1, done.report_rows + rows
                changed.append(key)
        _forget_days(folder, changed)


def _forget_days(folder: history.Folder, keys: Sequence[str]) -> None:
    """Have a job compute the days of these objects again: what came of the device since is in them, too."""
    try:
        seen = msgspec.json.decode(folder.seen.read_bytes(), type=days.Seen)
    except (FileNotFoundError, msgspec.DecodeError):
        return
    gone = {part[3:] for key in keys for part in key.split("/") if part.startswith("dt=")}
    left = {day: mark for day, mark in seen.days.items() if day not in gone}
    if left != seen.days:
        seen.days = left
        disk.write_file(folder.seen, msgspec.json.encode(seen))


def _erase_items(places: Places, device_id: str, before_ms: int, done: Done) -> None:
    """Delete a device's items: events and a registration from before, aggregates, configuration and state."""
    start = AGGREGATES  # they stand before the events; what else a partition has is no device's
    while page := places.events.query(device_id, start, SORT_END, _PAGE):
        gone = [item for item in page if _is_of_device(item, before_ms)]
        places.events.delete([(device_id, item.sort) for item in gone])
        events = sum(item.sort.startswith(SORT_START) for item in gone)
        done.table_events += events
        done.table_aggregates += len(gone) - events
        start = page[-1].sort + "\0"
    for noun in ("config", "state", device_registry.INFO):
        item = places.devices.get(device_id, noun)
        if item is None:
            continue
        if noun == device_registry.INFO and not is_before(device_registry.decode(item).registered_at, before_ms):
            continue  # it has sent again since: a new device of that name
        places.devices.delete([(device_id, noun)])
        done.registry_items += 1


def _erase_failures(bucket: Bucket, device_id: str, before_ms: int, done: Done) -> None:
    emptied = erase_failures.erase(bucket, device_id, before_ms)
    done.failures += emptied.documents
    if closed := emptied.unreadable + emptied.cold:
        done.left.append(
            f"{len(closed):,} failure documents can't be read, {closed[0]} first: look whether they tell of the "
            "device, and mend, restore or remove them."
        )


class _Arrived(msgspec.Struct):
    arrived_at: str


def _is_of_device(item: Item, before_ms: int) -> bool:
    """Return whether an item is an aggregate, or an event from before."""
    if not item.sort.startswith(SORT_START):
        return item.sort.startswith(AGGREGATES)
    arrived = msgspec.json.decode(item.attributes, type=_Arrived).arrived_at
    return times.from_text(arrived) < times.from_us(before_ms * 1000)


def run(layout: Layout, system: System, body: bytes) -> Done:
    """Erase in this process; return what was done, or raise as `erase` does."""
    return erase(_places(layout, system), msgspec.json.decode(body, type=Wanted).device_id)


def _places(layout: Layout, system: System) -> Places:
    names = {*report.files(Path(system.reports)), *_reported(layout, system)}
    return Places(
        archive=LocalBucket(layout.buckets / system.archive_bucket),
        folder=layout.archive,
        failures=[LocalBucket(layout.buckets / name) for name in system.failures_buckets],
        events=LocalTable.connect("events", layout.table_socket),
        devices=LocalTable.connect("devices", layout.table_socket),
        jobs=layout.jobs,
        reports=sorted(name for name in names if not name.startswith(BILLS)),
        warehouse=lambda device_id: _erase_from_warehouse(layout, device_id),
        arriving=lambda: Arriving(layout, system).pending,
        keep_usage=lambda device_id, before_ms: bill_keeping.keep(layout, system, device_id, before_ms, lambda _: None),
    )


def _erase_from_warehouse(layout: Layout, device_id: str) -> int:
    """Delete a device's rows in the warehouse, all in one transaction; return how many. It starts when it is asked."""
    if not (layout.warehouse / FILE).exists():
        return 0  # it was never used
    client = rpc.Client(layout.warehouse_socket, patience_s=WAREHOUSE_S)
    try:
        return sum(rpc.decode(client.call("erase", device_id), type=dict[str, int]).values())
    finally:
        client.close()


def _reported(layout: Layout, system: System) -> set[str]:
    """Return the reports that have objects, of files that are no longer there as well."""
    folder = layout.buckets / system.archive_bucket / "reports"
    return {path.name for path in folder.glob("*") if path.is_dir()}


class _Checkpoint(msgspec.Struct):
    next: int


class Arriving:
    """The records that had arrived when it was made, and which of them `store` and `archive` are not done with."""

    def __init__(self, layout: Layout, system: System) -> None:
        self._runtime = rpc.Client(layout.runtime_socket)
        self._ends = {
            (mapping.function, mapping.stream): Reader(layout.streams / mapping.stream).bounds()
            for mapping in system.mappings
            if mapping.function in ("store", "archive")
        }

    def pending(self) -> int:
        """Return how many they are now."""
        answer = rpc.decode(self._runtime.call("checkpoints"), type=dict[str, dict[str, dict[str, _Checkpoint]]])
        count = 0
        for (function, stream), bounds in self._ends.items():
            passed = {
                parse_shard_id(shard): checkpoint.next
                for shard, checkpoint in answer.get(function, {}).get(stream, {}).items()
            }
            for shard, (first, end) in bounds.items():
                count += max(0, end - max(first, passed.get(shard, first)))
        return count
