"""Alarms, pure: what the template says of one, and which state its datapoints put it in.

The rules are AWS's. A few periods more than EvaluationPeriods are looked at, and the newest datapoints in them count:
- as many as EvaluationPeriods: ALARM if at least DatapointsToAlarm of them breach, else OK;
- none: what TreatMissingData says: missing -> INSUFFICIENT_DATA, ignore -> as it was, breaching -> ALARM,
  notBreaching -> OK;
- some: breaching and notBreaching count the missing ones so. For the other two: ALARM if enough breach; OK if one does
  not; and where all that there are breach, but are too few, `missing` goes to ALARM once the oldest of them is
  DatapointsToAlarm periods old (what is missing since is no sign of health), else the state stays.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from headrace.errors import UsageError
from headrace.metrics.series import Series
from headrace.sketch import statistic
from headrace.system import Alarm as Declared

OK, ALARM, INSUFFICIENT = "OK", "ALARM", "INSUFFICIENT_DATA"
STATES = (OK, ALARM, INSUFFICIENT)
EXTRA_PERIODS = 2  # looked at beyond EvaluationPeriods
MISSING = ("missing", "ignore", "breaching", "notBreaching")
_COMPARE: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}


class Query(NamedTuple):
    """A metric of an alarm, or of GetMetricData: either a series with its statistic, or an expression over others."""

    id: str
    series: Series | None = None
    statistic: str = "Average"
    unit: str | None = None
    expression: str | None = None
    returned: bool = True
    label: str | None = None
    period_s: int = 60


class Definition(NamedTuple):
    """An alarm as it is evaluated. `problem` says why it can't be, if it can't."""

    name: str
    properties: dict[str, Any]
    queries: tuple[Query, ...] = ()
    period_s: int = 60
    periods: int = 1
    to_alarm: int = 1
    threshold: float = 0.0
    comparison: str = "GreaterThanThreshold"
    missing: str = "missing"
    problem: str = ""

    @property
    def looked_at(self) -> int:
        """Return how many periods an evaluation looks at."""
        return self.periods + EXTRA_PERIODS


class Verdict(NamedTuple):
    """What an evaluation says: the state, and why."""

    state: str
    reason: str


class _Dimension(msgspec.Struct):
    Name: str
    Value: str


class _Metric(msgspec.Struct, omit_defaults=True):
    MetricName: str
    Namespace: str
    Dimensions: list[_Dimension] = []


class _MetricStat(msgspec.Struct, omit_defaults=True):
    Metric: _Metric
    Period: int
    Stat: str
    Unit: str | None = None


class _DataQuery(msgspec.Struct, omit_defaults=True):
    Id: str
    Expression: str | None = None
    Label: str | None = None
    MetricStat: _MetricStat | None = None
    Period: int | None = None
    ReturnData: bool = True


class _Properties(msgspec.Struct, omit_defaults=True):
    ComparisonOperator: str
    EvaluationPeriods: int
    Threshold: float | None = None
    DatapointsToAlarm: int | None = None
    Namespace: str | None = None
    MetricName: str | None = None
    Dimensions: list[_Dimension] = []
    Statistic: str | None = None
    ExtendedStatistic: str | None = None
    Period: int | None = None
    Unit: str | None = None
    TreatMissingData: str = "missing"
    ActionsEnabled: bool = True
    Metrics: list[_DataQuery] = []


def define(declared: Declared) -> Definition:
    """Return an alarm of the template as it is evaluated; one that can't be has its `problem`."""
    try:
        return _define(declared)
    except (UsageError, msgspec.ValidationError) as error:
        text = f"{error.problem} {error.hint}".rstrip() if isinstance(error, UsageError) else str(error)
        return Definition(declared.name, dict(declared.properties), problem=text)


