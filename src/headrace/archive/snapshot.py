"""What the archive holds at one moment, raw and compacted, each identity once, as Parquet files that any engine reads.

    with snapshot.open(bucket, folder, readings=names) as taken:
        taken.relation(connection)      # DuckDB: the views `events` and `readings`
        spark.read.option("mergeSchema", "true").parquet(*taken.files)

The raw objects that are not compacted are listed first and the catalogue is read then: what is compacted in between is
seen twice, never not at all, and what is seen twice is known by its identity. Their events become one temporary file,
as do those of `unchecked` files that are nowhere else. All files stay readable until the context ends, whatever
compaction, rules and restores do meanwhile: the archive's own are held by links.
"""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from headrace import disk
from headrace.archive import catalogue, columns, compaction, erasures
from headrace.archive.base import Bucket
from headrace.archive.catalogue import FILES, File, Range, day_of
from headrace.archive.columns import name_sql, names_sql, schema, text_sql
from headrace.archive.engine import DEFAULT, Limits, connected, is_damaged, may_be_damage, parquet_sql
from headrace.archive.erasures import Erasure
from headrace.archive.holding import held
from headrace.archive.sorting import copy_sorted, days_of, narrowed, on_day_sql
from headrace.archive.staging import Problem, Staging
from headrace.errors import InvalidObjectState, NotFound, StorageError, Unavailable
from headrace.json_members import KEY, VALUE, members

_FOLDER = "snapshots"
_HELD = "held"  # has links to the archive's own files
TRIES = 3
_IDENTITY = names_sql(columns.IDENTITY)
_PUT_BACK = "Put it back from a backup under the same name; `headrace doctor` says what to do without one."
ALL = Range()


class _Removed(Exception):
    """An object was deleted or moved after it was listed."""


class Snapshot:
    """The files of a snapshot (at least one), and which events of them are meant (`wanted`).

    `days` has them by day of event time (`YYYY-MM-DD`); a name never stands for another content, so a day whose files
    have the same names has not changed. `typed` names the readings that have a column, maybe in some files only; `cold`
    the keys that were left out because they are cold, `problems` the raw objects that could not be read.
    """

    def __init__(
        self,
        days: Mapping[str, Sequence[str]],
        wanted: Range,
        typed: tuple[str, ...],
        missing: Collection[str],
        is_uniform: bool,
        cold: Sequence[str],
        problems: Sequence[Problem],
    ) -> None:
        self.days = {day: tuple(files) for day, files in days.items()}
        self.files = tuple(dict.fromkeys(path for files in self.days.values() for path in files))
        self.wanted = wanted
        self.typed = typed
        self.cold = tuple(cold)
        self.problems = tuple(problems)
        self._missing = missing
        self._is_uniform = is_uniform

    def sql(self) -> str:
        """Return a SELECT of the events in DuckDB's SQL, with the columns of `columns.schema(typed)`."""
        names = ", ".join(
            f"CAST(NULL AS DOUBLE) AS {name_sql(name)}" if name in self._missing else name_sql(name)
            for name in schema(self.typed)
        )
        return f"SELECT {names} FROM {parquet_sql(list(self.files), by_name=not self._is_uniform)}{_where(self.wanted)}"

    def relation(self, connection: Any) -> None:
        """Create the temporary views `events` and `readings` on a DuckDB connection.

        `readings` has a row a number that an event says: device_id, time, id, reading, value (DOUBLE), arrived_at.
        """
        connection.execute(f"CREATE OR REPLACE TEMP VIEW events AS {self.sql()}")
        connection.execute(f"CREATE OR REPLACE TEMP VIEW readings AS {readings_sql(self.typed)}")


def readings_sql(typed: Sequence[str]) -> str:
    """Return a SELECT over `events` of all readings, in DuckDB's SQL; whether one has a column makes no difference."""
    parts = [
        f"SELECT device_id, time, id, {text_sql(name)} AS reading, {name_sql(name)} AS value, arrived_at "
        f"FROM events WHERE {name_sql(name)} IS NOT NULL"
        for name in typed
    ]
    known = "".join(f" WHEN {text_sql(name)} THEN {name_sql(name)} IS NOT NULL" for name in typed)
    has_column = f"CASE {KEY}{known} ELSE false END" if known else "false"
    text = f"CAST({VALUE} AS VARCHAR)"
    parts.append(
        f"SELECT device_id, time, id, {KEY}, TRY_CAST({text} AS DOUBLE), arrived_at "
        f"FROM (SELECT *, {members('readings')} FROM events) AS members "
        f"WHERE {text} >= '-' AND {text} < ':' AND isfinite(TRY_CAST({text} AS DOUBLE)) AND NOT {has_column}"
    )
    return " UNION ALL ".join(parts)


