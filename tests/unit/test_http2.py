"""HTTP/2 without TLS over a real loopback socket, with h2's client side: requests at once, answers in turn, stop."""

import asyncio
import re
from collections.abc import Awaitable

import pytest
from h2.errors import ErrorCodes

from headrace.gateway import http, http2_setup
from headrace.wire import Reply, Request, Response
from support.http2 import Answer, Open, serve


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_request_is_what_it_is_over_http_1_however_it_is_split(step: int) -> None:
    async def body(_: http.HttpServer, connect: Open) -> None:
        client = await connect()
        pseudo = [(":method", "POST"), (":scheme", "http"), (":path", "/a/b?c=d%20e"), (":authority", "127.0.0.1:1")]
        cookies = [("cookie", "a=1"), ("cookie", "b=2")]
        client.h2.send_headers(1, [*pseudo, ("x-two", "1"), ("x-two", "2é".encode("latin-1")), *cookies])
        client.h2.send_data(1, b"hello", end_stream=True, pad_length=3)
        data = client.h2.data_to_send()
        for start in range(0, len(data), step):
            client.writer.write(data[start : start + step])
            await client.writer.drain()
            await asyncio.sleep(0)
        answer = await client.answer(1)
        assert answer.json() == {
            "method": "POST",
            "path": "/a/b",
            "query": "c=d%20e",
            "headers": {"host": "127.0.0.1:1", "x-two": "1, 2é", "cookie": "a=1; b=2"},
            "body": 5,
            "peer": "127.0.0.1",
        }
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["content-length"] == str(len(answer.body))
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.headers["date"])
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f-]{27}", answer.headers["x-amzn-requestid"])

    serve(body)


def test_all_requests_of_a_connection_are_answered_at_once_each_when_it_is_ready() -> None:
    waiting: list[asyncio.Future[Response]] = []

    def handler(_: Request) -> Awaitable[Response]:
        waiting.append(asyncio.get_running_loop().create_future())
        return waiting[-1]

    async def body(_: http.HttpServer, connect: Open) -> None:
        client = await connect()
        stream_ids = [client.head(end=True) for _ in range(http2_setup.STREAMS_MAX)]
        while len(waiting) < len(stream_ids):
            await client.ping()
        for number in reversed(range(len(stream_ids))):
            waiting[number].set_result(Response(200, b"%d" % number))
            assert (await client.answer(stream_ids[number])).body == b"%d" % number

    serve(body, handler)


def test_answers_come_by_every_way_and_errors_are_answered() -> None:
    def handler(request: Request) -> Awaitable[Response]:
        loop = asyncio.get_running_loop()
        if request.path == "/raised":
            raise ValueError("at once")
        if request.path.startswith("/reply"):
            reply = Reply()
            outcome = ValueError("later") if request.path == "/reply-error" else Response(200, b"reply")
            loop.call_soon(lambda: reply.taker(outcome))
            return reply
        future: asyncio.Future[Response] = loop.create_future()
        if request.path == "/future-error":
            future.set_exception(ValueError("future"))
        else:
            future.set_result(Response(200, b"future"))
        return future

    async def body(_: http.HttpServer, connect: Open) -> None:
        client = await connect()
        paths = ("/raised", "/reply", "/reply-error", "/future", "/future-error")
        got = {path: await client.ask(path) for path in paths}
        assert {path: (answer.status, bytes(answer.body)) for path, answer in got.items()} == {
            "/raised": (500, b"/raised at once"),
            "/reply": (200, b"reply"),
            "/reply-error": (500, b"/reply-error later"),
            "/future": (200, b"future"),
            "/future-error": (500, b"/future-error future"),
        }

    serve(body, handler)


def test_large_bodies_flow_both_ways() -> None:
    async def handler(request: Request) -> Response:
        return Response(200, request.body[:5_000_000])

    async def body(_: http.HttpServer, connect: Open) -> None:
        client = await connect()
        sent = bytes(range(256)) * 40_000
        for _round in range(6):  # more than the window of the connection
            assert (await client.ask(body=sent)).body == sent[:5_000_000]

    serve(body, handler)


