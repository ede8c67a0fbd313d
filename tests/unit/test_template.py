"""A template becomes a System: SAM or plain CloudFormation, YAML or JSON."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace import template
from headrace.system import AsyncInvoke, Bucket, Function, Mapping, Stream, System, Table
from support.templates import SMALL, read, write

SHIPPED = Path(__file__).parents[2] / "template.yaml"


def ignored(system: System) -> dict[tuple[str, str], str]:
    return {(each.logical_id, each.type): each.reason for each in system.ignored}


def test_a_small_system(tmp_path: Path) -> None:
    system = read(tmp_path, SMALL)
    assert system.template == str(tmp_path / "template.yaml")
    assert system.parameters == {"Mode": "quick", "Days": "7"}
    assert system.streams == (Stream(logical_id="Feed", name="feed", shards=2),)
    assert system.functions == (
        Function(
            logical_id="Reader",
            name="reader",
            handler="reader.handler",
            code=str(tmp_path / "code"),
            runtime="python3.13",
            timeout_s=30,
            memory_mb=256,
            environment={"SHARED": "yes", "TABLE": "items"},
            asynchronous=AsyncInvoke(failures_bucket="failures"),
        ),
    )
    (mapping,) = system.mappings
    assert mapping == Mapping(
        logical_id="ReaderFeed",
        uuid=mapping.uuid,
        function="reader",
        stream="feed",
        batch_size=500,
        report_item_failures=True,
        failures_bucket="rejects",
    )
    assert system.tables == (Table(logical_id="Items", name="items", partition_key="id", ttl_attribute="expires_at"),)
    assert system.buckets == (
        Bucket(
            logical_id="Rejects",
            name="rejects",
            lifecycle=(
                {
                    "Status": "Enabled",
                    "Transitions": [{"StorageClass": "GLACIER", "TransitionInDays": 30}],
                    "ExpirationInDays": 60,
                },
            ),
        ),
    )
    (alarm,) = system.alarms
    assert alarm.name == "Late"
    assert alarm.properties["Dimensions"] == [{"Name": "FunctionName", "Value": "reader"}]
    assert system.ignored == ()


def test_the_system_outlives_its_processes(tmp_path: Path) -> None:
    system = read(tmp_path, SMALL)
    assert msgspec.json.decode(msgspec.json.encode(system), type=System) == system
    assert read(tmp_path, SMALL).mappings[0].uuid == system.mappings[0].uuid


PLAIN: dict[str, Any] = {
    "Resources": {
        "Feed": {"Type": "AWS::Kinesis::Stream", "Properties": {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}},
        "Reader": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Code": "code",
                "Handler": "reader.handler",
                "Runtime": "python3.12",
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "ReservedConcurrentExecutions": 3,
                "VpcConfig": {"SubnetIds": {"Fn::Split": [",", {"Fn::ImportValue": "subnets"}]}},
            },
        },
        "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {}}},
        "Reading": {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "FunctionName": {"Fn::GetAtt": ["Reader", "Arn"]},
                "EventSourceArn": {"Fn::GetAtt": ["Feed", "Arn"]},
                "StartingPosition": "AT_TIMESTAMP",
                "StartingPositionTimestamp": 1700000000.5,
                "MaximumRetryAttempts": "5",
                "MaximumRecordAgeInSeconds": 60,
                "BisectBatchOnFunctionError": "true",
                "MaximumBatchingWindowInSeconds": 1,
                "Enabled": False,
            },
        },
        "Address": {
            "Type": "AWS::Lambda::Url",
            "Properties": {"TargetFunctionArn": {"Ref": "Reader"}, "AuthType": "AWS_IAM"},
        },
        "Later": {
            "Type": "AWS::Lambda::EventInvokeConfig",
            "Properties": {
                "FunctionName": {"Ref": "Reader"},
                "Qualifier": "$LATEST",
                "MaximumRetryAttempts": 0,
                "MaximumEventAgeInSeconds": 60,
                "DestinationConfig": {"OnFailure": {"Destination": {"Fn::GetAtt": ["Queue", "Arn"]}}},
            },
        },
        "Queue": {"Type": "AWS::SQS::Queue"},
        "FromQueue": {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {"FunctionName": {"Ref": "Reader"}, "EventSourceArn": {"Fn::GetAtt": ["Queue", "Arn"]}},
        },
        "Items": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "AttributeDefinitions": [
                    {"AttributeName": "id", "AttributeType": "S"},
                    {"AttributeName": "at", "AttributeType": "N"},
                ],
                "KeySchema": [
                    {"AttributeName": "id", "KeyType": "HASH"},
                    {"AttributeName": "at", "KeyType": "RANGE"},
                ],
                "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 2},
                "StreamSpecification": {"StreamViewType": "NEW_IMAGE"},
            },
        },
        "MyData": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": {"Fn::Sub": "${AWS::StackName}-data"}}},
        "Plain": {"Type": "AWS::S3::Bucket"},
        "Custom": {"Type": "Custom::Thing"},
    }
}


def test_plain_cloudformation_in_json(tmp_path: Path) -> None:
    system = read(tmp_path, json.dumps(PLAIN, indent="\t"), name="template.json")
    assert system.streams == (Stream(logical_id="Feed", name="Feed", shards=4, mode="ON_DEMAND"),)
    (function,) = system.functions
    assert (function.name, function.runtime, function.timeout_s, function.memory_mb) == ("Reader", "python3.12", 3, 128)
    assert (function.url, function.url_auth, function.reserved_concurrency) == (True, "AWS_IAM", 3)
    assert function.asynchronous == AsyncInvoke(retries=0, age_s_max=60, failures_bucket="failures")
    (mapping,) = system.mappings
    assert mapping == Mapping(
        logical_id="Reading",
        uuid=mapping.uuid,
        function="Reader",
        stream="Feed",
        enabled=False,
        starting_position="AT_TIMESTAMP",
        starting_timestamp_ms=1_700_000_000_500,
        window_s=1,
        retries=5,
        record_age_s_max=60,
        bisect=True,
        failures_bucket="failures",
    )
    (table,) = system.tables
    assert (table.name, table.sort_key, table.read_units, table.write_units) == ("Items", "at", 1, 2)
    assert [bucket.name for bucket in system.buckets] == ["headrace-data", "plain"]


def test_what_one_machine_leaves_out_is_listed_with_its_reason(tmp_path: Path) -> None:
    found = ignored(read(tmp_path, json.dumps(PLAIN), name="template.json"))
    assert found == {
        ("Reader", "AWS::Lambda::Function.VpcConfig"): "functions use this machine's network",
        ("Role", "AWS::IAM::Role"): "there is no authentication yet, so nobody needs permissions",
        ("Later", "OnFailure"): "one machine has no sqs; what is given up goes to the bucket `failures`",
        ("Queue", "AWS::SQS::Queue"): "one machine has no queues",
        ("FromQueue", "AWS::Lambda::EventSourceMapping"): "one machine reads Kinesis streams only, no sqs",
        ("Items", "AWS::DynamoDB::Table.AttributeDefinitions"): "the key at is kept as text",
        ("Items", "AWS::DynamoDB::Table.StreamSpecification"): "changes of the table are not streamed",
        ("Custom", "Custom::Thing"): "one machine has no Thing",
    }


def test_events_of_other_kinds_are_left_out(tmp_path: Path) -> None:
    more = "        Hourly: {Type: Schedule, Properties: {Schedule: rate(1 hour)}}\n        Feed:\n"
    system = read(tmp_path, SMALL.replace("        Feed:\n", more, 1))
    assert ignored(system) == {("ReaderHourly", "Schedule"): "schedules are not run yet"}
    assert len(system.mappings) == 1


OTHER = """\
  Other:
    Type: AWS::Serverless::Function
    Properties:
      Handler: reader.handler
      Environment: {Variables: {SHARED: mine, OWN: !GetAtt OtherUrl.FunctionUrl}}
      FunctionUrlConfig: {AuthType: NONE}
      EventInvokeConfig: {MaximumRetryAttempts: 1}
  Bare:
    Type: AWS::Serverless::Function
    IgnoreGlobals: [Environment]
    Properties: {Handler: reader.handler}
  Simple:
    Type: AWS::Serverless::SimpleTable
    DependsOn: [Other, BareRole]
