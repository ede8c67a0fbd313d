"""Metric math, pure: `errors / invocations * 100`, `SUM([a, b])`, `FILL(a, 0)`.

A value is a number, a series (time -> number), or a list of those. Between two series an operator answers the times
that both have; SUM, AVG, MIN and MAX of a list answer the times that any of them has; of one series they are a number.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence

from headrace.errors import UsageError

Values = dict[int, float]
Operand = float | Values | list["Operand"]

_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+)|([A-Za-z_][A-Za-z0-9_]*)|([-+*/^()\[\],]))")
DEPTH_MAX = 50


def evaluate(text: str, series: Mapping[str, Values], times: Sequence[int]) -> Values:
    """Return the time series that an expression over `series` (by id) means; `times` are all that FILL may fill.

    Raises UsageError for what is no expression, names no series, or is only a number.
    """
    parser = _Parser(text, series, times)
    value = parser.whole()
    if not isinstance(value, dict):
        raise UsageError(f"The expression {text!r} is not one time series.", "A list or a number is no metric.")
    return _finite(value)


def ids(text: str) -> set[str]:
    """Return the names that an expression uses, functions left out."""
    names = {match[2] for match in _TOKEN.finditer(text) if match[2]}
    return {name for name in names if name not in _FUNCTIONS}


def uses_metrics(text: str) -> bool:
    """Return whether an expression means every metric: METRICS()."""
    return any(match[2] == "METRICS" for match in _TOKEN.finditer(text))


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise UsageError(f"{text!r} can't be read at {text[at : at + 10]!r}.", "Use + - * / ^ ( ) [ ] and ids.")
        tokens.append(match[0].strip())
        at = match.end()
    return tokens


class _Parser:
    """Reads and computes at once, by recursive descent."""

    def __init__(self, text: str, series: Mapping[str, Values], times: Sequence[int]) -> None:
        self._text = text
        self._series = series
        self._times = times
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0

    def whole(self) -> Operand:
        value = self._sum()
        if self._at < len(self._tokens):
            raise self._wrong()
        return value

    def _sum(self) -> Operand:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise UsageError(f"The expression {self._text[:50]!r}… is nested more than {DEPTH_MAX} levels.")
        value = self._product()
        while self._next() in ("+", "-"):
            value = _apply(_OPERATORS[self._take()], value, self._product())
        self._depth -= 1
        return value

    def _product(self) -> Operand:
        value = self._factor()
        while self._next() in ("*", "/"):
            value = _apply(_OPERATORS[self._take()], value, self._factor())
        return value

    def _factor(self) -> Operand:
        signs = 0
        while self._next() in ("-", "+"):
            signs += self._take() == "-"
        value = self._atom()
        if self._next() == "^":
            self._take()
            value = _apply(_power, value, self._factor())
        return _each(operator.neg, value) if signs % 2 else value

    def _atom(self) -> Operand:
        word = self._take()
        if word == "(":
            value = self._sum()
            self._expect(")")
            return value
        if word == "[":
            return self._arguments("]")
        if word[:1].isdigit() or word[:1] == ".":
            return float(word)
        if word in _FUNCTIONS:
            self._expect("(")
            return self._call(word, self._arguments(")"))
        if word in self._series:
            return self._series[word]
        if word[:1].isalpha() or word[:1] == "_":
            known = ", ".join(sorted(self._series)) or "none"
            functions = ", ".join(_FUNCTIONS)
            raise UsageError(f"{word!r} in {self._text!r} is no id.", f"Ids: {known}; functions: {functions}.")
        raise self._wrong()

    def _call(self, name: str, arguments: list[Operand]) -> Operand:
        if name == "METRICS":
            return list(self._series.values())
        if name == "FILL":
            match arguments:
                case [dict() as series, int() | float() as value]:
                    return {time: series.get(time, value) for time in self._times}
            raise UsageError(f"FILL in {self._text!r} wants a metric and a number.")
        if len(arguments) != 1:
            raise UsageError(f"{name} in {self._text!r} wants one argument.", "Put several into a list: SUM([a, b]).")
        if name in _EACH:
            return _each(_EACH[name], arguments[0])
        return _together(_TOGETHER[name], arguments[0])

    def _arguments(self, end: str) -> list[Operand]:
        found: list[Operand] = []
        while self._next() != end:
            found.append(self._sum())
            if self._next() != end:
                self._expect(",")
        self._take()
        return found

    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        if self._at >= len(self._tokens):
            raise UsageError(f"The expression {self._text!r} ends too early.")
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, word: str) -> None:
        if self._next() != word:
            raise self._wrong()
        self._take()

    def _wrong(self) -> UsageError:
        rest = " ".join(self._tokens[self._at : self._at + 3]) or "its end"
        return UsageError(f"The expression {self._text!r} is wrong at {rest!r}.")


def _divide(left: float, right: float) -> float:
    return left / right if right else math.nan  # no value: AWS leaves such a time out


def _power(left: float, right: float) -> float:
    try:
        value = left**right
    except (OverflowError, ZeroDivisionError):
        return math.nan
    return value if isinstance(value, float) else math.nan


def _sum(values: Sequence[float]) -> float:
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # more than a float can say
        return math.nan


_OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
}
_EACH: dict[str, Callable[[float], float]] = {"ABS": abs, "CEIL": math.ceil, "FLOOR": math.floor}
_TOGETHER: dict[str, Callable[[list[float]], float]] = {
    "SUM": _sum,
    "AVG": lambda values: _sum(values) / len(values),
    "MIN": min,
    "MAX": max,
}
_FUNCTIONS = ("METRICS", "FILL", *_TOGETHER, *_EACH)


def _finite(values: Values) -> Values:
    return {time: value for time, value in values.items() if math.isfinite(value)}


def _apply(compute: Callable[[float, float], float], left: Operand, right: Operand) -> Operand:
    if isinstance(left, list):
        return [_apply(compute, item, right) for item in left]
    if isinstance(right, list):
        return [_apply(compute, left, item) for item in right]
    if isinstance(left, dict) and isinstance(right, dict):
        return _finite({time: compute(value, right[time]) for time, value in left.items() if time in right})
    if isinstance(left, dict):
        assert not isinstance(right, dict)
        return _finite({time: compute(value, right) for time, value in left.items()})
    if isinstance(right, dict):
        return _finite({time: compute(left, value) for time, value in right.items()})
    return compute(left, right)


def _each(compute: Callable[[float], float], value: Operand) -> Operand:
    if isinstance(value, list):
        return [_each(compute, item) for item in value]
    if isinstance(value, dict):
        return {time: compute(number) for time, number in _finite(value).items()}
    return compute(value) if math.isfinite(value) else value


def _together(compute: Callable[[list[float]], float], value: Operand) -> Operand:
    if isinstance(value, dict):
        return compute(list(value.values())) if value else math.nan
    if not isinstance(value, list):
        return value
    series = [item for item in value if isinstance(item, dict)]
    numbers = [item for item in value if isinstance(item, int | float)]
    if not series:
        return compute([float(number) for number in numbers]) if numbers else math.nan
    times = sorted(set().union(*series))
    return {time: compute([each[time] for each in series if time in each] + numbers) for time in times}
