"""The registry of devices, as the command line and the console ask for it. Device ids stand in queries and bodies only.

GET  /_headrace/devices?after=&limit=&label=k=v&retired=1   {"devices": [{"device_id", "labels", "registered_at",
     &tenant=&unregistered=1                                "registered_by", "retired_at", "tenant", "tariff"}, …],
                                                            "next": text or null}
GET  /_headrace/devices/show?device=      the same of one device, its configuration's and state's version, its newest
                                          event, and how many events the table has of it
POST /_headrace/devices/add               {"device_id", "labels"}: registered with these labels beside those it had
POST /_headrace/devices/import            {"devices": [{"device_id", "labels"}, …]}: the same for many
POST /_headrace/devices/retire            {"device_id"}
POST /_headrace/devices/erase             {"device_id"}: answers what `erase.Done` says when it is done

Devices come in the order of the table: shorter ids first, then by bytes. `next` is what `after` takes. Tenant and
tariff are those of now, by `tenants.csv`; they are null where a device is nobody's, or that file can't be used.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec

from headrace import clock, device_registry
from headrace.billing import files
from headrace.billing.files import Book
from headrace.billing.tenants import Assignment
from headrace.device_registry import INFO, Info, Named
from headrace.errors import Conflict, NotFound, Unavailable, UsageError
from headrace.event import SORT_END, SORT_START, public
from headrace.operations import child
from headrace.settings import Layout
from headrace.system import System
from headrace.table.base import SORT_BYTES_MAX, Item, Table
from headrace.table.local import LocalTable
from headrace.wire import Handler, Request, Response, answer, json_body, nothing

EVENTS, DEVICES = "events", "devices"
NOUNS = ("config", "state", INFO)
LIMIT_MAX = 1000  # devices in an answer
LOOKED_AT_MAX = 20_000  # for one answer, wanted or not
COUNTED_MAX = 10_000  # events of one device
IMPORTED_MAX = 5000  # devices in one request
TRIES_MAX = 100  # of a write among others at the same item
_PAGE = 2000
_LAST_SORT = "\U0010ffff" * (SORT_BYTES_MAX // 4)  # behind every other of a partition


class _Device(msgspec.Struct):
    device_id: str
    labels: dict[str, str] = {}


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """Which device to erase."""

    device_id: str


class _Import(msgspec.Struct):
    devices: list[_Device]


class Devices:
    """Handlers for `paths()`."""

    def __init__(self, layout: Layout, system: System) -> None:
        declared = {table.name for table in system.tables}
        self._declared = {EVENTS, DEVICES} <= declared
        self._erasing = asyncio.Lock()
        self._gateway_log = layout.logs / "gateway.log"
        self._registry = Registry(
            LocalTable.connect(DEVICES, layout.table_socket),
            LocalTable.connect(EVENTS, layout.table_socket),
            Tenants(Path(system.reports)),
        )

    def paths(self) -> list[tuple[str, Handler]]:
        """Return what to register: path prefix and handler."""
        return [("/_headrace/devices", self.handle)]

    async def handle(self, request: Request) -> Response:
        """Answer one of the requests above."""
        query = parse_qs(request.query, keep_blank_values=True)
        match request.method, [part for part in request.path.split("/")[2:] if part]:
            case "GET", ["devices"]:
                return await self._answer(self._list, query)
            case "GET", ["devices", "show"]:
                return await self._answer(self._registry.show, query.get("device", [""])[-1])
            case "POST", ["devices", "add"]:
                return await self._answer(self._add, request)
            case "POST", ["devices", "import"]:
                return await self._answer(self._import, request)
            case "POST", ["devices", "retire"]:
                return await self._answer(lambda: self._registry.retire(json_body(request, _Device).device_id))
            case "POST", ["devices", "erase"]:
                # It goes on where nobody waits for it any more: half an erase is the worst that there is.
                return await answer(asyncio.shield(asyncio.create_task(self._erase(request))))
        return nothing(request)

    async def _erase(self, request: Request) -> bytes:
        """Erase in a process of its own, one device after the other."""
        wanted = json_body(request, Wanted)
        self._check()
        device_registry.check_device_id(wanted.device_id)
        ended = Unavailable("The erase was ended before it was done.", f"Erase again. See {self._gateway_log}.")
        async with self._erasing:
            return await child.ask("erase", wanted, ended)

    def _check(self) -> None:
        if not self._declared:
            raise NotFound(
                "The template declares no tables `events` and `devices`.", "Declare them as the built-in one does."
            )

    async def _answer(self, work: Callable[..., object], *arguments: object) -> Response:
        def checked() -> object:
            self._check()
            return work(*arguments)

        return await answer(asyncio.to_thread(checked))

    def _list(self, query: dict[str, list[str]]) -> dict[str, Any]:
        limit = query.get("limit", [str(LIMIT_MAX)])[-1]
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= LIMIT_MAX):
            raise UsageError(f"The limit is {limit[:20]!r}.", f"Write 1 to {LIMIT_MAX:,}.")
        labels = [text.partition("=")[::2] for text in query.get("label", [])]
        after = query.get("after", [""])[-1] or None
        if query.get("unregistered", [""])[-1]:
            return self._registry.unregistered(after, int(limit))
        tenant, is_retired = query.get("tenant", [None])[-1], bool(query.get("retired", [""])[-1])
        return self._registry.registered(after, int(limit), dict(labels), tenant, is_retired=is_retired)

    def _add(self, request: Request) -> dict[str, Any]:
        device = json_body(request, _Device)
        return self._registry.described(device.device_id, self._registry.add(device.device_id, device.labels))

    def _import(self, request: Request) -> dict[str, int]:
        devices = json_body(request, _Import).devices
        if len(devices) > IMPORTED_MAX:
            raise UsageError(f"{len(devices):,} devices are too many at once.", f"Send at most {IMPORTED_MAX:,}.")
        return self._registry.add_all([Named(device.device_id, device.labels) for device in devices])


class Registry:
    """The tables `devices` and `events`, as the registry uses them. Its methods may take a while: use threads."""

    def __init__(self, devices: Table, events: Table, tenants: "Tenants") -> None:
        self._devices = devices
        self._events = events
        self._tenants = tenants

    def add(self, device_id: str, labels: dict[str, str]) -> Info:
        """Register a device, or give one that is registered these labels as well; return what it is then."""
        return self._change(device_id, lambda before: device_registry.changed(before, labels, _now()))

    def retire(self, device_id: str) -> dict[str, Any]:
        """Retire a device; raises NotFound for one that is not registered."""

        def changed(before: Info | None) -> Info:
            if before is None:
                raise _unknown(device_id)
            return device_registry.retired(before, _now())

        return self.described(device_id, self._change(device_id, changed))

    def add_all(self, devices: Sequence[Named]) -> dict[str, int]:
        """Do what `add` does for each; return how many were new, changed and as they should be already."""
        for device_id, labels in devices:
            device_registry.check_device_id(device_id)
            device_registry.check_labels(labels)
        now = _now()
        counts = {"added": 0, "changed": 0, "unchanged": 0}
        new = {}
        for device_id, labels in devices:
            before = self._info(device_id)
            if before is None:
                new[device_id] = device_registry.changed(None, labels, now)
            elif device_registry.changed(before, labels, now) != before:
                self.add(device_id, labels)
                counts["changed"] += 1
            else:
                counts["unchanged"] += 1
        self._devices.put_absent([device_registry.item(device_id, info) for device_id, info in new.items()])
        for device_id, info in new.items():
            if self._info(device_id) != info:  # its first event came at the same moment
                self.add(device_id, info.labels)
        counts["added"] = len(new)
        return counts

    def registered(
        self, after: str | None, limit: int, labels: dict[str, str], tenant: str | None, *, is_retired: bool
    ) -> dict[str, Any]:
        """Return registered devices that have these labels and this tenant: the retired ones, or the others."""
        found: list[dict[str, Any]] = []
        if tenant is not None:
            self._tenants.check()
        for looked_at, (device_id, items) in enumerate(self._partitions(after)):
            if len(found) == limit or looked_at == LOOKED_AT_MAX:
                return {"devices": found, "next": after}
            after = device_id
            info = device_registry.decode(items[INFO]) if INFO in items else None
            if info is None or (info.retired_at is not None) != is_retired:
                continue
            row = self.described(device_id, info)
            is_labelled = all(info.labels.get(name) == value for name, value in labels.items())
            if is_labelled and (tenant is None or row["tenant"] == tenant):
                found.append(row)
        return {"devices": found, "next": None}

    def unregistered(self, after: str | None, limit: int) -> dict[str, Any]:
        """Return devices that the table has events of, and that are not registered."""
        found: list[dict[str, Any]] = []
        for _ in range(LOOKED_AT_MAX // 10):  # each is a look at both tables
            page = self._events.scan((after, _LAST_SORT) if after else None, 1)
            if not page:
                return {"devices": found, "next": None}
            after = page[0].partition
            if self._info(after) is None and self._events.query(after, SORT_START, SORT_END, 1):  # not bills, say
                found.append(self.described(after, None))
            if len(found) == limit:
                break
        return {"devices": found, "next": after}

    def show(self, device_id: str) -> dict[str, Any]:
        """Return everything about one device; raises NotFound where nothing is known of it."""
        device_registry.check_device_id(device_id)
        info = self._info(device_id)
        versions = {noun: self._version(device_id, noun) for noun in ("config", "state")}
        events = self._events.query(device_id, SORT_START, SORT_END, COUNTED_MAX + 1)
        newest = self._events.query(device_id, SORT_START, SORT_END, 1, newest_first=True)
        if info is None and not newest and not any(versions.values()):
            raise _unknown(device_id)
        return self.described(device_id, info) | {
            "registered": info is not None,
            "config_version": versions["config"],
            "state_version": versions["state"],
            "events": min(len(events), COUNTED_MAX),
            "more_events": len(events) > COUNTED_MAX,
            "last_event": msgspec.Raw(public(newest[0])) if newest else None,
        }

    def described(self, device_id: str, info: Info | None) -> dict[str, Any]:
        """Return what is shown of a device in a list."""
        assigned = self._tenants.of(device_id)
        return {
            "device_id": device_id,
            "labels": info.labels if info else {},
            "registered_at": info.registered_at if info else None,
            "registered_by": info.registered_by if info else None,
            "retired_at": info.retired_at if info else None,
            "tenant": assigned.tenant if assigned else None,
            "tariff": assigned.tariff if assigned else None,
        }

    def _info(self, device_id: str) -> Info | None:
        item = self._devices.get(device_id, INFO)
        return None if item is None else device_registry.decode(item)

    def _version(self, device_id: str, noun: str) -> int:
        item = self._devices.get(device_id, noun)
        return 0 if item is None else int(msgspec.json.decode(item.attributes)["version"])

    def _change(self, device_id: str, changed: Callable[[Info | None], Info]) -> Info:
        device_registry.check_device_id(device_id)
        for _ in range(TRIES_MAX):
            before = self._info(device_id)
            info = changed(before)
            try:
                if info != before:
                    expected = before.version if before else 0
                    self._devices.put_if_version(device_registry.item(device_id, info), expected)
            except Conflict:
                continue
            return info
        raise Conflict(f"Others write the device {device_id!r} all the time.", "Try again.")

    def _partitions(self, after: str | None) -> Iterator[tuple[str, dict[str, Item]]]:
        """Yield the devices of the table `devices` with their items, by sort; other partitions hold none."""

        def items() -> Iterator[Item]:
            place = (after, _LAST_SORT) if after else None
            while page := self._devices.scan(place, _PAGE):
                yield from page
                place = page[-1].partition, page[-1].sort

        for device_id, group in groupby(items(), key=lambda item: item.partition):
            if found := {item.sort: item for item in group if item.sort in NOUNS}:
                yield device_id, found


class Tenants:
    """Whose a device is now, by the project's `tenants.csv`, which is read again when it has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: tuple[object, Book, UsageError | None] | None = None

    def of(self, device_id: str) -> Assignment | None:
        """Return whose a device is; None: nobody's, or the file can't be used."""
        now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
        return self._load()[0].tenants.at(device_id, now)

    def check(self) -> None:
        """Raise UsageError if the file can't be used."""
        _, error = self._load()
        if error is not None:
            raise error

    def _load(self) -> tuple[Book, UsageError | None]:
        signature = [_signature(self._folder / name) for name in (files.TARIFFS, files.TENANTS)]
        if self._read is None or self._read[0] != signature:
            try:
                self._read = signature, files.load(self._folder), None
            except UsageError as error:
                self._read = signature, Book(), error
        return self._read[1:]


def _signature(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _unknown(device_id: str) -> NotFound:
    return NotFound(f"There is no device {device_id!r}.", "See: headrace devices list, or: headrace devices add DEVICE")


def _now() -> str:
    return clock.rfc3339_ms(clock.now_ms())
