"""What the runtime and a worker say to each other: MessagePack arrays in length-prefixed frames on a socket pair.

The runtime sends one `Call` at a time and gets one `Reply`. The worker speaks first: `Ready`, once its function is
imported or has failed to be.
"""

import struct

import msgspec

LENGTH = struct.Struct("<I")
FD_VARIABLE = "HEADRACE_WORKER_FD"
LOG_VARIABLE = "HEADRACE_WORKER_LOG"


class Batch(msgspec.Struct, array_like=True):
    """Records that the worker reads from the log itself: `count` numbers from `first` on, at or after `position`."""

    folder: str
    stream: str
    shard: int
    shard_created_s: int
    position: int
    first: int
    count: int
    report_item_failures: bool


class Call(msgspec.Struct, array_like=True):
    """An invocation: `payload` is the event as JSON, unless there is a `batch`."""

    request_id: str
    timeout_s: int
    payload: bytes = b""
    batch: Batch | None = None
    client_context: str | None = None
    log_tail: bool = False


class Reply(msgspec.Struct, array_like=True):
    """What became of an invocation: `payload` is the answer as JSON, or the error's document.

    `error` is set for a function error. For a batch: `reported` is the lowest number in its batch response,
    `bad_answer` why that is none, `documented` the numbers whose records the function wrote failure documents for,
    `lost` the numbers that the log could not deliver. With `not_called` the log could not be read at all: the function
    was not called.
    """

    payload: bytes
    error: bool = False
    log: bytes | None = None
    reported: int | None = None
    bad_answer: str | None = None
    documented: list[int] = []
    lost: list[int] = []
    not_called: str | None = None


class Ready(msgspec.Struct, array_like=True):
    """The worker has imported its function; else `error` is the error's document."""

    error: bytes | None = None


def error_document(kind: str, message: str, stack: list[str] | None = None, request_id: str | None = None) -> bytes:
    """Return a function error as Lambda's wire has it."""
    message = message.encode(errors="backslashreplace").decode()  # a lone surrogate is no JSON
    document: dict[str, object] = {"errorMessage": message, "errorType": kind}
    if request_id is not None:
        document["requestId"] = request_id
    if stack is not None:
        document["stackTrace"] = stack
    return msgspec.json.encode(document)
