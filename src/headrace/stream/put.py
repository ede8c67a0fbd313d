"""PutRecord and PutRecords: the way in, where every microsecond counts.

A body that is right is decoded straight into types, in C; that of JSON with its base64, that of CBOR through plain
values. Whatever does not fit there goes to the generic validator (shapes.py), which knows AWS's message for it.
"""

import itertools
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from itertools import compress
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from headrace import cbor
from headrace.errors import StorageError, Throttled, UsageError
from headrace.record import parse_sequence_number, sequence_base
from headrace.shapes import ERRORS_MAX
from headrace.stream.group import Appended
from headrace.stream.segment import Part
from headrace.stream.streams import LiveStream, Streams
from headrace.system import ACCOUNT
from headrace.wire import AMZ_JSON_1_1, Reply, Response, WireError

RECORD_BYTES_MAX = 1024 * 1024  # with the partition key
REQUEST_BYTES_MAX = 10 * 1024 * 1024
RECORDS_MAX = 500
VALUES_MAX = 150_000  # of a request, commas in its keys among them: see shapes.py
HASH_KEY_END = 2**128
_NUMBER_STEP = 1 << 80  # what a place in the shard counts in a sequence number

_Data = Annotated[bytes, Meta(max_length=RECORD_BYTES_MAX)]
_Key = Annotated[str, Meta(min_length=1, max_length=256)]
_HashKey = Annotated[str, Meta(pattern=r"\A(0|([1-9][0-9]{0,38}))\Z")]
_Sequence = Annotated[str, Meta(pattern=r"\A(0|([1-9][0-9]{0,128}))\Z")]

TOO_FAST = "ProvisionedThroughputExceededException"

Parse = Callable[[str, bytes], dict[str, Any]]
_new = tuple.__new__  # makes a NamedTuple from a tuple at half the cost of calling it


class _Entry(msgspec.Struct, gc=False):
    Data: _Data
    PartitionKey: _Key
    ExplicitHashKey: _HashKey | None = None


class _PutRecords(msgspec.Struct):
    Records: Annotated[list[_Entry], Meta(min_length=1, max_length=RECORDS_MAX)]
    StreamName: str | None = None
    StreamARN: str | None = None
    DryRun: bool = False


class _PutRecord(_Entry):
    StreamName: str | None = None
    StreamARN: str | None = None
    SequenceNumberForOrdering: _Sequence | None = None
    DryRun: bool = False


class Decoders(NamedTuple):
    """How the bodies of a protocol are decoded; raise MsgspecError, ValueError or RecursionError."""

    record: Callable[[bytes], _PutRecord]
    records: Callable[[bytes], _PutRecords]


_BYTES = (bytes,)  # are told so from base64
JSON = Decoders(msgspec.json.Decoder(_PutRecord).decode, msgspec.json.Decoder(_PutRecords).decode)
CBOR = Decoders(
    lambda body: msgspec.convert(cbor.loads(body, VALUES_MAX), _PutRecord, builtin_types=_BYTES),
    lambda body: msgspec.convert(cbor.loads(body, VALUES_MAX), _PutRecords, builtin_types=_BYTES),
)


