"""The last day of one device as a chart, and its readings to choose from."""

from nicegui import ui

from headrace import clock
from headrace.console import charts, words
from headrace.console.backend import Backend
from headrace.console.device import SLOT_MS, Day, last_day
from headrace.errors import HeadraceError
from headrace.plural import counted


class DayChart:
    """Shows the day of the device that was last loaded; what chooses a reading goes into `pickers`."""

    def __init__(self, backend: Backend, pickers: ui.element) -> None:
        self._backend = backend
        self._device = ""
        self._day: Day | None = None
        with pickers:
            self._reading = ui.select([], label="Reading", on_change=self._draw).props("outlined dense options-dense")
            ui.button("Load again", on_click=lambda: self.load(self._device)).props("flat dense no-caps")
        self._note = ui.label("Write or choose a device.").classes("quiet").props("id=device-note")
        self._chart = ui.echart(charts.options(filled=False), renderer="svg").classes("chart")

    async def load(self, device: str) -> None:
        """Read a device's day, and show it."""
        self._device = device
        if not device:
            return
        self._note.text = "Reading its day …"
        try:
            day = await last_day(self._backend, device, clock.now_ms())
        except HeadraceError as error:
            self._note.text = f"{error.problem} {error.hint}".strip()
            return
        if device != self._device:
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
    text = f"{counted(day.events, 'event')} up to {words.utc(day.end_ms)}"
    if not day.series:
        return f"{text}; none has a reading that is a number."
    if day.sampled_before_ms is not None:
        text += f"; before {words.utc(day.sampled_before_ms)} one event in five minutes"
    return f"{text}. Times are UTC."
