"""Hands what is asked under `/_headrace/console` on to the console's process, and its answers back.

The supervisor listens on the console's socket and starts the process with the first connection: a request that comes
before then waits for it. Nothing here knows what the console says.
"""

import asyncio
from pathlib import Path

import httptools

from headrace.settings import CONSOLE_PATH
from headrace.wire import Handler, Request, Response

ANSWER_S_MAX = 60.0  # with the start of the process in it
_TEXT = "text/plain; charset=utf-8"
_OWN = frozenset(("connection", "keep-alive", "transfer-encoding", "content-length", "upgrade", "expect"))
_SET_HERE = _OWN | {"date", "content-type"}


class Console:
    """Handlers for `paths()`."""

    def __init__(self, socket: Path, log: Path, answer_s_max: float = ANSWER_S_MAX) -> None:
        self._socket = socket
        self._log = log
        self._answer_s_max = answer_s_max

    def paths(self) -> list[tuple[str, Handler]]:
        """Return what to register: path prefix and handler."""
        return [(CONSOLE_PATH, self.handle)]

    async def handle(self, request: Request) -> Response:
        """Answer what the console answers; 503 or 504, in words, where it does not."""
        try:
            async with asyncio.timeout(self._answer_s_max):
                return _parsed(await self._exchange(request), head_only=request.method == "HEAD")
        except TimeoutError:
            return Response(504, self._problem(f"did not answer within {self._answer_s_max:.0f} s"), _TEXT)
        except (OSError, EOFError, httptools.HttpParserError):
            return Response(503, self._problem("did not start, or ended just now"), _TEXT)

    async def _exchange(self, request: Request) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        try:
            writer.write(_head(request) + request.body)
            await writer.drain()
            return await reader.read()
        finally:
            writer.close()

    def _problem(self, what: str) -> bytes:
        text = (
            f"The console {what}: its log says why ({self._log}, or `headrace logs console`).\n"
            "Load the page again to start it anew. The backend does its work without it: see `headrace status`.\n"
        )
        return text.encode()


class _Answer:
    """An answer while it is parsed."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.headers: list[tuple[str, str]] = []
        self.body: list[bytes] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.complete = True


def _head(request: Request) -> bytes:
    target = f"{request.path}?{request.query}" if request.query else request.path
    kept = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items() if name not in _OWN)
    text = (
        f"{request.method} {target} HTTP/1.1\r\n{kept}Content-Length: {len(request.body)}\r\nConnection: close\r\n\r\n"
    )
    return text.encode("latin-1")


def _parsed(raw: bytes, *, head_only: bool) -> Response:
    """Return an answer that was read to its end; raises EOFError if it was cut short."""
    answer = _Answer()
    answer.parser.feed_data(raw)
    if not (answer.complete or (head_only and answer.headers)):
        raise EOFError
    kind = next((value for name, value in answer.headers if name.lower() == "content-type"), "")
    headers = tuple((name, value) for name, value in answer.headers if name.lower() not in _SET_HERE)
    return Response(answer.parser.get_status_code(), b"".join(answer.body), kind, headers)
