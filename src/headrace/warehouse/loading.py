"""Loads: files of the archive and of reports into the tables, each once, whatever ends a load and when.

What is loaded stands in `internal.loads`, by the files' keys, and is written in the same transaction as the rows. An
event whose identity is there already is not loaded again: so a file that was merged from others adds only what they
did not have, and a copy in an `unchecked` file adds nothing. Reports' rows are replaced by period.
"""

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import msgspec

from headrace.errors import Conflict, HeadraceError, UsageError
from headrace.json_members import KEY, VALUE, members
from headrace.warehouse import tables
from headrace.warehouse.engine import Engine, Session, readings_view, text
from headrace.warehouse.tables import BILLS, DAILY, DEVICES, EVENTS, HOURLY, READINGS, quoted

_IDENTITY = "device_id, time, id"
_KEYS_OF_DAY = "events/dt={}/"
_ERASED_FROM = (EVENTS, HOURLY, DAILY, DEVICES)


class Loaded(msgspec.Struct):
    """What is loaded: by table the keys of files, and what tells one content of a key from another."""

    generation: int
    tables: dict[str, dict[str, str]]


class EventsFile(msgspec.Struct):
    """A compacted file: its key and day, where a copy of it is, the readings that have a column in it."""

    key: str
    day: str
    path: str
    typed: tuple[str, ...]
    unchecked: bool = False


class EventsLoad(msgspec.Struct):
    """New files of some days, loaded together; `present` are the keys of all files that each of the days now has."""

    generation: int
    files: list[EventsFile]
    present: dict[str, list[str]]


class Period(msgspec.Struct):
    """A report's object, or (without a path) one that is gone: its period's rows are replaced. `first` is a day."""

    key: str
    mark: str
    first: str
    path: str | None


class RowsLoad(msgspec.Struct):
    """Periods of a report, replaced together."""

    generation: int
    table: str
    periods: list[Period]


class DevicesLoad(msgspec.Struct):
    """All devices, as NDJSON whose values are texts or null."""

    generation: int
    mark: str
    path: str


