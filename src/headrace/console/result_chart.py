"""A result as a chart, where it has the shape for one: a time or a text first, numbers after it. Pure."""

from collections.abc import Sequence
from typing import Any

from headrace.console import charts, words

SERIES_MAX = 6
BARS_MAX = 60
EMPTY: dict[str, Any] = {"series": []}

Row = Sequence[str | int | float | bool | None]


def options(columns: Sequence[tuple[str, str]], rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return a chart's options; None where the result is not one to be drawn.

    Where a text stands between the time and the numbers, each of its values is a line of the first number.
    """
    if len(rows) < 2 or len(columns) < 2:
        return None
    times = [words.parse_ms(str(row[0])) if isinstance(row[0], str) else None for row in rows]
    numeric = [at for at in range(1, len(columns)) if is_numeric(rows, at)]
    if not numeric:
        return None
    if all(time is not None for time in times):
        lines = _lines(columns, rows, times, numeric)
        return charts.lines(lines) if 0 < len(lines) <= SERIES_MAX else None
    if len(rows) > BARS_MAX or is_numeric(rows, 0):
        return None
    names = ["null" if row[0] is None else words.readable(str(row[0])) for row in rows]
    return charts.bars(names, {columns[at][0]: [_number(row[at]) for row in rows] for at in numeric[:SERIES_MAX]})


def is_numeric(rows: Sequence[Row], at: int) -> bool:
    """Return whether a column's values are numbers (decimals come as text), nulls apart."""
    values = [row[at] for row in rows if row[at] is not None]
    return bool(values) and all(not isinstance(value, bool) and _number(value) is not None for value in values)


def _lines(
    columns: Sequence[tuple[str, str]], rows: Sequence[Row], times: Sequence[int | None], numeric: Sequence[int]
) -> dict[str, list[tuple[int, float]]]:
    by_name: dict[str, list[tuple[int, float]]] = {}
    split = next((at for at in range(1, numeric[0])), None)
    for time, row in zip(times, rows, strict=True):
        for at in numeric[:1] if split is not None else numeric:
            name = words.readable(str(row[split])) if split is not None else columns[at][0]
            value = _number(row[at])
            if time is not None and value is not None:
                by_name.setdefault(name, []).append((time, value))
    return by_name


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
