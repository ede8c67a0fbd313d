"""GetShardIterator and GetRecords: the way out over the wire."""

import math
from collections.abc import Callable
from typing import Any

import cbor2
import msgspec

from headrace import cbor
from headrace.errors import UsageError
from headrace.record import Record, parse_sequence_number, sequence_base, shard_id
from headrace.stream import iterators
from headrace.stream.iterators import Iterator
from headrace.stream.put import TOO_FAST, rate_exceeded
from headrace.stream.streams import LiveStream, Streams
from headrace.system import ACCOUNT
from headrace.wire import WireError

RECORDS_MAX = 10_000
ANSWER_BYTES_MAX = 10 * 1024 * 1024
_SHARD_MAX = 2**31 - 1
_NUMBER_MAX = 2**64 - 1
_EITHER = (
    "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or "
    "(2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified "
)


class _Record(msgspec.Struct):
    SequenceNumber: str
    ApproximateArrivalTimestamp: float
    Data: bytes
    PartitionKey: str
    EncryptionType: str = "NONE"


class Answer(msgspec.Struct):
    """What GetRecords answers, as the model has it; moments are in seconds."""

    Records: list[_Record]
    NextShardIterator: str
    MillisBehindLatest: int


Encode = Callable[[Answer], bytes]


def in_cbor(answer: Answer) -> bytes:
    """Return an answer in CBOR, in half the time of `cbor.encode`, which looks at every value."""
    plain = msgspec.to_builtins(answer, builtin_types=(bytes,))
    for record in plain["Records"]:
        record["ApproximateArrivalTimestamp"] = cbor.moment_of_s(record["ApproximateArrivalTimestamp"])
    return cbor2.dumps(plain)


class Reads:
    """The two operations over the streams of a gateway."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    # --- GetShardIterator ---

    async def get_shard_iterator(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Return an iterator of one of the five types."""
        shard = _shard_of(asked["ShardId"], name)
        stream = self._stream_of(name, shard)
        number, position = await self._place(stream, shard, asked)
        return {"ShardIterator": self._iterator(stream, shard, number, position)}

    async def _place(self, stream: LiveStream, shard: int, asked: dict[str, Any]) -> tuple[int, int]:
        """Return the number to read first, and a position at or before it."""
        kind, start = asked["ShardIteratorType"], asked.get("StartingSequenceNumber")
        by_number = kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER")
        if by_number != (start is not None):
            given = "and also a" if start is not None else "and no"
            raise WireError("InvalidArgumentException", f"{_EITHER}{kind} {given} StartingSequenceNumber.")
        if start is not None:
            number = _number_of(stream, shard, start, after=kind == "AFTER_SEQUENCE_NUMBER")
            return number, await self._streams.read(lambda: stream.reader.find(shard, number))
        if kind == "AT_TIMESTAMP":
            arrival_ms = self._timestamp_ms(asked.get("Timestamp"))
            return await self._streams.read(lambda: stream.reader.find_time(shard, arrival_ms))
        if kind == "LATEST":
            return stream.log.next_number[shard], stream.log.durable
        return stream.log.first_number[shard], 0

    def _timestamp_ms(self, timestamp: float | None) -> int:
        if timestamp is None:
            raise WireError(
                "InvalidArgumentException",
                "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no "
                "timestamp parameter.",
            )
        asked_ms = math.ceil(timestamp * 1000 - 1e-3)  # a float of seconds is not exact
        now_ms = self._streams.now_ms()
        if asked_ms > now_ms:
            raise WireError(
                "InvalidArgumentException",
                "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. "
                f"timestampInMillis: {asked_ms}, currentTimestampInMillis: {now_ms}",
            )
        return asked_ms

    # --- GetRecords ---

    async def get_records(self, asked: dict[str, Any], owner: str | None, encode: Encode) -> bytes:
        """Return the records from an iterator on, none older than the retention. `owner`: the StreamARN's, if given."""
        limit = asked.get("Limit", RECORDS_MAX)
        if limit > RECORDS_MAX:
            raise WireError(
                "InvalidArgumentException",
                f"1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: "
                f"Member must have value less than or equal to {RECORDS_MAX}",
            )
        now_ms = self._streams.now_ms()
        at = iterators.decode_iterator(asked["ShardIterator"], now_ms)
        stream = self._stream_of(at.stream, at.shard)
        if stream.entry.created_s != at.created_s:
            raise _no_shard(at.stream, at.shard)
        if owner is not None and owner != at.stream:
            raise WireError("InvalidArgumentException", f"The ShardIterator is none of the stream {owner}.")
        limits = self._streams.limits_of(stream)
        bytes_max = ANSWER_BYTES_MAX
        if limits is not None:
            bytes_max = limits[at.shard].get(self._streams.now_s(), ANSWER_BYTES_MAX)
            if not bytes_max:
                raise WireError(TOO_FAST, rate_exceeded(stream, at.shard))
        following = stream.log.next_number[at.shard]
        if at.number >= following:
            return encode(Answer([], self._iterator(stream, at.shard, at.number, at.position), 0))
        horizon_ms = stream.horizon_ms(now_ms)

        def read() -> tuple[bytes, int]:
            records, number, position = _visible(stream, at, limit, bytes_max, horizon_ms)
            behind_ms = max(0, now_ms - records[-1].arrival_ms) if records and number < following else 0
            iterator = self._iterator(stream, at.shard, number, position)
            size = sum(len(each.data) + len(each.key.encode()) for each in records) if limits is not None else 0
            return encode(Answer(_written(stream, at.shard, records), iterator, behind_ms)), size

        answer, size = await self._streams.read(read)
        if limits is not None:
            limits[at.shard].gave(self._streams.now_s(), size)
        return answer

    # --- shared ---

    def _iterator(self, stream: LiveStream, shard: int, number: int, position: int) -> str:
        now_ms = self._streams.now_ms()
        return iterators.encode(Iterator(now_ms, stream.name, stream.entry.created_s, shard, number, position))

    def _stream_of(self, name: str, shard: int) -> LiveStream:
        """Return the stream that has this shard; raises ResourceNotFoundException."""
        stream = self._streams.find(name)
        if stream is None or shard not in stream.shard_ids:
            raise _no_shard(name, shard)
        return stream


