"""A stream record and its sequence number."""

from functools import lru_cache
from typing import NamedTuple

from headrace.errors import UsageError

_NUMBER_MAX = 2**63 - 1  # no shard comes near, and files have room for no more


class Record(NamedTuple):
    """One accepted record. `number` counts from 0 without gaps per shard; `arrival_ms` never falls within a shard."""

    shard: int
    number: int
    arrival_ms: int
    key: str
    data: bytes


class SequenceNumber(NamedTuple):
    """What a sequence number says: its shard (index, creation in seconds), place in it and arrival second."""

    shard_created_s: int
    shard: int
    number: int
    arrival_s: int


def shard_id(shard: int) -> str:
    """Return the shard's id as AWS writes it."""
    return f"shardId-{shard:012d}"


def parse_shard_id(text: str) -> int:
    """Return the shard's index; raises UsageError."""
    head, _, digits = text.partition("-")
    if head == "shardId" and digits.isascii() and digits.isdigit() and 1 <= len(digits) <= 12:
        return int(digits)
    raise UsageError(f"{text!r} is no shard id.", "Write it like shardId-000000000000.")


@lru_cache(maxsize=4096)  # it is the same for a shard's records of a second
def sequence_base(shard_created_s: int, shard: int, arrival_s: int) -> int:
    """Return the sequence number of place 0; the one of place n is `base + (n << 80)`.

    Layout from the high bits: 2 (version), 36 bits shard creation, 4 bits shard, 64 bits place, 8 bits zero, 36 bits
    arrival second, 32 bits shard, 4 bits version 2. This is how AWS's look; kinesalite documents it. Always 56 digits.
    """
    return 2 << 184 | shard_created_s << 148 | (shard & 0xF) << 144 | arrival_s << 36 | shard << 4 | 2


def sequence_number(shard_created_s: int, shard: int, number: int, arrival_ms: int) -> str:
    """Return a record's sequence number: 56 decimal digits, strictly rising with `number` within a shard."""
    return str(sequence_base(shard_created_s, shard, arrival_ms // 1000) + (number << 80))


def parse_sequence_number(text: str) -> SequenceNumber:
    """Take a sequence number apart; raises UsageError if it is none of ours."""
    if text.isascii() and text.isdigit() and len(text) == 56:
        value = int(text)
        shard, number = value >> 4 & 0xFFFFFFFF, value >> 80 & (1 << 64) - 1
        is_ours = value >> 184 == 2 and value & 0xF == 2 and value >> 144 & 0xF == shard & 0xF
        if is_ours and number <= _NUMBER_MAX:
            return SequenceNumber(value >> 148 & (1 << 36) - 1, shard, number, value >> 36 & (1 << 36) - 1)
    raise UsageError(f"{text!r} is no sequence number.", "Copy the SequenceNumber that PutRecord answered.")
