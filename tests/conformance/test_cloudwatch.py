"""An unmodified boto3 against the CloudWatch wire: what it answers and what it refuses; alarms and the webhook."""

import gzip
import json
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from headrace import emf
from headrace.errors import StorageError
from headrace.system import Alarm
from support.backend import wait_until
from support.cloudwatch_server import NOW_MS, CloudWatchServer, webhook

MINUTE_MS = 60_000
NOW = datetime.fromtimestamp(NOW_MS / 1000, UTC)
HOUR = {"StartTime": NOW - timedelta(hours=1), "EndTime": NOW + timedelta(minutes=5)}
BUSY: dict[str, object] = {
    "Namespace": "Mine",
    "MetricName": "load",
    "Dimensions": [{"Name": "host", "Value": "a"}],
    "Statistic": "Average",
    "Period": 60,
    "EvaluationPeriods": 3,
    "DatapointsToAlarm": 2,
    "Threshold": 10,
    "ComparisonOperator": "GreaterThanThreshold",
    "AlarmDescription": "too much",
}
RATIO: dict[str, object] = {
    "Metrics": [
        {"Id": "rate", "Expression": "100 * bad / SUM([good, bad])"},
        *(
            {
                "Id": name,
                "ReturnData": "false",
                "MetricStat": {"Metric": {"Namespace": "Mine", "MetricName": name}, "Period": "300", "Stat": "Sum"},
            }
            for name in ("good", "bad")
        ),
    ],
    "EvaluationPeriods": "1",
    "Threshold": "50",
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "TreatMissingData": "notBreaching",
}
ALARMS = [
    Alarm(logical_id="Busy", name="Busy", properties=BUSY),
    Alarm(logical_id="Ratio", name="Ratio", properties=RATIO),
    Alarm(logical_id="Odd", name="Odd", properties={"EvaluationPeriods": 1, "ComparisonOperator": "Odd"}),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CloudWatchServer]:
    with CloudWatchServer(tmp_path, ALARMS) as running:
        yield running


