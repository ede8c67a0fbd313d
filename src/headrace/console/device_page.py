"""One device: who it is, its last day, its configuration to edit, its aggregates, and what it has used this month."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from nicegui import ui

from headrace import clock
from headrace.console import words
from headrace.console.backend import READING_S_MAX, Backend
from headrace.console.config_card import ConfigCard
from headrace.console.day_chart import DayChart
from headrace.console.fleet import labels_text
from headrace.console.parts import WIDE, card, frame, table
from headrace.errors import HeadraceError, NotFound
from headrace.plural import counted

AGGREGATES = 48  # newest ones shown
_WIDE = ("sum", "last")


class DevicePage:
    """What one reader sees of a device."""

    def __init__(self, backend: Backend, device_id: str) -> None:
        self._backend = backend
        self._device_id = device_id
        frame("/fleet")
        with card(words.readable(device_id), "about"):
            self._facts = ui.label("Reading …").classes("facts").props("id=facts")
        with card("Its last day", "device"):
            self._chart = DayChart(backend, ui.element("div").classes("pickers"))
        with ui.element("div").classes("columns even"):
            self._config = ConfigCard(backend, device_id)
            with card("This month", "usage"):
                self._used = ui.label("Reading …").classes("facts").props("id=used")
        with card("Aggregates", "aggregates"):
            with ui.element("div").classes("pickers"):
                self._period = ui.select(
                    {"hour": "By hour", "day": "By day"}, value="hour", label="Period", on_change=self._aggregate
                ).props("outlined dense options-dense")
            self._note = ui.label().classes("quiet").props("id=aggregates-note")
            self._aggregates = aggregate_table()

    async def load(self) -> None:
        """Read everything, one after the other."""
        await self._describe()
        await self._chart.load(self._device_id)
        await self._config.load()
        await self._aggregate()
        await self._use()

    async def _describe(self) -> None:
        try:
            device = await self._backend.get("devices/show", timeout_s=READING_S_MAX, device=self._device_id)
        except HeadraceError as error:
            self._facts.text = f"{error.problem} {error.hint}".strip()
            return
        self._facts.text = words.readable("\n".join(facts(device, clock.now_ms())))

    async def _aggregate(self) -> None:
        try:
            answer = await self._backend.device_api(
                "aggregates", self._device_id, period=self._period.value, newest=True, limit=AGGREGATES
            )
        except HeadraceError as error:
            self._note.text, self._aggregates.visible = f"{error.problem} {error.hint}".strip(), False
            return
        found = answer["aggregates"]
        self._aggregates.rows = [aggregate_row(each) for each in found]
        self._aggregates.visible = bool(found)
        name = {"hour": "aggregate_hourly", "day": "aggregate_daily"}[self._period.value]
        none = f"There are none yet: the job {name} computes them, by schedule or with headrace jobs run {name}."
        self._note.text = f"The {len(found)} newest." if found else none

    async def _use(self) -> None:
        month = f"{datetime.fromtimestamp(clock.now_ms() / 1000, UTC):%Y-%m}"
        try:
            answer = await self._backend.get(
                f"bills/{month}/usage", timeout_s=READING_S_MAX, device=self._device_id
            )  # fmt: skip
        except NotFound:
            answer = {"devices": []}
        except HeadraceError as error:
            self._used.text = f"{error.problem} {error.hint}".strip()
            return
        self._used.text = words.readable("\n".join(usage_lines(month, answer["devices"])))


def facts(device: dict[str, Any], now_ms: int) -> list[str]:
    """Return what is known of a device, a line each."""
    registered = device.get("registered_at")
    by = "its first event" if device.get("registered_by") == "event" else "a command"
    found = [f"Registered by {by}, {words.ago(words.parse_ms(registered), now_ms)}" if registered else "Not registered"]
    if device.get("retired_at"):
        found.append(f"Retired {words.ago(words.parse_ms(device['retired_at']), now_ms)}")
    if device.get("labels"):
        found.append(labels_text(device["labels"]))
    if device.get("tenant"):
        found.append(f"Tenant {device['tenant']}, tariff {device.get('tariff') or '–'}")
    more = "more than " if device.get("more_events") else ""
    found.append(f"{more}{counted(device.get('events', 0), 'event')} in the table")
    if last := device.get("last_event"):
        readings = words.one_line(msgspec.json.encode(last["readings"]))
        found.append(f"Last event at {last['time']}: {readings or 'without readings'}")
    return found


def usage_lines(month: str, devices: list[dict[str, Any]]) -> list[str]:
    """Return what a device has used in a month, a line a tenant that it was with."""
    if not devices:
        return [f"Nothing is counted for {month} yet; the job bills counts once a day (headrace jobs run bills)."]
    return [
        f"{each['tenant'] or 'No tenant'}: {counted(each['events'], 'event')}, {words.size(each['bytes'])} "
        "of event data"
        for each in devices
    ]


def aggregate_table() -> ui.table:
    """Return the table of aggregates."""
    numbers = ("count", "min", "mean", "max", "sum", "last")
    return table(
        [
            {"name": "start", "label": "From", "classes": "tight"},
            {"name": "reading", "label": "Reading"},
            *(
                {
                    "name": name,
                    "label": name.capitalize(),
                    "align": "right",
                    **(WIDE if name in _WIDE else {}),
                }
                for name in numbers
            ),
        ],
        "key",
    )


def aggregate_row(aggregate: dict[str, Any]) -> dict[str, Any]:
    """Return an aggregate's row."""
    row = {
        "key": f"{aggregate['start']} {aggregate['reading']}",
        "start": aggregate["start"],
        "reading": words.readable(aggregate["reading"]),
    }
    return row | {name: number_text(aggregate.get(name)) for name in ("count", "min", "mean", "max", "sum", "last")}


def number_text(value: object) -> str:
    """Return a number as a reader takes it in: at most six digits behind the point."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return words.readable(str(value))
    if not isinstance(value, int | float):
        return "–"
    return f"{value:,.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value:,}"
