"""CBOR as AWS's protocols use it, from and to values as their JSON has them.

There are two: RPC v2 (CloudWatch), in which a moment is seconds since 1970, as RFC 8949 wants it; and x-amz-cbor-1.1
(Kinesis), in which it is whole milliseconds under the same tag. See aws-sdk-java-v2: SdkCborGenerator (what is sent),
AwsCborProtocolFactory (what is read; its parser fails at a fraction), issue 4661. aws-sdk-java does the same:
SimpleTypeCborUnmarshallers.
"""

import math
from collections.abc import Callable
from typing import Any

import cbor2
import msgspec

_MOMENT = 1  # the tag of a moment
_DEPTH_MAX = 100
# What else cbor2 makes something of: dates, numbers without bound, regular expressions, references (also to what they
# stand in), sets, addresses, and the like.
_OTHER_TAGS = (0, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)


def _refuse(content: object, immutable: bool) -> None:
    raise ValueError("no request has this tag")


_DECODERS: dict[int, Callable[[Any, bool], Any]] = {
    **dict.fromkeys(_OTHER_TAGS, _refuse),
    _MOMENT: lambda number, immutable: number,
}


def _step(first: int) -> int:
    """Return how far it is to the next value from one that begins with this byte; 0 if its length follows."""
    kind, size = divmod(first, 32)
    if kind in (2, 3):  # bytes and text
        return 1 + size if size < 24 else 0 if size < 28 else 1
    return 1 + (1 << size - 24 if 24 <= size < 28 else 0)


_STEPS = bytes(map(_step, range(256)))


def loads(body: bytes, values_max: int) -> Any:
    """Return what a body says, moments as their numbers.

    Raises ValueError for what is no CBOR, or has more than `values_max` values: an empty list is a byte of a body, but
    seventy of memory. Names are text or bytes: others could be chosen so that each one is sought among all before it.
    """
    if len(body) > values_max:
        _count(body, values_max)
    try:
        return cbor2.loads(body, semantic_decoders=_DECODERS, max_depth=_DEPTH_MAX, strict_hashable_types=True)
    except cbor2.CBORDecodeError as error:
        raise ValueError(f"{error}: {error.__cause__}" if error.__cause__ else str(error)) from error


def _count(body: bytes, values_max: int) -> None:
    """Raise ValueError if a body has more values; whether it is right otherwise is not looked at."""
    at = 0
    try:
        for _ in range(values_max + 1):
            step = _STEPS[body[at]]
            if not step:
                start = at + 1 + (1 << body[at] % 32 - 24)
                step = start - at + int.from_bytes(body[at + 1 : start], "big")
            at += step
    except IndexError:
        return
    raise ValueError(f"it has more than {values_max:,} values")


def decode(body: bytes, values_max: int, *, words: bool = False) -> Any:
    """Return what a body says as a JSON client would, but bytes as they are.

    Raises ValueError as `loads` does, and for what is nothing that a request says, as NaN and infinities are unless
    `words` has them as JSON clients write them.
    """
    return _plain(loads(body, values_max), words)


def _plain(value: Any, words: bool) -> Any:
    match value:
        case dict():
            return {str(name): _plain(each, words) for name, each in value.items()}
        case list():
            return [_plain(each, words) for each in value]
        case float() if not math.isfinite(value):
            if not words:
                raise ValueError(f"{value} is nothing that a request says")
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case cbor2.undefined:
            return None
        case None | bool() | int() | float() | str() | bytes():
            return value
    raise ValueError(f"a {type(value).__name__} is nothing that a request says")


def encode(value: Any, *, in_ms: bool = False) -> bytes:
    """Return an answer; numbers under a name that ends with Timestamp or Timestamps are moments, in seconds.

    `in_ms` has them written in milliseconds.
    """
    return cbor2.dumps(_tagged(value, moment_of_s if in_ms else _moment))


def from_json(text: bytes) -> bytes:
    """Return JSON as CBOR; nothing in it is a moment, or bytes."""
    return cbor2.dumps(msgspec.json.decode(text))


def moment_of_s(seconds: float) -> cbor2.CBORTag:
    """Return seconds since 1970 as x-amz-cbor-1.1 writes them."""
    return cbor2.CBORTag(_MOMENT, round(seconds * 1000))


def _moment(number: float) -> cbor2.CBORTag:
    return cbor2.CBORTag(_MOMENT, number)


def _tagged(value: Any, moment: Callable[[float], cbor2.CBORTag], member: str = "") -> Any:
    match value:
        case dict():
            return {name: _tagged(each, moment, name) for name, each in value.items() if each is not None}
        case list() | tuple():
            return [_tagged(each, moment, member) for each in value]
        case int() | float() if member.endswith(("Timestamp", "Timestamps")):
            return moment(value)
    return value
