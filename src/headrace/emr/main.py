"""The step that spark-submit runs on the cluster: jobs, one after the other, in one Spark application.

A job that fails does not keep the ones after it from being done; the exit code is 1 then.
"""

import contextlib
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec

from headrace import clock
from headrace.archive import columns
from headrace.archive.copies import Copies
from headrace.archive.exchange import SharedCatalogue
from headrace.billing import files as billing
from headrace.emr import archived, arguments, compact, lease, load, report, spread, storage
from headrace.emr.arguments import Arguments
from headrace.emr.engine import Cluster
from headrace.emr.storage import Source
from headrace.errors import HeadraceError, NotFound, UsageError
from headrace.jobs import report as reports
from headrace.jobs import work
from headrace.jobs.run import Attempt, Run
from headrace.operations import bill_closing, bill_rows
from headrace.system import BILLS, COMPACT, JobSettings
from headrace.table.aws import DynamoTable


def main(words: Sequence[str]) -> int:
    """Do what the words say; return the exit code: 0, 1 where a job failed, 2 where the words are wrong."""
    try:
        asked = arguments.parse(words)
    except UsageError as error:
        _say(str(error))
        return 2
    storage.set_region(asked.region)
    with tempfile.TemporaryDirectory(prefix="headrace-") as name:
        step = _Step(asked, Path(name))
        try:
            return step.all()
        finally:
            step.close()


