"""`headrace trace`: one record's story, from the log, the checkpoints, the batch journals, the table and the buckets.

    GET /_headrace/trace/<stream>/<shard>/<sequence number>

A shard is its id or its index. What the log no longer holds still has its archive object, its failure documents and,
by the archived copy, its items. Everything is read in a thread of its own, when asked: nothing is kept for it.
"""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from headrace import clock, event, rpc
from headrace.archive.base import Bucket
from headrace.archive.local import LocalBucket
from headrace.errors import HeadraceError, InvalidObjectState, NotFound, Unavailable, UsageError
from headrace.event import times
from headrace.event.lambda_event import LambdaRecord
from headrace.ledger import parse_raw_key
from headrace.plural import counted
from headrace.record import (
    Record,
    SequenceNumber,
    parse_sequence_number,
    parse_shard_id,
    sequence_number,
    shard_id,
)
from headrace.runtime import batch_journal, kinesis_event
from headrace.runtime.kinesis_event import Source
from headrace.settings import Layout
from headrace.stream.catalog import load
from headrace.stream.reader import Reader
from headrace.system import Mapping, System, stream_arn
from headrace.table.local import LocalTable
from headrace.wire import Response

ITEMS_MAX = 100  # of one record, shown
CALLS_MAX = 100  # of one function, shown: the last ones
RECORD_BYTES_MAX = 16 * 1024 * 1024
_DEFAULT_FAILURES = "failures"
_STATUS: tuple[tuple[type[HeadraceError], int, str], ...] = (
    (NotFound, 404, "not_found"),
    (UsageError, 400, "usage"),
    (Unavailable, 503, "unavailable"),
)


class _State(msgspec.Struct):
    """What a checkpoint says (its other fields are its own)."""

    start: int
    next: int
    count: int = 0
    calls: int = 0
    expired: int = 0
    filtered: int = 0


_States = dict[str, dict[str, dict[str, _State]]]


class _BatchInfo(msgspec.Struct):
    first: str = msgspec.field(name="startSequenceNumber")
    last: str = msgspec.field(name="endSequenceNumber")


class _Context(msgspec.Struct):
    condition: str


class _GivenUp(msgspec.Struct):
    info: _BatchInfo = msgspec.field(name="KinesisBatchInfo")
    context: _Context = msgspec.field(name="requestContext")
    timestamp: str
    replayed_at: str | dict[str, str] | None = None


class _Rejected(msgspec.Struct):
    reason: str
    message: str
    timestamp: str
    replayed_at: str | None = None


class Place(NamedTuple):
    """Which record: checked against the stream, so that it was accepted."""

    source: Source
    text: str
    parsed: SequenceNumber

    @property
    def number(self) -> int:
        """Return its number in its shard."""
        return self.parsed.number


