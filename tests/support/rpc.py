"""Runs a coroutine-made service on an event loop of its own thread, for tests that call it with blocking clients."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from headrace import rpc


class Stoppable(Protocol):
    def stop(self) -> Awaitable[None]: ...


S = TypeVar("S", bound=Stoppable)


@contextlib.contextmanager
def in_thread(start: Callable[[], Coroutine[Any, Any, S]]) -> Iterator[S]:
    """Start a service in a thread; stop it when the context ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        service = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        try:
            yield service
        finally:
            asyncio.run_coroutine_threadsafe(_stopped(service), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def serving(path: Path, methods: Mapping[str, rpc.Method]) -> Iterator[rpc.Server]:
    """Serve methods on `path` from a thread."""

    async def start() -> rpc.Server:
        server = rpc.Server(dict(methods))
        await server.start(path)
        return server

    with in_thread(start) as server:
        yield server


async def _stopped(service: Stoppable) -> None:
    await service.stop()
