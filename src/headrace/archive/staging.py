"""Raw objects to rows in a table of DuckDB: by SQL what is regular (`regular.py`), the rest exactly (`exact.py`)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import zstandard

from headrace.archive import exact, raw, regular
from headrace.archive.base import Bucket
from headrace.archive.columns import OBJECT, REGULAR, name_sql, schema, text_sql, texts_sql
from headrace.archive.erasures import Erasure, kept_sql
from headrace.archive.holding import held
from headrace.errors import InvalidObjectState, NotFound, UsageError
from headrace.record import parse_sequence_number

TABLE = "staged"
SHAPES_MAX = 8  # of one shard's lines in one go
OBJECTS_AT_ONCE = 100  # read by one statement: DuckDB holds a buffer of each
SAMPLED = 20  # lines of an object, at most
DENSE = 100  # so many lines, of the first objects of a statement; of the others, where they are small, fewer
APART_BYTES = 16 * 1024  # one line in so many: to look at one costs as much as to decode six
_LONG = "maximum_object_size = 67108864"


class Problem(NamedTuple):
    """An object that can't be used, and what to do about it; everything else goes on."""

    key: str
    problem: str
    hint: str

    def __str__(self) -> str:
        return f"{self.key}: {self.problem}\n  {self.hint}"


class Object(NamedTuple):
    """A raw object that was read and is as it was put; no source: its lines are not numbered as ours are."""

    key: str
    path: str
    name: raw.Name
    source: regular.Source | None
    has_backslash: bool


