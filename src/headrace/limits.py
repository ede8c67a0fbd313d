"""Limits of rates, as pure decisions: the time comes in (seconds that never go back), what is allowed comes out.

Window   so much within any second, exactly: a shard's limits
Bucket   so much a second in the long run, with what was not used saved up: a table's capacity
"""

from collections import deque

WINDOW_S = 1.0
SAVED_S_MAX = 300.0  # as DynamoDB's burst capacity


class Window:
    """At most `limit` within any second. Remembers each amount for a second: they should not be tiny and many.

    A single amount may be greater than the limit where the caller allows it: it then counts for as many seconds as
    it fills.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._taken: deque[tuple[float, int]] = deque()  # until when it counts, amount

    def room(self, now_s: float) -> int:
        """Return how much may be taken now; below 0 while a greater amount is being worked off."""
        taken = self._taken
        while taken and taken[0][0] <= now_s:
            self._used -= taken.popleft()[1]
        return self._limit - self._used

    def take(self, now_s: float, amount: int) -> None:
        """Note that `amount` was taken; only while `room` is above 0."""
        self._used += amount
        self._taken.append((now_s + max(WINDOW_S, amount / self._limit), amount))


class Bucket:
    """`rate` a second, and up to `saved_s_max` seconds of it saved up while it is not used.

    It starts with one second's. Something is allowed while anything is left, however much it takes: what it takes
    beyond that is owed, and nothing is allowed until it has come in. So what is greater than the rate is not starved.
    """

    def __init__(self, rate: float, now_s: float, saved_s_max: float = SAVED_S_MAX) -> None:
        self._rate = rate
        self._max = rate * saved_s_max
        self._left = float(rate)
        self._at_s = now_s

    def take(self, now_s: float, amount: float) -> bool:
        """Take `amount` if that is allowed now; return whether it was."""
        self._left = min(self._max, self._left + max(0.0, now_s - self._at_s) * self._rate)
        self._at_s = max(now_s, self._at_s)
        if self._left <= 0:
            return False
        self._left -= amount
        return True
