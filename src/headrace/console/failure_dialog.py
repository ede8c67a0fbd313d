"""The dialog of one failure: why, what was sent, and its replay with what came of it."""

from nicegui import ui

from headrace.console import words
from headrace.console.backend import Backend
from headrace.console.detail import Detail, detail
from headrace.console.snapshot import Failure
from headrace.console.watcher import Watcher
from headrace.errors import HeadraceError
from headrace.plural import counted


class FailureDialog:
    """Shows one failure at a time."""

    def __init__(self, backend: Backend, watcher: Watcher) -> None:
        self._backend = backend
        self._watcher = watcher
        self._failure: Failure | None = None
        self._detail: Detail | None = None
        with ui.dialog() as self._dialog, ui.card().classes("dialog").props("id=failure"):
            self._title = ui.label().classes("title")
            self._error = ui.label().classes("error")
            self._facts = ui.label().classes("quiet")
            self._which = ui.select({}, label="Record", on_change=self._show_record).props("outlined dense")
            self._kind = ui.label().classes("quiet").style("margin-top: 8px")
            self._payload = ui.label().classes("payload").props("id=payload")
            self._outcome = ui.label().classes("outcome").props("id=outcome role=status")
            with ui.element("div").classes("actions"):
                self._note = ui.label().classes("quiet")
                ui.button("Close", on_click=self._dialog.close).props("flat no-caps")
                self._replay = ui.button("Replay", on_click=self._on_replay).props("unelevated no-caps id=replay")

    async def open(self, failure_id: str) -> None:
        """Show a failure of the snapshot."""
        failure = next((each for each in self._watcher.snapshot.failures if each.id == failure_id), None)
        if failure is None:
            return
        self._failure, self._detail = failure, None
        self._title.text = f"{failure.function or 'A function'}: {words.reason(failure.reason, failure.message)}"
        self._facts.text = _facts(failure)
        self._error.visible = self._which.visible = self._outcome.visible = False
        self._kind.text, self._payload.text = "Reading what was sent …", ""
        self._show_replayed(failure.replayed_at)
        self._dialog.open()
        try:
            found = await detail(self._backend, failure)
        except HeadraceError as error:
            self._kind.text = f"{error.problem} {error.hint}".strip()
            return
        if self._failure is failure:
            self._show_detail(failure, found)

    def _show_detail(self, failure: Failure, found: Detail) -> None:
        self._detail = found
        if found.error and found.error != failure.message:
            self._error.text, self._error.visible = words.readable(found.error), True
        self._which.set_options({at: each.title for at, each in enumerate(found.sent)}, value=0)
        self._which.visible = len(found.sent) > 1
        self._show_record()

    def _show_record(self) -> None:
        if self._detail is not None:
            sent = self._detail.sent[self._which.value or 0]
            self._kind.text, self._payload.text = f"What was sent ({sent.kind}):", sent.text

    def _show_replayed(self, replayed_at: str | None) -> None:
        self._replay.text = "Replay again" if replayed_at else "Replay"
        self._note.text = f"Replayed {replayed_at}." if replayed_at else "A replay calls the function again with it."

    async def _on_replay(self) -> None:
        failure = self._failure
        if failure is None:
            return
        self._replay.disable()
        self._say("", "Replaying …")
        try:
            answer = await self._backend.post("failures/replay", {"ids": [failure.id]})
            result = answer["results"][0]
            await self._tell(failure, result["ok"], result["error"])
        except HeadraceError as error:
            self._say("bad", f"It was not replayed: {error.problem} {error.hint}".strip())
        finally:
            self._replay.enable()
            self._watcher.soon()

    async def _tell(self, failure: Failure, ok: bool, error: str | None) -> None:
        if not ok:
            self._say("bad", f"It failed again: {words.readable(error or '')}")
            return
        before = f" It was replayed before, {failure.replayed_at}." if failure.replayed_at else ""
        self._say("good", f"Replayed: {failure.function} succeeded with it this time.{before}")
        document = await self._backend.get("failures/document", id=failure.id)
        failure.replayed_at = str(document["replayed_at"])
        self._show_replayed(failure.replayed_at)

    def _say(self, level: str, text: str) -> None:
        self._outcome.visible, self._outcome.text = True, text
        self._outcome.classes(level, remove="good bad")


def _facts(failure: Failure) -> str:
    tried = f"tried {counted(failure.calls, 'time')}" if failure.calls else ""
    device = f"from {words.readable(failure.key)}" if failure.key else ""
    where = f"{failure.shard} {failure.sequence_number}" if failure.shard and failure.sequence_number else ""
    parts = (failure.time or "", counted(failure.records, "record"), device, tried, where)
    return " · ".join(part for part in parts if part)
