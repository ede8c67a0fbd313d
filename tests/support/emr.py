"""An archive in S3 beside one in a folder, of the same raw objects: what a cluster makes of it, and one machine."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb

from headrace.archive import columns
from headrace.archive.copies import Copies
from headrace.archive.exchange import SharedCatalogue
from headrace.emr import compact, lease, spread, storage
from headrace.emr.engine import Shared
from headrace.emr.storage import Source
from headrace.jobs.base import Relation
from headrace.jobs.duckdb import DuckDB
from support import moto
from support.archive import READINGS, Archive


class SharedArchive:
    """A bucket in S3."""

    def __init__(self, name: str, folder: Path) -> None:
        self.source = Source(name, moto.REGION)
        self.bucket = storage.bucket(self.source)
        self.exchange = storage.exchange(self.source)
        self.catalogue = SharedCatalogue(self.bucket, self.exchange)
        self.here = Archive(folder)
        self._folder = folder

    def put(self, *events: Mapping[str, Any] | bytes, **options: Any) -> list[str]:
        """Put events in one raw object, here and there."""
        keys = self.here.put(*events, **options)
        for key in keys:
            self.bucket.put(key, self.here.bucket.get(key))
        return keys

    def compact(self, spread: spread.Spread = spread.here, **options: Any) -> Any:
        settings = compact.Settings(
            columns.typed(options.pop("readings", READINGS)), options.pop("warm_days", None), **options
        )
        with lease.held(self.exchange, compact.JOB, duration_s=2) as mine:
            return compact.compact(self.source, self.catalogue, spread, mine, settings)

    def rows(self) -> list[tuple[Any, ...]]:
        """Return every row of the files in the catalogue, in order."""
        near = Copies(self.bucket, self._folder / "near")
        files = [file for day in self.catalogue.days() for file in self.catalogue.manifest(day).files]
        return rows([near.location(file.key) for file in files])

    def keys(self, prefix: str) -> list[str]:
        return [info.key for info in self.bucket.list(prefix)]


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[SharedArchive]:
    with moto.account(), moto.empty_bucket() as name:
        storage.forget()
        yield SharedArchive(name, folder)
        storage.forget()


def rows(paths: list[str]) -> list[tuple[Any, ...]]:
    if not paths:
        return []
    select = f"FROM read_parquet({paths}, union_by_name = true, hive_partitioning = false) ORDER BY ALL"
    return duckdb.execute(select).fetchall()


def rows_here(archive: Archive) -> list[tuple[Any, ...]]:
    """Return the same of an archive in a folder."""
    files = [file for day in archive.catalogue.days() for file in archive.catalogue.manifest(day).files]
    return rows([archive.bucket.location(file.key) for file in files])


class Near(DuckDB, Shared):
    """DuckDB in the place of Spark, over copies of the bucket's objects."""

    def __init__(self, archive: SharedArchive, folder: Path) -> None:
        super().__init__(folder, memory_mb=512, spill_mb=512)
        self._archive = archive
        self._copies = Copies(archive.bucket, folder / "objects")
        self._folder = folder

    def relation(self, relation: Relation) -> None:
        super().relation(relation._replace(files=[self._near(file) for file in relation.files]))

    def rows(self, files: Sequence[str]) -> Iterator[dict[str, Any]]:
        return super().rows([self._near(file) for file in files])

    def put(self, sql: str, prefix: str, *, order: Sequence[str], day: str | None = None) -> None:
        folder = self._folder / uuid4().hex
        self.write(sql, folder, order=order, day=day)
        for path in sorted(folder.rglob("*.parquet")):
            self._archive.bucket.put_file(f"{prefix}/{path.relative_to(folder)}", path)

    def _near(self, file: str) -> str:
        url = self._archive.source.url("")
        return self._copies.location(file.removeprefix(url)) if file.startswith(url) else file


class Killed(BaseException):
    """Ends a run as a kill does: nobody catches it."""
