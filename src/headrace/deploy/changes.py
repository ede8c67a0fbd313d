"""A change set in plain words: what will be added, changed, replaced and removed, and what to beware of. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

# Types that hold data, and what is lost with them.
DATA_TYPES = {
    "AWS::DynamoDB::Table": "its items",
    "AWS::Kinesis::Stream": "its records that functions have not read yet",
    "AWS::Logs::LogGroup": "its logs",
    "AWS::RedshiftServerless::Namespace": "its tables",
    "AWS::S3::Bucket": "its objects",
}
KEPT = ("Retain", "ReplaceAndRetain", "Snapshot", "ReplaceAndSnapshot")
_WORDS = {"Add": "add", "Modify": "change", "Remove": "remove", "Import": "import", "Dynamic": "perhaps change"}
_ORDER = ("replace", "remove", "perhaps replace", "change", "perhaps change", "import", "add")


class Change(msgspec.Struct, frozen=True):
    """A line of a plan. `keeps` says that the old resource stays, outside of the stack."""

    what: str
    logical_id: str
    type: str
    details: tuple[str, ...] = ()
    keeps: bool = False

    def warning(self) -> str | None:
        """Return what to beware of, if this takes data away."""
        held = DATA_TYPES.get(self.type)
        if held is None or self.what not in ("replace", "perhaps replace", "remove"):
            return None
        if self.keeps:
            end = "the new one is empty; the old one stays in the account" if self.what != "remove" else "it stays"
            return f"{self.logical_id} will be {_PAST[self.what]}: {end}, with {held}, outside of the stack"
        return f"{self.logical_id} will be {_PAST[self.what]} and {held} WILL BE LOST"


_PAST = {"replace": "replaced", "perhaps replace": "replaced, perhaps", "remove": "removed"}


def changes(described: Iterable[Mapping[str, Any]]) -> list[Change]:
    """Return the changes that DescribeChangeSet lists, the most drastic first."""
    found = [_change(each["ResourceChange"]) for each in described if each.get("Type", "Resource") == "Resource"]
    return sorted(found, key=lambda each: (_ORDER.index(each.what), each.logical_id))


def _change(change: Mapping[str, Any]) -> Change:
    what = _WORDS.get(str(change.get("Action")), "perhaps change")
    if what == "change" and change.get("Replacement") == "True":
        what = "replace"
    elif what in ("change", "perhaps change") and change.get("Replacement") == "Conditional":
        what = "perhaps replace"
    details = dict.fromkeys(filter(None, (_detail(each) for each in change.get("Details", []))))
    keeps = change.get("PolicyAction") in KEPT
    return Change(what, str(change["LogicalResourceId"]), str(change["ResourceType"]), tuple(details), keeps)


def _detail(detail: Mapping[str, Any]) -> str:
    target = detail.get("Target", {})
    name = target.get("Name") or target.get("Attribute")
    if not name or name == "Metadata":
        return ""
    before, after = target.get("BeforeValue"), target.get("AfterValue")
    if before is None or after is None or len(before) + len(after) > 60:
        return str(name)
    return f"{name} {before} → {after}"


def render(found: Iterable[Change]) -> str:
    """Return a plan as text: additions of a kind together, all else line by line; then the warnings."""
    listed = list(found)
    lines = [_line(each) for each in listed if each.what != "add"]
    added: dict[str, list[str]] = {}
    for each in listed:
        if each.what == "add":
            added.setdefault(each.type.removeprefix("AWS::"), []).append(each.logical_id)
    lines += [f"  add              {kind}: {', '.join(names)}" for kind, names in sorted(added.items())]
    lines += [f"  WARNING: {text}" for each in listed if (text := each.warning())]
    return "\n".join(lines) if lines else "  nothing"


def _line(change: Change) -> str:
    details = f": {'; '.join(change.details)}" if change.details else ""
    return f"  {change.what:<15}  {change.type.removeprefix('AWS::')} {change.logical_id}{details}"
