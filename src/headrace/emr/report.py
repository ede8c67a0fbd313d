"""A report on a cluster: computed aside, decided on at one moment, then put in place however often that is interrupted.

It is what `jobs/work.py` and `jobs/output.py` do on one machine, with objects where those have files. The rows are
written under `jobs/<report>/attempts/<run>/`; putting `jobs/<report>/publication.json`, which must not be there yet,
decides. From then on whoever has the report's lease copies the rows to where they are read, writes the items, and at
last `jobs/<report>/seen.json`: what the report was computed from.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import msgspec

from headrace.archive.base import Bucket
from headrace.billing.files import Book
from headrace.emr import archived, storage
from headrace.emr.archived import Holding
from headrace.emr.engine import Shared
from headrace.emr.lease import Lease
from headrace.emr.spread import Spread
from headrace.emr.storage import Source
from headrace.errors import HeadraceError
from headrace.jobs import aggregates, days, output, report, sources, work
from headrace.jobs.output import Publication
from headrace.jobs.report import Report
from headrace.jobs.run import Run
from headrace.table.base import Item, Table

T = TypeVar("T")

_ITEMS_A_CHECK = 1000  # so many items are written between two looks at the lease


class Setting(NamedTuple):
    """Where reports are computed. `holding` is the archive as it is held for all reports of a step."""

    source: Source
    holding: Holding
    spread: Spread
    engine: Callable[[str], Shared]
    devices: Table
    events: Table
    failures: Sequence[Bucket]
    book: Callable[[], Book]
    memory_mb: int


def run(found: Report, setting: Setting, lease: Lease, asked: Run, today: date, folder: Path) -> dict[str, Any]:
    """Compute what has changed of a report and put it in place; return what was done. Raises HeadraceError.

    The lease is the report's. An output that a run before has decided on is finished first.
    """
    return _Report(found, setting, lease, asked, folder).do(today)


class _Report:
    def __init__(self, found: Report, setting: Setting, lease: Lease, asked: Run, folder: Path) -> None:
        self._found = found
        self._setting = setting
        self._lease = lease
        self._asked = asked
        self._folder = folder
        self._bucket = storage.bucket(setting.source)
        self._exchange = storage.exchange(setting.source)
        self._work = f"{_folder(found.name)}/attempts/{uuid4().hex[:12]}"
        self._engine: Shared | None = None

    def do(self, today: date) -> dict[str, Any]:
        items = self._finish()
        self._clear()
        holding = self._setting.holding.archived
        book = self._setting.book() if self._found.bills else sources.NO_BOOK
        seen, computed = work.chosen(self._found, self._asked, self._seen, holding, today, book)
        if computed == []:
            return {self._found.unit: 0, "items": items}
        self._compute(computed, book)
        self._decide(computed, seen)
        items += self._finish()
        self._clear()
        return {self._found.unit: len(computed or ()), "items": items}

    def _compute(self, computed: list[date] | None, book: Book) -> None:
        setting, found = self._setting, self._found
        read = days.of_months(computed) if computed is not None and found.monthly else computed
        held = archived.checked(
            setting.source, setting.holding, read, f"{self._work}/small", setting.spread, setting.memory_mb
        )
        places = work.Places(
            lambda: contextlib.nullcontext(held), setting.devices, setting.failures, self._bucket, setting.events
        )
        temporary = self._folder / self._work
        temporary.mkdir(parents=True)
        work.prepare(self._session(), found, self._asked.settings, computed, held, places, book, temporary)
        day = report.START if found.periodic else None
        self._session().put(found.sql, f"{self._work}/out", order=found.keys, day=day)

    def _decide(self, computed: list[date] | None, seen: days.Seen) -> None:
        out = f"{self._work}/out/"
        written = (info.key.removeprefix(out).partition("/")[0] for info in self._bucket.list(f"{out}dt="))
        output.check_days(self._found, computed, written)
        objects: dict[str, str] = {}
        for day in computed if computed is not None else [None]:
            prefix = out + (f"dt={day}/" if day else "")
            keys = [info.key for info in self._bucket.list(prefix) if info.key.endswith(".parquet")]
            key = output.key_of(self._found.name, day)
            if len(keys) > 1:
                raise HeadraceError(f"Spark wrote {len(keys)} files for {key}, not one.", "Run it again.")
            objects |= {key: keys[0]} if keys else {}
        removed = [key for day in computed or () if (key := output.key_of(self._found.name, day)) not in objects]
        publication = Publication(self._found.name, objects, removed, self._found.items, seen)
        self._lease.check()
        self._exchange.write(_publication(self._found.name), msgspec.json.encode(publication), None)

    def _finish(self) -> int:
        """Finish what is decided, if anything is; return how many items were written."""
        body = self._exchange.read(_publication(self._found.name))
        if body is None:
            return 0
        publication = msgspec.json.decode(body[0], type=Publication)
        self._each(lambda pair: self._exchange.copy(pair[1], pair[0]), publication.objects.items())
        self._each(self._bucket.delete, publication.removed)
        written = 0
        if publication.items and publication.objects:
            # Of the copies that never change: the others are written again by the next run.
            rows = self._session().rows([self._setting.source.url(key) for key in publication.objects.values()])
            items = self._checked(aggregates.items(rows, publication.items))
            written = output.put_slowly(self._setting.events, items, self._asked.settings.writes_per_s)
        self._lease.check()
        self._bucket.put(_seen(self._found.name), msgspec.json.encode(publication.seen))
        self._bucket.delete(_publication(self._found.name))
        return written

    def _checked(self, items: Iterable[Item]) -> Iterator[Item]:
        for number, item in enumerate(items):
            if number % _ITEMS_A_CHECK == 0:
                self._lease.check()
            yield item

    def _session(self) -> Shared:
        if self._engine is None:
            self._engine = self._setting.engine(f"{self._work}/small")
        return self._engine

    def _seen(self, name: str) -> days.Seen:
        """Return what a report was last computed from; where that can't be read, it is computed anew."""
        body = self._exchange.read(_seen(name))
        try:
            return msgspec.json.decode(body[0], type=days.Seen) if body else days.Seen()
        except msgspec.DecodeError:
            return days.Seen()

    def _clear(self) -> None:
        """Remove what runs have left; nothing is decided on."""
        left = [info.key for info in self._bucket.list(f"{_folder(self._found.name)}/attempts/")]
        self._each(self._bucket.delete, left)

    def _each(self, do: Callable[[T], None], items: Iterable[T]) -> None:
        """Do something for each item, several at once, as long as the lease is held."""

        def done(item: T) -> None:
            self._lease.check()
            do(item)

        with ThreadPoolExecutor(storage.THREADS) as pool:
            list(pool.map(done, items))


def _folder(name: str) -> str:
    return f"jobs/{name}"


def _publication(name: str) -> str:
    return f"{_folder(name)}/publication.json"


def _seen(name: str) -> str:
    return f"{_folder(name)}/seen.json"
