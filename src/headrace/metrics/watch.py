"""Evaluates the alarms when a minute is over, keeps their states, and tells of changes."""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from headrace import clock
from headrace.disk import write_file
from headrace.errors import UsageError
from headrace.metrics import alarms
from headrace.metrics.alarms import Definition, Verdict
from headrace.metrics.query import alarm_values
from headrace.metrics.store import Store
from headrace.system import ACCOUNT, REGION
from headrace.system import Alarm as Declared

VERSION = 1  # of the states' file


class Condition(msgspec.Struct):
    """An alarm's state: since when, why, and when the reason was last written anew (milliseconds)."""

    state: str = alarms.INSUFFICIENT
    reason: str = "Not evaluated yet."
    since_ms: int = 0
    updated_ms: int = 0


class _File(msgspec.Struct):
    version: int
    alarms: dict[str, Condition]


class Change(msgspec.Struct):
    """A state change."""

    definition: Definition
    before: str
    after: Condition

    def notice(self) -> dict[str, Any]:
        """Return it as CloudWatch tells SNS, and we the webhook."""
        properties = self.definition.properties
        return {
            "AlarmName": self.definition.name,
            "AlarmDescription": properties.get("AlarmDescription"),
            "AlarmArn": arn(self.definition.name),
            "AWSAccountId": ACCOUNT,
            "Region": REGION,
            "NewStateValue": self.after.state,
            "NewStateReason": self.after.reason,
            "OldStateValue": self.before,
            "StateChangeTime": clock.rfc3339_ms(self.after.since_ms),
            "Trigger": {
                name: value for name, value in properties.items() if name not in ("AlarmName", "AlarmDescription")
            },
        }


class Watch:
    """The alarms of a system. `tell` is called with each change, at least once."""

    def __init__(
        self, declared: Iterable[Declared], store: Store, path: Path, now_ms: int, tell: Callable[[Change], None]
    ) -> None:
        self.definitions = {alarm.name: alarms.define(alarm) for alarm in declared}
        self._store = store
        self._path = path
        self._tell = tell
        known = self._load()
        self.conditions = {
            name: known.get(name) or Condition(since_ms=now_ms, updated_ms=now_ms) for name in self.definitions
        }

    def evaluate(self, end_ms: int, now_ms: int) -> list[Change]:
        """Evaluate every alarm for the periods that end at `end_ms`, a whole minute; raises StorageError."""
        changes = []
        moved = False
        for name, definition in self.definitions.items():
            before = self.conditions[name]
            verdict = self._verdict(definition, end_ms, before.state)
            if verdict == (before.state, before.reason):
                continue
            changed = verdict.state != before.state
            since_ms = now_ms if changed else before.since_ms
            self.conditions[name] = after = Condition(verdict.state, verdict.reason, since_ms, now_ms)
            moved = True
            if changed:
                changes.append(Change(definition, before.state, after))
        for change in changes:
            self._tell(change)  # before it is durable: told twice after a crash is better than not, on a full disk
        if moved:
            write_file(self._path, msgspec.json.encode(_File(VERSION, self.conditions)))
        return changes

    def on(self) -> dict[str, str]:
        """Return the alarms that are on, each with what it is about, or with why it is on."""
        return {
            name: str(self.definitions[name].properties.get("AlarmDescription") or condition.reason)
            for name, condition in self.conditions.items()
            if condition.state == alarms.ALARM
        }

    def _verdict(self, definition: Definition, end_ms: int, before: str) -> Verdict:
        if definition.problem:
            return Verdict(alarms.INSUFFICIENT, f"Not evaluated: {definition.problem}")
        try:
            return alarms.evaluate(definition, alarm_values(self._store, definition, end_ms), before)
        except UsageError as error:
            return Verdict(alarms.INSUFFICIENT, f"Not evaluated: {error.problem} {error.hint}".rstrip())

    def _load(self) -> dict[str, Condition]:
        with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
            found = msgspec.json.decode(self._path.read_bytes(), type=_File)
            if found.version == VERSION:
                return found.alarms
        return {}


def arn(name: str) -> str:
    """Return an alarm's ARN on one machine."""
    return f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}"
