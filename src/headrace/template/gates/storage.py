"""Gates `tables` and `archive`: what code relies on in tables and in the archive's bucket is as the template has it."""

from collections.abc import Iterator
from typing import Any

from headrace.template.gates.finding import Finding
from headrace.template.gates.model import FUNCTIONS, Model, Resource
from headrace.template.gates.needs import code_of
from headrace.template.gates.values import Variable

_KEYS = ("device_id", "sk")  # what headrace.connect's tables have
_EXPIRES = "expires_at"
# Folders of the archive that rules may touch; everything else in it is what readers go by.
_RAW, _EVENTS, _LOGS = "raw/", "events/", "logs/"


def tables(model: Model) -> Iterator[Finding]:
    """Check the keys and the TTL of tables that functions reach by `headrace.connect`."""
    used = _used(model, "dynamodb")
    for table in model.system.tables:
        if table.name not in used:
            continue
        resource = model.resources[table.logical_id]
        if (table.partition_key, table.sort_key) != _KEYS:
            yield resource.finding(
                "tables", f"its keys are {table.partition_key} and {table.sort_key}.", f"Write {_KEYS}."
            )
        if table.ttl_attribute not in (None, _EXPIRES):
            yield resource.finding("tables", f"nothing writes {table.ttl_attribute}.", f"Write {_EXPIRES}.")
        if table.ttl_attribute is None and used[table.name]:
            yield resource.finding("tables", "its items never expire, and events should.", "Enable TimeToLive.")


def archive(model: Model) -> Iterator[Finding]:
    """Check that the rules of the archive's bucket take raw objects once compacted, and nothing that readers go by."""
    names = {variables.get("ARCHIVE_BUCKET") for variables in map(_variables, model.of(*FUNCTIONS))} - {None}
    for bucket in (each for each in model.system.buckets if each.name in names):
        resource = model.resources[bucket.logical_id]
        rules = [rule for rule in bucket.lifecycle if rule.get("Status") == "Enabled"]
        for rule in rules:
            yield from (
                resource.finding("archive", f"rule {rule.get('Id')}: {text}", hint) for text, hint in _rule(rule)
            )
        for prefix in (_RAW, _EVENTS):
            if not any(rule.get("Prefix") == prefix and _removes(rule) for rule in rules):
                yield resource.finding("archive", f"no rule takes {prefix}: it grows for ever.", "Add one.")
        if not any("AbortIncompleteMultipartUpload" in rule for rule in rules):
            yield resource.finding("archive", "uploads that broke off stay for ever.", "Abort them after some days.")


def _rule(rule: dict[str, Any]) -> Iterator[tuple[str, str]]:
    prefix = rule.get("Prefix", "")
    moves = _removes(rule) or rule.get("Transitions") or rule.get("Transition")
    tags = {tag["Key"]: tag["Value"] for tag in rule.get("TagFilters") or ()}
    if moves and prefix not in (_RAW, _EVENTS, _LOGS):
        yield f"it takes {prefix or 'everything'}, and readers go by what is there.", f"Write Prefix: {_EVENTS}"
    if moves and prefix == _RAW and tags != {"compacted": "true"}:
        yield "it takes raw objects that are not compacted yet.", "Filter on the tag compacted=true."
    if prefix == _RAW and (rule.get("Transitions") or rule.get("Transition")):
        yield "it moves raw objects, and jobs read them.", "Take its transitions out."
    if moves and prefix != _RAW and tags:
        yield f"nothing there has the tags {tags}.", "Take TagFilters out."


def _removes(rule: dict[str, Any]) -> bool:
    return "ExpirationInDays" in rule or "ExpirationDate" in rule


def _used(model: Model, service: str) -> dict[str, bool]:
    """Return the tables that functions use, and whether events are put there."""
    found: dict[str, bool] = {}
    for function in model.of(*FUNCTIONS):
        for use in code_of(model, function).uses:
            if use.service == service and isinstance(use.of, Variable):
                name = _variables(function).get(use.of.name, "")
                found[name] = found.get(name, False) or use.of.name == "EVENTS_TABLE"
    return found


def _variables(function: Resource) -> dict[str, str]:
    return (function.properties.get("Environment") or {}).get("Variables") or {}
