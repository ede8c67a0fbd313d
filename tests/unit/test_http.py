"""The HTTP server over a real loopback socket: framing, order, and what its answers say."""

import asyncio
import json
import re

import pytest

from headrace.errors import UsageError
from headrace.supervisor import listener
from headrace.wire import Request, Response
from support.http1 import HELLO, exchange, run, serving

CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n"
    b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n"
)


@pytest.mark.parametrize("step", [0, 1, 2, 7, 50])
def test_a_request_arrives_whole_however_it_is_split(step: int) -> None:
    status, headers, got = exchange(HELLO, step=step)
    assert (status, got["method"], got["path"], got["query"], got["body"]) == (200, "POST", "/a/b", "c=d%20e", 5)
    assert got["headers"] == {"host": "x", "content-length": "5", "x-two": "1, 2", "cookie": "a=1; b=2"}
    assert headers["content-type"] == "application/json"
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", headers["date"])
    assert "connection" not in headers


@pytest.mark.parametrize("step", [0, 1, 13])
def test_chunks_are_joined_and_trailers_dropped(step: int) -> None:
    _, _, got = exchange(CHUNKED, step=step)
    assert (got["body"], got["start"]) == (11, "hello world")
    assert "x-sum" not in got["headers"]  # type: ignore[operator]


def test_the_absolute_form_is_understood() -> None:
    assert exchange(b"GET http://host:1/p/q?r=s HTTP/1.1\r\nHost: x\r\n\r\n")[2]["path"] == "/p/q"


@pytest.mark.parametrize("body", [b"", b"hello"])
def test_an_offer_to_upgrade_is_declined_by_answering(body: bytes) -> None:
    head = b"POST /up HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    head += b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Length: %d\r\n\r\n" % len(body)

    async def both() -> None:
        async with serving() as (_, connect):
            client = await connect()
            client.send(head, body, HELLO)
            first, second = await client.answer(), await client.answer()
            assert (json.loads(first[2])["path"], json.loads(first[2])["body"]) == ("/up", len(body))
            assert json.loads(second[2])["path"] == "/a/b"

    run(both)


def test_any_number_of_offers_to_upgrade_are_declined() -> None:
    async def body() -> None:
        async with serving() as (_, connect):
            client = await connect()
            client.send(b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" * 2000, HELLO)
            assert {json.loads((await client.answer())[2])["path"] for _ in range(2000)} == {"/"}
            assert json.loads((await client.answer())[2])["path"] == "/a/b"

    run(body)


def test_pipelined_requests_are_answered_in_order_and_read_no_further_than_needed() -> None:
    started: list[str] = []
    gate = asyncio.Event()

    async def slow(request: Request) -> Response:
        started.append(request.path)
        await gate.wait()
        return Response(200, request.path.encode())

    async def body() -> None:
        async with serving(slow) as (_, connect):
            client = await connect()
            client.send(*(b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(200)))
            while not started:
                await asyncio.sleep(0)
            assert started == ["/0"]
            gate.set()
            assert [(await client.answer())[2] for _ in range(200)] == [b"/%d" % number for number in range(200)]

    run(body)


def test_a_refusal_comes_after_the_answers_before_it() -> None:
    async def body() -> None:
        async with serving() as (_, connect):
            client = await connect()
            client.send(HELLO, HELLO, b"\x00\x01\x02\r\n\r\n")
            assert [(await client.answer())[0] for _ in range(3)] == [200, 200, 400]
            assert await client.ended()

    run(body)


def test_a_client_that_has_sent_all_still_gets_its_answers() -> None:
    async def body() -> None:
        async with serving() as (_, connect):
            client = await connect()
            client.send(HELLO, HELLO)
            client.writer.write_eof()
            assert [(await client.answer())[0] for _ in range(2)] == [200, 200]
            assert await client.ended()

    run(body)


def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    async def body() -> None:
        async with serving() as (_, connect):
            client = await connect()
            client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            assert (await client.answer())[0] == 100
            client.send(b"hello")
            assert json.loads((await client.answer())[2])["start"] == "hello"
            client.send(b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n")
            assert (await client.answer())[0] == 413

    run(body)


@pytest.mark.parametrize(
    ("request_bytes", "stays"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_a_connection_stays_open_as_the_client_wishes(request_bytes: bytes, stays: bool) -> None:
    async def body() -> None:
        async with serving() as (_, connect):
            client = await connect()
            client.send(request_bytes)
            assert ((await client.answer())[1].get("connection") != "close") == stays
            if stays:
                client.send(HELLO)
                assert (await client.answer())[0] == 200
            else:
                assert await client.ended()

    run(body)


@pytest.mark.parametrize(
    ("method", "status", "length"), [("HEAD", 200, "5"), ("GET", 204, None), ("GET", 304, None), ("GET", 299, "5")]
)
def test_answers_without_a_body(method: str, status: int, length: str | None) -> None:
    async def handler(_: Request) -> Response:
        return Response(status, b"hello", headers=(("X-Split", "a\r\nInjected: b"), ("X-Wide", "日本")))

    async def body() -> None:
        async with serving(handler) as (_, connect):
            client = await connect()
            client.send(f"{method} / HTTP/1.1\r\n\r\n".encode() * 2)
            for _ in range(2):
                got, headers, _ = await client.answer(body=method == "GET")
                assert (got, headers.get("content-length")) == (status, length)
                assert "injected" not in headers

    run(body)


def test_stopping_finishes_what_is_under_way_and_cuts_off_what_takes_too_long() -> None:
    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.05 if request.path == "/quick" else 30)
        return Response(200, b"done")

    async def body() -> None:
        async with serving(slow) as (server, connect):
            idle, quick, never = await connect(), await connect(), await connect()
            quick.send(b"GET /quick HTTP/1.1\r\n\r\n")
            never.send(b"GET /never HTTP/1.1\r\n\r\n")
            while server.connections < 3:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.01)
            await server.stop(1)
            status, headers, _ = await quick.answer()
            assert (status, headers["connection"]) == (200, "close")
            assert await idle.ended()
            assert await never.ended()
            with pytest.raises(OSError):
                await connect()

    run(body)


def test_a_port_in_use_is_named() -> None:
    async def body() -> None:
        async with serving() as (server, _):
            with pytest.raises(UsageError, match=rf"Port {server.port} .*in use\.\n.*--port"):
                listener.listen("127.0.0.1", server.port)
        for host, port, hint in (
            ("192.0.2.1", 0, "--host"),
            ("no.such.host.invalid", 0, "--host"),
            ("127.0.0.1", 99999, "--port"),
        ):
            with pytest.raises(UsageError, match=hint):
                listener.listen(host, port)

    run(body)


# --- the router ------------------------------------------------------------------------------------------------------


def test_every_answer_has_a_request_id_and_a_handler_may_set_it() -> None:
    async def own(request: Request) -> Response:
        return Response(headers=(("x-amzn-RequestId", "mine"),) if request.path == "/own" else ())

    async def body() -> None:
        async with serving(own) as (_, connect):
            client = await connect()
            ids = set()
            for _ in range(50):
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                ids.add((await client.answer())[1]["x-amzn-requestid"])
            assert len(ids) == 50
            version_4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
            assert all(re.fullmatch(version_4, each) for each in ids)
            client.send(b"GET /own HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.answer())[1]["x-amzn-requestid"] == "mine"

    run(body)