class Tracer:
    """Answers what is known of one record. Safe to share: each call opens what it reads, and closes it."""

    def __init__(self, layout: Layout, system: System, patience_s: float = 1.0) -> None:
        """`patience_s`: how long to wait for a process that is down; what it knows is then left out."""
        self._layout = layout
        self._system = system
        self._patience_s = patience_s

    def answer(self, path: str) -> Response:
        """Answer a path under `/_headrace/trace/`."""
        parts = [unquote(part) for part in path.split("/")[3:] if part]
        try:
            if len(parts) != 3:
                raise UsageError("Ask for a record.", "GET /_headrace/trace/<stream>/<shard>/<sequence number>")
            return Response(200, msgspec.json.encode(self.story(*parts)))
        except HeadraceError as error:
            status, word = next(
                ((code, name) for kind, code, name in _STATUS if isinstance(error, kind)), (500, "failed")
            )
            body = {"error": word, "message": error.problem, "hint": error.hint}
            return Response(status, msgspec.json.encode(body))

    def story(self, stream: str, shard: str, sequence: str) -> dict[str, Any]:
        """Return everything known of a record; raises UsageError, NotFound."""
        states = self._checkpoints()  # asked first: what they say is done then shows in table and buckets
        reader = Reader(self._layout.streams / stream)
        try:
            place = self._place(reader, stream, shard, sequence)
            record, position = _from_log(reader, place)
            first = reader.first_number(place.source.shard)
        finally:
            reader.close()
        archived = list(self._archived(place))
        data = kinesis_event.build([record], place.source)["Records"][0] if record else None
        if data is None and archived:
            data = self._from_archive(place, archived[0]["key"])
        log = "held" if record else "aged out" if place.number < first else "damaged"
        return {
            "stream": stream,
            "shard": shard_id(place.source.shard),
            "sequence_number": sequence,
            "number": place.number,
            "accepted": _accepted(place, record, data, position) | {"log": log},
            "functions": [self._function(mapping, place, states) for mapping in self._mappings(stream)],
            "items": self._items(data),
            "archive": archived,
        }

    # -- which record

    def _place(self, reader: Reader, stream: str, shard: str, sequence: str) -> Place:
        entry = load(self._layout.streams / stream)
        if entry is None or "/" in stream or stream in ("", ".", ".."):
            names = ", ".join(each.name for each in self._system.streams)
            raise NotFound(f"There is no stream {stream!r}.", f"The template has: {names}.")
        index = int(shard) if shard.isascii() and shard.isdigit() and len(shard) <= 12 else parse_shard_id(shard)
        created = {each.shard: each.created_s for each in entry.shards}
        if index not in created:
            known = ", ".join(shard_id(each) for each in sorted(created))
            raise NotFound(f"The stream {stream} has no {shard_id(index)}.", f"It has: {known}.")
        parsed = parse_sequence_number(sequence)
        if parsed.shard != index:
            raise UsageError(
                f"That sequence number is of {shard_id(parsed.shard)}, not of {shard_id(index)}.",
                "PutRecord and PutRecords answer both: take them from one answer.",
            )
        place = Place(Source(stream, index, created[index]), sequence, parsed)
        following = reader.bounds().get(index, (0, 0))[1]
        if parsed.shard_created_s != created[index] or parsed.number >= following:
            raise _never_accepted(place)
        return place

    def _mappings(self, stream: str) -> list[Mapping]:
        return [mapping for mapping in self._system.mappings if mapping.stream == stream]

    # -- functions

    def _function(self, mapping: Mapping, place: Place, states: _States | None) -> dict[str, Any]:
        calls = batch_journal.calls_with(
            self._layout.batches, mapping.function, mapping.stream, place.source.shard, place.number
        )
        failures = [*self._rejected(mapping, place), *self._given_up(mapping, place, calls)]
        of_stream = (states or {}).get(mapping.function, {}).get(mapping.stream, {})
        state = of_stream.get(shard_id(place.source.shard))
        unknown = states is None and not failures
        return {
            "function": mapping.function,
            "state": "unknown" if unknown else _state(state, place.number, bool(failures), calls),
            "calls": [_call(entry) for entry in calls[-CALLS_MAX:]],
            "calls_known": len(calls),
            "failures": failures,
        }

    def _checkpoints(self) -> _States | None:
        """Return function -> stream -> shard id -> state; None while the runtime is down."""
        client = rpc.Client(self._layout.runtime_socket, patience_s=self._patience_s)
        try:
            return rpc.decode(client.call("checkpoints"), type=_States)
        except Unavailable:
            return None
        finally:
            client.close()

    def _rejected(self, mapping: Mapping, place: Place) -> Iterator[dict[str, Any]]:
        """Yield the documents that the function wrote of parts of the record."""
        prefix = f"rejected/{mapping.function}/{place.source.stream}/{shard_id(place.source.shard)}/{place.text}."
        for bucket in self._failure_buckets(mapping):
            for info in bucket.list(prefix):
                document = _read(bucket, info.key, _Rejected)
                if document is not None:
                    yield {
                        "id": info.key,
                        "reason": document.reason,
                        "message": document.message,
                        "time": document.timestamp,
                        "replayed_at": document.replayed_at,
                    }

    def _given_up(self, mapping: Mapping, place: Place, calls: list[batch_journal.Entry]) -> Iterator[dict[str, Any]]:
        """Yield the documents of batches that were given up with the record in them.

        Their names end in the id of the last call, which the journal knows; without it every document is looked at.
        """
        failed = {entry.request_id for entry in calls if entry.result != batch_journal.SUCCESS}
        prefix = f"aws/lambda/{mapping.uuid}/{shard_id(place.source.shard)}/"
        for bucket in self._failure_buckets(mapping):
            found = [info.key for info in bucket.list(prefix)]
            likely = [key for key in found if any(key.endswith(request_id) for request_id in failed)]
            for key in likely or found:
                document = _read(bucket, key, _GivenUp)
                if document is None:
                    continue
                first, last = (parse_sequence_number(end).number for end in (document.info.first, document.info.last))
                if first <= place.number <= last:
                    done = document.replayed_at
                    yield {
                        "id": f"{key}#{place.text}",
                        "reason": document.context.condition,
                        "message": f"given up with a batch of {counted(last - first + 1, 'record')}",
                        "time": document.timestamp,
                        "replayed_at": done.get(place.text) if isinstance(done, dict) else done,
                    }

    def _failure_buckets(self, mapping: Mapping) -> Iterator[Bucket]:
        for name in sorted({mapping.failures_bucket or _DEFAULT_FAILURES, _DEFAULT_FAILURES}):
            yield LocalBucket(self._layout.buckets / name)

    # -- items

    def _items(self, data: LambdaRecord | None) -> dict[str, Any] | None:
        """Return the identities in the record, and whether the table of the function `store` has them."""
        function = self._system.function("store")
        if data is None or function is None:
            return None
        name = function.environment.get("EVENTS_TABLE", "events")
        found = event.decode(data)
        table = LocalTable(name, rpc.Client(self._layout.table_socket, patience_s=self._patience_s), patience_s=0.0)
        try:
            shown = [_item(table, one) for one in found[:ITEMS_MAX]]
        except Unavailable:
            return {"table": name, "events": len(found), "shown": [], "problem": "the table process does not answer"}
        finally:
            table.close()
        return {"table": name, "events": len(found), "shown": shown, "problem": None}

    # -- archive

    def _archived(self, place: Place) -> Iterator[dict[str, Any]]:
        """Yield the raw objects that hold the record: one, or more if its batch was cut anew after a crash."""
        if not any(bucket.name == "archive" for bucket in self._system.buckets):
            return
        bucket = LocalBucket(self._layout.buckets / "archive")
        for info in bucket.list(_hour_prefix(place)):
            raw = parse_raw_key(info.key)
            if raw is None or not raw.first <= place.number <= raw.last:
                continue
            whole = raw.count == raw.last - raw.first + 1
            if whole or self._from_archive(place, info.key) is not None:
                yield {"key": info.key, "size": info.size, "modified": clock.rfc3339_ms(info.modified_ms)}

    def _from_archive(self, place: Place, key: str) -> LambdaRecord | None:
        """Return the record as a raw object holds it, None if it does not."""
        from headrace.archive import raw  # compression: for this alone

        with contextlib.suppress(InvalidObjectState):  # cold: it is not restored for that
            for line in raw.lines(LocalBucket(self._layout.buckets / "archive").get(key)):
                if line.seq == place.text:
                    return _lambda_record(line)
        return None


