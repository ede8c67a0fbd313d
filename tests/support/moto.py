"""AWS for tests: moto in this process, or with REMOTE=1 the account of the environment.

On a real account, whatever is made has a name of its own and is removed at the end; HEADRACE_TEST_TABLE and
HEADRACE_TEST_BUCKET name a table and a bucket to be used (and emptied) instead.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from headrace import aws

IS_REMOTE = os.environ.get("REMOTE") == "1"
REGION = "us-east-1"
TAGS = [{"Key": "headrace-test", "Value": "1"}]


@contextlib.contextmanager
def account() -> Iterator[None]:
    """Have botocore reach moto, or the real account."""
    if IS_REMOTE:
        yield
        return
    from moto import mock_aws

    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        aws.forget()
        with mock_aws():
            yield
        aws.forget()


class OneAtATime:
    """A client whose calls wait for one another: in moto, another write may come between a condition and its write."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def locked(**params: Any) -> Any:
            with self._lock:
                return call(**params)

        return locked


def create_table(client: Any, name: str, **settings: Any) -> None:
    """Make a table with the keys that all of the project's tables have."""
    client.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in ("device_id", "sk")],
        KeySchema=[{"AttributeName": "device_id", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        Tags=TAGS,
        **({"BillingMode": "PAY_PER_REQUEST"} | settings),
    )
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1 if not IS_REMOTE else 3})


@contextlib.contextmanager
def empty_table() -> Iterator[str]:
    """Give the name of an empty table, for as long as the context lasts."""
    client = aws.client("dynamodb")
    given = os.environ.get("HEADRACE_TEST_TABLE") if IS_REMOTE else None
    name = given or f"headrace-test-{uuid4().hex[:12]}"
    if not given:
        create_table(client, name)
    try:
        yield name
    finally:
        if given:
            from headrace.table.aws import DynamoTable

            table = DynamoTable.connect(name)
            while items := table.scan(None, 1000):
                table.delete([(item.partition, item.sort) for item in items])
        else:
            client.delete_table(TableName=name)


@contextlib.contextmanager
def empty_bucket() -> Iterator[str]:
    """Give the name of an empty bucket, for as long as the context lasts."""
    client = aws.client("s3")
    given = os.environ.get("HEADRACE_TEST_BUCKET") if IS_REMOTE else None
    name = given or f"headrace-test-{uuid4().hex[:12]}"
    if not given:
        create_bucket(client, name)
    try:
        yield name
    finally:
        empty(client, name)
        if not given:
            client.delete_bucket(Bucket=name)


def create_bucket(client: Any, name: str) -> None:
    """Make a bucket in the client's region."""
    region = client.meta.region_name
    place = {} if region == REGION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    client.create_bucket(Bucket=name, **place)
    client.put_bucket_tagging(Bucket=name, Tagging={"TagSet": TAGS})


def empty(client: Any, name: str) -> None:
    """Delete every object of a bucket."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
        for found in page.get("Contents", ()):
            client.delete_object(Bucket=name, Key=found["Key"])


def remove_bucket(client: Any, name: str) -> None:
    """Delete a bucket with its objects."""
    empty(client, name)
    client.delete_bucket(Bucket=name)
