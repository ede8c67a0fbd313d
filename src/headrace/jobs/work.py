"""The work of one attempt, in the job's own process: what to compute, with which engine, and where it goes."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from headrace import disk
from headrace.archive.base import Bucket
from headrace.billing import month
from headrace.billing.files import Book
from headrace.errors import Conflict, DataDirectoryError, UsageError
from headrace.jobs import days, output, report, sources, views
from headrace.jobs.base import DUCKDB, ENGINES, SPARK, Engine, Relation
from headrace.jobs.history import Folder
from headrace.jobs.report import Report, Value
from headrace.jobs.run import Run
from headrace.jobs.sources import Archived
from headrace.plural import counted
from headrace.system import JobSettings
from headrace.table.base import Table

PATIENCE_S = 300.0  # for another job that is at work

Say = Callable[[str], None]


class Places(NamedTuple):
    """Where a report reads and writes. `archived` holds the archive still while it is open."""

    archived: Callable[[], AbstractContextManager[Archived]]
    devices: Table | None
    failures: Sequence[Bucket]
    archive: Bucket
    events: Table | None
    book: Callable[[], Book] = Book


def run_report(found: Report, run: Run, folder: Folder, places: Places, today: date, say: Say) -> dict[str, Any]:
    """Compute what changed of a report and put it in place; return what was done. Raises HeadraceError.

    The caller holds the job's lock. An output that an earlier attempt has decided on is finished first.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(folder.clear_work)  # at last, the engine being closed
        folder.clear_work()
        work = folder.work / f"{run.id}-{len(run.attempts)}"
        (work / "tmp").mkdir(parents=True)
        engine = _Lazy(lambda: stack.enter_context(_engine(run.settings, work / "tmp")))
        items = 0
        if (decided := folder.committed()) is not None:
            say(f"finishing what {decided.parent.name} has computed")
            items += _finish(decided, folder, places, engine, run.settings)
        archived = stack.enter_context(places.archived())
        book = places.book() if found.bills else sources.NO_BOOK
        seen, computed = chosen(found, run, lambda name: _seen(folder.of(name)), archived, today, book)
        for day in sorted(archived.cold):
            say(f"{day} is left as it is: some of its files are cold")
        if computed == []:
            say("nothing has changed" + (f" in {found.uses}" if found.uses else ""))
            return {found.unit: 0, "items": items}
        say(f"computing {found.name}" + (f", {len(computed)} {found.unit}" if computed is not None else ""))
        prepare(engine(), found, run.settings, computed, archived, places, book, work / "tmp")
        engine().write(found.sql, work / "out", order=found.keys, day=report.START if found.periodic else None)
        output.check_days(found, computed, (path.name for path in (work / "out").glob("dt=*")))
        output.commit(work, found.name, computed, found.items, seen)
        items += _finish(work / output.PUBLICATION, folder, places, engine, run.settings)
        say(f"done, {counted(items, 'item')} written")
        return {found.unit: len(computed or ()), "items": items}


def chosen(
    found: Report, run: Run, seen: Callable[[str], days.Seen], archived: Archived, today: date, book: Book
) -> tuple[days.Seen, list[date] | None]:
    """Return what the report will have been computed from, and the periods to compute (None: it knows none).

    A period is told by its first day; `seen` tells what a report was last computed from.
    """
    text = f"{found.sql}\n{_parameters(found, run.settings)}" + (f"\n{book.digest}" if found.bills else "")
    sql = sha256(text.encode()).hexdigest()[:16]
    if not found.periodic:
        return days.Seen(sql), None
    first = date.fromisoformat(run.first) if run.first else None
    last = date.fromisoformat(run.last) if run.last else None
    before = seen(found.name)
    kept = before.days if before.sql == sql else {}
    if found.uses is None:
        present = {day: held.mark for day, held in archived.days.items() if day not in archived.cold}
        computed = days.chosen(present, days.changed(present, before, sql), first, last)
        return days.Seen(sql, kept | {day.isoformat(): present[day] for day in computed}), computed
    used = seen(found.uses)
    present = {date.fromisoformat(day): mark for day, mark in used.days.items()}
    if not present and found.uses not in views.USED:
        return before, []
    recent = days.recent(today)
    if found.monthly:
        first, last = (day.replace(day=1) if day else None for day in (first, last))
        present = days.months(present)
        recent = days.within(recent[-1], today) + (days.within(first, last) if first and last else [])
    different = days.changed(present, before, sql)
    since = min(different, default=None)
    computed = days.chosen({*present, *recent}, set(recent), first, last, since)
    # Days outside a range that was asked for still follow what has changed in it: the next run computes them.
    marks = {day.isoformat(): mark for day, mark in present.items()}
    return (days.Seen(sql, marks) if first is last is None else before), computed


