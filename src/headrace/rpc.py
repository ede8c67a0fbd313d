"""Calls between the backend's processes: MessagePack frames over a unix socket.

A frame is a 4-byte little-endian length and a MessagePack array. Request: [id, method, params]; answer:
[id, error or nil, result], where error is [class name in errors.py, problem, hint]. Answers may come in any order.
Bytes stay bytes. Params and result are decoded by whoever knows their type (they arrive as `msgspec.Raw`).
"""

import asyncio
import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from headrace import clock, errors

_LENGTH = struct.Struct("<I")
FRAME_BYTES_MAX = 256 * 1024 * 1024
_BUFFER_BYTES = 256 * 1024  # of a connection that receives; it grows for a larger frame and shrinks again after it

encode = msgspec.msgpack.encode
decode = msgspec.msgpack.decode

# A method of a server: takes its params undecoded; returns the result, or an awaitable of it.
Method = Callable[[msgspec.Raw], Any]


class _Request(msgspec.Struct, array_like=True):
    id: int
    method: str
    params: msgspec.Raw


class _Answer(msgspec.Struct, array_like=True):
    id: int
    error: tuple[str, str, str] | None
    result: msgspec.Raw


_request_decoder = msgspec.msgpack.Decoder(_Request)
_answer_decoder = msgspec.msgpack.Decoder(_Answer)


def frame(message: object) -> bytes:
    """Return a message as a frame: its length, then itself."""
    body = encode(message)
    if len(body) > FRAME_BYTES_MAX:
        raise errors.UsageError(
            f"A call or answer of {len(body):,} bytes is over the limit of {FRAME_BYTES_MAX:,}.", "Split it."
        )
    return _LENGTH.pack(len(body)) + body


def error_of(error: tuple[str, str, str]) -> errors.HeadraceError:
    """Return the error that `describe` described."""
    name, problem, hint = error
    return errors.BY_NAME.get(name, errors.HeadraceError)(problem, hint)


def describe(error: BaseException) -> tuple[str, str, str]:
    """Return an exception as it goes over the wire."""
    if isinstance(error, errors.HeadraceError):
        known = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in errors.BY_NAME)
        return known, error.problem, error.hint
    return "HeadraceError", f"{type(error).__name__}: {error}", "See this process's log under the data directory."


class Frames(asyncio.BufferedProtocol):
    """Cuts a byte stream into frames: each goes to `frame_received`, without its length."""

    def __init__(self) -> None:
        self._buffer = bytearray(_BUFFER_BYTES)
        self._start = 0
        self._end = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return room for the rest of the frame under way, at least 64 KB."""
        if self._start == self._end:
            self._start = self._end = 0
            if len(self._buffer) > 8 * _BUFFER_BYTES:
                self._buffer = bytearray(_BUFFER_BYTES)
        need = 64 * 1024
        if self._end - self._start >= 4:
            need = max(need, _LENGTH.unpack_from(self._buffer, self._start)[0] + 4 - (self._end - self._start))
        if len(self._buffer) - self._end < need:
            kept = self._buffer[self._start : self._end]
            if len(kept) + need > len(self._buffer):
                self._buffer = bytearray(len(kept) + need)
            self._buffer[: len(kept)] = kept
            self._start, self._end = 0, len(kept)
        return memoryview(self._buffer)[self._end :]  # type: ignore[return-value]

    def buffer_updated(self, count: int) -> None:
        """Hand on every frame that is whole."""
        self._end += count
        while self._end - self._start >= 4:
            (length,) = _LENGTH.unpack_from(self._buffer, self._start)
            if length > FRAME_BYTES_MAX:
                self.transport.abort()
                return
            stop = self._start + 4 + length
            if stop > self._end:
                break
            body = bytes(memoryview(self._buffer)[self._start + 4 : stop])
            self._start = stop
            self.frame_received(body)

    def frame_received(self, body: bytes) -> None:
        """Take a frame."""
        raise NotImplementedError


class _ServerConnection(Frames):
    def __init__(self, methods: dict[str, Method], connections: set["_ServerConnection"]) -> None:
        super().__init__()
        self._methods = methods
        self._connections = connections
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)

    def frame_received(self, body: bytes) -> None:
        request = _request_decoder.decode(body)
        try:
            method = self._methods.get(request.method)
            if method is None:
                raise errors.UsageError(
                    f"There is no method {request.method!r}.", "Restart the backend after an upgrade."
                )
            result = method(request.params)
        except Exception as error:
            self._answer(request.id, describe(error), None)
            return
        if asyncio.iscoroutine(result) or asyncio.isfuture(result):
            task = asyncio.ensure_future(self._finish(request.id, result))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._answer(request.id, None, result)

    async def _finish(self, request_id: int, result: Awaitable[Any]) -> None:
        try:
            value = await result
        except Exception as error:
            self._answer(request_id, describe(error), None)
        else:
            self._answer(request_id, None, value)

    def _answer(self, request_id: int, error: tuple[str, str, str] | None, result: object) -> None:
        if self.transport.is_closing():
            return
        try:
            whole = frame((request_id, error, result))
        except Exception as failure:  # too large, or of a type that MessagePack does not know
            whole = frame((request_id, describe(failure), None))
        self.transport.write(whole)


class Server:
    """Answers methods on a unix socket. Methods run on the event loop; one that must wait returns an awaitable."""

    def __init__(self, methods: dict[str, Method]) -> None:
        self._methods = methods
        self._connections: set[_ServerConnection] = set()
        self._server: asyncio.AbstractServer | None = None

    async def start(self, path: Path) -> None:
        """Listen on `path`; a socket left by a dead process is replaced."""
        path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: _ServerConnection(self._methods, self._connections), str(path)
        )

    async def serve(self, listening: socket.socket) -> None:
        """Listen on a socket that somebody else has opened."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: _ServerConnection(self._methods, self._connections), sock=listening
        )

    async def stop(self) -> None:
        """Stop listening and close every connection; answers already written are sent."""
        if self._server is not None:
            self._server.close()
            for connection in list(self._connections):
                connection.transport.close()
            await self._server.wait_closed()


