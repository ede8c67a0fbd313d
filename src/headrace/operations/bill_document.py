"""Bills as JSON: what `headrace bills` shows, statements are made of, and items of the table hold. Pure.

Amounts are text with the currency's decimals, and exact.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

from headrace.billing import arithmetic, money
from headrace.billing import month as months
from headrace.billing.tariffs import Price, Tariffs

Row = Mapping[str, Any]
CLOSED, ENDED, PROVISIONAL = "closed", "ended", "provisional"


def line(row: Row) -> dict[str, Any]:
    """Return a line; what it has none of is left out."""
    told_elsewhere = ("month", "tenant")
    found = {name: value for name, value in row.items() if name not in told_elsewhere and value is not None}
    found["amount"] = money.plain(row["amount"], row["currency"])
    if row["adjusts"] is not None:
        found["adjusts"] = months.text(row["adjusts"])
    if row["tariff_from"] is not None:
        found["tariff_from"] = instant(row["tariff_from"])
    return found


def totals(lines: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return what lines come to, by currency."""
    found: dict[str, Decimal] = {}
    for each in lines:
        found[each["currency"]] = found.get(each["currency"], Decimal(0)) + Decimal(each["amount"])
    return {code: money.plain(amount, code) for code, amount in sorted(found.items())}


def bill(month: date, state: str, rows: Sequence[Row], tariffs: Tariffs) -> dict[str, Any]:
    """Return the bill of a month: its tenants with their lines, and of what tiers each line is."""
    return {
        "month": months.text(month),
        "state": state,
        "tenants": [
            {"tenant": tenant, "totals": totals(found), "lines": found} for tenant, found in _by_tenant(rows, tariffs)
        ],
    }


def _by_tenant(rows: Sequence[Row], tariffs: Tariffs) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    def order(row: Row) -> tuple[Any, ...]:
        return (
            row["tenant"], row["adjusts"] or date.min, row["meter"] == "minimum", row["tariff"],
            instant(row["tariff_from"]) if row["tariff_from"] else "", row["meter"],
        )  # fmt: skip

    for tenant, group in groupby(sorted(rows, key=order), key=lambda row: str(row["tenant"])):
        yield tenant, [line(row) | _explained(row, tariffs) for row in group]


def _explained(row: Row, tariffs: Tariffs) -> dict[str, Any]:
    """Return how a line of usage comes about: its tiers, and how much of the allowance is used."""
    price = _price(row, tariffs) if row["kind"] == "usage" else None
    if price is None:
        return {}
    found: dict[str, Any] = {
        "tiers": [
            {
                "above": part.above, "units": part.units,
                "unit_price": f"{part.unit_price:f}", "amount": f"{part.amount:f}",
            }
            for part in arithmetic.parts(price, row["quantity"])
        ]
    }  # fmt: skip
    if (percent := arithmetic.used_percent(row["quantity"], row["allowance"])) is not None:
        found["allowance_used_percent"] = percent
    return found


def _price(row: Row, tariffs: Tariffs) -> Price | None:
    begins = row["tariff_from"].replace(tzinfo=None)
    for version in tariffs.versions.get(row["tariff"], ()):
        if version.valid_from.replace(tzinfo=None) == begins:
            return version.prices.get(row["meter"])
    return None


def usage(month: date, state: str, rows: Sequence[Row], *, days: bool) -> dict[str, Any]:
    """Return the usage of a month by tenant and device, and with `days` by day; the tenant '' is nobody."""

    def device(row: Row) -> tuple[str, str]:
        return row["tenant"], row["device_id"]

    found = []
    for (tenant, device_id), group in groupby(sorted(rows, key=device), key=device):
        each = list(group)
        one: dict[str, Any] = {"tenant": tenant, "device_id": device_id, **_summed(each)}
        if days:
            one["days"] = [
                {
                    "day": f"{row['period_start']:%Y-%m-%d}", "tariff": row["tariff"],
                    "events": row["events"], "bytes": row["bytes"],
                }
                for row in sorted(each, key=lambda row: (row["period_start"], row["first_time"]))
            ]  # fmt: skip
        found.append(one)
    return {"month": months.text(month), "state": state, "devices": found}


def unbilled(rows: Sequence[Row]) -> dict[str, int]:
    """Return what nobody's devices sent."""
    nobodys = [row for row in rows if not row["tenant"]]
    return {"devices": len({row["device_id"] for row in nobodys}), **_summed(nobodys)}


def _summed(rows: Iterable[Row]) -> dict[str, int]:
    found = {"events": 0, "bytes": 0}
    for row in rows:
        found["events"] += row["events"]
        found["bytes"] += row["bytes"]
    return found


def instant(time: datetime) -> str:
    """Return a time of a row, which is UTC, in RFC 3339."""
    shown = time.replace(tzinfo=None)
    return shown.isoformat(timespec="microseconds" if shown.microsecond else "seconds") + "Z"
