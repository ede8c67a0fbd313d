"""What clients have a server hold: requests that have not come whole or wait for others, and answers that are not read.

Every connection has bounds of its own; this is the bound of all of them together. Beyond it, what has been held longest
is given up: those who stall are, not those who come just then.
"""

from collections.abc import Callable
from typing import Protocol


class Holder(Protocol):
    """What something is held for: a connection, or a stream of one."""

    def give_up(self) -> None:
        """Let go of what is held, if it still is, and tell the client."""


class Held:
    """The bytes held, by holder."""

    def __init__(self, bytes_max: int, soon: Callable[[Callable[[], None]], object]) -> None:
        """`soon` calls something in a later turn of the loop."""
        self._bytes_max = bytes_max
        self._soon = soon
        self._sizes: dict[Holder, int] = {}  # the oldest first
        self.total = 0

    def set(self, holder: Holder, size: int) -> None:
        """Note how much is held for a holder now."""
        self.total += size - self._sizes.get(holder, 0)
        if size:
            self._sizes[holder] = size
        else:
            self._sizes.pop(holder, None)
        while self.total > self._bytes_max:
            oldest = next(iter(self._sizes))
            self.total -= self._sizes.pop(oldest)
            self._soon(oldest.give_up)