def _never_accepted(place: Place) -> NotFound:
    return NotFound(
        f"The stream {place.source.stream} never accepted a record of that sequence number.",
        "Copy the SequenceNumber that PutRecord or PutRecords of this data directory's backend answered.",
    )


def _from_log(reader: Reader, place: Place) -> tuple[Record | None, int]:
    """Return the record and the position of its frame; None if the log no longer delivers it."""
    shard, number = place.source.shard, place.number
    if number < reader.first_number(shard):
        return None, 0
    position = reader.find(shard, number)
    found, _ = reader.records(position, shard, number, 1, RECORD_BYTES_MAX)
    if not found or found[0].number != number:
        return None, 0
    if sequence_number(place.source.shard_created_s, shard, number, found[0].arrival_ms) != place.text:
        raise _never_accepted(place)
    return found[0], position


def _accepted(place: Place, record: Record | None, data: LambdaRecord | None, position: int) -> dict[str, Any]:
    """Return when and where it was accepted; from the archive's copy, or the number alone, where the log lost it."""
    if record is not None:
        size = len(record.data)
        return {
            "arrived_at": clock.rfc3339_ms(record.arrival_ms),
            "partition_key": record.key,
            "bytes": size,
            "position": position,
        }
    if data is not None:
        import pybase64

        kinesis = data["kinesis"]
        return {
            "arrived_at": clock.rfc3339_ms(round(kinesis["approximateArrivalTimestamp"] * 1000)),
            "partition_key": kinesis["partitionKey"],
            "bytes": len(pybase64.b64decode(kinesis["data"])),
            "position": None,
        }
    arrived_at = f"{datetime.fromtimestamp(place.parsed.arrival_s, UTC):%Y-%m-%dT%H:%M:%S}Z"
    return {"arrived_at": arrived_at, "partition_key": None, "bytes": None, "position": None}


