"""Places where months are billed and closed, in a folder; `python bill_site.py FOLDER MONTH` closes one, to be killed.

FOLDER has `reports/` with tariffs and tenants, and `files/`, where events lie as `support.jobs.archive` writes them.
"""

import contextlib
import shutil
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from headrace.archive import columns
from headrace.archive.local import LocalBucket
from headrace.billing import files, tariffs, tenants
from headrace.jobs import history, work
from headrace.jobs.duckdb import DuckDB
from headrace.jobs.run import Attempt, Run
from headrace.jobs.sources import Archived, Day
from headrace.operations import bill_closing, bill_keeping, bills
from headrace.system import BILLS, JobSettings
from headrace.table.base import Table
from support.backend import ROOT
from support.bills import Held, Tier, event, text
from support.jobs import Event, archive

NOW = datetime(2026, 12, 10, tzinfo=UTC)
TIERS = [
    Tier("basic", "2026-09-01", "EUR", "events", 0, "0.10", "2", "1.00"),
    Tier("basic", "2026-09-01", "EUR", "device_months", 0, "0.25"),
]
HELD = [Held("a", "acme", "basic", "2026-09-01"), Held("b", "../../x", "basic", "2026-10-01")]


def october(device: str, count: int, day: int = 5, **more: Any) -> Any:
    return event(device, f"2026-10-{day:02d}T10:00:00", count, **more)


class BillSite:
    """A folder in which the job `bills` works, at a moment of its own."""

    def __init__(self, folder: Path, table: Table | None = None) -> None:
        self.folder, self.table = folder, table
        self.bucket = LocalBucket(folder / "archive")
        self.reports = folder / "reports"
        self.now = NOW
        self.is_believed = True
        self.said: list[str] = []
        self.compactions = 0
        self._attempts = 0

    def prepare(self, tiers: Iterable[Tier], held: Iterable[Held]) -> None:
        """Write the reports and the two files."""
        self.reports.mkdir(parents=True, exist_ok=True)
        for name in ("bill_usage.sql", "bill_monthly.sql"):
            shutil.copy(ROOT / "reports" / name, self.reports / name)
        (self.reports / files.TARIFFS).write_bytes(text(tariffs.COLUMNS, tiers))
        (self.reports / files.TENANTS).write_bytes(text(tenants.COLUMNS, held))

    def add(self, events: Iterable[Event]) -> None:
        """Archive events, in files of their own."""
        target = self.folder / "files" / str(len(list((self.folder / "files").glob("*"))))
        archive(target, events, ("t",))

    def run(self, **parameters: str) -> dict[str, Any]:
        self._attempts += 1
        run = Run(
            f"bills-{self._attempts}", BILLS, "request", 0, JobSettings(parameters=dict(parameters)),
            attempts=[Attempt(0)],
        )  # fmt: skip
        site = self._site()
        with work.alone(history.Folder(site.jobs, BILLS)):
            return bill_closing.run(site, run, self.said.append)

    def keep(self, device_id: str) -> int:
        return bill_keeping.keep_at(self._site(), device_id, int(self.now.timestamp() * 1000), self.said.append)

    def close(self, month: str) -> dict[str, Any]:
        return self.run(close=month)

    def read(self, month: str | None = None, **wanted: Any) -> Any:
        """Return what the wire answers."""
        folder = self.folder / "reading"
        folder.mkdir(exist_ok=True)
        with contextlib.closing(DuckDB(folder, memory_mb=512, spill_mb=512)) as engine:
            reader = bills.Reader(self.bucket, self.reports, engine, folder, int(self.now.timestamp() * 1000))
            return reader.answer(bills.Wanted(month, **wanted))

    def amounts(self, month: str) -> dict[tuple[str, str, str | None], str]:
        """Return amounts by tenant, meter, and for an adjustment the month that it adjusts."""
        return {
            (tenant["tenant"], line["meter"], line.get("adjusts")): line["amount"]
            for tenant in self.read(month)["tenants"]
            for line in tenant["lines"]
        }

    def frozen(self) -> dict[str, bytes]:
        """Return every object of closed months."""
        return {info.key: self.bucket.get(info.key) for info in self.bucket.list("bills/")}

    def _site(self) -> bill_closing.Site:
        return bill_closing.Site(
            self.folder / "jobs", self.reports, self._places(), self._compact,
            now_ms=lambda: int(self.now.timestamp() * 1000), is_believed=lambda: self.is_believed,
        )  # fmt: skip

    def _places(self) -> work.Places:
        @contextlib.contextmanager
        def archived() -> Iterator[Archived]:
            found: dict[date, list[str]] = {}
            for path in sorted((self.folder / "files").glob("*/dt=*/*.parquet")):
                found.setdefault(date.fromisoformat(path.parent.name[3:]), []).append(str(path))
            days = {day: Day(paths, ",".join(paths)) for day, paths in found.items()}
            yield Archived(days, columns.schema(("t",)), ("t",))

        return work.Places(archived, None, (), self.bucket, self.table, lambda: files.load(self.reports))

    def _compact(self) -> None:
        self.compactions += 1


if __name__ == "__main__":
    print(BillSite(Path(sys.argv[1])).close(sys.argv[2]), flush=True)
