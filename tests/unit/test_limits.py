"""Rates and their limits, as tables: when something is asked for, how much of it, and whether it is allowed."""

from collections.abc import Sequence

import pytest

from headrace.limits import Bucket, Window
from headrace.stream.limits import IN_BYTES, IN_RECORDS, OUT_BYTES, OUT_CALLS, ShardLimits
from headrace.table.rows import units_of

MIB = 1024 * 1024

# rate, seconds saved up at most -> (at, amount, allowed) …
BUCKETS: dict[str, tuple[float, float, Sequence[tuple[float, float, bool]]]] = {
    "a second's worth at first": (5, 300, [(0, 1, True)] * 5 + [(0, 1, False)]),
    "the rate afterwards": (
        4,
        300,
        [(0, 4, True), (0.125, 1, True), (0.25, 1, False), (0.5, 1, True), (0.5, 1, False)],
    ),
    "what is saved up": (5, 300, [(10, 54, True), (10, 1, True), (10, 1, False)]),
    "no more than that is saved up": (5, 3, [(1000, 14, True), (1000, 1, True), (1000, 1, False)]),
    "what is larger than the rate is owed": (5, 300, [(0, 400, True), (78, 1, False), (79, 1, False), (79.1, 1, True)]),
    "nothing left is nothing": (1, 300, [(0, 1, True), (0, 1, False), (0.5, 1, True), (1, 1, False), (1.6, 1, True)]),
    "a clock that stands still": (1, 300, [(5, 6, True), (5, 1, False), (5, 1, False)]),
    "a time before the last": (1, 300, [(5, 6, True), (2, 1, False), (5.5, 1, True)]),
}


@pytest.mark.parametrize("name", BUCKETS)
def test_buckets(name: str) -> None:
    rate, saved_s, asked = BUCKETS[name]
    bucket = Bucket(rate, 0.0, saved_s)
    assert [bucket.take(at, amount) for at, amount, _ in asked] == [allowed for _, _, allowed in asked]


@pytest.mark.parametrize("step_s", [0.001, 0.02, 0.7, 3.0])
def test_a_bucket_keeps_its_rate_in_the_long_run(step_s: float) -> None:
    bucket, taken, now_s = Bucket(7, 0.0), 0, 0.0
    for step in range(int(100 / step_s)):
        now_s = step * step_s
        while bucket.take(now_s, 2):
            taken += 2
    assert 0 <= taken - 7 * (now_s + 1) <= 2


def test_a_window_is_exact_for_any_second() -> None:
    window = Window(10)
    allowed = []
    for step in range(400):
        now_s = step * 0.0173
        if window.room(now_s) >= 1:
            window.take(now_s, 1)
            allowed.append(now_s)
    assert all(sum(at < other <= at + 0.9999 for other in allowed) <= 9 for at in allowed)
    assert len(allowed) == 70  # seven seconds


def test_a_shard_takes_1_000_records_within_any_second() -> None:
    shard = ShardLimits()
    assert [shard.put(0.5, 1) for _ in range(IN_RECORDS + 2)] == [True] * IN_RECORDS + [False] * 2
    assert not shard.put(1.499, 1)
    assert [shard.put(1.5, 1) for _ in range(IN_RECORDS + 1)] == [True] * IN_RECORDS + [False]


def test_a_shard_takes_1_mib_within_any_second_and_a_small_record_still_fits() -> None:
    shard = ShardLimits()
    assert shard.put(0, IN_BYTES - 10)
    assert not shard.put(0, 11)
    assert shard.put(0, 10)
    assert not shard.put(0.9, 1)
    assert shard.put(1, IN_BYTES)
    assert not shard.put(1, 1)


def test_a_shard_answers_five_calls_and_2_mib_within_any_second() -> None:
    shard = ShardLimits()
    assert [shard.get(0, 10 * MIB) > 0 for _ in range(OUT_CALLS + 1)] == [True] * OUT_CALLS + [False]
    shard = ShardLimits()
    assert shard.get(0, 10 * MIB) == 10 * MIB
    shard.gave(0, MIB)
    assert shard.get(0.1, 10 * MIB) == OUT_BYTES - MIB
    shard.gave(0.1, MIB)
    assert shard.get(0.5, 10 * MIB) == 0
    assert shard.get(1.05, 10 * MIB) == MIB


def test_an_answer_of_10_mib_is_worked_off_in_five_seconds() -> None:
    shard = ShardLimits()
    assert shard.get(0, 10 * MIB) == 10 * MIB
    shard.gave(0, 10 * MIB)
    assert [shard.get(at, 10 * MIB) > 0 for at in (0.5, 1.5, 4.99, 5.0)] == [False, False, False, True]


def test_write_units_of_rows() -> None:
    head = b"\0" * 9
    key = b"\0\3abcdef"
    sizes = (0, 1018, 1019, 2042, 2043)
    assert units_of([part for size in sizes for part in (key, head + b"x" * size)]) == [1, 1, 2, 2, 3]
