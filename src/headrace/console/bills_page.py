"""Bills: each month, closed or not, and in it each tenant, with a statement to print; and what was used this month."""

from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from headrace.console import words
from headrace.console.backend import READING_S_MAX, Backend
from headrace.console.parts import card, frame, table
from headrace.errors import HeadraceError
from headrace.plural import counted

STATES = {"closed": "closed", "ended": "ended, to be closed", "provisional": "goes on"}
STATEMENT = "/statement"


class BillsPage:
    """What one reader sees of the bills."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        frame("/bills")
        with card("Bills", "bills"):
            self._note = ui.label("Reading …").classes("quiet").props("id=bills-note")
            self._months = month_table()
            self._months.on("rowClick", lambda event: self._open(event.args[1]["month"]))
        with card("", "month") as self._card:
            self._title = ui.label().classes("title")
            self._month_note = ui.label().classes("quiet").props("id=month-note")
            self._tenants = ui.element("div").props("id=tenants")
        self._card.visible = False

    async def load(self) -> None:
        """Read the months, and open the newest."""
        try:
            months = (await self._backend.get("bills", timeout_s=READING_S_MAX))["bills"]
        except HeadraceError as error:
            self._note.text = f"{error.problem} {error.hint}".strip()
            return
        months = sorted(months, key=lambda each: each["month"], reverse=True)
        self._months.rows = [month_row(each) for each in months]
        self._months.visible = bool(months)
        self._note.text = (
            "Choose a month to see its tenants. headrace bills close MONTH closes one that has ended."
            if months
            else "There are none: write reports/tariffs.csv and reports/tenants.csv, and run headrace jobs run bills."
        )
        if months:
            await self._open(months[0]["month"])

    async def _open(self, month: str) -> None:
        self._card.visible, self._title.text = True, month
        self._month_note.text = "Reading …"
        self._tenants.clear()
        try:
            bill = await self._backend.get(f"bills/{month}", timeout_s=READING_S_MAX)
        except HeadraceError as error:
            self._month_note.text = f"{error.problem} {error.hint}".strip()
            return
        if self._title.text != month:
            return  # another was chosen meanwhile
        self._month_note.text = words.readable(month_note(bill))
        with self._tenants:
            for tenant in bill["tenants"]:
                tenant_part(month, tenant)


def month_table() -> ui.table:
    """Return the table of months."""
    found = table(
        [
            {"name": "month", "label": "Month", "classes": "tight"},
            {"name": "state", "label": "State"},
            {"name": "tenants", "label": "Tenants", "align": "right"},
            {"name": "total", "label": "Total", "align": "right"},
        ],
        "month",
    )
    found.classes("pick")
    return found.props('rows-per-page-options="[0]"')


def month_row(bill: dict[str, Any]) -> dict[str, Any]:
    """Return a month's row."""
    return {
        "month": bill["month"],
        "state": STATES.get(bill["state"], bill["state"]),
        "tenants": words.count(bill["tenants"]),
        "total": money(bill["totals"]),
    }


def month_note(bill: dict[str, Any]) -> str:
    """Return what there is to say of a month."""
    state = f"Closed {bill['closed_at']}." if bill["state"] == "closed" else "Not closed: it still changes."
    unbilled = bill.get("unbilled") or {}
    if unbilled.get("events"):
        state += (
            f" {counted(unbilled['events'], 'event')} of {counted(unbilled['devices'], 'device')} "
            "without a tenant are on no bill."
        )
    return state


def tenant_part(month: str, tenant: dict[str, Any]) -> None:
    """Add a tenant's bill: its total, its lines, and the way to its statement."""
    with ui.element("div").classes("alarm tenant"):
        with ui.element("div").classes("bar"):
            ui.label(words.readable(tenant["tenant"])).classes("name")
            ui.label(money(tenant["totals"])).classes("name")
            query = urlencode({"month": month, "tenant": tenant["tenant"]})
            ui.link("Statement", f"{STATEMENT}?{query}", new_tab=True)
        for line in tenant["lines"]:
            ui.label(words.readable(line_text(line))).classes("quiet")


def line_text(line: dict[str, Any]) -> str:
    """Return what is said of a line: `basic: events, adjusts 2026-10, 62: 0.06 EUR`."""
    tariff = f"{line['tariff']}: " if line["tariff"] else ""
    adjusts = f", adjusts {line['adjusts']}" if line.get("adjusts") else ""
    quantity = f", {words.count(line['quantity'])}" if line["meter"] != "minimum" else ""
    return f"{tariff}{line['meter']}{adjusts}{quantity}: {line['amount']} {line['currency']}"


def money(totals: dict[str, str]) -> str:
    """Return totals by currency."""
    return ", ".join(f"{amount} {currency}" for currency, amount in sorted(totals.items())) or "–"
