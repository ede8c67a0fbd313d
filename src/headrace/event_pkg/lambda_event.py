"""What every function asks of a record of a Lambda event (`event["Records"][i]`), on both platforms."""

from typing import Any

LambdaRecord = dict[str, Any]


def stream_of(record: LambdaRecord) -> str:
    """Return the name of the record's stream; its ARN, or that of a consumer of it, ends in `stream/<name>[/…]`."""
    arn: str = record["eventSourceARN"]
    return arn.split("/", 2)[1]


def shard_of(record: LambdaRecord) -> str:
    """Return the id of the record's shard; the event id is `<shard id>:<sequence number>`."""
    event_id: str = record["eventID"]
    return event_id.partition(":")[0]


def arrival_ms(record: LambdaRecord) -> int:
    """Return the record's arrival in milliseconds: Lambda says seconds, with three decimals."""
    seconds: float = record["kinesis"]["approximateArrivalTimestamp"]
    return round(seconds * 1000)
