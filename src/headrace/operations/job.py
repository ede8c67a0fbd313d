"""One attempt of a job's run, as the process that the jobs process starts for it."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from headrace import clock, disk, rpc
from headrace.archive import columns, compaction, snapshot
from headrace.archive.engine import Limits
from headrace.archive.local import LocalBucket
from headrace.billing import files
from headrace.errors import HeadraceError, NotFound
from headrace.jobs import history, report, work
from headrace.jobs.run import Ended, Run
from headrace.jobs.sources import Archived, Day
from headrace.operations import bill_closing
from headrace.operations.load import load
from headrace.settings import Layout
from headrace.system import BILLS, COMPACT, LOAD, System
from headrace.table.local import LocalTable
from headrace.timekeeping import Timekeeper

NICE = 10  # what devices wait for goes first
BuiltIn = Callable[[Run, work.Say], dict[str, Any]]


def attempt(
    layout: Layout,
    system: System,
    job: str,
    run_id: str,
) -> int:
    """Do the job, leave the last word beside the run's file, and return the exit code."""
    os.nice(NICE)
    folder = history.Folder(layout.jobs, job)
    try:
        run = history.load(layout.jobs, job, run_id)
        with work.alone(folder):
            ended = Ended(result=_done(layout, system, run, folder))
    except HeadraceError as error:
        _say(str(error))
        ended = Ended(error=rpc.describe(error))
    with contextlib.suppress(HeadraceError):  # where the disk is full there is only the exit code
        disk.write_file(folder.result(run_id), msgspec.json.encode(ended))
    return 1 if ended.error else 0


def _done(layout: Layout, system: System, run: Run, folder: history.Folder) -> dict[str, Any]:
    if (other := built_in(layout, system).get(run.job)) is not None:
        return other(run, _say)
    path = report.files(Path(system.reports)).get(run.job)
    if path is None:
        raise NotFound(f"There is no job {run.job!r}.", f"Write it: {Path(system.reports) / run.job}.sql")
    today = datetime.fromtimestamp(clock.now_ms() / 1000, UTC).date()
    return work.run_report(report.load(path), run, folder, _places(layout, system), today, _say)


def bill_site(layout: Layout, system: System, compact: Callable[[], object]) -> bill_closing.Site:
    """Return where bills are computed on this machine."""
    return bill_closing.Site(
        layout.jobs,
        Path(system.reports),
        _places(layout, system),
        compact,
        is_believed=lambda: not Timekeeper(layout.clock).look().paused,
    )


def _places(layout: Layout, system: System) -> work.Places:
    tables = {table.name: LocalTable.connect(table.name, layout.table_socket) for table in system.tables}
    return work.Places(
        archived=lambda: archived(layout, system),
        devices=tables.get("devices"),
        failures=[LocalBucket(layout.buckets / name) for name in system.failures_buckets],
        archive=LocalBucket(layout.buckets / system.archive_bucket),
        events=tables.get("events"),
        book=lambda: files.load(Path(system.reports)),
    )


@contextlib.contextmanager
def archived(layout: Layout, system: System) -> Iterator[Archived]:
    """Hold the archive still and yield what it has: compacted files, and what is not compacted yet."""
    bucket = LocalBucket(layout.buckets / system.archive_bucket)
    import duckdb

    with (
        snapshot.open(bucket, layout.archive, readings=system.readings, leave_out_cold=True) as taken,
        duckdb.connect() as connection,
    ):
        for problem in taken.problems:
            _say(str(problem))
        marks = {day: [_mark(connection, path) for path in files] for day, files in taken.days.items()}
        days = {
            date.fromisoformat(day): Day(files, _digest(marks[day]))
            for day, files in taken.days.items()
            if any(marks[day])
        }
        cold = frozenset(date.fromisoformat(key.partition("/dt=")[2][:10]) for key in taken.cold)
        yield Archived(days, columns.schema(taken.typed), taken.typed, cold)


def _mark(connection: Any, path: str) -> str:
    """Return what tells whether a file still holds the same events; nothing where it holds none.

    The name of a compacted file is never used again. What is not compacted is written anew for each snapshot.
    """
    if snapshot.is_lasting(path):
        return path.rpartition("/")[2]
    sql = "SELECT count(*), bit_xor(hash(device_id, time, id)) FROM read_parquet(?)"
    count, mixed = connection.execute(sql, [path]).fetchall()[0]
    return f"{count}-{mixed}" if count else ""


def _digest(marks: Iterable[str]) -> str:
    return sha256("\n".join(sorted(marks)).encode()).hexdigest()[:16]


def built_in(layout: Layout, system: System) -> dict[str, BuiltIn]:
    """Return the jobs that are no reports."""

    def compact(run: Run, say: work.Say) -> dict[str, Any]:
        bucket = next((each for each in system.buckets if each.name == system.archive_bucket), None)
        summary = compaction.compact(
            LocalBucket(layout.buckets / system.archive_bucket),
            layout.archive,
            readings=system.readings,
            lifecycle=bucket.lifecycle if bucket else (),
            limits=Limits(memory_mb=run.settings.memory_mb),
        )
        for problem in summary.problems:
            say(problem)
        found = msgspec.structs.asdict(summary)
        numbers = {name: value for name, value in found.items() if isinstance(value, int)}
        return {**numbers, "problems": len(summary.problems)}

    def bills(run: Run, say: work.Say) -> dict[str, Any]:
        return bill_closing.run(bill_site(layout, system, lambda: compact(run, say)), run, say)

    return {COMPACT: compact, LOAD: lambda _, say: load(layout, system, say), BILLS: bills}


def _say(text: str) -> None:
    print(f"{clock.rfc3339_ms(clock.now_ms())} {text}", file=sys.stderr, flush=True)  # noqa: T201
