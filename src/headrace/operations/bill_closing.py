"""The job `bills`: usage and bills are brought up to date, and with the parameter `close` a month is frozen.

Closing has one moment: `bill.json` is put, whole and durable. Before it the month is open, whatever else is there;
after it nothing of the month ever changes. The job's lock lets one process at a time come that far, and whoever finds
the month closed only repeats what follows from it. So a kill at any point, and a second command, do no harm.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from headrace import clock, disk
from headrace.archive.base import Bucket
from headrace.billing import month as months
from headrace.billing.files import Book
from headrace.errors import ClockInDoubt, NotFound, UsageError
from headrace.jobs import days, output, report, work
from headrace.jobs.base import Engine, Relation
from headrace.jobs.history import Folder
from headrace.jobs.run import Run
from headrace.jobs.views import USED
from headrace.jobs.work import Say
from headrace.operations import bill_document, bill_rows
from headrace.operations.bill_rows import MONTHLY, USAGE, Manifest
from headrace.table.base import ITEM_BYTES_MAX, Item

CLOSE, SHOW = "close", "month"
Span = tuple[date, date]  # months by their first days: from one to another, both included
_TEXTS = ("tariffs", "tenants")


class Site(NamedTuple):
    """Where the job works: the jobs' folders, the reports', what reports read and write, and how to compact."""

    jobs: Path
    reports: Path
    places: work.Places
    compact: Callable[[], object]
    now_ms: Callable[[], int] = clock.now_ms
    is_believed: Callable[[], bool] = lambda: True


def run(site: Site, asked: Run, say: Say) -> dict[str, Any]:
    """Do the job; raises UsageError for what can't be billed or closed. Returns what was done, in numbers."""
    Folder(site.jobs, asked.job).clear_work()
    month, shown = month_of(asked), month_of(asked, SHOW)
    book = site.places.book()
    site = site._replace(places=site.places._replace(book=lambda: book))  # one reading of the files for all of it
    usage, monthly = (Folder(site.jobs, name) for name in (USAGE, MONTHLY))
    with work.alone(usage, work.PATIENCE_S), work.alone(monthly, work.PATIENCE_S):
        return _run(site, asked, month, shown, book, say)


def _run(site: Site, asked: Run, month: date | None, shown: date | None, book: Book, say: Say) -> dict[str, Any]:
    if month is not None:
        check_closable(site, month, book)
        if month in bill_rows.closed(site.places.archive):
            return close(site, asked, month, book, say)
        say("compacting what has been archived since the last time")
        site.compact()
    done = {"days": update(site, asked, USAGE, None, say)["days"]}
    done["months"] = update(site, asked, MONTHLY, None, say)["months"]
    for each in missing(site, book, month or shown):
        update(site, asked, MONTHLY, each, say)
    if month is None:
        return done
    return done | close(site, asked, month, book, say)


def close(site: Site, asked: Run, month: date, book: Book, say: Say) -> dict[str, Any]:
    """Freeze a month as its reports are now, unless it is closed, and write its items; return what was done.

    The caller holds the job's and the reports' locks, and has brought the reports up to date, `missing` months as well.
    """
    if month in bill_rows.closed(site.places.archive):
        say(f"{months.text(month)} is closed already: it stays as it is")
        return {"closed": 0, "items": _write_items(site, asked, month, say)}
    frozen = _freeze(site, asked, month, book)
    say(f"{months.text(month)} is closed with {frozen.rows} lines")
    return {"closed": 1, "lines": frozen.rows, "items": _write_items(site, asked, month, say)}


def month_of(asked: Run, parameter: str = CLOSE) -> date | None:
    """Return the month that is to be closed, or shown; None for none. Raises UsageError for another parameter."""
    given = asked.settings.parameters
    if unknown := given.keys() - {CLOSE, SHOW}:
        raise UsageError(
            f"The job bills has no parameter {min(unknown)!r}.", f"It has: {CLOSE}=2026-11, {SHOW}=2026-11."
        )
    return months.parse(str(given[parameter])) if parameter in given else None


def check_closable(site: Site, month: date, book: Book) -> None:
    """Raise an error where a month can't be closed: it has not ended, nobody is billed, or the clock may be wrong."""
    if not site.is_believed():
        raise ClockInDoubt("The clock may be wrong, so no month is closed by it.", "See: headrace status")
    months.check_ended(month, site.now_ms())
    if not book.tenants.assignments:
        raise UsageError(
            "There are no tenants, so there is nothing to bill.", "Write reports/tariffs.csv and reports/tenants.csv."
        )


def update(site: Site, asked: Run, name: str, span: Span | None, say: Say) -> dict[str, Any]:
    """Bring a report up to date, or compute some months of it whether they changed or not. The caller has its lock."""
    path = report.files(site.reports).get(name)
    if path is None:
        raise NotFound(f"There is no report {name}.sql, which bills are made of.", f"Copy it to {site.reports}.")
    first, last = (each.isoformat() for each in span) if span else (None, None)
    settings = msgspec.structs.replace(asked.settings, parameters={})
    part = msgspec.structs.replace(asked, job=name, first=first, last=last, settings=settings)
    today = datetime.fromtimestamp(site.now_ms() / 1000, UTC).date()
    return work.run_report(report.load(path), part, Folder(site.jobs, name), site.places, today, say)


