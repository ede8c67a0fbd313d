"""Raw objects to rows that DuckDB reads: natively what is regular (`native/`), the rest exactly (`exact.py`).

    staged = Staging(connection, bucket, folder, typed)
    staged.add(keys)
    for date in staged.days():
        rows = staged.of_day(date)
        connection.execute(f"SELECT count(*) FROM ({rows.sql})")

Regular rows are sorted in memory; what does not fit there goes to sorted files in `folder`, and the rest to a table. So
a day's rows are usually in order when they are asked for.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import zstandard

from headrace.archive import exact, native, raw, sorting
from headrace.archive.arrow import Arrow
from headrace.archive.base import Bucket
from headrace.archive.columns import name_sql, names_sql, schema, text_sql
from headrace.archive.engine import DEFAULT, parquet_sql
from headrace.archive.erasures import Erasure, kept_sql
from headrace.errors import InvalidObjectState, NotFound, UsageError
from headrace.record import parse_sequence_number, parse_shard_id, shard_id

_EXACT_BYTES = 64 * 1024 * 1024  # of rows on their way to the table
_EPOCH = date(1970, 1, 1)
_ROW_BYTES = 1024 * 1024  # of a row as JSON: an event has 400 KiB at most, of which each byte takes two at most


class Problem(NamedTuple):
    """An object that can't be used, and what to do about it; everything else goes on."""

    key: str
    problem: str
    hint: str

    def __str__(self) -> str:
        return f"{self.key}: {self.problem}\n  {self.hint}"


class Object(NamedTuple):
    """A raw object that was read and is as it was put; `is_numbered`: its lines are numbered as ours are."""

    key: str
    name: raw.Name
    is_numbered: bool


class Staged(NamedTuple):
    """Rows as a SELECT, with the columns of compacted files; sorted ones are in the order of identities, each once."""

    sql: str
    is_sorted: bool


def unpacked(bucket: Bucket, key: str) -> tuple[raw.Name, bytes] | Problem:
    """Return what a raw object's key says, and its lines, or why it can't be used.

    Raises NotFound where it is not there, InvalidObjectState where it is cold.
    """
    name = raw.parse_key(key)
    if name is None:
        return Problem(key, "is no raw object by its name", "Move it out of raw/: nothing else belongs there.")
    body = bucket.get(key)
    if not raw.is_whole(name, body):
        return Problem(
            key,
            "was cut short or edited: its bytes are not those that its name tells",
            "Put it back from a backup under the same name; without one, move it out of raw/ to go on without it.",
        )
    content = zstandard.ZstdDecompressor().decompress(body)
    if not raw.is_known(name, content):
        problem = f"is not of version {raw.VERSION}, the only one that this Headrace knows"
        return Problem(key, problem, "Use the Headrace that wrote it, or a newer one.")
    return name, content


