"""What follows from how an attempt of a run ended."""

import pytest

from headrace.jobs import run as transitions
from headrace.jobs.run import Run
from headrace.system import JobSettings

ERROR = ("It went wrong.", "Mend it.")


def made(retries: int = 2) -> Run:
    return Run("j-1", "j", "request", 1_000, JobSettings(retries=retries))


def attempts(run: Run, *outcomes: str, for_good: bool = False, committed: bool = False) -> list[int]:
    """Let attempts fail one after the other; return how long each next one waits."""
    waits = []
    for outcome in outcomes:
        assert run.state == "waiting"
        transitions.begin(run, 5_000)
        transitions.fail(run, outcome, ERROR, 6_000, for_good=for_good, committed=committed)
        waits.append(run.due_ms - 6_000)
    return waits


def test_success_keeps_the_result() -> None:
    run = made()
    transitions.begin(run, 2_000)
    assert (run.state, run.attempts[-1].outcome) == ("running", None)
    transitions.succeed(run, {"days": 3}, 3_000)
    assert (run.state, run.result, run.attempts[-1].ended_ms) == ("succeeded", {"days": 3}, 3_000)


def test_failures_are_retried_later_and_later_and_then_no_more() -> None:
    run = made(retries=5)
    assert attempts(run, *["failed", "timed_out"] * 3)[:-1] == [10_000, 40_000, 160_000, 600_000, 600_000]
    assert run.state == "failed" and run.attempts[-1].error == ERROR


def test_what_would_fail_again_is_not_retried() -> None:
    run = made()
    attempts(run, "failed", for_good=True)
    assert run.state == "failed"


def test_interruptions_use_up_no_retry() -> None:
    run = made(retries=0)
    assert attempts(run, "interrupted", "interrupted", "interrupted") == [0, 10_000, 40_000]
    attempts(run, "failed")
    assert run.state == "failed"


def test_interruptions_are_bounded() -> None:
    run = made()
    attempts(run, *["interrupted"] * transitions.INTERRUPTIONS_MAX)
    assert run.state == "waiting"
    attempts(run, "interrupted")
    assert run.state == "failed"


@pytest.mark.parametrize("outcome", ["failed", "timed_out", "interrupted"])
def test_what_is_committed_is_finished(outcome: str) -> None:
    run = made(retries=0)
    attempts(run, outcome, outcome, for_good=True, committed=True)
    assert run.state == "waiting"


def test_cancelling() -> None:
    waiting, running, committed = made(), made(), made()
    transitions.cancel(waiting, 2_000, committed=False)
    for run in (running, committed):
        transitions.begin(run, 2_000)
    transitions.cancel(running, 3_000, committed=False)
    transitions.cancel(committed, 3_000, committed=True)
    assert (waiting.state, running.state, committed.state) == ("cancelled", "cancelled", "waiting")
    assert running.attempts[-1].outcome == "cancelled" and committed.due_ms == 3_000
