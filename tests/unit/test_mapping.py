"""The rules of an event source mapping, as tables."""

import dataclasses
from typing import Any

import msgspec
import pytest

from headrace.runtime import mapping
from headrace.runtime.mapping import (
    AGE_EXCEEDED,
    RETRIES_EXHAUSTED,
    UNHANDLED,
    BadAnswer,
    Ending,
    Gathering,
    Outcome,
    Span,
    State,
)
from headrace.system import Mapping

NOW = 1_700_000_000_000
IDS = {f"seq-{number}": number for number in range(100, 110)}


def rules(**settings: Any) -> Mapping:
    return Mapping(logical_id="M", uuid="u", function="f", stream="s", **settings)


def batch(count: int = 10, **members: Any) -> State:
    """A shard whose checkpoint is at 100, 40 done with before, with a batch of `count` under way."""
    return State(start=60, next=100, processed=40, count=count, **members)


def items(*identifiers: object) -> dict[str, object]:
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}


# -- answers


@pytest.mark.parametrize(
    "answer", [None, "", {}, [], {"batchItemFailures": []}, {"batchItemFailures": None}, {**items(), "statusCode": 200}]
)
def test_full_success(answer: object) -> None:
    assert mapping.reported(answer, IDS.get) is None


@pytest.mark.parametrize(
    ("answer", "lowest"),
    [
        (items("seq-103"), 103),
        (items("seq-107", "seq-103", "seq-109"), 103),
        (items("seq-100"), 100),
        (items("seq-105", "seq-105"), 105),
        ({**items("seq-104"), "more": 1}, 104),
    ],
)
def test_the_lowest_reported_number_counts(answer: object, lowest: int) -> None:
    assert mapping.reported(answer, IDS.get) == lowest


@pytest.mark.parametrize(
    "answer",
    [
        items(""),
        items(None),
        items(103),
        items("seq-99"),
        items("seq-110"),
        items("seq-103", "seq-99"),
        items("seq-103", ""),
        {"batchItemFailures": [{}]},
        {"batchItemFailures": [{"foo": "seq-103"}]},
        {"batchItemFailures": [{"foo": None}]},
        {"batchItemFailures": [None]},
        {"batchItemFailures": ["seq-103"]},
        {"batchItemFailures": "seq-103"},
        {"batchItemFailures": {"itemIdentifier": "seq-103"}},
        {"batchItemFailure": [{"itemIdentifier": "seq-103"}]},
        {"statusCode": 200},
        "ok",
        True,
        7,
        ["seq-103"],
    ],
)
def test_what_is_no_batch_response_fails_the_whole_batch(answer: object) -> None:
    with pytest.raises(BadAnswer):
        mapping.reported(answer, IDS.get)


# -- what follows from an outcome


@dataclasses.dataclass
class Case:
    """A batch under way, its outcome, and what must stand in the state afterwards."""

    name: str
    outcome: Outcome
    after: dict[str, Any]
    before: State = dataclasses.field(default_factory=batch)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)


FAILED = Outcome(failed=True, function_error=UNHANDLED)
BAD = Outcome(failed=True)
DONE = {"next": 110, "processed": 50, "count": 0, "calls": 0, "later": (), "ending": None}
SAME = {"next": 100, "processed": 40, "failed": 0, "count": 10, "later": (), "ending": None}

