"""HTTP/2 without TLS, to those that speak it unasked ("prior knowledge"): an asyncio protocol over the library h2.

`http1.py` hands a connection over whose first bytes are the preface. Requests and answers are what they are there, but
that all requests of a connection are answered at once, each when it is ready. The bounds are the same, by HTTP/2's
means: so many streams, and windows that stay shut while a connection holds too much of what it has sent.
"""

import asyncio
import logging
from collections import deque
from functools import partial
from typing import Any

import msgspec
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from headrace import clock
from headrace.gateway import http2_setup
from headrace.gateway.connection import (
    BODY_BYTES_MAX,
    BODY_TOO_LARGE,
    LINGER_S,
    READ_AHEAD_BYTES,
    TOO_MUCH,
    TOO_SLOW,
    Outcome,
    Shared,
)
from headrace.gateway.heads import is_bare
from headrace.gateway.http2_setup import STREAMS_MAX
from headrace.gateway.http2_stream import Stream
from headrace.wire import Request, Response

_HEADER_TABLE_BYTES = 4096
_TURN_S = 0.005  # about so long a client is read, even one that sends tiny frames, before others are served
_TURN_BYTES_MIN, _TURN_BYTES_MAX = 1024, 65536

_log = logging.getLogger(__name__)


def speak(shared: Shared, transport: asyncio.Transport, peer: str, data: bytes) -> None:
    """Take a connection over that began with `data`."""
    connection = _Connection(shared, transport, peer)
    transport.set_protocol(connection)
    connection.data_received(data)


