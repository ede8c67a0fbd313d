"""Asking the warehouse: a statement, its rows as a table, and what of them can be drawn as a chart."""

from typing import Any

from nicegui import ui

from headrace.console import result_chart, words
from headrace.console.backend import Backend
from headrace.console.parts import card, frame, table
from headrace.console.query import Query, Result, Value
from headrace.errors import HeadraceError
from headrace.plural import counted

EXAMPLES = {
    "Events by day": "select date_trunc('day', time) as day, count(*) as events from events group by 1 order by 1",
    "The busiest devices": "select device_id, count(*) as events from events group by 1 order by 2 desc limit 20",
    "A reading by hour": (
        "select period_start, reading, mean, min, max from hourly\nwhere device_id = 'DEVICE' order by 1"
    ),
    "What there is": "select table_name, column_name, data_type from svv_columns order by 1, 2",
}
TEXT_MAX = 300  # characters of a cell


class SqlPage:
    """What one reader asks. Nothing can be written from here."""

    def __init__(self, backend: Backend) -> None:
        self._query = Query(backend)
        self._result: Result | None = None
        frame("/sql")
        with card("Ask the warehouse", "ask"):
            self._text = ui.textarea("SQL", value=EXAMPLES["Events by day"]).props(
                'outlined autogrow input-class="code" id=sql'
            )
            self._text.on("keydown.ctrl.enter", self.run).on("keydown.meta.enter", self.run)
            with ui.element("div").classes("actions"):
                for name, sql in EXAMPLES.items():
                    ui.button(name, on_click=lambda sql=sql: self._text.set_value(sql)).props("flat dense no-caps")
                self._cancel = ui.button("Cancel", on_click=self._query.cancel).props("flat dense no-caps id=cancel")
                self._run = ui.button("Run", on_click=self.run).props("unelevated no-caps id=run")
            self._cancel.visible = False
            ui.label(
                "Redshift's SQL over events, readings, devices, hourly, daily, bills, as loaded last; Ctrl-Enter runs."
            ).classes("quiet")
        with card("Result", "result") as self._card:
            self._note = ui.label().classes("outcome").props("id=result-note role=status")
            self._chart = ui.echart(result_chart.EMPTY, renderer="svg").classes("chart")
            self._rows = ui.element("div").classes("scrolls").props("id=rows")
        self._card.visible = self._chart.visible = False

    async def run(self) -> None:
        """Run what is written."""
        sql = (self._text.value or "").strip()
        if not sql or self._cancel.visible:
            return
        self._run.disable()
        self._card.visible = self._cancel.visible = True
        self._say("", "Running …")
        try:
            self._show(await self._query.run(sql))
        except HeadraceError as error:
            self._rows.clear()
            self._chart.visible = False
            self._say("bad", words.readable(f"{error.problem} {error.hint}".strip()))
        finally:
            self._run.enable()
            self._cancel.visible = False

    def _show(self, result: Result) -> None:
        self._say("good", _note(result))
        self._rows.clear()
        if not result.columns:
            self._chart.visible = False
            return
        with self._rows:
            result_table(result)
        drawn = result_chart.options(result.columns, result.rows)
        self._chart.visible = drawn is not None
        if drawn is not None:
            self._chart.options.clear()
            self._chart.options.update(drawn)
            self._chart.update()

    def _say(self, level: str, text: str) -> None:
        self._note.text = text
        self._note.classes(level, remove="good bad")


def result_table(result: Result) -> ui.table:
    """Add the table of a result; every value is text."""
    numeric = {at for at in range(len(result.columns)) if result_chart.is_numeric(result.rows, at)}
    columns: list[dict[str, Any]] = [
        {"name": str(at), "label": words.readable(name), "align": "right" if at in numeric else "left"}
        for at, (name, _) in enumerate(result.columns)
    ]
    found = table(columns, "key")
    found.rows = [
        {"key": place, **{str(at): cell_text(value) for at, value in enumerate(row)}}
        for place, row in enumerate(result.rows)
    ]
    return found.props('rows-per-page-options="[0]"')


def cell_text(value: Value) -> str:
    """Return a value as it is shown."""
    if value is None:
        return "null"
    text = words.readable(str(value).lower() if isinstance(value, bool) else str(value))
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"


def _note(result: Result) -> str:
    took = words.duration(result.took_ms) if result.took_ms >= 1000 else f"{result.took_ms:.0f} ms"
    if not result.columns:
        return f"Done in {took}; it gives no rows."
    some = f"The first {len(result.rows):,} of " if result.total > len(result.rows) else ""
    return f"{some}{counted(result.total, 'row')} in {took}."
