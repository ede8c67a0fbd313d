"""What bills keep of a device whose data is erased: how much it sent on each day, and for whom.

Without it a closed month would be computed anew without the device, and refunded. From the moment that this is written,
usage counts the device's earlier events by it, whether they are erased yet or not.
"""

import shutil
from contextlib import closing
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from headrace.archive.columns import text_sql
from headrace.jobs import report, work
from headrace.jobs.base import Relation
from headrace.jobs.history import Folder
from headrace.jobs.run import Attempt, Run
from headrace.jobs.sources import KEPT, Kept
from headrace.jobs.views import USED
from headrace.jobs.work import Say
from headrace.operations import bill_closing, bill_rows
from headrace.operations.bill_closing import Site
from headrace.operations.bill_rows import USAGE
from headrace.settings import Layout
from headrace.system import BILLS, JobSettings, System


def keep(layout: Layout, system: System, device_id: str, before_ms: int, say: Say) -> int:
    """Keep what a device had sent before a moment, for bills; return of how many days, 0 where there are no tenants.

    Call it before anything of the device is removed, holding no lock of the archive, when all that had arrived by then
    is in the archive; repeating it is harmless. Raises HeadraceError where usage can't be computed now: then nothing
    may be removed.
    """
    from headrace.operations import job

    return keep_at(job.bill_site(layout, system, lambda: None), device_id, before_ms, say)


def keep_at(site: Site, device_id: str, before_ms: int, say: Say) -> int:
    """Keep a device's usage; see `keep`."""
    if not site.places.book().tenants.assignments and not bill_rows.closed(site.places.archive):
        return 0
    asked = Run(f"kept-{uuid4().hex[:8]}", BILLS, "request", site.now_ms(), JobSettings(), attempts=[Attempt(0)])
    folder = Folder(site.jobs, BILLS).path / asked.id
    with work.alone(Folder(site.jobs, USAGE), work.PATIENCE_S):
        bill_closing.update(site, asked, USAGE, None, say)  # every day that the device has has an object then
        (folder / "tmp").mkdir(parents=True)
        try:
            rows = _rows(site, asked, device_id, before_ms, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    if rows:
        key = f"{KEPT}{sha256(device_id.encode()).hexdigest()[:32]}.json"
        site.places.archive.put(key, msgspec.json.encode(Kept(device_id, before_ms, rows)))
    return len({row["period_start"] for row in rows})


def _rows(site: Site, asked: Run, device_id: str, before_ms: int, folder: Path) -> list[dict[str, str | None]]:
    """Return a device's rows of `bill_usage`, but for what arrived later; of days that can't be read, as they stand."""
    bucket = site.places.archive
    with site.places.archived() as archived, closing(bill_closing.engine(folder / "tmp", asked)) as session:
        days = archived.days.keys() - archived.cold
        standing = [key for day, key in bill_rows.computed(bucket, USAGE).items() if day not in days]
        session.relation(Relation(USAGE, USED[USAGE], [bucket.location(key) for key in standing]))
        device = text_sql(device_id)
        sql = f"SELECT * FROM {USAGE}"
        if days:
            usage = report.load(report.files(site.reports)[USAGE])
            work.prepare(
                session, usage, asked.settings, sorted(days), archived, site.places, site.places.book(), folder / "tmp"
            )
            mine = f"device_id = {device} AND arrived_at < make_timestamp({before_ms * 1000})"
            # The report finds, under the name that it knows, the device's events alone.
            sql += f" UNION ALL BY NAME (WITH events AS (SELECT * FROM temp.events WHERE {mine}) FROM ({usage.sql}))"
        session.write(f"SELECT * FROM ({sql}) WHERE device_id = {device}", folder / "out", order=("period_start",))
        return [_texts(row) for row in session.rows([str(path) for path in (folder / "out").glob("*.parquet")])]


def _texts(row: dict[str, Any]) -> dict[str, str | None]:
    return {name: _text(value) for name, value in row.items() if name != "device_id"}


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    return str(value)
