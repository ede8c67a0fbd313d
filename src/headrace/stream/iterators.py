"""Shard iterators and the tokens of paged lists: opaque to clients, checked when they come back. Pure.

All say when they were given out, and expire five minutes later, as AWS's do.
"""

import binascii
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import TypeVar
from zlib import crc32

import msgspec

from headrace.wire import WireError

LIFE_MS = 300_000
_VERSION = bytes(7) + b"\1"  # AWS's begin like this too
_CRC_BYTES = 4


class Iterator(msgspec.Struct, array_like=True, frozen=True):
    """A place in a shard: the number of the next record to read. `position` is a hint where its frame lies."""

    issued_ms: int
    stream: str
    created_s: int  # of the stream: one made anew under the same name is another
    shard: int
    number: int
    position: int


class ShardsToken(msgspec.Struct, array_like=True, frozen=True):
    """Where ListShards goes on: behind shard `after`, with the filter of the first page."""

    issued_ms: int
    stream: str
    created_s: int
    after: int
    filter_type: str = "FROM_TRIM_HORIZON"
    filter_ms: int = 0


class StreamsToken(msgspec.Struct, array_like=True, frozen=True):
    """Where ListStreams goes on: behind the name `after`."""

    issued_ms: int
    after: str


Token = TypeVar("Token", ShardsToken, StreamsToken)


def encode(token: Iterator | ShardsToken | StreamsToken) -> str:
    """Return an iterator or a token as text."""
    body = _VERSION + msgspec.msgpack.encode(token)
    return b64encode(body + crc32(body).to_bytes(_CRC_BYTES, "big")).decode()


def decode_iterator(text: str, now_ms: int) -> Iterator:
    """Return an iterator that `encode` made; raises WireError if it is none, or has expired."""
    iterator = _decode(text, Iterator)
    if iterator is None:
        raise WireError("InvalidArgumentException", "Invalid ShardIterator.")
    if now_ms - iterator.issued_ms > LIFE_MS:
        raise WireError(
            "ExpiredIteratorException",
            f"Iterator expired. The iterator was created at time {_amz_time(iterator.issued_ms)} while right now it is "
            f"{_amz_time(now_ms)} which is further in the future than the tolerated delay of {LIFE_MS} milliseconds.",
        )
    return iterator


def decode_token(text: str, kind: type[Token], now_ms: int) -> Token:
    """Return a token that `encode` made; raises WireError if it is none, or has expired."""
    token = _decode(text, kind)
    if token is None:
        raise WireError("InvalidArgumentException", "Invalid NextToken.")
    if now_ms - token.issued_ms > LIFE_MS:
        raise WireError("ExpiredNextTokenException", "The NextToken has expired: start over without one.")
    return token


Kind = TypeVar("Kind", Iterator, ShardsToken, StreamsToken)


def _decode(text: str, kind: type[Kind]) -> Kind | None:
    try:
        whole = b64decode(text, validate=True)
        body, crc = whole[:-_CRC_BYTES], whole[-_CRC_BYTES:]
        if body.startswith(_VERSION) and crc32(body).to_bytes(_CRC_BYTES, "big") == crc:
            return msgspec.msgpack.decode(body[len(_VERSION) :], type=kind)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        pass
    return None


def _amz_time(ms: int) -> str:
    """Return a time as AWS writes it here: Thu Jan 22 01:22:02 UTC 2015."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%a %b %d %H:%M:%S UTC %Y}"
