"""Function URLs: an HTTP request as the event of payload format 2.0, and a function's answer as a response. Pure."""

import binascii
import json
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from pybase64 import b64decode, b64encode_as_string

from headrace import clock
from headrace.system import REGION
from headrace.wire import JSON, Request, Response

PREFIX = "/_headrace/url/"
_TEXT_TYPES = ("text/", "application/json", "application/xml", "application/javascript")
_NOT_PASSED_ON = frozenset({"connection", "content-length", "content-type", "date", "keep-alive", "transfer-encoding"})
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

BAD_GATEWAY = Response(502, b'{"message":"Internal Server Error"}')


def split(path: str) -> tuple[str, str]:
    """Return the function's name and the path that it gets to see, as sent."""
    name, slash, rest = path.removeprefix(PREFIX).partition("/")
    return name, slash + rest or "/"


def event(request: Request, function: str, raw_path: str, request_id: str, now_ms: int) -> bytes:
    """Return the event of a request as JSON."""
    headers = {name: value for name, value in request.headers.items() if name != "cookie"}
    headers["x-forwarded-for"] = request.peer
    headers["x-forwarded-proto"] = "http"
    host = request.headers.get("host", f"{function}.lambda-url.{REGION}.on.aws")
    document: dict[str, object] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": raw_path,
        "rawQueryString": request.query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": function,
            "domainName": host,
            "domainPrefix": function,
            "http": {
                "method": request.method,
                "path": raw_path,
                "protocol": "HTTP/1.1",
                "sourceIp": request.peer,
                "userAgent": request.headers.get("user-agent", ""),
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": _time(now_ms),
            "timeEpoch": now_ms,
        },
        "isBase64Encoded": False,
    }
    if cookie := request.headers.get("cookie"):
        document["cookies"] = [part.strip() for part in cookie.split(";")]
    if request.query:
        document["queryStringParameters"] = _parameters(request.query)
    if request.body:
        text = _text(request)
        document["body"] = text if text is not None else b64encode_as_string(request.body)
        document["isBase64Encoded"] = text is None
    return msgspec.json.encode(document)


def response(payload: bytes) -> Response:
    """Return the response for a function's answer; 502 for one that can't be a response."""
    answer = json.loads(payload)
    if not isinstance(answer, dict) or "statusCode" not in answer:
        return Response(200, payload)
    try:
        return _proxied(answer)
    except (TypeError, ValueError):
        return BAD_GATEWAY


def _proxied(answer: dict[str, Any]) -> Response:
    status = int(answer["statusCode"])
    if not 200 <= status <= 599:
        raise ValueError(status)
    content_type = JSON
    headers = []
    for name, value in (answer.get("headers") or {}).items():
        if name.lower() == "content-type":
            content_type = _header_text(value)
        elif name.lower() not in _NOT_PASSED_ON:
            headers.append((_header_text(name), _header_text(value)))
    cookies = answer.get("cookies") or []
    if not isinstance(cookies, list):
        raise ValueError(cookies)
    headers += [("Set-Cookie", _header_text(cookie)) for cookie in cookies]
    return Response(status, _body(answer), content_type, tuple(headers))


def _body(answer: dict[str, Any]) -> bytes:
    body = answer.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        return msgspec.json.encode(body)
    if answer.get("isBase64Encoded"):
        try:
            return b64decode(body, validate=True)
        except binascii.Error as error:
            raise ValueError(body) from error
    return body.encode()


def _header_text(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if "\r" in text or "\n" in text or "\0" in text or not text.isascii():
        raise ValueError(text)
    return text


def _parameters(query: str) -> dict[str, str]:
    """Return the query's parameters; values of one name are joined by commas."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _text(request: Request) -> str | None:
    """Return the body as text; None if it is to be sent in base64, as its type or its bytes say."""
    kind = request.headers.get("content-type", "text/plain").lower()
    if not kind.startswith(_TEXT_TYPES):
        return None
    try:
        return request.body.decode()
    except UnicodeDecodeError:
        return None


def _time(ms: int) -> str:
    date, _, rest = clock.rfc3339_ms(ms).partition("T")
    year, month, day = date.split("-")
    return f"{day}/{_MONTHS[int(month) - 1]}/{year}:{rest[:8]} +0000"
