"""An HTTP/2 client that does what it is told, over h2's client side, and a server for it."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import uvloop
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    InformationalResponseReceived,
    PingAckReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)

from headrace.gateway import connection, http
from headrace.wire import Request, Response
from support.http_serving import serving

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
    body: Callable[[http.HttpServer, Open], Awaitable[None]],
    handler: Handler = echo,
    limits: connection.Limits | None = None,
) -> None:
    """Run `body` with a server and what opens a connection to it."""

    async def main() -> None:
        async with serving(Client, Plain(handler), limits) as (server, connect):
            await body(server, connect)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
