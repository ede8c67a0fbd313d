"""The card of one device, which a reader chooses: its last day."""

from nicegui import ui

from headrace.console.backend import Backend
from headrace.console.day_chart import DayChart
from headrace.console.fleet import device_url
from headrace.console.parts import card
from headrace.console.watcher import Watcher


class DeviceCard:
    """Shows one device; until a reader chooses one, the first that is seen."""

    def __init__(self, backend: Backend, watcher: Watcher) -> None:
        self._is_choosing = False
        with card("A device’s last day", "device"):
            pickers = ui.element("div").classes("pickers")
            with pickers:
                self._device = ui.select(
                    watcher.snapshot.devices[:], label="Device", with_input=True, new_value_mode="add-unique",
                    on_change=self._load,
                ).props("outlined dense options-dense")  # fmt: skip
                self._device.on("focus", lambda: self._choosing(True)).on("blur", lambda: self._choosing(False))
            self._chart = DayChart(backend, pickers)
            with pickers:
                ui.button("More of it", on_click=self._open).props("flat dense no-caps")

    def offer(self, devices: list[str]) -> None:
        """Offer devices to choose from; not while somebody does, as new options take away what was written."""
        if self._is_choosing:
            return
        options = sorted({*devices, *([self._device.value] if self._device.value else [])})
        if options != self._device.options:
            self._device.set_options(options)
        if self._device.value is None and devices:
            self._device.value = devices[0]

    async def _load(self) -> None:
        await self._chart.load(self._device.value or "")

    def _choosing(self, is_choosing: bool) -> None:
        self._is_choosing = is_choosing

    def _open(self) -> None:
        if self._device.value:
            ui.navigate.to(device_url(self._device.value))