"""


def test_globals_are_merged_member_by_member(tmp_path: Path) -> None:
    text = SMALL.replace("Resources:\n", f"Resources:\n{OTHER}", 1)
    text = text.replace("  Function:\n", "  Function:\n    EventInvokeConfig: {MaximumEventAgeInSeconds: 60}\n", 1)
    system = read(tmp_path, text)
    other, bare = system.function("Other"), system.function("Bare")
    assert other is not None
    assert bare is not None
    assert other.environment == {"SHARED": "mine", "OWN": "http://127.0.0.1:4566/_headrace/url/Other/"}
    assert (other.url, other.url_auth) == (True, "NONE")
    assert (other.asynchronous.retries, other.asynchronous.age_s_max) == (1, 60)
    assert bare.environment == {}
    assert bare.asynchronous.age_s_max == 60
    assert system.tables[0] == Table(logical_id="Simple", name="Simple", partition_key="id")


def test_a_resource_whose_condition_is_false_is_not_there(tmp_path: Path) -> None:
    text = SMALL.replace("  Late:\n", "  Late:\n    Condition: IsSlow\n", 1)
    assert read(tmp_path, text).alarms == ()
    assert read(tmp_path, text, {"Mode": "slow"}).alarms[0].name == "Late"


def test_several_streams_and_a_consumer(tmp_path: Path) -> None:
    more = """\
      Events:
        More:
          Type: Kinesis
          Properties:
            Stream: !Sub "${Second.Arn}/consumer/fast:1"
            StartingPosition: LATEST
