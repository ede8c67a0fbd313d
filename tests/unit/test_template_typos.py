"""What is wrong with a template is told with its line and what to write instead."""

from pathlib import Path

import pytest

from headrace import template
from headrace.errors import TemplateError
from support.templates import SMALL, read, write

# (what stands in SMALL, what stands there instead, a text on the line that the error names, what it says)
TYPOS = {
    # Properties
    "unknown property": ("BatchSize: 500", "BatchSiz: 500", "BatchSiz", "Did you mean BatchSize?"),
    "unknown property, in Globals": ("CodeUri: code/", "CodeUrl: code/", "CodeUrl", "Did you mean CodeUri?"),
    "unknown property, deep": (
        "{AttributeName: expires_at",
        "{AttributName: expires_at",
        "AttributName",
        "Did you mean AttributeName?",
    ),
    "unknown property in a list": ("{AttributeName: id, K", "{AttributeNam: id, K", "AttributeNam:", "AttributeName?"),
    "unknown property of a rule": ("ExpirationInDays", "ExpiresInDays", "ExpiresInDays", "ExpirationInDays?"),
    "unknown property, like no other": (
        "Handler: reader.handler",
        "Qqqq: 1",
        "Qqqq",
        "look it up in AWS's reference",
    ),
    "missing property": ("            StartingPosition: TRIM_HORIZON\n", "", "        Feed:", "Add StartingPosition."),
    "missing handler": ("      Handler: reader.handler\n", "", "  Reader:", "Add Handler."),
    "missing shard count": ("      ShardCount: 2\n", "", "  Feed:", "Add ShardCount, or"),
    "missing in an alarm": ("      Period: 60\n", "", "  Late:", "Add Period."),
    "missing billing mode": ("      BillingMode: PAY_PER_REQUEST\n", "", "  Items:", "PAY_PER_REQUEST"),
    "a word for a number": ("BatchSize: 500", "BatchSize: many", "BatchSize", "a whole number from 1 to 10000"),
    "a list for a number": ("Timeout: 30", "Timeout: [30]", "Timeout", "a whole number"),
    "a text for a mapping": (
        "              OnFailure:\n                Type: S3\n                Destination: !GetAtt Rejects.Arn\n",
        "              OnFailure: !GetAtt Rejects.Arn\n",
        "OnFailure",
        "a mapping of Destination",
    ),
    "a mapping for a list": ("KeySchema:\n        - {", "KeySchema: {", "KeySchema", "Write a list."),
    "a mapping for a text": ("FunctionName: reader", "FunctionName: {a: b}", "FunctionName: {", "letters, digits"),
    "a number that is none": ("Threshold: 1000", "Threshold: high", "Threshold", "Write a number."),
    "a boolean that is none": ("Enabled: true}", "Enabled: perhaps}", "Enabled: perhaps", "true or false"),
    "out of range": ("BatchSize: 500", "BatchSize: 20000", "BatchSize", "a whole number from 1 to 10000"),
    "out of range, as AWS says it": (
        "BatchSize: 500",
        "BatchSize: 0",
        "BatchSize",
        "Value '0' at 'batchSize' failed to satisfy constraint: Member must have value greater than or equal to 1.",
    ),
    "a period between minutes": ("Period: 60", "Period: 61", "Period", "Write 10, 20, 30 or a multiple of 60."),
    "out of range, by a branch": (
        "Timeout: 30",
        "Timeout: !If [IsSlow, 1, 0]",
        "Timeout",
        "from 1 to 5400",
    ),
    "record age": ("BatchSize: 500", "MaximumRecordAgeInSeconds: 30", "MaximumRecordAge", "60 to 604800, or -1"),
    "a word that is near": ("TRIM_HORIZON", "trim_horizon", "trim_horizon", "Did you mean TRIM_HORIZON?"),
    "a word that is not": ("PAY_PER_REQUEST", "FREE", "FREE", "Write one of: PAY_PER_REQUEST, PROVISIONED."),
    "a name with a blank": ("Name: feed", "Name: my feed", "my feed", "Write letters, digits"),
    "a long name": ("FunctionName: reader", f"FunctionName: {'r' * 65}", "rrr", "Write 1 to 64."),
    "an empty dimension": ("Value: !Ref Reader", 'Value: ""', 'Value: ""', "Write 1 to"),
    "a variable of Lambda's own": ("TABLE:", "AWS_REGION:", "AWS_REGION", "Choose another name."),
    "days that fall": (
        "ExpirationInDays: 60",
        "ExpirationInDays: 30",
        "ExpirationInDays",
        "must be greater than 'Days'",
    ),
    "a key that isn't defined": ("{AttributeName: id, K", "{AttributeName: ids, K", "KeySchema", "Did you mean id?"),
    "an attribute that is no key": (
        "        - {AttributeName: id, AttributeType: S}\n",
        "        - {AttributeName: id, AttributeType: S}\n        - {AttributeName: sk, AttributeType: S}\n",
        "AttributeDefinitions",
        "take it out",
    ),
    "points of more periods than there are": (
        "      Period: 60\n",
        "      Period: 60\n      DatapointsToAlarm: 4\n",
        "DatapointsToAlarm",
        "Write 1 to 3.",
    ),
    # Settings that go together
    "a position without its time": ("TRIM_HORIZON", "AT_TIMESTAMP", "AT_TIMESTAMP", "Write both, or neither."),
    "shards on demand": (
        "ShardCount: 2",
        "StreamModeDetails: {StreamMode: ON_DEMAND}\n      ShardCount: 2",
        "ShardCount",
        "Take it out.",
    ),
    "units on demand": (
        "BillingMode: PAY_PER_REQUEST",
        "BillingMode: PAY_PER_REQUEST\n      ProvisionedThroughput: {ReadCapacityUnits: 1, WriteCapacityUnits: 1}",
        "ProvisionedThroughput",
        "Take ProvisionedThroughput out.",
    ),
    # Settings that are not built yet
    "filters": ("BatchSize: 500", "FilterCriteria: {Filters: []}", "FilterCriteria", "take FilterCriteria out"),
    "parallelisation": ("BatchSize: 500", "ParallelizationFactor: 4", "ParallelizationFactor", "Write 1."),
    "tumbling windows": ("BatchSize: 500", "TumblingWindowInSeconds: 60", "TumblingWindow", "Write 0."),
    # Types and sections
    "unknown type": ("AWS::S3::Bucket", "AWS::S3::Buckett", "Buckett", "Did you mean AWS::S3::Bucket?"),
    "unknown service": (
        "AWS::Kinesis::Stream",
        "AWS::Kineses::Stream",
        "Kineses",
        "Did you mean AWS::Kinesis::Stream?",
    ),
    "no type at all": ("Type: AWS::S3::Bucket", "Type: Bucket", "Type: Bucket", "AWS::S3::Bucket"),
    "unknown section": ("Resources:", "Resorces:", "Resorces", "Did you mean Resources?"),
    "unknown section of Globals": ("  Function:\n", "  Functions:\n", "  Functions:", "Did you mean Function?"),
    "unknown attribute": (
        "Type: AWS::S3::Bucket",
        "Type: AWS::S3::Bucket\n    Depends: Feed",
        "Depends:",
        "Did you mean DependsOn?",
    ),
    "unknown event type": ("Type: Kinesis\n", "Type: Kinesi\n", "Type: Kinesi", "Did you mean Kinesis?"),
    "unknown attribute of an event": (
        "          Type: Kinesis\n          Properties:",
        "          Type: Kinesis\n          Property:",
        "Property:",
        "Did you mean Properties?",
    ),
    "unknown attribute of a parameter": ("Default: quick", "Defalt: quick", "Defalt", "Did you mean Default?"),
    "unknown type of a parameter": ("Type: Number", "Type: Numbr", "Numbr", "Did you mean Number?"),
    "a rule of a parameter": ("AllowedValues: [quick, slow]", "AllowedValues: quick", "AllowedVal", "Write a list."),
    "no transform": ("Transform: AWS::Serverless-2016-10-31\n", "", "AWS::Serverless::Function", "Add Transform"),
    "another transform": ("AWS::Serverless-2016-10-31", "AWS::Serverless-2016-10-32", "Transform", "2016-10-31?"),
    # References
    "Ref": ("!Ref Items", "!Ref Item", "!Ref Item", "Did you mean Items?"),
    "Ref of a pseudo-parameter": ("!Ref AWS::NoValue", "!Ref AWS::NoValu", "AWS::NoValu", "Did you mean AWS::NoValue?"),
    "GetAtt": ("!GetAtt Feed.Arn", "!GetAtt Fed.Arn", "!GetAtt Fed", "Did you mean Feed?"),
    "GetAtt, its attribute": ("!GetAtt Rejects.Arn", "!GetAtt Rejects.Ar", "Rejects.Ar", "Did you mean Arn?"),
    "GetAtt of nothing": ("!GetAtt Feed.Arn", "!GetAtt Feed", "!GetAtt Feed", "Write !GetAtt Resource.Arn."),
    "Sub": ("${Feed.Arn}", "${Fee.Arn}", "${Fee.Arn}", "Did you mean Feed?"),
    "Sub, its attribute": ("${Feed.Arn}", "${Feed.Name}", "${Feed.Name}", "Write one of: Arn."),
    "a condition": ("!If [IsSlow", "!If [IsSlo", "!If [IsSlo,", "Did you mean IsSlow?"),
    "a mapping": ("!FindInMap [Sizes", "!FindInMap [Size", "!FindInMap", "Did you mean Sizes?"),
    "a key of a mapping": ("Mode, memory]", "Mode, memry]", "memry", "Did you mean memory?"),
    "a resource in a condition": ("[!Ref Mode, slow]", "[!Ref Feed, slow]", "IsSlow:", "no parameter or resource Feed"),
    "a short tag": ("!Equals", "!Equal", "!Equal", "Did you mean !Equals?"),
    "a long function": ("Timeout: 30", "Timeout: {'Fn::Iff': [IsSlow, 1, 2]}", "Timeout", "Did you mean Fn::If?"),
    "too few values": ("!Equals [!Ref Mode, slow]", "!Equals [!Ref Mode]", "IsSlow", "Write !Equals [value, value]."),
    "a function without a value": ("Timeout: 30", "Timeout: !ImportValue x", "Timeout", "Use a parameter instead."),
    "a value that only AWS knows": ("TABLE: !Ref Items", "TABLE: '{{resolve:ssm:x}}'", "TABLE", "NoEcho"),
    "a name for an ARN": ("!GetAtt Feed.Arn", "!Ref Feed", "Stream: !Ref Feed", "Write !GetAtt Feed.Arn"),
    "another stream": ("!GetAtt Feed.Arn", "arn:aws:kinesis:us-east-1:1:stream/fed", "fed", "Did you mean feed?"),
    "a circle": ("Name: feed", "Name: !Ref Feed", "Name: !Ref Feed", "Take one of these references out."),
    # Code
    "a folder": ("CodeUri: code/", "CodeUri: cod/", "CodeUri", "Did you mean code/?"),
    "a file for a folder": ("CodeUri: code/", "CodeUri: code/reader.py", "CodeUri", "Write the folder"),
    "code in S3": ("CodeUri: code/", "CodeUri: s3://bucket/key", "CodeUri", "Write a folder"),
    "no code": ("    CodeUri: code/\n", "", "  Reader:", "CodeUri: functions/"),
    "inline code": ("Timeout: 30", "InlineCode: x", "InlineCode", "Put it in a file"),
    "a container": ("Timeout: 30", "PackageType: Image", "PackageType", "Write a folder of Python"),
    "a handler's file": ("reader.handler", "raeder.handler", "raeder", "Did you mean reader.handler?"),
    "a handler": ("reader.handler", "reader.handle", "reader.handle", "Did you mean handler?"),
    "a handler without a module": ("reader.handler", "reader", "Handler: reader", "Write module.function"),
    "a runtime": ("python3.13", "python3.31", "python3.31", "Did you mean python3."),
    "another language": ("python3.13", "nodejs22.x", "nodejs22.x", "Only Python functions are"),
    # YAML
    "a member twice": ("      Timeout: 30\n", "      Timeout: 30\n      Timeout: 31\n", "Timeout: 31", "Remove one"),
    "a tab": ("      Timeout: 30", "\t\tTimeout: 30", "\t\tTimeout", "Indent with spaces"),
    "indentation": ("      Timeout: 30", "     Timeout: 30", "     Timeout: 30", "Indent this line like"),
    "a quote": ("Name: feed", "Name: 'feed", "Name: 'feed", "Close the quotes"),
    "a bracket": ("AllowedValues: [quick, slow]", "AllowedValues: [quick, slow", "AllowedValues", "Close the bracket"),
    "a colon": ("Name: feed", "Name: feed: x", "Name: feed: x", "Quote a text"),
    "a merge key": ("      Timeout: 30", "      <<: {Timeout: 30}", "<<", "Write the members out."),
    "an alias that holds itself": ("Timeout: 30", "Timeout: &t [*t]", "Timeout", "Write the part out"),
}


