import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import sketch
from headrace.errors import UsageError
from headrace.sketch import Sketch

FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)


def exact(values: list[float], percent: float) -> float:
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values) - 1e-9) - 1)]


@pytest.mark.parametrize("percent", [0.1, 1, 25, 50, 90, 99, 99.9, 100])
@pytest.mark.parametrize("name", ["even", "normal", "skewed", "negative", "equal"])
def test_percentiles_are_within_one_per_cent(name: str, percent: float) -> None:
    rng = random.Random(7)
    make: Callable[[], float] = {
        "even": lambda: rng.uniform(0, 1000),
        "normal": lambda: rng.gauss(70, 3),
        "skewed": lambda: rng.expovariate(0.001),
        "negative": lambda: rng.uniform(-50, 50),
        "equal": lambda: 42.0,
    }[name]
    values = [make() for _ in range(5000)]
    found = Sketch.of(values).percentile(percent)
    assert found == pytest.approx(exact(values, percent), rel=0.011)


@given(st.lists(FINITE, min_size=1, max_size=50), st.lists(FINITE, max_size=50))
def test_a_merged_sketch_is_that_of_all_values(first: list[float], second: list[float]) -> None:
    merged = sketch.merged([Sketch.of(first), Sketch.of(second)])
    whole = Sketch.of(first + second)
    assert (merged.count, merged.low, merged.high) == (whole.count, whole.low, whole.high)
    assert merged.buckets == whole.buckets
    assert Sketch.unpacked(merged.packed()).packed() == merged.packed()


@given(st.lists(FINITE, min_size=1, max_size=50), st.floats(min_value=0.1, max_value=100))
def test_a_percentile_is_between_the_extremes(values: list[float], percent: float) -> None:
    found = Sketch.of(values).percentile(percent)
    assert found is not None
    assert min(values) <= found <= max(values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SampleCount", 4),
        ("Sum", 10),
        ("Average", 2.5),
        ("Minimum", 1),
        ("Maximum", 4),
        ("p0.0", 1),
        ("p100", 4),
        ("p99", 4),
    ],
)
def test_statistics(name: str, value: float) -> None:
    assert sketch.statistic(name)(Sketch.of([1, 2, 3, 4])) == value


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Median",
        "p",
        "p101",
        "p-1",
        "p1000",
        "sum",
        "tm101",
        "TM()",
        "TM(:)",
        "TM(1:2%)",
        "PR(1%:)",
        "PR(1:2",
        "iqm",
    ],
)
def test_no_statistics(name: str) -> None:
    with pytest.raises(UsageError):
        sketch.statistic(name)


def test_a_summary_has_percentiles_only_if_all_values_are_equal() -> None:
    one, other = Sketch(), Sketch()
    one.add_summary(3, 6, 1, 3)
    other.add_summary(3, 6, 2, 2)
    assert (one.percentile(50), other.percentile(50)) == (None, 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TM(10%:90%)", 5.5),
        ("tm90", 5.0),
        ("TM(:90%)", 5.0),
        ("TM(80%:)", 9.5),
        ("IQM", 5.5),
        ("TM(2:5)", 4.0),
        ("TM(100:)", None),
        ("TC(2:5)", 3),
        ("tc50", 5),
        ("TS(80%:)", 19),
        ("ts20", 3),
        ("WM(10%:90%)", 5.4),
        ("wm80", 5.2),
        ("WM(3:8)", 5.5),
        ("PR(:3)", 30),
        ("PR(3:)", 70),
        ("PR(1:10)", 90),
        ("PR(-5:0)", 0),
    ],
)
def test_statistics_of_a_part(name: str, value: float | None) -> None:
    found = sketch.statistic(name)(Sketch.of(range(1, 11)))
    assert found == (value if value is None else pytest.approx(value, rel=0.01))


def test_values_that_came_in_parts_of_a_time() -> None:
    values = Sketch()
    for value in (1, 2, 4):
        values.add_weighted(value, 0.1)
    assert sketch.statistic("WM(3:)")(values) == pytest.approx(10 / 3, rel=0.01)