def test_a_request_may_be_given_up_at_any_moment() -> None:
    gate = asyncio.Event()
    called: list[str] = []

    async def handler(request: Request) -> Response:
        called.append(request.path)
        if request.path == "/slow":
            await gate.wait()
        return Response(200, bytes(1_000_000))

    async def body(_: http.HttpServer, connect: Open) -> None:
        client = await connect()
        half, slow = client.head("/half"), client.head("/slow", end=True)
        client.some(half, memoryview(bytes(60_000)), end=False)
        client.reads = False
        answered = client.head("/answered", end=True)
        await client.until(lambda: len(client.answers[answered].body) > 60_000)
        for stream_id in (half, slow, answered):
            client.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
        at_once = client.head("/at-once", end=True)
        client.h2.reset_stream(at_once)
        client.flush()
        client.h2.increment_flow_control_window(1_000_000)
        client.reads = True
        await client.ping()
        gate.set()
        assert len((await client.ask("/last")).body) == 1_000_000
        assert {"/slow", "/answered", "/last"} <= set(called) <= {"/slow", "/answered", "/at-once", "/last"}
        assert client.answers[slow] == Answer()

    serve(body, handler)


def test_answers_are_sent_in_turn() -> None:
    async def handler(request: Request) -> Response:
        return Response(200, bytes(3_000_000 if request.path == "/large" else 20_000))

    async def body(_: http.HttpServer, connect: Open) -> None:
        client = await connect()
        large, small = client.head("/large", end=True), client.head("/small", end=True)
        assert len((await client.answer(small)).body) == 20_000
        assert not client.answers[large].ended
        assert len((await client.answer(large)).body) == 3_000_000

    serve(body, handler)


def test_stopping_finishes_what_is_under_way_and_cuts_off_what_takes_too_long() -> None:
    started: list[str] = []
    gate = asyncio.Event()

    async def slow(request: Request) -> Response:
        started.append(request.path)
        if request.path == "/never":
            await asyncio.sleep(30)
        await gate.wait()
        return Response(200, bytes(500_000))

    async def body(server: http.HttpServer, connect: Open) -> None:
        idle, quick, never = await connect(), await connect(), await connect()
        idle.flush()
        under_way = quick.head("/quick", end=True)
        never.head("/never", end=True)
        while len(started) < 2 or server.connections < 3:
            await asyncio.sleep(0)
        stopping = asyncio.create_task(server.stop(1))
        await quick.until(lambda: quick.goaway is not None)
        assert quick.goaway == ErrorCodes.NO_ERROR
        quick.h2.state_machine = never.h2.state_machine  # which has not seen it yet: it goes on
        late = quick.head("/late", end=True)
        assert (await quick.answer(late)).reset == ErrorCodes.REFUSED_STREAM
        gate.set()
        assert len((await quick.answer(under_way)).body) == 500_000
        await stopping
        for client in (idle, quick, never):
            await client.end()
        assert idle.goaway == ErrorCodes.NO_ERROR
        assert "/late" not in started

    serve(body, slow)


@pytest.mark.parametrize("half_closed", [False, True])
def test_a_client_that_starts_no_more_still_gets_its_answers(half_closed: bool) -> None:
    gate = asyncio.Event()

    async def slow(_: Request) -> Response:
        await gate.wait()
        return Response(200, bytes(50_000))

    async def body(_: http.HttpServer, connect: Open) -> None:
        client, other = await connect(), await connect()
        stream_ids = [client.head(end=True) for _ in range(1 if half_closed else 5)]
        if half_closed:
            await client.ping()
            client.writer.write_eof()
            client.reads = False  # nothing can open a window now
        else:
            client.writer.write(b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + bytes(8))  # GOAWAY
            await client.ping()
        other.head(end=True)
        await other.ping()
        gate.set()
        for stream_id in stream_ids:
            assert len((await client.answer(stream_id)).body) == 50_000
        await client.end()

    serve(body, slow)


@pytest.mark.parametrize(("method", "status", "length"), [("HEAD", 200, "5"), ("GET", 204, None), ("GET", 304, None)])
def test_answers_without_a_body(method: str, status: int, length: str | None) -> None:
    async def handler(_: Request) -> Response:
        further = (("X-Split", "a\r\nInjected: b"), ("Connection", "close"), ("x-amzn-RequestId", "mine"))
        return Response(status, b"hello", headers=further)

    async def body(_: http.HttpServer, connect: Open) -> None:
        client = await connect()
        answer = await client.ask(method=method)
        assert (answer.status, answer.headers.get("content-length"), bytes(answer.body)) == (status, length, b"")
        assert answer.headers["x-split"] == "a  Injected: b"
        assert answer.headers["x-amzn-requestid"] == "mine"
        assert "connection" not in answer.headers

    serve(body, handler)


def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    async def body(_: http.HttpServer, connect: Open) -> None:
        client = await connect()
        stream_id = client.head("/", ("expect", "100-continue"))
        await client.until(lambda: client.answers[stream_id].informed == [100])
        await client.body(stream_id, b"hello")
        assert (await client.answer(stream_id)).json()["body"] == 5

    serve(body)
