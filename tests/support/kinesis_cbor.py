"""Has a boto3 client speak CBOR to Kinesis as Java's SDKs do.

boto3 itself can't: what it sends is rewritten just before it leaves, and what it gets just before it is read.
"""

import base64
import json
from typing import Any

import cbor2

TYPE = "application/x-amz-cbor-1.1"
_BLOBS = ("Data",)


def speak(client: Any) -> None:
    client.meta.events.register("before-send.kinesis", _sent)
    client.meta.events.register("before-parse.kinesis", _received)


def dumps(value: Any, member: str = "") -> bytes:
    """Return what a JSON body says as Jackson writes it: maps and lists open-ended, moments as tagged milliseconds."""
    if isinstance(value, dict):
        return b"\xbf%b\xff" % b"".join(cbor2.dumps(name) + dumps(each, name) for name, each in value.items())
    if isinstance(value, list):
        return b"\x9f%b\xff" % b"".join(dumps(each) for each in value)
    if member in _BLOBS:
        return cbor2.dumps(base64.b64decode(value))
    if member.endswith("Timestamp"):
        return cbor2.dumps(cbor2.CBORTag(1, round(value * 1000)))
    return cbor2.dumps(value)


def _sent(request: Any, **_: Any) -> None:
    request.body = dumps(json.loads(request.body))
    request.headers["Content-Type"] = TYPE
    request.headers["Content-Length"] = str(len(request.body))


def _received(response_dict: dict[str, Any], **_: Any) -> None:
    assert response_dict["headers"]["Content-Type"] == TYPE
    if response_dict["body"]:
        said = cbor2.loads(response_dict["body"], semantic_decoders={1: lambda ms, immutable: cbor2.CBORTag(1, ms)})
        response_dict["body"] = json.dumps(_read(said)).encode()


def _read(value: Any, member: str = "") -> Any:
    """Return it as JSON has it, where every value is of the type that Java wants under its name."""
    if isinstance(value, dict):
        return {name: _read(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_read(each) for each in value]
    assert isinstance(value, bytes) == (member in _BLOBS)
    assert isinstance(value, cbor2.CBORTag) == member.endswith("Timestamp")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, cbor2.CBORTag):
        assert (value.tag, type(value.value)) == (1, int)  # v2 reads no fraction: Long.parseLong
        return value.value / 1000
    return value
