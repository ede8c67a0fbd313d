"""One run of a job at a time, on whichever machine: a lease that its holder renews, kept as an object.

    with lease.held(exchange, "compact", duration_s=60) as mine:
        ...
        mine.check()        # right before what must not be done by two
        ...

A holder that is killed leaves its lease behind: the next run waits until it has expired, which takes its duration.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from uuid import uuid4

import msgspec

from headrace import clock
from headrace.archive.exchange import Exchange
from headrace.errors import Conflict, HeadraceError

VERSION = 1
DURATION_S = 60.0
_RENEWALS = 4  # within a duration
_MARGIN_S = 2.0  # that machines' clocks may differ


class _Held(msgspec.Struct):
    holder: str
    expires_ms: int
    version: int = VERSION


def key_of(job: str) -> str:
    """Return the key of a job's lease."""
    return f"jobs/{job}/lease.json"


class Lease:
    """A lease that this process holds."""

    def __init__(self, exchange: Exchange, job: str, duration_s: float) -> None:
        self._exchange = exchange
        self._job = job
        self._duration_s = duration_s
        self._holder = f"{os.uname().nodename}-{os.getpid()}-{uuid4().hex[:8]}"
        self._etag: str | None = None
        self._until_s = 0.0
        self._lost = False
        self._ended = threading.Event()

    def check(self) -> None:
        """Raise Conflict unless the lease is still held: another run may be at work."""
        if self._lost or clock.monotonic_s() > self._until_s:
            raise Conflict(f"The lease of {self._job} was lost: another run may be at work.", "Run it again.")

    def take(self) -> None:
        """Take the lease; where somebody else has it, wait until it expires. Raises Conflict if it is renewed."""
        found = self._exchange.read(key_of(self._job))
        if found is not None and (held := _read(found[0])).expires_ms > clock.now_ms():
            waits_s = (held.expires_ms - clock.now_ms()) / 1000 + _MARGIN_S
            clock.sleep(min(waits_s, self._duration_s + _MARGIN_S))
            again = self._exchange.read(key_of(self._job))
            if again is not None and again[1] != found[1]:
                raise Conflict(
                    f"Another run of {self._job} is at work ({_read(again[0]).holder}).",
                    "Wait until it is done; see the state machine's executions.",
                )
            found = again
        self._etag = found[1] if found else None
        self._write()

    def renew(self) -> None:
        """Renew it from time to time, until it is let go; run by a thread of its own."""
        while not self._ended.wait(self._duration_s / _RENEWALS):
            try:
                self._write()
            except Conflict:
                self._lost = True
                return
            except HeadraceError:
                continue  # S3 does not answer: `check` tells when the lease has expired for that

    def end(self) -> None:
        """Have it no longer renewed."""
        self._ended.set()

    def release(self) -> None:
        """Let it go, if it is still held; nobody renews it any more."""
        if not self._lost:
            with contextlib.suppress(Conflict):
                self._put(0)

    def _write(self) -> None:
        began_s = clock.monotonic_s()
        self._put(clock.now_ms() + int(1000 * self._duration_s))
        self._until_s = began_s + self._duration_s

    def _put(self, expires_ms: int) -> None:
        body = msgspec.json.encode(_Held(self._holder, expires_ms))
        self._etag = self._exchange.write(key_of(self._job), body, self._etag)


@contextlib.contextmanager
def held(exchange: Exchange, job: str, *, duration_s: float = DURATION_S) -> Iterator[Lease]:
    """Hold the lease of a job; raises Conflict where another run is at work."""
    lease = Lease(exchange, job, duration_s)
    lease.take()
    renewing = threading.Thread(target=lease.renew, name=f"lease of {job}", daemon=True)
    renewing.start()
    try:
        yield lease
    finally:
        lease.end()
        renewing.join()
        lease.release()


Hold = Callable[[str], contextlib.AbstractContextManager[Lease]]


def _read(body: bytes) -> _Held:
    try:
        return msgspec.json.decode(body, type=_Held)
    except msgspec.DecodeError:
        raise HeadraceError("A lease can't be read.", "Delete jobs/*/lease.json in the archive's bucket.") from None
