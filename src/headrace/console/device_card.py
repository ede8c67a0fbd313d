"""The card of one device: its last day as a chart, and the readings to choose from."""

from nicegui import ui

from headrace import clock
from headrace.console import charts, words
from headrace.console.backend import Backend
from headrace.console.device import SLOT_MS, Day, last_day
from headrace.console.watcher import Watcher
from headrace.errors import HeadraceError


class DeviceCard:
    """Shows one device; until a reader chooses one, the first that is seen."""

    def __init__(self, backend: Backend, watcher: Watcher) -> None:
        self._backend = backend
        self._day: Day | None = None
        self._is_choosing = False
        with ui.element("section").classes("card").props("id=device"):
            ui.html("A device’s last day", sanitize=False, tag="h2")
            with ui.element("div").classes("pickers"):
                self._device = ui.select(
                    watcher.snapshot.devices[:], label="Device", with_input=True, new_value_mode="add-unique",
                    on_change=self._load,
                ).props("outlined dense options-dense")  # fmt: skip
                self._device.on("focus", lambda: self._choosing(True)).on("blur", lambda: self._choosing(False))
                self._reading = ui.select([], label="Reading", on_change=self._draw).props(
                    "outlined dense options-dense"
                )
                ui.button("Load again", on_click=self._load).props("flat dense no-caps")
            self._note = ui.label("Write or choose a device.").classes("quiet").props("id=device-note")
            self._chart = ui.echart(charts.options(filled=False), renderer="svg").classes("chart")

    def offer(self, devices: list[str]) -> None:
        """Offer devices to choose from; not while somebody does, as new options take away what was written."""
        if self._is_choosing:
            return
        options = sorted({*devices, *([self._device.value] if self._device.value else [])})
        if options != self._device.options:
            self._device.set_options(options)
        if self._device.value is None and devices:
            self._device.value = devices[0]

    def _choosing(self, is_choosing: bool) -> None:
        self._is_choosing = is_choosing

    async def _load(self) -> None:
        device = self._device.value
        if not device:
            return
        self._note.text = "Reading its day …"
        try:
            day = await last_day(self._backend, device, clock.now_ms())
        except HeadraceError as error:
            self._note.text = f"{error.problem} {error.hint}".strip()
            return
        if device != self._device.value:
            return  # another was chosen meanwhile
        self._day = day
        readings = list(day.series)
        self._reading.set_options(readings, value=self._reading.value if self._reading.value in readings else None)
        if self._reading.value is None and readings:
            self._reading.value = readings[0]
        else:
            self._draw()

    def _draw(self) -> None:
        day = self._day
        if day is None:
            return
        self._note.text = _note(day)
        points = day.series.get(self._reading.value or "", [])
        charts.show(self._chart.options, points, day.start_ms, day.end_ms + SLOT_MS, from_zero=False)
        self._chart.update()


def _note(day: Day) -> str:
    if not day.events:
        return f"There is no event of {words.readable(day.device)}."
    text = f"{words.counted(day.events, 'event')} up to {words.utc(day.end_ms)}"
    if not day.series:
        return f"{text}; none has a reading that is a number."
    if day.sampled_before_ms is not None:
        text += f"; before {words.utc(day.sampled_before_ms)} one event in five minutes"
    return f"{text}. Times are UTC."