class Loading:
    """Loads into one engine, one load at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()

    def loaded(self, readings: Sequence[str]) -> Loaded:
        """Return what is loaded, having made a column for each of these readings."""
        with self._lock, self._engine.session() as session:
            self._add_columns(session, readings)
            found: dict[str, dict[str, str]] = {}
            for table, key, mark in session.run("SELECT table_name, key, mark FROM internal.loads").fetchall():
                found.setdefault(table, {})[key] = mark
            return Loaded(_generation(session), found)

    def events(self, load: EventsLoad) -> int:
        """Load new files; return how many events were new. Raises Conflict if something was erased since."""
        with self._lock, self._engine.session() as session:
            for file in load.files:
                self._add_columns(session, file.typed)
            with session.transaction():
                _check(session, load.generation)
                for day, keys in load.present.items():
                    _forget_others(session, day, keys)
                done = {
                    row[0]
                    for row in session.run("SELECT key FROM internal.loads WHERE table_name = 'events'").fetchall()
                }
                columns = _columns(session)
                new = [file for file in load.files if file.key not in done]
                return sum(_insert_events(session, alike, columns) for alike in _alike(new))

    def rows(self, load: RowsLoad) -> int:
        """Replace periods' rows of a report; return how many there are now. Raises as `events`."""
        if load.table not in (HOURLY, DAILY, BILLS):
            raise UsageError(f"{load.table} is not loaded from a report.")
        with self._lock, self._engine.session() as session, session.transaction():
            _check(session, load.generation)
            _remove_periods(session, load.table, load.periods)
            found = {period.key: period for period in load.periods if period.path is not None}
            if not found:
                return 0
            names = ", ".join(map(quoted, tables.tables()[load.table].names))
            source = _parquet([str(period.path) for period in found.values()])
            rows = _counted(session, f"INSERT INTO {load.table} ({names}) SELECT {names} FROM {source}")
            _note(session, load.table, {key: period.mark for key, period in found.items()})
            return rows

    def devices(self, load: DevicesLoad) -> int:
        """Replace all devices; return how many there are now. Raises as `events`."""
        columns = tables.tables()[DEVICES].columns
        names = ", ".join(each.name for each in columns)
        texts = ", ".join(f"{each.name}: 'VARCHAR'" for each in columns)
        values = ", ".join(f"CAST({each.name} AS {each.type})" for each in columns)
        source = f"read_json({text(load.path)}, format = 'newline_delimited', columns = {{{texts}}})"
        with self._lock, self._engine.session() as session, session.transaction():
            _check(session, load.generation)
            session.run(f"DELETE FROM {DEVICES}")
            session.run("DELETE FROM internal.loads WHERE table_name = ?", [DEVICES])
            rows = _counted(session, f"INSERT INTO {DEVICES} ({names}) SELECT {values} FROM {source}")
            _note(session, DEVICES, {DEVICES: load.mark})
            return rows

    def erase(self, device: str) -> dict[str, int]:
        """Delete all rows of a device but for bills; return how many by table. Loads under way begin again."""
        with self._lock, self._engine.session() as session:
            with session.transaction():
                count = f"SELECT count(*) FROM {READINGS} WHERE device_id = ?"
                deleted = {READINGS: int(session.run(count, [device]).fetchall()[0][0])}
                for table in _ERASED_FROM:
                    deleted[table] = _counted(session, f"DELETE FROM {table} WHERE device_id = ?", [device])
                session.run("DELETE FROM internal.numbers WHERE device_id = ?", [device])
                session.run("INSERT INTO internal.erased SELECT count(*) + 1 FROM internal.erased")
            _try(lambda: session.run(f"CHECKPOINT {tables.DATABASE}"))  # so that the file does not keep them
            return deleted

    def copy(self, path: str) -> None:
        """Write a copy of the whole database, as it is at one moment, to a new file in `incoming/`."""
        with self._lock, self._engine.session() as session:
            session.run(f"ATTACH {text(path)} AS copied")
            try:
                session.run(f"COPY FROM DATABASE {tables.DATABASE} TO copied")
            finally:
                session.run("DETACH copied")

    def _add_columns(self, session: Session, readings: Sequence[str]) -> None:
        """Give each reading its column in `events`, and `readings` its part; of names that agree the first has it."""
        known = _columns(session)
        new = {column: reading for column, reading in tables.with_columns(readings).items() if column not in known}
        if not new:
            return
        with session.transaction():
            for column, reading in new.items():
                session.run(tables.add_column_sql(reading))
                session.run("INSERT INTO internal.columns VALUES (?, ?)", [column, reading])
            session.run(readings_view({**known, **new}))
        self._engine.schema_changed()


def _alike(files: Sequence[EventsFile]) -> Iterator[list[EventsFile]]:
    """Yield files in groups that are read as one relation; an unchecked file is a group of its own."""
    for _, group in itertools.groupby(files, lambda file: (file.typed, file.key if file.unchecked else "")):
        yield list(group)


def _insert_events(session: Session, files: list[EventsFile], columns: dict[str, str]) -> int:
    """Insert the rows of files that are alike, those whose identity is not there yet."""
    in_file = files[0].typed
    source = _parquet([file.path for file in files])
    within = _on(min(file.day for file in files), max(file.day for file in files))
    if session.run(f"SELECT 1 FROM events WHERE {within} LIMIT 1").fetchall():
        there = f"SELECT {_IDENTITY} FROM events WHERE {within}"
        source = f"(SELECT * FROM {source} ANTI JOIN ({there}) USING ({_IDENTITY}))"
    typed = {column: name for column, name in columns.items() if name in in_file}
    # The numbers first: afterwards the rows would not be new any more.
    session.run(f"INSERT INTO internal.numbers {_numbers(source, in_file, typed)}")
    own = tables.tables()[EVENTS].names
    into = ", ".join(map(quoted, (*own, *typed)))
    values = ", ".join(map(quoted, (*own, *typed.values())))
    rows = _counted(session, f"INSERT INTO events ({into}) SELECT {values} FROM {source}")
    _note(session, EVENTS, {file.key: "" for file in files})
    return rows


