"""Raw objects to rows in a table of DuckDB: by SQL what is regular (`regular.py`), the rest exactly (`exact.py`)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import zstandard

from headrace.archive import exact, raw, regular
from headrace.archive.base import Bucket
from headrace.archive.columns import name_sql, names_sql, schema, text_sql, texts_sql
from headrace.errors import NotFound, UsageError
from headrace.record import parse_sequence_number

TABLE = "staged"
SHAPES_MAX = 8  # of one shard's lines in one go
SAMPLED = 20  # lines of an object


class Problem(NamedTuple):
    """An object that can't be used, and what to do about it; everything else goes on."""

    key: str
    problem: str
    hint: str

    def __str__(self) -> str:
        return f"{self.key}: {self.problem}\n  {self.hint}"


class Object(NamedTuple):
    """A raw object that was read and is as it was put."""

    key: str
    path: str
    name: raw.Name
    source: regular.Source | None  # None where its lines are not numbered as ours are


class Staging:
    """Fills the table `staged` of a connection, whose columns are those of compacted files; `folder` is for files.

    `shapes_max` is how many shapes SQL is made for; with 0 everything is decoded exactly, one by one.
    """

    def __init__(
        self,
        connection: Any,
        bucket: Bucket,
        folder: Path,
        typed: tuple[str, ...],
        *,
        shapes_max: int = SHAPES_MAX,
    ) -> None:
        self._connection = connection
        self._bucket = bucket
        self._folder = folder
        self._typed = typed
        self._shapes_max = shapes_max
        self.problems: list[Problem] = []
        self.staged: list[Object] = []
        self.removed = False  # whether one of the objects was no longer there
        self.records = 0
        self.faults = 0
        self.exact = 0  # records that SQL could not do
        columns = ", ".join(f"{name_sql(name)} {kind}" for name, kind in schema(typed).items())
        connection.execute(f"CREATE OR REPLACE TABLE {TABLE} ({columns})")

    def add(self, keys: Iterable[str]) -> None:
        """Add the events of raw objects; what can't be used is left out and noted among `problems`."""
        groups: dict[regular.Source | None, list[Object]] = defaultdict(list)
        shapes: dict[regular.Source | None, Counter[regular.Shape]] = defaultdict(Counter)
        for key in keys:
            found = self._checked(key)
            if found is not None:
                groups[found[0].source].append(found[0])
                if found[0].source is not None:
                    shapes[found[0].source].update(_shapes(found[1]))
        for source, objects in groups.items():
            usual = [shape for shape, _ in shapes[source].most_common(self._shapes_max)]
            done = self._add_regular(source, objects, usual) if source and usual else {}
            self._add_rest(objects, done)
            self.staged += objects

    @property
    def events(self) -> int:
        """Return how many rows there are."""
        return int(self._ask(f"SELECT count(*) FROM {TABLE}")[0][0])

    def _checked(self, key: str) -> tuple[Object, bytes] | None:
        """Return an object that is whole, with its content; else note what is wrong."""
        name = raw.parse_key(key)
        if name is None:
            self._note(key, "is no raw object by its name", "Move it out of raw/: nothing else belongs there.")
            return None
        try:
            body = self._bucket.get(key)
            path = self._bucket.location(key)
        except NotFound:
            self.removed = True
            self._note(key, "was removed meanwhile", "Run the compaction again.")
            return None
        if not raw.is_whole(name, body):
            self._note(
                key,
                "was cut short or edited: its bytes are not those that its name tells",
                "Put it back from a backup under the same name; without one, move it out of raw/ to go on without it.",
            )
            return None
        return Object(key, path, name, _source(name)), zstandard.ZstdDecompressor().decompress(body)

    def _note(self, key: str, problem: str, hint: str) -> None:
        self.problems.append(Problem(key, problem, hint))

    def _add_regular(
        self, source: regular.Source, objects: Sequence[Object], shapes: Sequence[regular.Shape]
    ) -> dict[int, list[int]]:
        """Add what is regular; return the numbers of the records done, by the object's place, where not all are."""
        count = regular.HEAD + max(len(shape.members) for shape in shapes) + 1
        cells = regular.cells_sql(texts_sql(one.path for one in objects), count)
        if len(shapes) > 1:
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE cells AS SELECT *, file_index FROM {cells}")
            cells = "cells"
        parts = [regular.rows_sql(cells, shape, source, self._typed) for shape in shapes]
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE regular AS {' UNION ALL '.join(parts)}")
        self._connection.execute("DROP TABLE IF EXISTS cells")
        names = names_sql(schema(self._typed))
        counts = dict(self._ask("SELECT object, count(*) FROM regular GROUP BY object"))
        done: dict[int, list[int]] = {}
        for place, one in enumerate(objects):
            found = counts.get(place, 0)
            if found == one.name.records:
                self.records += found
                done[place] = []
            elif found:
                done[place] = [number for (number,) in self._ask(f"SELECT number FROM regular WHERE object = {place}")]
                self.records += found
        self._connection.execute(f"INSERT INTO {TABLE} ({names}) SELECT {names} FROM regular")
        self._connection.execute("DROP TABLE regular")
        return done

    def _add_rest(self, objects: Sequence[Object], done: dict[int, list[int]]) -> None:
        """Add the records that were not done, one by one."""
        rows = exact.Rows(self._typed)
        path = self._folder / "exact.ndjson"
        before = self.exact
        with path.open("wb") as file:
            for place, one in enumerate(objects):
                if done.get(place) == []:
                    continue
                numbers = set(done.get(place, ()))
                lines = [line for line in self._lines(one) if not numbers or _number(line) not in numbers]
                file.writelines(map(exact.encode, rows.of(lines)))
                self.exact += len(lines)
        self.faults += rows.faults
        self.records += self.exact - before
        if self.exact > before:
            columns = ", ".join(f"{text_sql(name)}: '{kind}'" for name, kind in schema(self._typed).items())
            self._connection.execute(
                f"INSERT INTO {TABLE} BY NAME SELECT * FROM read_json({text_sql(str(path))}, columns = {{{columns}}}, "
                "format = 'newline_delimited', maximum_object_size = 67108864)"
            )
        path.unlink()

    def _lines(self, one: Object) -> list[raw.Line]:
        return raw.lines(self._bucket.get(one.key))

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._connection.execute(sql).fetchall()
        return found


def _source(name: raw.Name) -> regular.Source | None:
    try:
        first, last = parse_sequence_number(name.first), parse_sequence_number(name.last)
    except UsageError:
        return None
    same = (first.shard_created_s, first.shard) == (last.shard_created_s, last.shard)
    if not same or last.number > regular.NUMBER_MAX or name.shard != f"shardId-{first.shard:012d}":
        return None
    return regular.Source(name.stream, first.shard, first.shard_created_s)


def _number(line: raw.Line) -> int:
    return parse_sequence_number(line.seq).number


def _shapes(content: bytes) -> Iterator[regular.Shape]:
    """Yield the shapes of some lines, spread over an object."""
    step = max(1, len(content) // SAMPLED)
    for at in range(0, len(content), step):
        start = content.rfind(b"\n", 0, at) + 1
        line = content[start : content.find(b"\n", at)]
        if len(line) < 65536 and (shape := regular.shape_of(line.decode())) is not None:
            yield shape
