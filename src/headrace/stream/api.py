"""Kinesis on the wire: JSON 1.1, or CBOR as Java's SDKs send it; `X-Amz-Target: Kinesis_20131202.<Operation>`.

One operation, one short method. What a request must look like is data: botocore's model, with the changes below.
CBOR is the same but for the body: blobs are bytes, moments as in `cbor.py`, and maps and lists may be open-ended.
"""

from collections.abc import Awaitable, Callable
from functools import cached_property, partial
from typing import Any

import msgspec

from headrace import cbor, shapes
from headrace.stream.describe import Describes
from headrace.stream.manage import Manages
from headrace.stream.put import CBOR, JSON, RECORD_BYTES_MAX, VALUES_MAX, Puts
from headrace.stream.read import Encode, Reads, in_cbor
from headrace.stream.streams import Streams, not_found
from headrace.system import ACCOUNT
from headrace.wire import AMZ_CBOR_1_1, AMZ_JSON_1_1, Request, Response, WireError

TARGET = "Kinesis_20131202."
_PUT_RECORD, _PUT_RECORDS = f"{TARGET}PutRecord", f"{TARGET}PutRecords"

# Where AWS answers otherwise than the model lets expect. By shape name.
_CHANGES: dict[str, dict[str, Any]] = {
    "Data": {"max": RECORD_BYTES_MAX},
    "PutRecordInput": {"required": ["Data", "PartitionKey"]},  # optional only with a distribution that is not built
    "PutRecordsRequestEntry": {"required": ["Data", "PartitionKey"]},
    "GetRecordsInputLimit": {"min": 1, "max": 2**31},  # too large a limit is an InvalidArgumentException
    "ShardIteratorType": {
        "enum": ["AFTER_SEQUENCE_NUMBER", "LATEST", "AT_TIMESTAMP", "AT_SEQUENCE_NUMBER", "TRIM_HORIZON"]
    },
}

Operation = Callable[[dict[str, Any]], Awaitable[dict[str, Any] | bytes | None]]


