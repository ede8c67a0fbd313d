"""What HTTP/2 takes of a client: so much, for so long, and nothing that is none."""

import asyncio
import gc
import logging
import tracemalloc
from collections.abc import Sequence

import pytest
from h2.errors import ErrorCodes

from headrace.gateway import connection, http, http2, http2_setup
from headrace.wire import Request, Response
from support.http2 import Open, serve

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def test_a_body_of_the_full_size_is_taken() -> None:
    async def body(_: http.HttpServer, connect: Open) -> None:
        client = await connect()
        assert (await client.ask(body=b"x" * connection.BODY_BYTES_MAX)).json()["body"] == connection.BODY_BYTES_MAX

    serve(body)


def test_what_is_too_large_or_no_request_is_refused_and_others_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body(_: http.HttpServer, connect: Open) -> None:
        client = await connect()
        other = client.head("/other")
        announced = await client.answer(client.head("/", ("content-length", "16777217")))
        assert announced.status == 413
        grown = client.head()
        await client.body(grown, bytes(connection.BODY_BYTES_MAX + 1_000_000))
        assert ((await client.answer(grown)).status, client.answers[grown].reset) == (413, None)
        await client.until(lambda: announced.reset == ErrorCodes.NO_ERROR)
        assert (await client.ask("/", ("content-length", "0"), ("content-length", "0"))).status == 400
        assert (await client.ask("/a b")).status == 400
        assert (await client.ask("*", method="OPTIONS")).status == 400
        assert (await client.ask("/", method="GET /x HTTP/1.1")).status == 400
        client.h2.send_headers(stream := 99, [(":method", "CONNECT"), (":authority", "host:443")])
        client.flush()
        assert (await client.answer(stream)).status == 405
        assert "message" in client.answers[stream].json()
        await client.body(other, b"hello")
        assert (await client.answer(other)).json()["body"] == 5

    monkeypatch.setattr(http2, "LINGER_S", 0.2)
    serve(body)


def test_a_connection_sends_only_so_much_that_is_not_answered_and_all_of_it_gets_done() -> None:
    async def body(_: http.HttpServer, connect: Open) -> None:
        client = await connect()
        size = 700_000
        rest = {client.head(): memoryview(bytes(size)) for _ in range(http2_setup.STREAMS_MAX)}
        before, left = 0, size * len(rest)
        while left != before:
            before = left
            await client.ping()
            rest = {stream_id: client.some(stream_id, part, end=False) for stream_id, part in rest.items()}
            left = sum(map(len, rest.values()))
        held = size * len(rest) - left
        assert (
            connection.READ_AHEAD_BYTES
            < held
            < connection.READ_AHEAD_BYTES + (http2_setup.STREAMS_MAX + 4) * http2_setup.STREAM_WINDOW
        )
        for stream_id, part in rest.items():
            if part:
                await client.body(stream_id, bytes(part))
            else:
                client.h2.end_stream(stream_id)
                client.flush()
            assert (await client.answer(stream_id)).json()["body"] == size

    serve(body)


BAD: dict[str, bytes] = {
    "zeros": bytes(20),
    "a frame that is too long": b"\x00\x40\x01\x00\x00\x00\x00\x00\x01" + bytes(0x4001),
    "data of no request": b"\x00\x00\x01\x00\x00\x00\x00\x00\x01x",
    "a window of nothing": b"\x00\x00\x04\x08\x00\x00\x00\x00\x00" + bytes(4),
    "a window too far open": b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\xff\xff",
    "half a ping": b"\x00\x00\x04\x06\x00\x00\x00\x00\x00ping",
    "a head that is no HPACK": b"\x00\x00\x04\x01\x05\x00\x00\x00\x01\xff\xff\xff\xff",
    "a head without a path": b"\x00\x00\x01\x01\x05\x00\x00\x00\x01\x82",
    "the rest of no head": b"\x00\x00\x01\x09\x04\x00\x00\x00\x01\x82",
    "a length that is long and none": b"\x00\x17\x7a\x01\x05\x00\x00\x00\x01"
    + b"\x82\x86\x84\x41\x01x\x5c\x7f\xf1\x2d"
    + b"1" * 6000,
    "a promise": b"\x00\x00\x05\x05\x04\x00\x00\x00\x01\x00\x00\x00\x02\x82",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_frames_end_the_connection_in_a_line_of_the_log(name: str, caplog: pytest.LogCaptureFixture) -> None:
    async def body(_: http.HttpServer, connect: Open) -> None:
        client = await connect()
        client.h2.ping(b"12345678")
        client.flush()
        client.writer.write(BAD[name])
        await client.end()
        assert client.goaway
        assert (await (await connect()).ask()).status == 200  # and nobody else is harmed

    with caplog.at_level(logging.WARNING):
        serve(body)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "127.0.0.1 speaks HTTP/2, but not as it should: " in caplog.text
    assert len(caplog.text) < 500
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "heads",
    [
        [[("x-large", "x" * 70_000)]],
        [[("x-many", "x")] * 3000],
        [[]] * (http2_setup.STREAMS_MAX + 1),
    ],
)
def test_heads_and_requests_are_bounded(heads: Sequence[Sequence[tuple[str, str]]]) -> None:
    async def never(_: Request) -> Response:
        await asyncio.sleep(30)
        raise AssertionError

    async def body(_: http.HttpServer, connect: Open) -> None:
        client = await connect()
        client.h2.local_settings.max_concurrent_streams = client.h2.remote_settings.max_concurrent_streams = 1000
        for headers in heads:
            client.head("/", *headers, end=True)
        await client.end()
        assert client.goaway

    serve(body, never)


