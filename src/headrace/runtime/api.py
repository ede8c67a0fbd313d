"""The Lambda wire, in the gateway: REST requests in, calls to the runtime process out.

    POST /2015-03-31/functions/{name}/invocations        Invoke
    GET  /2015-03-31/functions[/{name}[/configuration]]  ListFunctions, GetFunction, GetFunctionConfiguration
    GET  /2021-10-31/functions/{name}/url, …/urls        GetFunctionUrlConfig, ListFunctionUrlConfigs
    GET  /2015-03-31/event-source-mappings[/{uuid}]      ListEventSourceMappings, GetEventSourceMapping
    any  /_headrace/url/{name}/…                         the function URL itself

Functions and mappings come from the template: what would change them is refused.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, unquote
from uuid import uuid4

import msgspec
from pybase64 import b64decode, b64encode_as_string

from headrace import clock, rpc
from headrace.errors import Throttled
from headrace.runtime import descriptions, function_url
from headrace.system import Function, Mapping, System, function_arn, stream_arn
from headrace.wire import Handler, Request, Response, WireError

FUNCTIONS = "/2015-03-31/functions"
MAPPINGS = "/2015-03-31/event-source-mappings"
URLS = "/2021-10-31/functions"
REQUEST_BYTES_MAX = {"RequestResponse": 6_291_456, "Event": 1_048_576, "DryRun": 6_291_456}
CLIENT_CONTEXT_BYTES_MAX = 3583
REQUEST_ID = "x-amzn-RequestId"

_json = msgspec.json.Decoder(msgspec.Raw)


class _Invoked(msgspec.Struct):
    status: int
    request_id: str
    payload: bytes
    error: str | None
    log: bytes | None


_invoked = msgspec.msgpack.Decoder(_Invoked)


class Lambda:
    """Answers Lambda's REST requests; `endpoint` is the backend's URL for clients that name no host."""

    def __init__(self, runtime: rpc.AsyncClient, system: System, endpoint: str) -> None:
        self._runtime = runtime
        self._system = system
        self._endpoint = endpoint
        self._functions = {function.name: function for function in system.functions}
        self._since_ms = clock.now_ms()

    def paths(self) -> list[tuple[str, Handler]]:
        """Return the path prefixes and who answers them."""
        return [
            (FUNCTIONS, self.functions),
            (MAPPINGS, self.mappings),
            (URLS, self.urls),
            (function_url.PREFIX, self.function_url),
        ]

    async def functions(self, request: Request) -> Response:
        """Answer what concerns functions."""
        match request.method, _parts(request, FUNCTIONS):
            case "POST", [name, "invocations"]:
                return await self._invoke(request, self._function(name, request))
            case "GET", []:
                return self._list(request, "Functions", [self._configuration(each) for each in self._system.functions])
            case "GET", [name]:
                return _answer(descriptions.function(self._function(name, request), self._since_ms))
            case "GET", [name, "configuration"]:
                return _answer(self._configuration(self._function(name, request)))
        raise _not_served(request)

    async def mappings(self, request: Request) -> Response:
        """Answer what concerns event source mappings."""
        results = rpc.decode(await self._runtime.call("mapping_results"), type=dict[str, str])

        def described(each: Mapping) -> dict[str, Any]:
            return descriptions.mapping(each, self._since_ms, results[each.uuid])

        match request.method, _parts(request, MAPPINGS):
            case "GET", []:
                query = parse_qs(request.query)
                source, name = query.get("EventSourceArn", [None])[0], query.get("FunctionName", [None])[0]
                function = self._function(name, request) if name else None
                found = [
                    described(each)
                    for each in self._system.mappings
                    if function is None or each.function == function.name
                    if source in (None, stream_arn(each.stream))
                ]
                return self._list(request, "EventSourceMappings", found)
            case "GET", [uuid]:
                for each in self._system.mappings:
                    if each.uuid == uuid:
                        return _answer(described(each))
                raise WireError("ResourceNotFoundException", "The resource you requested does not exist.", 404)
        raise _not_served(request)

    async def urls(self, request: Request) -> Response:
        """Answer what concerns function URLs."""
        match request.method, _parts(request, URLS):
            case "GET", [name, "url"]:
                function = self._function(name, request)
                if not function.url:
                    raise WireError("ResourceNotFoundException", "The resource you requested does not exist.", 404)
                return _answer(self._url(function, request))
            case "GET", [name, "urls"]:
                function = self._function(name, request)
                return _answer({"FunctionUrlConfigs": [self._url(function, request)] if function.url else []})
        raise _not_served(request)

    async def function_url(self, request: Request) -> Response:
        """Call a function by its URL."""
        name, raw_path = function_url.split(request.path)
        function = self._functions.get(name)
        if function is None or not function.url:
            raise WireError("ResourceNotFoundException", f"There is no function URL {name!r}.", 404)
        request_id = str(uuid4())
        event = function_url.event(request, name, raw_path, request_id, clock.now_ms())
        if len(event) > REQUEST_BYTES_MAX["RequestResponse"]:
            raise WireError("RequestTooLargeException", "Request must be smaller than 6 MB.", 413)
        invoked = await self._call(function, event, request_id, "RequestResponse")
        response = function_url.BAD_GATEWAY if invoked.error else function_url.response(invoked.payload)
        return response._replace(headers=(*response.headers, (REQUEST_ID, request_id)))

    async def _invoke(self, request: Request, function: Function) -> Response:
        kind = request.headers.get("x-amz-invocation-type", "RequestResponse")
        _check_payload(request.body, kind)
        log_type = request.headers.get("x-amz-log-type", "None")
        _check_word("logType", log_type, ("None", "Tail"))
        request_id = str(uuid4())
        invoked = await self._call(
            function, request.body, request_id, kind, log_type == "Tail", _client_context(request)
        )
        headers = [(REQUEST_ID, request_id)]
        if invoked.status == 200:
            headers.append(("X-Amz-Executed-Version", "$LATEST"))
        if invoked.error is not None:
            headers.append(("X-Amz-Function-Error", invoked.error))
        if invoked.log is not None:
            headers.append(("X-Amz-Log-Result", b64encode_as_string(invoked.log)))
        return Response(invoked.status, invoked.payload, headers=tuple(headers))

    async def _call(
        self,
        function: Function,
        payload: bytes,
        request_id: str,
        kind: str,
        log_tail: bool = False,
        client_context: str | None = None,
    ) -> _Invoked:
        params = {
            "function": function.name,
            "payload": payload,
            "request_id": request_id,
            "kind": kind,
            "log_tail": log_tail,
            "client_context": client_context,
        }
        try:
            return _invoked.decode(await self._runtime.call("invoke", params))
        except Throttled as error:
            raise WireError("TooManyRequestsException", error.problem, 429) from error

    def _function(self, name: str, request: Request) -> Function:
        """Return the function of a name, a partial or whole ARN; raises ResourceNotFoundException."""
        parts = name.split(":")
        if "function" in parts:
            parts = parts[parts.index("function") + 1 :]
        qualifier = parts[1] if len(parts) > 1 else "$LATEST"
        if "Qualifier=" in request.query:
            qualifier = parse_qs(request.query).get("Qualifier", [qualifier])[0]
        function = self._functions.get(parts[0]) if parts else None
        if function is None or qualifier != "$LATEST":
            arn = function_arn(parts[0] if parts else name) + ("" if qualifier == "$LATEST" else f":{qualifier}")
            raise WireError("ResourceNotFoundException", f"Function not found: {arn}", 404)
        return function

    def _configuration(self, function: Function) -> dict[str, Any]:
        return descriptions.configuration(function, self._since_ms)

    def _url(self, function: Function, request: Request) -> dict[str, Any]:
        host = request.headers.get("host")
        endpoint = f"http://{host}" if host else self._endpoint
        return descriptions.url(function, f"{endpoint}{function_url.PREFIX}{function.name}/", self._since_ms)

    def _list(self, request: Request, name: str, items: list[dict[str, Any]]) -> Response:
        """Answer a page of a list: MaxItems (at most 50) from Marker on."""
        query = parse_qs(request.query)
        try:
            start, limit = int(query.get("Marker", ["0"])[0]), int(query.get("MaxItems", ["50"])[0])
        except ValueError as error:
            raise WireError("InvalidParameterValueException", "Marker or MaxItems is not valid.") from error
        stop = max(0, start) + max(1, min(50, limit))
        answer: dict[str, Any] = {name: items[max(0, start) : stop]}
        if stop < len(items):
            answer["NextMarker"] = str(stop)
        return _answer(answer)


def _parts(request: Request, prefix: str) -> list[str]:
    return [unquote(part) for part in request.path.removeprefix(prefix).split("/") if part]


def _answer(document: dict[str, Any]) -> Response:
    return Response(200, msgspec.json.encode(document))


def _not_served(request: Request) -> WireError:
    return WireError(
        "InvalidParameterValueException",
        f"{request.method} {request.path} is not served: functions and mappings come from the template; "
        "change template.yaml and start again.",
    )


def _check_word(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise WireError(
            "ValidationException",
            f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{', '.join(allowed)}]",
        )


def _check_payload(body: bytes, kind: str) -> None:
    _check_word("invocationType", kind, ("Event", "RequestResponse", "DryRun"))
    limit = REQUEST_BYTES_MAX[kind]
    if len(body) > limit:
        text = f"{len(body)} byte payload is too large for the {kind} invocation type (limit {limit} bytes)"
        raise WireError("RequestTooLargeException", text, 413)
    if not body:
        return
    try:
        _json.decode(body)
        if not body.isascii():
            body.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = f"Could not parse request body into json: {error}"
        raise WireError("InvalidRequestContentException", text) from error


def _client_context(request: Request) -> str | None:
    header = request.headers.get("x-amz-client-context")
    if not header:
        return None
    try:
        context = b64decode(header, validate=True)
        if len(header) <= CLIENT_CONTEXT_BYTES_MAX and isinstance(msgspec.json.decode(context), dict):
            return context.decode()
    except (ValueError, RecursionError):
        pass
    raise WireError("InvalidRequestContentException", "Client context must be a valid Base64-encoded JSON object.")
