"""HTTP/1.1: a hand-written asyncio protocol over httptools.

Requests are answered one at a time per connection, so that answers to pipelined requests keep their order. One that
arrives whole is read without the parser (`whole.py`). A connection that begins as HTTP/2 does is handed to `http2.py`.
"""

import asyncio
import contextlib
import logging
from collections import deque
from io import BytesIO

import httptools
import msgspec

from headrace.gateway.connection import (
    BODY_BYTES_MAX,
    BODY_TOO_LARGE,
    HEAD_BYTES_MAX,
    LINGER_S,
    NO_PROXY,
    READ_AHEAD_BYTES,
    TOO_MUCH,
    TOO_SLOW,
    Outcome,
    Shared,
)
from headrace.gateway.heads import is_bare
from headrace.wire import Request, Response

HEADERS_MAX = 500  # small ones take ten times their bytes
READ_AHEAD_REQUESTS = 4  # whole requests waiting on one connection before it is read no further
_JOINED_BYTES = 65536  # a smaller body is copied behind its head, which is cheaper than a second piece
_NAMES_MAX = 256
_REQUEST_BYTES = 1024  # of a request that waits, beside its body
_TURN_BYTES = 65536  # after so much, which may be many tiny chunks, the others are served before it is read on

_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_new = tuple.__new__  # makes a NamedTuple from a tuple at half the cost of calling it

_log = logging.getLogger(__name__)


class _Refused(Exception):
    """The request can't be read on; answer `status` and close."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _Names(dict[bytes, str]):
    """Headers' names in lower case, remembered while they are few."""

    def __missing__(self, name: bytes) -> str:
        lower = name.decode("latin-1").lower()
        if len(self) < _NAMES_MAX:
            self[name] = lower
        return lower


_names = _Names()


def speak(shared: Shared) -> asyncio.Protocol:
    """Return what reads a new connection, and answers it."""
    return _Connection(shared)