class _Connection(asyncio.Protocol):
    """One connection: h2 reads and writes the frames, each request is handed over once it is whole."""

    def __init__(self, shared: Shared, transport: asyncio.Transport, peer: str) -> None:
        self._shared = shared
        self._transport = transport
        self._peer = peer
        self._streams: dict[int, Stream] = {}  # those open, the oldest first
        self._sending: deque[Stream] = deque()  # those with something unsent, the next first
        self._body_bytes = 0  # of the requests that are not answered yet
        self._under_way = 0  # requests that a handler has, those that the client has given up among them
        self._unread = memoryview(b"")  # what has come and waits for the next turn
        self._turning = False  # it will be read in that
        self._turn_bytes = 16384
        self._paused = False
        self._full = False  # the client doesn't read its answers as fast as they are made
        self._leaving = False  # the client has said that it starts no more requests
        self._ended = False  # the client sends no more
        self._stopping = False
        self._active_s = shared.now_s
        self._h2 = http2_setup.connection()
        self._events: dict[type, Any] = {
            RequestReceived: self._on_head,
            DataReceived: self._on_data,
            StreamEnded: self._on_end,
            ConnectionTerminated: self._on_goaway,
            RemoteSettingsChanged: self._on_settings,
        }
        shared.connections.add(self)
        if shared.stopping:
            self.finish()

    # --- asyncio's side ---

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.connections.discard(self)
        self._forget_all()
        self._unread = memoryview(b"")
        vars(self._h2).clear()  # it is full of cycles, which would keep what it has read until they are collected

    def pause_writing(self) -> None:
        self._full = True
        self._regulate()

    def resume_writing(self) -> None:
        self._full = False
        self._active_s = self._shared.now_s
        self._regulate()
        self._shared.loop.call_soon(self._send)  # it may be within a write of its own

    def eof_received(self) -> bool:
        self._ended = True
        return self.busy  # a client that has sent all it wants still gets its answers

    def data_received(self, data: bytes) -> None:
        self._active_s = self._shared.now_s
        self._unread = memoryview(data)
        self._read()

    def _read(self) -> None:
        """Read as much of what has come as a turn is for, at the pace of last time."""
        self._turning = False
        if self._held_up or self._transport.is_closing():
            return
        part, self._unread = self._unread[: self._turn_bytes], self._unread[self._turn_bytes :]
        began_s = clock.monotonic_s()
        try:
            self._take_in(self._h2.receive_data(bytes(part)))
        except ProtocolError as error:
            what = type(error).__name__
            _log.warning("%s speaks HTTP/2, but not as it should: %s, %.200s: closed", self._peer, what, error)
            self._flush()
            self._forget_all()
            self._transport.close()
        pace = len(part) / max(clock.monotonic_s() - began_s, 1e-6)
        self._turn_bytes = max(_TURN_BYTES_MIN, min(int(pace * _TURN_S), _TURN_BYTES_MAX))
        self._regulate()

    def _take_in(self, events: list[Event]) -> None:
        given_up = {event.stream_id for event in events if isinstance(event, StreamReset)}
        for stream_id in given_up & self._streams.keys():
            self._forget(self._streams[stream_id])
        for event in events:
            handle = self._events.get(type(event))
            if handle and not (isinstance(event, RequestReceived) and event.stream_id in given_up):
                handle(event)
        self._send()

    @property
    def _held_up(self) -> bool:
        """Whether the client doesn't read, or has given up more requests than may be under way."""
        return self._full or self._under_way > STREAMS_MAX

    def _regulate(self) -> None:
        """Read on, unless that is held up."""
        if self._unread and not self._held_up and not self._turning:
            self._turning = True
            self._shared.loop.call_soon(self._read)
        pause = self._held_up or bool(self._unread)
        if pause != self._paused and not self._transport.is_closing():
            self._paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # --- what h2 reads ---

    def _on_head(self, event: RequestReceived) -> None:
        stream = Stream(event.stream_id, self._shared.now_s, self._give_up)
        self._streams[stream.id] = stream
        if self._stopping:
            self._reset(stream, ErrorCodes.REFUSED_STREAM)
            return
        refused = stream.begin(event.headers)
        if refused:
            self._refuse(stream, *refused)
            return
        if stream.headers.get("expect", "").lower() == "100-continue":
            self._h2.send_headers(stream.id, [(":status", "100")])
        self._note_held(stream)

    def _on_data(self, event: DataReceived) -> None:
        size, stream = event.flow_controlled_length, self._streams.get(event.stream_id)
        if stream is None or stream.taken:
            self._h2.acknowledge_received_data(size, event.stream_id)
            return
        stream.active_s = self._shared.now_s
        stream.unread += size
        stream.body += event.data
        self._body_bytes += len(event.data)
        if len(stream.body) > BODY_BYTES_MAX:
            self._refuse(stream, 413, BODY_TOO_LARGE)
        else:
            self._note_held(stream)

    def _on_end(self, event: StreamEnded) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        stream.ended = True
        if stream.answered:
            self._forget(stream)
        elif not stream.taken:
            self._take(stream)

    def _on_goaway(self, _: ConnectionTerminated) -> None:
        self._leaving = True

    def _on_settings(self, event: RemoteSettingsChanged) -> None:
        """Compress answers with no more memory than usual, however much the client has for it."""
        changed = event.changed_settings.get(SettingCodes.HEADER_TABLE_SIZE)
        if changed is not None and changed.new_value > _HEADER_TABLE_BYTES:
            self._h2.encoder.header_table_size = _HEADER_TABLE_BYTES

    def _open_windows(self) -> None:
        """Let the requests' bodies come: all while there is room, else that of the oldest, so that one gets done."""
        for stream in self._streams.values():
            if stream.taken:
                continue
            if stream.unread:
                self._h2.acknowledge_received_data(stream.unread, stream.id)
                stream.unread = 0
            if self._body_bytes > READ_AHEAD_BYTES:
                break

    # --- answering ---

    def _take(self, stream: Stream) -> None:
        """Have a request answered; its answer comes in a later turn of the loop."""
        request = stream.take(self._peer)
        self._note_held(stream)
        self._under_way += 1
        self._regulate()
        self._shared.ask(request, self._transport, partial(self._answered, stream, request), lambda response: None)

    def _answered(self, stream: Stream, request: Request, outcome: Outcome) -> None:
        self._under_way -= 1
        self._body_bytes -= len(request.body)
        self._regulate()
        try:
            response = self._shared.response(request, outcome)
            if stream.id in self._streams:
                self._answer(stream, response)
            self._send()
        except BaseException:
            _log.exception("An answer failed; its connection is closed")
            self._transport.abort()

    def _refuse(self, stream: Stream, status: int, message: str) -> None:
        """Answer a request that is not read on."""
        self._drop_body(stream)
        stream.taken = True
        self._answer(stream, Response(status, msgspec.json.encode({"message": message})))

    def _answer(self, stream: Stream, response: Response) -> None:
        """Send the head of an answer, and have the body sent."""
        without_body = is_bare(response.status) or not response.body or stream.method == "HEAD"
        self._h2.send_headers(stream.id, self._shared.heads.http2(response), end_stream=without_body)
        if without_body:
            self._finish(stream)
        else:
            stream.unsent = memoryview(response.body)
            stream.active_s = self._shared.now_s
            self._sending.append(stream)
            self._note_held(stream)

    def _send(self) -> None:
        """Send a frame of each answer in turn while client and transport take them, and what else h2 has to."""
        if self._transport.is_closing():
            return
        self._open_windows()
        held_up = 0
        while held_up < len(self._sending) and not self._full:
            stream = self._sending.popleft()
            size = min(self._h2.local_flow_control_window(stream.id), self._h2.max_outbound_frame_size)
            if size <= 0:
                self._sending.append(stream)
                held_up += 1
                continue
            held_up = 0
            part, stream.unsent = stream.unsent[:size], stream.unsent[size:]
            stream.active_s = self._shared.now_s
            self._h2.send_data(stream.id, part, end_stream=not stream.unsent)
            if stream.unsent:
                self._sending.append(stream)
            else:
                self._finish(stream)
            self._flush()
        self._flush()
        if (self._leaving and not self._streams) or (self._ended and not self.busy):
            self._transport.close()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _finish(self, stream: Stream) -> None:
        """Forget a stream whose answer is sent; while the request still comes, once that ends or has taken too long."""
        stream.answered = True
        if stream.ended:
            self._forget(stream)
        else:  # resetting it at once would have some clients drop the answer
            self._note_held(stream)
            self._shared.loop.call_later(LINGER_S, self._cut_off, stream)

    def _cut_off(self, stream: Stream) -> None:
        if stream.id in self._streams:
            self._reset(stream, ErrorCodes.NO_ERROR)
            self._send()

    def _reset(self, stream: Stream, code: ErrorCodes) -> None:
        self._h2.reset_stream(stream.id, code)
        self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        self._active_s = self._shared.now_s
        del self._streams[stream.id]
        self._shared.held.set(stream, 0)
        self._drop_body(stream)
        if stream.unsent:
            self._sending.remove(stream)

    def _forget_all(self) -> None:
        for stream in self._streams.values():
            self._shared.held.set(stream, 0)
        self._streams.clear()
        self._sending.clear()

    def _note_held(self, stream: Stream) -> None:
        """Note what is held of a request that no handler has, or of an answer."""
        self._shared.held.set(stream, len(stream.unsent) if stream.taken else stream.head_bytes + len(stream.body))

    def _give_up(self, stream: Stream) -> None:
        if stream.id not in self._streams:
            return
        if stream.unsent:
            self._reset(stream, ErrorCodes.ENHANCE_YOUR_CALM)
        elif not stream.taken:
            self._refuse(stream, 503, TOO_MUCH)
        self._send()

    def _drop_body(self, stream: Stream) -> None:
        """Drop what came of a request that no handler has; what one has counts until it has answered."""
        self._body_bytes -= len(stream.body)
        stream.body = bytearray()
        if stream.unread:
            self._h2.acknowledge_received_data(stream.unread, stream.id)
            stream.unread = 0

    # --- the server's side ---

    @property
    def busy(self) -> bool:
        """Whether a request that came whole is being answered."""
        return any(stream.taken and not stream.answered for stream in self._streams.values())

    def finish(self) -> None:
        """Have the client start no more requests."""
        self._stopping = True
        self._h2.close_connection()
        self._flush()

    def sweep(self, now_s: float) -> None:
        """End what has been silent for too long: a request or answer that the client leaves half done, or all."""
        limits = self._shared.limits
        if self._full or self._transport.is_closing():
            if now_s - self._active_s > limits.request_s:
                self._transport.abort()
            return
        for stream in [each for each in self._streams.values() if now_s - each.active_s > limits.request_s]:
            if stream.unsent:
                self._reset(stream, ErrorCodes.CANCEL)
            elif not stream.taken:
                self._refuse(stream, 408, TOO_SLOW)
        if not self._streams and now_s - self._active_s > limits.idle_s:
            self.finish()
            self._transport.close()
        else:
            self._send()

    def close(self) -> None:
        """Close: at once if a request is under way, else once what is written has left."""
        if self.busy:
            self.abort()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()
