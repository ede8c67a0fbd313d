"""What changes when a system is started with another template: the difference of two Systems, in plain lines.

Data belongs to names: a stream, table, bucket or function of the same name is the same one, whatever its logical id.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from headrace.system import System

_KEPT = "removed resources keep their data, and find it again when they come back under the same name"

# What a change does not do, by kind and field: said because somebody might expect it.
_NOTES = {
    ("stream", "shards"): "an existing stream keeps its shards",
    ("stream", "mode"): "an existing stream keeps its shards",
    ("table", "partition_key"): "items stored before keep their keys",
    ("table", "sort_key"): "items stored before keep their keys",
    ("table", "ttl_attribute"): "items stored before keep their expiry",
    ("mapping", "starting_position"): "a mapping that has started goes on from its checkpoint",
    ("mapping", "starting_timestamp_ms"): "a mapping that has started goes on from its checkpoint",
}
# Variables whose values are told: what they are is no secret, and what is kept hangs on it.
_TOLD = {"EVENTS_TTL_DAYS": "for events stored from now on; those stored before keep their expiry"}
_SILENT = ("logical_id", "uuid", "name", "function", "stream")


class Change(NamedTuple):
    """One line of a plan. `what` is `added`, `changed` or `removed`."""

    what: str
    kind: str
    name: str
    details: tuple[str, ...] = ()

    def line(self) -> str:
        """Return the change as a line of text."""
        details = f": {'; '.join(self.details)}" if self.details else ""
        return f"{self.what:<8} {self.kind} {self.name}{details}"


def changes(before: System, after: System) -> list[Change]:
    """Return what is added, changed and removed, by kind of resource, in the template's order."""
    found = []
    for kind, parts in _KINDS.items():
        old, new = parts(before), parts(after)
        for name, part in new.items():
            if name not in old:
                found.append(Change("added", kind, name))
            elif details := _details(kind, old[name], part):
                found.append(Change("changed", kind, name, details))
        found += [Change("removed", kind, name) for name in old if name not in new]
    return found


def difference(before: System, after: System) -> list[str]:
    """Return the changes as lines, none if there are none; removals are followed by what becomes of the data."""
    found = changes(before, after)
    lines = [change.line() for change in found]
    if any(change.what == "removed" for change in found):
        lines.append(_KEPT)
    return lines


def _named(parts: tuple[Any, ...]) -> Mapping[str, Any]:
    return {part.name: part for part in parts}


_KINDS: dict[str, Callable[[System], Mapping[str, Any]]] = {
    "stream": lambda system: _named(system.streams),
    "function": lambda system: _named(system.functions),
    "mapping": lambda system: {f"{each.stream} → {each.function}": each for each in system.mappings},
    "table": lambda system: _named(system.tables),
    "bucket": lambda system: _named(system.buckets),
    "alarm": lambda system: _named(system.alarms),
    "schedule": lambda system: _named(system.schedules),
}


def _details(kind: str, old: Any, new: Any) -> tuple[str, ...]:
    details = []
    for field in new.__struct_fields__:
        was, now = getattr(old, field), getattr(new, field)
        if was == now or field in _SILENT:
            continue
        note = _NOTES.get((kind, field))
        details.append(_detail(field, was, now) + (f" ({note})" if note else ""))
    return tuple(details)


def _detail(field: str, was: Any, now: Any) -> str:
    if isinstance(was, dict) and isinstance(now, dict):
        differing = (name for name in was.keys() | now.keys() if was.get(name) != now.get(name))
        names = sorted(differing, key=lambda name: (name in _TOLD, name))
        return f"{field} ({', '.join(_member(name, was.get(name), now.get(name)) for name in names)})"
    if isinstance(now, str | int | bool | None) and isinstance(was, str | int | bool | None):
        return f"{field} {_text(was)} → {_text(now)}"
    return field


def _member(name: str, was: object, now: object) -> str:
    """Return a variable's name, and no more: its value may be a secret."""
    return f"{name} {_text(was)} → {_text(now)} {_TOLD[name]}" if name in _TOLD else name


def _text(value: object) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
