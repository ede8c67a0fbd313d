"""The backend that the console's tests look at: the built-in functions, and one that fails until it is mended."""

import json
import shutil
from pathlib import Path

from support.backend import ROOT, Backend

FRAGILE = """
import base64, json, os, pathlib

def handler(event, context):
    for record in event["Records"]:
        sent = base64.b64decode(record["kinesis"]["data"])
        if b'"price"' in sent and not pathlib.Path(os.environ["MENDED"]).exists():
            raise ValueError(f"no currency for the price of {json.loads(sent)['device_id']}")
"""

RESOURCE = """
  Fragile:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: fragile
      Handler: fragile.handler
      Environment: {Variables: {MENDED: "%s"}}
      Events:
        Stream:
          Type: Kinesis
          Properties:
            Stream: !GetAtt Events.Arn
            StartingPosition: TRIM_HORIZON
            BatchSize: 10
            BisectBatchOnFunctionError: true
            MaximumRetryAttempts: 1
            DestinationConfig: {OnFailure: {Type: S3, Destination: !GetAtt Failures.Arn}}

  EventsTable:
"""


def project(folder: Path) -> Path:
    """Write the built-in project with the function `fragile`, which fails on a `price`; return its template."""
    shutil.copytree(ROOT / "functions", folder / "functions", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "functions" / "fragile.py").write_text(FRAGILE)
    template = folder / "template.yaml"
    text = (ROOT / "template.yaml").read_text()
    template.write_text(text.replace("\n  EventsTable:\n", RESOURCE % (folder / "mended"), 1))
    return template


def mend(folder: Path) -> None:
    """Let `fragile` succeed from now on."""
    (folder / "mended").touch()


def put(running: Backend, *events: object) -> None:
    """Put records; text goes as it is."""
    data = [each if isinstance(each, str) else json.dumps(each) for each in events]
    records = [{"Data": each, "PartitionKey": "the-key"} for each in data]
    answer = running.client("kinesis").put_records(StreamName="events", Records=records)
    assert answer["FailedRecordCount"] == 0