def test_requests_that_are_given_up_count_until_they_are_done() -> None:
    gate = asyncio.Event()
    called: list[str] = []

    async def handler(request: Request) -> Response:
        called.append(request.path)
        if request.path != "/other":
            await gate.wait()
        return Response(200)

    async def body(_: http.HttpServer, connect: Open) -> None:
        client, other = await connect(), await connect()
        while len(called) <= http2_setup.STREAMS_MAX:
            stream_id = client.head(end=True)
            await client.ping() if len(called) < http2_setup.STREAMS_MAX else await asyncio.sleep(0)
            client.h2.reset_stream(stream_id)
            client.flush()
        last = client.head("/last", end=True)
        for _round in range(20):
            await other.ask("/other")
        assert "/last" not in called
        gate.set()
        assert (await client.answer(last)).status == 200

    serve(body, handler)


def test_a_client_that_does_not_read_holds_up_only_itself() -> None:
    async def big(request: Request) -> Response:
        return Response(200, bytes(int(request.path[1:])))

    async def body(server: http.HttpServer, connect: Open) -> None:
        shut, deaf, other = await connect(), await connect(), await connect()
        shut.reads = False
        held = shut.head("/4000000", end=True)
        deaf.h2.update_settings({4: 2**31 - 1})  # the windows of streams
        deaf.h2.increment_flow_control_window(2**30)
        deaf.reader._transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(50):
            deaf.head("/4000000", end=True)
        assert len((await other.ask("/4000000")).body) == 4_000_000
        assert (await shut.answer(held)).reset == ErrorCodes.CANCEL
        assert len(shut.answers[held].body) == 65_535
        shut.reads = True
        shut.h2.increment_flow_control_window(65_535)
        assert len((await shut.ask("/70000")).body) == 70_000
        for _ in range(400):
            if server.connections == 2:
                break
            await asyncio.sleep(0.01)
        assert server.connections == 2

    serve(body, big, connection.Limits(request_s=0.5))


def test_silent_connections_are_closed_and_half_requests_answered() -> None:
    async def body(_: http.HttpServer, connect: Open) -> None:
        idle, half, begun = await connect(), await connect(), await connect()
        idle.flush()
        stream_id = half.head()
        begun.writer.write(PREFACE[:20])
        answer = await half.answer(stream_id)
        assert answer.status == 408
        await idle.end()
        assert idle.goaway == ErrorCodes.NO_ERROR
        assert (await begun.reader.read()).startswith(b"HTTP/1.1 408")

    serve(body, limits=connection.Limits(idle_s=0.01, request_s=0.01))


def test_a_client_that_sends_tiny_frames_does_not_hold_up_others() -> None:
    asked: list[str] = []
    begun = asyncio.Event()

    async def handler(request: Request) -> Response:
        asked.append(request.path)
        begun.set()
        return Response()

    async def body(server: http.HttpServer, connect: Open) -> None:
        flood, other = await connect(), await connect()
        flood.head("/begin", end=True)
        flood.writer.write(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01" * 10_000)  # windows, by one
        end = flood.head("/end", end=True)
        await begun.wait()
        await other.ask("/other")
        await flood.answer(end)
        assert asked == ["/begin", "/other", "/end"]

    serve(body, handler)


def test_a_connection_that_is_closed_keeps_nothing_of_what_it_read(caplog: pytest.LogCaptureFixture) -> None:
    async def body(server: http.HttpServer, connect: Open) -> None:
        gc.disable()
        tracemalloc.start()
        try:
            for _ in range(5):
                client = await connect()
                client.head("/", end=False)
                client.writer.write(b"\x00\x00\x01\x01\x00\x00\x00\x00\x03\x83")  # a head without an end
                client.writer.write((b"\x00\x3f\xff\x09\x00\x00\x00\x00\x03" + bytes(16383)) * 64)
                await client.end()
                assert client.goaway
            while server.connections:
                await asyncio.sleep(0)
            assert tracemalloc.get_traced_memory()[0] < 2_000_000
        finally:
            tracemalloc.stop()
            gc.enable()

    caplog.set_level(logging.ERROR)  # else the fixture keeps it, with the error that a warning tells
    serve(body)
