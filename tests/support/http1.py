"""A client that sends HTTP/1.1 as bytes, and a server for it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import uvloop

from headrace.gateway import connection, http
from headrace.wire import Request, Response
from support import http_serving

HELLO = (
    b"POST /a/b?c=d%20e HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
    b"X-Two: 1\r\nx-two: 2\r\nCookie: a=1\r\nCookie: b=2\r\n\r\nhello"
)


async def echo(request: Request) -> Response:
    """Answer what arrived."""
    return Response(
        200,
        json.dumps(
            {
                "method": request.method,
                "path": request.path,
                "query": request.query,
                "headers": request.headers,
                "body": len(request.body),
                "start": request.body[:20].decode("latin-1"),
            }
        ).encode(),
    )


class Client:
    """A connection that reads whole answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))

    async def answer(self, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        length = int(headers.get("content-length", 0)) if body else 0
        return int(head[0].split()[1]), headers, await self.reader.readexactly(length)

    async def ended(self) -> bool:
        try:
            return await asyncio.wait_for(self.reader.read(1), 5) == b""
        except ConnectionResetError:
            return True


Open = Callable[[], Awaitable[Client]]


class Plain:
    """A router with one handler."""

    def __init__(self, handler: Callable[[Request], Awaitable[Response]]) -> None:
        self._handler = handler

    def __call__(self, request: Request) -> Awaitable[Response]:
        return self._handler(request)

    def failed(self, request: Request, error: Exception) -> Response:
        raise error


def serving(
    handler: Callable[[Request], Awaitable[Response]] = echo, limits: connection.Limits | None = None
) -> AbstractAsyncContextManager[tuple[http.HttpServer, Open]]:
    return http_serving.serving(Client, Plain(handler), limits)


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await body()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def exchange(*parts: bytes, step: int = 0) -> tuple[int, dict[str, str], dict[str, object]]:
    """Send bytes, all at once or `step` at a time, and return the first answer."""
    got: list[tuple[int, dict[str, str], bytes]] = []

    async def body() -> None:
        async with serving() as (_, connect):
            client = await connect()
            data = b"".join(parts)
            for start in range(0, len(data), step or len(data)):
                client.send(data[start : start + (step or len(data))])
                if step:
                    await client.writer.drain()
                    await asyncio.sleep(0)
            got.append(await client.answer())

    run(body)
    status, headers, answer = got[0]
    return status, headers, json.loads(answer)
