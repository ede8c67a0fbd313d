"""Erasing a device from failure documents: what was sent goes, the document stays, so that the books do."""

from typing import Any, NamedTuple

import msgspec
import pybase64

from headrace import clock
from headrace.archive.base import Bucket
from headrace.errors import InvalidObjectState, NotFound
from headrace.event.lambda_event import arrival_ms
from headrace.event.redaction import NOBODY, redact

PREFIXES = ("rejected/", "aws/lambda/", "async/")
ERASED_AT = "erased_at"
_GONE = "(erased)"


class Emptied(NamedTuple):
    """How many documents had something, and the keys of those that nobody could look into: cold, or not JSON."""

    documents: int
    cold: list[str]
    unreadable: list[str]


def erase(bucket: Bucket, device_id: str, before_ms: int) -> Emptied:
    """Empty a bucket's documents of what is a device's."""
    documents, cold, unreadable = 0, list[str](), list[str]()
    for info in [info for prefix in PREFIXES for info in bucket.list(prefix)]:
        try:
            document = msgspec.json.decode(bucket.get(info.key), type=dict[str, Any])
            if redacted(document, device_id, before_ms):
                document[ERASED_AT] = clock.rfc3339_ms(clock.now_ms())
                bucket.put(info.key, msgspec.json.encode(document))
                documents += 1
        except NotFound:
            continue  # a rule has deleted it meanwhile
        except InvalidObjectState:
            cold.append(info.key)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            unreadable.append(info.key)
    return Emptied(documents, cold, unreadable)


def redacted(document: dict[str, Any], device_id: str, before_ms: int) -> bool:
    """Take out of a document what is a device's; return whether there was anything."""
    found = False
    for name in ("payload", "requestPayload"):
        payload, is_text = document.get(name), False
        if isinstance(payload, str):  # AWS writes the event of a batch as text
            payload, is_text = msgspec.json.decode(payload), True
        if isinstance(payload, dict) and payload.get("device_id") == device_id:
            document[name] = None
            found = True
        elif isinstance(payload, dict) and isinstance(payload.get("Records"), list):
            is_own = [_record(record, device_id, before_ms) for record in payload["Records"]]
            if any(is_own):
                document[name] = msgspec.json.encode(payload).decode() if is_text else payload
                found = True
    if found:
        if "message" in document:  # it may tell what was sent
            document["message"] = _GONE
        if document.get("partition_key") == device_id:
            document["partition_key"] = NOBODY
        document.pop("responsePayload", None)
    return found


def _record(record: Any, device_id: str, before_ms: int) -> bool:
    """Take a device out of a record of a Lambda event; return whether it was in it."""
    try:
        kinesis = record["kinesis"]
        if arrival_ms(record) >= before_ms:
            return False
        left = redact(pybase64.b64decode(kinesis["data"]), kinesis["partitionKey"], device_id)
    except (TypeError, KeyError, ValueError):
        return False
    if left is None:
        return False
    kinesis["data"], kinesis["partitionKey"] = pybase64.b64encode(left.data).decode(), left.key
    return True
