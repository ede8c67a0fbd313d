"""What the function `store` does for the registry: devices are registered on their first event, erased ones forgotten.

    registration = Registration(table)
    kept = [event for event in events if not registration.is_erased(event.device_id, event.arrived_ms)]
    …put them…
    registration.register({event.device_id: event.arrived_ms for event in kept})
    if registration.news():
        …what is erased by now of those just put has to go again…

An erase first writes its item, then deletes. So what was put before the news were asked for is either deleted by the
erase or told to whoever put it: nothing comes back, however often a record is delivered.
"""

import contextlib
from collections.abc import Iterable, Mapping, Set

import msgspec

from headrace import clock
from headrace.device_registry import BY_EVENT, INFO, Info, decode, item
from headrace.errors import Conflict
from headrace.table.base import Item, Table

KNOWN_MAX = 500_000  # devices; a process that has seen more begins anew
PAGE = 1000
PARTITION = "headrace"  # of erasures; a device of that name has other sorts
_PREFIX, _END = "erasure#", "erasure$"


class Erasure(msgspec.Struct, frozen=True):
    """Events of a device that arrived before `before_ms` are none."""

    device_id: str
    before_ms: int


class _Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    """An erasure as an item has it. In DynamoDB `device_id` is the key's name: only earlier local tables have that."""

    before_ms: int
    version: int
    erased: str | None = None
    device_id: str = ""


_stored = msgspec.json.Decoder(_Stored).decode


def _erasure(item: Item) -> Erasure:
    found = _stored(item.attributes)
    return Erasure(found.device_id if found.erased is None else found.erased, found.before_ms)


class Registration:
    """What one process knows of the table of devices. A device that it knows costs nothing."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._known: set[str] = set()
        self._erased: dict[str, int] = {}
        self._last = _PREFIX

    @property
    def has_erased(self) -> bool:
        """Return whether any erasure is known: without one nothing needs to be looked at."""
        return bool(self._erased)

    def is_erased(self, device_id: str, arrived_ms: int) -> bool:
        """Return whether an event that arrived then is known to be erased."""
        return arrived_ms < self._erased.get(device_id, 0)

    def knows(self, devices: Set[str]) -> bool:
        """Return whether all of these are registered: nearly always so, and soon seen."""
        return devices <= self._known

    def register(self, arrivals: Mapping[str, int]) -> None:
        """Register those devices that are not, by when an event of theirs arrived (milliseconds since 1970)."""
        new = arrivals.keys() - self._known
        if not new:
            return
        self._table.put_absent(
            [item(each, Info(1, clock.rfc3339_ms(arrivals[each]), BY_EVENT)) for each in sorted(new)]
        )
        if len(self._known) + len(new) > KNOWN_MAX:
            self._known.clear()
        self._known |= new

    def unregister(self, devices: Iterable[str]) -> None:
        """Take away registrations that are older than the devices' erasures; they may have come in between."""
        for device_id in devices:
            found = self._table.get(device_id, INFO)
            if found is not None and is_before(decode(found).registered_at, self._erased.get(device_id, 0)):
                self._table.delete([(device_id, INFO)])

    def news(self) -> set[str]:
        """Ask for erasures since the last time, and return the devices: none of them counts as known any more."""
        found: list[Item] = []
        while page := self._table.query(PARTITION, self._last + "\0", _END, PAGE):
            found += page
            self._last = page[-1].sort
        erased = [_erasure(each) for each in found]
        for each in erased:
            self._erased[each.device_id] = max(each.before_ms, self._erased.get(each.device_id, 0))
        devices = {each.device_id for each in erased}
        self._known -= devices
        return devices


def add_erasure(table: Table, erasure: Erasure) -> None:
    """Write an erasure behind all others; raises Conflict if another was written at the same moment."""
    last = table.query(PARTITION, _PREFIX, _END, 1, newest_first=True)
    number = int(last[0].sort[len(_PREFIX) :]) + 1 if last else 1
    stored = _Stored(erasure.before_ms, 1, erasure.device_id)
    table.put_if_version(Item(PARTITION, f"{_PREFIX}{number:012d}", msgspec.json.encode(stored)), 0)


def is_erasure(item: Item) -> bool:
    """Return whether an item of the table of devices is an erasure."""
    return item.partition == PARTITION and item.sort.startswith(_PREFIX)


def add_erasures(table: Table, items: Iterable[Item]) -> int:
    """Write the erasures of another table behind this one's, unless it has them; return how many were written.

    Their numbers are of that table: here they may be another device's, and processes ask for what is behind the last.
    """
    known, added = erasures(table), 0
    for erasure in map(_erasure, items):
        while not known.is_erased(erasure.device_id, erasure.before_ms - 1):
            with contextlib.suppress(Conflict):  # somebody else took the number
                add_erasure(table, erasure)
                added += 1
            known.news()
    return added


def erasures(table: Table) -> Registration:
    """Return one that knows all erasures there are."""
    registration = Registration(table)
    registration.news()
    return registration


def is_before(rfc3339: str, ms: int) -> bool:
    """Return whether a time with milliseconds lies before one since 1970."""
    return rfc3339 < clock.rfc3339_ms(ms)
