"""The HTTP server: a hand-written asyncio protocol over httptools for HTTP/1.1; `http2.py` speaks HTTP/2.

It hands whole requests to one handler, one at a time per connection, so that answers to pipelined requests keep their
order. What a small request such as a single put costs is kept down: one that arrives whole is read without the parser
(`whole.py`), and an answer that is a `Reply` or a future is taken as it is, with no task around it. Everything has a
bound: the head, the body, the requests read ahead, and the time a connection may say nothing.
"""

import asyncio
import contextlib
import itertools
import logging
import random
import socket
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol
from uuid import uuid4

import httptools
import msgspec

from headrace import clock
from headrace.gateway.whole import WholeRequests
from headrace.wire import Reply, Request, Response

BODY_BYTES_MAX = 16 * 1024 * 1024
HEAD_BYTES_MAX = 64 * 1024
READ_AHEAD_REQUESTS = 4  # whole requests waiting on one connection before it is read no further
READ_AHEAD_BYTES = BODY_BYTES_MAX
_SWEEP_S = 1.0
_JOINED_BYTES = 65536  # a smaller body is copied behind its head, which is cheaper than a second piece
LINGER_S = 2.0  # how long the rest of a refused request is read and dropped, so that its sender sees the answer

BODY_TOO_LARGE = f"The request's body has more than {BODY_BYTES_MAX} bytes."
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
REQUEST_ID = "x-amzn-RequestId"  # every answer has one

_CLOSE = "Connection: close\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}

_new = tuple.__new__  # makes a NamedTuple from a tuple at half the cost of calling it

_log = logging.getLogger(__name__)


class Router(Protocol):
    """What answers the requests: `Router` of `router.py`."""

    def __call__(self, request: Request) -> Awaitable[Response]:
        """Answer a request; what this or its answer raises is `failed`'s to answer."""

    def failed(self, request: Request, error: Exception) -> Response:
        """Return the answer to a request whose handling raised `error`; if this raises, the connection is closed."""


@dataclass(frozen=True)
class Limits:
    """How long a connection may be silent: between requests, and in the middle of one."""

    idle_s: float = 120.0
    request_s: float = 60.0


class _Refused(Exception):
    """The request can't be read on; answer `status` and close."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Connection(Protocol):
    """A connection, of either version, as the server sees it."""

    @property
    def busy(self) -> bool:
        """Whether a request that came whole is being answered, or waits for that."""

    def finish(self) -> None:
        """Take it that the server stops: what has come whole is still answered."""

    def sweep(self, now_s: float) -> None:
        """End what has been silent for too long."""

    def close(self) -> None:
        """Close: at once if a request is under way, else once what is written has left."""


class Shared:
    """What the connections of a server have in common."""

    def __init__(self, router: Router, limits: Limits) -> None:
        self.router = router
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self.stopping = False
        self.read_whole = WholeRequests().read
        self.header_names: dict[bytes, str] = {}
        self.now_s = self.loop.time()  # as of the last sweep
        self.heads: dict[tuple[int, str], str] = {}  # since the last sweep

    def head(self, status: int, content_type: str) -> str:
        """Return how the head of such answers begins, and keep it in `heads`."""
        line = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} Status\r\n"
        kind = f"Content-Type: {content_type}\r\n" if content_type else ""
        head = self.heads[status, content_type] = f"{line}{kind}Date: {date()}\r\n"
        return head

    def header_name(self, name: bytes) -> str:
        """Return a header's name in lower case, and remember it among `header_names` while they are few."""
        known = name.decode("latin-1").lower()
        if len(self.header_names) < 256:
            self.header_names[name] = known
        return known


# Of request ids, which look like UUIDs of version 4: random digits of this process, and a count of twelve digits.
_id_start = str(uuid4())[:24]
_numbers = itertools.count((1 << 47) + random.getrandbits(46)).__next__


def request_id() -> str:
    """Return an id for an answer that has none."""
    return f"{_id_start}{_numbers():x}"


