"""The newest failures in short, as the console lists them: a row a document, bounded, whatever the documents hold."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.gateway.admin import Admin
from headrace.settings import Layout
from headrace.wire import Request
from support.memory import MemoryBucket

ARN = "arn:aws:lambda:us-east-1:000000000000:function:store:$LATEST"
TIME = "2026-01-31T10:00:00.000Z"


def record(number: str) -> dict[str, Any]:
    return {"kinesis": {"sequenceNumber": number, "partitionKey": f"key-{number}", "data": "e30="}}


def batch(*numbers: str, **more: object) -> dict[str, Any]:
    return {
        "requestContext": {"functionArn": ARN, "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 6},
        "timestamp": TIME,
        "KinesisBatchInfo": {"shardId": "shardId-000000000001"},
        "payload": {"Records": [record(number) for number in numbers]},
        **more,
    }


REJECTED = {
    "function": "store",
    "shard": "shardId-000000000000",
    "sequence_number": "7",
    "reason": "time",
    "message": "no such day",
    "partition_key": "pump-1",
    "timestamp": TIME,
    "payload": {"Records": [record("7")]},
}
ASYNC = {
    "requestContext": {"functionArn": ARN, "condition": "RetriesExhausted", "approximateInvokeCount": 3},
    "timestamp": TIME,
    "requestPayload": {},
    "responsePayload": {"errorType": "ValueError", "errorMessage": "no"},
}
ROW = {
    "id": "",
    "function": "store",
    "reason": None,
    "message": None,
    "time": TIME,
    "shard": None,
    "sequence_number": None,
    "key": None,
    "records": 1,
    "calls": None,
    "replayed": 0,
    "replayed_at": None,
}
IN_BATCH = {"reason": "RetryAttemptsExhausted", "shard": "shardId-000000000001", "calls": 6}


def newest(tmp_path: Path, documents: dict[str, object], **query: str) -> dict[str, Any]:
    async def replay(function: str, payload: bytes) -> tuple[bool, str | None]:
        raise AssertionError

    bucket = MemoryBucket()
    for key, document in documents.items():
        bucket.put(key, document if isinstance(document, bytes) else json.dumps(document).encode())
    admin = Admin(Layout(tmp_path), [], failures=bucket, archive=None, replay=replay)
    text = "&".join(f"{name}={value}" for name, value in query.items())
    response = asyncio.run(admin.failures(Request("GET", "/_headrace/failures/newest", text, {}, b"")))
    assert response.status == 200, response.body
    answer: dict[str, Any] = json.loads(response.body)
    return answer


@pytest.mark.parametrize(
    ("key", "document", "row"),
    [
        (
            "rejected/store/events/shardId-000000000000/7.000000.000000",
            REJECTED,
            {"reason": "time", "message": "no such day", "shard": "shardId-000000000000", "sequence_number": "7",
             "key": "pump-1"},
        ),
        ("aws/lambda/u/1", batch("1"), {**IN_BATCH, "sequence_number": "1", "key": "key-1"}),
        ("aws/lambda/u/2", batch("1", "2"), {**IN_BATCH, "sequence_number": "1", "records": 2}),
        (
            "aws/lambda/u/3",
            batch("1", "2", replayed_at={"2": "2026-02-01"}),
            {**IN_BATCH, "sequence_number": "1", "records": 2, "replayed": 1},
        ),
        (
            "aws/lambda/u/4",
            batch("1", "2", replayed_at="2026-02-01"),
            {**IN_BATCH, "sequence_number": "1", "records": 2, "replayed": 2, "replayed_at": "2026-02-01"},
        ),
        ("async/store/5", ASYNC, {"reason": "RetriesExhausted", "message": "ValueError: no", "calls": 3}),
        ("async/store/6", b"not JSON", {"reason": "unreadable", "time": None}),
    ],
)  # fmt: skip
def test_a_document_in_short(tmp_path: Path, key: str, document: object, row: dict[str, object]) -> None:
    assert newest(tmp_path, {key: document}) == {"failures": [{**ROW, "id": key, **row}], "documents": 1}


def test_only_the_newest_are_read(tmp_path: Path) -> None:
    answer = newest(tmp_path, {f"aws/lambda/u/{at}": batch("1") for at in range(9)}, limit="2")
    assert (len(answer["failures"]), answer["documents"]) == (2, 9)
    assert newest(tmp_path, {"another/kind": {}}) == {"failures": [], "documents": 0}
