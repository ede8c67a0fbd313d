"""Which of a day's files a compaction writes anew. Pure.

Files of 128 MB and more stay as they are; all smaller ones are merged with what is new, into files of which only the
last may be smaller. So a day settles at one file and one more for each 128 MB. A day with a file that is cold, or that
is old enough to be any time, is left alone: what is new for it goes to a file marked `unchecked`, one for all runs.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from headrace.archive.base import COLD_CLASSES
from headrace.archive.catalogue import File

FULL_BYTES = 128 * 1024 * 1024
_DAY_MS = 86_400_000


class Plan(NamedTuple):
    """What becomes of a day: these files are merged with what is new, which is compared with those of `compared`."""

    merged: tuple[File, ...] = ()
    compared: tuple[File, ...] = ()
    unchecked: bool = False


def plan(files: Iterable[File], unreadable: Collection[str], now_ms: int, warm_days: int | None) -> Plan:
    """Return the plan for a day to which something is added.

    `unreadable` are the keys of files that are cold or missing; `warm_days` is from `warm_days_of`.
    """
    files = tuple(files)
    left = [file for file in files if file.key in unreadable or _turns_cold(file, now_ms, warm_days)]
    if left:
        return Plan(tuple(file for file in files if file.unchecked and file not in left), unchecked=True)
    merged = tuple(file for file in files if file.bytes < FULL_BYTES or file.unchecked)
    return Plan(merged, tuple(file for file in files if file not in merged))


def warm_days_of(rules: Iterable[Mapping[str, Any]], prefix: str) -> int | None:
    """Return how many days objects under `prefix` stay readable at least, by a bucket's lifecycle rules; None: always.

    Rules are those of the template. One that is narrowed by tags or sizes is taken to hold for every object.
    """
    days = []
    for rule in rules:
        if rule.get("Status") != "Enabled" or not _may_hold(rule, prefix):
            continue
        for transition in (*rule.get("Transitions", ()), *filter(None, [rule.get("Transition")])):
            if transition.get("StorageClass") in COLD_CLASSES:
                days.append(int(transition.get("TransitionInDays", 0)))
    return min(days, default=None)


def _may_hold(rule: Mapping[str, Any], prefix: str) -> bool:
    named = str(rule.get("Prefix", ""))
    return named.startswith(prefix) or prefix.startswith(named)


def _turns_cold(file: File, now_ms: int, warm_days: int | None) -> bool:
    return warm_days is not None and now_ms - file.created_ms >= warm_days * _DAY_MS
