"""What reports read beside the archive: the table of devices and the failures bucket, as files that engines load."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from headrace import device_registry
from headrace.archive.base import Bucket
from headrace.errors import NotFound
from headrace.jobs import views
from headrace.jobs.base import Relation
from headrace.table.base import Item, Table

_PAGE = 1000


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


def relations(
    folder: Path, days: Sequence[date] | None, devices: Table | None, failures: Sequence[Bucket]
) -> list[Relation]:
    """Write the small relations into a folder, and return them."""
    rows = list(_devices(devices)) if devices else []
    return [
        _written(folder, "devices", views.DEVICES, rows),
        _written(folder, "properties", views.PROPERTIES, (each for row in rows for each in properties(row))),
        _written(folder, "rejected", views.REJECTED, (row for bucket in failures for row in _rejected(bucket))),
        _written(folder, "period", views.PERIOD, map(_period, days or ())),
        Relation("tariffs", views.TARIFFS, ()),
        Relation("tenants", views.TENANTS, ()),
    ]


def _written(folder: Path, name: str, columns: Mapping[str, str], rows: Any) -> Relation:
    path = folder / f"{name}.ndjson"
    with path.open("wb") as file:
        for row in rows:
            file.write(msgspec.json.encode(row) + b"\n")
    return Relation(name, columns, [str(path)] if path.stat().st_size else [])


def _devices(table: Table) -> Iterator[dict[str, str]]:
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


def _period(day: date) -> dict[str, str]:
    return {"begins": f"{day} 00:00:00", "ends": f"{day + timedelta(days=1)} 00:00:00"}


def _timestamp(rfc3339: str) -> str:
    return rfc3339.removesuffix("Z").replace("T", " ")
