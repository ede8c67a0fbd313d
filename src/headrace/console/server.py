"""The console's process: NiceGUI behind the gateway, on the socket that the supervisor opened.

It is started by its first request and ends when no page was open for some minutes. NiceGUI's own channel to the page
runs over plain requests (long polling): the gateway hands those on one by one, and needs to know of no other protocol.
"""

import asyncio
import contextlib
import math
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import uvicorn
from fastapi import FastAPI
from nicegui import Client, app, core, ui

from headrace import clock
from headrace.console import pages
from headrace.console.backend import Backend
from headrace.console.watcher import Watcher
from headrace.errors import UsageError
from headrace.settings import CONSOLE_PATH

IDLE_S = 300.0  # without a page, after which the process ends (HEADRACE_CONSOLE_IDLE_S)
# The browser itself refuses whatever would leave the machine, and other pages' frames around this one.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data:; form-action 'self'; base-uri 'self'; "
    "frame-ancestors 'none'"
)

_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, Callable[[], Awaitable[_Message]], _Send], Awaitable[None]]


class Server(uvicorn.Server):
    """A web server that leaves signals to `process.run`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class Console:
    """A running console."""

    def __init__(
        self, server: Server, listening: socket.socket, backend: Backend, watcher: Watcher, idle_s: float
    ) -> None:
        self._server = server
        self._backend = backend
        self._serving = asyncio.create_task(server.serve([listening]))
        self._tasks = [asyncio.create_task(watcher.run()), asyncio.create_task(self._end_when_idle(idle_s))]

    async def stop(self) -> None:
        """Answer no more, and end what is under way."""
        for task in self._tasks:
            task.cancel()
        for page in list(core.sio.eio.sockets):
            await core.sio.eio.disconnect(page)  # answers its open poll; it tries again
        self._server.should_exit = True
        await asyncio.gather(*self._tasks, self._serving, return_exceptions=True)
        await self._backend.close()

    async def _end_when_idle(self, idle_s: float) -> None:
        seen_s = clock.monotonic_s()
        while clock.monotonic_s() - seen_s < idle_s:
            await asyncio.sleep(min(5.0, idle_s / 2))
            if is_watched():
                seen_s = clock.monotonic_s()
        os.kill(os.getpid(), signal.SIGTERM)


async def start(listening: socket.socket, endpoint: str, idle_s: float) -> Console:
    """Serve the console on `listening`; `endpoint` is the backend's URL, from which it has all that it shows."""
    backend = Backend(endpoint)
    watcher = Watcher(backend, is_watched)
    pages.register(backend, watcher)
    outer = FastAPI(openapi_url=None)
    app.config.socket_io_js_transports = ["polling"]
    ui.run_with(
        outer,
        mount_path=CONSOLE_PATH,
        dark=None,
        tailwind=False,
        show_welcome_message=False,
        gzip_middleware_factory=None,
        reconnect_timeout=10.0,
    )
    config = uvicorn.Config(
        _guarded(outer), log_level="warning", access_log=False, timeout_graceful_shutdown=1, proxy_headers=False
    )
    return Console(Server(config), listening, backend, watcher, idle_s)


def parse_idle_s(text: str) -> float:
    """Return after how many seconds without a page the process ends; raises UsageError."""
    try:
        idle_s = float(text or IDLE_S)
        if not 1 <= idle_s < math.inf:
            raise ValueError
    except ValueError:
        raise UsageError(f"HEADRACE_CONSOLE_IDLE_S is {text!r}.", "Set it to seconds, 1 or more.") from None
    return idle_s


def is_watched() -> bool:
    """Return whether a page is open."""
    return any(client.has_socket_connection for client in Client.instances.values())


def _guarded(inner: _App) -> _App:
    """Return the application with the policy on each of its answers."""

    async def guarded(scope: _Message, receive: Callable[[], Awaitable[_Message]], send: _Send) -> None:
        async def send_with_policy(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        await inner(scope, receive, send_with_policy)

    return guarded
