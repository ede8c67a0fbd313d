"""The shipped template is one that AWS takes: linted as it is and as SAM translates it, every handler importable.

And the reader knows what AWS knows: its lists of properties and limits are compared with the linter's schemas and
with botocore's model.
"""

import importlib.util
import inspect
import json
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from headrace import template
from headrace.errors import TemplateError
from headrace.template import properties

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "template.yaml"
MANAGED = "arn:aws:iam::aws:policy/service-role"


class _ManagedPolicies:
    """Stands in for the call to IAM with which SAM looks up the policies that AWS manages."""

    def load(self) -> dict[str, str]:
        names = ("AWSLambdaBasicExecutionRole", "AWSLambdaKinesisExecutionRole")
        return {name: f"{MANAGED}/{name}" for name in names}


@pytest.fixture(scope="module")
def translated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as CloudFormation gets it: packaged (code in a bucket), then translated."""
    from samtranslator.translator.transform import transform
    from samtranslator.yaml_helper import yaml_parse

    source = yaml_parse(TEMPLATE.read_text())
    source["Globals"]["Function"]["CodeUri"] = "s3://packages/functions.zip"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        plain = transform(source, {}, _ManagedPolicies())
    path = tmp_path_factory.mktemp("translated") / "template.json"
    path.write_text(json.dumps(plain, indent=1))
    return path


def findings(path: Path) -> list[str]:
    from cfnlint.api import ManualArgs, lint_file

    return [
        f"{each.filename}:{each.linenumber}: {each.rule.id} {each.message}" for each in lint_file(path, ManualArgs())
    ]


def test_the_linter_passes_on_the_template() -> None:
    assert findings(TEMPLATE) == []


def test_the_linter_passes_on_the_translated_template(translated: Path) -> None:
    assert findings(translated) == []


def test_the_linter_finds_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "template.yaml"
    path.write_text("Resources:\n  Feed:\n    Type: AWS::Kinesis::Stream\n    Properties:\n      RetentionHours: 24\n")
    assert any("RetentionHours" in finding for finding in findings(path))


# What the scanner finds and stays as it is, and why: (rule, resource) -> (a part of what it says, the reason).
ACCEPTED = {
    ("S3ObjectVersioningRule", "Archive"): (
        "",
        "objects are written once; versions would outlive what the rules delete",
    ),
    ("S3ObjectVersioningRule", "Failures"): ("", "a document is written once, under a key of its own"),
    ("WildcardResourceRule", "ReadsStream"): ("kinesis:ListStreams", "it can't be limited to a stream"),
    ("WildcardResourceRule", "JobsRole"): (
        "elasticmapreduce:AddTags elasticmapreduce:RunJobFlow redshift-data:DescribeStatement "
        "redshift-serverless:CreateUsageLimit redshift-serverless:ListUsageLimits redshift-serverless:UpdateUsageLimit",
        "clusters have no ARN before they are made, statements and usage limits never have one",
    ),
}


@pytest.mark.filterwarnings("default")
def test_the_security_scanner_passes(translated: Path) -> None:
    scanned = scan(json.loads(translated.read_text()))
    assert [each for each in scanned if not is_accepted(each)] == []
    assert {(each.rule, *each.resource_ids) for each in scanned} == ACCEPTED.keys()  # what is fixed is taken out


@pytest.mark.filterwarnings("default")
def test_the_security_scanner_finds_what_is_wrong(translated: Path) -> None:
    template = json.loads(translated.read_text())
    role = template["Resources"]["StoreRole"]["Properties"]
    role["Policies"][0]["PolicyDocument"]["Statement"][0] = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    assert any("StoreRole" in each.resource_ids for each in scan(template))


def is_accepted(failure: Any) -> bool:
    said = [ACCEPTED.get((failure.rule, resource), ("-", ""))[0].split() for resource in failure.resource_ids]
    return all(not words or any(word in failure.reason for word in words) for words in said)


def scan(template: dict[str, Any]) -> list[Any]:
    """Return what cfripper's rules find; none of its rules is left out."""
    import pycfmodel
    from cfripper.config.config import Config
    from cfripper.rule_processor import RuleProcessor
    from cfripper.rules import DEFAULT_RULES

    config = Config(stack_name="headrace", rules=list(DEFAULT_RULES), aws_account_id="000000000000")
    model = pycfmodel.parse(template).resolve(extra_params={})
    rules = RuleProcessor(*[rule(config) for rule in DEFAULT_RULES.values()])
    return list(rules.process_cf_template(model, config).failures)


