"""What a shard of a provisioned stream takes and gives within any second, as on AWS. Pure: it is handed the time.

In: 1,000 records and 1 MiB, partition keys included. Out: 5 GetRecords calls and 2 MiB; one call may take up to 10 MiB
where nothing was read in the second before, and nothing more is given until that is worked off (5 s for 10 MiB).
"""

from headrace.limits import Window

IN_RECORDS = 1_000
IN_BYTES = 1024 * 1024
OUT_CALLS = 5
OUT_BYTES = 2 * 1024 * 1024


class ShardLimits:
    """One shard's windows."""

    __slots__ = ("_calls", "_in_bytes", "_out_bytes", "_records")

    def __init__(self) -> None:
        self._records = Window(IN_RECORDS)
        self._in_bytes = Window(IN_BYTES)
        self._calls = Window(OUT_CALLS)
        self._out_bytes = Window(OUT_BYTES)

    def put(self, now_s: float, size: int) -> bool:
        """Return whether a record of `size` bytes is taken now; then it counts."""
        if self._records.room(now_s) < 1 or self._in_bytes.room(now_s) < size:
            return False
        self._records.take(now_s, 1)
        self._in_bytes.take(now_s, size)
        return True

    def get(self, now_s: float, bytes_max: int) -> int:
        """Return how many bytes a GetRecords may answer now, at most `bytes_max`; 0 if it is refused. The call counts.

        What it did answer is to be told with `gave`.
        """
        room = self._out_bytes.room(now_s)
        if room <= 0 or self._calls.room(now_s) < 1:
            return 0
        self._calls.take(now_s, 1)
        return bytes_max if room == OUT_BYTES else min(bytes_max, room)

    def gave(self, now_s: float, size: int) -> None:
        """Note the bytes of an answer."""
        if size:
            self._out_bytes.take(now_s, size)
