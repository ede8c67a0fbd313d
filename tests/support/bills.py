"""Bills computed twice: by the shipped reports on an engine, and directly, in plain Python with Decimal.

The direct computation shares nothing with the product but the currencies' minor units: it takes rows as people write
them, event by event.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, NamedTuple

from headrace.archive import columns
from headrace.billing import money, tariffs, tenants
from headrace.billing import month as month_
from headrace.billing.files import Book
from headrace.jobs import days, report, sources, views
from headrace.jobs.base import Engine, Relation
from support.backend import ROOT
from support.jobs import Event, archive

Rows = list[dict[str, Any]]
Line = tuple[date, str, str, str, datetime | None, str]  # month, tenant, currency, tariff, tariff_from, meter


class Tier(NamedTuple):
    """A row of tariffs.csv; `free` and `minimum` as they are written."""

    tariff: str
    valid_from: str
    currency: str
    meter: str
    above: int
    unit_price: str
    free: str = ""
    minimum: str = ""


class Held(NamedTuple):
    """A row of tenants.csv."""

    device_id: str
    tenant: str
    tariff: str
    valid_from: str


def text(columns_: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    quoted = ('"' + str(value).replace('"', '""') + '"' for row in rows for value in row)
    width = len(columns_)
    values = list(quoted)
    lines = [",".join(values[at : at + width]) for at in range(0, len(values), width)]
    return "\n".join([",".join(columns_), *lines, ""]).encode()


def book(tiers: Iterable[Tier], held: Iterable[Held]) -> Book:
    found = tariffs.parse(text(tariffs.COLUMNS, tiers))
    return Book(found, tenants.parse(text(tenants.COLUMNS, held), found))


def event(device: str, time: str, count: int = 1, size: int = 100) -> list[Event]:
    """Return events a microsecond apart."""
    first = moment(time)
    return [
        Event(device, first + timedelta(microseconds=n), f"{n}", {"t": 1.0}, first, bytes=size) for n in range(count)
    ]


def moment(written: str) -> datetime:
    found = datetime.fromisoformat(written)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def by_reports(session: Engine, events: Sequence[Event], held: Book, folder: Path) -> tuple[Rows, Rows]:
    """Return the rows of bill_usage and bill_monthly, as an engine has written them."""
    folder.mkdir(parents=True, exist_ok=True)
    months = sorted({each.time.date().replace(day=1) for each in events})
    months = days.within(months[0], months[-1]) if months else [date(2026, 1, 1)]
    found: dict[str, Rows] = {}
    for name, files in (("bill_usage", archive(folder / "archive", events, ("t",))), ("bill_monthly", [])):
        read = report.load(ROOT / "reports" / f"{name}.sql")
        session.relation(Relation(views.ARCHIVED, columns.schema(("t",)), files))
        ends = month_.following if read.monthly else sources.tomorrow
        for relation in sources.relations(folder, months if read.monthly else None, None, (), held, ends):
            session.relation(relation)
        views.define(session, tuple(columns.schema(("t",))), ("t",), None)
        session.write(read.sql, folder / name, order=read.keys, day=report.START)
        written = sorted(map(str, (folder / name).rglob("*.parquet")))
        if written or name in views.USED:
            session.relation(Relation(name, None if written else views.USED[name], written))
        found[name] = list(session.rows(written)) if written else []
    return found["bill_usage"], found["bill_monthly"]


def amounts(rows: Rows) -> dict[Line, tuple[int, Decimal]]:
    """Return quantity and amount by what tells a line apart."""
    return {
        (
            row["period_start"].date(), row["tenant"], row["currency"], row["tariff"],
            row["tariff_from"].replace(tzinfo=UTC) if row["tariff_from"] else None, row["meter"],
        ): (row["quantity"], row["amount"])
        for row in rows
    }  # fmt: skip


def directly(events: Sequence[Event], tiers: Sequence[Tier], held: Sequence[Held]) -> dict[Line, tuple[int, Decimal]]:
    """Compute every line of every month that has events, from one event to the next."""
    counted: dict[Any, dict[str, int]] = defaultdict(lambda: {"events": 0, "bytes": 0, "device_months": 0})
    seen: set[tuple[date, str, str]] = set()
    for each in sorted(events, key=lambda each: each.time):
        owner = _latest((row for row in held if row.device_id == each.device_id), each.time)
        if owner is None or not owner.tenant:
            continue
        version = _latest((row for row in tiers if row.tariff == owner.tariff), each.time)
        assert version is not None
        month = each.time.astimezone(UTC).date().replace(day=1)
        found = counted[month, owner.tenant, owner.tariff, moment(version.valid_from)]
        found["events"] += 1
        found["bytes"] += each.bytes
        if (month, owner.tenant, each.device_id) not in seen:
            seen.add((month, owner.tenant, each.device_id))
            found["device_months"] += 1
    lines: dict[Line, tuple[int, Decimal]] = {}
    for (month, tenant, tariff, begins), quantities in counted.items():
        rows = [row for row in tiers if row.tariff == tariff and moment(row.valid_from) == begins]
        for meter in {row.meter for row in rows}:
            if quantity := quantities[meter]:
                priced = [row for row in rows if row.meter == meter]
                exact = _price(quantity, priced)
                amount = exact.quantize(Decimal(1).scaleb(-money.DIGITS[rows[0].currency]), ROUND_HALF_UP)
                lines[month, tenant, rows[0].currency, tariff, begins, meter] = (quantity, amount)
    for month in _months(events):
        for tenant in {row.tenant for row in held if row.tenant}:
            _minimum(month, tenant, tiers, held, lines)
    return lines


def _price(quantity: int, rows: Sequence[Tier]) -> Decimal:
    """Add up unit by unit where that is feasible, else tier by tier from the top."""
    free = max(int(row.free or 0) for row in rows)
    left, total = max(quantity - free, 0), Decimal(0)
    for row in sorted(rows, key=lambda row: -row.above):
        if left > row.above:
            total += (left - row.above) * Decimal(row.unit_price)
            left = row.above
    return total


def _minimum(
    month: date, tenant: str, tiers: Sequence[Tier], held: Sequence[Held], lines: dict[Line, tuple[int, Decimal]]
) -> None:
    """Add the line for what is missing to the minimum, going through every moment at which anything changes."""
    begin = datetime(month.year, month.month, 1, tzinfo=UTC)
    end = datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)
    changes = {begin, *(moment(row.valid_from) for row in tiers), *(moment(row.valid_from) for row in held)}
    found: dict[str, Decimal] = {}
    for time in sorted(each for each in changes if begin <= each < end):
        for device in {row.device_id for row in held}:
            owner = _latest((row for row in held if row.device_id == device), time)
            if owner is not None and owner.tenant == tenant:
                version = _latest((row for row in tiers if row.tariff == owner.tariff), time)
                assert version is not None
                same = (row for row in tiers if row[:2] == version[:2])
                minimum = max(Decimal(row.minimum or 0) for row in same)
                found[version.currency] = max(minimum, found.get(version.currency, Decimal(0)))
    for currency, minimum in found.items():
        owed = sum((line[1] for key, line in lines.items() if key[:3] == (month, tenant, currency)), Decimal(0))
        if minimum > owed:
            lines[month, tenant, currency, "", None, "minimum"] = (0, minimum - owed)


def _latest(rows: Iterable[Any], time: datetime) -> Any:
    valid = [row for row in rows if moment(row.valid_from) <= time]
    return max(valid, key=lambda row: moment(row.valid_from), default=None)


def _months(events: Sequence[Event]) -> list[date]:
    found = sorted({each.time.astimezone(UTC).date().replace(day=1) for each in events})
    return days.within(found[0], found[-1]) if found else []
