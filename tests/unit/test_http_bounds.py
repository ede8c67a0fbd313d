"""What HTTP/1.1 takes of a client: so much, for so long, and nothing that is none."""

import asyncio
import json
import resource
import socket
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from headrace.gateway import connection, http
from headrace.supervisor import listener
from headrace.wire import Request, Response
from support.http1 import HELLO, Plain, exchange, run, serving

REFUSED = {
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "an unknown version": (b"GET / HTTP/7.3\r\n\r\n", 400),
    "a bad length": (b"POST / HTTP/1.1\r\nContent-Length: five\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    "length and chunks": (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a bad chunk": (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "a proxy request": (b"CONNECT host:443 HTTP/1.1\r\nHost: host\r\n\r\n", 405),
    "a huge body announced": (b"POST / HTTP/1.1\r\nContent-Length: 16777217\r\n\r\n", 413),
    "a huge body": (
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + b"x" * 0x100000 + b"\r\n") * 17,
        413,
    ),
    "a huge head": (b"GET / HTTP/1.1\r\nX: " + b"x" * (600 * 1024), 431),
    "too many headers": (b"GET / HTTP/1.1\r\n" + b"".join(b"%d:\r\n" % number for number in range(510)), 431),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 100_000, 431),
    "half of HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\n\r\n", 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_read_is_refused_and_the_connection_ends(name: str) -> None:
    sent, expected = REFUSED[name]

    async def body() -> None:
        async with serving() as (_, connect):
            client = await connect()
            client.send(sent)
            status, headers, answer = await client.answer()
            assert status == expected
            assert headers["connection"] == "close"
            assert json.loads(answer)["message"]
            assert await client.ended()
            other = await connect()  # and nobody else is harmed
            other.send(HELLO)
            assert (await other.answer())[0] == 200

    run(body)


def test_a_body_of_the_full_size_is_taken() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 16777216\r\n\r\n"
    assert exchange(head, b"x" * 16777216)[2]["body"] == 16777216


def test_silent_connections_are_closed() -> None:
    async def body() -> None:
        async with serving(limits=connection.Limits(idle_s=0.01, request_s=0.01)) as (_, connect):
            idle, half = await connect(), await connect()
            half.send(HELLO[:40])
            assert await idle.ended()
            assert (await half.answer())[0] == 408
            assert await half.ended()

    run(body)


def test_a_client_that_does_not_read_holds_up_only_itself() -> None:
    calls: list[str] = []

    async def big(request: Request) -> Response:
        calls.append(request.path)
        return Response(200, b"x" * 4_000_000)

    async def body() -> None:
        async with serving(big, connection.Limits(request_s=0.5)) as (server, connect):
            deaf = await connect()
            deaf.reader._transport.pause_reading()  # type: ignore[attr-defined]
            deaf.send(b"GET /deaf HTTP/1.1\r\n\r\n" * 50)
            other = await connect()
            other.send(b"GET /other HTTP/1.1\r\n\r\n")
            assert len((await other.answer())[2]) == 4_000_000
            assert calls.count("/deaf") < 10
            for _ in range(400):
                if server.connections == 1:
                    break
                await asyncio.sleep(0.01)
            assert server.connections == 1

    run(body)


@asynccontextmanager
async def deaf_client(said: bytes, then: bytes, limits: connection.Limits) -> AsyncIterator[http.HttpServer]:
    """Yield a server with a client that reads the beginning of an answer, says something more, and reads no further.

    What is not read is less than has the server take note, and more than the system takes.
    """

    async def some(_: Request) -> Response:
        return Response(200, bytes(60_000))

    loop = asyncio.get_running_loop()
    listening = listener.listen("127.0.0.1", 0)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # its connections have that, too
    server = await http.start(Plain(some), listening, limits)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        await loop.sock_connect(deaf, ("127.0.0.1", server.port))
        await loop.sock_sendall(deaf, said)
        read = 0
        while read < 1000:
            read += len(await loop.sock_recv(deaf, 1000))
        await loop.sock_sendall(deaf, then)
        assert server.connections == 1
        yield server
        await server.stop(0.1)


LAST = {
    "HTTP/1.1": (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", b""),
    "HTTP/2": (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x06\x01\x05\x00\x00\x00\x01\x82\x86\x84\x41\x01x",
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x03",  # data of no request, for which the connection is closed
    ),
}


@pytest.mark.parametrize("version", LAST)
def test_a_client_that_does_not_read_the_last_of_its_answers_is_cut_off(version: str) -> None:
    async def body() -> None:
        async with deaf_client(*LAST[version], connection.Limits(request_s=0.5)) as server, asyncio.timeout(10):
            while server.connections:
                await asyncio.sleep(0.01)

    run(body)


@pytest.mark.parametrize("version", LAST)
def test_stopping_does_not_wait_for_clients_that_do_not_read(version: str) -> None:
    async def body() -> None:
        async with deaf_client(*LAST[version], connection.Limits()) as server:
            await server.stop(0.1)
            async with asyncio.timeout(10):
                while server.connections:
                    await asyncio.sleep(0)

    run(body)


def test_running_out_of_descriptors_does_not_stop_the_server() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def body() -> None:
        async with serving() as (server, connect):
            first = await connect()
            sockets = [socket.socket() for _ in range(20)]
            used = max(each.fileno() for each in sockets) + 1
            resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))  # no descriptor is left to accept with
            try:
                for each in sockets:
                    each.setblocking(False)
                    each.connect_ex(("127.0.0.1", server.port))
                await asyncio.sleep(0.05)
                first.send(HELLO)
                assert (await first.answer())[0] == 200
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for each in sockets:
                    each.close()
            later = await connect()
            later.send(HELLO)
            assert (await later.answer())[0] == 200

    run(body)


CHUNKED = b"POST /chunks HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n"


def test_a_body_in_tiny_chunks_takes_no_more_than_its_size() -> None:
    peak: list[int] = []

    async def body() -> None:
        async with serving() as (_, connect):
            client = await connect()
            data = CHUNKED % (b"2\r\nab\r\n" * 200_000)
            tracemalloc.start()
            try:
                client.send(data)
                answer = json.loads((await client.answer())[2])
                peak.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
            assert answer["body"] == 400_000

    run(body)
    assert peak[0] < 4_000_000


def test_a_client_that_sends_tiny_chunks_does_not_hold_up_others() -> None:
    asked: list[str] = []
    begun = asyncio.Event()

    async def handler(request: Request) -> Response:
        asked.append(request.path)
        begun.set()
        return Response()

    async def body() -> None:
        async with serving(handler) as (server, connect):
            other = await connect()
            with socket.create_connection(("127.0.0.1", server.port)) as flood:
                data = b"GET /begin HTTP/1.1\r\n\r\n" + CHUNKED % (b"1\r\nx\r\n" * 500_000)
                sending = asyncio.create_task(asyncio.to_thread(flood.sendall, data))
                await begun.wait()
                other.send(b"GET /other HTTP/1.1\r\n\r\n")
                await other.answer()
                await sending
                while len(asked) < 3:
                    await asyncio.sleep(0)
            assert asked == ["/begin", "/other", "/chunks"]

    run(body)
