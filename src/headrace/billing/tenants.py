"""`reports/tenants.csv`: whose a device is, and by which tariff, from when on. Pure.

    device_id,tenant,tariff,valid_from
    pump-1,acme,basic,2026-01-01
    pump-1,globex,basic,2026-11-17T09:30:00Z
    pump-2,,,2026-12-01

A row holds from its `valid_from`, to the microsecond, until the device's next one: a device may change hands as often
as it likes, also twice on one day. Without tenant and tariff it is nobody's from then on.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from headrace.billing import csvfile
from headrace.billing.csvfile import Faults, Row, Wrong, attempt
from headrace.billing.tariffs import OPEN_END, Tariffs

FILE = "reports/tenants.csv"
COLUMNS = ("device_id", "tenant", "tariff", "valid_from")
_DEVICE_BYTES_MAX = 2048


class Assignment(NamedTuple):
    """Whose a device is from `valid_from` to `valid_to` (exclusive); `line` is where that is said."""

    device_id: str
    tenant: str
    tariff: str
    valid_from: datetime
    valid_to: datetime
    line: int


class Tenants(NamedTuple):
    """Every device's assignments, in order of time; without those that say nobody."""

    assignments: Mapping[str, tuple[Assignment, ...]]

    def at(self, device_id: str, time: datetime) -> Assignment | None:
        """Return whose a device is at a time (with a zone); None: nobody's."""
        held = self.assignments.get(device_id, ())
        place = bisect_right(held, time, key=lambda each: each.valid_from)
        found = held[place - 1] if place else None
        return found if found is not None and time < found.valid_to else None

    def all(self) -> Iterator[Assignment]:
        """Yield every assignment, by device and time."""
        for device_id in sorted(self.assignments):
            yield from self.assignments[device_id]


NONE = Tenants({})


def parse(data: bytes, tariffs: Tariffs, file: str = FILE) -> Tenants:
    """Return the tenants that a file holds, checked against the tariffs; raises FaultyFile with all that is wrong."""
    faults = Faults(file)
    lines = [found for row in csvfile.rows(data, COLUMNS, faults) if (found := _line(row, faults)) is not None]
    lines.sort(key=lambda each: (each.device_id, each.valid_from, each.line))
    assignments: dict[str, tuple[Assignment, ...]] = {}
    for device_id, group in groupby(lines, key=lambda each: each.device_id):
        held = list(group)
        _check_moments(held, faults)
        ends = [*(each.valid_from for each in held[1:]), OPEN_END]
        ended = (each._replace(valid_to=end) for each, end in zip(held, ends, strict=True))
        if kept := tuple(each for each in ended if each.tenant):
            assignments[device_id] = kept
    _check_tariffs(lines, tariffs, faults)
    faults.check()
    return Tenants(assignments)


def _line(row: Row, faults: Faults) -> Assignment | None:
    values, line = row.values, row.line
    device_id = attempt(faults, line, lambda: _device(values["device_id"]))
    valid_from = attempt(faults, line, lambda: csvfile.instant("valid_from", values["valid_from"]))
    owner = attempt(faults, line, lambda: _owner(values["tenant"], values["tariff"]))
    if device_id is None or valid_from is None or owner is None:
        return None
    return Assignment(device_id, *owner, valid_from, OPEN_END, line)


def _device(value: str) -> str:
    if not 1 <= len(value.encode()) <= _DEVICE_BYTES_MAX:
        said = "empty" if not value else f"{len(value.encode()):,} bytes long"
        raise Wrong(f"device_id is {said}.", f"Write the device's id, of 1 to {_DEVICE_BYTES_MAX:,} bytes.")
    return value


def _owner(tenant: str, tariff: str) -> tuple[str, str]:
    if not tenant and not tariff:
        return "", ""
    if not tariff:
        hint = "Write the tariff that it goes by, or neither where the device is nobody's."
        raise Wrong(f"the tenant {tenant!r} has no tariff.", hint)
    return csvfile.name("tenant", tenant), csvfile.name("tariff", tariff)


def _check_moments(held: Iterable[Assignment], faults: Faults) -> None:
    before: Assignment | None = None
    for each in held:
        if before is not None and before.valid_from == each.valid_from:
            if before[:3] == each[:3]:
                faults.add(each.line, f"this row is the same as line {before.line}.", "Delete one of them.")
            else:
                problem = f"{each.device_id!r} has another row from this moment on, line {before.line}."
                faults.add(each.line, problem, "Give each change of a device its own moment, or delete one of them.")
        before = each


def _check_tariffs(lines: Iterable[Assignment], tariffs: Tariffs, faults: Faults) -> None:
    first: dict[str, tuple[str, int]] = {}
    for each in sorted(lines, key=lambda each: each.line):
        if not each.tenant:
            continue
        versions = tariffs.versions.get(each.tariff)
        if not versions:
            known = ", ".join(sorted(tariffs.versions)) or "none yet"
            faults.add(each.line, f"there is no tariff {each.tariff!r}.", f"tariffs.csv has: {known}.")
            continue
        if each.valid_from < versions[0].valid_from:
            problem = (
                f"there is a gap: {each.device_id!r} goes by {each.tariff!r} from {each.valid_from:%Y-%m-%dT%H:%M:%SZ},"
                f" but that begins {versions[0].valid_from:%Y-%m-%dT%H:%M:%SZ} (tariffs.csv:{versions[0].line})."
            )
            faults.add(each.line, problem, "Let the tariff begin earlier, or this row later.")
        currency, line = first.setdefault(each.tenant, (versions[0].currency, each.line))
        if currency != versions[0].currency:
            problem = f"{each.tenant!r} pays in {versions[0].currency} here, and in {currency} in line {line}."
            faults.add(each.line, problem, "Keep one currency a tenant.")
