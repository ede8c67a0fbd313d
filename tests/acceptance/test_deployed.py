"""`--aws`: what a stack's system says, read from moto where it holds real data, else from recorded answers.

moto's CloudFormation makes the stream, the table and the buckets; objects, log lines and metrics are then put there as
AWS's own services and the functions would.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import botocore.session
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber
from click.testing import Result
from moto import mock_aws

from headrace import clock
from headrace.cli.functions import device_api
from headrace.cli.sql import _runner
from headrace.deploy.aws import Aws
from headrace.deployed import Deployed, jobs, logs
from headrace.errors import NotFound, UsageError
from support.command_line import run

REGION = "us-east-1"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}
TEMPLATE = {
    "Parameters": {"NamePrefix": {"Type": "String", "Default": "blue-"}},
    "Resources": {
        "Events": {"Type": "AWS::Kinesis::Stream", "Properties": {"Name": "events", "ShardCount": 2}},
        "EventsTable": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "TableName": "events",
                "AttributeDefinitions": [{"AttributeName": "device_id", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "device_id", "KeyType": "HASH"}],
                "BillingMode": "PAY_PER_REQUEST",
            },
        },
        "Archive": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "archive-1"}},
        "Failures": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "failures-1"}},
    },
    "Outputs": {
        "ArchiveBucketName": {"Value": {"Ref": "Archive"}},
        "FailuresBucketName": {"Value": {"Ref": "Failures"}},
        "StoreFunctionName": {"Value": "blue-store"},
        "DeviceApiFunctionName": {"Value": "blue-device_api"},
    },
}
REJECTED = {
    "version": "1.0",
    "function": "store",
    "stream": "events",
    "shard": "shardId-000000000000",
    "sequence_number": "17",
    "reason": "json",
    "message": "no JSON",
    "timestamp": "2026-07-25T17:20:01.456Z",
    "payload": {"Records": []},
}
GIVEN_UP = {
    "requestContext": {"requestId": "r", "functionArn": "arn:aws:lambda:us-east-1:1:function:store:$LATEST",
                       "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 4},
    "version": "1.0",
    "timestamp": "2026-07-25T17:21:00.000Z",
    "KinesisBatchInfo": {"shardId": "shardId-000000000001", "startSequenceNumber": "5", "endSequenceNumber": "6"},
    "payload": json.dumps({"Records": [{"kinesis": {"sequenceNumber": "5"}}, {"kinesis": {"sequenceNumber": "6"}}]}),
}  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow")


def client(service: str) -> Any:
    return botocore.session.get_session().create_client(
        service, region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing"
    )


@pytest.fixture(scope="module", autouse=True)
def stack() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION"):
            patch.delenv(name, raising=False)
        with mock_aws():
            client("cloudformation").create_stack(StackName="headrace", TemplateBody=json.dumps(TEMPLATE))
            client("kinesis").create_stream(StreamName="others", ShardCount=1)
            _fill()
            yield


def _fill() -> None:
    s3 = client("s3")
    for key, body in (
        ("raw/dt=2026-07-25/hour=17/a.ndjson.zst", b"raw"),
        ("events/dt=2026-07-25/b.parquet", b"parquet"),
    ):
        s3.put_object(Bucket="archive-1", Key=key, Body=body)
    s3.put_object_tagging(
        Bucket="archive-1",
        Key="raw/dt=2026-07-25/hour=17/a.ndjson.zst",
        Tagging={"TagSet": [{"Key": "compacted", "Value": "true"}]},
    )
    s3.put_object(Bucket="archive-1", Key="events/dt=2020-01-01/c.parquet", Body=b"old", StorageClass="DEEP_ARCHIVE")
    s3.put_object(
        Bucket="failures-1",
        Key="rejected/store/events/shardId-000000000000/17.000000.000000",
        Body=json.dumps(REJECTED),
    )
    s3.put_object(Bucket="failures-1", Key="aws/lambda/u/shardId-000000000001/2026/07/25/x", Body=json.dumps(GIVEN_UP))
    now = datetime.now(UTC)
    writer = client("logs")
    writer.create_log_group(logGroupName="/aws/lambda/blue-store")
    writer.create_log_stream(
        logGroupName="/aws/lambda/blue-store", logStreamName="2026/07/25/[$LATEST]0123456789abcdef"
    )
    lines = [{"timestamp": clock.now_ms() - 1000 + at, "message": f"line {at}\nits tail\x1b[2J"} for at in range(3)]
    writer.put_log_events(
        logGroupName="/aws/lambda/blue-store", logStreamName="2026/07/25/[$LATEST]0123456789abcdef", logEvents=lines
    )
    stream = [{"Name": "StreamName", "Value": "events"}]
    metrics = client("cloudwatch")
    for at in (5, 90):
        one = {"MetricName": "IncomingRecords", "Timestamp": now - timedelta(minutes=at), "Value": 50.0}
        metrics.put_metric_data(Namespace="AWS/Kinesis", MetricData=[{**one, "Dimensions": stream}])
    metrics.put_metric_data(
        Namespace="blue-Headrace", MetricData=[{"MetricName": "temperature_f", "Timestamp": now, "Value": 70.0}]
    )
    metrics.put_metric_data(Namespace="Other", MetricData=[{"MetricName": "unrelated", "Timestamp": now, "Value": 1.0}])


def cli(*arguments: object, env: Mapping[str, str | None] | None = None) -> Result:
    return run(*arguments, "--aws", env={**ENVIRONMENT, **(env or {})})


def answer(*arguments: object) -> Any:
    result = cli(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_streams_of_the_stack_and_no_others() -> None:
    assert [(row["name"], row["shards"]) for row in answer("streams")] == [("events", 2)]
    assert "shardId-000000000001" in cli("streams", "events").stdout


def test_the_archives_objects() -> None:
    rows = {row["key"]: row for row in answer("archive", "list")}
    assert list(rows) == sorted(rows) and len(rows) == 3
    assert rows["raw/dt=2026-07-25/hour=17/a.ndjson.zst"]["tags"] == {"compacted": "true"}
    assert rows["events/dt=2020-01-01/c.parquet"]["readable"] is False
    assert len(answer("archive", "list", "--prefix", "raw/")) == 1
    assert "3 objects" in cli("archive", "list").stdout


def test_failures_of_both_kinds_a_row_a_record() -> None:
    rows = answer("failures", "list")
    assert [(row["function"], row["reason"], row["sequence_number"]) for row in rows] == [
        ("store", "RetryAttemptsExhausted", "5"),
        ("store", "RetryAttemptsExhausted", "6"),
        ("store", "json", "17"),
    ]
    assert answer("failures", "show", rows[1]["id"])["KinesisBatchInfo"]["startSequenceNumber"] == "5"
    for wrong in ("nothing", "rejected/../../x", "raw/dt=2026-07-25/hour=17/a.ndjson.zst"):
        assert "no failure" in cli("failures", "show", wrong).stderr


def test_logs_with_their_control_characters_spelled_out() -> None:
    found = cli("logs", "store", "-n", "4").stdout.splitlines()
    assert len(found) == 4 and found[0] == "line 1" and "\x1b" not in found[1]
    assert [line["text"] for line in answer("logs", "store")][::2] == ["line 0", "line 1", "line 2"]
    assert "no log /aws/lambda/blue-device_api" in cli("logs", "device_api").stderr
    assert "has no function nothing" in cli("logs", "nothing").stderr


def test_logs_are_followed_without_repeats() -> None:
    system = Deployed(
        Aws(region=REGION, clients={each: client(each) for each in ("logs", "cloudformation")}), "headrace"
    )
    following = logs.following(system, "store", 0.0)
    writer = client("logs")
    stream = "2026/07/25/[$LATEST]0123456789abcdef"
    for at in range(2):
        event = {"timestamp": clock.now_ms() + 5, "message": f"new {at}"}
        writer.put_log_events(logGroupName="/aws/lambda/blue-store", logStreamName=stream, logEvents=[event])
        assert next(following).text == f"new {at}"


def test_metrics_of_the_stack_and_of_its_functions() -> None:
    names = {(row["namespace"], row["metric"]) for row in answer("metrics")}
    assert {("AWS/Kinesis", "IncomingRecords"), ("blue-Headrace", "temperature_f")} <= names
    assert ("Other", "unrelated") not in names


def test_status() -> None:
    found = answer("status")
    assert found["accepted"] == 100 and found["ready"] is True
    assert found["tables"]["events"] == {"status": "ACTIVE", "items": 0, "bytes": 0, "mode": "PAY_PER_REQUEST"}
    assert found["failures"] == {"documents": 2, "at_least": False}
    text = cli("status").stdout
    assert "100 records accepted in 24 hours" in text and "failures list --aws" in text
    assert "works on one machine only" in cli("status", "--verify").stderr


def test_alarms_that_are_not_the_stacks_are_not_shown() -> None:
    client("cloudwatch").put_metric_alarm(
        AlarmName="theirs", ComparisonOperator="GreaterThanThreshold", EvaluationPeriods=1, Threshold=1.0,
        MetricName="m", Namespace="n", Period=60, Statistic="Sum",
    )  # fmt: skip
    assert answer("alarms") == []


def test_a_stack_that_there_is_not_is_named() -> None:
    result = cli("status", "--stack", "nothing")
    assert result.exit_code == 1 and "There is no stack nothing in us-east-1" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        *(("send", "x.csv"), ("simulate",), ("trace", "0", "1"), ("export",), ("backup", "d"), ("doctor",), ("up",)),
        *(("failures", "replay", "--all"), ("archive", "restore", "k"), ("jobs", "run", "compact"), ("env",)),
        *(("lifecycle", "plan"), ("config", "d", "set", "{}"), ("aggregates", "d"), ("invoke", "store")),
    ],
)
def test_all_other_commands_say_that_they_are_of_one_machine(arguments: tuple[str, ...]) -> None:
    result = cli(*arguments)
    assert result.exit_code == 2
    assert "works on one machine only" in result.stderr


def test_a_region_without_aws_is_no_usage() -> None:
    assert "go with --aws" in run("status", "--region", "eu-west-1").stderr


# What moto only pretends: Lambda's invoke, Step Functions and EventBridge Scheduler. botocore checks each call.


def system(**clients: Any) -> Deployed:
    made = Deployed(Aws(region=REGION, clients=clients), "headrace")
    made._outputs = {
        "DeviceApiFunctionName": "blue-device_api",
        "JobsStateMachineArn": "arn:aws:states:us-east-1:1:stateMachine:jobs",
    }
    made._resources = [
        {"LogicalResourceId": "S", "ResourceType": "AWS::Scheduler::Schedule", "PhysicalResourceId": "JobsNightly"}
    ]
    return made


def test_latest_calls_the_stacks_function() -> None:
    made = client("lambda")
    with Stubber(made) as stub:
        body = b'{"device_id":"d1","time":"2026-01-01T00:00:00Z","id":"1","readings":{}}'
        stub.add_response(
            "invoke",
            {"StatusCode": 200, "Payload": StreamingBody(BytesIO(body), len(body))},
            {"FunctionName": "blue-device_api", "InvocationType": "RequestResponse", "LogType": "None",
             "Payload": b'{"operation":"latest","device_id":"d1"}'},
        )  # fmt: skip
        assert device_api(system(**{"lambda": made}), "latest", "d1") == body


def test_jobs_of_one_schedule_share_the_state_machines_last_run() -> None:
    at = datetime(2026, 7, 25, tzinfo=UTC)
    states, scheduler = client("stepfunctions"), client("scheduler")
    arn = "arn:aws:states:us-east-1:1:stateMachine:jobs"
    target = {
        "Arn": arn,
        "RoleArn": "arn:aws:iam::1:role/r",
        "Input": '{"jobs": [{"job": "compact"}, {"job": "bills"}]}',
    }
    with Stubber(states) as first, Stubber(scheduler) as second:
        runs = [{"executionArn": "e", "stateMachineArn": arn, "name": "run-1", "status": "TIMED_OUT", "startDate": at}]
        first.add_response("list_executions", {"executions": runs}, {"stateMachineArn": arn, "maxResults": 10})
        second.add_response(
            "get_schedule",
            {"ScheduleExpression": "cron(20 0 * * ? *)", "State": "DISABLED", "Target": target},
            {"Name": "JobsNightly", "GroupName": "default"},
        )
        found = jobs.listed(system(stepfunctions=states, scheduler=scheduler))["jobs"]
    assert [each["job"] for each in found] == ["compact", "bills"]
    assert found[0]["schedules"] == ["cron(20 0 * * ? *) (disabled)"]
    assert found[0]["last"]["state"] == "failed" and found[0]["last"]["created_ms"] == 1_784_937_600_000


def test_a_function_is_found_by_any_of_its_names() -> None:
    made = system()
    made._resources = [
        {"LogicalResourceId": "Mine", "ResourceType": "AWS::Lambda::Function", "PhysicalResourceId": "blue-mine"}
    ]
    assert {made.function(name) for name in ("mine", "Mine", "blue-mine")} == {"blue-mine"}
    with pytest.raises(NotFound, match="no function other"):
        made.function("other")


def test_sql_goes_to_the_stacks_workgroup() -> None:
    made = client("redshift-data")
    statement = {"WorkgroupName": "blue-headrace", "Database": "headrace", "Sql": "SELECT 1 AS one"}
    deployed = system(**{"redshift-data": made})
    deployed._outputs = {"WarehouseWorkgroupName": "blue-headrace"}
    with Stubber(made) as stub:
        stub.add_response("execute_statement", {"Id": "q"}, statement)
        stub.add_response("describe_statement", {"Id": "q", "Status": "FINISHED", "HasResultSet": True}, {"Id": "q"})
        answer = {"ColumnMetadata": [{"name": "one", "typeName": "int4"}], "Records": [[{"longValue": 1}]]}
        stub.add_response("get_statement_result", answer, {"Id": "q"})
        result = _runner(deployed, False, False, None, None, (None, "headrace")).run("SELECT 1 AS one", {})
        assert [list(row) for row in result.rows] == [[1]]
    with pytest.raises(UsageError, match="one machine only"):
        _runner(deployed, True, False, None, None, (None, "headrace"))
