"""The arguments of the step that spark-submit runs on the cluster. Pure."""

import argparse
import json
from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

from headrace.errors import UsageError
from headrace.jobs import report

URL = "s3://"


class Arguments(NamedTuple):
    """What a step is to do. `first` and `last` are days, inclusive; rates are in items a second."""

    jobs: tuple[str, ...]
    region: str
    archive: str
    failures: tuple[str, ...]
    events_table: str
    devices_table: str
    reports: tuple[str, str]  # bucket and key prefix
    readings: tuple[str, ...]
    warm_days: int | None
    writes_per_s: int
    reads_per_s: int
    memory_mb: int
    lease_s: float
    first: date | None
    last: date | None
    parameters: dict[str, report.Value]


def parse(arguments: Sequence[str]) -> Arguments:
    """Return the arguments; raises UsageError that says what to write."""
    found = _parser().parse_args(arguments)
    last = found.end - timedelta(days=1) if found.end else None
    if found.start and last and last < found.start:
        raise UsageError("--to is not after --from.", "--to is the day to stop before.")
    return Arguments(
        jobs=found.job,
        region=found.region,
        archive=_bucket("--archive", found.archive),
        failures=tuple(_bucket("--failures", each) for each in found.failures),
        events_table=found.events_table,
        devices_table=found.devices_table,
        reports=_prefix("--reports", found.reports),
        readings=tuple(name for name in found.readings.split(",") if name),
        warm_days=found.warm_days,
        writes_per_s=found.writes_per_s,
        reads_per_s=found.reads_per_s,
        memory_mb=found.memory_mb,
        lease_s=found.lease_s,
        first=found.start,
        last=last,
        parameters=dict(found.parameter),
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageError(f"The step's arguments are wrong: {message}.", "See docs/emr.md for what they are.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="job.py", description="Compaction and reports of Headrace on a cluster.", allow_abbrev=False)
    add = parser.add_argument
    add("--job", type=_jobs, required=True, help="what to do, in order, separated by commas: compact, load, or reports")
    add("--region", required=True, help="the region of buckets and tables")
    add("--archive", required=True, help="the archive's bucket, s3://NAME")
    add("--failures", action="append", default=[], help="a failures bucket, s3://NAME; may be repeated")
    add("--events-table", required=True, help="the table of events, which aggregates are written to")
    add("--devices-table", required=True, help="the table of devices")
    add("--reports", required=True, help="where the reports lie, s3://NAME/PREFIX")
    add("--readings", default="", help="the readings with a column of their own, separated by commas")
    add("--warm-days", type=_positive, help="after how many days compacted files turn cold at the earliest")
    add("--writes-per-s", type=_positive, default=500, help="items to write to the table a second, at most")
    add("--reads-per-s", type=_positive, default=1000, help="items to read from the table of devices a second, at most")
    add("--memory-mb", type=_positive, default=1024, help="memory of a task of compaction, beside Spark's own")
    add("--lease-s", type=float, default=60.0, help="how long a run that was killed keeps others from its job")
    add("--from", dest="start", type=date.fromisoformat, help="compute these days, changed or not: the first")
    add("--to", dest="end", type=date.fromisoformat, help="the day to stop before")
    add("--parameter", type=_parameter, action="append", default=[], help="a parameter of the reports, like gap_s=900")
    return parser


def _jobs(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if not report.is_name(name):
            raise argparse.ArgumentTypeError(f"{name!r} is no name of a job")
    return names


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _parameter(text: str) -> tuple[str, report.Value]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is no parameter; write it like gap_s=900")
    try:
        read = json.loads(value)
    except ValueError:
        return name, value
    return name, read if isinstance(read, int | float | str) and not isinstance(read, bool) else value


def _bucket(name: str, url: str) -> str:
    bucket, prefix = _prefix(name, url)
    if prefix:
        raise UsageError(f"{name} is {url!r}.", f"Write a bucket alone: {URL}NAME")
    return bucket


def _prefix(name: str, url: str) -> tuple[str, str]:
    bucket, _, prefix = url.removeprefix(URL).partition("/")
    if not url.startswith(URL) or not bucket:
        raise UsageError(f"{name} is {url!r}.", f"Write a URL of S3: {URL}NAME")
    return bucket, prefix.rstrip("/")
