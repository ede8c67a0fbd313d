"""A device's configuration, to edit, beside the state that it reports."""

from urllib.parse import quote

import msgspec
from nicegui import ui

from headrace.console import words
from headrace.console.backend import DEVICE_API, Backend
from headrace.console.parts import card
from headrace.errors import HeadraceError


class Stored(msgspec.Struct):
    """What a device is wanted to be, or says that it is."""

    version: int
    config: msgspec.Raw = msgspec.Raw(b"{}")
    state: msgspec.Raw = msgspec.Raw(b"{}")


class ConfigCard:
    """Writes only what was edited from the version that is stored: somebody else's change is not overwritten."""

    def __init__(self, backend: Backend, device_id: str) -> None:
        self._backend = backend
        self._device_id = device_id
        self._version = 0
        with card("Configuration", "config"):
            self._note = ui.label("Reading …").classes("quiet").props("id=config-note")
            self._text = ui.textarea("What the device should be, a JSON object").props(
                'outlined autogrow input-class="code" id=config-text'
            )
            self._outcome = ui.label().classes("outcome").props("id=config-outcome role=status")
            self._outcome.visible = False
            with ui.element("div").classes("actions"):
                ui.button("Load again", on_click=self.load).props("flat dense no-caps")
                ui.button("Save", on_click=self._save).props("unelevated no-caps id=config-save")
            self._state_note = ui.label().classes("quiet")
            self._state = ui.label().classes("payload").props("id=state")

    async def load(self) -> None:
        """Show what is stored."""
        self._outcome.visible = False
        try:
            config, state = await self._stored("config"), await self._stored("state")
        except HeadraceError as error:
            self._say("bad", f"{error.problem} {error.hint}".strip())
            return
        self._show(config.version, config.config)
        self._state_note.text = f"It reports, version {state.version}:" if state.version else "It has reported nothing."
        self._state.visible = state.version > 0
        self._state.text = words.readable(_pretty(state.state))

    async def _stored(self, noun: str) -> "Stored":
        """Return config or state as text: every number as it was written."""
        path = f"url/{DEVICE_API}/devices/{quote(self._device_id, safe='')}/{noun}"
        return msgspec.json.decode(await self._backend.get_bytes(path), type=Stored)

    def _show(self, version: int, config: msgspec.Raw) -> None:
        self._version = version
        self._note.text = f"Version {version}" if version else "None is stored yet."
        self._text.value = _pretty(config)

    async def _save(self) -> None:
        try:
            config = msgspec.json.decode(self._text.value or "", type=dict[str, msgspec.Raw])
        except msgspec.DecodeError as error:
            self._say("bad", f"This is no JSON object: {error}. Nothing was written.")
            return
        try:
            answer = await self._backend.device_api(
                "config_set", self._device_id, config=config, expected_version=self._version
            )
            stored = await self._stored("config")
        except HeadraceError as error:
            self._say("bad", f"Nothing was written: {error.problem} Load it again, and repeat the change.")
            return
        self._show(stored.version, stored.config)
        self._say("good", f"Saved as version {answer['version']}.")

    def _say(self, level: str, text: str) -> None:
        self._outcome.visible, self._outcome.text = True, text
        self._outcome.classes(level, remove="good bad")


def _pretty(value: msgspec.Raw) -> str:
    return msgspec.json.format(bytes(value), indent=2).decode()