def date() -> str:
    """Return the time as answers tell it."""
    return formatdate(clock.now_ms() // 1000, usegmt=True)


def is_bare(status: int) -> bool:
    """Return whether answers with this status have no body."""
    return status == 204 or status == 304


class _Connection(asyncio.Protocol):
    """One connection: the parser's callbacks build requests, `_next` hands them over one by one."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._parser = httptools.HttpRequestParser(self)
        self._read_whole = shared.read_whole
        self._header_names = shared.header_names
        self._transport: asyncio.Transport
        self._peer = ""
        self._waiting: deque[tuple[Request, bool]] = deque()  # (request, keep the connection afterwards)
        self._waiting_bytes = 0
        self._request: Request | None = None  # that is being answered
        self._keep = True  # the connection, after that answer
        self._ready = b""  # that answer, where it was made before it may be given
        self._paused = False
        self._full = False  # the client doesn't read its answers as fast as they are made
        self._dropping = False  # an answer that ends the connection is on its way: what still comes is not read
        self._refusal: Response | None = None  # what that answer is, where the client is to read why
        self._ended = False  # the client sends no more
        self._active_s = shared.now_s
        self._first = True
        self._beginning = b""  # of what may become HTTP/2's preface
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._raw_bytes = 0
        self._head_done = False
        self._within = False  # a request

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self._shared.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.connections.discard(self)
        self._waiting.clear()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._request is None:
            self._next()

    def eof_received(self) -> bool:
        self._ended = True
        return self.busy  # a client that has sent all it wants still gets its answers

    def data_received(self, data: bytes) -> None:
        self._active_s = self._shared.now_s
        if self._dropping:
            return
        if not self._within:
            request = self._read_whole(data, self._peer)
            if request is not None:
                self._first = False
                self._take(request, True)
                return
        if self._first:
            data = self._beginning + data
            if data.startswith(_HTTP2_PREFACE):
                self._speak_http2(data)
                return
            if _HTTP2_PREFACE.startswith(data):
                self._beginning, self._within = data, True
                return
        try:
            self._feed(data)
        except _Refused as refused:
            self._refuse(refused)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, _Refused) else _Refused(400, f"This is not HTTP/1.1: {error}"))

    def _speak_http2(self, data: bytes) -> None:
        from headrace.gateway import http2  # with the first who speaks it: most backends meet nobody

        self._shared.connections.discard(self)
        http2.speak(self._shared, self._transport, self._peer, data)

    def _feed(self, data: bytes) -> None:
        self._first = False
        self._raw_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._feed(self._without_upgrade() + data[upgrade.args[0] :])
        # What is neither body nor the framing of even the smallest chunks (6 bytes around each) is head or trailer.
        if self._raw_bytes - 7 * self._body_bytes > HEAD_BYTES_MAX:
            raise _Refused(431, f"The request's head has more than {HEAD_BYTES_MAX} bytes.")

    def _without_upgrade(self) -> bytes:
        """Return the head just read without its offer to upgrade, for a new parser to read: so an offer is declined.

        httptools would take the body of such a request for the other protocol; Java's client sends one with each first
        request of a connection.
        """
        method = self._parser.get_method()
        headers = "".join(
            f"{name}: {value}\r\n" for name, value in self._headers.items() if name not in ("upgrade", "connection")
        )
        self._parser = httptools.HttpRequestParser(self)
        return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, self._url, headers.encode("latin-1"))

    # --- the parser's side ---

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = {}
        self._head_done = False
        self._within = True

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:
            return  # a trailer: nothing here reads any
        key = self._header_names.get(name) or self._shared.header_name(name)
        headers, text = self._headers, value.decode("latin-1")
        if key in headers:
            text = f"{headers[key]}{'; ' if key == 'cookie' else ', '}{text}"
        headers[key] = text

    def on_headers_complete(self) -> None:
        self._head_done = True
        if self._parser.should_upgrade():
            if self._parser.get_method() == b"CONNECT":
                raise _Refused(405, "This is no proxy.")
            return
        if int(self._headers.get("content-length", 0)) > BODY_BYTES_MAX:
            raise self._too_large()
        if "expect" in self._headers and self._headers["expect"].lower() == "100-continue" and not self.busy:
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > BODY_BYTES_MAX:
            raise self._too_large()
        self._body.append(body)

    def on_message_complete(self) -> None:
        parser = self._parser
        if parser.should_upgrade():
            return  # only its head was read: see _without_upgrade
        path, _, query = self._url.decode("latin-1").partition("?") if self._url != b"/" else ("/", "", "")
        if path[:1] != "/" and "://" in path:  # the absolute form, as proxies are sent it
            path = "/" + path.partition("://")[2].partition("/")[2]
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        method = parser.get_method().decode("latin-1")
        request = _new(Request, (method, path, query, self._headers, body, self._peer))
        self._body = []
        self._body_bytes = self._raw_bytes = 0
        self._within = False
        self._take(request, parser.should_keep_alive())

    def _too_large(self) -> _Refused:
        return _Refused(413, BODY_TOO_LARGE)

    # --- answering ---

    def _take(self, request: Request, keep: bool) -> None:
        """Have a request answered once those before it are; its answer comes in a later turn of the loop."""
        if self._request is not None or self._full:
            self._waiting.append((request, keep))
            self._waiting_bytes += len(request.body)
            if len(self._waiting) >= READ_AHEAD_REQUESTS or self._waiting_bytes >= READ_AHEAD_BYTES:
                self._pause()
            return
        self._request, self._keep = request, keep
        try:
            answer = self._shared.router(request)
        except Exception as error:
            self._shared.loop.call_soon(self._answered, error)
            return
        if isinstance(answer, Reply):
            answer.give_to(self._answered, self._make_ready)
            return
        future = answer if isinstance(answer, asyncio.Future) else asyncio.ensure_future(answer)
        future.add_done_callback(self._done)

    def _next(self) -> None:
        """Have the next request that is waiting answered."""
        if not self._waiting or self._transport.is_closing():
            return
        request, keep = self._waiting.popleft()
        self._waiting_bytes -= len(request.body)
        if self._paused and len(self._waiting) < READ_AHEAD_REQUESTS // 2:
            self._resume()
        self._take(request, keep)

    def _done(self, answer: asyncio.Future[Response]) -> None:
        try:
            outcome: Response | Exception = answer.result()
        except Exception as error:
            outcome = error
        except asyncio.CancelledError:
            _log.warning("An answer was given up; its connection is closed")
            self._transport.abort()
            return
        self._answered(outcome)

    def _answered(self, outcome: Response | Exception) -> None:
        request, self._request = self._request, None
        ready, self._ready = self._ready, b""
        assert request is not None
        keep = self._keep and not self._shared.stopping
        try:
            if ready and keep and not isinstance(outcome, Exception):
                if not self._transport.is_closing():
                    self._transport.write(ready)
            else:
                response = self._shared.router.failed(request, outcome) if isinstance(outcome, Exception) else outcome
                self._send(response, keep, head_only=request.method == "HEAD")
        except BaseException:
            _log.exception("An answer failed; its connection is closed")
            self._transport.abort()
            return
        self._active_s = self._shared.now_s
        if not keep:
            self._dropping = True
            self._transport.close()
        elif self._waiting:
            if not self._full:
                self._next()
        elif self._refusal is not None:
            self._end(self._refusal)
        elif self._ended:
            self._transport.close()

    def _make_ready(self, response: Response) -> None:
        """Make the bytes of an answer that will be given soon."""
        request = self._request
        if request is not None and self._keep and request.method != "HEAD" and len(response.body) < _JOINED_BYTES:
            self._ready = self._head(response, keep=True) + response.body

    def _send(self, response: Response, keep: bool, *, head_only: bool = False) -> None:
        if self._transport.is_closing():
            return
        head, body = self._head(response, keep), response.body
        if head_only or is_bare(response.status):
            self._transport.write(head)
        elif len(body) < _JOINED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def _head(self, response: Response, keep: bool) -> bytes:
        status, body, content_type, headers = response
        length = "" if is_bare(status) else f"Content-Length: {len(body)}\r\n"
        named, further = f"{REQUEST_ID}: {_id_start}{_numbers():x}\r\n", ""
        for name, value in headers:
            line = f"{name}: {value}"
            if "\n" in line or "\r" in line:  # it would end the head early
                line = line.replace("\r", " ").replace("\n", " ")
            further += f"{line}\r\n"
            if name == REQUEST_ID:
                named = ""
        end = "\r\n" if keep else _CLOSE
        start = self._shared.heads.get((status, content_type)) or self._shared.head(status, content_type)
        return f"{start}{length}{further}{named}{end}".encode("latin-1", "replace")

    def _refuse(self, refused: _Refused) -> None:
        """Answer an unreadable request after those before it, and close."""
        self._dropping = True
        self._refusal = Response(refused.status, msgspec.json.encode({"message": refused.message}))
        if not self.busy:
            self._end(self._refusal)

    def _end(self, refusal: Response) -> None:
        self._send(refusal, keep=False)
        if self._transport.is_closing():
            return
        # Closing on unread data would destroy the answer under way: read on for a moment.
        self._resume()
        with contextlib.suppress(OSError, RuntimeError):
            self._transport.write_eof()
        self._shared.loop.call_later(LINGER_S, self._transport.close)

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    # --- the server's side ---

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, or waits for that."""
        return self._request is not None or bool(self._waiting)

    def finish(self) -> None:
        """Nothing needs doing: each answer from now on says that it is the last."""

    def sweep(self, now_s: float) -> None:
        """Close if it has been silent for too long: idle, in the middle of a request, or not reading its answer."""
        silent_s = now_s - self._active_s
        if self._full and silent_s > self._shared.limits.request_s:
            self._transport.abort()
        if self.busy or self._dropping:
            return
        if self._within and silent_s > self._shared.limits.request_s:
            self._refuse(_Refused(408, "The request did not arrive whole in time."))
        elif not self._within and silent_s > self._shared.limits.idle_s:
            self._transport.close()

    def close(self) -> None:
        """Close: at once if a request is under way, else once what is written has left."""
        if self.busy:
            self._transport.abort()
        else:
            self._transport.close()


class HttpServer:
    """A server that listens; `port` is the one it got."""

    def __init__(self, shared: Shared, server: asyncio.AbstractServer, port: int) -> None:
        self._shared = shared
        self._server = server
        self.port = port
        self._sweeper = shared.loop.create_task(self._sweep())

    @property
    def connections(self) -> int:
        """Return how many connections are open."""
        return len(self._shared.connections)

    async def stop(self, grace_s: float = 5.0) -> None:
        """Stop listening, answer what has arrived whole, and close; what is not done after `grace_s` is cut off."""
        self._shared.stopping = True
        self._sweeper.cancel()
        self._server.close()
        for connection in self._shared.connections:
            connection.finish()
        deadline = self._shared.loop.time() + grace_s
        while any(connection.busy for connection in self._shared.connections):
            if self._shared.loop.time() > deadline:
                break
            await asyncio.sleep(0.01)
        for connection in list(self._shared.connections):
            connection.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._server.wait_closed(), 1.0)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            for connection in list(self._shared.connections):
                connection.sweep(self._shared.now_s)
            self._shared.now_s = self._shared.loop.time()
            self._shared.heads.clear()


async def start(router: Router, listening: socket.socket, limits: Limits | None = None) -> HttpServer:
    """Accept connections on `listening` (see `supervisor/listener.py`) and hand every request to `router`."""
    shared = Shared(router, limits or Limits())
    server = await shared.loop.create_server(lambda: _Connection(shared), sock=listening, backlog=1024)
    return HttpServer(shared, server, listening.getsockname()[1])