def _no_shard(name: str, shard: int) -> WireError:
    message = f"Shard {shard_id(shard)} in stream {name} under account {ACCOUNT} does not exist"
    return WireError("ResourceNotFoundException", message)


def _shard_of(text: str, name: str) -> int:
    """Return the shard an id means. AWS takes any word for `shardId`, and the number alone."""
    digits = text.split("-")[1] if "-" in text else text
    if digits.isascii() and digits.isdigit() and int(digits) <= _SHARD_MAX:
        return int(digits)
    raise WireError(
        "ResourceNotFoundException", f"Could not find shard {text} in stream {name} under account {ACCOUNT}."
    )


def _number_of(stream: LiveStream, shard: int, text: str, *, after: bool) -> int:
    """Return the number of the first record at or after a sequence number."""
    used = (
        f"StartingSequenceNumber {text} used in GetShardIterator on shard {shard_id(shard)} in stream {stream.name} "
        f"under account {ACCOUNT} is invalid"
    )
    if (between := _number_after_a_miss(stream, shard, text)) is not None:
        return between
    try:
        found = parse_sequence_number(text)
    except UsageError:
        raise WireError("InvalidArgumentException", f"{used}.") from None
    if found.shard != shard:
        raise WireError(
            "InvalidArgumentException",
            f"Invalid StartingSequenceNumber. It encodes {shard_id(found.shard)}, while it was used in a call to a "
            f"shard with {shard_id(shard)}",
        )
    if found.shard_created_s != stream.shard_created_s[shard]:
        raise WireError("InvalidArgumentException", f"{used} because it did not come from this stream.")
    if found.arrival_s < found.shard_created_s:
        return 0  # the shard's StartingSequenceNumber, which no record has
    return found.number + 1 if after else found.number


def _number_after_a_miss(stream: LiveStream, shard: int, text: str) -> int | None:
    """Return the number that follows a sequence number which no record of the shard can have, or None.

    It is this shard's but for its last four bits, where a record's have a 2: it lies just before or behind a record.
    """
    value, base = int(text), sequence_base(stream.shard_created_s[shard], shard, 0)
    last = value & 0xF
    if last == base & 0xF or value >> 144 != base >> 144 or value >> 4 & 0xFFFFFFFF != shard:
        return None
    return (value >> 80 & _NUMBER_MAX) + (last > base & 0xF)


def _visible(
    stream: LiveStream, at: Iterator, limit: int, bytes_max: int, horizon_ms: int
) -> tuple[list[Record], int, int]:
    """Return records from `at` on, and the number and position to go on from; skips what arrived before the horizon."""
    reader = stream.reader
    records, position = reader.records(at.position, at.shard, at.number, limit, bytes_max)
    number = at.number
    if records and records[0].arrival_ms < horizon_ms:
        number, position = reader.find_time(at.shard, horizon_ms)
        records, position = reader.records(position, at.shard, number, limit, bytes_max)
    return records, records[-1].number + 1 if records else number, position


def _written(stream: LiveStream, shard: int, records: list[Record]) -> list[_Record]:
    created_s = stream.shard_created_s[shard]
    base, base_s = 0, -1
    written = []
    for record in records:
        arrival_s = record.arrival_ms // 1000
        if arrival_s != base_s:
            base, base_s = sequence_base(created_s, shard, arrival_s), arrival_s
        number = str(base + (record.number << 80))
        written.append(_Record(number, record.arrival_ms / 1000, record.data, record.key))
    return written
