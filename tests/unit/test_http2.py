"""HTTP/2 without TLS over a real loopback socket, with h2's client side: requests at once, bounds, resets, stop."""

import asyncio
import json
import logging
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest
import uvloop
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    InformationalResponseReceived,
    PingAckReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)

from headrace.gateway import http, http2
from headrace.wire import Reply, Request, Response
from support.http_serving import serving

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Handler = Callable[[Request], Awaitable[Response]]


async def echo(request: Request) -> Response:
    """Answer what arrived."""
    return Response(200, json.dumps({**request._asdict(), "body": len(request.body)}).encode())


class Plain:
    """A router with one handler; what goes wrong there is answered with its text."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def __call__(self, request: Request) -> Awaitable[Response]:
        return self._handler(request)

    def failed(self, request: Request, error: Exception) -> Response:
        return Response(500, f"{request.path} {error}".encode())


@dataclass
class Answer:
    """What has come of an answer."""

    informed: list[int] = field(default_factory=list)
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None

    def json(self) -> dict[str, object]:
        got = json.loads(self.body)
        assert isinstance(got, dict)
        return got


class Client:
    """A client that does what it is told, and reads when it waits."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        config = H2Configuration(header_encoding="latin-1", validate_outbound_headers=False)
        self.h2 = H2Connection(config)
        self.h2.initiate_connection()
        self.answers: defaultdict[int, Answer] = defaultdict(Answer)
        self.reads = True  # the answers' bodies, so that their windows open
        self.pings = 0
        self.goaway: int | None = None
        self.ended = False

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.writer.write(data)

    def head(
        self, path: str = "/", *headers: tuple[str, str], method: str = "POST", host: str = "x", end: bool = False
    ) -> int:
        stream_id = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "http"), (":authority", host), (":path", path)]
        self.h2.send_headers(stream_id, [*pseudo, *headers], end_stream=end)
        self.flush()
        return stream_id

    def some(self, stream_id: int, body: memoryview, *, end: bool) -> memoryview:
        """Send what the windows take, and return the rest."""
        while body:
            size = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size)
            if size <= 0:
                break
            part, body = body[:size], body[size:]
            self.h2.send_data(stream_id, part, end_stream=end and not body)
        self.flush()
        return body

    async def body(self, stream_id: int, body: bytes) -> None:
        rest = self.some(stream_id, memoryview(body), end=True)
        while rest and self.answers[stream_id].reset is None:
            await self.turn()
            rest = self.some(stream_id, rest, end=True)

    async def turn(self) -> None:
        """Read once."""
        data = await asyncio.wait_for(self.reader.read(65536), 10)
        if not data:
            self.ended = True
        for event in self.h2.receive_data(data):
            if isinstance(event, ConnectionTerminated):
                self.goaway = int(event.error_code or 0)
            elif isinstance(event, PingAckReceived):
                self.pings += 1
            elif isinstance(event, InformationalResponseReceived):
                self.answers[event.stream_id].informed += [int(value) for _, value in event.headers]
            elif isinstance(event, ResponseReceived):
                answer = self.answers[event.stream_id]
                answer.headers = {str(name): str(value) for name, value in event.headers}
                answer.status = int(answer.headers[":status"])
            elif isinstance(event, DataReceived):
                self.answers[event.stream_id].body += event.data
                if self.reads:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self.answers[event.stream_id].ended = True
            elif isinstance(event, StreamReset):
                self.answers[event.stream_id].reset = int(event.error_code)
        self.flush()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert not self.ended, "the connection was closed"
            await self.turn()

    async def answer(self, stream_id: int) -> Answer:
        answer = self.answers[stream_id]
        await self.until(lambda: answer.ended or answer.reset is not None)
        return answer

    async def ask(self, path: str = "/", *headers: tuple[str, str], body: bytes = b"", method: str = "POST") -> Answer:
        stream_id = self.head(path, *headers, method=method, end=not body)
        await self.body(stream_id, body)
        return await self.answer(stream_id)

    async def ping(self) -> None:
        """Have the server answer to all that was sent before."""
        pings = self.pings
        self.h2.ping(b"12345678")
        self.flush()
        await self.until(lambda: self.pings > pings)

    async def end(self) -> None:
        """Read until the server has closed the connection."""
        try:
            while not self.ended:
                await self.turn()
        except ConnectionResetError:
            self.ended = True


Open = Callable[[], Awaitable[Client]]


def serve(
    body: Callable[[http.HttpServer, Open], Awaitable[None]], handler: Handler = echo, limits: http.Limits | None = None
) -> None:
    """Run `body` with a server and what opens a connection to it."""

    async def main() -> None:
        async with serving(Client, Plain(handler), limits) as (server, connect):
            await body(server, connect)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


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
        stream_ids = [client.head(end=True) for _ in range(http2.STREAMS_MAX)]
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


def test_a_body_of_the_full_size_is_taken() -> None:
    async def body(_: http.HttpServer, connect: Open) -> None:
        client = await connect()
        assert (await client.ask(body=b"x" * http.BODY_BYTES_MAX)).json()["body"] == http.BODY_BYTES_MAX

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
        await client.body(grown, bytes(http.BODY_BYTES_MAX + 1_000_000))
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

    monkeypatch.setattr(http, "LINGER_S", 0.2)
    serve(body)


def test_a_connection_sends_only_so_much_that_is_not_answered_and_all_of_it_gets_done() -> None:
    async def body(_: http.HttpServer, connect: Open) -> None:
        client = await connect()
        size = 700_000
        rest = {client.head(): memoryview(bytes(size)) for _ in range(http2.STREAMS_MAX)}
        before, left = 0, size * len(rest)
        while left != before:
            before = left
            await client.ping()
            rest = {stream_id: client.some(stream_id, part, end=False) for stream_id, part in rest.items()}
            left = sum(map(len, rest.values()))
        held = size * len(rest) - left
        assert http.READ_AHEAD_BYTES < held < http.READ_AHEAD_BYTES + (http2.STREAMS_MAX + 4) * http2.STREAM_WINDOW
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
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "heads",
    [
        [[("x-large", "x" * 70_000)]],
        [[("x-many", "x")] * 3000],
        [[]] * (http2.STREAMS_MAX + 1),
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
        while len(called) <= http2.STREAMS_MAX:
            stream_id = client.head(end=True)
            await client.ping() if len(called) < http2.STREAMS_MAX else await asyncio.sleep(0)
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

    serve(body, big, http.Limits(request_s=0.5))


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

    serve(body, limits=http.Limits(idle_s=0.01, request_s=0.01))


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
