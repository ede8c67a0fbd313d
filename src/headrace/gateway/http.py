"""The HTTP server: connections speak HTTP/1.1 (`http1.py`) or HTTP/2 (`http2.py`), and one router answers them all.

Everything has a bound: the head, the body, the requests read ahead, and the time a connection may say nothing.
"""

import asyncio
import contextlib
import socket

from headrace.gateway import http1
from headrace.gateway.connection import Limits, Router, Shared

_SWEEP_S = 1.0


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

    @property
    def held_bytes(self) -> int:
        """Return how much is held of requests that have not come whole or wait, and of answers that are not read."""
        return self._shared.held.total

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
        for connection in list(self._shared.connections):  # of clients who don't read what is written
            connection.abort()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            for connection in list(self._shared.connections):
                connection.sweep(self._shared.now_s)
            self._shared.now_s = self._shared.loop.time()
            self._shared.heads.forget()


async def start(router: Router, listening: socket.socket, limits: Limits | None = None) -> HttpServer:
    """Accept connections on `listening` (see `supervisor/listener.py`) and hand every request to `router`."""
    shared = Shared(router, limits or Limits())
    server = await shared.loop.create_server(lambda: http1.speak(shared), sock=listening, backlog=1024)
    return HttpServer(shared, server, listening.getsockname()[1])
