"""Templates for tests: small ones, written into a folder beside a function that does nothing, and the built-in one."""

from collections.abc import Mapping
from pathlib import Path

from headrace import template
from headrace.system import System

ROOT = Path(__file__).parents[2]
WINDOW = "MaximumBatchingWindowInSeconds: 20"
HANDLER = "import os\n\n\ndef handler(event, context):\n    return None\n\n\ndef _helper():\n    return os.environ\n"

SMALL = """\
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Parameters:
  Mode:
    Type: String
    Default: quick
    AllowedValues: [quick, slow]
  Days:
    Type: Number
    Default: 7
    MinValue: 1
    MaxValue: 90
Conditions:
  IsSlow: !Equals [!Ref Mode, slow]
Mappings:
  Sizes:
    quick: {memory: 256}
    slow: {memory: 128}
Globals:
  Function:
    CodeUri: code/
    Runtime: python3.13
    Environment:
      Variables:
        SHARED: "yes"
Resources:
  Feed:
    Type: AWS::Kinesis::Stream
    Properties:
      Name: feed
      ShardCount: 2
  Reader:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: reader
      Handler: reader.handler
      Timeout: 30
      MemorySize: !FindInMap [Sizes, !Ref Mode, memory]
      Environment:
        Variables:
          TABLE: !Ref Items
          KEEP: !If [IsSlow, !Ref Days, !Ref AWS::NoValue]
      Events:
        Feed:
          Type: Kinesis
          Properties:
            Stream: !GetAtt Feed.Arn
            StartingPosition: TRIM_HORIZON
            BatchSize: 500
            FunctionResponseTypes: [ReportBatchItemFailures]
            DestinationConfig:
              OnFailure:
                Type: S3
                Destination: !GetAtt Rejects.Arn
  Items:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: items
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions:
        - {AttributeName: id, AttributeType: S}
      KeySchema:
        - {AttributeName: id, KeyType: HASH}
      TimeToLiveSpecification: {AttributeName: expires_at, Enabled: true}
  Rejects:
    Type: AWS::S3::Bucket
    Properties:
      LifecycleConfiguration:
        Rules:
          - Status: Enabled
            Transitions:
              - {StorageClass: GLACIER, TransitionInDays: 30}
            ExpirationInDays: 60
  Late:
    Type: AWS::CloudWatch::Alarm
    Properties:
      Namespace: AWS/Lambda
      MetricName: IteratorAge
      Dimensions: [{Name: FunctionName, Value: !Ref Reader}]
      Statistic: Maximum
      Period: 60
      EvaluationPeriods: 3
      Threshold: 1000
      ComparisonOperator: GreaterThanThreshold
Outputs:
  Address:
    Value: !Sub "${Feed.Arn} in ${AWS::Region}"
"""


def write(folder: Path, text: str, name: str = "template.yaml") -> Path:
    """Write a template, and the function `code/reader.py` that it may name; return the template's path."""
    code = folder / "code"
    code.mkdir(exist_ok=True)
    (code / "reader.py").write_text(HANDLER)
    path = folder / name
    path.write_text(text)
    return path


def read(folder: Path, text: str, given: Mapping[str, str] | None = None, name: str = "template.yaml") -> System:
    """Return the System that a text declares."""
    return template.read(write(folder, text, name), given or {})


def archiving_at_once(folder: Path) -> Path:
    """Make a project of the built-in template, but that raw objects are written after a second; return the template."""
    folder.mkdir()
    text = (ROOT / "template.yaml").read_text()
    assert WINDOW in text
    path = folder / "template.yaml"
    path.write_text(text.replace(WINDOW, "MaximumBatchingWindowInSeconds: 1"))
    for name in ("functions", "reports"):
        (folder / name).symlink_to(ROOT / name)
    return path
