"""A report's output: computed aside, decided on at one moment, then finished however often it is interrupted.

Everything is first written into the attempt's own folder. Once it is durable there, `publication.json` is written, and
that is the moment: before it nothing of the run can be seen, after it everything will be. Finishing puts the objects in
place, each whole, then the items, and at last what the report was computed from; all of it can be repeated.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path

import msgspec

from headrace import clock, disk
from headrace.archive.base import Bucket
from headrace.errors import HeadraceError, UsageError
from headrace.jobs import aggregates
from headrace.jobs.base import Engine
from headrace.jobs.days import Seen
from headrace.jobs.history import Folder
from headrace.jobs.report import START, Report
from headrace.table.base import Item, Table

VERSION = 1
PUBLICATION = "publication.json"
_CHUNKS_A_SECOND = 4
_CHUNK_ITEMS_MAX = 500


class Publication(msgspec.Struct):
    """What is decided: `objects` (key -> file in the attempt's folder) are put, `removed` keys deleted."""

    report: str
    objects: dict[str, str]
    removed: list[str]
    items: str | None  # the period that the rows are aggregates of
    seen: Seen
    version: int = VERSION


def key_of(report: str, day: date | None) -> str:
    """Return the key of a report's object."""
    return f"reports/{report}/dt={day}/{report}.parquet" if day else f"reports/{report}/{report}.parquet"


def check_days(report: Report, computed: Iterable[date] | None, written: Iterable[str]) -> None:
    """Raise UsageError where a report has rows of days that it was not given the events of.

    `written` names folders of its rows, `dt=<day>`. One that uses another report has that one's rows of every day.
    """
    if report.daily and report.uses is None:
        given = {f"dt={day}" for day in computed or ()}
        others = sorted(set(written) - given)
        if others:
            raise UsageError(
                f"{report.name}.sql: it has rows of {others[0][3:]}, and of that day it was given no events.",
                f"Take {START} from `time`, the event's own, by which days are told; or leave -- period: out.",
            )


def commit(work: Path, report: str, computed: list[date] | None, items: str | None, seen: Seen) -> Publication:
    """Decide on what an engine has written to `work`/out; `computed` are the days, None for a report as a whole."""
    out = work / "out"
    objects = {}
    for day in computed if computed is not None else [None]:
        folder = out / f"dt={day}" if day else out
        files = sorted(folder.glob("*.parquet"))
        if len(files) > 1:
            raise HeadraceError(f"The engine wrote {len(files)} files for {key_of(report, day)}, not one.")
        if files:
            disk.sync_file(files[0])
            objects[key_of(report, day)] = str(files[0].relative_to(work))
    removed = [key for day in computed or () if (key := key_of(report, day)) not in objects]
    publication = Publication(report, objects, removed, items, seen)
    disk.write_file(work / PUBLICATION, msgspec.json.encode(publication))
    return publication


def finish(
    path: Path,
    folder: Folder,
    bucket: Bucket,
    table: Table | None,
    engine: Callable[[], Engine],
    writes_per_s: int,
) -> int:
    """Finish what `publication.json` at `path` says; return how many items were written. `engine` reads the rows."""
    publication = msgspec.json.decode(path.read_bytes(), type=Publication)
    for key, name in publication.objects.items():
        if (path.parent / name).exists():  # else it was put before the last attempt ended
            bucket.put_file(key, path.parent / name)
    for key in publication.removed:
        bucket.delete(key)
    written = 0
    if publication.items and table is not None and publication.objects:
        rows = engine().rows([bucket.location(key) for key in publication.objects])
        written = put_slowly(table, aggregates.items(rows, publication.items), writes_per_s)
    disk.write_file(folder.seen, msgspec.json.encode(publication.seen))
    path.unlink()
    shutil.rmtree(path.parent, ignore_errors=True)
    return written


def put_slowly(
    table: Table,
    items: Iterable[Item],
    per_s: int,
    now_s: Callable[[], float] = clock.monotonic_s,
    sleep: Callable[[float], None] = clock.sleep,
) -> int:
    """Write items, no more than `per_s` each second on the average and never many at once; return how many."""
    began_s, written = now_s(), 0
    for chunk in _chunks(items, max(1, min(_CHUNK_ITEMS_MAX, per_s // _CHUNKS_A_SECOND))):
        if (early_s := began_s + written / per_s - now_s()) > 0:
            sleep(early_s)
        table.put(chunk)
        written += len(chunk)
    return written


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
