"""A request is the same whether it arrives whole, where it may be read without the parser, or in pieces."""

import asyncio
from collections.abc import Awaitable
from typing import NamedTuple

import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.gateway import http
from headrace.gateway.heads import REQUEST_ID
from headrace.gateway.whole import WholeRequests
from headrace.supervisor import listener
from headrace.wire import Request, Response

SDK = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1:4566\r\nX-Amz-Target: Kinesis_20131202.PutRecord\r\n"
    b"Content-Type: application/x-amz-json-1.1\r\nUser-Agent: Boto3/1.44.4 md/Botocore#1.44.4 ua/2.1 os/linux#6.18\r\n"
    b"X-Amz-Date: 20261127T085500Z\r\nAuthorization: AWS4-HMAC-SHA256 Credential=x/20261127/us-east-1/kinesis/"
    b"aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=0f\r\n"
    b"amz-sdk-invocation-id: 5b0c5a2c-0000-4000-8000-000000000000\r\namz-sdk-request: attempt=1\r\n"
    b"Content-Length: 2\r\n\r\n{}"
)

names = st.sampled_from(
    [
        "Host",
        "X-A",
        "x-a",
        "Cookie",
        "Expect",
        "Connection",
        "Content-Length",
        "Transfer-Encoding",
        "Upgrade",
        "a b",
        "",
        "é",
    ]
)
values = st.one_of(
    st.sampled_from(
        ["", "2", "+2", "02", "1_0", " 2 ", "keep-alive", "close", "chunked", "100-continue", "x\ty", "é", "a\x01b"]
    ),
    st.text(st.characters(max_codepoint=255), max_size=8),
)
lines = st.lists(st.tuples(names, st.sampled_from([": ", ":", " : "]), values), max_size=4)
first_lines = st.one_of(
    st.sampled_from(
        ["GET / HTTP/1.1", "POST /a?b=c&d=%20 HTTP/1.1", "HEAD /x HTTP/1.1", "POST / HTTP/1.0", "BREW / HTTP/1.1"]
    ),
    st.text(st.characters(max_codepoint=255), max_size=6).map(lambda path: f"GET /{path} HTTP/1.1"),
)
ends = st.sampled_from(["\r\n\r\n", "\r\n\r\n{}", "\r\n\r\n{}{}", "\n\n", "\r\n\r\nGET / HTTP/1.1\r\n\r\n"])


class Seen(NamedTuple):
    """What a server made of some bytes: the requests, and how it answered."""

    requests: list[Request]
    answered: bytes


class Noting:
    """A router that notes what it is asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Awaitable[Response]:
        self.requests.append(request)
        return self._answer()

    async def _answer(self) -> Response:
        return Response(200, b"{}")

    def failed(self, request: Request, error: Exception) -> Response:
        raise error


async def seen(*pieces: bytes) -> Seen:
    """Return what a server makes of these pieces, each of which it reads by itself."""
    router = Noting()
    server = await http.start(router, listener.listen("127.0.0.1", 0))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.002)  # so that it is read by itself; if it isn't, the test shows less, not something else
    writer.write_eof()
    answered = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await server.stop(1.0)
    varying = (b"Date:", REQUEST_ID.encode())
    same = [line for line in answered.split(b"\r\n") if not line.startswith(varying)]
    return Seen(router.requests, b"\r\n".join(same))


def bytes_of(first: str, headers: list[tuple[str, str, str]], end: str) -> bytes:
    head = [first, *(f"{name}{colon}{value}" for name, colon, value in headers)]
    return ("\r\n".join(head) + end).encode("latin-1")


@settings(deadline=None, max_examples=150)
@given(st.builds(bytes_of, first_lines, lines, ends))
@example(SDK)
@example(b"POST / HTTP/1.1\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 2\r\n\r\n{}")
@example(b"POST / HTTP/1.1\r\nContent-Length: 1_0\r\n\r\n{}{}{}{}{}")
@example(b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n")
def test_a_request_is_the_same_whole_and_in_pieces(data: bytes) -> None:
    async def both() -> tuple[Seen, Seen]:
        return await seen(data), await seen(data[:1], data[1:])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        whole, pieces = runner.run(both())
    assert whole == pieces


def test_an_sdks_request_is_read_without_the_parser() -> None:
    request = WholeRequests().read(SDK, "127.0.0.1")
    assert request is not None
    assert (request.method, request.path, request.body) == ("POST", "/", b"{}")
    assert request.headers["x-amz-target"] == "Kinesis_20131202.PutRecord"