class _Step:
    def __init__(self, asked: Arguments, folder: Path) -> None:
        self._asked = asked
        self._folder = folder
        self._source = Source(asked.archive, asked.region)
        self._exchange = storage.exchange(self._source)
        self._catalogue = SharedCatalogue(storage.bucket(self._source), self._exchange)
        self._spread = spread.over(lambda: self._engine("jobs/spark/tmp").context)
        self._engines: list[Cluster] = []
        self._holding: archived.Holding | None = None

    def all(self) -> int:
        """Do every job; return the exit code."""
        failed = 0
        for job in self._asked.jobs:
            _say(f"{job} begins")
            try:
                with lease.held(self._exchange, job, duration_s=self._asked.lease_s) as mine:
                    result = self._job(job)(mine)
                _say(f"{job} is done: {', '.join(f'{value} {name}' for name, value in result.items())}")
            except HeadraceError as error:
                failed = 1
                _say(f"{job} failed: {error}")
            except Exception:
                failed = 1
                _say(f"{job} failed:\n{traceback.format_exc()}")
        return failed

    def close(self) -> None:
        """End the Spark session, if there is one."""
        for engine in self._engines[:1]:
            engine.close()

    def _job(self, name: str) -> Callable[[lease.Lease], dict[str, Any]]:
        if name == COMPACT:
            return self._compact
        if name == load.JOB:
            return self._load
        if name == BILLS:
            return self._bills
        path = self._reports().get(name)
        if path is None:
            bucket, prefix = self._asked.reports
            raise NotFound(f"There is no job {name!r}.", f"Put it at s3://{bucket}/{prefix}/{name}.sql")
        return lambda mine: self._report(reports.load(path), mine)

    def _compact(self, mine: lease.Lease) -> dict[str, Any]:
        settings = compact.Settings(columns.typed(self._asked.readings), self._asked.warm_days, self._asked.memory_mb)
        summary = compact.compact(self._source, self._catalogue, self._spread, mine, settings)
        self._holding = None
        for problem in summary.problems:
            _say(problem)
        return {name: value for name, value in msgspec.structs.asdict(summary).items() if isinstance(value, int)}

    def _bills(self, mine: lease.Lease) -> dict[str, Any]:
        """Bring usage and bills up to date, and close the month that `--parameter close=2026-11` says."""
        parameters = {name: value for name, value in self._asked.parameters.items() if name == bill_closing.CLOSE}
        asked = self._run(BILLS, parameters, None)
        month, site = bill_closing.month_of(asked), self._bill_site()
        if month is not None:
            bill_closing.check_closable(site, month, site.places.book())
        done = [self._alone(name, None) for name in (bill_rows.USAGE, bill_rows.MONTHLY)]
        for each in bill_closing.missing(site, site.places.book(), month):
            self._alone(bill_rows.MONTHLY, each)
        if month is None:
            return done[0] | done[1]
        with contextlib.ExitStack() as stack:
            for name in (bill_rows.USAGE, bill_rows.MONTHLY):
                stack.enter_context(lease.held(self._exchange, name, duration_s=self._asked.lease_s))
            mine.check()
            return bill_closing.close(site, asked, month, site.places.book(), _say)

    def _alone(self, name: str, span: bill_closing.Span | None) -> dict[str, Any]:
        """Compute a report under its own lease; with months, those whether they have changed or not."""
        with lease.held(self._exchange, name, duration_s=self._asked.lease_s) as mine:
            path = self._reports().get(name)
            if path is None:
                raise NotFound(f"There is no report {name}.sql, which bills are made of.", "Put it with the others.")
            return self._report(reports.load(path), mine, span)

    def _bill_site(self) -> bill_closing.Site:
        """Return where bills are closed: the archive's objects are copied here to be read."""
        near = Copies(storage.bucket(self._source), self._folder / "bills" / "objects")
        places = work.Places(
            lambda: contextlib.nullcontext(self._held().archived),
            None,
            (),
            near,
            DynamoTable.connect(self._asked.events_table),
            lambda: billing.load(self._folder / "reports"),
        )
        self._reports()
        return bill_closing.Site(self._folder / "bills" / "jobs", self._folder / "reports", places, lambda: None)

    def _load(self, mine: lease.Lease) -> dict[str, Any]:
        asked = self._asked
        devices = storage.SlowTable(asked.devices_table, asked.reads_per_s)
        setting = load.Setting(self._source, self._catalogue, self._spread, devices, asked.readings, asked.memory_mb)
        return load.load(setting, mine, self._folder)

    def _held(self) -> archived.Holding:
        """Return the archive as it is for all jobs until the next compaction."""
        if self._holding is None:
            self._holding = archived.take(self._source, self._catalogue, self._asked.readings)
            for day in sorted(self._holding.archived.cold):
                _say(f"{day} is left as it is: some of its files are cold")
        return self._holding

    def _report(
        self, found: reports.Report, mine: lease.Lease, span: bill_closing.Span | None = None
    ) -> dict[str, Any]:
        asked = self._asked
        setting = report.Setting(
            self._source,
            self._held(),
            self._spread,
            self._engine,
            storage.SlowTable(asked.devices_table, asked.reads_per_s),
            DynamoTable.connect(asked.events_table),
            [storage.bucket(Source(name, asked.region)) for name in asked.failures],
            lambda: billing.load(self._folder / "reports"),
            asked.memory_mb,
        )
        run = self._run(found.name, _known(found, asked), span)
        return report.run(found, setting, mine, run, _today(), self._folder)

    def _run(self, job: str, parameters: dict[str, reports.Value], span: bill_closing.Span | None) -> Run:
        """Return what a job is asked for: the days of the step's arguments, or months."""
        asked, now_ms = self._asked, clock.now_ms()
        first, last = span or (asked.first, asked.last)
        return Run(
            f"{job}-{now_ms}",
            job,
            "step",
            now_ms,
            JobSettings(engine="spark", writes_per_s=asked.writes_per_s, parameters=parameters),
            first=first.isoformat() if first else None,
            last=last.isoformat() if last else None,
            attempts=[Attempt(now_ms)],
        )

    def _engine(self, prefix: str) -> Cluster:
        self._engines.append(Cluster(self._source, self._folder, prefix))
        return self._engines[-1]

    def _reports(self) -> dict[str, Path]:
        """Return the report files, copied here once."""
        folder = self._folder / "reports"
        if not folder.exists():
            folder.mkdir()
            name, prefix = self._asked.reports
            bucket = storage.bucket(Source(name, self._asked.region))
            for info in bucket.list(f"{prefix}/" if prefix else ""):
                with contextlib.suppress(NotFound):
                    if info.key.endswith((".sql", ".csv")):
                        (folder / info.key.rpartition("/")[2]).write_bytes(bucket.get(info.key))
        return reports.files(folder)


def _known(found: reports.Report, asked: Arguments) -> dict[str, reports.Value]:
    """Return the parameters that a report has: those given go to every report of the step."""
    return {name: value for name, value in asked.parameters.items() if name in found.parameters}


def _today() -> date:
    return datetime.fromtimestamp(clock.now_ms() / 1000, UTC).date()


def _say(text: str) -> None:
    print(f"{clock.rfc3339_ms(clock.now_ms())} {text}", file=sys.stderr, flush=True)  # noqa: T201
