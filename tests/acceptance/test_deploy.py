"""`headrace deploy` and `destroy` against moto, which makes tables, streams and buckets, and leaves out the rest.

moto knows no SAM and no change to a stack in detail: what is planned is tested by recorded answers in tests/unit.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import Result
from moto import mock_aws

from headrace.deploy.aws import Aws
from headrace.deploy.destroy import Left, delete_data
from support.command_line import run

ROOT = Path(__file__).resolve().parents[2]
REGION = "us-east-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": REGION}
NOTHING = {
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}
TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Mode: {Type: String, Default: ON_DEMAND}
Resources:
  Events:
    Type: AWS::Kinesis::Stream
    Properties: {Name: events, ShardCount: 1}
  EventsTable:
    Type: AWS::DynamoDB::Table
    DeletionPolicy: Retain
    Properties:
      TableName: events
      DeletionProtectionEnabled: true
      AttributeDefinitions: [{AttributeName: device_id, AttributeType: S}]
      KeySchema: [{AttributeName: device_id, KeyType: HASH}]
      BillingMode: PAY_PER_REQUEST
  Archive:
    Type: AWS::S3::Bucket
    DeletionPolicy: Retain
    Properties: {VersioningConfiguration: {Status: Enabled}}
Outputs:
  StreamName: {Value: !Ref Events}
  ArchiveBucketName: {Value: !Ref Archive}
"""

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse", "ignore:datetime.datetime.utcnow")


@pytest.fixture
def aws() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION"):
            patch.delenv(name, raising=False)
        with mock_aws():
            yield


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "template.yaml"
    path.write_text(TEMPLATE)
    return path


def cli(*arguments: object, stdin: bytes = b"", env: Mapping[str, str | None] | None = None) -> Result:
    return run(*arguments, env={**CREDENTIALS, **NOTHING, **(env or {})}, stdin=stdin)