def _define(declared: Declared) -> Definition:
    found = msgspec.convert(declared.properties, _Properties, strict=False)
    if found.ComparisonOperator not in _COMPARE or found.Threshold is None:
        raise UsageError("Anomaly detection is not evaluated on one machine.", "Give a Threshold to compare with.")
    if found.TreatMissingData not in MISSING:
        raise UsageError(f"TreatMissingData is {found.TreatMissingData!r}.", f"Write one of: {', '.join(MISSING)}.")
    queries = tuple(map(_query, found.Metrics)) if found.Metrics else (_single(found),)
    periods = {query.period_s for query in queries if query.series is not None}
    if len(periods) != 1 or (period_s := periods.pop()) <= 0 or period_s % 60:
        raise UsageError("An alarm's metrics must have one and the same Period, in whole minutes.")
    if [query.returned for query in queries].count(True) != 1:
        raise UsageError("Exactly one of an alarm's Metrics must have ReturnData: true.")
    to_alarm = found.DatapointsToAlarm or found.EvaluationPeriods
    if not 1 <= to_alarm <= found.EvaluationPeriods:
        raise UsageError("DatapointsToAlarm must be from 1 to EvaluationPeriods.")
    return Definition(
        name=declared.name,
        properties={**declared.properties, **msgspec.to_builtins(found)},  # numbers that are text in the template, too
        queries=queries,
        period_s=period_s,
        periods=found.EvaluationPeriods,
        to_alarm=to_alarm,
        threshold=found.Threshold,
        comparison=found.ComparisonOperator,
        missing=found.TreatMissingData,
    )


def _single(found: _Properties) -> Query:
    if found.MetricName is None or found.Namespace is None:
        raise UsageError("An alarm needs MetricName and Namespace, or Metrics.")
    name = found.Statistic or found.ExtendedStatistic or "Average"
    statistic(name)
    series = Series.of(found.Namespace, found.MetricName, ((each.Name, each.Value) for each in found.Dimensions))
    return Query("m1", series, name, found.Unit, period_s=found.Period or 300)


def _query(found: _DataQuery) -> Query:
    return query(msgspec.to_builtins(found), found.ReturnData)


def query(asked: Mapping[str, Any], returned: bool = True) -> Query:
    """Return a MetricDataQuery as CloudWatch writes it; raises UsageError."""
    label, stat = asked.get("Label"), asked.get("MetricStat")
    if stat is None:
        if not asked.get("Expression"):
            raise UsageError(f"The query {asked['Id']!r} has neither MetricStat nor Expression.")
        period_s = int(asked.get("Period") or 0)
        return Query(asked["Id"], expression=asked["Expression"], returned=returned, label=label, period_s=period_s)
    if asked.get("Expression"):
        raise UsageError(f"The query {asked['Id']!r} has both MetricStat and Expression.")
    statistic(stat["Stat"])
    metric = stat["Metric"]
    dimensions = ((each["Name"], each["Value"]) for each in metric.get("Dimensions") or ())
    series = Series.of(metric.get("Namespace", ""), metric.get("MetricName", ""), dimensions)
    return Query(
        asked["Id"], series, stat["Stat"], stat.get("Unit"), returned=returned, label=label, period_s=stat["Period"]
    )


def evaluate(definition: Definition, values: Sequence[float | None], before: str) -> Verdict:
    """Return the state for the values of `looked_at` periods, oldest first (None: missing)."""
    breaches = _COMPARE[definition.comparison][0]
    ages = [(len(values) - at, value) for at, value in enumerate(values) if value is not None]
    newest = ages[-definition.periods :]
    breaching = [age for age, value in newest if breaches(value, definition.threshold)]
    lacking = definition.periods - len(newest)
    if not newest:
        state = {"breaching": ALARM, "notBreaching": OK, "ignore": before}.get(definition.missing, INSUFFICIENT)
    elif len(breaching) >= definition.to_alarm:
        state = ALARM
    elif lacking and definition.missing == "breaching":
        state = ALARM if len(breaching) + lacking >= definition.to_alarm else OK
    elif not lacking or definition.missing == "notBreaching" or len(breaching) < len(newest):
        state = OK
    elif definition.missing == "missing" and breaching[0] >= definition.to_alarm:
        state = ALARM
    else:
        state = before
    return Verdict(state, _reason(definition, [value for _, value in newest], len(breaching), lacking))


def _reason(definition: Definition, newest: Sequence[float], breaching: int, lacking: int) -> str:
    words = f"{_COMPARE[definition.comparison][1]} the threshold ({definition.threshold:g})"
    if not newest:
        return f"No datapoint in the last {definition.looked_at} periods (TreatMissingData: {definition.missing})."
    shown = ", ".join(f"{value:g}" for value in newest[-5:])
    missing = f", {lacking} missing ({definition.missing})" if lacking else ""
    wanted = f"{definition.to_alarm} out of {definition.periods} make an alarm"
    return f"{breaching} of the last {len(newest)} datapoints [{shown}] {_are(breaching)} {words}{missing}; {wanted}."


def _are(count: int) -> str:
    return "was" if count == 1 else "were"
