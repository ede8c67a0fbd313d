"""The documents of what is given up: their keys in the failures bucket and their JSON. Pure.

Without an OnFailure destination the documents go to the bucket named `failures`: nothing that was accepted is dropped.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from headrace import clock
from headrace.record import Record, sequence_number, shard_id
from headrace.runtime import kinesis_event
from headrace.runtime.kinesis_event import Source
from headrace.runtime.mapping import RETRIES_EXHAUSTED, Ending
from headrace.system import Mapping, function_arn, stream_arn

DEFAULT_BUCKET = "failures"
INVOKE_RETRIES_EXHAUSTED = "RetriesExhausted"
INVOKE_AGE_EXCEEDED = "EventAgeExceeded"

_VERSION = "1.0"
_EXECUTED_VERSION = "$LATEST"


class Document(NamedTuple):
    """An object to be put into a failures bucket."""

    key: str
    body: bytes


def batch_document(mapping: Mapping, source: Source, first: int, ending: Ending, records: Sequence[Record]) -> Document:
    """Return the document of `ending.count` records from number `first` on; the same input gives the same key.

    `records` are those of them that the log still delivers.
    """
    last = first + ending.count - 1
    start_ms, end_ms = (records[0].arrival_ms, records[-1].arrival_ms) if records else (ending.at_ms, ending.at_ms)
    context = _request_context(ending.request_id, mapping.function, ending.condition, ending.calls)
    document: dict[str, object] = {"requestContext": context}
    if ending.condition == RETRIES_EXHAUSTED:
        document["responseContext"] = _response_context(ending.function_error)
    document |= {
        "version": _VERSION,
        "timestamp": clock.rfc3339_ms(ending.at_ms),
        "KinesisBatchInfo": {
            "shardId": shard_id(source.shard),
            "startSequenceNumber": sequence_number(source.shard_created_s, source.shard, first, start_ms),
            "endSequenceNumber": sequence_number(source.shard_created_s, source.shard, last, end_ms),
            "approximateArrivalOfFirstRecord": clock.rfc3339_ms(start_ms),
            "approximateArrivalOfLastRecord": clock.rfc3339_ms(end_ms),
            "batchSize": ending.count,
            "streamArn": stream_arn(source.stream),
        },
        "payload": kinesis_event.build(records, source),
    }
    key = f"aws/lambda/{mapping.uuid}/{shard_id(source.shard)}/{_key_time(ending.at_ms)}-{ending.request_id}"
    return Document(key, msgspec.json.encode(document))


def invoke_document(
    function: str,
    request_id: str,
    condition: str,
    calls: int,
    accepted_ms: int,
    at_ms: int,
    request: bytes,
    response: bytes | None,
) -> Document:
    """Return the document of an asynchronous invoke, under one key however often it is written.

    `response` is its last error's document, if it was called.
    """
    document: dict[str, object] = {
        "version": _VERSION,
        "timestamp": clock.rfc3339_ms(at_ms),
        "requestContext": _request_context(request_id, function, condition, calls),
        "requestPayload": msgspec.Raw(request or b"{}"),
    }
    if response is not None:
        document["responseContext"] = _response_context("Unhandled")
        document["responsePayload"] = msgspec.Raw(response)
    return Document(f"async/{function}/{_key_time(accepted_ms)}-{request_id}", msgspec.json.encode(document))


def _request_context(request_id: str, function: str, condition: str, calls: int) -> dict[str, object]:
    return {
        "requestId": request_id,
        "functionArn": f"{function_arn(function)}:{_EXECUTED_VERSION}",
        "condition": condition,
        "approximateInvokeCount": calls,
    }


def _response_context(function_error: str | None) -> dict[str, object]:
    return {"statusCode": 200, "executedVersion": _EXECUTED_VERSION, "functionError": function_error}


def _key_time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y/%m/%d/%Y-%m-%dT%H.%M.%S}"
