"""Whatever becomes of the calls: every record is done with once, in order, and the books balance."""

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.runtime import mapping
from headrace.runtime.mapping import Outcome, State
from headrace.system import Mapping

NUMBERS = st.sets(st.integers(0, 40), max_size=6)
OUTCOMES = st.one_of(
    st.builds(Outcome, documented=NUMBERS, lost=NUMBERS),
    st.builds(Outcome, failed=st.just(True), function_error=st.sampled_from(["Unhandled", None]), documented=NUMBERS),
    st.builds(Outcome, reported=st.integers(0, 40), documented=NUMBERS, lost=NUMBERS),
)
STEPS = st.lists(st.tuples(OUTCOMES, st.integers(0, 4)), max_size=60)
RULES = st.builds(
    lambda retries, bisect: Mapping(
        logical_id="M", uuid="u", function="f", stream="s", retries=retries, bisect=bisect, report_item_failures=True
    ),
    st.integers(-1, 3),
    st.booleans(),
)


def in_batch(state: State, outcome: Outcome) -> Outcome:
    """Return the outcome with its numbers moved into the batch under way: relative ones are easy to draw."""
    count = state.count

    def moved(numbers: object) -> list[int]:
        return sorted({state.next + number % count for number in numbers})  # type: ignore[attr-defined]

    reported = None if outcome.reported is None else state.next + outcome.reported % count
    return outcome._replace(documented=moved(outcome.documented), lost=moved(outcome.lost), reported=reported)


@settings(max_examples=400, deadline=None)
@given(RULES, st.integers(1, 30), STEPS)
def test_the_books_balance_at_every_step(rules: Mapping, count: int, steps: list[tuple[Outcome, int]]) -> None:
    state = mapping.begin(State(start=10, next=10), count)
    end = 10 + count
    for outcome, old in steps:
        if state.count == 0:
            break
        before = state
        if old and old % 4 == 0:
            state = mapping.settled(mapping.aged(state, min(old, state.count), 0, "r"))
            assert state.next > before.next
        else:
            state = mapping.after(rules, state, in_batch(state, outcome), 0, "r")
            if state.ending is not None:
                assert state.ending.calls == rules.retries + 1
                state = mapping.settled(state)
        assert before.next <= state.next <= end
        assert state.next + state.count + sum(state.later) == end
        assert state.processed + state.failed + state.filtered + state.expired == state.next - state.start
        assert min(state.processed - before.processed, state.failed - before.failed) >= 0
        assert (state.count == 0) == (state.next == end)


@settings(max_examples=200, deadline=None)
@given(RULES, st.integers(1, 60), st.sets(st.integers(0, 59), max_size=5))
def test_poison_records_are_given_up_and_with_bisect_they_alone(rules: Mapping, count: int, poison: set[int]) -> None:
    if rules.retries < 0 and any(number < count for number in poison):
        return  # tried for ever
    state = mapping.begin(State(start=0, next=0), count)
    given_up: list[int] = []
    for _ in range(2000):
        if state.count == 0:
            break
        failed = any(state.next <= number < state.next + state.count for number in poison)
        state = mapping.after(rules, state, Outcome(failed=failed), 0, "r")
        if state.ending is not None:
            given_up += range(state.next, state.next + state.ending.count)
            state = mapping.settled(state)
    mine = [number for number in sorted(poison) if number < count]
    assert state.next == count
    assert set(mine) <= set(given_up)
    assert state.failed == len(given_up)
    if rules.bisect:
        assert given_up == mine
