"""Where to: the tables and buckets of a deployed stack, or those that were named."""

import os
from urllib.parse import urlsplit

import msgspec

from headrace import aws, settings
from headrace.errors import HeadraceError, NotFound, UsageError
from headrace.table.dynamodb_item import PARTITION, SORT

OUTPUTS = {
    "events_table": "EventsTableName",
    "devices_table": "DevicesTableName",
    "archive_bucket": "ArchiveBucketName",
    "failures_bucket": "FailuresBucketName",
}


class Target(msgspec.Struct, frozen=True):
    """Names on AWS."""

    events_table: str
    devices_table: str
    archive_bucket: str
    failures_bucket: str


def find(stack: str, named: dict[str, str]) -> Target:
    """Return the target: names as given, the others from the stack's outputs; raises HeadraceError."""
    _check_endpoint()
    names = dict(named)
    missing = [name for name in OUTPUTS if name not in names]
    if missing:
        outputs = _outputs(stack)
        for name in missing:
            if OUTPUTS[name] not in outputs:
                raise UsageError(
                    f"The stack {stack!r} has no output {OUTPUTS[name]}.",
                    f"Deploy this version's template, or give --{name.replace('_', '-')}.",
                )
            names[name] = outputs[OUTPUTS[name]]
    return Target(**names)


def check(target: Target) -> None:
    """Raise HeadraceError unless the tables and buckets are there, with the right keys."""
    from botocore.exceptions import BotoCoreError, ClientError

    dynamodb, s3 = aws.client("dynamodb"), aws.client("s3")
    for table in (target.devices_table, target.events_table):
        try:
            schema = dynamodb.describe_table(TableName=table)["Table"]["KeySchema"]
        except (BotoCoreError, ClientError) as error:
            raise aws.translated(error, f"The table {table!r} can't be used") from error
        if {key["KeyType"]: key["AttributeName"] for key in schema} != {"HASH": PARTITION, "RANGE": SORT}:
            raise UsageError(f"The table {table!r} has other keys.", f"Its keys have to be {PARTITION} and {SORT}.")
    for bucket in (target.archive_bucket, target.failures_bucket):
        try:
            s3.head_bucket(Bucket=bucket)
        except (BotoCoreError, ClientError) as error:
            raise aws.translated(error, f"The bucket {bucket!r} can't be used") from error


def _outputs(stack: str) -> dict[str, str]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    except (BotoCoreError, ClientError) as error:
        if aws.code_of(error) == "ValidationError":
            raise NotFound(
                f"There is no stack {stack!r} in this region and account.",
                "Deploy it with `headrace deploy`, name it with --stack, or set AWS_REGION or AWS_PROFILE.",
            ) from error
        raise aws.translated(error, f"The stack {stack!r} can't be read") from error
    return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", ())}


def _check_endpoint() -> None:
    """Refuse to move a system to itself: `headrace env` points AWS's tools at this machine."""
    own = urlsplit(settings.endpoint())
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_S3"):
        url = os.environ.get(name)
        if url and urlsplit(url).netloc == own.netloc:
            raise HeadraceError(
                f"{name} points at {url}, the backend on this machine, and not at AWS.",
                "Use a shell without the lines of `headrace env`, with your own credentials and region.",
            )
