"""What a deletion of a stack leaves, and removing that too where it is wanted."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from headrace.deploy import rewrite
from headrace.deploy.aws import Aws
from headrace.deploy.changes import DATA_TYPES
from headrace.deploy.stack import Stack
from headrace.errors import HeadraceError, NotFound
from headrace.plural import counted

_DELETED_AT_ONCE = 1000  # objects, by DeleteObjects


class Left(msgspec.Struct, frozen=True):
    """A resource that the stack's deletion leaves."""

    logical_id: str
    type: str
    name: str

    @property
    def holds(self) -> str:
        """Return what is in it."""
        return DATA_TYPES.get(self.type, "")


def left(stack: Stack) -> list[Left]:
    """Return what stays after the stack is deleted, by its template."""
    retained = rewrite.retained(stack.template())
    return [
        Left(each["LogicalResourceId"], each["ResourceType"], each["PhysicalResourceId"])
        for each in stack.resources()
        if each["LogicalResourceId"] in retained and each.get("PhysicalResourceId")
    ]


def delete_data(aws: Aws, resources: Iterable[Left], told: Callable[[str], None]) -> list[Left]:
    """Delete what was left, with all that is in it; returns what this does not know how to delete.

    What is gone already counts as deleted, so it is safe to repeat.
    """
    unknown = []
    for resource in resources:
        delete = _DELETERS.get(resource.type)
        if delete is None:
            unknown.append(resource)
            continue
        told(f"deleting {resource.type.removeprefix('AWS::')} {resource.name}")
        try:
            delete(aws, resource.name, told)
        except NotFound:
            told(f"{resource.name} is gone already")
    return unknown


def _table(aws: Aws, name: str, _told: Callable[[str], None]) -> None:
    client = aws.client("dynamodb")
    with aws.errors():
        if client.describe_table(TableName=name)["Table"].get("DeletionProtectionEnabled"):
            client.update_table(TableName=name, DeletionProtectionEnabled=False)
        client.delete_table(TableName=name)


def _stream(aws: Aws, name: str, _told: Callable[[str], None]) -> None:
    client = aws.client("kinesis")
    with aws.errors():
        client.delete_stream(StreamName=name, EnforceConsumerDeletion=True)


def _log_group(aws: Aws, name: str, _told: Callable[[str], None]) -> None:
    client = aws.client("logs")
    with aws.errors():
        client.delete_log_group(logGroupName=name)


def _bucket(aws: Aws, name: str, told: Callable[[str], None]) -> None:
    """Empty a bucket, old versions included, and delete it."""
    client = aws.client("s3")
    count = 0
    with aws.errors():
        for page in client.get_paginator("list_object_versions").paginate(Bucket=name):
            found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            for first in range(0, len(found), _DELETED_AT_ONCE):
                some = found[first : first + _DELETED_AT_ONCE]
                objects = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in some]
                answer = client.delete_objects(Bucket=name, Delete={"Objects": objects, "Quiet": True})
                _check(name, answer)
                count += len(some)
        told(f"{counted(count, 'object')} deleted")
        client.delete_bucket(Bucket=name)


def _check(name: str, answer: Mapping[str, Any]) -> None:
    for error in answer.get("Errors", []):
        raise HeadraceError(
            f"{name}: {error.get('Key')} could not be deleted: {error.get('Message')}", "Mend that, then run it again."
        )


_DELETERS: dict[str, Callable[[Aws, str, Callable[[str], None]], None]] = {
    "AWS::DynamoDB::Table": _table,
    "AWS::Kinesis::Stream": _stream,
    "AWS::Logs::LogGroup": _log_group,
    "AWS::S3::Bucket": _bucket,
}