def client(service: str) -> Any:
    return boto3.client(service, region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b")


@pytest.mark.usefixtures("aws")
def test_a_system_is_planned_deployed_found_unchanged_and_destroyed(template: Path) -> None:
    planned = cli("deploy", "--plan", "--template", template, "--json")
    assert planned.exit_code == 0, planned.stderr
    assert [each["logical_id"] for each in json.loads(planned.stdout)["changes"]] == [
        "Archive",
        "Events",
        "EventsTable",
    ]
    assert json.loads(planned.stdout)["monthly"] > 0
    assert any(each.startswith("retention: Archive") for each in json.loads(planned.stdout)["findings"])
    assert client("cloudformation").describe_stacks()["Stacks"] == []  # a plan leaves nothing

    refused = cli("deploy", "--template", template, stdin=b"y\nn\n")
    assert refused.exit_code == 1 and "Nothing was deployed" in refused.stderr
    deployed = cli("deploy", "--template", template, "--yes", "--json")
    assert deployed.exit_code == 0, deployed.stderr
    assert json.loads(deployed.stdout) == {}  # moto has no outputs of what a change set made
    assert "CREATE_COMPLETE" in deployed.stderr and "a month" in deployed.stderr
    bucket = client("cloudformation").describe_stacks(StackName="headrace-artifacts")["Stacks"][0]["Outputs"][0][
        "OutputValue"
    ]
    keys = [each["Key"] for each in client("s3").list_objects_v2(Bucket=bucket)["Contents"]]
    assert [key for key in keys if key.startswith("templates/")]

    again = cli("deploy", "--template", template, "--yes")
    assert again.exit_code == 0 and "is as it should be" in again.stdout
    assert "headrace latest d1 --aws" in again.stdout

    kept = cli("destroy", "--yes", "--json")
    assert {each["logical_id"] for each in json.loads(kept.stdout)["left"]} == {"EventsTable", "Archive"}
    assert client("dynamodb").list_tables()["TableNames"] == ["events"]
    assert cli("destroy", "--yes").exit_code == 1


@pytest.mark.usefixtures("aws")
def test_data_is_deleted_only_by_the_stacks_name(template: Path) -> None:
    assert cli("deploy", "--template", template, "--yes").exit_code == 0
    for given in (("--confirm", "other"), ()):
        wrong = cli("destroy", "--delete-data", "--yes", *given, stdin=b"nope\n")
        assert wrong.exit_code == 1 and "Nothing was removed" in wrong.stderr
    done = cli("destroy", "--delete-data", stdin=b"headrace\n")
    assert done.exit_code == 0, done.stderr
    assert "nothing of it stays" in done.stdout
    assert client("dynamodb").list_tables()["TableNames"] == []
    assert not [each for each in client("s3").list_buckets()["Buckets"] if each["Name"].startswith("headrace-archive-")]


@pytest.mark.usefixtures("aws")
def test_a_bucket_is_emptied_of_old_versions_too_and_what_is_gone_is_no_error() -> None:
    s3 = client("s3")
    s3.create_bucket(Bucket="old")
    s3.put_bucket_versioning(Bucket="old", VersioningConfiguration={"Status": "Enabled"})
    for _ in range(2):
        s3.put_object(Bucket="old", Key="raw/1", Body=b"x")
    s3.delete_object(Bucket="old", Key="raw/1")
    told: list[str] = []
    resources = [
        Left("B", "AWS::S3::Bucket", "old"),
        Left("T", "AWS::DynamoDB::Table", "gone"),
        Left("X", "A::B::C", "x"),
    ]
    unknown = delete_data(
        Aws(region=REGION, clients={"s3": s3, "dynamodb": client("dynamodb")}), resources, told.append
    )
    assert unknown == [resources[2]]
    assert "3 objects deleted" in told and "gone is gone already" in told
    assert s3.list_buckets()["Buckets"] == []


@pytest.mark.usefixtures("aws")
def test_the_projects_own_template_is_planned_and_sized_for_a_fleet() -> None:
    fleet = ("--devices", "100000", "--rate", "1/10s", "--template", ROOT / "template.yaml")
    done = cli("deploy", "--plan", "--stack", "blue", *fleet)
    assert done.exit_code == 0, done.stderr
    assert "100,000 devices, 10,000 events/s" in done.stdout and "archive" in done.stdout
    assert "Serverless::Function: ArchiveFunction, DeviceApi, Store" in done.stdout
    assert "may not work" not in done.stdout  # what the gates of the template find
    assert client("cloudformation").describe_stacks()["Stacks"] == []
    # What `cost` says of a fleet is what `deploy` would make for it: a third of the naive way's cost.
    planned = json.loads(cli("deploy", "--plan", "--json", *fleet).stdout)
    estimate = json.loads(cli("cost", "--json", *fleet).stdout)
    assert planned["monthly"] == pytest.approx(estimate["monthly"])
    assert estimate["naive"] > 2 * estimate["monthly"]


@pytest.mark.usefixtures("aws")
def test_without_a_fleet_the_capacity_follows_the_load_and_the_plan_says_what_sizing_would_save() -> None:
    template = ("--template", ROOT / "template.yaml")
    done = cli("deploy", "--plan", *template)
    assert done.exit_code == 0, done.stderr
    sized = json.loads(cli("cost", "--json", "--devices", 10_000, "--rate", "1/min", *template).stdout)["monthly"]
    assert f"With --devices and --rate of your fleet it is sized: here ${sized:,.0f}." in done.stdout


@pytest.mark.parametrize(
    ("env", "arguments", "words"),
    [
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, (), "There are no AWS credentials"),
        ({"AWS_DEFAULT_REGION": None}, (), "No region is set"),
        ({}, ("--profile", "nobody"), "There is no profile 'nobody'"),
        ({"AWS_ACCESS_KEY_ID": "headrace"}, (), "lead to one machine"),
        ({}, ("--parameters", "Nothing=1"), "no such parameter"),
        ({}, ("--template", "/nonexistent.yaml"), "There is no such file"),
        ({}, ("--rate", "fast"), "this is no rate"),
        ({}, ("--artifacts-bucket", "not-there"), "There is no bucket not-there"),
    ],
)
@pytest.mark.usefixtures("aws")
def test_what_is_missing_is_named(
    template: Path, env: dict[str, str | None], arguments: tuple[str, ...], words: str
) -> None:
    result = cli("deploy", "--yes", "--template", template, *arguments, env=env)
    assert result.exit_code in (1, 2)
    assert words in result.stderr


def test_an_address_where_nothing_answers_is_named(template: Path) -> None:
    result = cli("deploy", "--plan", "--template", template, env={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert result.exit_code == 1 and "AWS can't be reached" in result.stderr
