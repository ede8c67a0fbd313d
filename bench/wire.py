"""Any server that speaks AWS's JSON 1.1: one call, and what the benchmarks ask of a stream."""

import json
import urllib.request
from typing import Any

import bodies  # noqa: F401  (puts the tests on the path)
from support.backend import wait_until
from support.load import request_bytes

STREAM = "events"


def call(url: str, operation: str, body: dict[str, Any] | bytes) -> dict[str, Any]:
    """Return the answer to an operation; raises HTTPError."""
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    head, _, data = request_bytes(url, operation, encoded).partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    path = operation if operation.startswith("/") else "/"
    request = urllib.request.Request(url + path, data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return dict(json.loads(answer.read() or b"{}"))


def create_stream(url: str, shards: int = 4) -> None:
    """Make the stream, and wait until it takes records."""
    call(url, "CreateStream", {"StreamName": STREAM, "ShardCount": shards})
    wait_until(lambda: _description(url)["StreamStatus"] == "ACTIVE")


def delete_stream(url: str) -> None:
    """Delete the stream with all it holds, and wait until it is gone."""
    call(url, "DeleteStream", {"StreamName": STREAM})
    wait_until(lambda: STREAM not in call(url, "ListStreams", {})["StreamNames"])


def held(url: str) -> int:
    """Return how many records the stream gives, read to its end."""
    return sum(_held(url, shard["ShardId"]) for shard in _description(url)["Shards"])


def _held(url: str, shard: str) -> int:
    asked = {"StreamName": STREAM, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
    iterator, count = call(url, "GetShardIterator", asked)["ShardIterator"], 0
    while True:
        answer = call(url, "GetRecords", {"ShardIterator": iterator, "Limit": 10_000})
        if not answer["Records"]:
            return count
        count += len(answer["Records"])
        iterator = answer["NextShardIterator"]


def _description(url: str) -> dict[str, Any]:
    return dict(call(url, "DescribeStream", {"StreamName": STREAM})["StreamDescription"])
