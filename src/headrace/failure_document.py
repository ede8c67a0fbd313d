"""The documents of the failures bucket: whose they are, which records they hold, and what a replay leaves in them.

Pure: bytes in, values out. There are three kinds, told apart by their keys:

- `aws/lambda/<mapping uuid>/<shard id>/…`: a batch that was given up; `payload` is the event that Lambda handed over.
- `rejected/<function>/<stream>/<shard id>/…`: one event that the function itself found not to be one.
- `async/<function>/…`: an asynchronous invoke that was given up.

A replayed document gets `replayed_at`: a time once everything in it was replayed, until then an object of the sequence
numbers that were.
"""

from collections.abc import Sequence
from typing import Any, Self

import msgspec

from headrace.errors import HeadraceError

BATCH, REJECTED, ASYNC = KINDS = "aws/lambda/", "rejected/", "async/"
REPLAYED = "replayed_at"
# Put into a rejected document before its replay. Where it is gone afterwards, the function has rejected it again.
TRIED = "replay_tried_at"

_Members = dict[str, msgspec.Raw]
_UNREADABLE = (msgspec.DecodeError, RecursionError)


class Row(msgspec.Struct, omit_defaults=True):
    """One (document, record) as `headrace failures list` shows it."""

    id: str
    function: str | None
    shard: str | None
    sequence_number: str | None
    reason: str | None
    time: str | None
    replayed_at: str | msgspec.UnsetType = msgspec.UNSET


class Summary(msgspec.Struct):
    """One document in short. `message` is what was wrong in the words of who wrote it; `calls` how often it was tried.

    `key` is the record's partition key, where there is one record; `replayed` counts records, `replayed_at` is a time
    once all were.
    """

    id: str
    function: str | None
    reason: str | None
    message: str | None
    time: str | None
    shard: str | None
    sequence_number: str | None
    key: str | None
    records: int
    calls: int | None
    replayed: int
    replayed_at: str | None


class _Error(msgspec.Struct):
    kind: str = msgspec.field(name="errorType", default="Error")
    message: str = msgspec.field(name="errorMessage", default="")


class _Kinesis(msgspec.Struct):
    sequence_number: str = msgspec.field(name="sequenceNumber")
    key: str | None = msgspec.field(name="partitionKey", default=None)


class _Record(msgspec.Struct):
    kinesis: _Kinesis


class _Batch(msgspec.Struct):
    records: list[msgspec.Raw] = msgspec.field(name="Records")


class _Context(msgspec.Struct):
    condition: str | None = None
    function_arn: str | None = msgspec.field(name="functionArn", default=None)
    calls: int | None = msgspec.field(name="approximateInvokeCount", default=None)


class _BatchInfo(msgspec.Struct):
    shard: str | None = msgspec.field(name="shardId", default=None)
    first: str | None = msgspec.field(name="startSequenceNumber", default=None)