CASES = [
    Case("success", Outcome(), DONE),
    Case("success after failed calls", Outcome(), DONE, batch(calls=4)),
    Case("success of a half", Outcome(), {**DONE, "next": 105, "processed": 45, "count": 7, "later": (3,)},
         batch(5, later=(7, 3))),
    Case("reported in the middle", Outcome(reported=104),
         {"next": 104, "processed": 44, "count": 6, "calls": 0, "ending": None}, batch(calls=2)),
    Case("reported at the end", Outcome(reported=109), {"next": 109, "processed": 49, "count": 1, "calls": 0}),
    Case("reported, with bisect: split at the number", Outcome(reported=104),
         {"next": 104, "processed": 44, "count": 6, "calls": 0, "later": ()}, settings={"bisect": True}),
    Case("reported within a half", Outcome(reported=103), {"next": 103, "count": 2, "calls": 0, "later": (5,)},
         batch(5, later=(5,))),
    Case("the first reported", Outcome(reported=100), {**SAME, "calls": 1}),
    Case("the first reported again", Outcome(reported=100), {**SAME, "calls": 3}, batch(calls=2)),
    Case("the first reported, bisect: halved", Outcome(reported=100), {**SAME, "count": 5, "later": (5,), "calls": 0},
         settings={"bisect": True}),
    Case("failed", FAILED, {**SAME, "calls": 1}),
    Case("failed for the hundredth time, no limit", FAILED, {**SAME, "calls": 100}, batch(calls=99)),
    Case("failed, calls left", FAILED, {**SAME, "calls": 5}, batch(calls=4), {"retries": 5}),
    Case("failed, none left", FAILED,
         {**SAME, "calls": 6, "ending": Ending(RETRIES_EXHAUSTED, 10, 6, NOW, "r", UNHANDLED)},
         batch(calls=5), {"retries": 5}),
    Case("no retries at all", FAILED,
         {**SAME, "calls": 1, "ending": Ending(RETRIES_EXHAUSTED, 10, 1, NOW, "r", UNHANDLED)},
         settings={"retries": 0}),
    Case("bad answer, none left", BAD, {**SAME, "calls": 1, "ending": Ending(RETRIES_EXHAUSTED, 10, 1, NOW, "r", None)},
         settings={"retries": 0}),
    Case("the first reported, none left", Outcome(reported=100),
         {**SAME, "calls": 1, "ending": Ending(RETRIES_EXHAUSTED, 10, 1, NOW, "r", None)}, settings={"retries": 0}),
    Case("bisect", FAILED, {**SAME, "count": 5, "later": (5,), "calls": 0}, settings={"bisect": True}),
    Case("bisect an odd batch", FAILED, {**SAME, "count": 3, "later": (4,), "calls": 0}, batch(7), {"bisect": True}),
    Case("bisect a half", FAILED, {**SAME, "count": 2, "later": (3, 5), "calls": 0}, batch(5, later=(5,)),
         {"bisect": True}),
    Case("bisect costs no retry", FAILED, {**SAME, "count": 5, "later": (5,), "calls": 0}, batch(calls=0),
         {"bisect": True, "retries": 0}),
    Case("one record is not halved", FAILED, {**SAME, "count": 1, "calls": 1, "later": (9,)}, batch(1, later=(9,)),
         {"bisect": True}),
    Case("one record, none left", FAILED,
         {**SAME, "count": 1, "calls": 1, "later": (9,),
          "ending": Ending(RETRIES_EXHAUSTED, 1, 1, NOW, "r", UNHANDLED)},
         batch(1, later=(9,)), {"bisect": True, "retries": 0}),
    Case("documented by the function", Outcome(documented=[101, 105]), {**DONE, "processed": 48, "failed": 2}),
    Case("documented twice counts once", Outcome(documented=[101]), {**DONE, "processed": 49, "failed": 1},
         batch(documented=b"\x02")),
    Case("documented in a failed call is kept", Outcome(failed=True, documented=[101]),
         {**SAME, "calls": 1, "documented": b"\x02"}),
    Case("documented before and behind the reported one", Outcome(reported=104, documented=[101, 104, 109]),
         {"next": 104, "processed": 43, "failed": 1, "count": 6, "documented": b"\x21"}),
    Case("documented outside of the batch is not ours", Outcome(documented=[99, 110]), DONE),
    Case("lost by the log", Outcome(lost=[100, 109]), {**DONE, "processed": 48, "expired": 2}),
    Case("lost behind the reported one", Outcome(reported=104, lost=[101, 108]),
         {"next": 104, "processed": 43, "expired": 1, "count": 6}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_outcomes(case: Case) -> None:
    after = mapping.after(rules(**case.settings), case.before, case.outcome, NOW, "r")
    found = msgspec.structs.asdict(after)
    assert {name: found[name] for name in case.after} == case.after
    assert after.processed + after.failed + after.filtered + after.expired == after.next - after.start
    moved = after.next + after.count + sum(after.later)
    assert moved == case.before.next + case.before.count + sum(case.before.later)


def test_a_failing_record_in_a_reporting_batch_is_seen_five_times_with_three_retries() -> None:
    state, seen = batch(), 0
    while state.ending is None:
        seen += 1
        state = mapping.after(rules(retries=3), state, Outcome(reported=104), NOW, "r")
    assert (seen, state.ending.calls, state.ending.count) == (5, 4, 6)


def test_bisect_isolates_one_poison_record_and_keeps_the_order() -> None:
    state = batch()
    handed: list[int] = []
    given_up: list[int] = []
    while state.count:
        batch_numbers = list(range(state.next, state.next + state.count))
        poisoned = 106 in batch_numbers
        if not poisoned:
            handed += batch_numbers
        state = mapping.after(rules(bisect=True, retries=1), state, FAILED if poisoned else Outcome(), NOW, "r")
        if state.ending is not None:
            given_up += range(state.next, state.next + state.ending.count)
            state = mapping.settled(state)
    assert given_up == [106]
    assert handed == [100, 101, 102, 103, 104, 105, 107, 108, 109]
    assert (state.next, state.processed, state.failed) == (110, 49, 1)


def test_retries_bound_the_calls() -> None:
    for retries in range(6):
        state, calls = batch(), 0
        while state.ending is None:
            calls += 1
            state = mapping.after(rules(retries=retries), state, FAILED, NOW, "r")
        assert calls == retries + 1 == state.ending.calls


# -- giving up


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (batch(ending=Ending(RETRIES_EXHAUSTED, 10, 1, NOW, "r")), {"next": 110, "failed": 10, "count": 0}),
        (batch(ending=Ending(RETRIES_EXHAUSTED, 10, 1, NOW, "r"), later=(5, 2)),
         {"next": 110, "failed": 10, "count": 5, "later": (2,)}),
        (batch(ending=Ending(AGE_EXCEEDED, 3, 1, NOW, "r"), calls=2, documented=b"\x09"),
         {"next": 103, "failed": 3, "count": 7, "calls": 0, "documented": b"\x01"}),
    ],
)  # fmt: skip
def test_settled(before: State, after: dict[str, Any]) -> None:
    found = msgspec.structs.asdict(mapping.settled(before))
    assert found["ending"] is None
    assert found["processed"] == 40
    assert {name: found[name] for name in after} == after