def missing(site: Site, book: Book, month: date | None = None) -> list[Span]:
    """Return the months to compute whatever has changed: those that have no object, and ought to.

    One that was closed, and one that passed without an event since billing has begun: minimums are due all the same;
    and `month`, which is to be closed or shown, if it is one with tenants.
    """
    bucket, now = site.places.archive, months.of(site.now_ms())
    closed = bill_rows.closed(bucket)
    wanted = set(closed)
    if book.tenants.assignments:
        held = min(each.valid_from.date().replace(day=1) for each in book.tenants.all())
        begun = {*closed, *(day.replace(day=1) for day in bill_rows.computed(bucket, USAGE))}
        wanted |= set(days.within(min((each for each in begun if each >= held), default=now), now))
        wanted |= {month} if month is not None and held <= month <= now else set()
    spans: list[Span] = []
    for each in sorted(wanted - bill_rows.computed(bucket, MONTHLY).keys()):
        follows = spans and months.following(spans[-1][1]) == each
        spans.append((spans.pop()[0] if follows else each, each))
    return spans


def _freeze(site: Site, asked: Run, month: date, book: Book) -> Manifest:
    bucket = site.places.archive
    folder = Folder(site.jobs, asked.job).work / f"{asked.id}-{len(asked.attempts)}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tmp").mkdir(parents=True)
    try:
        with closing(engine(folder / "tmp", asked)) as session:
            frozen = bill_rows.closed(bucket)
            bill_rows.define(session, bucket, month, frozen)
            # Differences go forward: the bill of a month that was left out has none.
            adjusting = all(each < month for each in frozen)
            session.write(bill_rows.lines(month, adjusting=adjusting), folder / "lines", order=bill_rows.ORDER)
            session.relation(usage_of(bucket, month))
            session.write(bill_rows.usage(month), folder / "usage", order=("tenant", "device_id", "period_start"))
            rows = sum(1 for _ in session.rows([str(_only(folder / "lines"))]))
        for name, text in zip(_TEXTS, book.texts, strict=True):
            (folder / name).write_bytes(text)
        manifest = Manifest(
            months.text(month),
            site.now_ms(),
            lines=_put(bucket, month, "lines", _only(folder / "lines")),
            usage=_put(bucket, month, "usage", _only(folder / "usage")),
            tariffs=_put(bucket, month, "tariffs", folder / "tariffs"),
            tenants=_put(bucket, month, "tenants", folder / "tenants"),
            rows=rows,
        )
        bucket.put(bill_rows.folder(month) + bill_rows.MANIFEST, msgspec.json.encode(manifest))
        _remove_others(bucket, month, manifest)
        return manifest
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def usage_of(bucket: Bucket, month: date) -> Relation:
    """Return the usage by day of a month that is not closed, as a relation; of others there may be rows in it, too."""
    objects = bill_rows.computed(bucket, USAGE)
    keys = [key for day, key in objects.items() if day.replace(day=1) == month]
    return Relation(USAGE, USED[USAGE], [bucket.location(key) for key in keys])


def engine(temporary: Path, asked: Run) -> Engine:
    """Return a session for what is left to do when reports are computed."""
    # What is left to do adds up a few lines a tenant, in DECIMAL: it needs no cluster, whatever computed them.
    from headrace.jobs.duckdb import DuckDB

    return DuckDB(temporary, memory_mb=asked.settings.memory_mb, spill_mb=asked.settings.spill_mb)


def _only(folder: Path) -> Path:
    (found,) = folder.glob("*.parquet")
    return found


def _put(bucket: Bucket, month: date, name: str, path: Path) -> str:
    """Put a file under a name that no other content has; return its key."""
    digest = sha256(path.read_bytes()).hexdigest()[:16]
    key = f"{bill_rows.folder(month)}{name}-{digest}.{'csv' if name in _TEXTS else 'parquet'}"
    disk.sync_file(path)
    bucket.put_file(key, path)
    return key


def _remove_others(bucket: Bucket, month: date, manifest: Manifest) -> None:
    """Remove what attempts that were killed before the moment have put."""
    kept = {manifest.lines, manifest.usage, manifest.tariffs, manifest.tenants}
    for info in list(bucket.list(bill_rows.folder(month))):
        if info.key not in kept and not info.key.endswith(f"/{bill_rows.MANIFEST}"):
            bucket.delete(info.key)


def _write_items(site: Site, asked: Run, month: date, say: Say) -> int:
    """Write the closed bill of each tenant as an item; again, they are the same."""
    if site.places.events is None:
        return 0
    manifest = bill_rows.closed(site.places.archive)[month]
    folder = Folder(site.jobs, asked.job).work / "items"
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    with closing(engine(folder / "tmp", asked)) as session:
        rows = list(session.rows([site.places.archive.location(manifest.lines)]))
    shutil.rmtree(folder, ignore_errors=True)
    kept = []
    for item in items(rows, manifest):
        if len(item.attributes) + 4096 > ITEM_BYTES_MAX:
            say(f"the bill of {item.partition!r} is too large for an item; its lines are in {manifest.lines}")
        else:
            kept.append(item)
    return output.put_slowly(site.places.events, kept, asked.settings.writes_per_s)


def items(rows: Sequence[dict[str, Any]], manifest: Manifest) -> Iterator[Item]:
    """Yield a tenant's bill each, as items of the table `events`; the same rows make the same items."""

    def tenant(row: dict[str, Any]) -> str:
        return str(row["tenant"])

    for name, group in groupby(sorted(rows, key=tenant), key=tenant):
        found = [bill_document.line(row) for row in group]
        attributes = {
            "month": manifest.month,
            "closed_at": clock.rfc3339_ms(manifest.closed_ms),
            "totals": bill_document.totals(found),
            "lines": found,
        }
        yield Item(f"tenant#{name}", f"bill#{manifest.month}", msgspec.json.encode(attributes))
