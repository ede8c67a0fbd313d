"""The console's verdict: what counts as well, and the words for what does not."""

from dataclasses import replace
from typing import Any

import pytest

from headrace.clock import rfc3339_ms
from headrace.console.snapshot import Alarm, Failure, Function, Snapshot
from headrace.console.verdict import BAD, FAIR, GOOD, state, verdict

NOW = 1_785_000_000_000
ALARM = Alarm("Late", "ALARM", NOW, "over 10 for 3 periods", "Events are late.")


def account(age_ms: int = 0, pending: int = 0) -> dict[str, int]:
    return {"pending": pending, "iterator_age_ms": age_ms, "processed": 5, "failed": 0}


def snapshot(**changes: Any) -> Snapshot:
    functions = [Function("store", account(5000, 3)), Function("device_api")]
    return replace(Snapshot(at_ms=NOW, accepted=9, processes={"gateway": True}, functions=functions), **changes)


def given_up(**changes: Any) -> Failure:
    failure = Failure("aws/lambda/x", "bill", "RetryAttemptsExhausted", time=rfc3339_ms(NOW - 1000), records=4)
    for name, value in changes.items():
        setattr(failure, name, value)
    return failure


def test_all_is_well() -> None:
    found = verdict(snapshot(alarms=[ALARM._replace(state="OK")]), NOW)
    assert (found.level, found.headline) == (GOOD, "All is well")
    assert found.details == ["1 function keeps up with the stream; no alarm is on."]


def test_a_backend_without_events_says_how_to_get_some() -> None:
    assert verdict(snapshot(accepted=0), NOW).details[0].endswith("come in yet: try `headrace simulate`.")


def test_what_devices_sent_wrongly_is_no_fault_of_the_backend() -> None:
    rejected = Failure("rejected/store/x", "store", "json", time=rfc3339_ms(NOW))
    found = verdict(snapshot(failures=[rejected]), NOW)
    assert (found.level, found.headline) == (GOOD, "All is well")
    assert "what devices sent wrongly is kept below" in found.details[0]


@pytest.mark.parametrize(
    ("changes", "level", "headline"),
    [
        ({"processes": {"gateway": True, "table": False}}, BAD, "The table process does not answer"),
        ({"alarms": [ALARM]}, BAD, "Alarm Late is on: Events are late."),
        ({"alarms": [ALARM._replace(description="")]}, BAD, "Alarm Late is on: over 10 for 3 periods"),
        ({"balanced": False}, BAD, "The books do not add up: run `headrace status --verify`"),
        ({"clock": {"streams_ahead_ms": 90_000}}, FAIR, "The clock went back: the streams are 90 s ahead of it"),
        ({"failures": [given_up()]}, FAIR, "bill gave up 4 events in the last day: see Failures"),
        ({"failures": [given_up(replayed=3)]}, FAIR, "bill gave up 1 event in the last day: see Failures"),
        (
            {"functions": [Function("f", account(), import_error="no module x", trouble="shard 1: no module x")]},
            BAD,
            "f can't be imported: no module x",
        ),
        ({"functions": [Function("f", account(), trouble="shard 1: late")]}, FAIR, "f does not get on: shard 1: late"),
        ({"disk": {"free_bytes": 5, "full": True}}, BAD, "The disk is full: 5 B are free"),
        ({"disk": {"free_bytes": 5, "free_files": 0, "full": True}}, BAD, "The disk is full: it takes no more files"),
        (
            {"disk": {"free_bytes": 5, "full": True, "read_only": True}},
            BAD,
            "The disk is read-only: nothing is accepted until it is mounted for writing",
        ),
    ],
)
def test_one_thing_is_the_headline(changes: dict[str, Any], level: str, headline: str) -> None:
    found = verdict(snapshot(**changes), NOW)
    assert (found.level, found.headline, found.details) == (level, headline, [])


def test_several_things_are_listed_the_worst_first() -> None:
    found = verdict(snapshot(failures=[given_up()], alarms=[ALARM]), NOW)
    assert (found.level, found.headline) == (BAD, "Alarm Late is on: Events are late.")
    assert found.details == ["bill gave up 4 events in the last day: see Failures"]
    worse = verdict(snapshot(failures=[given_up()], alarms=[ALARM, ALARM._replace(name="Off")]), NOW)
    assert (worse.level, worse.headline) == (BAD, "2 things are wrong")
    assert [line.split()[0] for line in worse.details] == ["Alarm", "Alarm", "bill"]
    calmer = verdict(snapshot(failures=[given_up()], clock={"removal_paused": True}), NOW)
    assert (calmer.level, calmer.headline) == (FAIR, "2 things to look at")


@pytest.mark.parametrize(
    "failure",
    [given_up(replayed_at=rfc3339_ms(NOW)), given_up(time=rfc3339_ms(NOW - 25 * 3_600_000)), given_up(time=None)],
)
def test_what_was_replayed_or_is_long_ago_is_no_news(failure: Failure) -> None:
    assert verdict(snapshot(failures=[failure]), NOW).level == GOOD


def test_a_backend_that_is_silent_is_said_to_be_after_a_moment() -> None:
    silent = snapshot(problem="The backend does not answer (ConnectError).")
    soon = verdict(silent, NOW + 5000)
    assert (soon.level, soon.headline) == (FAIR, "Not all is known: The backend does not answer (ConnectError).")
    found = verdict(silent, NOW + 60_000)
    assert (found.level, found.headline) == (
        BAD, "No answer from the backend for 60 s: The backend does not answer (ConnectError)."
    )  # fmt: skip
    assert verdict(snapshot(), NOW + 60_000).headline == "No answer from the backend for 60 s"
    never = verdict(Snapshot(problem="The backend did not answer in time."), NOW)
    assert (never.level, never.headline) == (BAD, "The backend did not answer in time.")


@pytest.mark.parametrize(
    ("function", "level", "text"),
    [
        (Function("f"), GOOD, "answers when called"),
        (Function("f", errors=2), FAIR, "failed 2 times in the last 15 min"),
        (Function("f", account(59_000, 7)), GOOD, "keeps up"),
        (Function("f", account(3_600_000, 0)), GOOD, "keeps up"),
        (Function("f", account(90_000, 7)), FAIR, "is 90 s behind"),
        (Function("f", account(720_000, 1)), BAD, "is 12 min behind"),
        (Function("f", account(90_000, 7), errors=1), FAIR,
         "is 90 s behind; it failed 1 time in the last 15 min"),
        (Function("f", account(), errors=1), FAIR, "failed 1 time in the last 15 min"),
    ],
)  # fmt: skip
def test_how_a_function_does(function: Function, level: str, text: str) -> None:
    assert state(function) == (level, text)