@pytest.mark.parametrize(("right", "wrong", "on_line", "says"), TYPOS.values(), ids=TYPOS)
def test_a_typo_is_told_with_its_line_and_what_to_write(
    tmp_path: Path, right: str, wrong: str, on_line: str, says: str
) -> None:
    assert right in SMALL
    text = SMALL.replace(right, wrong, 1)
    with pytest.raises(TemplateError) as caught:
        read(tmp_path, text)
    error = caught.value
    assert says in f"{error.problem}\n{error.hint}"
    assert on_line in text.splitlines()[error.line - 1], error
    assert str(error).startswith(f"{tmp_path / 'template.yaml'}:{error.line}: ")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "holds no mapping"),
        ("- a\n", 1, "holds no mapping"),
        ("Description: x\n", 1, "Resources is missing"),
        ("Resources: {}\n", 1, "Resources declares nothing"),
        ("Resources:\n  a-b: {Type: AWS::S3::Bucket}\n", 2, "no logical id"),
        ("Resources:\n  A:\n    Properties: {}\n", 2, "has no Type"),
        ("Resources:\n  A: {Type: AWS::S3::Bucket}\nOutputs:\n  B: {}\n", 4, "has no Value"),
        ("Resources:\n  A: {Type: AWS::S3::Bucket}\nOutputs: x\n", 3, "is no mapping"),
        ("Resources:\n  A: {Type: AWS::S3::Bucket, DependsOn: B}\n", 2, "no resource B"),
        ("Resources:\n  A: {Type: AWS::S3::Bucket, Condition: B}\n", 2, "no condition B"),
        ("Resources:\n  A: {Type: AWS::S3::Bucket, Properties: [1]}\n", 2, "Properties is no mapping"),
        ("a: 1\x01\n", 1, "control characters"),
        ("a: 1\n---\nb: 2\n", 2, "Keep one document"),
        ("[" * 900 + "]" * 900, 0, "nested too deep"),
    ],
)
def test_a_file_that_is_no_template(tmp_path: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(TemplateError, match=says) as caught:
        read(tmp_path, text)
    assert caught.value.line == line


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="no such file") as caught:
        template.read(tmp_path / "nothing.yaml", {})
    assert "headrace init" in caught.value.hint
    with pytest.raises(TemplateError, match="directory"):
        template.read(tmp_path, {})
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"Resources: {}\nDescription: \xe9\n")
    with pytest.raises(TemplateError, match="not UTF-8") as caught:
        template.read(path, {})
    assert caught.value.line == 2