class Document:
    """One failure document. `parse` never fails: what cannot be read becomes a row that says so."""

    def __init__(self, key: str, body: bytes, members: _Members | None) -> None:
        self.key = key
        self.body = body
        self.readable = members is not None
        self._members: _Members = members or {}
        self._context = self._part("requestContext", _Context) or _Context()
        self._info = self._part("KinesisBatchInfo", _BatchInfo) or _BatchInfo()
        self._records = self._split() if key.startswith(BATCH) else {}

    @classmethod
    def parse(cls, key: str, body: bytes) -> Self:
        """Read a document."""
        try:
            return cls(key, body, msgspec.json.decode(body, type=_Members))
        except _UNREADABLE:
            return cls(key, body, None)

    @property
    def function(self) -> str | None:
        """Return the name of the function that failed."""
        if name := self._text("function"):
            return name
        if self._context.function_arn:
            return self._context.function_arn.partition(":function:")[2].partition(":")[0] or None
        kind, _, rest = self.key.partition("/")
        return rest.partition("/")[0] if kind in ("rejected", "async") else None

    @property
    def reason(self) -> str | None:
        """Return the fault word of a rejected event, else the condition under which Lambda gave up."""
        return (self._text("reason") or self._context.condition) if self.readable else "unreadable"

    @property
    def sequence_numbers(self) -> tuple[str, ...]:
        """Return the records of a batch document, in their order; none for the other kinds."""
        return tuple(self._records)

    @property
    def rejected(self) -> bool:
        """Return whether the function wrote this document itself, and would again."""
        return self.key.startswith(REJECTED)

    def rows(self) -> list[Row]:
        """Return a row a record."""
        if not self._records:
            replayed = self.replayed_at(None)
            shard, number = self._text("shard") or self._info.shard, self._text("sequence_number") or self._info.first
            return [self._row(self.key, shard, number, replayed)]
        return [
            self._row(f"{self.key}#{number}", self._info.shard, number, self.replayed_at(number))
            for number in self._records
        ]

    def summary(self) -> Summary:
        """Return the whole document in short."""
        numbers = self.sequence_numbers
        times = [self.replayed_at(number) for number in numbers or (None,)]
        done = [time for time in times if time]
        return Summary(
            id=self.key,
            function=self.function,
            reason=self.reason,
            message=self._message(),
            time=self._text("timestamp"),
            shard=self._text("shard") or self._info.shard,
            sequence_number=self._text("sequence_number") or (numbers[0] if numbers else self._info.first),
            key=self._text("partition_key") or self._only_key(),
            records=max(1, len(numbers)),
            calls=self._context.calls,
            replayed=len(done),
            replayed_at=max(done) if len(done) == len(times) else None,
        )

    def replayed_at(self, sequence_number: str | None) -> str | None:
        """Return when a record (or a document without records: None) was replayed, None if it was not."""
        done: str | dict[str, str] | None = self._part(REPLAYED, str | dict[str, str])
        if isinstance(done, dict):
            return done.get(sequence_number or "")
        return done

    def remaining(self) -> list[str]:
        """Return the records that were not replayed yet, in their order."""
        return [number for number in self._records if self.replayed_at(number) is None]

    def payload(self, sequence_numbers: Sequence[str] = ()) -> bytes:
        """Return the event that replays these records (of a document without records: its whole payload)."""
        if self._records:
            records = b",".join(bytes(self._records[number]) for number in sequence_numbers)
            return b'{"Records":[' + records + b"]}"
        payload = self._members.get("payload", self._members.get("requestPayload"))
        if payload is None or self.key.startswith(BATCH):
            raise HeadraceError(f"{self.key} carries no record, so it can't be replayed.")
        return bytes(payload)

    def tried(self, time: str) -> bytes:
        """Return the document with the mark of a replay that begins now."""
        return self._with(TRIED, time)

    def is_tried(self, time: str) -> bool:
        """Return whether it still bears the mark of the replay that began at `time`."""
        return self._text(TRIED) == time

    def replayed(self, sequence_numbers: Sequence[str], time: str) -> bytes:
        """Return the document with these records noted as replayed (none named: all of it)."""
        self._members.pop(TRIED, None)
        done = {number: at for number in self._records if (at := self.replayed_at(number))}
        done |= dict.fromkeys(sequence_numbers, time)
        everything = not sequence_numbers or len(done) == len(self._records)
        return self._with(REPLAYED, time if everything else done)

    def _message(self) -> str | None:
        if text := self._text("message"):
            return text
        error = self._part("responsePayload", _Error)
        return f"{error.kind}: {error.message}" if error is not None else None

    def _only_key(self) -> str | None:
        if len(self._records) != 1:
            return None
        (raw,) = self._records.values()
        return msgspec.json.decode(raw, type=_Record).kinesis.key

    def _row(self, row_id: str, shard: str | None, number: str | None, replayed: str | None) -> Row:
        time = self._text("timestamp")
        return Row(row_id, self.function, shard, number, self.reason, time, replayed or msgspec.UNSET)

    def _split(self) -> _Members:
        """Return the batch's records by sequence number, in order, each as it stands in the document."""
        payload = bytes(self._members.get("payload", b""))
        try:
            if payload.startswith(b'"'):  # AWS writes the event as text
                payload = msgspec.json.decode(payload, type=str).encode()
            records = msgspec.json.decode(payload, type=_Batch).records
            return {msgspec.json.decode(raw, type=_Record).kinesis.sequence_number: raw for raw in records}
        except _UNREADABLE:
            return {}

    def _text(self, name: str) -> str | None:
        return self._part(name, str) or None

    def _part(self, name: str, kind: Any) -> Any:
        try:
            return msgspec.json.decode(self._members[name], type=kind)
        except (KeyError, *_UNREADABLE):
            return None

    def _with(self, name: str, value: object) -> bytes:
        return msgspec.json.encode({**self._members, name: value})


def split_id(row_id: str) -> tuple[str, str | None]:
    """Take the id of a row apart: the document's key, and the sequence number where it names one record."""
    key, _, number = row_id.partition("#")
    return key, number or None