def test_the_reader_and_sam_agree_on_the_mappings(translated: Path) -> None:
    resources = json.loads(translated.read_text())["Resources"]
    theirs = {name: each for name, each in resources.items() if each["Type"] == "AWS::Lambda::EventSourceMapping"}
    ours = {mapping.logical_id: mapping for mapping in template.read(TEMPLATE, {}).mappings}
    assert ours.keys() == theirs.keys()
    for name, mapping in ours.items():
        settings = theirs[name]["Properties"]
        assert mapping.batch_size == settings["BatchSize"]
        assert mapping.record_age_s_max == settings["MaximumRecordAgeInSeconds"]
        assert mapping.window_s == settings["MaximumBatchingWindowInSeconds"]


@pytest.mark.parametrize("name", ["store", "archive", "device_api"])
def test_a_handler_is_importable_with_the_environment_of_the_template(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = template.read(TEMPLATE, {}).function(name)
    assert function is not None
    for variable, value in function.environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path))
    module_name, _, attribute = function.handler.rpartition(".")
    module = _import(Path(function.code) / f"{module_name}.py", f"functions_{module_name}")
    assert len(inspect.signature(getattr(module, attribute)).parameters) == 2


def _import(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


RULES = {
    "AWS::CloudWatch::Alarm": properties.ALARM,
    "AWS::DynamoDB::Table": properties.TABLE,
    "AWS::Kinesis::Stream": properties.STREAM,
    "AWS::Lambda::EventInvokeConfig": properties.EVENT_INVOKE_CONFIG,
    "AWS::Lambda::EventSourceMapping": properties.EVENT_SOURCE_MAPPING,
    "AWS::Lambda::Function": properties.LAMBDA_FUNCTION,
    "AWS::Lambda::Url": properties.URL,
    "AWS::S3::Bucket": properties.BUCKET,
}


def known_to_aws(kind: str) -> set[str]:
    from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    answers = {path.removeprefix("/properties/") for path in schema.get("readOnlyProperties") or ()}
    return set(schema["properties"]) - answers


@pytest.mark.parametrize("kind", RULES)
def test_every_property_of_aws_is_known_to_the_reader(kind: str) -> None:
    assert known_to_aws(kind) - RULES[kind].rules.keys() == set()


def test_every_property_of_sam_is_known_to_the_reader() -> None:
    from samtranslator.model.eventsources.pull import Kinesis
    from samtranslator.model.eventsources.scheduler import SchedulerEventSource
    from samtranslator.model.sam_resources import SamFunction, SamSimpleTable, SamStateMachine

    assert SamStateMachine.property_types.keys() - properties.STATE_MACHINE.rules.keys() == set()
    assert SchedulerEventSource.property_types.keys() - properties.SCHEDULE_EVENT.rules.keys() == set()
    assert SamFunction.property_types.keys() - properties.SERVERLESS_FUNCTION.rules.keys() == set()
    assert SamSimpleTable.property_types.keys() - properties.SIMPLE_TABLE.rules.keys() == set()
    others = {"ConsumerGroupId", "KafkaBootstrapServers", "ProvisionedPollerConfig", "Queues", "ScalingConfig"}
    others |= {"SchemaRegistryConfig", "SecretsManagerKmsKeyId", "SourceAccessConfigurations", "Topics"}
    assert Kinesis.property_types.keys() - properties.KINESIS_EVENT.rules.keys() == others


# Limits as botocore's model of Lambda has them: the rule's property, the model's shape.
LIMITS = {
    "BatchSize": "BatchSize",
    "MaximumBatchingWindowInSeconds": "MaximumBatchingWindowInSeconds",
    "MaximumRetryAttempts": "MaximumRetryAttemptsEventSourceMapping",
    "MemorySize": "MemorySize",
    "Timeout": "Timeout",
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_those_of_aws(name: str, tmp_path: Path) -> None:
    shape = _lambda_shapes()[LIMITS[name]]
    folder = tmp_path / "functions"
    folder.mkdir()
    for each in ("store", "archive", "device_api"):
        (folder / f"{each}.py").write_text("def handler(event, context): ...\n")
    path = tmp_path / "template.yaml"
    for value, fits in (
        (shape["min"] - 1, False),
        (shape["min"], True),
        (shape["max"], True),
        (shape["max"] + 1, False),
    ):
        path.write_text(re.sub(rf"{name}: -?\d+", f"{name}: {value}", TEMPLATE.read_text(), count=1))
        with nullcontext() if fits else pytest.raises(TemplateError, match=f"{name}: Value '{value}' at"):
            template.read(path, {})


def _lambda_shapes() -> dict[str, Any]:
    from botocore.loaders import Loader

    shapes: dict[str, Any] = Loader().load_service_model("lambda", "service-2")["shapes"]
    return shapes
