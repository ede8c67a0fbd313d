"""What a bucket's lifecycle rules do to an object, and when: S3's rules, pure.

- A rule is for the objects that pass all of its filters: prefix, tags, size larger than, size smaller than.
- Days count from creation, and the result is rounded up to the next midnight UTC; a date is a midnight itself.
- Deletion wins over a transition. Of several transitions that are due, the colder class wins; INTELLIGENT_TIERING wins
  over every class but GLACIER and DEEP_ARCHIVE.
- An object only goes down the waterfall of classes, never back up.
- One under 128 KB stays where it is, unless the rule filters by size itself; where the bucket says so
  (`varies_by_storage_class`), GLACIER and DEEP_ARCHIVE take it all the same.
- A rule without a tag or size filter may abort uploads that were begun so many days ago.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from headrace.archive.base import STANDARD, ObjectInfo

DAY_MS = 86_400_000
SMALL_BYTES = 128 * 1024
ALL_128K = "all_storage_classes_128K"
VARIES = "varies_by_storage_class"
TAKES_SMALL = frozenset({"GLACIER", "DEEP_ARCHIVE"})  # with VARIES
# Of several classes that are due on one day the last of these is taken.
PREFERENCE = ("STANDARD_IA", "ONEZONE_IA", "GLACIER_IR", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE")
WATERFALL: Mapping[str, frozenset[str]] = {
    STANDARD: frozenset(PREFERENCE),
    "STANDARD_IA": frozenset({"INTELLIGENT_TIERING", "ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"}),
    "INTELLIGENT_TIERING": frozenset({"ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"}),
    "ONEZONE_IA": frozenset({"GLACIER", "DEEP_ARCHIVE"}),
    "GLACIER_IR": frozenset({"GLACIER", "DEEP_ARCHIVE"}),
    "GLACIER": frozenset({"DEEP_ARCHIVE"}),
    "DEEP_ARCHIVE": frozenset(),
}


class When(NamedTuple):
    """Days from creation, or a date."""

    days: int | None = None
    date_ms: int | None = None

    def due_ms(self, created_ms: int) -> int:
        """Return from when on this is due for what was created then."""
        if self.date_ms is not None:
            return self.date_ms
        return -(-(created_ms + (self.days or 0) * DAY_MS) // DAY_MS) * DAY_MS


class Rule(NamedTuple):
    """An enabled rule. `transitions` are pairs of storage class and when."""

    id: str
    prefix: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    larger_than: int | None = None
    smaller_than: int | None = None
    transitions: tuple[tuple[str, When], ...] = ()
    expiration: When | None = None
    abort_days: int | None = None

    def covers(self, info: ObjectInfo) -> bool:
        """Return whether the rule is for this object."""
        return (
            info.key.startswith(self.prefix)
            and all(info.tags.get(name) == value for name, value in self.tags)
            and (self.larger_than is None or info.size > self.larger_than)
            and (self.smaller_than is None or info.size < self.smaller_than)
        )

    @property
    def whens(self) -> tuple[When, ...]:
        """Return when the rule does something to an object."""
        moves = tuple(when for _, when in self.transitions)
        return moves if self.expiration is None else (self.expiration, *moves)

    @property
    def filters_by_size(self) -> bool:
        """Return whether the rule says itself which sizes it takes."""
        return self.larger_than is not None or self.smaller_than is not None


class Upload(NamedTuple):
    """An upload that was begun and not finished; `id` tells it from others of the same key."""

    key: str
    id: str
    began_ms: int
    size: int


class Action(NamedTuple):
    """What a rule does to an object: to `storage_class`, or to nothing (None): then it is deleted."""

    info: ObjectInfo
    rule: str
    due_ms: int
    storage_class: str | None = None


class Abort(NamedTuple):
    """What a rule does to an upload that is never finished."""

    upload: Upload
    rule: str
    due_ms: int


def rules_of(configuration: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """Return the enabled ones of rules as a template's LifecycleConfiguration writes them."""
    return tuple(
        _rule(each, f"rule {number}") for number, each in enumerate(configuration, 1) if each["Status"] == "Enabled"
    )


