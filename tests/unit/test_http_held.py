"""What all connections together may have the server hold: beyond it, what was held longest is given up."""

import asyncio
from collections.abc import Awaitable, Callable

from h2.errors import ErrorCodes

from headrace.gateway import connection, http
from headrace.wire import Request, Response
from support import http2
from support.http1 import run, serving

LIMITS = connection.Limits(held_bytes=1_000_000)
HEAD = b"POST /%d HTTP/1.1\r\nContent-Length: 700000\r\n\r\n"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def test_of_bodies_that_do_not_come_whole_the_oldest_is_refused() -> None:
    async def body() -> None:
        async with serving(limits=LIMITS) as (server, connect):
            stalled, other, last = await connect(), await connect(), await connect()
            stalled.send(HEAD % 1, bytes(600_000))
            await until(lambda: server.held_bytes > 600_000)
            other.send(HEAD % 2, bytes(300_000))
            await until(lambda: server.held_bytes > 900_000)
            last.send(HEAD % 3, bytes(200_000))
            status, headers, _ = await stalled.answer()
            assert (status, headers["connection"]) == (503, "close")
            assert await stalled.ended()
            assert 500_000 < server.held_bytes < 600_000
            for each, rest in ((other, 400_000), (last, 500_000)):
                each.send(bytes(rest))
                assert (await each.answer())[0] == 200
            assert server.held_bytes == 0

    run(body)


def test_requests_that_wait_for_one_before_them_are_held() -> None:
    gate = asyncio.Event()

    async def slow(request: Request) -> Response:
        if request.path == "/slow":
            await gate.wait()
        return Response(200)

    async def body() -> None:
        async with serving(slow, LIMITS) as (server, connect):
            waiting, other = await connect(), await connect()
            waiting.send(b"GET /slow HTTP/1.1\r\n\r\n", HEAD % 1, bytes(700_000))
            await until(lambda: server.held_bytes > 700_000)
            other.send(HEAD % 2, bytes(300_000))
            await until(lambda: server.held_bytes < 700_000)
            other.send(bytes(400_000))
            assert (await other.answer())[0] == 200
            gate.set()
            assert [(await waiting.answer())[0] for _ in range(2)] == [200, 503]
            assert await waiting.ended()
            assert server.held_bytes == 0

    run(body)


def test_many_small_requests_that_wait_are_held() -> None:
    asked: list[str] = []
    gate = asyncio.Event()

    async def slow(request: Request) -> Response:
        asked.append(request.path)
        await gate.wait()
        return Response(200)

    async def body() -> None:
        async with serving(slow, LIMITS) as (server, connect):
            client = await connect()
            client.send(b"GET / HTTP/1.1\r\n\r\n" * 2000)
            await until(lambda: bool(asked))
            gate.set()
            assert [(await client.answer())[0] for _ in range(2)] == [200, 503]
            assert (len(asked), server.held_bytes) == (1, 0)

    run(body)


def test_of_answers_that_are_not_read_the_oldest_is_cut_off() -> None:
    async def big(_: Request) -> Response:
        return Response(200, bytes(50_000_000))

    async def body() -> None:
        async with serving(big, connection.Limits(held_bytes=70_000_000)) as (server, connect):
            deaf, other = await connect(), await connect()
            for each in (deaf, other):
                each.reader._transport.pause_reading()  # type: ignore[attr-defined]
                each.send(b"GET / HTTP/1.1\r\n\r\n")
                await until(lambda: server.held_bytes > 0)
            await until(lambda: server.connections == 1)
            other.reader._transport.resume_reading()  # type: ignore[attr-defined]
            assert len((await other.answer())[2]) == 50_000_000
            await until(lambda: server.held_bytes == 0)

    run(body)


def test_of_a_connections_streams_the_oldest_is_refused() -> None:
    async def body(server: http.HttpServer, connect: Callable[[], Awaitable[http2.Client]]) -> None:
        client = await connect()
        await client.ping()
        streams = [client.head(f"/{number}") for number in range(5)]
        rest = [client.some(stream, memoryview(bytes(240_000)), end=False) for stream in streams]
        answer = await client.answer(streams[0])
        assert (answer.status, answer.reset) == (503, None)
        assert server.held_bytes < LIMITS.held_bytes
        for stream in streams[1:]:
            client.h2.end_stream(stream)
            client.flush()
            assert (await client.answer(stream)).json()["body"] == 240_000
        assert not any(rest)
        assert server.held_bytes == 0

    http2.serve(body, limits=LIMITS)


def test_an_answer_whose_window_is_shut_is_held() -> None:
    async def big(_: Request) -> Response:
        return Response(200, bytes(700_000))

    async def body(server: http.HttpServer, connect: Callable[[], Awaitable[http2.Client]]) -> None:
        shut, other = await connect(), await connect()
        for each in (shut, other):
            each.reads = False
            stream = each.head(end=True)
            await each.until(lambda each=each, stream=stream: len(each.answers[stream].body) == 65_535)  # type: ignore[misc]
        assert (await shut.answer(stream)).reset == ErrorCodes.ENHANCE_YOUR_CALM
        other.reads = True
        other.h2.acknowledge_received_data(65_535, stream)
        other.flush()
        assert len((await other.answer(stream)).body) == 700_000
        assert server.held_bytes == 0

    http2.serve(body, big, LIMITS)


def test_a_connection_that_is_lost_holds_nothing() -> None:
    async def body(server: http.HttpServer, connect: Callable[[], Awaitable[http2.Client]]) -> None:
        first, second = await connect(), await connect()
        first.some(first.head(), memoryview(bytes(60_000)), end=False)
        second.writer.write(HEAD % 1 + bytes(600_000))
        await until(lambda: server.held_bytes > 660_000)
        for each in (first, second):
            each.writer.transport.abort()
        await until(lambda: server.connections == 0)
        assert server.held_bytes == 0

    http2.serve(body, limits=LIMITS)