TWICE = {
    "functions": ("  Items:\n", "  Other:\n    Type: AWS::Serverless::Function\n    Properties:\n"
                  "      FunctionName: reader\n      Handler: reader.handler\n  Items:\n", "FunctionName: reader"),
    "streams": ("  Items:\n", "  Other:\n    Type: AWS::Kinesis::Stream\n    Properties:\n"
                "      ShardCount: 1\n      Name: feed\n  Items:\n", "Name: feed"),
    "buckets by their logical ids": ("  Items:\n", "  REJECTS:\n    Type: AWS::S3::Bucket\n  Items:\n", "  Rejects:"),
    "mappings": ("      Events:\n", "      Events:\n        More:\n          Type: Kinesis\n          Properties:\n"
                 "            Stream: !GetAtt Feed.Arn\n            StartingPosition: LATEST\n", "Stream: !GetAtt"),
}  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "on_line"), TWICE.values(), ids=TWICE)
def test_two_of_a_name_are_refused(tmp_path: Path, right: str, wrong: str, on_line: str) -> None:
    text = SMALL.replace(right, wrong, 1)
    with pytest.raises(TemplateError, match=r"taken by|already reads") as caught:
        read(tmp_path, text)
    assert on_line in text.splitlines()[caught.value.line - 1]


def test_a_resource_whose_condition_is_false_can_not_be_referred_to(tmp_path: Path) -> None:
    text = SMALL.replace("  Items:\n", "  Items:\n    Condition: IsSlow\n", 1)
    with pytest.raises(TemplateError, match="Items isn't created: IsSlow is false"):
        read(tmp_path, text)
    assert read(tmp_path, text, {"Mode": "slow"}).tables[0].name == "items"


def test_a_handler_that_can_not_be_told_without_running_is_left_to_its_import(tmp_path: Path) -> None:
    for source in (
        "def broken(:",
        "from os import *\n",
        "def __getattr__(name): return print\n",
        "try:\n  handler = 1\nfinally: pass\n",
    ):
        path = write(tmp_path, SMALL)
        (tmp_path / "code" / "reader.py").write_text(source)
        assert template.read(path, {}).function("reader")