@pytest.fixture(params=["json", "smithy-rpc-v2-cbor"])
def cloudwatch(server: CloudWatchServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client by each of the protocols that CloudWatch's SDKs choose from."""
    monkeypatch.setattr("botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS", (request.param,))
    client = server.client()
    assert client.meta.service_model.resolved_protocol == request.param
    return client


def put(cloudwatch: Any, name: str, values: list[float], minutes_ago: int = 0, **more: Any) -> None:
    at = NOW - timedelta(minutes=minutes_ago)
    datum = {"MetricName": name, "Timestamp": at, "Values": values, **more}
    cloudwatch.put_metric_data(Namespace="Mine", MetricData=[datum])


def metric(name: str, stat: str = "Sum", period: int = 60, **more: Any) -> dict[str, Any]:
    return {"Metric": {"Namespace": "Mine", "MetricName": name, **more}, "Period": period, "Stat": stat}


def refused(call: Callable[..., Any], **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_statistics_of_what_was_put(cloudwatch: Any) -> None:
    put(cloudwatch, "load", [1, 2, 3], Unit="Percent")
    put(cloudwatch, "load", [10], minutes_ago=1, Counts=[4], Unit="Percent")
    put(cloudwatch, "load", [99], Dimensions=[{"Name": "host", "Value": "b"}])

    answer = cloudwatch.get_metric_statistics(
        Namespace="Mine", MetricName="load", Period=60, **HOUR,
        Statistics=["Sum", "Average", "Minimum", "Maximum", "SampleCount"], ExtendedStatistics=["p100"],
    )  # fmt: skip

    assert answer["Label"] == "load"
    assert [(row["Timestamp"], row["Unit"]) for row in answer["Datapoints"]] == [
        (NOW - timedelta(minutes=1), "Percent"),
        (NOW, "Percent"),
    ]
    first, second = answer["Datapoints"]
    assert (first["Sum"], first["SampleCount"], first["ExtendedStatistics"]) == (40, 4, {"p100": 10})
    assert [second[name] for name in ("Sum", "Average", "Minimum", "Maximum", "SampleCount")] == [6, 2, 1, 3, 3]


def test_a_statistic_set_has_no_percentiles(cloudwatch: Any) -> None:
    summary = {"SampleCount": 4, "Sum": 10, "Minimum": 1, "Maximum": 4}
    cloudwatch.put_metric_data(
        Namespace="Mine", MetricData=[{"MetricName": "s", "Timestamp": NOW, "StatisticValues": summary}]
    )
    asked = {"Namespace": "Mine", "MetricName": "s", "Period": 60, **HOUR}
    row = cloudwatch.get_metric_statistics(**asked, Statistics=["Average"], ExtendedStatistics=["p50"])["Datapoints"][0]
    assert (row["Average"], row["ExtendedStatistics"]) == (2.5, {})


def test_data_with_expressions_order_and_pages(cloudwatch: Any) -> None:
    for minute in range(6):
        put(cloudwatch, "a", [minute], minutes_ago=minute)
        put(cloudwatch, "b", [10], minutes_ago=minute) if minute % 2 else None
    queries = [
        {"Id": "sum", "Expression": "a + b", "Label": "together"},
        {"Id": "any", "Expression": "SUM(METRICS())"},
        {"Id": "a", "MetricStat": metric("a")},
        {"Id": "b", "MetricStat": metric("b"), "ReturnData": False},
    ]
    asked = {"MetricDataQueries": queries, **HOUR}
    whole = cloudwatch.get_metric_data(**asked, ScanBy="TimestampAscending")["MetricDataResults"]
    assert [(row["Id"], row["Label"], row["Values"]) for row in whole] == [
        ("sum", "together", [15, 13, 11]),
        ("any", "any", [15, 4, 13, 2, 11, 0]),
        ("a", "a", [5, 4, 3, 2, 1, 0]),
    ]
    assert cloudwatch.get_metric_data(**asked)["MetricDataResults"][2]["Timestamps"][0] == NOW

    first = cloudwatch.get_metric_data(**asked, MaxDatapoints=4)["MetricDataResults"]
    assert [row["StatusCode"] for row in first] == ["Complete", "PartialData", "PartialData"]
    paged: dict[str, list[float]] = {}
    for page in cloudwatch.get_paginator("get_metric_data").paginate(**asked, MaxDatapoints=4):
        assert sum(len(row["Values"]) for row in page["MetricDataResults"]) <= 4
        for row in page["MetricDataResults"]:
            paged.setdefault(row["Id"], []).extend(row["Values"])
    assert paged == {row["Id"]: row["Values"][::-1] for row in whole}


def test_longer_periods_put_minutes_together(cloudwatch: Any) -> None:
    for minute in range(10):
        put(cloudwatch, "a", [1, 3], minutes_ago=minute + 1)
    row = cloudwatch.get_metric_data(MetricDataQueries=[{"Id": "a", "MetricStat": metric("a", period=300)}], **HOUR)[
        "MetricDataResults"
    ][0]
    assert row["Values"] == [20, 20]
    assert [time.minute % 5 for time in row["Timestamps"]] == [0, 0]


def test_values_that_came_no_times_count_for_nothing(cloudwatch: Any) -> None:
    put(cloudwatch, "a", [1, 5, 9], Counts=[0, 2, 0])
    row = cloudwatch.get_metric_statistics(
        Namespace="Mine", MetricName="a", Period=60, Statistics=["Minimum", "Maximum", "SampleCount"], **HOUR
    )["Datapoints"][0]
    assert (row["Minimum"], row["Maximum"], row["SampleCount"]) == (5, 5, 2)


def test_a_question_about_all_time_costs_no_more_than_what_is_kept(cloudwatch: Any) -> None:
    put(cloudwatch, "a", [7])
    queries = [
        {"Id": "week", "MetricStat": metric("a", period=7 * 86_400)},  # FILL(a, …) goes by the minute, as `a` does
        {"Id": "a", "MetricStat": metric("a"), "ReturnData": False},
        {"Id": "filled", "Expression": "FILL(a, 0)"},
        {"Id": "endless", "Expression": "CEIL(FILL(a, 1e999)) + CEIL(AVG([]))"},
        {"Id": "large", "Expression": "SUM([FILL(a, 0) * 0 + 1.7e308, FILL(a, 0) * 0 + 1.7e308])"},
    ]
    for start, end in ((0, 9e9), (0, 1), (8e9, 9e9)):
        answer = cloudwatch.get_metric_data(MetricDataQueries=queries, StartTime=start, EndTime=end)
        week, filled, endless, large = (row["Values"] for row in answer["MetricDataResults"])
        assert (week, sum(filled)) == (([7], 7) if start < NOW_MS / 1000 < end else ([], 0))
        assert endless == large == []


def test_metrics_are_listed_by_their_parts(server: CloudWatchServer, cloudwatch: Any) -> None:
    for host in ("a", "b"):
        put(cloudwatch, "load", [1], Dimensions=[{"Name": "host", "Value": host}, {"Name": "zone", "Value": "z"}])
    put(cloudwatch, "old", [1], minutes_ago=300)

    def names(**asked: Any) -> list[str]:
        found = cloudwatch.list_metrics(Namespace="Mine", **asked)["Metrics"]
        return [row["MetricName"] + "".join(d["Value"] for d in row["Dimensions"]) for row in found]

    assert names() == ["loadaz", "loadbz", "old"]
    assert names(RecentlyActive="PT3H") == ["loadaz", "loadbz"]
    assert names(Dimensions=[{"Name": "host", "Value": "b"}]) == ["loadbz"]
    assert names(Dimensions=[{"Name": "host"}], MetricName="load") == ["loadaz", "loadbz"]
    assert names(MetricName="none") == []


def test_large_requests_come_packed_and_lists_in_pages(cloudwatch: Any) -> None:
    data = [{"MetricName": f"metric-{at:04d}", "Value": at, "Timestamp": NOW} for at in range(700)]
    cloudwatch.put_metric_data(Namespace="Mine", MetricData=data)
    pages = [page["Metrics"] for page in cloudwatch.get_paginator("list_metrics").paginate()]
    assert [len(page) for page in pages] == [500, 200]
    assert [row["MetricName"] for page in pages for row in page] == [datum["MetricName"] for datum in data]


def _raw(server: CloudWatchServer, body: bytes, operation: str = "PutMetricData", **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(
        server.url, body, {"X-Amz-Target": f"GraniteServiceVersion20100801.{operation}", **headers}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.mark.parametrize(
    ("body", "operation", "headers", "status", "kind"),
    [
        (b"{", "PutMetricData", {}, 400, "SerializationException"),
        (b"[]", "ListMetrics", {}, 400, "SerializationException"),
        (b"{}", "Nothing", {}, 400, "UnknownOperationException"),
        (b"{}", "PutDashboard", {}, 501, "UnknownOperationException"),
        (b"no gzip", "PutMetricData", {"Content-Encoding": "gzip"}, 400, "SerializationException"),
        (gzip.compress(b" " * 17_000_000), "PutMetricData", {"Content-Encoding": "gzip"}, 413, "RequestEntityTooLarge"),
        (b'{"MetricData": [%b{}]}' % (b"{}," * 500_000), "PutMetricData", {}, 400, "SerializationException"),
        (b'{"MetricData": []}', "PutMetricData", {}, 400, "ValidationException"),
    ],
)  # fmt: skip
def test_what_no_client_sends(
    server: CloudWatchServer, body: bytes, operation: str, headers: dict[str, str], status: int, kind: str
) -> None:
    got, answer = _raw(server, body, operation, **headers)
    assert got == status
    assert answer["__type"].startswith(kind)


@pytest.mark.parametrize(
    ("body", "protocol", "words"),
    [
        (b"{}", "rpc-v2-cbor", b"The body is not CBOR"),
        (b"\x81" * 100_000, "rpc-v2-cbor", b"The body is not CBOR"),
        (b"\x9f" + b"\x80" * 16_000_000, "rpc-v2-cbor", b"it has more than 500,000 values"),
        (b"\xa0", "rpc-v2-cbor", b"ValidationException"),
        (b"\xa0", "rpc-v2-json", b"smithy-protocol: rpc-v2-cbor"),
    ],
)
def test_what_no_client_sends_in_cbor(server: CloudWatchServer, body: bytes, protocol: str, words: bytes) -> None:
    url = f"{server.url}/service/GraniteServiceVersion20100801/operation/PutMetricData"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(url, body, {"smithy-protocol": protocol}))
    with caught.value as answer:
        assert answer.code == 400
        assert words in answer.read()


SUMMARY = {"SampleCount": 1, "Sum": 1, "Minimum": 1, "Maximum": 1}
INVALID, COMBINATION = "InvalidParameterValue", "InvalidParameterCombination"


@pytest.mark.parametrize(
    ("datum", "code", "words"),
    [
        ({"Value": float("nan")}, INVALID, "value NaN for parameter MetricData.member.1.Value"),
        ({"Value": -1e300}, INVALID, "not from -2^360 to 2^360"),
        ({"Values": [1], "Counts": [1e300]}, INVALID, "value 1e+300 for parameter MetricData.member.1.Counts"),
        ({"StatisticValues": SUMMARY | {"Sum": float("nan")}}, INVALID, "value NaN for parameter"),
        ({"StatisticValues": SUMMARY | {"Sum": 1e300}}, INVALID, "value of MetricData.member.1.StatisticValues"),
        ({"Values": [1, float("inf")]}, INVALID, "value Infinity for parameter MetricData.member.1.Values"),
        ({"Values": [1.0] * 151}, INVALID, "size greater than 150"),
        ({"Values": [1, 2], "Counts": [1]}, COMBINATION, "must have the same size"),
        ({}, COMBINATION, "must be specified"),
        ({"Value": 1, "Values": [1]}, COMBINATION, "mutually exclusive"),
        ({"Value": 1, "Timestamp": NOW - timedelta(days=15)}, INVALID, "14 days in the past"),
        ({"Value": 1, "Timestamp": NOW + timedelta(hours=3)}, INVALID, "2 hours in the future"),
        ({"Value": 1, "Dimensions": [{"Name": f"n{n}", "Value": "v"} for n in range(31)]}, "ValidationError", "to 30"),
        ({"Value": 1, "Unit": "Miles"}, "ValidationError", "failed to satisfy constraint"),
    ],
)  # fmt: skip
def test_refused_values(cloudwatch: Any, datum: dict[str, Any], code: str, words: str) -> None:
    got, message = refused(cloudwatch.put_metric_data, Namespace="Mine", MetricData=[{"MetricName": "m", **datum}])
    assert got == code
    assert words in message
    assert cloudwatch.list_metrics()["Metrics"] == []


def test_refused_questions(cloudwatch: Any) -> None:
    asked = {"Namespace": "Mine", "MetricName": "m", "Statistics": ["Sum"]}
    backwards = {"StartTime": NOW, "EndTime": NOW - timedelta(hours=1)}
    long = {"StartTime": NOW - timedelta(days=3), "EndTime": NOW}
    query = {"Id": "a", "MetricStat": metric("a")}
    statistics, data = cloudwatch.get_metric_statistics, cloudwatch.get_metric_data
    cases: list[tuple[Callable[..., Any], dict[str, Any], str, str]] = [
        (statistics, {**asked, **backwards, "Period": 60}, INVALID, "StartTime must be less"),
        (statistics, {**asked, **long, "Period": 60}, COMBINATION, "up to 4,320 datapoints"),
        (statistics, {**asked, **HOUR, "Period": 90}, INVALID, "multiple of 60"),
        (statistics, {**asked, **HOUR, "Period": 60, "Statistics": []}, "", "Statistics"),
        (data, {**HOUR, "MetricDataQueries": [{"Id": "a"}]}, INVALID, "neither MetricStat nor Expression"),
        (data, {**HOUR, "MetricDataQueries": [query, query]}, INVALID, "not unique"),
        (data, {**HOUR, "MetricDataQueries": [{"Id": "b", "Expression": "nothing * 2"}]}, INVALID, "no id"),
        (data, {**HOUR, "MetricDataQueries": [{"Id": "b", "MetricStat": metric("a", "p101")}]}, INVALID, "statistic"),
        (data, {**HOUR, "MetricDataQueries": [query], "NextToken": "x"}, "InvalidNextToken", "NextToken"),
        (data, {**HOUR, "MetricDataQueries": [query], "MaxDatapoints": -1}, INVALID, "MaxDatapoints"),
        (cloudwatch.put_metric_data, {"Namespace": "AWS/x", "MetricData": []}, INVALID, "AWS/x"),
    ]
    for call, arguments, code, words in cases:
        got, message = refused(call, **arguments)
        assert got.startswith(code), (arguments, got, message)
        assert words.lower() in message.lower(), (arguments, message)


def test_alarms_are_described(server: CloudWatchServer, cloudwatch: Any) -> None:
    server.turn(6_000)
    found = {alarm["AlarmName"]: alarm for alarm in cloudwatch.describe_alarms()["MetricAlarms"]}
    assert {name: alarm["StateValue"] for name, alarm in found.items()} == {
        "Busy": "INSUFFICIENT_DATA",
        "Odd": "INSUFFICIENT_DATA",
        "Ratio": "OK",
    }
    assert found["Busy"] | BUSY == found["Busy"]
    assert found["Ratio"]["Metrics"][0] == {"Id": "rate", "Expression": "100 * bad / SUM([good, bad])"}
    assert found["Ratio"]["Metrics"][1]["ReturnData"] is False
    assert found["Ratio"]["Metrics"][1]["MetricStat"]["Period"] == 300
    assert "Anomaly detection" in found["Odd"]["StateReason"]
    names = [alarm["AlarmName"] for alarm in cloudwatch.describe_alarms(StateValue="OK")["MetricAlarms"]]
    assert names == ["Ratio"]
    assert [a["AlarmName"] for a in cloudwatch.describe_alarms(AlarmNamePrefix="B")["MetricAlarms"]] == ["Busy"]
    for nothing in ({"ActionPrefix": "arn:aws:sns"}, {"ChildrenOfAlarmName": "Busy"}, {"ParentsOfAlarmName": "Busy"}):
        assert cloudwatch.describe_alarms(**nothing)["MetricAlarms"] == []
    pages = cloudwatch.get_paginator("describe_alarms").paginate(PaginationConfig={"PageSize": 2})
    assert [len(page["MetricAlarms"]) for page in pages] == [2, 1]


def test_an_alarm_rises_falls_and_the_webhook_is_told(tmp_path: Path) -> None:
    silent = Alarm("Silent", "Silent", {**BUSY, "TreatMissingData": "breaching", "ActionsEnabled": "false"})
    with webhook(refused=1) as hook, CloudWatchServer(tmp_path, [*ALARMS, silent], hook.url) as server:
        cloudwatch = server.client()
        host = {"Dimensions": [{"Name": "host", "Value": "a"}]}
        for ago, value in ((3, 20), (2, 5), (1, 30)):
            put(cloudwatch, "load", [value], minutes_ago=ago, **host)
        server.turn(6_000)  # within a minute after the last one ended
        told = wait_until(lambda: [n for n in hook.notices if n["AlarmName"] == "Busy"], 5, 0.01)[0]
        assert (told["OldStateValue"], told["NewStateValue"]) == ("INSUFFICIENT_DATA", "ALARM")
        assert told["NewStateReason"].startswith("2 of the last 3 datapoints [20, 5, 30] were greater than")
        assert hook.tries == len(hook.notices) + 1, "the notice that was refused came again"
        assert told["Trigger"]["Threshold"] == 10
        assert server.alarms_on().keys() == {"Busy", "Silent"}

        for _ in range(5):
            server.turn(MINUTE_MS)
        assert "Silent" in server.alarms_on()
        wait_until(lambda: hook.notices[-1]["NewStateValue"] == "INSUFFICIENT_DATA", 5, 0.01)
        assert not [n for n in hook.notices if n["AlarmName"] == "Silent"], "its actions are not enabled"
        state = cloudwatch.describe_alarms(AlarmNames=["Busy"])["MetricAlarms"][0]
        assert state["StateValue"] == "INSUFFICIENT_DATA", "no datapoints: missing"


def test_a_disk_that_refuses_keeps_no_alarm_from_being_told(tmp_path: Path) -> None:
    with webhook() as hook, CloudWatchServer(tmp_path, ALARMS, hook.url) as server:
        in_the_way = server.layout.metrics / "alarms.json"
        in_the_way.mkdir()
        with pytest.raises(StorageError):
            server.turn(6_000)
        wait_until(lambda: any(notice["AlarmName"] == "Ratio" for notice in hook.notices), 5, 0.01)
        in_the_way.rmdir()
        server.turn(MINUTE_MS)


def test_a_webhook_that_is_down_holds_up_nothing(tmp_path: Path) -> None:
    with webhook(refused=10**6) as hook, CloudWatchServer(tmp_path, ALARMS, hook.url) as server:
        server.turn(6_000)
        wait_until(lambda: hook.tries == 3, 5, 0.01)
        assert server.client().describe_alarms(StateValue="OK")["MetricAlarms"][0]["AlarmName"] == "Ratio"


def test_an_expression_alarm_and_states_over_restarts(tmp_path: Path) -> None:
    server = CloudWatchServer(tmp_path, ALARMS)
    server.start()
    put(server.client(), "bad", [1], minutes_ago=1, Counts=[60])
    put(server.client(), "good", [1], minutes_ago=2, Counts=[40])
    server.turn(6_000)
    server.stop()
    with server:
        alarm = server.client().describe_alarms(AlarmNames=["Ratio"])["MetricAlarms"][0]
        assert (alarm["StateValue"], alarm["StateTransitionedTimestamp"].timestamp()) == ("ALARM", NOW_MS // 1000 + 6)
        assert "[60] was greater than or equal to the threshold (50)" in alarm["StateReason"]


def test_functions_lines_are_counted_once_over_restarts(tmp_path: Path) -> None:
    server = CloudWatchServer(tmp_path)
    server.start()
    server.print_line("store", "START RequestId: 1\n" + "\n".join(emf.lines({"heat": [70.5, 71.5]}, NOW_MS)))
    server.turn(1_000)  # the first turn also saves
    server.print_line("store", emf.lines({"heat": [72.5]}, NOW_MS)[0])
    server.turn(1_000)
    server.kill()  # the second line was read, but not saved
    with server:
        server.turn(1_000)
        answer = server.client().get_metric_statistics(
            Namespace="Headrace", MetricName="heat", Period=60, Statistics=["Sum", "SampleCount"], **HOUR
        )
        assert [(row["Sum"], row["SampleCount"]) for row in answer["Datapoints"]] == [(214.5, 3)]


def test_metrics_that_are_left_out_are_told(
    server: CloudWatchServer, cloudwatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        server.print_line("store", emf.lines({"heat": [70.5]}, NOW_MS // 1000)[0])  # in seconds, as is easily written
        server.print_line("store", '{"level": "INFO", "message": "printed \\"_aws\\""}')
        server.turn(1_000)
    counted = cloudwatch.get_metric_statistics(
        Namespace="AWS/Logs", MetricName="EMFValidationErrors", Period=60, Statistics=["Sum"], **HOUR,
        Dimensions=[{"Name": "LogGroupName", "Value": "/aws/lambda/store"}],
    )  # fmt: skip
    assert [row["Sum"] for row in counted["Datapoints"]] == [3]
    (told,) = [record.message for record in caplog.records if "left out" in record.message]
    assert told.startswith("store printed metrics that are left out: Its Timestamp is not in milliseconds")


def test_more_metrics_than_are_kept(
    server: CloudWatchServer, cloudwatch: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in ("put", "store"):
        monkeypatch.setattr(f"headrace.metrics.{module}.SERIES_MAX", 2)
    for name in ("a", "b"):
        put(cloudwatch, name, [1])
    put(cloudwatch, "a", [1])
    code, message = refused(put, cloudwatch=cloudwatch, name="c", values=[1])
    assert (code, message.partition(" ")[0]) == ("LimitExceeded", "2")
    for _ in range(2):
        server.print_line("store", emf.lines({"heat": [70.5]}, NOW_MS)[0])
        server.turn(1_000)
    assert len([record for record in caplog.records if "left out" in record.message]) == 1
    assert [row["MetricName"] for row in cloudwatch.list_metrics()["Metrics"]] == ["a", "b"]


def test_prometheus_reads_it(server: CloudWatchServer, cloudwatch: Any) -> None:
    put(cloudwatch, "pumpLoad", [1, 2, 3], minutes_ago=1, Dimensions=[{"Name": "host", "Value": 'a"b'}], Unit="Percent")
    with urllib.request.urlopen(server.url + "/_headrace/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        lines = answer.read().decode().splitlines()
    assert lines[:2] == ["# HELP mine_pump_load Mine pumpLoad, Percent", "# TYPE mine_pump_load summary"]
    assert 'mine_pump_load_sum{host="a\\"b"} 6' in lines
    assert 'mine_pump_load_count{host="a\\"b"} 3' in lines
    quantiles = [line.split('"')[-2] for line in lines if "quantile" in line]
    assert quantiles == ["0.5", "0.9", "0.99"]


def test_prometheus_finds_no_line_twice(server: CloudWatchServer, cloudwatch: Any) -> None:
    for name in ("pumpLoad", "pump_load", "Öl", "温度", "tank\nlevel"):
        put(cloudwatch, name, [2**359], Dimensions=[{"Name": "Host", "Value": "a"}, {"Name": "host", "Value": "b"}])
    put(cloudwatch, "x", [1], Dimensions=[{"Name": "quantile", "Value": "0.5"}])
    with urllib.request.urlopen(server.url + "/_headrace/metrics") as answer:
        lines = answer.read().decode().splitlines()
    assert [line.rpartition(" ")[0] for line in lines if "_sum{" in line] == [
        'mine_pump_load_sum{metric="Mine pumpLoad",host="a",host_="b"}',
        'mine_pump_load_sum{metric="Mine pump_load",host="a",host_="b"}',
        'mine_tank_level_sum{host="a",host_="b"}',
        'mine_x_sum{quantile_="0.5"}',
        'mine_l_sum{metric="Mine Öl",host="a",host_="b"}',
        'mine_sum{metric="Mine 温度",host="a",host_="b"}',
    ]
    assert "# HELP mine_tank_level Mine tank\\nlevel, None" in lines
