"""What a function does, measured for the metrics: told as what is new since the last time."""

from typing import Any

from headrace.sketch import Sketch


class Measures:
    """How long invocations took, and how many ran at once at most."""

    def __init__(self) -> None:
        self._duration_ms = Sketch()
        self._running = self._most = 0
        self._told: dict[str, int] = {}

    def begin(self) -> None:
        """Note that an invocation begins."""
        self._running += 1
        self._most = max(self._most, self._running)

    def took(self, seconds: float) -> None:
        """Note how long an invocation took."""
        self._duration_ms.add_weighted(seconds * 1000, 1)

    def end(self) -> None:
        """Note that an invocation has ended, however it did."""
        self._running -= 1

    def told(self, totals: dict[str, int]) -> dict[str, Any]:
        """Return what is new, as the metrics process takes it: by how much `totals` grew, and the measures."""
        news: dict[str, Any] = {name: total - self._told.get(name, 0) for name, total in totals.items()}
        news["concurrent"] = self._most
        news["duration"] = self._duration_ms.packed() if self._duration_ms.count else None
        self._told = totals
        self._most = self._running
        self._duration_ms = Sketch()
        return news
