import pytest

from headrace.errors import UsageError
from headrace.metrics import expression

SERIES = {"a": {1: 1.0, 2: 2.0, 3: 3.0}, "b": {2: 10.0, 3: 0.0, 4: 40.0}}
TIMES = [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a", {1: 1, 2: 2, 3: 3}),
        ("a + b", {2: 12, 3: 3}),
        ("a - b * 2", {2: -18, 3: 3}),
        ("(a + 1) * 2", {1: 4, 2: 6, 3: 8}),
        ("-a", {1: -1, 2: -2, 3: -3}),
        ("a ^ 2", {1: 1, 2: 4, 3: 9}),
        ("2 / a", {1: 2, 2: 1, 3: 2 / 3}),
        ("a / b", {2: 0.2}),  # nothing is divided by 0
        ("1e2 * a - .5", {1: 99.5, 2: 199.5, 3: 299.5}),
        ("SUM([a, b])", {1: 1, 2: 12, 3: 3, 4: 40}),
        ("MAX([a, b, 5])", {1: 5, 2: 10, 3: 5, 4: 40}),
        ("AVG(METRICS())", {1: 1, 2: 6, 3: 1.5, 4: 40}),
        ("MIN(METRICS()) + 1", {1: 2, 2: 3, 3: 1, 4: 41}),
        ("a / SUM(a)", {1: 1 / 6, 2: 2 / 6, 3: 3 / 6}),
        ("FILL(a, 0) + FILL(b, 0)", {1: 1, 2: 12, 3: 3, 4: 40}),
        ("ABS(a - 2)", {1: 1, 2: 0, 3: 1}),
        ("CEIL(a / 2)", {1: 1, 2: 1, 3: 2}),
        ("SUM([a, b] * 2)", {1: 2, 2: 24, 3: 6, 4: 80}),
    ],
)
def test_values(text: str, values: dict[int, float]) -> None:
    assert expression.evaluate(text, SERIES, TIMES) == pytest.approx(values)


@pytest.mark.parametrize(
    "text",
    [
        *("", "a +", "a b", "(a", "a)", "c", "a ! b", "1 + 1", "[a, b]", "SUM(a)", "SUM(a, b)", "FILL(a)", "SUM"),
        *("METRICS()", "a + + ", "1..2", "(" * 1000 + "a" + ")" * 1000, "-" * 100_000),
    ],
)
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(UsageError):
        expression.evaluate(text, SERIES, TIMES)


def test_the_names_an_expression_uses() -> None:
    assert expression.ids("SUM([a1, b]) / FILL(c_2, 0)") == {"a1", "b", "c_2"}
    assert expression.uses_metrics("SUM(METRICS())")
    assert not expression.uses_metrics("a")