class _Single(Reply):
    """The answer to a PutRecord: it waits for the log itself."""

    __slots__ = ("response", "shard", "stream")

    def __init__(self, stream: LiveStream, shard: int) -> None:
        self.stream = stream
        self.shard = shard

    def numbered(self, number: int, arrival_ms: int) -> None:
        stream, shard = self.stream, self.shard
        base = sequence_base(stream.shard_created_s[shard], shard, arrival_ms // 1000)
        body = (
            f'{{"ShardId":"{stream.shard_ids[shard]}","SequenceNumber":"{base + number * _NUMBER_STEP}",'
            '"EncryptionType":"NONE"}'
        )
        self.response = _new(Response, (200, body.encode(), AMZ_JSON_1_1, ()))
        self.ready(self.response)

    def durable(self) -> None:
        self.taker(self.response)

    def refused(self, error: Exception) -> None:
        self.taker(error)


class _Batch(Reply):
    """The answer to a PutRecords that is appended whole: it waits for the log itself."""

    __slots__ = ("response", "shards", "stream")

    def __init__(self, stream: LiveStream, shards: list[int]) -> None:
        self.stream = stream
        self.shards = shards

    def numbered(self, appended: Appended) -> None:
        self.response = Response(200, _all_accepted(self.stream, self.shards, appended), AMZ_JSON_1_1)
        self.ready(self.response)

    def durable(self) -> None:
        self.taker(self.response)

    def refused(self, error: Exception) -> None:
        self.taker(self.failed(_internal(error)) if isinstance(error, StorageError) else error)

    def failed(self, failure: tuple[str, str]) -> Response:
        self.stream.log.stats.failed_puts += 1
        return Response(200, _all_failed([failure] * len(self.shards)), AMZ_JSON_1_1)


class Puts:
    """The two operations over the streams of a gateway, answered in JSON. `parse` is the generic validator."""

    def __init__(
        self, streams: Streams, decoders: Decoders, parse: Parse, name_of: Callable[[dict[str, Any]], str]
    ) -> None:
        self._streams = streams
        self._decode_record, self._decode_records = decoders
        self._parse = parse
        self._name_of = name_of

    def put_records(self, body: bytes) -> Awaitable[Response]:
        """Append up to 500 records; the answer says per record where it is, or why it is not."""
        try:
            request = self._decode_records(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            request = msgspec.convert(self._parse("PutRecords", body), _PutRecords)
        stream = self._stream(request, "PutRecords", body)
        if len(body) > RECORD_BYTES_MAX:
            _check_sizes(request.Records)
        stats = stream.log.stats
        stats.puts += 1
        records, router = request.Records, stream.router
        shards = [
            router[record.PartitionKey] if record.ExplicitHashKey is None else _by_hash(stream, record.ExplicitHashKey)
            for record in records
        ]
        limits = self._streams.limits_of(stream)
        if limits is not None:
            now_s = self._streams.now_s()
            fits = [limits[shard].put(now_s, _size(record)) for shard, record in zip(shards, records, strict=True)]
            if not all(fits):
                return self._put_partly(stream, shards, records, fits)
        answer = _Batch(stream, shards)
        try:
            stream.log.append_parts(_parts(shards, records), answer)
        except StorageError as error:
            return _at_once(answer.failed(_internal(error)))
        except Throttled:
            return _at_once(answer.failed(_too_fast(stream, shards[0])))
        return answer

    async def _put_partly(
        self, stream: LiveStream, shards: list[int], records: list[_Entry], fits: list[bool]
    ) -> Response:
        """Append the records that fit into their shards' limits; the answer refuses the others one by one."""
        taken = list(compress(shards, fits))
        stream.log.stats.throttled += len(shards) - len(taken)
        places: list[dict[str, str]] = []
        if taken:
            try:
                parts = _parts(taken, compress(records, fits))
                places = _places(stream, taken, await stream.log.appended(parts))
            except StorageError as error:
                places = [_failure(*_internal(error))] * len(taken)
            except Throttled:
                places = [_failure(*_too_fast(stream, shard)) for shard in taken]
        stream.log.stats.failed_puts += not any("SequenceNumber" in place for place in places)
        rest = iter(places)
        answers = [
            next(rest) if fit else _failure(*_too_fast(stream, shard)) for shard, fit in zip(shards, fits, strict=True)
        ]
        failed = sum("ErrorCode" in answer for answer in answers)
        answer = {"FailedRecordCount": failed, "Records": answers, "EncryptionType": "NONE"}
        return Response(200, msgspec.json.encode(answer), AMZ_JSON_1_1)

    def put_record(self, body: bytes) -> Reply:
        """Append one record. Nothing here waits: the log itself has the answer given."""
        try:
            request = self._decode_record(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            request = msgspec.convert(self._parse("PutRecord", body), _PutRecord)
        stream = self._stream(request, "PutRecord", body)
        key = request.PartitionKey.encode()
        if len(key) + len(request.Data) > RECORD_BYTES_MAX:
            raise _too_large([("data", len(key) + len(request.Data))])
        if request.SequenceNumberForOrdering is not None:
            self._check_ordering(stream, request.SequenceNumberForOrdering)
        if request.ExplicitHashKey is None:
            shard = stream.router[request.PartitionKey]
        else:
            shard = _by_hash(stream, request.ExplicitHashKey)
        limits = self._streams.limits_of(stream) if self._streams.enforce_limits else None
        if limits is not None and not limits[shard].put(self._streams.now_s(), len(key) + len(request.Data)):
            stream.log.stats.throttled += 1
            raise WireError(*_too_fast(stream, shard))
        answer = _Single(stream, shard)
        try:
            stream.log.append_one(shard, key, request.Data, answer)
        except Throttled:
            raise WireError(*_too_fast(stream, shard)) from None
        return answer

    def _stream(self, request: _PutRecords | _PutRecord, operation: str, body: bytes) -> LiveStream:
        """Return the stream that a request names. What is unusual about it is left to the validator."""
        stream = self._streams.find(request.StreamName or "")
        if stream is not None and request.StreamARN is None and not request.DryRun:
            return stream
        name = self._name_of(self._parse(operation, body))
        return self._streams.live(name)

    def _check_ordering(self, stream: LiveStream, text: str) -> None:
        try:
            after = parse_sequence_number(text)
            if after.arrival_s * 1000 <= self._streams.now_ms():
                return
        except UsageError:
            pass
        raise WireError(
            "InvalidArgumentException",
            f"ExclusiveMinimumSequenceNumber {text} used in PutRecord on stream {stream.name} under account {ACCOUNT} "
            "is invalid.",
        )


async def _at_once(response: Response) -> Response:
    return response


def _parts(shards: Iterable[int], records: Iterable[_Entry]) -> dict[int, Part]:
    """Return the records by shard, given each one's, in order."""
    by_shard: defaultdict[int, list[_Entry]] = defaultdict(list)
    for shard, record in zip(shards, records, strict=True):
        by_shard[shard].append(record)
    return {
        shard: Part([record.PartitionKey.encode() for record in those], [record.Data for record in those])
        for shard, those in by_shard.items()
    }


def _size(record: _Entry) -> int:
    return len(record.PartitionKey.encode()) + len(record.Data)


def _by_hash(stream: LiveStream, text: str) -> int:
    value = int(text)
    if value >= HASH_KEY_END:
        raise WireError(
            "InvalidArgumentException",
            f"Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {text}",
        )
    return stream.router.by_hash(value)


def _check_sizes(entries: list[_Entry]) -> None:
    """Refuse records over 1 MiB, and 10 MiB together; a smaller body needs no look."""
    sizes = list(map(_size, entries))
    if max(sizes) > RECORD_BYTES_MAX:
        large = [(f"records.{at}.member.data", size) for at, size in enumerate(sizes, 1) if size > RECORD_BYTES_MAX]
        raise _too_large(large[:ERRORS_MAX])
    if sum(sizes) > REQUEST_BYTES_MAX:
        raise WireError("InvalidArgumentException", "Records size exceeds 10 MB limit")


def _too_large(places: list[tuple[str, int]]) -> WireError:
    """Return AWS's error for data over the limit; here it counts the partition key in, as the limit does."""
    errors = "; ".join(
        f"Value 'java.nio.HeapByteBuffer[pos=0 lim={size} cap={size}]' at '{path}' failed to satisfy constraint: "
        f"Member must have length less than or equal to {RECORD_BYTES_MAX}"
        for path, size in places
    )
    count = f"{len(places)} validation error{'s' if len(places) > 1 else ''} detected: "
    return WireError("ValidationException", count + errors)


def _too_fast(stream: LiveStream, shard: int) -> tuple[str, str]:
    """Return the code and the message for what a shard has no room for now."""
    return TOO_FAST, rate_exceeded(stream, shard)


def rate_exceeded(stream: LiveStream, shard: int) -> str:
    """Return AWS's message for a shard that is asked for more than its limits."""
    return f"Rate exceeded for shard {stream.shard_ids[shard]} in stream {stream.name} under account {ACCOUNT}."


def _internal(error: StorageError) -> tuple[str, str]:
    return "InternalFailure", f"{error.problem} {error.hint}".rstrip()


def _all_accepted(stream: LiveStream, shards: list[int], appended: Appended) -> bytes:
    """Return the answer to a PutRecords that was appended; `shards` are its records', in order."""
    following: dict[int, Callable[[], str]] = {}
    heads: dict[int, str] = {}
    for shard, place in appended.first_number.items():
        base = sequence_base(stream.shard_created_s[shard], shard, appended.arrival_ms[shard] // 1000)
        start, following[shard] = _numbers(base + place * _NUMBER_STEP, len(shards))
        heads[shard] = f'"}},{{"ShardId":"{stream.shard_ids[shard]}","SequenceNumber":"{start}'
    parts: list[str] = []
    add = parts.append
    for shard in shards:
        add(heads[shard])
        add(following[shard]())
    parts[0] = '{"FailedRecordCount":0,"Records":[' + parts[0].removeprefix('"},')
    add('"}],"EncryptionType":"NONE"}')
    return "".join(parts).encode()


def _numbers(first: int, count: int) -> tuple[str, Callable[[], str]]:
    """Return up to `count` sequence numbers from `first` on: how all of them begin, and what gives each one's rest.

    Spelling the whole of them would be the dearest part of an answer.
    """
    text, last = str(first), str(first + (count - 1) * _NUMBER_STEP)
    for same in (28, 27, 26, 0):  # digits; a rest that began with a zero would lose it
        if text[:same] == last[:same] and text[same] != "0":
            break
    return text[:same], map(str, itertools.count(int(text[same:]), _NUMBER_STEP)).__next__


def _places(stream: LiveStream, shards: list[int], appended: Appended) -> list[dict[str, str]]:
    """Return where each of the records went that were appended; `shards` are theirs, in order."""
    following = dict(appended.first_number)
    places = []
    for shard in shards:
        base = sequence_base(stream.shard_created_s[shard], shard, appended.arrival_ms[shard] // 1000)
        number = base + following[shard] * _NUMBER_STEP
        following[shard] += 1
        places.append({"SequenceNumber": str(number), "ShardId": stream.shard_ids[shard]})
    return places


def _failure(code: str, message: str) -> dict[str, str]:
    return {"ErrorCode": code, "ErrorMessage": message}


def _all_failed(failures: list[tuple[str, str]]) -> bytes:
    records = [_failure(code, message) for code, message in failures]
    answer = {"FailedRecordCount": len(records), "Records": records, "EncryptionType": "NONE"}
    return msgspec.json.encode(answer)
