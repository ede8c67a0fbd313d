"""The router: which handler answers, and how errors are written on the wire."""

import asyncio
import json

import cbor2
import pytest

from headrace.errors import Conflict, NotFound, StorageError, Throttled, Unavailable, UsageError
from headrace.gateway.router import Router
from headrace.wire import Request, Response, WireError

CBOR = "application/x-amz-cbor-1.1"


async def echo(request: Request) -> Response:
    """Answer which path was asked for."""
    return Response(200, json.dumps({"path": request.path}).encode())


async def fail(request: Request) -> Response:
    raise ERRORS[request.headers["x-kind"]][0]


ERRORS: dict[str, tuple[Exception, int, str, str]] = {
    "wire": (WireError("SomeException", "Said so.", 418), 418, "SomeException", "Said so."),
    "away": (
        Unavailable("table does not answer.", "Try again."),
        503,
        "ServiceUnavailable",
        "table does not answer. Try again.",
    ),
    "disk": (StorageError("/x: No space left", "Free space."), 500, "InternalFailure", "/x: No space left Free space."),
    "none": (NotFound("No such thing."), 404, "ResourceNotFoundException", "No such thing."),
    "conflict": (Conflict("Stale."), 409, "ResourceConflictException", "Stale."),
    "slow": (Throttled("Too much."), 429, "ThrottlingException", "Too much."),
    "usage": (UsageError("Wrong."), 400, "ValidationException", "Wrong."),
    "bug": (
        KeyError("oops"),
        500,
        "InternalFailure",
        "KeyError: 'oops' (see the gateway's log under the data directory)",
    ),
}


def routed(**headers: str) -> tuple[Response, dict[str, object]]:
    path = headers.pop("path", "/")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    router = Router(
        {"Kinesis_20131202.": fail, "RedshiftData.": fail},
        [("/2015-03-31/", fail), ("/_headrace", echo), ("/_headrace/url/", fail)],
        in_cbor={"Kinesis_20131202.": fail},
    )
    response = asyncio.run(_call(router, Request("GET", path, "", named, b"")))
    return response, json.loads(response.body or b"{}") if response.content_type != CBOR else {}


async def _call(router: Router, request: Request) -> Response:
    try:
        return await router(request)
    except Exception as error:
        return router.failed(request, error)


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_on_the_wire(kind: str) -> None:
    _, status, code, message = ERRORS[kind]
    response, body = routed(x_amz_target="Kinesis_20131202.PutRecord", x_kind=kind)
    assert (response.status, response.content_type) == (status, "application/x-amz-json-1.1")
    assert body == {"__type": code, "message": message}
    response, body = routed(path="/2015-03-31/functions/f", x_kind=kind)
    assert (response.status, body["Message"], body["message"]) == (status, message, message)
    assert dict(response.headers)["x-amzn-ErrorType"] == code


@pytest.mark.parametrize("target", ["", "Kinesis", "Kinesis_2013.PutRecord", "DynamoDB_20120810.PutItem", ".", "Ж.x"])
def test_an_unknown_target(target: str) -> None:
    response, body = routed(x_amz_target=target)
    assert (response.status, body["__type"]) == (400, "UnknownOperationException")
    assert "Kinesis_20131202.*" in str(body["message"])


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_in_cbor(kind: str) -> None:
    _, status, code, message = ERRORS[kind]
    response = routed(x_amz_target="Kinesis_20131202.PutRecord", content_type=CBOR, x_kind=kind)[0]
    assert (response.status, response.content_type) == (status, CBOR)
    assert cbor2.loads(response.body) == {"__type": code, "message": message}


@pytest.mark.parametrize(
    ("target", "status", "words"),
    [
        ("RedshiftData.ExecuteStatement", 415, "AWS_CBOR_DISABLE=true"),
        ("Kinesis_2013.PutRecord", 400, "Kinesis_20131202.*"),
    ],
)
def test_cbor_that_nobody_answers_is_refused_by_name(target: str, status: int, words: str) -> None:
    response = routed(x_amz_target=target, content_type=CBOR)[0]
    assert (response.status, response.content_type) == (status, CBOR)
    assert words in cbor2.loads(response.body)["message"]


def test_paths() -> None:
    assert routed(path="/_headrace/health")[1]["path"] == "/_headrace/health"
    assert routed(path="/_headrace/url/f", x_kind="usage")[0].status == 400  # the longest prefix
    assert routed(path="/_headraces")[0].status == 404
    nothing, body = routed(path="/nothing")
    assert nothing.status == 404
    kinesis, redshift = "X-Amz-Target: Kinesis_20131202.*", "X-Amz-Target: RedshiftData.*"
    assert body["served"] == [kinesis, redshift, "/2015-03-31/", "/_headrace", "/_headrace/url/"]
    assert routed()[0].status == 404
    browser = routed(accept="text/html,application/xhtml+xml")[0]
    assert (browser.status, dict(browser.headers)["Location"]) == (302, "/_headrace/console")
