import pytest

from headrace.metrics import alarms
from headrace.metrics.alarms import ALARM, INSUFFICIENT, OK, Definition
from headrace.system import Alarm

STATE = {"0": 0.0, "X": 10.0, "-": None}
KEPT = "as it was"


def alarm(to_alarm: int, periods: int, missing: str, comparison: str = "GreaterThanThreshold") -> Definition:
    return Definition(
        "a", {}, periods=periods, to_alarm=to_alarm, threshold=5.0, missing=missing, comparison=comparison
    )


# AWS documents these tables: datapoints, oldest first; the state for missing, ignore, breaching, notBreaching.
THREE_OF_THREE = [
    ("0-X-X", OK, OK, OK, OK),
    ("----0", OK, OK, OK, OK),
    ("-----", INSUFFICIENT, KEPT, ALARM, OK),
    ("0XX-X", ALARM, ALARM, ALARM, ALARM),
    ("--X--", ALARM, KEPT, ALARM, OK),
    ("----X", KEPT, KEPT, ALARM, OK),
    ("XXX00", OK, OK, OK, OK),
    ("XXXXX", ALARM, ALARM, ALARM, ALARM),
]
TWO_OF_THREE = [
    ("0-X-X", ALARM, ALARM, ALARM, ALARM),
    ("00X0X", ALARM, ALARM, ALARM, ALARM),
    ("0-X--", OK, OK, ALARM, OK),
    ("----0", OK, OK, ALARM, OK),
    ("---X-", ALARM, KEPT, ALARM, OK),
    ("----X", KEPT, KEPT, ALARM, OK),
    ("--XX-", ALARM, ALARM, ALARM, ALARM),
    ("00X00", OK, OK, OK, OK),
]
ONE_OF_ONE = [
    ("--X", ALARM, ALARM, ALARM, ALARM),
    ("X--", ALARM, ALARM, ALARM, ALARM),
    ("X-0", OK, OK, OK, OK),
    ("---", INSUFFICIENT, KEPT, ALARM, OK),
]
TABLE = [
    (to_alarm, periods, points, missing, state)
    for (to_alarm, periods), rows in {(3, 3): THREE_OF_THREE, (2, 3): TWO_OF_THREE, (1, 1): ONE_OF_ONE}.items()
    for points, *states in rows
    for missing, state in zip(alarms.MISSING, states, strict=True)
]


@pytest.mark.parametrize("before", alarms.STATES)
@pytest.mark.parametrize(("to_alarm", "periods", "points", "missing", "state"), TABLE)
def test_m_of_n_with_missing_data(
    to_alarm: int, periods: int, points: str, missing: str, state: str, before: str
) -> None:
    definition = alarm(to_alarm, periods, missing)
    assert len(points) == definition.looked_at
    verdict = alarms.evaluate(definition, [STATE[point] for point in points], before)
    assert verdict.state == (before if state == KEPT else state)


@pytest.mark.parametrize(
    ("comparison", "value", "state"),
    [
        ("GreaterThanThreshold", 5.0, OK),
        ("GreaterThanThreshold", 5.1, ALARM),
        ("GreaterThanOrEqualToThreshold", 5.0, ALARM),
        ("GreaterThanOrEqualToThreshold", 4.9, OK),
        ("LessThanThreshold", 5.0, OK),
        ("LessThanThreshold", 4.9, ALARM),
        ("LessThanOrEqualToThreshold", 5.0, ALARM),
        ("LessThanOrEqualToThreshold", 5.1, OK),
    ],
)
def test_comparisons(comparison: str, value: float, state: str) -> None:
    verdict = alarms.evaluate(alarm(1, 1, "missing", comparison), [None, None, value], OK)
    assert verdict.state == state
    assert f"[{value:g}]" in verdict.reason
    assert "the threshold (5)" in verdict.reason


SIMPLE = {
    "Namespace": "N",
    "MetricName": "m",
    "EvaluationPeriods": "2",
    "Threshold": "1.5",
    "Period": "60",
    "ComparisonOperator": "LessThanThreshold",
}


def test_a_definition_takes_what_a_template_writes() -> None:
    found = alarms.define(Alarm(logical_id="A", name="A", properties=dict(SIMPLE)))
    assert (found.problem, found.period_s, found.periods, found.to_alarm, found.threshold) == ("", 60, 2, 2, 1.5)
    assert found.queries[0].statistic == "Average"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ComparisonOperator": "GreaterThanUpperThreshold"}, "Anomaly detection"),
        ({"TreatMissingData": "perhaps"}, "TreatMissingData"),
        ({"Period": 90}, "whole minutes"),
        ({"Statistic": "Median"}, "no statistic"),
        ({"ExtendedStatistic": "p101", "Statistic": None}, "no statistic"),
        ({"DatapointsToAlarm": 3}, "DatapointsToAlarm"),
        ({"MetricName": None}, "MetricName"),
        ({"EvaluationPeriods": None}, "EvaluationPeriods"),
        ({"Metrics": [{"Id": "a", "Expression": "1"}]}, "Period"),
    ],
)
def test_what_can_not_be_evaluated_says_why(change: dict[str, object], words: str) -> None:
    properties = {name: value for name, value in {**SIMPLE, **change}.items() if value is not None}
    assert words in alarms.define(Alarm(logical_id="A", name="A", properties=properties)).problem
