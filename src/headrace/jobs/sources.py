"""What reports read beside the archive: the table of devices and the failures bucket, as files that engines load."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from headrace import device_registry
from headrace.archive.base import Bucket
from headrace.billing import money
from headrace.billing.files import Book
from headrace.billing.tariffs import QUANTITY_MAX, Version
from headrace.billing.tenants import Assignment
from headrace.clock import EPOCH
from headrace.errors import NotFound
from headrace.jobs import views
from headrace.jobs.base import Relation
from headrace.table.base import Item, Table

_PAGE = 1000
KEPT = "bills/kept/"
KEPT_VERSION = 1
NO_BOOK = Book()


class Day(NamedTuple):
    """The Parquet files that hold a day's events; `mark` changes with what they hold, and only then."""

    files: Sequence[str]
    mark: str


class Archived(NamedTuple):
    """What is archived, held still, by the day of the events: each identity once in all of the files.

    `columns` are the files' columns and types, `typed` those of them that are readings. Of the days in `cold` some
    files can't be read now; those days are left as they were computed before.
    """

    days: Mapping[date, Day]
    columns: Mapping[str, str]
    typed: Sequence[str]
    cold: frozenset[date] = frozenset()


class _Noun(msgspec.Struct):
    version: int
    updated_at: str
    config: msgspec.Raw = msgspec.Raw(b"{}")
    state: msgspec.Raw = msgspec.Raw(b"{}")


class _Rejected(msgspec.Struct):
    function: str | None = None
    reason: str | None = None
    partition_key: str | None = None
    stream: str | None = None
    shard: str | None = None
    sequence_number: str | None = None
    arrived_at: str | None = None


def tomorrow(day: date) -> date:
    """Return the day after."""
    return day + timedelta(days=1)


def relations(
    folder: Path,
    periods: Sequence[date] | None,
    devices: Table | None,
    failures: Sequence[Bucket],
    book: Book = NO_BOOK,
    ends: Callable[[date], date] = tomorrow,
    kept: Iterable[Mapping[str, object]] = (),
) -> list[Relation]:
    """Write the small relations into a folder, and return them; `ends` tells where a period ends that begins so."""
    rows = list(device_rows(devices)) if devices else []
    return [
        _written(folder, "devices", views.DEVICES, rows),
        _written(folder, "properties", views.PROPERTIES, (each for row in rows for each in properties(row))),
        _written(folder, "rejected", views.REJECTED, (row for bucket in failures for row in _rejected(bucket))),
        _written(folder, "period", views.PERIOD, (_period(each, ends(each)) for each in periods or ())),
        _written(folder, "tariffs", views.TARIFFS, (row for each in book.tariffs.all() for row in _tiers(each))),
        _written(folder, "tenants", views.TENANTS, map(_assignment, book.tenants.all())),
        _written(folder, "kept_usage", views.KEPT_USAGE, kept),
    ]


class Kept(msgspec.Struct):
    """Usage of a device that was erased, kept for bills: rows of `bill_usage`, all values text or null.

    Events of the device that arrived before `arrived_before_ms` since 1970 are in the rows, whether or not the archive
    still has them.
    """

    device_id: str
    arrived_before_ms: int
    rows: list[dict[str, str | None]]
    version: int = KEPT_VERSION


def kept_usage(archive: Bucket) -> Iterator[dict[str, str | None]]:
    """Yield the usage of devices that were erased."""
    for info in archive.list(KEPT):
        found = msgspec.json.decode(archive.get(info.key), type=Kept)
        before = _moment(EPOCH + timedelta(milliseconds=found.arrived_before_ms))
        for row in found.rows:
            yield {**row, "device_id": found.device_id, "arrived_before": before}


def _written(folder: Path, name: str, columns: Mapping[str, str], rows: Any) -> Relation:
    path = folder / f"{name}.ndjson"
    with path.open("wb") as file:
        for row in rows:
            file.write(msgspec.json.encode(row) + b"\n")
    return Relation(name, columns, [str(path)] if path.stat().st_size else [])


def device_rows(table: Table) -> Iterator[dict[str, str]]:
    """Yield a row a device; its items stand together in a scan."""
    row: dict[str, str] = {}
    after: tuple[str, str] | None = None
    while page := table.scan(after, _PAGE):
        for item in page:
            if row and row["device_id"] != item.partition:
                yield row
                row = {}
            if found := _noun(item):  # the table holds more than devices
                row |= {"device_id": item.partition, **found}
        after = page[-1].partition, page[-1].sort
    if row:
        yield row


def properties(row: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield the members of a device's config and state, a row each."""
    for source in ("config", "state"):
        members = msgspec.json.decode(row.get(source, "{}"), type=dict[str, msgspec.Raw])
        for name, value in members.items():
            text = bytes(value).decode()
            text = msgspec.json.decode(value, type=str) if text.startswith('"') else text
            yield {"device_id": row["device_id"], "source": source, "name": name, "value": text}


def _noun(item: Item) -> dict[str, str]:
    noun = item.sort
    if noun == device_registry.INFO:
        info = device_registry.decode(item)
        retired = {"retired_at": _timestamp(info.retired_at)} if info.retired_at else {}
        labels = msgspec.json.encode(dict(sorted(info.labels.items()))).decode()
        registered = {"registered_at": _timestamp(info.registered_at), "registered_by": info.registered_by}
        return {**registered, **retired, "labels": labels}
    if noun not in ("config", "state"):
        return {}
    found = msgspec.json.decode(item.attributes, type=_Noun)
    return {
        noun: bytes(getattr(found, noun)).decode(),
        f"{noun}_version": str(found.version),
        f"{noun}_updated_at": _timestamp(found.updated_at),
    }


def _rejected(bucket: Bucket) -> Iterator[dict[str, str | None]]:
    for info in bucket.list("rejected/"):
        # Replayed or removed since it was listed; or no document at all: `failures list` shows those.
        with contextlib.suppress(NotFound, msgspec.DecodeError):
            found = msgspec.json.decode(bucket.get(info.key), type=_Rejected)
            yield {**msgspec.structs.asdict(found), "arrived_at": _timestamp(found.arrived_at or "")}


def _period(begins: date, ends: date) -> dict[str, str]:
    return {"begins": f"{begins} 00:00:00", "ends": f"{ends} 00:00:00"}


def _tiers(version: Version) -> Iterator[dict[str, str]]:
    shared = {
        "tariff": version.tariff,
        "valid_from": _moment(version.valid_from),
        "valid_to": _moment(version.valid_to),
        "currency": version.currency,
        "digits": str(money.DIGITS[version.currency]),
        "minimum": f"{version.minimum:f}",
    }
    for meter, price in version.prices.items():
        for tier in price.tiers:
            up_to = QUANTITY_MAX if tier.up_to is None else tier.up_to
            limits = {"free": str(price.free), "above": str(tier.above), "up_to": str(up_to)}
            yield {**shared, "meter": meter, **limits, "unit_price": f"{tier.unit_price:f}"}


def _assignment(each: Assignment) -> dict[str, str]:
    held = {"device_id": each.device_id, "tenant": each.tenant, "tariff": each.tariff}
    return {**held, "valid_from": _moment(each.valid_from), "valid_to": _moment(each.valid_to)}


def _moment(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


def _timestamp(rfc3339: str) -> str:
    return rfc3339.removesuffix("Z").replace("T", " ")
