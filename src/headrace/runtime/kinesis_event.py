"""Stream records as the event that Lambda hands to a function. Pure."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from pybase64 import b64encode_as_string

from headrace.record import Record, sequence_base, sequence_number, shard_id
from headrace.system import ACCOUNT, REGION, stream_arn

INVOKE_IDENTITY_ARN = f"arn:aws:iam::{ACCOUNT}:role/headrace"
_NUMBER_STEP = 1 << 80  # between the sequence numbers of neighbours


class Source(NamedTuple):
    """Where a batch comes from; the creation second is part of every sequence number."""

    stream: str
    shard: int
    shard_created_s: int


def build(records: Iterable[Record], source: Source) -> dict[str, Any]:
    """Return the event for records of one shard, in their order."""
    arn = stream_arn(source.stream)
    event_id_head = shard_id(source.shard) + ":"
    rows = []
    arrived_ms = -1
    base, arrived_s = 0, 0.0
    for _, number, arrival_ms, key, data in records:
        if arrival_ms != arrived_ms:
            arrived_ms, arrived_s = arrival_ms, arrival_ms / 1000
            base = sequence_base(source.shard_created_s, source.shard, arrival_ms // 1000)
        sequence = str(base + number * _NUMBER_STEP)
        rows.append(
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": key,
                    "sequenceNumber": sequence,
                    "data": b64encode_as_string(data),
                    "approximateArrivalTimestamp": arrived_s,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": event_id_head + sequence,
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": INVOKE_IDENTITY_ARN,
                "awsRegion": REGION,
                "eventSourceARN": arn,
            }
        )
    return {"Records": rows}


def record_bytes(source: Source) -> int:
    """Return what a record costs in the event as JSON, beside its partition key and its data in base64."""
    import msgspec

    longest = Record(source.shard, 2**40, 2**42 + 123, "", b"")
    return len(msgspec.json.encode(build([longest], source)["Records"][0])) + len(",")


def number_of(records: Iterable[Record], source: Source) -> dict[str, int]:
    """Return sequence number -> number for the records of a batch."""
    return {
        sequence_number(source.shard_created_s, source.shard, record.number, record.arrival_ms): record.number
        for record in records
    }