"""
    text = SMALL.replace("      Events:\n", more, 1).replace(
        "Resources:\n", "Resources:\n  Second: {Type: AWS::Kinesis::Stream, Properties: {ShardCount: 1}}\n", 1
    )
    assert [(each.stream, each.starting_position) for each in read(tmp_path, text).mappings] == [
        ("Second", "LATEST"),
        ("feed", "TRIM_HORIZON"),
    ]


@pytest.mark.parametrize("handler", ["pkg.inner.handler", "pkg/inner.handler", "pkg.again"])
def test_handlers_in_packages(tmp_path: Path, handler: str) -> None:
    path = write(tmp_path, SMALL.replace("reader.handler", handler, 1))
    package = tmp_path / "code" / "pkg"
    package.mkdir()
    (package / "__init__.py").write_text("if True:\n    from os import path as again\n")
    (package / "inner.py").write_text("handler = print\n")
    assert template.read(path, {}).functions[0].handler == handler


def test_the_shipped_template() -> None:
    system = template.read(SHIPPED, {})
    assert [stream.name for stream in system.streams] == ["events"]
    assert {function.name for function in system.functions} == {"store", "archive", "device_api"}
    assert {(each.function, each.batch_size, each.window_s) for each in system.mappings} == {
        ("store", 1_000, 0),
        ("archive", 10_000, 20),
    }
    for mapping in system.mappings:
        assert (mapping.stream, mapping.starting_position, mapping.failures_bucket) == (
            "events",
            "TRIM_HORIZON",
            "failures",
        )
        assert (mapping.retries, mapping.bisect, mapping.report_item_failures) == (-1, True, True)
        assert 3_600 <= mapping.record_age_s_max < system.streams[0].retention_hours * 3_600
    assert {table.name: (table.partition_key, table.sort_key, table.ttl_attribute) for table in system.tables} == {
        "events": ("device_id", "sk", "expires_at"),
        "devices": ("device_id", "sk", None),
    }
    assert {bucket.name for bucket in system.buckets} == {"archive", "failures"}
    assert {alarm.name for alarm in system.alarms} == {
        "ArchiveIsBehind",
        "FunctionsFail",
        "StoreIsBehind",
        "StreamRefuses",
        "TableRefuses",
    }
    assert services_left_out(system) == {
        "AWS::CloudWatch::Alarm",  # the one on the state machine's executions
        "AWS::CloudWatch::Dashboard",
        "AWS::EC2",
        "AWS::IAM",
        "AWS::IoT::RoleAlias",
        "AWS::Logs::LogGroup",
        "AWS::S3::BucketPolicy",
    }


def services_left_out(system: System) -> set[str]:
    """The types that are left out, those of IAM and EC2 by their service."""
    return {re.sub(r"(AWS::(EC2|IAM))::.*", r"\1", each.type) for each in system.ignored}


def test_the_shipped_template_follows_its_parameters() -> None:
    days = {"ArchiveGlacierDays": "30", "ArchiveDeepArchiveDays": "200", "ArchiveExpirationDays": "400"}
    given = {"StreamMode": "PROVISIONED", "ShardCount": "7", "EventsTableWriteUnits": "50", "EventsTtlDays": "3"}
    system = template.read(SHIPPED, given | days | {"AlarmTopicArn": "arn:aws:sns:us-east-1:1:x"})
    assert system.streams[0].shards == 7
    events = next(table for table in system.tables if table.name == "events")
    assert (events.write_units, events.read_units) == (50, 25)
    store = system.function("store")
    assert store is not None
    assert store.environment["EVENTS_TTL_DAYS"] == "3"
    archive = next(bucket for bucket in system.buckets if bucket.name == "archive")
    assert archive.lifecycle[1]["ExpirationInDays"] == 400
    assert {"AWS::CloudWatch::Alarm.AlarmActions", "AWS::ApplicationAutoScaling::ScalableTarget"} <= services_left_out(
        system
    )
    sized = template.read(SHIPPED, {"Size": "dev", "WarehouseRpus": "0", "NamePrefix": "two-"})
    assert {function.name for function in sized.functions} == {"two-store", "two-archive", "two-device_api"}
    assert "AWS::RedshiftServerless::Workgroup" not in services_left_out(system) | services_left_out(sized)


def test_reading_imports_none_of_the_heavy_packages() -> None:
    code = "import sys; from pathlib import Path; from headrace import template; template.read(Path(sys.argv[1]), {});"
    code += "print([name for name in ('boto3', 'botocore', 'samtranslator', 'cfnlint') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code, str(SHIPPED)], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
