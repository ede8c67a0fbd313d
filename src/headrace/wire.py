"""What an HTTP exchange with the backend is made of, for every role that answers one."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple, TypeVar

import msgspec

from headrace.errors import ClockInDoubt, Conflict, HeadraceError, InvalidObjectState, NotFound, UsageError

JSON = "application/json"
AMZ_JSON_1_1 = "application/x-amz-json-1.1"
AMZ_CBOR_1_1 = "application/x-amz-cbor-1.1"
# What an answer under /_headrace/ says of an error: its word, its status.
_ERRORS: dict[type[HeadraceError], tuple[str, int]] = {
    NotFound: ("not_found", 404),
    UsageError: ("usage", 400),
    InvalidObjectState: ("invalid_object_state", 403),
    Conflict: ("conflict", 409),
    ClockInDoubt: ("clock", 409),
}
_T = TypeVar("_T")


class Request(NamedTuple):
    """An HTTP request, whole. Header names are lower case; `path` is as sent (percent-encoded), without the query."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    peer: str = "127.0.0.1"


class Response(NamedTuple):
    """An HTTP response, whole. Content-Length, Date and the request id header are the gateway's to add."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


class Reply:
    """A response that is still to come: awaited as any other, or given to who took it, at a third of a future's cost.

    Whoever makes it calls `taker` once, after the handler has returned, with the response or why there is none; and
    before that, where the response is known before it may be given, `ready` with it.
    """

    __slots__ = ("ready", "taker")
    ready: Callable[[Response], None]
    taker: Callable[[Response | Exception], None]

    def give_to(self, taker: Callable[[Response | Exception], None], ready: Callable[[Response], None]) -> None:
        """Take it: set who is called."""
        self.taker = taker
        self.ready = ready

    def __await__(self) -> Generator[Any, None, Response]:
        future: asyncio.Future[Response | Exception] = asyncio.get_running_loop().create_future()
        self.give_to(future.set_result, lambda response: None)
        outcome = yield from future
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


Handler = Callable[[Request], Awaitable[Response]]


class WireError(Exception):
    """An error as AWS names it on the wire: `code` (its error type), `message`, HTTP `status`."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status


async def answer(work: Awaitable[object]) -> Response:
    """Return what `work` comes to as JSON (bytes are JSON already), or its error: word, message, and hint."""
    try:
        return json_response(await work)
    except HeadraceError as error:
        word, status = _ERRORS.get(type(error), ("failed", 500))
        return json_response({"error": word, "message": error.problem, "hint": error.hint}, status)


def json_response(value: object, status: int = 200) -> Response:
    """Return a value as JSON; bytes are JSON already."""
    return Response(status, value if isinstance(value, bytes) else msgspec.json.encode(value))


def nothing(request: Request) -> Response:
    """Return the answer to a request that there is nothing for."""
    message = f"There is nothing at {request.method} {request.path}."
    return json_response({"error": "not_found", "message": message, "hint": ""}, 404)


def json_body(request: Request, kind: type[_T]) -> _T:
    """Return the body of a request that changes something; raises UsageError.

    A page in a browser can't send this type to another origin unasked, so it can't change anything.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise UsageError("This is asked for with Content-Type: application/json.")
    try:
        return msgspec.json.decode(request.body, type=kind)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The body is not what it should be: {error}.") from error