class Staging:
    """Makes raw objects rows; `folder` is for files, and the connection for what is not regular.

    `batch_bytes` is how much memory rows may take. Not `natively`, everything is decoded exactly, one by one; so it is
    where the native decoder was not compiled. Events that were `erased` are no rows.
    """

    def __init__(
        self,
        connection: Any,
        bucket: Bucket,
        folder: Path,
        typed: tuple[str, ...],
        *,
        erased: Sequence[Erasure] = (),
        batch_bytes: int = DEFAULT.batch_bytes,
        natively: bool = True,
    ) -> None:
        self._connection = connection
        self._bucket = bucket
        self._folder = folder
        self._typed = typed
        self._erased = erased
        self._batch_bytes = batch_bytes
        self.problems: list[Problem] = []
        self.staged: list[Object] = []
        self.cold: list[InvalidObjectState] = []  # what some of the problems are
        self.removed = False  # whether one of the objects was no longer there
        self.records = 0
        self.faults = 0
        self.exact = 0  # records that were decoded one by one
        self._rows = native.Rows(typed) if natively and native.IS_COMPILED else None
        self._batch: native.Batch | None = None
        self._spilled: list[str] = []
        self._spilled_days: set[str] = set()
        self._spilled_rows = 0
        self._exact_days: set[str] = set()
        columns = ", ".join(f"{name_sql(name)} {kind}" for name, kind in schema(typed).items())
        connection.execute(f"CREATE OR REPLACE TABLE decoded ({columns})")

    def add(self, keys: Iterable[str]) -> None:
        """Add the events of raw objects; what can't be used is left out and noted among `problems`."""
        self._spill()
        path = self._folder / "exact.ndjson"
        with path.open("wb") as file:
            for key in keys:
                if (found := self._checked(key)) is None:
                    continue
                one, content = found
                rest = self._add_regular(one.name, content)
                if rest:
                    self._add_exact(raw.parsed(rest), file)
                if file.tell() >= _EXACT_BYTES:
                    self._take_exact(file, path)
                self.staged.append(one)
            self._take_exact(file, path)
        path.unlink()
        if self._rows is not None and self._rows.rows:
            self._batch, self._rows = native.Batch(self._rows), native.Rows(self._typed)
        self._exact_days = set(sorting.days_of(self._connection, "decoded"))

    @property
    def events(self) -> int:
        """Return how many rows there are."""
        if self._erased:
            return self._count(self.of_all())
        return self._count("FROM decoded") + self._spilled_rows + (self._batch.rows if self._batch else 0)

    def days(self) -> list[str]:
        """Return the days (`YYYY-MM-DD`) that rows are of, in order; what was erased may leave one without rows."""
        return sorted({*self._batch_days(), *self._spilled_days, *self._exact_days})

    def of_all(self) -> str:
        """Return a SELECT of all rows; it counts until rows are asked for again."""
        parts = [f"FROM {parquet_sql(self._spilled)}"] if self._spilled else []
        if self._batch:
            parts.append(self._registered(0, self._batch.rows))
        return self._kept(["FROM decoded", *parts])

    def of_day(self, day: str) -> Staged:
        """Return the rows of a day; they count until rows are asked for again."""
        on_day = sorting.on_day_sql(day)
        unsorted = []
        if day in self._exact_days:
            unsorted.append(f"FROM decoded WHERE {on_day}")
        if day in self._spilled_days:
            unsorted.append(f"FROM {parquet_sql(self._spilled)} WHERE {on_day}")
        found = self._batch_days().get(day)
        of_batch = [self._registered(*found)] if found else []
        is_sorted = not unsorted and self._batch is not None and not self._batch.has_copies
        return Staged(self._kept([*unsorted, *of_batch]), is_sorted)

    def _batch_days(self) -> dict[str, tuple[int, int]]:
        """Return where the rows of each day start and end in the batch."""
        if self._batch is None:
            return {}
        days = self._batch.days
        ends = [*(start for _, start in days[1:]), self._batch.rows]
        return {str(_EPOCH + timedelta(number)): (start, end) for (number, start), end in zip(days, ends, strict=True)}

    def _registered(self, start: int, end: int) -> str:
        """Return a SELECT of rows of the batch."""
        assert self._batch is not None
        rows = Arrow(self._batch, start, end, self._typed)
        # `register` ends the query before and keeps Python's lock meanwhile, which a thread of that query needs to give
        # rows back: they would wait for each other for ever. `execute` ends it without the lock.
        self._connection.execute("SELECT 1")
        self._connection.register("batch", rows)
        constants = self._batch.constants
        columns = ", ".join(
            name_sql(name) if name in rows.names else f"CAST({_sql(constants.get(name))} AS {kind}) AS {name_sql(name)}"
            for name, kind in schema(self._typed).items()
        )
        return f"SELECT {columns} FROM batch"

    def _kept(self, parts: Sequence[str]) -> str:
        names = names_sql(schema(self._typed))
        rows = " UNION ALL ".join(f"SELECT {names} FROM ({part})" for part in parts)
        return f"SELECT * FROM ({rows}) WHERE {kept_sql(self._erased)}" if self._erased else rows

    def _checked(self, key: str) -> tuple[Object, bytes] | None:
        """Return an object that is whole, with its content; else note what is wrong."""
        try:
            found = unpacked(self._bucket, key)
        except NotFound:
            self.removed = True
            found = Problem(key, "was removed meanwhile", "Run the compaction again.")
        except InvalidObjectState as error:
            self.cold.append(error)
            found = Problem(key, "is cold, so its events are neither compacted nor read", error.hint)
        if isinstance(found, Problem):
            self.problems.append(found)
            return None
        name, content = found
        return Object(key, name, _is_numbered(name)), content

    def _add_regular(self, name: raw.Name, content: bytes) -> bytes:
        """Add the events of regular lines; return the other lines."""
        if self._rows is None or not raw.is_utf8(content):
            return content
        head = raw.head(name.stream, name.shard).encode()
        records, others = self._rows.add(content, head, name.stream, parse_shard_id(name.shard))
        self.records += records
        if self._rows.size >= self._batch_bytes:
            self._batch, self._rows = native.Batch(self._rows), native.Rows(self._typed)
            self._spill()
        return b"\n".join(content[start:end] for start, end in others)

    def _spill(self) -> None:
        """Write the batch to a file."""
        if self._batch is None:
            return
        path = self._folder / f"rows-{len(self._spilled)}.parquet"
        self._spilled_days.update(self._batch_days())
        self._spilled_rows += self._batch.rows
        sorting.copy(self._connection, self._registered(0, self._batch.rows), path)
        self._spilled.append(str(path))
        self._batch = None

    def _add_exact(self, lines: Sequence[raw.Line], file: BinaryIO) -> None:
        """Write the rows of lines to a file, one line a row."""
        rows = exact.Rows(self._typed)
        file.writelines(map(exact.encode, rows.of(lines)))
        self.exact += len(lines)
        self.records += len(lines)
        self.faults += rows.faults

    def _take_exact(self, file: BinaryIO, path: Path) -> None:
        """Take the rows of the file to the table, and empty it."""
        if not file.tell():
            return
        file.flush()
        columns = ", ".join(f"{text_sql(name)}: '{kind}'" for name, kind in schema(self._typed).items())
        options = f"columns = {{{columns}}}, format = 'newline_delimited', maximum_object_size = {_ROW_BYTES}"
        rows = f"read_json({text_sql(str(path))}, {options})"
        self._connection.execute(f"INSERT INTO decoded BY NAME SELECT * FROM {rows}")
        file.seek(0)
        file.truncate()

    def _count(self, rows: str) -> int:
        return int(self._connection.execute(f"SELECT count(*) FROM ({rows})").fetchone()[0])


def _sql(value: str | int | None) -> str:
    return "NULL" if value is None else text_sql(value) if isinstance(value, str) else str(value)


def _is_numbered(name: raw.Name) -> bool:
    """Return whether lines are numbered as ours are, all in one shard."""
    try:
        first, last = parse_sequence_number(name.first), parse_sequence_number(name.last)
    except UsageError:
        return False
    return first[:2] == last[:2] and name.shard == shard_id(first.shard)
