"""What the connections of a server have in common, whichever version of HTTP they speak: bounds, and who answers.

What a small request such as a single put costs is kept down: an answer that is a `Reply` or a future is taken as it is,
with no task around it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from headrace.gateway.heads import Heads
from headrace.gateway.held import Held
from headrace.gateway.whole import WholeRequests
from headrace.wire import Reply, Request, Response

BODY_BYTES_MAX = 16 * 1024 * 1024
HEAD_BYTES_MAX = 64 * 1024
READ_AHEAD_BYTES = BODY_BYTES_MAX  # of requests waiting on one connection before it is read no further
LINGER_S = 2.0  # how long the rest of a refused request is read and dropped, so that its sender sees the answer

BODY_TOO_LARGE = f"The request's body has more than {BODY_BYTES_MAX} bytes."
NO_PROXY = "This is no proxy."
TOO_MUCH = "The server holds as much as it may of requests that have not come whole. Send it again."
TOO_SLOW = "The request did not arrive whole in time."

Outcome = Response | Exception

_log = logging.getLogger(__name__)


class Router(Protocol):
    """What answers the requests: `Router` of `router.py`."""

    def __call__(self, request: Request) -> Awaitable[Response]:
        """Answer a request; what this or its answer raises is `failed`'s to answer."""

    def failed(self, request: Request, error: Exception) -> Response:
        """Return the answer to a request whose handling raised `error`; if this raises, the connection is closed."""


@dataclass(frozen=True)
class Limits:
    """How long a connection may be silent: between requests, and in the middle of one; and what all may have held."""

    idle_s: float = 120.0
    request_s: float = 60.0
    held_bytes: int = 256 * 1024 * 1024


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

    def abort(self) -> None:
        """Close at once."""


class Shared:
    """What the connections of a server share."""

    def __init__(self, router: Router, limits: Limits) -> None:
        self.router = router
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self.stopping = False
        self.read_whole = WholeRequests().read
        self.heads = Heads()
        self.held = Held(limits.held_bytes, self.loop.call_soon)
        self.now_s = self.loop.time()  # as of the last sweep

    def ask(
        self,
        request: Request,
        transport: asyncio.Transport,
        answered: Callable[[Outcome], None],
        ready: Callable[[Response], None],
    ) -> None:
        """Have a request answered: `answered` is told what comes of it, in a later turn of the loop.

        `ready` may be told before, of an answer that will be given soon. `transport` is cut if the answer is given up.
        """
        try:
            answer = self.router(request)
        except Exception as error:
            self.loop.call_soon(answered, error)
            return
        if isinstance(answer, Reply):
            answer.give_to(answered, ready)
            return
        future = answer if isinstance(answer, asyncio.Future) else asyncio.ensure_future(answer)
        future.add_done_callback(partial(_done, transport, answered))

    def response(self, request: Request, outcome: Outcome) -> Response:
        """Return the answer that an outcome is."""
        return self.router.failed(request, outcome) if isinstance(outcome, Exception) else outcome


def _done(
    transport: asyncio.Transport, answered: Callable[[Outcome], None], answer: "asyncio.Future[Response]"
) -> None:
    try:
        outcome: Outcome = answer.result()
    except Exception as error:
        outcome = error
    except asyncio.CancelledError:
        _log.warning("An answer was given up; its connection is closed")
        transport.abort()
        return
    answered(outcome)
