"""What a device asks of `device_api`, by direct invoke or by HTTP, checked: the same parameters either way.

By invoke: {"operation": "history", "device_id": "pump-1", "limit": 10}. By HTTP, in the payload format 2.0 of function
URLs: GET /devices/pump-1/events?limit=10. A parameter that is null counts as not sent.
"""

import base64
import binascii
import json
from typing import Any, NamedTuple
from urllib.parse import unquote

from headrace.event import jsontext, times
from headrace.table.base import PARTITION_BYTES_MAX

LIMIT, LIMIT_MAX = 100, 1000
PERIODS = ("hour", "day", "month")  # of aggregates
ROUTES = {
    ("GET", "latest"): "latest",
    ("GET", "events"): "history",
    ("GET", "aggregates"): "aggregates",
    ("GET", "config"): "config_get",
    ("PUT", "config"): "config_set",
    ("GET", "state"): "state_get",
    ("PUT", "state"): "state_report",
}
_BODIES = {"config_set": "config", "state_report": "state"}
_PATHS = "GET /devices/{id}/latest, /events, /aggregates, /config, /state; PUT /devices/{id}/config, /state"
_NUMBERS = ("limit", "expected_version")
_VERSION_MAX = 2**53
_FLAGS = {"": True, "true": True, "1": True, "false": False, "0": False}
_CURSOR = "cursor: send the one that the answer before held, in the same order (`newest`)"


class Refused(Exception):
    """The answer is an error: 400, 404 or 409, and a message that says what to send."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.word = {400: "bad_request", 404: "not_found", 409: "conflict"}[status]
        self.message = message


class Request(NamedTuple):
    """What is asked. The parameters are checked as they are taken: each raises Refused for a wrong type or value."""

    operation: str
    parameters: dict[str, Any]

    def device_id(self) -> str:
        """Return the device."""
        value = self.parameters.get("device_id")
        if isinstance(value, str) and 1 <= _utf8_bytes(value) <= PARTITION_BYTES_MAX:
            return value
        raise Refused(400, f"device_id: send a string of 1 to {PARTITION_BYTES_MAX:,} bytes of UTF-8")

    def time(self, name: str) -> str | None:
        """Return a time in its canonical form (`times.py`)."""
        value = self.parameters.get(name)
        if value is None:
            return None
        try:
            if isinstance(value, str):
                return times.from_text(value)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return times.from_number(repr(value))
        except ValueError:
            pass
        raise Refused(400, f"{name}: send RFC 3339 text or a number since 1970 in s, ms or us; years 0001 to 9999")

    def limit(self) -> int:
        """Return how many events are wanted at most."""
        value = self.parameters.get("limit", LIMIT)
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LIMIT_MAX:
            return value
        raise Refused(400, f"limit: send an integer from 1 to {LIMIT_MAX:,}; without it, it is {LIMIT}")

    def newest(self) -> bool:
        """Return whether the newest come first."""
        value = self.parameters.get("newest", False)
        if isinstance(value, bool):
            return value
        raise Refused(400, "newest: send true or false")

    def expected_version(self) -> int | None:
        """Return the version that the sender believes is the present one, if it says so."""
        value = self.parameters.get("expected_version")
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _VERSION_MAX):
            return value
        raise Refused(400, "expected_version: send an integer from 0 (0: there is none yet), or leave it out")

    def object(self, name: str) -> bytes:
        """Return a parameter that is a JSON object, as JSON; numbers that came as text by HTTP are not respelled."""
        value = self.parameters.get(name)
        try:
            if isinstance(value, dict):
                value = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
            if isinstance(value, bytes):
                return jsontext.encode(jsontext.members(value))
            reason = "missing" if value is None else "not an object"
        except jsontext.Malformed as error:
            reason = error.message
        except (ValueError, RecursionError) as error:  # NaN, a lone surrogate, too deep
            reason = str(error)
        raise Refused(400, f"{name}: send a JSON object ({reason})")

    def period(self) -> str:
        """Return which aggregates are wanted."""
        value = self.parameters.get("period")
        if value in PERIODS:
            return str(value)
        raise Refused(400, f"period: send one of {', '.join(PERIODS)}")

    def reading(self) -> str | None:
        """Return the reading whose aggregates are wanted, None for those of all."""
        value = self.parameters.get("reading")
        if value is None or (isinstance(value, str) and value):
            return value
        raise Refused(400, "reading: send the name of a reading, or leave it out")

    def cursor(self) -> str | None:
        """Return the `<time>#<id>` (or reading) of the last item that the answer before held."""
        value = self.parameters.get("cursor")
        if value is None:
            return None
        try:
            text = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).decode()
        except (TypeError, ValueError, binascii.Error):
            raise Refused(400, _CURSOR) from None
        if text[:1] != _order(self.newest()) or text[28:29] != "#":
            raise Refused(400, _CURSOR)
        return text[1:]


def cursor_of(place: str, newest: bool) -> str:
    """Return the cursor that stands for the event at `<time>#<id>`; it serves for one order only."""
    return base64.urlsafe_b64encode(f"{_order(newest)}{place}".encode()).decode().rstrip("=")


def is_by_http(payload: Any) -> bool:
    """Return whether a function's payload is an HTTP call, not a direct invoke."""
    context = payload.get("requestContext") if isinstance(payload, dict) else None
    return isinstance(context, dict) and "http" in context


def by_invoke(payload: Any) -> Request:
    """Return the request of a direct invoke; raises Refused."""
    operation = payload.get("operation") if isinstance(payload, dict) else None
    if not isinstance(operation, str):
        operations = ", ".join(sorted(set(ROUTES.values())))
        raise Refused(400, f'send {{"operation": one of {operations}, "device_id": "…", …}}')
    return Request(operation, {name: value for name, value in payload.items() if value is not None})


def by_http(payload: dict[str, Any]) -> Request:
    """Return the request of an HTTP call; raises Refused."""
    method = payload["requestContext"]["http"]["method"]
    path = payload.get("rawPath", "")
    encoded, _, noun = path.removeprefix("/devices/").rpartition("/")
    if not path.startswith("/devices/") or noun not in {known for _, known in ROUTES}:
        raise Refused(404, f"there is nothing at {path}: {_PATHS}")
    operation = ROUTES.get((method, noun))
    if operation is None:
        raise Refused(400, f"{method} {path}: send {_PATHS}")
    parameters: dict[str, Any] = {
        name: _from_query(name, value) for name, value in (payload.get("queryStringParameters") or {}).items()
    }
    try:
        parameters["device_id"] = unquote(encoded, errors="strict")
    except UnicodeDecodeError:
        raise Refused(400, f"{path}: percent-encode the device id's UTF-8") from None
    if operation in _BODIES:
        parameters[_BODIES[operation]] = _body(payload)
    return Request(operation, parameters)


def _from_query(name: str, value: str) -> Any:
    """Return a query parameter with the type that it has by invoke; what does not fit is refused when it is taken."""
    if name in _NUMBERS and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return _FLAGS.get(value.lower(), value) if name == "newest" else value


def _body(payload: dict[str, Any]) -> bytes:
    body: str = payload.get("body") or ""
    try:
        return base64.b64decode(body, validate=True) if payload.get("isBase64Encoded") else body.encode()
    except ValueError:
        raise Refused(400, "the body can't be read: send a JSON object in UTF-8") from None


def _order(newest: bool) -> str:
    return "n" if newest else "o"


def _utf8_bytes(text: str) -> int:
    """Return the length in UTF-8, or 0 for what has none (lone surrogates)."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return 0