def _numbers(source: str, in_file: Sequence[str], typed: dict[str, str]) -> str:
    """Return the SELECT of the numbers that get no column of `events`."""
    value = f"CAST({VALUE} AS VARCHAR)"
    has_column = "".join(f" WHEN {text(name)} THEN {quoted(name)} IS NOT NULL" for name in in_file)
    skipped = f" AND NOT CASE {KEY}{has_column} ELSE false END" if has_column else ""
    parts = [
        f"SELECT device_id, time, id, arrived_at, {KEY}, TRY_CAST({value} AS DOUBLE) "
        f"FROM (SELECT *, {members('readings')} FROM {source} WHERE readings IS NOT NULL) AS members "
        f"WHERE {value} >= '-' AND {value} < ':' AND isfinite(TRY_CAST({value} AS DOUBLE)){skipped}"
    ]
    parts += [
        f"SELECT device_id, time, id, arrived_at, {text(name)}, {quoted(name)} FROM {source} "
        f"WHERE {quoted(name)} IS NOT NULL"
        for name in in_file
        if name not in typed.values()
    ]
    return " UNION ALL ".join(parts)


def _columns(session: Session) -> dict[str, str]:
    return dict(session.run("SELECT name, reading FROM internal.columns ORDER BY rowid").fetchall())


def _forget_others(session: Session, day: str, keys: Sequence[str]) -> None:
    """Forget the day's files that have been replaced: what they held is in the others."""
    present = ", ".join(map(text, keys)) or "NULL"
    sql = f"DELETE FROM internal.loads WHERE table_name = 'events' AND starts_with(key, ?) AND key NOT IN ({present})"
    session.run(sql, [_KEYS_OF_DAY.format(day)])


def _remove_periods(session: Session, table: str, periods: Sequence[Period]) -> None:
    """Delete the rows that these periods' objects have given when they were loaded before."""
    keys = ", ".join(text(period.key) for period in periods) or "NULL"
    sql = f"DELETE FROM internal.loads WHERE table_name = ? AND key IN ({keys}) RETURNING key"
    loaded = {row[0] for row in session.run(sql, [table]).fetchall()}
    for period in periods:
        if period.key not in loaded:
            continue
        if table == BILLS:
            session.run(f"DELETE FROM {table} WHERE month = ?", [date.fromisoformat(period.first)])
        else:
            session.run(f"DELETE FROM {table} WHERE {_on(period.first, period.first, tables.PERIOD_START)}")


def _on(first: str, last: str, column: str = "time") -> str:
    """Return the condition for days, both included."""
    begin = f"{column} >= TIMESTAMP '{date.fromisoformat(first)} 00:00:00'"
    if (end := date.fromisoformat(last)) == date.max:
        return begin
    return f"{begin} AND {column} < TIMESTAMP '{end + timedelta(days=1)} 00:00:00'"


def _parquet(paths: Sequence[str]) -> str:
    return f"read_parquet([{', '.join(map(text, paths))}], hive_partitioning = false)"


def _note(session: Session, table: str, marks: Mapping[str, str]) -> None:
    values = ", ".join(f"({text(table)}, {text(key)}, {text(mark)})" for key, mark in marks.items())
    session.run(f"INSERT INTO internal.loads VALUES {values}")


def _generation(session: Session) -> int:
    return int(session.run("SELECT count(*) FROM internal.erased").fetchall()[0][0])


def _check(session: Session, generation: int) -> None:
    if _generation(session) != generation:
        raise Conflict("A device was erased since this load began.", "It begins again by itself.")


def _counted(session: Session, sql: str, parameters: Sequence[object] = ()) -> int:
    session.run(sql, parameters)
    return int(session.fetch(1)[0][0])


def _try(work: Callable[[], Any]) -> None:
    try:
        work()
    except HeadraceError:
        return  # others are reading: a later checkpoint does it