class Staging:
    """Fills the view `staged` of a connection, whose columns are those of compacted files; `folder` is for files.

    `shapes_max` is how many shapes SQL is made for; with 0 everything is decoded exactly, one by one. Events that were
    `erased` are none of the view's.
    """

    def __init__(
        self,
        connection: Any,
        bucket: Bucket,
        folder: Path,
        typed: tuple[str, ...],
        *,
        shapes_max: int = SHAPES_MAX,
        erased: Sequence[Erasure] = (),
    ) -> None:
        self._connection = connection
        self._bucket = bucket
        self._folder = folder
        self._typed = typed
        self._shapes_max = shapes_max
        self.problems: list[Problem] = []
        self.staged: list[Object] = []
        self.cold: list[InvalidObjectState] = []  # what some of the problems are
        self.removed = False  # whether one of the objects was no longer there
        self.records = 0
        self.faults = 0
        self.exact = 0  # records that SQL could not do
        self._before = 0  # objects added by earlier statements
        columns = ", ".join(f"{name_sql(name)} {kind}" for name, kind in schema(typed).items())
        connection.execute(f"CREATE OR REPLACE TABLE decoded ({columns}, {REGULAR} BOOLEAN, {OBJECT} BIGINT)")
        connection.execute(
            f"CREATE OR REPLACE VIEW {TABLE} AS SELECT * EXCLUDE ({REGULAR}, {OBJECT}) FROM decoded "
            f"WHERE {REGULAR} AND {kept_sql(erased)}"
        )

    def add(self, keys: Iterable[str]) -> None:
        """Add the events of raw objects; what can't be used is left out and noted among `problems`."""
        left = iter(keys)
        while some := list(islice(left, OBJECTS_AT_ONCE)):
            self._add(some)

    def _add(self, keys: Iterable[str]) -> None:
        groups: dict[tuple[bool, bool], list[Object]] = defaultdict(list)
        shapes: dict[tuple[bool, bool], Counter[regular.Shape]] = defaultdict(Counter)
        for key in keys:
            found = self._checked(key)
            if found is not None:
                one, content = found
                group = (one.source is not None, one.has_backslash)
                groups[group].append(one)
                apart = 1 if shapes[group].total() < DENSE else APART_BYTES
                shapes[group].update(_shapes(content, apart) if one.source else ())
        for group, objects in groups.items():
            usual = [shape for shape, _ in shapes[group].most_common(self._shapes_max)]
            done = self._add_regular(objects, usual) if usual else {}
            self._add_rest(objects, done)
            self.staged += objects
            self._before += len(objects)

    @property
    def events(self) -> int:
        """Return how many rows there are."""
        return int(self._ask(f"SELECT count(*) FROM {TABLE}")[0][0])

    def cluster(self) -> None:
        """Put the rows in the order of days: those of one are then found without looking at all."""
        self._connection.execute(f"CREATE TABLE ordered AS FROM decoded WHERE {REGULAR} ORDER BY CAST(time AS DATE)")
        self._connection.execute("DROP TABLE decoded")
        self._connection.execute("ALTER TABLE ordered RENAME TO decoded")

    def _checked(self, key: str) -> tuple[Object, bytes] | None:
        """Return an object that is whole, with its content; else note what is wrong."""
        name = raw.parse_key(key)
        if name is None:
            self._note(key, "is no raw object by its name", "Move it out of raw/: nothing else belongs there.")
            return None
        try:
            path = held(self._bucket.location(key), self._folder / "raw")
            body = self._bucket.get(key)
        except (NotFound, FileNotFoundError):
            self.removed = True
            self._note(key, "was removed meanwhile", "Run the compaction again.")
            return None
        except InvalidObjectState as error:
            self.cold.append(error)
            self._note(key, "is cold, so its events are neither compacted nor read", error.hint)
            return None
        if not raw.is_whole(name, body):
            self._note(
                key,
                "was cut short or edited: its bytes are not those that its name tells",
                "Put it back from a backup under the same name; without one, move it out of raw/ to go on without it.",
            )
            return None
        content = zstandard.ZstdDecompressor().decompress(body)
        if not raw.is_known(name, content):
            problem = f"is not of version {raw.VERSION}, the only one that this Headrace knows"
            self._note(key, problem, "Use the Headrace that wrote it, or a newer one.")
            return None
        return Object(key, path, name, _source(name), b"\\" in content), content

    def _note(self, key: str, problem: str, hint: str) -> None:
        self.problems.append(Problem(key, problem, hint))

    def _add_regular(self, objects: Sequence[Object], shapes: Sequence[regular.Shape]) -> dict[int, list[int]]:
        """Add what is regular; return the numbers of the records done, by the object's place: none if all are."""
        sources = [one.source for one in objects if one.source is not None]
        count = regular.HEAD + max(len(shape.members) for shape in shapes) + 1
        cells = regular.cells_sql(texts_sql(one.path for one in objects), count)
        if len(shapes) > 1:
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE cells AS SELECT *, file_index FROM {cells}")
            cells = "cells"
        for shape in shapes:
            rows = regular.rows_sql(cells, shape, sources, self._typed, objects[0].has_backslash)
            placed = f"SELECT * REPLACE ({OBJECT} + {self._before} AS {OBJECT}) FROM ({rows})"
            self._connection.execute(f"INSERT INTO decoded {placed}")
        self._connection.execute("DROP TABLE IF EXISTS cells")
        mine = f"{REGULAR} AND {OBJECT} >= {self._before}"
        counts = dict(self._ask(f"SELECT {OBJECT}, count(*) FROM decoded WHERE {mine} GROUP BY {OBJECT}"))
        done: dict[int, list[int]] = {}
        for place, one in enumerate(objects):
            found = counts.get(self._before + place, 0)
            self.records += found
            if found == one.name.records:
                done[place] = []
            elif found:
                numbers = self._ask(f"SELECT number FROM decoded WHERE {REGULAR} AND {OBJECT} = {self._before + place}")
                done[place] = [number for (number,) in numbers]
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
            source = f"read_json({text_sql(str(path))}, columns = {{{columns}}}, format = 'newline_delimited', {_LONG})"
            self._connection.execute(f"INSERT INTO decoded BY NAME SELECT *, true AS {REGULAR} FROM {source}")
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


def _shapes(content: bytes, apart: int) -> Iterator[regular.Shape]:
    """Yield the shapes of some lines, spread over an object, so many bytes apart at least."""
    step = max(apart, len(content) // SAMPLED)
    for at in range(0, len(content), step):
        start = content.rfind(b"\n", 0, at) + 1
        line = content[start : content.find(b"\n", at)]
        if len(line) < 65536 and (shape := regular.shape_of(line.decode())) is not None:
            yield shape
