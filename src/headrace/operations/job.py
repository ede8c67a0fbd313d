"""One attempt of a job's run, as the process that the jobs process starts for it."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec

from headrace import clock, disk, rpc
from headrace.archive.local import LocalBucket
from headrace.errors import HeadraceError, NotFound
from headrace.jobs import history, report, work
from headrace.jobs.run import Ended, Run
from headrace.jobs.sources import Archived
from headrace.settings import Layout
from headrace.system import System
from headrace.table.local import LocalTable

NICE = 10  # what devices wait for goes first
BuiltIn = Callable[[Run, work.Say], dict[str, Any]]


def attempt(
    layout: Layout,
    system: System,
    job: str,
    run_id: str,
    *,
    built_in: Mapping[str, BuiltIn],
    archived: Callable[[], AbstractContextManager[Archived]],
) -> int:
    """Do the job, leave the last word beside the run's file, and return the exit code."""
    os.nice(NICE)
    folder = history.Folder(layout.jobs, job)
    try:
        run = history.load(layout.jobs, job, run_id)
        with work.alone(folder):
            ended = Ended(result=_done(layout, system, run, folder, built_in, archived))
    except HeadraceError as error:
        _say(str(error))
        ended = Ended(error=rpc.describe(error))
    with contextlib.suppress(HeadraceError):  # where the disk is full there is only the exit code
        disk.write_file(folder.result(run_id), msgspec.json.encode(ended))
    return 1 if ended.error else 0


def _done(
    layout: Layout,
    system: System,
    run: Run,
    folder: history.Folder,
    built_in: Mapping[str, BuiltIn],
    archived: Callable[[], AbstractContextManager[Archived]],
) -> dict[str, Any]:
    if run.job in built_in:
        return built_in[run.job](run, _say)
    path = report.files(Path(system.reports)).get(run.job)
    if path is None:
        raise NotFound(f"There is no job {run.job!r}.", f"Write it: {Path(system.reports) / run.job}.sql")
    tables = {table.name: LocalTable.connect(table.name, layout.table_socket) for table in system.tables}
    places = work.Places(
        archived=archived,
        readings=system.readings,
        devices=tables.get("devices"),
        failures=[LocalBucket(layout.buckets / name) for name in system.failures_buckets],
        archive=LocalBucket(layout.buckets / system.archive_bucket),
        events=tables.get("events"),
    )
    today = datetime.fromtimestamp(clock.now_ms() / 1000, UTC).date()
    return work.run_report(report.load(path), run, folder, places, today, _say)


@contextlib.contextmanager
def compacted(bucket: LocalBucket) -> Iterator[Archived]:
    """Yield the compacted files of a bucket by their day."""
    found: dict[date, list[str]] = {}
    for info in bucket.list("events/dt="):
        if info.key.endswith(".parquet"):
            found.setdefault(date.fromisoformat(info.key[10:20]), []).append(bucket.location(info.key))
    yield Archived(found)


def _say(text: str) -> None:
    print(f"{clock.rfc3339_ms(clock.now_ms())} {text}", file=sys.stderr, flush=True)  # noqa: T201