@pytest.mark.parametrize(
    ("age_s", "spans", "count"),
    [
        (-1, [Span(5, NOW - 10**9)], 0),
        (60, [Span(5, NOW - 60_000)], 0),
        (60, [Span(5, NOW - 60_001)], 5),
        (60, [Span(5, NOW - 60_001), Span(3, NOW - 60_000)], 5),
        (60, [Span(5, NOW - 90_000), Span(3, NOW - 70_000), Span(2, NOW)], 8),
        (60, [], 0),
    ],
)
def test_age(age_s: int, spans: list[Span], count: int) -> None:
    assert mapping.too_old(rules(record_age_s_max=age_s), spans, NOW) == count


@pytest.mark.parametrize(("calls", "told"), [(0, 1), (1, 1), (7, 7)])
def test_too_old_records_are_given_up_with_at_least_one_call_told(calls: int, told: int) -> None:
    state = mapping.aged(batch(calls=calls), 4, NOW, "r")
    assert state.ending == Ending(AGE_EXCEEDED, 4, told, NOW, "r")
    rest = mapping.settled(state)
    assert (rest.next, rest.count, rest.calls, rest.failed) == (104, 6, 0, 4)


# -- what the log has lost


@pytest.mark.parametrize(
    ("before", "first", "after"),
    [
        (State(start=60, next=100, processed=40), 90, {"next": 100, "expired": 0}),
        (State(start=60, next=100, processed=40), 100, {"next": 100, "expired": 0}),
        (State(start=60, next=100, processed=40), 250, {"next": 250, "expired": 150}),
        (batch(calls=3, later=(5,)), 104, {"next": 104, "expired": 4, "count": 0, "calls": 0, "later": ()}),
        (batch(documented=b"\x11"), 103, {"next": 103, "expired": 2, "failed": 1, "documented": b"\x02"}),
    ],
)
def test_skip(before: State, first: int, after: dict[str, Any]) -> None:
    skipped = mapping.skip(before, first)
    found = msgspec.structs.asdict(skipped)
    assert {name: found[name] for name in after} == after
    assert skipped.processed + skipped.failed + skipped.expired == skipped.next - skipped.start


# -- pauses


def test_pauses_double_up_to_a_bound_and_are_spread() -> None:
    longest = [mapping.pause_ms(batch(calls=calls), 1.0) for calls in range(12)]
    assert longest == [100, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]
    assert mapping.pause_ms(batch(calls=10_000), 1.0) == 30_000
    assert mapping.pause_ms(batch(calls=5), 0.0) == 800


# -- new batches


def test_a_batch_ends_at_its_size() -> None:
    gathering = Gathering(rules(batch_size=100), 500)
    assert gathering.fits(60, 6000)
    assert gathering.add(60, NOW, 6000) == 60
    assert not gathering.full
    assert gathering.add(60, NOW + 1, 6000) == 40
    assert gathering.full
    assert gathering.spans == [Span(60, NOW), Span(40, NOW + 1)]


def test_a_batch_ends_before_the_payload_limit() -> None:
    gathering = Gathering(rules(batch_size=10_000), 500)
    mebibyte = 1024 * 1024
    assert not gathering.fits(10, 10 * mebibyte)
    assert gathering.add_each([mebibyte] * 10, NOW) == 4
    assert gathering.full
    assert gathering.count == 4
    assert gathering.payload_bytes <= mapping.PAYLOAD_BYTES_MAX


def test_a_record_beyond_the_payload_limit_goes_alone() -> None:
    gathering = Gathering(rules(), 500)
    assert gathering.add_each([8 * 1024 * 1024, 10], NOW) == 1
    assert gathering.full


def test_records_of_unlike_sizes_are_taken_while_they_fit() -> None:
    gathering = Gathering(rules(batch_size=1000), 500)
    assert gathering.add_each([4 * 1024 * 1024, 100, 200, 4 * 1024 * 1024, 100], NOW) == 3
    assert gathering.full
