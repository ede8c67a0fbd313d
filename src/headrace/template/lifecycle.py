"""Lifecycle rules of a bucket: which properties they have, and what S3 refuses, in its own words."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

from headrace.template.document import Members, did_you_mean
from headrace.template.rules import Mapped, Rules, Site, boolean, integer, items, one_of, refused, resolved, text

# From the warmest to the coldest: a rule's days rise in this order.
CLASSES = ("STANDARD_IA", "INTELLIGENT_TIERING", "ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE")
# Those that one machine leaves out: an object has its last version only.
VERSIONED = (
    "ExpiredObjectDeleteMarker",
    "NoncurrentVersionExpiration",
    "NoncurrentVersionExpirationInDays",
    "NoncurrentVersionTransition",
    "NoncurrentVersionTransitions",
)
_ACTIONS = (
    *VERSIONED,
    "AbortIncompleteMultipartUpload",
    "ExpirationDate",
    "ExpirationInDays",
    "Transition",
    "Transitions",
)
_MALFORMED = "MalformedXML: The XML you provided was not well-formed or did not validate against our published schema"
# Of two such only one may be written.
_EITHER = (
    ("Transition", "Transitions"),
    ("ExpirationInDays", "ExpirationDate"),
    ("ExpiredObjectDeleteMarker", "ExpirationInDays"),
    ("ExpiredObjectDeleteMarker", "ExpirationDate"),
)
_IA_DAYS = 30
_STAY_DAYS = {"STANDARD_IA": 30, "ONEZONE_IA": 30, "GLACIER": 90}  # before the next class


def _storage_class(value: Any, site: Site) -> str:
    if value in CLASSES:
        return str(value)
    raise site.error(f"StorageClass is {value!r}. {_MALFORMED}.", did_you_mean(str(value), CLASSES))


def _date(value: Any, site: Site) -> str:
    found = text()(value, site)
    try:
        at = datetime.fromisoformat(found)
    except ValueError:
        raise site.wrong(found, "a date, such as 2030-01-31T00:00:00Z") from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    if at.timestamp() % 86_400:
        raise site.error(
            f"{site.name} is {found}. InvalidArgument: 'Date' must be at midnight GMT.", "Write T00:00:00Z."
        )
    return at.astimezone(UTC).isoformat()


_TRANSITION = Mapped(
    {"StorageClass": _storage_class, "TransitionDate": _date, "TransitionInDays": integer(0)},
    required=["StorageClass"],
)
_RULE: Rules = {
    "AbortIncompleteMultipartUpload": Mapped({"DaysAfterInitiation": integer(1)}, required=["DaysAfterInitiation"]),
    "ExpirationDate": _date,
    "ExpirationInDays": integer(1),
    "ExpiredObjectDeleteMarker": boolean,
    "Filter": refused(
        "can't stand beside Prefix. InvalidRequest: Base level prefix cannot be used in Lifecycle V2, prefixes are "
        "only supported in the Filter",
        "CloudFormation has no Filter: write Prefix, TagFilters, ObjectSizeGreaterThan and ObjectSizeLessThan in the "
        "rule itself; an object has to pass all of them.",
    ),
    "Id": text(high=255),
    "NoncurrentVersionExpiration": resolved,
    "NoncurrentVersionExpirationInDays": integer(1),
    "NoncurrentVersionTransition": resolved,
    "NoncurrentVersionTransitions": resolved,
    "ObjectSizeGreaterThan": integer(0),
    "ObjectSizeLessThan": integer(1),
    "Prefix": text(high=1024),
    "Status": one_of("Enabled", "Disabled"),
    "TagFilters": items(Mapped({"Key": text(low=1, high=128), "Value": text(high=256)}, required=["Key", "Value"])),
    "Transition": _TRANSITION,
    "Transitions": items(_TRANSITION),
}


def _check_rule(found: dict[str, Any], value: Members, site: Site) -> None:
    if not any(found.get(name, []) != [] for name in _ACTIONS):
        raise site.error(
            "InvalidRequest: At least one action needs to be specified in a rule.", "Add ExpirationInDays."
        )
    for one, other in _EITHER:
        if one in found and other in found:
            raise _at(site, value, other).error(
                f"{one} and {other} are both there. {_MALFORMED}.", "Write one of them."
            )
    _check_filter(found, value, site)
    moves: list[dict[str, Any]] = found.get("Transitions") or [found[name] for name in ("Transition",) if name in found]
    here = _at(site, value, "Transitions" if "Transitions" in found else "Transition")
    _check_times(found, moves, here)
    _check_order(moves, _filter_text(found), here)
    _check_expiration(found, moves, value, site)


def _at(site: Site, value: Members, name: str) -> Site:
    return site._replace(name=name, line=value.lines.get(name, site.line))


def _check_filter(found: dict[str, Any], value: Members, site: Site) -> None:
    keys = [tag["Key"] for tag in found.get("TagFilters", ())]
    if len(set(keys)) < len(keys):
        raise _at(site, value, "TagFilters").error(
            "InvalidRequest: Duplicate Tag Keys are not allowed.", "An object has one value of a tag: write each once."
        )
    names = [name for name in ("TagFilters", "ObjectSizeGreaterThan", "ObjectSizeLessThan") if found.get(name)]
    for action in ("AbortIncompleteMultipartUpload", "ExpiredObjectDeleteMarker"):
        if action in found and names:
            filtered = "Tags" if names[0] == "TagFilters" else names[0]
            raise _at(site, value, action).error(
                f"InvalidRequest: {action} cannot be specified with {filtered}.",
                f"Write a rule of its own for {action}.",
            )
    low, high = found.get("ObjectSizeGreaterThan"), found.get("ObjectSizeLessThan")
    if low is not None and high is not None and high <= low + 1:
        raise _at(site, value, "ObjectSizeLessThan").error(
            f"no object is larger than {low} and smaller than {high} bytes. InvalidRequest: 'ObjectSizeLessThan' has "
            "to be a value greater than 'ObjectSizeGreaterThan'.",
            f"Write at least {low + 2}.",
        )


def _check_times(found: dict[str, Any], moves: Sequence[dict[str, Any]], site: Site) -> None:
    for move in moves:
        if ("TransitionInDays" in move) == ("TransitionDate" in move):
            raise site.error(
                f"a transition to {move['StorageClass']} has neither or both of TransitionInDays and TransitionDate. "
                f"{_MALFORMED}.",
                "Write one of them.",
            )
        if move["StorageClass"].endswith("_IA") and move.get("TransitionInDays", _IA_DAYS) < _IA_DAYS:
            raise site.error(
                f"InvalidArgument: 'Days' in Transition action must be greater than or equal to {_IA_DAYS} for "
                f"storageClass '{move['StorageClass']}'.",
                f"Write at least {_IA_DAYS}.",
            )
    kinds = {"Days" if "TransitionInDays" in move else "Date" for move in moves}
    what = "Transition"
    if moves and ("ExpirationInDays" in found or "ExpirationDate" in found):
        kinds.add("Days" if "ExpirationInDays" in found else "Date")
        what = "Expiration and Transition"
    if len(kinds) > 1:
        raise site.error(
            f"InvalidRequest: Found mixed 'Date' and 'Days' based {what} actions in lifecycle rule for filter "
            f"'{_filter_text(found)}'.",
            "Write days everywhere in the rule, or dates.",
        )


def _check_order(moves: Sequence[dict[str, Any]], filtered: str, site: Site) -> None:
    for one, other in combinations(sorted(moves, key=lambda move: CLASSES.index(move["StorageClass"])), 2):
        earlier, later = one["StorageClass"], other["StorageClass"]
        if earlier == later:
            raise site.error(
                f"InvalidRequest: 'StorageClass' must be different for 'Transition' actions in same 'Rule' with filter "
                f"'{filtered}'.",
                f"Write {earlier} once.",
            )
        unit = "Days" if "TransitionInDays" in one else "Date"
        place = f"'{unit}' in the 'Transition' action for StorageClass '{later}' for filter '{filtered}'"
        if unit == "Date":
            wrong, more = other["TransitionDate"] <= one["TransitionDate"], f"later than {one['TransitionDate']}"
        else:
            least = one["TransitionInDays"] + _STAY_DAYS.get(earlier, 1)
            wrong, more = other["TransitionInDays"] < least, f"at least {least}"
        if wrong:
            stay = _STAY_DAYS.get(earlier) if unit == "Days" else None
            must = f"{stay} days more than" if stay else f"greater than '{unit}' for"
            raise site.error(
                f"InvalidArgument: {place} must be {must} 'filter '{filtered}'' in the 'Transition' action for "
                f"StorageClass '{earlier}'.",
                f"Write {more} for {later}.",
            )


def _check_expiration(found: dict[str, Any], moves: Sequence[dict[str, Any]], value: Members, site: Site) -> None:
    for unit, name, other in (
        ("Days", "ExpirationInDays", "TransitionInDays"),
        ("Date", "ExpirationDate", "TransitionDate"),
    ):
        latest = max((move[other] for move in moves if other in move), default=None)
        if name in found and latest is not None and found[name] <= latest:
            raise _at(site, value, name).error(
                f"InvalidArgument: '{unit}' in the Expiration action for filter '{_filter_text(found)}' must be "
                f"greater than '{unit}' in the Transition action.",
                f"Write more than {latest}.",
            )


def _filter_text(found: dict[str, Any]) -> str:
    parts = [f"prefix={found['Prefix']}"] if "Prefix" in found else []
    parts += [f"tag={{key={tag['Key']}, value={tag['Value']}}}" for tag in found.get("TagFilters", ())]
    parts += [
        f"{name.lower()}={found[name]}" for name in ("ObjectSizeGreaterThan", "ObjectSizeLessThan") if name in found
    ]
    return f"({' and '.join(parts) or 'prefix='})"


def _check_all(found: dict[str, Any], value: Members, site: Site) -> None:
    names: set[str] = set()
    for rule in found["Rules"]:
        if rule.get("Id", "") in names:
            raise _at(site, value, "Rules").error(
                f"InvalidArgument: Rule ID must be unique. Found same ID for more than one rule ({rule['Id']}).",
                "Give each rule another Id.",
            )
        names |= {rule["Id"]} if rule.get("Id") else set()


CONFIGURATION = Mapped(
    {
        "Rules": items(Mapped(_RULE, required=["Status"], together=_check_rule), 1),
        "TransitionDefaultMinimumObjectSize": one_of("all_storage_classes_128K", "varies_by_storage_class"),
    },
    required=["Rules"],
    together=_check_all,
)
