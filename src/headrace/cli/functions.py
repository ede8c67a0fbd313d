"""Calling a function from the command line: Lambda's Invoke, and `device_api`'s answers."""

import base64
from typing import Any, NamedTuple

import msgspec

from headrace.cli.backend import Backend
from headrace.cli.output import printable
from headrace.deployed import Deployed
from headrace.errors import Conflict, HeadraceError, NotFound, UsageError

INVOKE_S_MAX = 910.0  # a function may run for 900 s
DEVICE_API = "device_api"
Members = dict[str, msgspec.Raw]
_ERRORS: dict[int, type[HeadraceError]] = {400: UsageError, 404: NotFound, 409: Conflict}


class Answer(NamedTuple):
    """What Invoke answered. `error` is the X-Amz-Function-Error header, `log` the last 4 KB if asked for."""

    status: int
    payload: bytes
    error: str | None
    log: str
    request_id: str


def invoke(
    backend: Backend | Deployed, function: str, payload: bytes, *, kind: str = "RequestResponse", log: bool = False
) -> Answer:
    """Call a function; a function error is part of the answer, anything else raises."""
    client = backend.client("lambda", timeout_s=INVOKE_S_MAX, retries=0)
    with backend.errors():
        answer: dict[str, Any] = client.invoke(
            FunctionName=backend.function(function),
            InvocationType=kind,
            LogType="Tail" if log else "None",
            Payload=payload,
        )
        body = answer["Payload"].read()
    return Answer(
        answer["StatusCode"],
        body,
        answer.get("FunctionError"),
        base64.b64decode(answer.get("LogResult") or "").decode(errors="replace"),
        answer.get("ResponseMetadata", {}).get("RequestId", ""),
    )


def names(backend: Backend) -> list[str]:
    """Return what functions there are."""
    with backend.errors():
        pages = backend.client("lambda").get_paginator("list_functions").paginate()
        return [each["FunctionName"] for page in pages for each in page["Functions"]]


def function_error(function: str, payload: bytes) -> HeadraceError:
    """Return the error for a function that failed: its error type and message in one line."""
    kind, message = "an error", ""
    answer = members(payload)
    if answer is not None:
        kind, message = text(answer, "errorType") or kind, text(answer, "errorMessage")
    return HeadraceError(
        f"{function} failed: {kind}{': ' if message else ''}{message}", f"See: headrace logs {function}"
    )


def device_api(backend: Backend | Deployed, operation: str, device: str, **parameters: object) -> bytes:
    """Ask `device_api` and return its answer as it is; parameters that are None are left out.

    An error that it answers raises with its message.
    """
    wanted: dict[str, object] = {"operation": operation, "device_id": device}
    wanted |= {name: value for name, value in parameters.items() if value is not None}
    try:
        payload = msgspec.json.encode(wanted)
    except UnicodeEncodeError as error:
        raise UsageError("An argument is not UTF-8.", "Check the terminal's encoding (locale).") from error
    try:
        answer = invoke(backend, DEVICE_API, payload)
    except NotFound:
        raise NotFound(
            f"There is no function {DEVICE_API}, which answers this.",
            "Declare it as the project of `headrace init` does.",
        ) from None
    return checked_answer(answer.payload, answer.error)


def checked_answer(payload: bytes, error: str | None) -> bytes:
    """Return what `device_api` answered if it is an answer; raises what it says otherwise."""
    if error:
        raise function_error(DEVICE_API, payload)
    found = members(payload)
    if found is None:
        raise HeadraceError(
            f"{DEVICE_API} answered no JSON object: {payload[:200]!r}.", f"See: headrace logs {DEVICE_API}"
        )
    status = int(bytes(found["statusCode"])) if "statusCode" in found else 200
    if status >= 400:
        raise _ERRORS.get(status, HeadraceError)(text(found, "message") or text(found, "error") or f"status {status}")
    return payload


def members(payload: bytes) -> Members | None:
    """Return a JSON object's members with their values as they stand in the text; None if it can't be read as one."""
    try:
        return msgspec.json.decode(payload, type=Members)
    except (msgspec.DecodeError, RecursionError):
        return None


def text(found: Members, name: str) -> str:
    """Return a member as text: a string's content, otherwise the JSON; empty where it is missing."""
    raw = bytes(found.get(name, b""))
    try:
        return printable(msgspec.json.decode(raw, type=str)) if raw else ""
    except msgspec.DecodeError:
        return raw.decode(errors="replace")
