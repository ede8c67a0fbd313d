"""Which handler answers a request, and how what goes wrong is written on the wire.

A request goes by its `X-Amz-Target` (AWS's JSON protocols), else by the longest path prefix that fits. Errors are
mapped here, once, so that handlers stay short.
"""

import logging
from collections.abc import Awaitable, Mapping, Sequence

import msgspec

from headrace import cbor
from headrace.errors import Conflict, HeadraceError, NotFound, StorageError, Throttled, Unavailable, UsageError
from headrace.gateway.origin import Guard
from headrace.settings import CONSOLE_PATH
from headrace.wire import AMZ_CBOR_1_1, AMZ_JSON_1_1, Handler, Request, Response, WireError

# Our errors as AWS names such things: (code, HTTP status). The first kind that fits decides.
_CODES: tuple[tuple[type[HeadraceError], str, int], ...] = (
    (Unavailable, "ServiceUnavailable", 503),
    (StorageError, "InternalFailure", 500),
    (NotFound, "ResourceNotFoundException", 404),
    (Conflict, "ResourceConflictException", 409),
    (Throttled, "ThrottlingException", 429),
    (UsageError, "ValidationException", 400),
    (HeadraceError, "InternalFailure", 500),
)

KNOWN_MAX = 1024
_CBOR = "application/x-amz-cbor"

_log = logging.getLogger(__name__)


class Router:
    """Hands requests to handlers; is a handler itself. What goes wrong is `failed`'s to answer."""

    def __init__(
        self,
        targets: Mapping[str, Handler],
        paths: Sequence[tuple[str, Handler]],
        guard: Guard | None = None,
        *,
        in_cbor: Mapping[str, Handler] | None = None,
    ) -> None:
        """`targets` go by what stands before the operation, its point included: `Kinesis_20131202.`.

        `in_cbor` are the same for requests in x-amz-cbor-1.1.
        """
        self._guard = guard or Guard(loopback=True)
        self._targets = dict(targets)
        self._in_cbor = dict(in_cbor or {})
        self._known: dict[str, Handler] = {}  # by the whole target
        self._paths = sorted(paths, key=lambda each: -len(each[0]))

    def __call__(self, request: Request) -> Awaitable[Response]:
        """Return the answer of the handler that a request is for; raises WireError if there is none."""
        headers = request.headers
        if "origin" in headers or headers.get("host", "") not in self._guard.known:
            self._guard.check(request)
        target = headers.get("x-amz-target")
        if target is None:
            return self._by_path(request)
        handler = self._known.get(target) or self._handler(target)
        if headers.get("content-type", "").startswith(_CBOR):
            handler = self._of_cbor(target)
        return handler(request)

    def failed(self, request: Request, error: Exception) -> Response:
        """Return the answer to a request whose handling raised `error`."""
        response = error_response(error, json_1_1="x-amz-target" in request.headers)
        if response.content_type == AMZ_JSON_1_1 and request.headers.get("content-type", "").startswith(_CBOR):
            return Response(response.status, cbor.from_json(response.body), AMZ_CBOR_1_1)
        return response

    def _handler(self, target: str) -> Handler:
        """Return the handler of a target, and remember it while they are few."""
        handler = self._targets.get(target[: target.find(".") + 1])
        if handler is None:
            served = ", ".join(f"{prefix}*" for prefix in sorted(self._targets))
            raise WireError("UnknownOperationException", f"No service here answers {target!r}; served: {served}.")
        if len(self._known) < KNOWN_MAX:
            self._known[target] = handler
        return handler

    def _of_cbor(self, target: str) -> Handler:
        handler = self._in_cbor.get(target[: target.find(".") + 1])
        if handler is None:
            raise WireError(
                "UnsupportedMediaType",
                "This service is not asked in CBOR: send application/x-amz-json-1.1 (Java: set AWS_CBOR_DISABLE=true).",
                415,
            )
        return handler

    def _by_path(self, request: Request) -> Awaitable[Response]:
        for prefix, handler in self._paths:
            if _fits(request.path, prefix):
                return handler(request)
        return self._nobody(request)

    async def _nobody(self, request: Request) -> Response:
        if request.path == "/" and request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return Response(302, content_type="", headers=(("Location", CONSOLE_PATH),))
        served = [f"X-Amz-Target: {prefix}*" for prefix in sorted(self._targets)]
        served += sorted(prefix for prefix, _ in self._paths)
        body = {"message": f"Nothing answers {request.method} {request.path}.", "served": served}
        return Response(404, msgspec.json.encode(body))


def _fits(path: str, prefix: str) -> bool:
    return path.startswith(prefix) and (prefix.endswith("/") or path[len(prefix) :][:1] in ("", "/"))


def error_response(error: Exception, *, json_1_1: bool) -> Response:
    """Return an error as AWS's JSON 1.1 protocol writes it, or as Lambda's REST protocol does."""
    if isinstance(error, WireError):
        code, message, status = error.code, error.message, error.status
    elif isinstance(error, HeadraceError):
        code, status = next((code, status) for kind, code, status in _CODES if isinstance(error, kind))
        message = f"{error.problem} {error.hint}".rstrip()
    else:
        _log.error("A request failed", exc_info=error)
        code, status = "InternalFailure", 500
        message = f"{type(error).__name__}: {error} (see the gateway's log under the data directory)"
    if json_1_1:
        return Response(status, msgspec.json.encode({"__type": code, "message": message}), AMZ_JSON_1_1)
    who = "User" if status < 500 else "Service"
    body = msgspec.json.encode({"Type": who, "Message": message, "message": message})
    return Response(status, body, headers=(("x-amzn-ErrorType", code),))
