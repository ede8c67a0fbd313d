"""Rejected documents: what a function writes for the part of a record that will never be an event.

The record is then done: it is neither retried nor does it hold up its shard, and its document can be replayed.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from headrace import clock
from headrace.archive.base import Bucket
from headrace.event import Fault
from headrace.event.lambda_event import LambdaRecord, arrival_ms, shard_of, stream_of

PREFIX = "rejected/"
AT_ONCE = 20


def key_of(function: str, record: LambdaRecord, fault: Fault) -> str:
    """Return the document's key: the same for the same fault, however often the record is delivered."""
    sequence = record["kinesis"]["sequenceNumber"]
    place = f"{sequence}.{fault.subsequence:06d}.{fault.index:06d}"
    return f"{PREFIX}{function}/{stream_of(record)}/{shard_of(record)}/{place}"


def document_of(function: str, record: LambdaRecord, fault: Fault) -> dict[str, Any]:
    """Return the document; `payload` is what the function is called with when it is replayed."""
    kinesis = record["kinesis"]
    return {
        "version": "1.0",
        "function": function,
        "stream": stream_of(record),
        "shard": shard_of(record),
        "sequence_number": kinesis["sequenceNumber"],
        "subsequence": fault.subsequence,
        "index": fault.index,
        "reason": fault.reason,
        "message": fault.message,
        "partition_key": kinesis["partitionKey"],
        "arrived_at": clock.rfc3339_ms(arrival_ms(record)),
        "timestamp": clock.rfc3339_ms(clock.now_ms()),
        "payload": {"Records": [record]},
    }


def reject(bucket: Bucket, function: str, faults: Sequence[tuple[LambdaRecord, Fault]]) -> None:
    """Write the documents of faults; all are durable when this returns. Raises what the bucket does.

    Several at a time: each waits for the disk, which takes a score of them hardly slower than one. A device that sends
    nothing but faults would hold up its shard otherwise.
    """

    def put(found: tuple[LambdaRecord, Fault]) -> None:
        bucket.put(key_of(function, *found), msgspec.json.encode(document_of(function, *found)))

    if faults:
        with ThreadPoolExecutor(min(len(faults), AT_ONCE)) as threads:
            for _ in threads.map(put, faults):
                pass
