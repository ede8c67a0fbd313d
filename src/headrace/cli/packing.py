"""Several rows of one device in one record, as a device that batches at the edge would send them."""

from collections.abc import Iterable, Iterator

from headrace.cli.rows import Row
from headrace.cli.sender import Entry

ROWS_WAITING_MAX = 50_000


class Packer:
    """Makes records of up to `rows` consecutive rows of one device: a JSON array each, or a plain object with 1."""

    def __init__(self, rows: int, bytes_max: int) -> None:
        self._rows = rows
        self._bytes_max = bytes_max
        # By key, in the order of their lowest row: a key that is taken out comes in again at the end.
        self._waiting: dict[str, list[Row]] = {}
        self._bytes: dict[str, int] = {}
        self._count = 0

    def add(self, row: Row) -> Iterable[Entry]:
        """Take a row; return the records that are full now. Each counts as waiting until the next one is asked for."""
        return [Entry(row.key, row.data, row.number)] if self._rows == 1 else self._packed(row)

    def flush(self) -> Iterator[Entry]:
        """Yield what is left."""
        for key in list(self._waiting):
            yield from self._take(key)

    def lowest_row(self) -> int | None:
        """Return the lowest row that waits here, None if none does."""
        return next((rows[0].number for rows in self._waiting.values()), None)

    def _packed(self, row: Row) -> Iterator[Entry]:
        taken = self._bytes.get(row.key, 2)
        if taken + len(row.data) > self._bytes_max and row.key in self._waiting:
            yield from self._take(row.key)
            taken = 2
        rows = self._waiting.setdefault(row.key, [])
        rows.append(row)
        self._bytes[row.key] = taken + len(row.data) + 1
        self._count += 1
        if len(rows) == self._rows:
            yield from self._take(row.key)
        while self._count > ROWS_WAITING_MAX:
            yield from self._take(next(iter(self._waiting)))

    def _take(self, key: str) -> Iterator[Entry]:
        rows = self._waiting[key]
        yield Entry(key, b"[" + b",".join(row.data for row in rows) + b"]", rows[0].number, len(rows))
        # Only now, when it is with the sender: a sending that ends in between has to begin with it.
        del self._waiting[key], self._bytes[key]
        self._count -= len(rows)
