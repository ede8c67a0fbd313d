"""CBOR as AWS's RPC v2 protocol uses it, from and to values as the JSON protocol has them."""

import math
from typing import Any

import cbor2

_MOMENT = 1  # the tag of seconds since 1970


def decode(body: bytes) -> Any:
    """Return what a body says as a JSON client would; raises ValueError for what is no CBOR, or nothing JSON has."""
    try:
        return _plain(cbor2.loads(body, semantic_decoders={_MOMENT: lambda seconds, immutable: seconds}))
    except cbor2.CBORDecodeError as error:
        raise ValueError(str(error)) from error


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {str(name): _plain(each) for name, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case cbor2.undefined:
            return None
        case None | bool() | int() | float() | str():
            return value
    raise ValueError(f"{value!r} is nothing that a request says")


def encode(value: Any) -> bytes:
    """Return an answer; numbers under a name that ends with Timestamp or Timestamps are moments."""
    return cbor2.dumps(_tagged(value))


def _tagged(value: Any, member: str = "") -> Any:
    match value:
        case dict():
            return {name: _tagged(each, name) for name, each in value.items() if each is not None}
        case list() | tuple():
            return [_tagged(each, member) for each in value]
        case int() | float() if member.endswith(("Timestamp", "Timestamps")):
            return cbor2.CBORTag(_MOMENT, value)
    return value