class Kinesis:
    """Answers Kinesis requests over a gateway's streams."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._puts = Puts(streams, JSON, self._parse, self._name)
        self._cbor_puts = Puts(streams, CBOR, self._parse_cbor, self._name)
        self._reads = Reads(streams)
        self._describes = describes = Describes(streams)
        manages = Manages(streams)
        self._operations: dict[str, Operation] = {
            "AddTagsToStream": self._named(manages.add_tags),
            "CreateStream": manages.create,
            "DecreaseStreamRetentionPeriod": self._named(manages.decrease_retention),
            "DeleteStream": self._named(manages.delete),
            "DescribeLimits": describes.limits,
            "DescribeStream": self._named(describes.stream),
            "DescribeStreamSummary": self._named(describes.summary),
            "GetRecords": partial(self._get_records, encode=msgspec.json.encode),
            "GetShardIterator": self._named(self._reads.get_shard_iterator),
            "IncreaseStreamRetentionPeriod": self._named(manages.increase_retention),
            "ListShards": self._list_shards,
            "ListStreams": describes.streams,
            "ListTagsForResource": self._of_resource(manages.list_all_tags),
            "ListTagsForStream": self._named(manages.list_tags),
            "RemoveTagsFromStream": self._named(manages.remove_tags),
            "TagResource": self._of_resource(manages.add_tags),
            "UntagResource": self._of_resource(manages.remove_tags),
        }

    def handle(self, request: Request) -> Awaitable[Response]:
        """Answer one request; raises WireError, and StorageError where the disk refuses."""
        target = request.headers["x-amz-target"]
        if target == _PUT_RECORD:
            return self._puts.put_record(request.body)
        if target == _PUT_RECORDS:
            return self._puts.put_records(request.body)
        return self._answer(target[len(TARGET) :], request)

    async def _answer(self, operation: str, request: Request) -> Response:
        run = self._operations.get(operation)
        if run is None:
            raise self._unknown(operation)
        answer = await run(self._parse(operation, request.body))
        if answer is None:
            return Response(200, b"", AMZ_JSON_1_1)
        return Response(200, answer if isinstance(answer, bytes) else msgspec.json.encode(answer), AMZ_JSON_1_1)

    async def handle_cbor(self, request: Request) -> Response:
        """Answer one request in CBOR, as `handle` does in JSON."""
        operation = request.headers["x-amz-target"][len(TARGET) :]
        return Response(200, await self._in_cbor(operation, request.body), AMZ_CBOR_1_1)

    async def _in_cbor(self, operation: str, body: bytes) -> bytes:
        if operation == "PutRecord":
            return cbor.from_json((await self._cbor_puts.put_record(body)).body)
        if operation == "PutRecords":
            return cbor.from_json((await self._cbor_puts.put_records(body)).body)
        run = self._operations.get(operation)
        if run is None:
            raise self._unknown(operation)
        asked = self._parse_cbor(operation, body)
        if operation == "GetRecords":
            return await self._get_records(asked, in_cbor)
        answer = await run(asked)
        return b"" if answer is None else cbor.encode(answer, in_ms=True)

    @cached_property
    def _model(self) -> shapes.Service:
        operations = ("PutRecord", "PutRecords", *self._operations)
        return shapes.Service("kinesis", operations, _CHANGES, values_max=VALUES_MAX)

    def _parse(self, operation: str, body: bytes) -> dict[str, Any]:
        return self._model.parse(operation, body)

    def _parse_cbor(self, operation: str, body: bytes) -> dict[str, Any]:
        try:
            value = cbor.decode(body, VALUES_MAX)
        except ValueError as error:
            raise WireError("SerializationException", f"The body is not CBOR: {error}") from None
        return self._model.check(operation, value, shapes.AMZ_CBOR)

    def _unknown(self, operation: str) -> WireError:
        if operation in self._model.operations:
            return WireError("UnknownOperationException", f"{operation} is not built yet.", 501)
        return WireError("UnknownOperationException", f"Kinesis has no operation {operation!r}.")

    # --- which stream ---

    def _named(self, method: Callable[[str, dict[str, Any]], Awaitable[Any]]) -> Operation:
        """Return an operation whose method is handed the stream's name first."""

        async def run(asked: dict[str, Any]) -> dict[str, Any] | bytes | None:
            answer: dict[str, Any] | bytes | None = await method(self._name(asked), asked)
            return answer

        return run

    def _of_resource(self, method: Callable[[str, dict[str, Any]], Awaitable[Any]]) -> Operation:
        """Return the same for an operation that names it as its ResourceARN."""
        run = self._named(method)
        return lambda asked: run(asked | {"StreamARN": asked["ResourceARN"]})

    def _name(self, asked: dict[str, Any]) -> str:
        """Return the name of the stream that a request is about."""
        name, arn = asked.get("StreamName"), asked.get("StreamARN")
        of_arn = _name_of_arn(arn) if arn is not None else None
        if name is not None and of_arn is not None and name != of_arn:
            raise WireError("InvalidArgumentException", f"StreamName {name} and StreamARN {arn} are not of one stream.")
        found = name if name is not None else of_arn
        if found is None:
            raise WireError("InvalidArgumentException", "Either StreamName or StreamARN should be provided.")
        if asked.get("DryRun"):
            self._streams.live(found)
            raise _dry_run()
        return found

    async def _get_records(self, asked: dict[str, Any], encode: Encode) -> bytes:
        arn = asked.get("StreamARN")
        if asked.get("DryRun"):
            raise _dry_run()
        return await self._reads.get_records(asked, _name_of_arn(arn) if arn is not None else None, encode)

    async def _list_shards(self, asked: dict[str, Any]) -> dict[str, Any]:
        named = "StreamName" in asked or "StreamARN" in asked
        return self._describes.shards(self._name(asked) if named else None, asked)


def _name_of_arn(arn: str) -> str:
    """Return the stream of an ARN; one of another account is not found."""
    account, _, resource = arn.split(":", 4)[4].partition(":")
    name = resource.removeprefix("stream/")
    if account != ACCOUNT:
        raise not_found(name, account)
    return name


def _dry_run() -> WireError:
    return WireError(
        "DryRunOperationException", "The request would have succeeded, but the DryRun parameter was specified."
    )