def _rule(each: Mapping[str, Any], name: str) -> Rule:
    moves = [*each.get("Transitions", ()), *([each["Transition"]] if "Transition" in each else ())]
    abort = each.get("AbortIncompleteMultipartUpload")
    return Rule(
        id=each.get("Id", name),
        prefix=each.get("Prefix", ""),
        tags=tuple((tag["Key"], tag["Value"]) for tag in each.get("TagFilters", ())),
        larger_than=each.get("ObjectSizeGreaterThan"),
        smaller_than=each.get("ObjectSizeLessThan"),
        transitions=tuple((move["StorageClass"], _when(move, "TransitionInDays", "TransitionDate")) for move in moves),
        expiration=_when(each, "ExpirationInDays", "ExpirationDate")
        if "ExpirationInDays" in each or "ExpirationDate" in each
        else None,
        abort_days=abort["DaysAfterInitiation"] if abort else None,
    )


def _when(found: Mapping[str, Any], days: str, date: str) -> When:
    return When(date_ms=date_ms(found[date])) if date in found else When(days=found[days])


def date_ms(text: str) -> int:
    """Return a date of a rule (ISO 8601, UTC where it has no offset) in milliseconds; raises ValueError."""
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else datetime.fromisoformat(f"{at.isoformat()}+00:00")).timestamp()) * 1000


def decide(rules: Sequence[Rule], info: ObjectInfo, now_ms: int, minimum: str = ALL_128K) -> Action | None:
    """Return what is to be done to an object now; its tags must be there. None: nothing."""
    covering = [rule for rule in rules if rule.covers(info)]
    expirations = [
        (rule.expiration.due_ms(info.modified_ms), rule.id) for rule in covering if rule.expiration is not None
    ]
    if expirations and min(expirations)[0] <= now_ms:
        due_ms, name = min(expirations)
        return Action(info, name, due_ms)
    due = [
        (PREFERENCE.index(storage_class), -when.due_ms(info.modified_ms), rule.id)
        for rule in covering
        for storage_class, when in rule.transitions
        if storage_class in WATERFALL[info.storage_class]
        and when.due_ms(info.modified_ms) <= now_ms
        and _takes(rule, info.size, storage_class, minimum)
    ]
    if not due:
        return None
    place, negative_ms, name = max(due)
    return Action(info, name, -negative_ms, PREFERENCE[place])


def _takes(rule: Rule, size: int, storage_class: str, minimum: str) -> bool:
    """Return whether an object of this size may go to a class by this rule."""
    if size >= SMALL_BYTES or rule.filters_by_size:
        return True
    return minimum == VARIES and storage_class in TAKES_SMALL


def timeline(
    rules: Sequence[Rule], info: ObjectInfo, now_ms: int, until_ms: int, minimum: str = ALL_128K
) -> Iterator[tuple[int, Action]]:
    """Yield what becomes of an object from now on: each time at which something is done, and what."""
    times = {now_ms}
    for rule in rules:
        for when in rule.whens:
            if rule.covers(info) and now_ms < (at := when.due_ms(info.modified_ms)) <= until_ms:
                times.add(at)
    for at_ms in sorted(times):
        action = decide(rules, info, at_ms, minimum)
        if action is None:
            continue
        yield at_ms, action
        if action.storage_class is None:
            return
        info = info._replace(storage_class=action.storage_class)


def abort(rules: Sequence[Rule], upload: Upload, now_ms: int) -> Abort | None:
    """Return whether an upload is to be aborted by now, by the first rule that says so."""
    for rule in rules:
        if rule.abort_days is not None and upload.key.startswith(rule.prefix):
            due_ms = When(days=rule.abort_days).due_ms(upload.began_ms)
            if due_ms <= now_ms:
                return Abort(upload, rule.id, due_ms)
    return None
