"""One failure in full: why it failed, and what the device had sent, decoded."""

import base64
import contextlib
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from headrace.console import words
from headrace.console.backend import READING_S_MAX, Backend
from headrace.console.snapshot import Failure
from headrace.errors import HeadraceError

RECORDS_MAX = 100  # of one document, shown


class Sent(NamedTuple):
    """What was sent: where it stands, what kind of data it is, and the data as text."""

    title: str
    kind: str
    text: str


class Detail(NamedTuple):
    """`error` is what the function's last call said, where that is still known."""

    error: str | None
    sent: list[Sent]


async def detail(backend: Backend, failure: Failure) -> Detail:
    """Return everything known of a failure."""
    body = await backend.get_bytes("failures/document", timeout_s=READING_S_MAX, id=failure.id)
    document = msgspec.json.decode(body, type=dict[str, Any])
    error = None if failure.rejected else await _error(backend, failure, document)
    return Detail(error, _sent(document, body))


def _sent(document: dict[str, Any], body: bytes) -> list[Sent]:
    payload = document.get("payload", document.get("requestPayload"))
    if isinstance(payload, str):  # AWS writes a batch as text
        payload = msgspec.json.decode(payload)
    if not (isinstance(payload, dict) and isinstance(payload.get("Records"), list)):
        return [Sent("What the function was called with", *words.payload(msgspec.json.encode(payload)))]
    records = [record["kinesis"] for record in payload["Records"][:RECORDS_MAX] if "kinesis" in record]
    return [_record(at, record) for at, record in enumerate(records, 1)] or [Sent("The document", *words.payload(body))]


def _record(at: int, kinesis: dict[str, Any]) -> Sent:
    data = base64.b64decode(kinesis.get("data", ""))
    arrived_ms = kinesis.get("approximateArrivalTimestamp", 0) * 1000
    title = f"{at}. key {words.readable(str(kinesis.get('partitionKey')))}, arrived {words.utc(arrived_ms)}"
    return Sent(title, *words.payload(data))


async def _error(backend: Backend, failure: Failure, document: dict[str, Any]) -> str | None:
    """Return what the last call of the failed batch ended with: the record's story knows, as far back as it goes."""
    arn = document.get("KinesisBatchInfo", {}).get("streamArn", "")
    if not (arn and failure.shard and failure.sequence_number):
        return failure.message
    path = "/".join(quote(part, safe="") for part in (arn.rpartition("/")[2], failure.shard, failure.sequence_number))
    with contextlib.suppress(HeadraceError):
        story = await backend.get(f"trace/{path}", timeout_s=READING_S_MAX)
        for function in story["functions"]:
            if function["function"] == failure.function:
                return next((call["detail"] for call in reversed(function["calls"]) if call["detail"]), None)
    return None
