"""A run of a job, and what follows from how an attempt ended. Pure: values and times in, values out.

    waiting ──begin──▶ running ──▶ succeeded
       ▲                  │ ├────▶ failed      a wrong report or setting, or no retries left
       └── failed, late ──┘ └────▶ cancelled

An attempt that was interrupted, because the backend stopped or the process was killed from outside, uses up no retry:
the first one is tried again at once, the others after a pause, a bounded number of times. An output that is committed
is always finished: a run whose attempt had come so far is neither failed nor cancelled.
"""

from typing import Any

import msgspec

from headrace.system import JobSettings

VERSION = 1
WAITING, RUNNING, SUCCEEDED, FAILED, CANCELLED = "waiting", "running", "succeeded", "failed", "cancelled"
ENDED = (SUCCEEDED, FAILED, CANCELLED)
RETRY_AFTER_MS = (10_000, 600_000)  # the first and the longest pause before another attempt; each is four times longer
INTERRUPTIONS_MAX = 20  # of one run


class Attempt(msgspec.Struct):
    """One child process. `outcome` is null while it runs; `error` is [problem, hint]."""

    started_ms: int
    ended_ms: int | None = None
    outcome: str | None = None  # succeeded, failed, timed_out, cancelled, interrupted
    error: tuple[str, str] | None = None


class Run(msgspec.Struct):
    """A run as its file has it. `first` and `last` are days, inclusive, or null; times in milliseconds since 1970."""

    id: str
    job: str
    trigger: str  # schedule or request
    created_ms: int
    settings: JobSettings
    first: str | None = None
    last: str | None = None
    state: str = WAITING
    due_ms: int = 0
    attempts: list[Attempt] = []
    result: dict[str, Any] | None = None
    version: int = VERSION


class Asked(msgspec.Struct):
    """What a run is asked for with; `first` and `last` are days, inclusive."""

    job: str
    engine: str | None = None
    first: str | None = None
    last: str | None = None
    parameters: dict[str, int | float | str] = {}


class Ended(msgspec.Struct):
    """What a child leaves as its last word: a result, or an error as [kind, problem, hint]."""

    result: dict[str, Any] | None = None
    error: tuple[str, str, str] | None = None


def begin(run: Run, now_ms: int) -> None:
    """Begin an attempt."""
    run.state = RUNNING
    run.attempts.append(Attempt(now_ms))


def succeed(run: Run, result: dict[str, Any] | None, now_ms: int) -> None:
    """End the attempt: the job is done."""
    _end(run, "succeeded", None, now_ms)
    run.state, run.result = SUCCEEDED, result


def fail(run: Run, outcome: str, error: tuple[str, str], now_ms: int, *, for_good: bool, committed: bool) -> None:
    """End the attempt without success; `for_good`: another one would end alike; `committed`: its output stands."""
    _end(run, outcome, error, now_ms)
    failed = sum(each.outcome in ("failed", "timed_out") for each in run.attempts)
    interrupted = sum(each.outcome == "interrupted" for each in run.attempts)
    if outcome == "interrupted" and interrupted <= INTERRUPTIONS_MAX:
        run.state, run.due_ms = WAITING, now_ms + (pause_ms(interrupted - 1) if interrupted > 1 else 0)
    elif committed or (not for_good and failed <= run.settings.retries and outcome != "interrupted"):
        run.state, run.due_ms = WAITING, now_ms + pause_ms(failed)
    else:
        run.state = FAILED


def cancel(run: Run, now_ms: int, *, committed: bool) -> None:
    """End a run that is not wanted any more; one whose output stands is finished instead."""
    if run.state == RUNNING:
        _end(run, "cancelled", None, now_ms)
    run.state, run.due_ms = (WAITING, now_ms) if committed else (CANCELLED, run.due_ms)


def pause_ms(failed: int) -> int:
    """Return how long to wait before the attempt after so many failed ones."""
    first, longest = RETRY_AFTER_MS
    return int(min(longest, first * 4 ** max(0, failed - 1)))


def _end(run: Run, outcome: str, error: tuple[str, str] | None, now_ms: int) -> None:
    attempt = run.attempts[-1]
    attempt.ended_ms, attempt.outcome, attempt.error = now_ms, outcome, error
