"""Aggregates as items of the table `events`, which devices ask `device_api` for. Pure.

An item's sort key is `aggregate#<period>#<start>#<reading>`, its attributes are the other columns of its row. The same
row makes the same item, byte for byte: writing it again changes nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from headrace.jobs.report import ITEM_KEYS
from headrace.table.base import PARTITION_BYTES_MAX, SORT_BYTES_MAX, Item

PREFIX = "aggregate#"


def items(rows: Iterable[Mapping[str, Any]], period: str) -> Iterator[Item]:
    """Yield the items of rows; a reading whose name no key can hold has none."""
    for row in rows:
        sort = f"{PREFIX}{period}#{time_text(row['period_start'])}#{row['reading']}"
        if len(sort.encode()) <= SORT_BYTES_MAX and len(row["device_id"].encode()) <= PARTITION_BYTES_MAX:
            values = {name: _plain(value) for name, value in row.items() if name not in ITEM_KEYS}
            yield Item(row["device_id"], sort, msgspec.json.encode(values))


def time_text(time: datetime) -> str:
    """Return a time as sort keys have it: RFC 3339 in UTC, always with six decimals."""
    return time.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return msgspec.Raw((text.rstrip("0").rstrip(".") if "." in text else text).encode())
    if isinstance(value, datetime):
        return time_text(value)
    return value.isoformat() if isinstance(value, date) else value