def _state(state: _State | None, number: int, has_failures: bool, calls: list[batch_journal.Entry]) -> str:
    if has_failures:
        return "failed"
    if state is None:
        return "pending"
    if number < state.start:
        return "before the starting position"
    if number >= state.next:
        return "under way" if number < state.next + state.count else "pending"
    succeeded = any(entry.result != batch_journal.FAILED for entry in calls)
    if succeeded or not (state.expired or state.filtered):
        return "processed"
    return "processed or expired"  # the counters know how many, only the journal which


def _call(entry: batch_journal.Entry) -> dict[str, Any]:
    return {
        "first": entry.first,
        "count": entry.count,
        "attempt": entry.attempt,
        "started": clock.rfc3339_ms(entry.started_ms),
        "duration_ms": entry.duration_ms,
        "result": entry.result,
        "detail": entry.detail,
        "request_id": entry.request_id,
    }


def _item(table: LocalTable, one: event.Event | event.Fault) -> dict[str, Any]:
    if isinstance(one, event.Fault):
        place = {"subsequence": one.subsequence, "index": one.index}
        return {"fault": one.reason, "message": one.message, **place}
    stored = table.get(one.device_id, event.sort_key(one))
    identity = {"device_id": one.device_id, "time": times.short(one.time), "id": one.id}
    return {**identity, "stored": stored is not None, "expires_at": stored.expires_at if stored else None}


def _hour_prefix(place: Place) -> str:
    at = datetime.fromtimestamp(place.parsed.arrival_s, UTC)
    return f"raw/dt={at:%Y-%m-%d}/hour={at:%H}/{place.source.stream}-{shard_id(place.source.shard)}-"


def _lambda_record(line: Any) -> LambdaRecord:
    """Return a raw object's line as the Lambda event had it: enough of it to decode."""
    import pybase64

    data = line.data_b64 if line.data_b64 is not None else pybase64.b64encode_as_string(bytes(line.data))
    return {
        "kinesis": {
            "partitionKey": line.key,
            "sequenceNumber": line.seq,
            "data": data,
            "approximateArrivalTimestamp": line.arrived_us / 1e6,
        },
        "eventID": f"{line.shard}:{line.seq}",
        "eventSourceARN": stream_arn(line.stream),
    }


def _read(bucket: Bucket, key: str, kind: Any) -> Any:
    """Return a failure document, None if it is gone or unreadable."""
    try:
        return msgspec.json.decode(bucket.get(key), type=kind)
    except (HeadraceError, msgspec.DecodeError):
        return None
