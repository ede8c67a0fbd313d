"""What the Kinesis tests say to an unmodified boto3 client."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from headrace import system

HOUR_MS = 3_600_000
MIB = 1024 * 1024
ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/"
EVENTS = system.Stream(logical_id="Events", name="events", shards=2)


def refused(call: Callable[..., Any], **arguments: Any) -> tuple[str, str]:
    """Return the error's code and message."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def shard(index: int) -> str:
    return f"shardId-{index:012d}"


def iterator(kinesis: Any, kind: str, index: int = 0, stream: str = "events", **more: Any) -> str:
    text: str = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard(index), ShardIteratorType=kind, **more)[
        "ShardIterator"
    ]
    return text


def read(kinesis: Any, kind: str, index: int = 0, stream: str = "events", **more: Any) -> list[bytes]:
    answer = kinesis.get_records(ShardIterator=iterator(kinesis, kind, index, stream, **more))
    return [record["Data"] for record in answer["Records"]]


def put(kinesis: Any, *datas: bytes, stream: str = "events", shard_index: int = 0) -> list[str]:
    """Put records to one shard of two; return their sequence numbers."""
    hash_key = "0" if shard_index == 0 else str(2**128 - 1)
    answer = kinesis.put_records(
        StreamName=stream, Records=[{"Data": data, "PartitionKey": "k", "ExplicitHashKey": hash_key} for data in datas]
    )
    assert answer["FailedRecordCount"] == 0
    return [record["SequenceNumber"] for record in answer["Records"]]
