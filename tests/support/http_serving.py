"""The HTTP server with a router and clients of a test's own kind."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from headrace.gateway import connection, http
from headrace.supervisor import listener


class Connected(Protocol):
    """A client on a connection."""

    writer: asyncio.StreamWriter


C = TypeVar("C", bound=Connected)


@asynccontextmanager
async def serving(
    client: Callable[[asyncio.StreamReader, asyncio.StreamWriter], C],
    router: connection.Router,
    limits: connection.Limits | None,
) -> AsyncIterator[tuple[http.HttpServer, Callable[[], Awaitable[C]]]]:
    """Yield a server and what opens a connection to it; all are closed afterwards."""
    server = await http.start(router, listener.listen("127.0.0.1", 0), limits)
    clients: list[C] = []

    async def connect() -> C:
        clients.append(client(*await asyncio.open_connection("127.0.0.1", server.port)))
        return clients[-1]

    try:
        yield server, connect
    finally:
        for each in clients:
            each.writer.close()
        await server.stop(1.0)