class _Connection(asyncio.Protocol):
    """One connection: the parser's callbacks build requests, `_next` hands them over one by one."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._parser = httptools.HttpRequestParser(self)
        self._read_whole = shared.read_whole
        self._head = shared.heads.http1
        self._transport: asyncio.Transport
        self._peer = ""
        self._waiting: deque[tuple[Request, bool]] = deque()  # (request, keep the connection afterwards)
        self._waiting_bytes = 0
        self._request: Request | None = None  # that is being answered
        self._keep = True  # the connection, after that answer
        self._ready = b""  # that answer, where it was made before it may be given
        self._unsent_bytes = 0  # of answers, while those are more than the client reads
        self._held_bytes = 0
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
        self._body = BytesIO()  # of many tiny chunks, a list would take twenty times the room
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
        self._let_go()

    def pause_writing(self) -> None:
        self._full = True
        self._unsent_bytes = self._transport.get_write_buffer_size()
        self._note_held()

    def resume_writing(self) -> None:
        self._full = False
        self._unsent_bytes = 0
        self._note_held()
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
        self._note_held()
        if len(data) > _TURN_BYTES and not self._paused:
            self._pause()
            self._shared.loop.call_soon(self._read_on)

    def _speak_http2(self, data: bytes) -> None:
        from headrace.gateway import http2  # with the first who speaks it: most backends meet nobody

        self._shared.connections.discard(self)
        http2.speak(self._shared, self._transport, self._peer, data)

    def _feed(self, data: bytes) -> None:
        self._first = False
        self._raw_bytes += len(data)
        rest = memoryview(data)
        while rest:
            try:
                self._parser.feed_data(rest)
                break
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
                self._decline_upgrade()
        # What is neither body nor the framing of even the smallest chunks (6 bytes around each) is head or trailer.
        if self._raw_bytes - 7 * self._body.tell() > HEAD_BYTES_MAX:
            raise _Refused(431, f"The request's head has more than {HEAD_BYTES_MAX} bytes.")

    def _decline_upgrade(self) -> None:
        """Have a new parser read the head just read, without its offer to upgrade.

        httptools would take the body of such a request for the other protocol; Java's client sends one with each first
        request of a connection.
        """
        method = self._parser.get_method()
        headers = "".join(
            f"{name}: {value}\r\n" for name, value in self._headers.items() if name not in ("upgrade", "connection")
        )
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(b"%b %b HTTP/1.1\r\n%b\r\n" % (method, self._url, headers.encode("latin-1")))

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
        key, headers, text = _names[name], self._headers, value.decode("latin-1")
        if key in headers:
            text = f"{headers[key]}{'; ' if key == 'cookie' else ', '}{text}"
        elif len(headers) == HEADERS_MAX:
            raise _Refused(431, f"The request has more than {HEADERS_MAX} headers.")
        headers[key] = text

    def on_headers_complete(self) -> None:
        self._head_done = True
        if self._parser.should_upgrade():
            if self._parser.get_method() == b"CONNECT":
                raise _Refused(405, NO_PROXY)
            return
        if int(self._headers.get("content-length", 0)) > BODY_BYTES_MAX:
            raise _Refused(413, BODY_TOO_LARGE)
        if "expect" in self._headers and self._headers["expect"].lower() == "100-continue" and not self.busy:
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._body.write(body)
        if self._body.tell() > BODY_BYTES_MAX:
            raise _Refused(413, BODY_TOO_LARGE)

    def on_message_complete(self) -> None:
        parser = self._parser
        if parser.should_upgrade():
            return  # only its head was read: see _without_upgrade
        path, _, query = self._url.decode("latin-1").partition("?") if self._url != b"/" else ("/", "", "")
        if path[:1] != "/" and "://" in path:  # the absolute form, as proxies are sent it
            path = "/" + path.partition("://")[2].partition("/")[2]
        method = parser.get_method().decode("latin-1")
        request = _new(Request, (method, path, query, self._headers, self._body.getvalue(), self._peer))
        self._body = BytesIO()
        self._raw_bytes = 0
        self._within = False
        self._take(request, parser.should_keep_alive())

    # --- answering ---

    def _take(self, request: Request, keep: bool) -> None:
        """Have a request answered once those before it are; its answer comes in a later turn of the loop."""
        if self._request is not None or self._full:
            self._waiting.append((request, keep))
            self._waiting_bytes += _REQUEST_BYTES + len(request.body)
            self._note_held()
            if len(self._waiting) >= READ_AHEAD_REQUESTS or self._waiting_bytes >= READ_AHEAD_BYTES:
                self._pause()
            return
        self._request, self._keep = request, keep
        self._shared.ask(request, self._transport, self._answered, self._make_ready)

    def _next(self) -> None:
        """Have the next request that is waiting answered."""
        if not self._waiting or self._transport.is_closing():
            return
        request, keep = self._waiting.popleft()
        self._waiting_bytes -= _REQUEST_BYTES + len(request.body)
        self._note_held()
        if self._paused and len(self._waiting) < READ_AHEAD_REQUESTS // 2:
            self._resume()
        self._take(request, keep)

    def _answered(self, outcome: Outcome) -> None:
        request, self._request = self._request, None
        ready, self._ready = self._ready, b""
        assert request is not None
        keep = self._keep and not self._shared.stopping
        try:
            if ready and keep and not isinstance(outcome, Exception):
                if not self._transport.is_closing():
                    self._transport.write(ready)
            else:
                self._send(self._shared.response(request, outcome), keep, head_only=request.method == "HEAD")
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

    def _refuse(self, refused: _Refused) -> None:
        """Answer an unreadable request after those before it, and close."""
        self._dropping = True
        self._within = False
        self._body = BytesIO()
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

    def _note_held(self) -> None:
        """Note what is held for this client beside the request that is being answered."""
        size = self._waiting_bytes + self._unsent_bytes
        if self._within:
            size += max(self._raw_bytes, self._body.tell())
        if size != self._held_bytes:
            self._held_bytes = size
            self._shared.held.set(self, size)

    def give_up(self) -> None:
        """Refuse what is held for this client, if it still is."""
        if self._full:
            self._transport.abort()
        elif self._held_bytes:
            self._let_go()
            if not self._dropping:
                self._refuse(_Refused(503, TOO_MUCH))

    def _let_go(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = self._unsent_bytes = 0
        self._within = False
        self._body = BytesIO()
        self._note_held()

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _read_on(self) -> None:
        """Read on if nothing else is in the way."""
        if len(self._waiting) < READ_AHEAD_REQUESTS and self._waiting_bytes < READ_AHEAD_BYTES:
            self._resume()

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
        if (self._full or self._transport.is_closing()) and silent_s > self._shared.limits.request_s:
            self._transport.abort()
        if self.busy or self._dropping:
            return
        if self._within and silent_s > self._shared.limits.request_s:
            self._refuse(_Refused(408, TOO_SLOW))
        elif not self._within and silent_s > self._shared.limits.idle_s:
            self._transport.close()

    def close(self) -> None:
        """Close: at once if a request is under way, else once what is written has left."""
        if self.busy:
            self.abort()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()
