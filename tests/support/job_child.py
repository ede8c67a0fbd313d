"""The work of one attempt as a process to be killed: `python job_child.py FOLDER ENGINE ATTEMPT`.

FOLDER has `reports/`, `archive/` (the bucket, with events as `support.jobs.archive` writes them), `jobs/`, and the
socket of a table process. The report is `warm`.
"""

import contextlib
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from headrace.archive import columns
from headrace.archive.local import LocalBucket
from headrace.jobs import history, report, work
from headrace.jobs.run import Attempt, Run
from headrace.jobs.sources import Archived, Day
from headrace.system import JobSettings
from headrace.table.local import LocalTable

READINGS = ("temperature", "counter")
TODAY = date(2026, 3, 2)


def do(folder: Path, engine: str, attempt: int) -> dict[str, int]:
    @contextlib.contextmanager
    def archived() -> Iterator[Archived]:
        files: dict[date, list[str]] = {}
        for path in sorted((folder / "archive" / "events").glob("dt=*/*.parquet")):
            files.setdefault(date.fromisoformat(path.parent.name[3:]), []).append(str(path))
        days = {day: Day(found, ",".join(found)) for day, found in files.items()}
        yield Archived(days, columns.schema(READINGS), READINGS)

    places = work.Places(
        archived=archived,
        devices=None,
        failures=(),
        archive=LocalBucket(folder / "archive"),
        events=LocalTable.connect("events", folder / "table.sock"),
    )
    settings = JobSettings(engine=engine, writes_per_s=20_000)
    run = Run("warm-1", "warm", "request", 0, settings, attempts=[Attempt(0)] * attempt)
    job = history.Folder(folder / "jobs", "warm")
    with work.alone(job):
        return work.run_report(
            report.load(folder / "reports" / "warm.sql"), run, job, places, TODAY, lambda text: print(text, flush=True)
        )


if __name__ == "__main__":
    print(do(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
