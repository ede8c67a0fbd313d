"""A tenant's bill as a page to print, and as CSV: made of the JSON that `GET /_headrace/bills/<month>` answers. Pure.

The page needs nothing but itself: no script, no font, no picture, no other file; everything that anybody has named is
escaped, and a policy in it forbids a browser to load or run anything.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from html import escape
from typing import Any

from headrace.billing import money
from headrace.plural import counted

Json = Mapping[str, Any]

COLUMNS = (
    "month", "state", "tenant", "currency", "kind", "adjusts", "tariff", "tariff_from", "meter", "quantity",
    "allowance", "amount",
)  # fmt: skip
METERS = {
    "events": "Events",
    "bytes": "Bytes of event data",
    "device_months": "Devices that sent in the month",
    "minimum": "To the monthly minimum",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light; }
body { font: 14px/1.45 system-ui, sans-serif; color: #1a1a1a; max-width: 60em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; margin: 0; } h2 { font-size: 1.1em; margin: 2em 0 .4em; }
.state { color: #8a4b00; font-weight: 600; } .muted { color: #666; }
table { border-collapse: collapse; width: 100%; } th, td { padding: .3em .6em; text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid #1a1a1a; } tbody td { overflow-wrap: anywhere; }
tbody tr + tr:not(.tier) td { border-top: 1px solid #ddd; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.tier td { color: #666; font-size: .92em; padding-top: 0; }
details { margin: .3em 0; } summary { cursor: pointer; }
details table { margin: .3em 0 1em 1em; width: calc(100% - 1em); }
@page { margin: 18mm; }
@media print {
  body { margin: 0; max-width: none; font-size: 10.5pt; }
  tr, summary { break-inside: avoid; } thead { display: table-header-group; }
}
"""


class Number(str):
    """The text of a cell that stands to the right."""

    __slots__ = ()


def to_csv(bill: Json) -> str:
    """Return the lines of a bill as CSV; what a spreadsheet would take for a formula gets an apostrophe in front."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for tenant in bill["tenants"]:
        for line in tenant["lines"]:
            row = {"month": bill["month"], "state": bill["state"], "tenant": tenant["tenant"], **line}
            writer.writerow([_cell(name, row.get(name)) for name in COLUMNS])
    return out.getvalue()


def to_html(bill: Json, tenant: Json, devices: Sequence[Json]) -> str:
    """Return a tenant's statement; `devices` is its usage, with days, as `GET bills/<month>/usage` has it."""
    title = f"{tenant['tenant']}: statement of {bill['month']}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"{_element('title', title)}<style>{_STYLE}</style></head><body>",
        _element("h1", tenant["tenant"]),
        _element("p", f"Statement of {bill['month']}, in UTC"),
        _element("p", *_state(bill)),
        *_lines([line for line in tenant["lines"] if line["kind"] != "adjustment"]),
        *_adjustments([line for line in tenant["lines"] if line["kind"] == "adjustment"]),
        *(
            _element("h2", f"Total: {code} {money.text(Decimal(sum_), code)}")
            for code, sum_ in tenant["totals"].items()
        ),
        *_devices(devices),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _state(bill: Json) -> tuple[str, str]:
    if bill["state"] == "closed":
        return f"Closed at {bill['closed_at']}: nothing of it changes any more.", "muted"
    return f"Provisional: the month {'is not closed yet' if bill['state'] == 'ended' else 'goes on'}.", "state"


def _lines(lines: Iterable[Json]) -> Iterator[str]:
    yield _head("What", "Tariff", Number("Quantity"), Number("Free"), Number("Amount"))
    for line in lines:
        counted = line["kind"] == "usage"
        free = min(line["quantity"], line["allowance"])
        yield _row(
            _meter(line),
            _tariff(line),
            Number(f"{line['quantity']:,}") if counted else "",
            Number(f"{free:,}") if free else "",
            Number(_money(line)),
        )
        yield from map(_tier, line.get("tiers", ()))
    yield "</tbody></table>"


def _tier(tier: Json) -> str:
    above = f"above {tier['above']:,}: " if tier["above"] else ""
    price, amount = (f"{Decimal(tier[name]).normalize():,f}" for name in ("unit_price", "amount"))
    shown = f"{above}{tier['units']:,} × {price} = {amount}"
    return f'<tr class="tier"><td class="number" colspan="5">{escape(shown)}</td></tr>'


def _adjustments(lines: Sequence[Json]) -> Iterator[str]:
    if not lines:
        return
    yield _element("h2", "Adjustments of closed months")
    yield _element("p", "Each is what the month comes to by now, less all that was billed for it.", "muted")
    yield _head("Month", "What", "Tariff", Number("Amount"))
    for line in lines:
        yield _row(line["adjusts"], _meter(line), _tariff(line), Number(_money(line)))
    yield "</tbody></table>"


def _devices(devices: Sequence[Json]) -> Iterator[str]:
    if not devices:
        return
    yield _element("h2", f"Usage of {counted(len(devices), 'device')}")
    for device in devices:
        yield "<details>"
        used = f"{counted(device['events'], 'event')}, {counted(device['bytes'], 'byte')}"
        yield _element("summary", f"{device['device_id']}: {used}")
        yield _head("Day", "Tariff", Number("Events"), Number("Bytes"))
        for day in device.get("days", ()):
            yield _row(day["day"], day["tariff"], Number(f"{day['events']:,}"), Number(f"{day['bytes']:,}"))
        yield "</tbody></table></details>"


def _element(name: str, text: str, kind: str = "") -> str:
    """Return an element of a text, whatever is in it."""
    return f"<{name}{_class(kind)}>{escape(text)}</{name}>"


def _head(*cells: str) -> str:
    """Return how a table begins."""
    return f"<table><thead><tr>{_cells('th', cells)}</tr></thead><tbody>"


def _row(*cells: str) -> str:
    """Return a row of a table."""
    return f"<tr>{_cells('td', cells)}</tr>"


def _cells(name: str, cells: Iterable[str]) -> str:
    return "".join(_element(name, str(cell), "number" if isinstance(cell, Number) else "") for cell in cells)


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _meter(line: Json) -> str:
    return METERS.get(line["meter"]) or str(line["meter"])


def _tariff(line: Json) -> str:
    begins = str(line.get("tariff_from", "")).removesuffix("T00:00:00Z")
    return f"{line['tariff']}, from {begins}" if begins else ""


def _money(line: Json) -> str:
    return f"{line['currency']} {money.text(Decimal(line['amount']), line['currency'])}"


def _cell(name: str, value: Any) -> Any:
    return f"'{value}" if name in ("tenant", "tariff") and str(value).startswith(_FORMULA) else value
