"""Whether the clock may be believed before something is deleted because of its age.

A clock that was set a year ahead by mistake would have retention and TTL delete everything at once. So the time of the
last run is kept on disk; while the clock is more than a day away from it, nothing is deleted for its age. A machine
that was really off for days looks the same: after an hour in which the clock ran steadily it is believed.

`decide` is the whole rule, and pure; `Timekeeper` feeds it.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from headrace import clock
from headrace.disk import write_file
from headrace.errors import StorageError

VERSION = 1  # of the file; see docs/formats.md
JUMP_MS = 86_400_000
BELIEVED_AFTER_MS = 3_600_000
STEP_MS = 60_000  # wall clock and steady clock may drift apart by this before the clock counts as set anew


class Decision(NamedTuple):
    """`paused`: nothing may be deleted for its age; in `resume_ms` milliseconds it may, if the clock stays as it is.

    `jump_ms` is how far the clock is from the last run, negative if it went back; 0 while it is believed.
    """

    paused: bool
    jump_ms: int = 0
    resume_ms: int = 0


def decide(now_ms: int, last_ms: int | None, steady_ms: int) -> Decision:
    """Decide by the clock, the time of the last run (None: there was none), and for how long the clock ran steadily."""
    if last_ms is None or abs(now_ms - last_ms) <= JUMP_MS or steady_ms >= BELIEVED_AFTER_MS:
        return Decision(False)
    return Decision(True, now_ms - last_ms, BELIEVED_AFTER_MS - steady_ms)


class _LastRun(msgspec.Struct):
    version: int
    last_ms: int


class Timekeeper:
    """Asks the clock now and then (`check`), and keeps the time of the last run in a file if it is the `writer`."""

    def __init__(
        self,
        path: Path,
        *,
        writer: bool = False,
        now_ms: Callable[[], int] = clock.now_ms,
        monotonic_s: Callable[[], float] = clock.monotonic_s,
    ) -> None:
        self._path = path
        self._writer = writer
        self._now_ms = now_ms
        self._monotonic_s = monotonic_s
        self._last_ms = _load(path)
        self._began = now_ms(), monotonic_s()  # since when the clock runs steadily: by itself, by the steady clock

    def look(self) -> Decision:
        """Return how things stand, without noting a run."""
        now_ms, steady_ms = self._now_ms(), self._steady_ms()
        return decide(now_ms, self._last_ms, steady_ms)

    def check(self) -> Decision:
        """Return whether what is too old may be deleted now; if so, this counts as a run."""
        decision = self.look()
        if not decision.paused:
            self._last_ms = self._now_ms()
            if self._writer:
                with contextlib.suppress(StorageError):  # a full disk: the file is a little old then
                    write_file(self._path, msgspec.json.encode(_LastRun(VERSION, self._last_ms)))
        return decision

    def _steady_ms(self) -> int:
        now_ms, steady_s = self._now_ms(), self._monotonic_s()
        passed_ms = int((steady_s - self._began[1]) * 1000)
        if abs(now_ms - self._began[0] - passed_ms) > STEP_MS:
            self._began = now_ms, steady_s
            return 0
        return passed_ms


def _load(path: Path) -> int | None:
    """Return the last run's time; None if there was none or the file can't be read, which is no reason to stop."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_LastRun)
    except (OSError, msgspec.DecodeError):
        return None
    return found.last_ms if found.version == VERSION else None