class Pending(NamedTuple):
    """A call under way on a `Client`: its id, and the connection that it was sent on."""

    id: int
    connection: int


class Client:
    """A blocking client, safe to share between threads (one call at a time holds it). Connects when first used.

    A broken connection raises Unavailable; the next call connects anew, waiting up to `patience_s` for the server.
    """

    def __init__(self, path: Path, patience_s: float = 5.0) -> None:
        self._path = path
        self._patience_s = patience_s
        self._socket: socket.socket | None = None
        self._connection = 0  # counts them
        self._ids = itertools.count(1)
        self._answers: dict[int, _Answer] = {}
        self._lock = threading.RLock()

    def call(self, method: str, params: object = None) -> msgspec.Raw:
        """Call and wait; raises what the server raised (see errors.py), or Unavailable."""
        with self._lock:
            return self.wait(self.send(method, params))

    def send(self, method: str, params: object = None) -> Pending:
        """Start a call; `wait` for it later. Several may be under way."""
        with self._lock:
            request_id = next(self._ids)
            whole = frame((request_id, method, params))
            try:
                try:
                    self._connected().sendall(whole)
                except OSError:
                    # The server was restarted since the last call, and has not got the whole of this one.
                    self.close()
                    self._connected().sendall(whole)
            except BaseException as error:
                raise self._broken(error) from error
            return Pending(request_id, self._connection)

    def wait(self, pending: Pending) -> msgspec.Raw:
        """Return the result of a call that was sent; raises as `call` does."""
        with self._lock:
            while pending.id not in self._answers:
                if self._socket is None or self._connection != pending.connection:
                    raise self._unavailable("the connection was lost")
                try:
                    (length,) = _LENGTH.unpack(self._read(4))
                    answer = _answer_decoder.decode(self._read(length))
                except BaseException as error:  # interrupted between two frames, the connection is of no use either
                    raise self._broken(error) from error
                self._answers[answer.id] = answer
            answer = self._answers.pop(pending.id)
        if answer.error is not None:
            raise error_of(answer.error)
        return answer.result

    def close(self) -> None:
        """Close the connection; calls under way are lost."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            self._answers.clear()

    def _connected(self) -> socket.socket:
        if self._socket is None:
            deadline = clock.monotonic_s() + self._patience_s
            while True:
                connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    connection.connect(str(self._path))
                    break
                except OSError:
                    connection.close()
                    if clock.monotonic_s() > deadline:
                        raise
                    clock.sleep(0.02)
            self._socket = connection
            self._connection += 1
        return self._socket

    def _read(self, length: int) -> bytes:
        assert self._socket is not None
        buffer = bytearray(length)
        view = memoryview(buffer)
        while view:
            count = self._socket.recv_into(view)
            if count == 0:
                raise ConnectionError("the connection was closed")
            view = view[count:]
        return bytes(buffer)

    def _broken(self, error: BaseException) -> BaseException:
        self.close()
        return self._unavailable(str(error)) if isinstance(error, OSError) else error

    def _unavailable(self, why: str) -> errors.Unavailable:
        return errors.Unavailable(f"{self._path.stem} does not answer: {why}", "It is restarted by itself; try again.")


class _ClientConnection(Frames):
    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self.lost = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(errors.Unavailable("The connection was lost.", "Try again."))
        self.waiting.clear()

    def frame_received(self, body: bytes) -> None:
        answer = _answer_decoder.decode(body)
        future = self.waiting.pop(answer.id, None)
        if future is None or future.done():
            return
        if answer.error is not None:
            future.set_exception(error_of(answer.error))
        else:
            future.set_result(answer.result)


class AsyncClient:
    """A client for event loops: any number of calls at once over one connection; reconnects as `Client` does."""

    def __init__(self, path: Path, patience_s: float = 5.0) -> None:
        self._path = path
        self._patience_s = patience_s
        self._ids = itertools.count(1)
        self._connection: _ClientConnection | None = None
        self._connecting = asyncio.Lock()

    async def call(self, method: str, params: object = None) -> msgspec.Raw:
        """Call and wait; raises what the server raised (see errors.py), or Unavailable."""
        connection = self._connection
        if connection is None or connection.lost:
            connection = await self._connect()
        request_id = next(self._ids)
        future: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        whole = frame((request_id, method, params))
        connection.waiting[request_id] = future
        connection.transport.write(whole)
        try:
            return await future
        finally:
            connection.waiting.pop(request_id, None)

    async def close(self) -> None:
        """Close the connection; calls under way raise Unavailable."""
        if self._connection is not None:
            self._connection.transport.close()
            self._connection = None

    async def _connect(self) -> _ClientConnection:
        async with self._connecting:
            if self._connection is not None and not self._connection.lost:
                return self._connection
            deadline = clock.monotonic_s() + self._patience_s
            loop = asyncio.get_running_loop()
            while True:
                with contextlib.suppress(OSError):
                    _, connection = await loop.create_unix_connection(_ClientConnection, str(self._path))
                    self._connection = connection
                    return connection
                if clock.monotonic_s() > deadline:
                    raise errors.Unavailable(
                        f"{self._path.stem} does not answer.", "It is restarted by itself; try again."
                    )
                await asyncio.sleep(0.02)
