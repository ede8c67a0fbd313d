"""A function's handler: imported, called, and its answer or error as Lambda puts it on the wire."""

import importlib
import json
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from headrace.runtime.messages import error_document

Handler = Callable[[Any, Any], Any]

RESPONSE_BYTES_MAX = 6_291_556
_MESSAGE_MAX = 100_000  # characters of an error's message or of one line of its stack trace
_FRAMES_MAX = 100


class Fault(Exception):
    """An error under a name of Lambda's own, not of an exception class."""

    def __init__(self, kind: str, message: str, stack: list[str] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.stack = stack or []


def load(name: str, folder: str) -> Handler:
    """Import `module.attribute` from `folder` and return the handler; raises Fault, or what the module raised."""
    module_name, _, attribute = name.rpartition(".")
    if not module_name:
        raise Fault("Runtime.MalformedHandlerName", f"Bad handler '{name}': write it like module.function")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise Fault("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}") from error
    except SyntaxError as error:
        place = [f'  File "{error.filename}" Line {error.lineno}\n    {(error.text or "").strip()}\n']
        raise Fault("Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {error}", place) from error
    handler = getattr(module, attribute, None)
    if not callable(handler):
        raise Fault("Runtime.HandlerNotFound", f"Handler '{attribute}' missing on module '{module_name}'")
    return handler  # type: ignore[no-any-return]


def parse(payload: bytes) -> Any:
    """Return the event of a JSON payload; an empty one is an empty object, as on Lambda. Raises Fault."""
    try:
        return json.loads(payload) if payload else {}
    except (ValueError, RecursionError) as error:
        raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from error


def marshal(answer: Any) -> bytes:
    """Return an answer as JSON; raises Fault for what JSON can't hold or Lambda refuses for its size."""
    if answer is None:
        return b"null"
    try:
        payload = json.dumps(answer, default=_default, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Fault("Runtime.MarshalError", f"Unable to marshal response: {error}") from error
    if len(payload) > RESPONSE_BYTES_MAX:
        raise Fault(
            "Function.ResponseSizeTooLarge",
            f"Response payload size ({len(payload)} bytes) exceeded maximum allowed payload size "
            f"({RESPONSE_BYTES_MAX} bytes).",
        )
    return payload


def _default(value: Any) -> float:
    """Lambda's runtime sends a Decimal as a number; nothing else is added to what JSON knows."""
    decimal = sys.modules.get("decimal")
    if decimal is not None and isinstance(value, decimal.Decimal):
        return float(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def describe(error: BaseException, request_id: str | None = None) -> tuple[bytes, str]:
    """Return an error's document, and its text for the log."""
    if isinstance(error, Fault):
        document = error_document(error.kind, error.message[:_MESSAGE_MAX], error.stack, request_id)
        return document, f"[ERROR] {error.kind}: {error.message}\n{''.join(error.stack)}"
    kind = type(error).__name__
    try:
        message = str(error)[:_MESSAGE_MAX]
    except Exception as broken:
        message = f"(its text can't be made: {type(broken).__name__})"
    stack = _stack(error.__traceback__)
    trace = "Traceback (most recent call last):\n" + "".join(stack)
    return error_document(kind, message, stack, request_id), f"[ERROR] {kind}: {message}\n{trace}"


def _stack(trace: TracebackType | None) -> list[str]:
    """Return the stack from the function's own first frame on."""
    import traceback

    own = __file__.rpartition("/")[0]
    frames = traceback.extract_tb(trace)
    while frames and (frames[0].filename.startswith(own) or "importlib" in frames[0].filename):
        del frames[0]
    return [line[:_MESSAGE_MAX] for line in traceback.format_list(frames[-_FRAMES_MAX:])]
