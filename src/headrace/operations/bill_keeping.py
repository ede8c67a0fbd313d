"""What bills keep of a device whose data is erased: how much it sent on each day, and for whom.

Without it a closed month would be computed anew without the device, and refunded. From the moment that this is written,
usage counts the device's earlier events by it, whether they are erased yet or not.
"""

import shutil
from contextlib import closing
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

import msgspec

from headrace.jobs import work
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


def keep(layout: Layout, system: System, device_id: str, say: Say) -> int:
    """Keep a device's usage for bills, and return of how many days; 0 where there are no tenants.

    Call it before anything of the device is removed, holding no lock of the archive; repeating it is harmless. Raises
    HeadraceError where usage can't be computed now: then nothing may be removed.
    """
    from headrace.operations import job

    return keep_at(job.bill_site(layout, system, lambda: None), device_id, say)


def keep_at(site: Site, device_id: str, say: Say) -> int:
    """Keep a device's usage; see `keep`."""
    if not site.places.book().tenants.assignments and not bill_rows.closed(site.places.archive):
        return 0
    asked = Run(f"kept-{uuid4().hex[:8]}", BILLS, "request", site.now_ms(), JobSettings(), attempts=[Attempt(0)])
    with work.alone(Folder(site.jobs, USAGE)):
        bill_closing.update(site, asked, USAGE, None, say)
        rows = _rows(site, asked, device_id)
    if rows:
        kept = Kept(device_id, site.now_ms(), rows)
        key = f"{KEPT}{sha256(device_id.encode()).hexdigest()[:32]}.json"
        site.places.archive.put(key, msgspec.json.encode(kept))
    return len({row["period_start"] for row in rows})


def _rows(site: Site, asked: Run, device_id: str) -> list[dict[str, str | None]]:
    bucket = site.places.archive
    keys = bill_rows.computed(bucket, USAGE).values()
    if not keys:
        return []
    folder = Folder(site.jobs, BILLS).path / asked.id
    (folder / "tmp").mkdir(parents=True)
    try:
        with closing(bill_closing.engine(folder / "tmp", asked)) as session:
            session.relation(Relation(USAGE, USED[USAGE], [bucket.location(key) for key in keys]))
            name = device_id.replace("'", "''")
            session.write(f"SELECT * FROM {USAGE} WHERE device_id = '{name}'", folder / "out", order=("period_start",))
            return [_texts(row) for row in session.rows([str(path) for path in (folder / "out").glob("*.parquet")])]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _texts(row: dict[str, Any]) -> dict[str, str | None]:
    return {name: _text(value) for name, value in row.items() if name != "device_id"}


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    return str(value)
