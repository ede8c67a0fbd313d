"""The fleet: every registered device, found by label and tenant; each leads to its own page."""

from typing import Any
from urllib.parse import quote

from nicegui import ui

from headrace import clock
from headrace.console import words
from headrace.console.backend import READING_S_MAX, Backend
from headrace.console.parts import WIDE, card, frame, table
from headrace.errors import HeadraceError
from headrace.plural import counted

PAGE = 100  # devices at a time
KINDS = {"": "In service", "retired": "Retired", "unregistered": "Not registered"}


def device_url(device_id: str) -> str:
    """Return where a device's page is."""
    return f"/device?id={quote(device_id, safe='')}"


class FleetPage:
    """What one reader sees of the fleet."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._next: str | None = None
        frame("/fleet")
        with card("Fleet", "fleet"):
            with ui.element("div").classes("pickers"):
                self._named = ui.input("Device", placeholder="its id, whole").props("outlined dense")
                self._named.on("keydown.enter", self._open)
                ui.button("Show", on_click=self._open).props("flat dense no-caps id=show-device")
            with ui.element("div").classes("pickers"):
                self._label = ui.input("Label", placeholder="site=north").props("outlined dense")
                self._tenant = ui.input("Tenant").props("outlined dense")
                self._kind = ui.select(KINDS, value="", label="Which").props("outlined dense options-dense")
                ui.button("Find", on_click=self.load).props("flat dense no-caps id=find")
            for field in (self._label, self._tenant):
                field.on("keydown.enter", self.load)
            self._kind.on_value_change(self.load)
            self._note = ui.label("Reading …").classes("quiet").props("id=fleet-note")
            self._devices = device_table()
            self._devices.on("rowClick", lambda event: ui.navigate.to(device_url(event.args[1]["device_id"])))
            self._more = ui.button("More", on_click=self._load_more).props("flat dense no-caps id=more")

    async def load(self) -> None:
        """Show the first devices that are asked for."""
        self._devices.rows = []
        self._next = None
        await self._load_more()

    async def _load_more(self) -> None:
        query = {"limit": str(PAGE)}
        if self._label.value:
            query["label"] = self._label.value.strip()
        if self._tenant.value:
            query["tenant"] = self._tenant.value.strip()
        if self._kind.value:
            query[self._kind.value] = "1"
        if self._next:
            query["after"] = self._next
        try:
            answer = await self._backend.get("devices", timeout_s=READING_S_MAX, **query)
        except HeadraceError as error:
            self._note.text, self._more.visible = f"{error.problem} {error.hint}".strip(), False
            return
        now_ms = clock.now_ms()
        self._devices.rows = [*self._devices.rows, *(device_row(each, now_ms) for each in answer["devices"])]
        self._next = answer["next"]
        self._more.visible = self._next is not None
        shown = counted(len(self._devices.rows), "device")
        self._note.text = f"The first {shown}; there may be more." if self._next else f"{shown}."

    def _open(self) -> None:
        if self._named.value:
            ui.navigate.to(device_url(self._named.value))


def device_table() -> ui.table:
    """Return the table of devices."""
    found = table(
        [
            {"name": "shown", "label": "Device"},
            {"name": "tenant", "label": "Tenant"},
            {"name": "labels", "label": "Labels"},
            {"name": "registered", "label": "Registered", **WIDE},
            {"name": "by", "label": "By", **WIDE},
        ],
        "device_id",
    )
    found.classes("pick")
    return found.props('rows-per-page-options="[0]"')


def device_row(device: dict[str, Any], now_ms: int) -> dict[str, Any]:
    """Return a device's row."""
    by = {"event": "its first event", "command": "a command"}
    return {
        "device_id": device["device_id"],
        "shown": words.readable(device["device_id"]),
        "tenant": words.readable(device.get("tenant") or "–"),
        "labels": words.readable(labels_text(device.get("labels") or {})) or "–",
        "registered": words.ago(words.parse_ms(device.get("registered_at")), now_ms),
        "by": by.get(device.get("registered_by") or "", "–"),
    }


def labels_text(labels: dict[str, str]) -> str:
    """Return labels as they are written on the command line."""
    return " · ".join(f"{name}={value}" for name, value in labels.items())