def prepare(
    engine: Engine,
    found: Report,
    settings: JobSettings,
    computed: list[date] | None,
    archived: Archived,
    places: Places,
    book: Book,
    temporary: Path,
) -> None:
    """Make what a report is computed from known to an engine; the folder `temporary` takes the small relations."""
    read = days.of_months(computed) if computed is not None and found.monthly else computed
    wanted = archived.days.keys() if read is None else archived.days.keys() & set(read)
    files = sorted({path for day in wanted for path in archived.days[day].files})
    engine.relation(Relation(views.ARCHIVED, archived.columns, files))
    ends = month.following if found.monthly else sources.tomorrow
    kept = sources.kept_usage(places.archive) if found.bills else ()
    for relation in sources.relations(temporary, computed, places.devices, places.failures, book, ends, kept):
        engine.relation(relation)
    if found.uses is not None:
        keys = [info.key for info in places.archive.list(f"reports/{found.uses}/")]
        columns = None if keys else views.USED.get(found.uses)
        if not keys and columns is None:
            raise UsageError(f"{found.uses} has no rows yet.", f"Run it first: headrace jobs run {found.uses}")
        engine.relation(Relation(found.uses, columns, [places.archive.location(key) for key in keys]))
    engine.view("parameters", f"SELECT {_parameters(found, settings)}")
    views.define(engine, tuple(archived.columns), archived.typed, read, "month" if found.monthly else "day")


def _parameters(found: Report, settings: JobSettings) -> str:
    """Return the values of the report's parameters as a list of columns."""
    unknown = settings.parameters.keys() - found.parameters.keys()
    if unknown:
        raise UsageError(
            f"{found.name} has no parameter {min(unknown)}.", f"It has: {', '.join(found.parameters) or 'none'}."
        )
    values = {**found.parameters, **settings.parameters}
    for name, default in found.parameters.items():
        if isinstance(values[name], str) is not isinstance(default, str):
            kind = "text" if isinstance(default, str) else "a number"
            raise UsageError(f"The parameter {name} is {values[name]!r}.", f"Write {kind}, such as {default!r}.")
    return ", ".join(f'{_literal(value)} AS "{name}"' for name, value in values.items()) or "1 AS nothing"


def _literal(value: Value) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"CAST({value!r} AS {'BIGINT' if isinstance(value, int) else 'DOUBLE'})"


def _finish(path: Path, folder: Folder, places: Places, engine: Callable[[], Engine], settings: JobSettings) -> int:
    return output.finish(path, folder, places.archive, places.events, engine, settings.writes_per_s)


def _seen(folder: Folder) -> days.Seen:
    """Return what the report was last computed from; where that can't be read, it is computed anew."""
    try:
        return msgspec.json.decode(folder.seen.read_bytes(), type=days.Seen)
    except (FileNotFoundError, msgspec.DecodeError):
        return days.Seen()


class _Lazy:
    """Makes an engine when it is first asked for."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        self._make = make
        self._made: Engine | None = None

    def __call__(self) -> Engine:
        if self._made is None:
            self._made = self._make()
        return self._made


@contextlib.contextmanager
def _engine(settings: JobSettings, temporary: Path) -> Iterator[Engine]:
    temporary.mkdir(parents=True, exist_ok=True)
    if settings.engine == DUCKDB:
        from headrace.jobs.duckdb import DuckDB

        engine: Engine = DuckDB(temporary, memory_mb=settings.memory_mb, spill_mb=settings.spill_mb)
    elif settings.engine == SPARK:
        from headrace.jobs.spark import Spark

        engine = Spark(temporary, memory_mb=settings.memory_mb)
    else:
        raise UsageError(f"There is no engine {settings.engine!r}.", f"Choose one of: {', '.join(ENGINES)}.")
    try:
        yield engine
    finally:
        engine.close()


@contextlib.contextmanager
def alone(folder: Folder, patience_s: float = 0.0) -> Iterator[None]:
    """Hold the job's lock: one process works on a job at a time.

    Raises Conflict where another one still does after `patience_s`.
    """
    disk.make_folder(folder.path)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(disk.locked(folder.lock, "a run of this job", patience_s))
        except DataDirectoryError:
            hint = "Wait until it has ended (headrace jobs list), then try again."
            raise Conflict(f"The job {folder.path.name} is at work.", hint) from None
        yield
