"""Whether all is well, and if not, what is wrong: in words, the worst first. Pure."""

from typing import NamedTuple

from headrace.console import words
from headrace.console.snapshot import Function, Snapshot
from headrace.plural import counted

BEHIND_MS = 60_000  # from here on a function lags
FAR_BEHIND_MS = 600_000
RECENT_MS = 24 * 3_600_000  # how long a failure counts
STALE_MS = 15_000  # without an answer of the backend

GOOD, FAIR, BAD = LEVELS = ("good", "fair", "bad")


class Finding(NamedTuple):
    """Something that is not as it should be."""

    level: str
    text: str


class Verdict(NamedTuple):
    """The whole in a line, and what it rests on."""

    level: str
    headline: str
    details: list[str]


def verdict(snapshot: Snapshot, now_ms: int) -> Verdict:
    """Return the verdict."""
    found = sorted(findings(snapshot, now_ms), key=lambda each: -LEVELS.index(each.level))
    if not found:
        return Verdict(GOOD, "All is well", [_calm(snapshot)])
    worst = found[0].level
    count = sum(each.level == worst for each in found)
    texts = [each.text for each in found]
    if count == 1:
        return Verdict(worst, texts[0], texts[1:])
    return Verdict(worst, f"{count} things are wrong" if worst == BAD else f"{count} things to look at", texts)


def findings(snapshot: Snapshot, now_ms: int) -> list[Finding]:
    """Return what is not as it should be, in no order."""
    if now_ms - snapshot.at_ms > STALE_MS:
        silent = f"No answer from the backend for {words.duration(now_ms - snapshot.at_ms)}" if snapshot.at_ms else ""
        return [Finding(BAD, ": ".join(part for part in (silent, snapshot.problem) if part) or "No answer yet")]
    found = [Finding(FAIR, f"Not all is known: {snapshot.problem}")] if snapshot.problem is not None else []
    found += [Finding(BAD, f"The {name} process does not answer") for name, ok in snapshot.processes.items() if not ok]
    for function in snapshot.functions:
        level, text = state(function)
        if level != GOOD:
            why = f": {function.trouble}" if function.trouble and function.import_error is None else ""
            found.append(Finding(level, f"{function.name} {text}{why}"))
    found += [
        Finding(BAD, f"Alarm {alarm.name} is on: {alarm.description or alarm.reason}") for alarm in snapshot.alarms_on
    ]
    if not snapshot.balanced:
        found.append(Finding(BAD, "The books do not add up: run `headrace status --verify`"))
    return found + _disk(snapshot) + _clock(snapshot) + _given_up(snapshot, now_ms)


def state(function: Function) -> tuple[str, str]:
    """Return how a function does: a level, and words that follow its name."""
    if function.import_error is not None:
        return BAD, f"can't be imported: {function.import_error}"
    failed = f"failed {counted(function.errors, 'time')} in the last 15 min" if function.errors else ""
    account = function.account
    if account is None:
        return (FAIR, failed) if failed else (GOOD, "answers when called")
    behind_ms = account["iterator_age_ms"] if account["pending"] else 0
    if behind_ms >= BEHIND_MS:
        text = f"is {words.duration(behind_ms)} behind"
        return BAD if behind_ms >= FAR_BEHIND_MS else FAIR, f"{text}; it {failed}" if failed else text
    if failed:
        return FAIR, failed
    return (FAIR, "does not get on") if function.trouble else (GOOD, "keeps up")


def _calm(snapshot: Snapshot) -> str:
    """Return why all is well."""
    readers = [each for each in snapshot.functions if each.account is not None]
    parts = [f"{counted(len(readers), 'function')} keep{'s' if len(readers) == 1 else ''} up with the stream"]
    if snapshot.alarms:
        parts.append("no alarm is on")
    rejected = sum(each.records for each in snapshot.failures if each.rejected and not each.replayed_at)
    if rejected:
        parts.append("what devices sent wrongly is kept below")
    return "; ".join(parts) + ("." if snapshot.accepted else ". No event has come in yet: try `headrace simulate`.")


def _disk(snapshot: Snapshot) -> list[Finding]:
    if snapshot.disk.get("read_only"):
        return [Finding(BAD, "The disk is read-only: nothing is accepted until it is mounted for writing")]
    if snapshot.disk.get("full"):
        no_files = snapshot.disk.get("free_files") == 0
        left = "it takes no more files" if no_files else f"{words.size(snapshot.disk['free_bytes'])} are free"
        return [Finding(BAD, f"The disk is full: {left}")]
    return []


def _clock(snapshot: Snapshot) -> list[Finding]:
    found = []
    if ahead_ms := snapshot.clock.get("streams_ahead_ms"):
        found.append(Finding(FAIR, f"The clock went back: the streams are {words.duration(ahead_ms)} ahead of it"))
    if snapshot.clock.get("removal_paused"):
        found.append(Finding(FAIR, "The clock jumped: old events are not removed until it is right (headrace status)"))
    return found


def _given_up(snapshot: Snapshot, now_ms: int) -> list[Finding]:
    """Return what functions gave up lately and nobody replayed, a finding a function."""
    records: dict[str, int] = {}
    for failure in snapshot.failures:
        recent = now_ms - (words.parse_ms(failure.time) or 0) < RECENT_MS
        if recent and not failure.rejected and failure.replayed_at is None:
            name = failure.function or "a function"
            records[name] = records.get(name, 0) + failure.records - failure.replayed
    return [
        Finding(FAIR, f"{name} gave up {counted(number, 'event')} in the last day: see Failures")
        for name, number in records.items()
    ]
