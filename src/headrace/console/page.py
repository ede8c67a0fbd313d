"""What happens now: verdict, figures, functions, failures, alarms, a device's day, the newest events.

Everything that a device sent is shown as text: never as markup.
"""

from typing import Any

from nicegui import ui

from headrace import clock
from headrace.console import charts, words
from headrace.console.backend import Backend
from headrace.console.device_card import DeviceCard
from headrace.console.failure_dialog import FailureDialog
from headrace.console.parts import STATE_CELL, WIDE, card, frame, table, tile
from headrace.console.snapshot import Alarm, Function, Snapshot
from headrace.console.verdict import BAD, FAIR, GOOD, state, verdict
from headrace.console.watcher import MINUTES, Watcher

REFRESH_S = 1.0


def build(backend: Backend, watcher: Watcher) -> None:
    """Build the page for one reader, and keep it up to date."""
    page = Page(backend, watcher)
    ui.timer(REFRESH_S, page.refresh)


class Page:
    """What one reader sees."""

    def __init__(self, backend: Backend, watcher: Watcher) -> None:
        self._watcher = watcher
        self._shown: tuple[int, int] = (-1, -1)
        self._dialog = FailureDialog(backend, watcher)
        with frame("/"):
            self._updated = ui.label("connecting …").classes("updated quiet")
        with ui.element("div").classes("verdict").props("id=verdict role=status") as self._verdict:
            self._headline = ui.label("Looking …").classes("headline")
            self._details = ui.label().classes("details")
        with ui.element("div").classes("tiles"):
            names = ("Events per second", "Waiting", "Table", "Archive", "Failures", "Alarms on")
            self._tiles = {name: tile(name) for name in names}
        with ui.element("div").classes("columns"):
            with card("Functions", "functions"):
                self._functions = function_table()
            with card("Events per second, the last hour", "rate"):
                self._rate = ui.echart(charts.options(filled=True), renderer="svg").classes("chart low")
        with ui.element("div").classes("columns"):
            with card("Failures", "failures"):
                self._no_failures = ui.label().classes("quiet")
                self._failures = failure_table()
                self._failures.on("rowClick", lambda event: self._dialog.open(event.args[1]["id"]))
            with card("Alarms", "alarms"):
                self._alarms = ui.element("div")
        self._device = DeviceCard(backend, watcher)
        with card("Newest events", "events"):
            self._no_events = ui.label("Nothing came in lately.").classes("quiet")
            self._events = event_table()

    def refresh(self) -> None:
        """Show what the watcher knows now."""
        now_ms, snapshot = clock.now_ms(), self._watcher.snapshot
        moment = (self._watcher.version, now_ms // 5000)
        if moment == self._shown or not self._watcher.version:
            return
        self._shown = moment
        self._updated.text = f"as of {words.utc(snapshot.at_ms)}" if snapshot.at_ms else "no answer yet"
        self._show_verdict(snapshot, now_ms)
        self._show_tiles(snapshot)
        self._functions.rows = [function_row(each) for each in snapshot.functions]
        self._show_rates(snapshot)
        self._show_failures(snapshot, now_ms)
        self._show_alarms(snapshot, now_ms)
        self._device.offer(snapshot.devices)
        self._events.rows = [
            {
                "id": each.place,
                "arrived": words.ago(each.arrived_ms, now_ms),
                "device": words.readable(each.device),
                "readings": words.one_line(each.readings) if each.fault is None else f"no event: {each.fault}",
            }
            for each in snapshot.events
        ]
        self._no_events.visible = not snapshot.events
        self._events.visible = bool(snapshot.events)

    def _show_verdict(self, snapshot: Snapshot, now_ms: int) -> None:
        level, headline, details = verdict(snapshot, now_ms)
        self._verdict.classes(level, remove=f"{GOOD} {FAIR} {BAD}")
        self._headline.text, self._details.text = headline, "\n".join(details)

    def _show_tiles(self, snapshot: Snapshot) -> None:
        table, archive, alarms = snapshot.table, snapshot.archive, snapshot.alarms_on
        failures = snapshot.failure_documents
        shown = {
            "Events per second": (words.rate(snapshot.per_s), f"{words.count(snapshot.accepted)} accepted in all", ""),
            "Waiting": (words.count(snapshot.pending), "for a function", ""),
            "Table": (words.count(table.get("items", 0)), f"events, {words.size(table.get('bytes', 0))}", ""),
            "Archive": (
                words.count(archive.get("records", 0)),
                f"records, {words.size(archive.get('bytes', 0))}",
                "",
            ),
            "Failures": (words.count(failures), "kept to be replayed", ""),
            "Alarms on": (words.count(len(alarms)), f"of {len(snapshot.alarms)}", BAD if alarms else ""),
        }
        for name, (value, note, level) in shown.items():
            value_label, note_label = self._tiles[name]
            value_label.text, note_label.text = value, note
            value_label.classes(level, remove=BAD)

    def _show_rates(self, snapshot: Snapshot) -> None:
        points = snapshot.rates
        if points and self._rate.options["series"][0]["data"] != [list(point) for point in points]:
            start_ms = points[0][0]
            charts.show(self._rate.options, points, start_ms, start_ms + MINUTES * 60_000, from_zero=True)
            self._rate.update()

    def _show_failures(self, snapshot: Snapshot, now_ms: int) -> None:
        failures = snapshot.failures
        more = f"The {len(failures)} newest of {snapshot.failure_documents:,}. " if failures else ""
        self._no_failures.text = f"{more}Choose one to see what was sent, and to replay it." if failures else "None."
        self._failures.visible = bool(failures)
        self._failures.rows = [
            {
                "id": each.id,
                "when": words.ago(words.parse_ms(each.time), now_ms),
                "function": each.function or "unknown",
                "why": words.reason(each.reason, each.message),
                "records": each.records,
                "level": GOOD if each.replayed_at else "" if each.rejected else FAIR,
                "state": "replayed" if each.replayed_at else "rejected" if each.rejected else "given up",
            }
            for each in failures
        ]

    def _show_alarms(self, snapshot: Snapshot, now_ms: int) -> None:
        self._alarms.clear()
        with self._alarms:
            if not snapshot.alarms:
                ui.label("The template declares none.").classes("quiet")
            for alarm in sorted(snapshot.alarms, key=lambda each: (each.state != "ALARM", each.name)):
                alarm_row(alarm, now_ms)


def function_table() -> ui.table:
    """Return the table of functions."""
    found = table(
        [
            {"name": "name", "label": "Function", "classes": "tight"},
            {"name": "state", "label": "How it does"},
            {"name": "behind", "label": "Behind", "align": "right", "classes": "tight"},
            {"name": "waiting", "label": "Waiting", "align": "right", "classes": "tight"},
            {"name": "done", "label": "Done", "align": "right", **WIDE},
            {"name": "failed", "label": "Failed", "align": "right", **WIDE},
        ],
        "name",
    )
    found.add_slot("body-cell-state", STATE_CELL)
    return found


def function_row(function: Function) -> dict[str, Any]:
    """Return a function's row."""
    level, text = state(function)
    account = function.account
    behind = "–" if account is None else words.duration(account["iterator_age_ms"] if account["pending"] else 0)
    return {
        "name": function.name,
        "level": level,
        "state": text,
        "behind": "0 s" if behind == "under 1 s" else behind,
        "waiting": "–" if account is None else words.count(account["pending"]),
        "done": "–" if account is None else words.count(account["processed"]),
        "failed": "–" if account is None else words.count(account["failed"]),
    }


def failure_table() -> ui.table:
    """Return the table of failures."""
    found = table(
        [
            {"name": "when", "label": "When", "classes": "tight"},
            {"name": "function", "label": "Function", **WIDE},
            {"name": "why", "label": "Why"},
            {"name": "records", "label": "Records", "align": "right", **WIDE},
            {"name": "state", "label": "State", "classes": "tight"},
        ],
        "id",
    )
    found.add_slot("body-cell-state", STATE_CELL)
    found.classes("pick")
    return found.props('rows-per-page-options="[0]"')


def event_table() -> ui.table:
    """Return the table of the newest events."""
    return table(
        [
            {"name": "arrived", "label": "Arrived", "classes": "tight"},
            {"name": "device", "label": "Device", "classes": "short"},
            {"name": "readings", "label": "Readings"},
        ],
        "id",
    )


def alarm_row(alarm: Alarm, now_ms: int) -> None:
    """Add an alarm: its name, its state in words, and why."""
    level, text = {"ALARM": (BAD, "on"), "OK": (GOOD, "off")}.get(alarm.state, ("", "not enough data yet"))
    with ui.element("div").classes("alarm"):
        with ui.element("div"):
            ui.element("span").classes(f"dot {level}")
            ui.label(alarm.name).classes("name").style("display: inline")
            ui.label(f" {text}, {words.ago(alarm.since_ms, now_ms)}").classes("quiet").style("display: inline")
        ui.label(alarm.description or alarm.reason).classes("quiet")
        if alarm.state == "ALARM" and alarm.description:
            ui.label(alarm.reason).classes("quiet")
