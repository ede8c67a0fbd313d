"""What an HTTP exchange with the backend is made of, for every role that answers one."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

JSON = "application/json"
AMZ_JSON_1_1 = "application/x-amz-json-1.1"


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


Handler = Callable[[Request], Awaitable[Response]]


class WireError(Exception):
    """An error as AWS names it on the wire: `code` (its error type), `message`, HTTP `status`."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status