def is_lasting(path: str) -> bool:
    """Return whether a snapshot's file is the archive's own: its name then never stands for another content."""
    folder = Path(path).parent
    return folder.name == _HELD or folder.parent.name != _FOLDER


@contextlib.contextmanager
def open(
    bucket: Bucket,
    folder: Path,
    *,
    readings: Iterable[str],
    wanted: Range = ALL,
    leave_out_cold: bool = False,
    limits: Limits = DEFAULT,
) -> Iterator[Snapshot]:
    """Take a snapshot of the events that are wanted; `folder` and `readings` as for `compaction.compact`.

    Raises InvalidObjectState if what may hold such events is cold, unless what is cold is to be left out,
    NotFound if one is in the catalogue and not in the bucket, StorageError if it was cut short, or proves to be damaged
    when it is read in the context. Raw objects that can't be read are in `problems`.
    """
    with disk.work_folder(folder / _FOLDER) as work:
        taking = _Taking(bucket, folder, work, columns.typed(readings), wanted, leave_out_cold, limits)
        try:
            yield taking.take()
        except Exception as error:
            if may_be_damage(error) and (file := taking.damaged()):
                raise StorageError(f"{file.key} is damaged: {file.rows:,} events are missing.", _PUT_BACK) from error
            raise


class _Taking:
    def __init__(
        self,
        bucket: Bucket,
        folder: Path,
        work: Path,
        typed: tuple[str, ...],
        wanted: Range,
        leave_out_cold: bool,
        limits: Limits,
    ) -> None:
        self._bucket = bucket
        self._folder = folder
        self._catalogue = catalogue.of(bucket, folder)
        self._work = work
        self._typed = typed
        self._wanted = wanted
        self._leave_out_cold = leave_out_cold
        self._limits = limits
        self._cold: dict[str, InvalidObjectState] = {}
        self._paths: dict[File, str] = {}
        self._erased: tuple[Erasure, ...] = ()

    def take(self) -> Snapshot:
        """Take it, and take it again if an object went before it could be read."""
        for _ in range(TRIES):
            self._cold = {}
            try:
                return self._take()
            except _Removed:
                continue
        raise Unavailable("Objects of the archive go faster than they can be read.", "Try again.")

    def damaged(self) -> File | None:
        """Return a file of the snapshot that is not what was written; it reads them until it finds one."""
        ours = ((file, path) for file, path in self._paths.items() if "://" not in path)
        with connected(self._work, self._limits) as connection:
            return next((file for file, path in ours if is_damaged(connection, path, file)), None)

    def _take(self) -> Snapshot:
        self._erased = erasures.read(self._bucket)
        raw = [info.key for info in compaction.pending(self._bucket, self._folder)]  # before the catalogue
        days = [day for day in self._catalogue.days() if self._wanted.wants_day(day)]
        files = [file for day in days for file in self._catalogue.manifest(day).files if self._wanted.wants(file)]
        # A file that was cold when something of it was erased may hold it still: it is looked through as well.
        cut = {key for each in self._erased for key in each.cold}
        self._paths = paths = {file: path for file in files if (path := self._path(file))}
        if self._cold and not self._leave_out_cold:
            raise _all_cold(self._cold)
        checked = {file: path for file, path in paths.items() if not file.unchecked and file.key not in cut}
        unchecked = {file: path for file, path in paths.items() if file not in checked}
        typed = columns.typed((*self._typed, *(name for file in files for name in file.typed)))
        has_rest = bool(raw or unchecked or not checked)
        found: dict[str, list[str]] = {}
        for file, path in checked.items():
            found.setdefault(day_of(file.key), []).append(path)
        is_uniform = len({file.typed for file in checked} | ({typed} if has_rest else set())) == 1
        missing = set() if has_rest else {name for name in typed if not any(name in file.typed for file in checked)}
        problems: list[Problem] = []
        if has_rest:
            for day, path in self._rest(raw, checked, list(unchecked.values()), typed, problems).items():
                found.setdefault(day, []).append(path)
        return Snapshot(found, self._wanted, typed, missing, is_uniform, list(self._cold), problems)

    def _path(self, file: File) -> str | None:
        """Return where a file is; None where it is cold, and that is noted."""
        try:
            path = held(self._bucket.location(file.key), self._work / _HELD)
        except FileNotFoundError:
            raise _Removed from None
        except InvalidObjectState as error:
            self._cold[file.key] = error
            return None
        except NotFound as error:
            raise NotFound(
                f"{file.key} is in the catalogue, and not in the bucket: its {file.rows:,} events are missing.",
                _PUT_BACK,
            ) from error
        size = file.bytes if "://" in path else Path(path).stat().st_size
        if size != file.bytes:
            raise StorageError(
                f"{file.key} has {size:,} bytes, and not the {file.bytes:,} written: {file.rows:,} events are missing.",
                _PUT_BACK,
            )
        return path

    def _rest(
        self,
        raw: Sequence[str],
        checked: Mapping[File, str],
        unchecked: Sequence[str],
        typed: tuple[str, ...],
        problems: list[Problem],
    ) -> dict[str, str]:
        """Write the events that are in no checked file to files of their own, one a day; return where they are.

        There is one at least, of 1970 if there are no events.
        """
        where = _where(self._wanted)
        with connected(self._work, self._limits) as connection:
            staged = Staging(
                connection,
                self._bucket,
                self._work,
                typed,
                erased=self._erased,
                batch_bytes=self._limits.batch_bytes,
            )
            staged.add(raw)
            if staged.removed:
                raise _Removed
            if staged.cold and not self._leave_out_cold:
                raise staged.cold[0]
            problems += staged.problems
            select = f"SELECT * FROM ({staged.of_all()}){where}"
            if unchecked:
                kept = f"(FROM {parquet_sql(unchecked)} WHERE {erasures.kept_sql(self._erased)})"
                older = f"SELECT *, 0 AS {columns.PART} FROM {kept}{where}"
                select = f"{older} UNION ALL BY NAME SELECT *, 1 AS {columns.PART} FROM ({select})"
            connection.execute(f"CREATE TEMP TABLE rest AS {select}")
            connection.execute(f"ALTER TABLE rest ADD COLUMN IF NOT EXISTS {columns.PART} INTEGER")
            (least, most) = connection.execute("SELECT epoch_us(min(time)), epoch_us(max(time)) FROM rest").fetchone()
            near = [place for file, place in checked.items() if least is not None and _overlaps(file, least, most)]
            rows = "rest"
            if near:
                rows = f"(SELECT * FROM rest ANTI JOIN (FROM {parquet_sql(near)}{where}) USING ({_IDENTITY}))"
            connection.execute(f"CREATE TEMP TABLE due AS SELECT * FROM {rows}")
            paths = {}
            for day in days_of(connection, "due") or ["1970-01-01"]:
                path = paths[day] = str(self._work / f"{uuid4().hex}.parquet")
                select = f"(SELECT * FROM due WHERE {on_day_sql(day)})"
                copy_sorted(connection, narrowed(select), tuple(schema(typed)), Path(path))
        return paths


def _all_cold(errors: Mapping[str, InvalidObjectState]) -> InvalidObjectState:
    """Return one error for all files that are cold, by their keys."""
    if len(errors) == 1:
        return next(iter(errors.values()))
    first, last = day_of(min(errors)), day_of(max(errors))
    return InvalidObjectState(
        f"{len(errors):,} files of {first} to {last} are cold and can't be read until they are restored.",
        f"Restore them first, by day or month: headrace archive restore --prefix {FILES}dt={first[:7]}",
    )


def _overlaps(file: File, least_us: int, most_us: int) -> bool:
    return file.first_time <= most_us and least_us <= file.last_time


def _where(wanted: Range) -> str:
    conditions = []
    if wanted.start_us is not None:
        conditions.append(f"time >= make_timestamp({wanted.start_us})")
    if wanted.end_us is not None:
        conditions.append(f"time < make_timestamp({wanted.end_us})")
    if wanted.device is not None:
        conditions.append(f"device_id = {text_sql(wanted.device)}")
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""
