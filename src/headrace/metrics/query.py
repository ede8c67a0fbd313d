"""What metrics say over periods: statistics of series, and expressions over those."""

from collections.abc import Callable, Sequence

from headrace.errors import UsageError
from headrace.metrics import expression
from headrace.metrics.alarms import Definition, Query
from headrace.metrics.expression import Values
from headrace.metrics.series import MINUTE_MS, Series
from headrace.metrics.store import Points, Store
from headrace.sketch import Sketch, merged, statistic

EXPRESSION_ROUNDS_MAX = 20  # an expression may name another; a circle never ends


def answers(store: Store, queries: Sequence[Query], start_ms: int, end_ms: int) -> dict[str, Values]:
    """Return the values of each query: by the start of the period (ms), which is a multiple of its length.

    Raises UsageError for a wrong expression or statistic.
    """
    asked = [(query, query.series) for query in queries if query.series is not None]
    lengths = {query.period_s * 1000 for query, _ in asked}
    reach = min((_floor(start_ms, length) for length in lengths), default=start_ms)
    found = store.points({series for _, series in asked}, reach, end_ms)
    values: dict[str, Values] = {}
    for query, series in asked:
        length_ms = query.period_s * 1000
        starts = range(_floor(start_ms, length_ms), end_ms, length_ms)
        values[query.id] = _values(query, _of_unit(store, query, series, found[series]), starts)
    return computed(queries, values, lambda length_ms: range(_floor(start_ms, length_ms), end_ms, length_ms))


def alarm_values(store: Store, alarm: Definition, end_ms: int) -> list[float | None]:
    """Return the alarm's values of the periods it looks at, the oldest first; the last one ends at `end_ms`."""
    length_ms = alarm.period_s * 1000
    starts = range(end_ms - alarm.looked_at * length_ms, end_ms, length_ms)
    found = store.points({query.series for query in alarm.queries if query.series}, starts[0], end_ms)
    values = {
        query.id: _values(query, _of_unit(store, query, query.series, found[query.series]), starts)
        for query in alarm.queries
        if query.series is not None
    }
    result = computed(alarm.queries, values, lambda _: starts)
    returned = next(query.id for query in alarm.queries if query.returned)
    return [result[returned].get(start) for start in starts]


def computed(
    queries: Sequence[Query], values: dict[str, Values], times: Callable[[int], Sequence[int]]
) -> dict[str, Values]:
    """Return `values` with those of the expressions, which may name each other; `times` are those of a period (ms)."""
    lengths = {query.id: query.period_s * 1000 for query in queries if query.series is not None}
    known = dict(values)
    plain = dict(values)  # METRICS() means these
    waiting = [(query.id, query.expression) for query in queries if query.expression is not None]
    names = {query.id for query in queries}
    for _ in range(EXPRESSION_ROUNDS_MAX):
        later = []
        for name, text in waiting:
            used = expression.ids(text) & names
            if used - known.keys():
                later.append((name, text))
                continue
            scope = plain if expression.uses_metrics(text) else known
            lengths[name] = max((lengths[each] for each in used or scope), default=MINUTE_MS)
            known[name] = expression.evaluate(text, scope, times(lengths[name]))
        if not later:
            return known
        waiting = later
    raise UsageError(f"The expressions {', '.join(name for name, _ in waiting)} name each other in a circle.")


def grouped(points: Points, starts: range) -> dict[int, Sketch]:
    """Return the sketches of equal periods that have values, by the period's start (ms)."""
    periods: dict[int, list[Sketch]] = {}
    for minute, sketch in points.items():
        at = minute * MINUTE_MS
        if starts and starts[0] <= at < starts[-1] + starts.step:
            periods.setdefault(starts[(at - starts[0]) // starts.step], []).append(sketch)
    return {start: found[0] if len(found) == 1 else merged(found) for start, found in sorted(periods.items())}


def _values(query: Query, points: Points, starts: range) -> Values:
    compute = statistic(query.statistic)
    found = {start: compute(sketch) for start, sketch in grouped(points, starts).items()}
    return {start: float(value) for start, value in found.items() if value is not None}


def _of_unit(store: Store, query: Query, series: Series, points: Points) -> Points:
    """Return the points if the query's unit, if it has one, is the series' own."""
    info = store.series.get(series)
    return points if query.unit is None or (info is not None and info.unit == query.unit) else {}


def _floor(at_ms: int, length_ms: int) -> int:
    return at_ms // length_ms * length_ms
