"""Executes a bucket's lifecycle rules on one machine: looks, decides (`lifecycle.py`), moves and deletes, logs.

Nothing goes that no rule names, and nothing for its age while the clock is in doubt.
"""

from collections.abc import Callable, Sequence

import msgspec

from headrace import clock
from headrace.archive import lifecycle, transitions
from headrace.archive.base import COLD_CLASSES, STANDARD
from headrace.archive.lifecycle import ALL_128K, Abort, Action, Rule
from headrace.archive.lifecycle_log import LifecycleLog, Line
from headrace.archive.local import LocalBucket
from headrace.errors import ClockInDoubt, StorageError

CLOCK_MS_MAX = 60_000  # by how much the newest object may be ahead of the clock
PROBLEMS_MAX = 20
TRUST = "headrace lifecycle run --clock-is-right"
_BATCH = 200  # deletions that are logged with one sync


class Count(msgspec.Struct):
    """So many objects, with so many bytes."""

    objects: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """Count one more."""
        self.objects += 1
        self.bytes += size


class Outcome(msgspec.Struct):
    """What a run has done in a bucket; `transitioned` by storage class. `problems` says what it could not do."""

    bucket: str
    transitioned: dict[str, Count]
    expired: Count
    aborted: Count
    problems: list[str]


def run(
    bucket: LocalBucket,
    rules: Sequence[Rule],
    now_ms: int,
    may_remove: Callable[[], bool],
    log: LifecycleLog,
    *,
    minimum: str = ALL_128K,
    trust_clock: bool = False,
    is_stopped: Callable[[], bool] = lambda: False,
    before_expiry: Callable[[Sequence[str]], None] = lambda _: None,
) -> Outcome:
    """Do what the rules want by now. `may_remove` says whether the clock is believed, and is asked again and again.

    Raises ClockInDoubt if it is not, or if the clock is before the newest object; not with `trust_clock`. Once
    `is_stopped` says so nothing more is begun. `before_expiry` is told keys before their objects are deleted.
    """

    def goes_on() -> bool:
        return not is_stopped() and (trust_clock or may_remove())

    outcome = Outcome(bucket.name, {}, Count(), Count(), [])
    if not rules:
        return outcome
    if not trust_clock and not may_remove():
        raise ClockInDoubt(
            "The clock is days away from the last run: nothing is moved or deleted by rule.",
            "Set it right. If it is right (this machine was off), wait an hour, or: " + TRUST,
        )
    with log.alone():
        actions = _due(bucket, rules, now_ms, minimum, trust_clock)  # all first: a wrong clock shows only then
        _do(bucket, _reachable(bucket, actions, outcome), now_ms, log, outcome, goes_on, before_expiry)
        if goes_on():
            _abort(bucket, rules, now_ms, log, outcome)
    return outcome


def _do(
    bucket: LocalBucket,
    actions: Sequence[Action],
    now_ms: int,
    log: LifecycleLog,
    outcome: Outcome,
    goes_on: Callable[[], bool],
    before_expiry: Callable[[Sequence[str]], None],
) -> None:
    """Delete, then move."""
    expirations = [action for action in actions if action.storage_class is None]
    for start in range(0, len(expirations), _BATCH):
        if not goes_on():
            return
        batch = expirations[start : start + _BATCH]
        log.append(_line(bucket, "expire", action, now_ms) for action in batch)
        before_expiry([action.info.key for action in batch])
        _expire(bucket, batch, outcome)
    for action in actions:
        if not goes_on() or len(outcome.problems) >= PROBLEMS_MAX:
            return
        if action.storage_class is not None:
            _transition(bucket, action, action.storage_class, now_ms, log, outcome)


def _due(bucket: LocalBucket, rules: Sequence[Rule], now_ms: int, minimum: str, trust_clock: bool) -> list[Action]:
    actions = []
    for info in bucket.list(tags=True):
        if not trust_clock and info.modified_ms > now_ms + CLOCK_MS_MAX:
            raise ClockInDoubt(
                f"The clock says {clock.rfc3339_ms(now_ms)}, but {info.key} was created at "
                f"{clock.rfc3339_ms(info.modified_ms)}: nothing is moved or deleted by rule.",
                "Is the clock behind? Set it right. If it is right: " + TRUST,
            )
        action = lifecycle.decide(rules, info, now_ms, minimum)
        if action is not None:
            actions.append(action)
    return actions


def _reachable(bucket: LocalBucket, actions: list[Action], outcome: Outcome) -> list[Action]:
    """Return those of the actions that can be done now: where the cold folder is away, not the ones that need it."""

    def needs_cold(action: Action) -> bool:
        was_cold, will_be = action.info.storage_class in COLD_CLASSES, action.storage_class in COLD_CLASSES
        return was_cold != will_be

    if any(map(needs_cold, actions)):
        try:
            bucket.cold.check()
        except StorageError as error:
            _note(outcome, error)
            return [action for action in actions if not needs_cold(action)]
    return actions


def _expire(bucket: LocalBucket, actions: Sequence[Action], outcome: Outcome) -> None:
    for action in actions:
        try:
            if transitions.expire(bucket, action.info):
                outcome.expired.add(action.info.size)
        except StorageError as error:
            _note(outcome, error)


def _transition(
    bucket: LocalBucket, action: Action, storage_class: str, now_ms: int, log: LifecycleLog, outcome: Outcome
) -> None:
    try:
        bucket.cold.clean(bucket.name, action.info.key)
        if transitions.transition(bucket, action.info, storage_class):
            outcome.transitioned.setdefault(storage_class, Count()).add(action.info.size)
            log.append([_line(bucket, "transition", action, now_ms)])
    except StorageError as error:
        _note(outcome, error)


def _abort(bucket: LocalBucket, rules: Sequence[Rule], now_ms: int, log: LifecycleLog, outcome: Outcome) -> None:
    for upload in bucket.uploads():
        found = lifecycle.abort(rules, upload, now_ms)
        if found is None:
            continue
        log.append([_upload_line(bucket, found, now_ms)])
        try:
            bucket.abort(upload)
            outcome.aborted.add(upload.size)
        except StorageError as error:
            _note(outcome, error)


def _note(outcome: Outcome, error: StorageError) -> None:
    text = str(error)
    if text not in outcome.problems and len(outcome.problems) < PROBLEMS_MAX:
        outcome.problems.append(text)


def _line(bucket: LocalBucket, name: str, action: Action, now_ms: int) -> Line:
    info = action.info
    return Line(
        at_ms=now_ms,
        action=name,
        bucket=bucket.name,
        key=info.key,
        rule=action.rule,
        size=info.size,
        created_ms=info.modified_ms,
        storage_class=info.storage_class,
        to=action.storage_class,
    )


def _upload_line(bucket: LocalBucket, found: Abort, now_ms: int) -> Line:
    upload = found.upload
    return Line(
        at_ms=now_ms,
        action="abort",
        bucket=bucket.name,
        key=upload.key,
        rule=found.rule,
        size=upload.size,
        created_ms=upload.began_ms,
        storage_class=STANDARD,
    )
