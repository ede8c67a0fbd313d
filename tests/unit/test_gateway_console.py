"""Handing requests on to the console's socket, and what is said where nothing answers there."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.gateway.console import Console
from headrace.wire import Request, Response

ANSWER = b"HTTP/1.1 201 Created\r\nContent-Type: text/css\r\nX-Two: a\r\nX-Two: b\r\nConnection: close\r\n"
GET = Request("GET", "/_headrace/console/a%20b", "q=1&r", {"host": "127.0.0.1", "connection": "keep-alive"}, b"")


def ask(folder: Path, request: Request, answer: Callable[[bytes], bytes | None]) -> Response:
    """Ask through a console that answers with what `answer` makes of a request; None: nothing listens."""

    async def exchange() -> Response:
        socket = folder / "s"

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            writer.write(answer(head + await reader.readexactly(length)) or b"")
            writer.close()

        if answer(b"") is not None:
            server = await asyncio.start_unix_server(serve, socket)
            async with server:
                return await Console(socket, folder / "console.log").handle(request)
        return await Console(socket, folder / "console.log").handle(request)

    return asyncio.run(exchange())


def test_a_request_arrives_as_it_was_sent(tmp_path: Path) -> None:
    got = []

    def answer(raw: bytes) -> bytes:
        got.append(raw)
        return ANSWER + b"Content-Length: 4\r\n\r\nbody"

    post = GET._replace(method="POST", body=b"\x00" * 100_000, headers={**GET.headers, "cookie": "é"})
    response = ask(tmp_path, post, answer)
    head, _, body = got[-1].partition(b"\r\n\r\n")
    assert body == post.body
    assert head.split(b"\r\n") == [
        b"POST /_headrace/console/a%20b?q=1&r HTTP/1.1",
        b"host: 127.0.0.1",
        "cookie: é".encode("latin-1"),
        b"Content-Length: 100000",
        b"Connection: close",
    ]
    assert response == Response(201, b"body", "text/css", (("X-Two", "a"), ("X-Two", "b")))


@pytest.mark.parametrize(
    ("method", "rest", "body"),
    [
        ("GET", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        ("GET", b"Content-Length: 0\r\n\r\n", b""),
        ("HEAD", b"Content-Length: 900\r\n\r\n", b""),
    ],
)
def test_answers_of_every_form(tmp_path: Path, method: str, rest: bytes, body: bytes) -> None:
    response = ask(tmp_path, GET._replace(method=method), lambda _: ANSWER + rest)
    assert (response.status, response.body) == (201, body)
    assert [name for name, _ in response.headers] == ["X-Two", "X-Two"]


@pytest.mark.parametrize(
    "raw", [None, b"", b"HTTP/1.1 20", ANSWER + b"Content-Length: 9\r\n\r\ncut", b"no HTTP\r\n\r\n"]
)
def test_without_an_answer_its_log_is_named(tmp_path: Path, raw: bytes | None) -> None:
    response = ask(tmp_path, GET, lambda _: raw)
    assert (response.status, response.content_type) == (503, "text/plain; charset=utf-8")
    assert str(tmp_path / "console.log") in response.body.decode()


def test_one_that_hangs_is_given_up(tmp_path: Path) -> None:
    async def exchange() -> Response:
        gone = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            gone.set()

        server = await asyncio.start_unix_server(serve, tmp_path / "s")
        async with server:
            response = await Console(tmp_path / "s", tmp_path / "log", answer_s_max=0.01).handle(GET)
            await gone.wait()  # and the connection to it is closed
            return response

    response = asyncio.run(exchange())
    assert response.status == 504 and b"did not answer within" in response.body
