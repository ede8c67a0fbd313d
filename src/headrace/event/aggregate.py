"""KPL aggregates: one stream record that holds many user records, which Lambda hands over as they came.

A magic number, a protobuf message and the message's MD5. The protobuf classes are imported with the first aggregate:
most streams never see one.
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

MAGIC = b"\xf3\x89\x9a\xc2"
_DIGEST_BYTES = 16


class Broken(ValueError):
    """The bytes start like an aggregate and are none."""


class UserRecord(NamedTuple):
    """One of an aggregate's records. Its place in the aggregate is its subsequence number."""

    key: str
    data: bytes


def user_records(data: bytes) -> list[UserRecord]:
    """Return the user records of an aggregate (it starts with MAGIC) in order; raises Broken unless all of it reads."""
    message, digest = data[len(MAGIC) : -_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if len(data) < len(MAGIC) + _DIGEST_BYTES or hashlib.md5(message, usedforsecurity=False).digest() != digest:
        raise Broken("its checksum does not match")
    record_type, decode_error = _messages()
    aggregate = record_type()
    try:
        aggregate.ParseFromString(message)
        # What is no UTF-8 the parser hands over as bytes.
        keys = [key if isinstance(key, str) else key.decode() for key in aggregate.partition_key_table]
        return [UserRecord(keys[record.partition_key_index], record.data) for record in aggregate.records]
    except (decode_error, IndexError, OverflowError, UnicodeDecodeError) as error:
        raise Broken(str(error) or type(error).__name__) from None


@cache
def _messages() -> tuple[Any, type[Exception]]:
    """Return the AggregatedRecord class and the error of its parser."""
    path = list(sys.path)
    import aws_kinesis_agg.deaggregator as package  # puts its own folder first on the path, so:

    sys.path[:] = path
    return package.messages_pb2.AggregatedRecord, package.google.protobuf.message.DecodeError


def replaced(data: bytes, texts: Sequence[bytes], keys: Mapping[str, str]) -> bytes:
    """Return an aggregate (one that `user_records` reads) with these texts in its records, and keys renamed."""
    record_type, _ = _messages()
    aggregate = record_type()
    aggregate.ParseFromString(data[len(MAGIC) : -_DIGEST_BYTES])
    for place, key in enumerate(aggregate.partition_key_table):
        aggregate.partition_key_table[place] = keys.get(key, key)
    for record, text in zip(aggregate.records, texts, strict=True):
        record.data = text
    message: bytes = aggregate.SerializeToString()
    return MAGIC + message + hashlib.md5(message, usedforsecurity=False).digest()
