"""Spark as spark-submit has started it, over objects of S3.

On EMR Spark itself reads and writes `s3://`. A Spark that doesn't know it (pip's, on one machine) works on copies that
this process makes with botocore. Either way a query's rows end as objects under a key prefix that nobody reads yet.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from headrace.archive.base import Bucket
from headrace.archive.copies import Copies
from headrace.emr import storage
from headrace.emr.storage import Source
from headrace.errors import UsageError
from headrace.jobs.base import Engine, Relation, no_day
from headrace.jobs.spark import NO_DAY, Spark


class Shared(Engine):
    """An engine whose rows many machines can read: relations may name `s3://` URLs of the archive's bucket."""

    @abstractmethod
    def put(self, sql: str, prefix: str, *, order: Sequence[str], day: str | None = None) -> None:
        """Write a query's rows as `write` does, but to objects whose keys start with `prefix`."""


class Cluster(Spark, Shared):
    """The session of this application. `folder` is local; what is put for executors to read goes under `prefix`."""

    def __init__(self, source: Source, folder: Path, prefix: str) -> None:
        super().__init__(folder, memory_mb=0, submitted=True)
        self._source = source
        self._bucket: Bucket = storage.bucket(source)
        self._copies = Copies(self._bucket, folder / "objects")
        self._folder = folder
        self._prefix = prefix
        self.context: Any = self._session.sparkContext
        self._reads_s3 = self._knows_s3()
        if not self._reads_s3 and not self.context.master.startswith("local"):
            raise UsageError(
                f"This Spark ({self.context.master}) can't read s3:// URLs.",
                "Run it on EMR, or with --master local[*].",
            )

    def relation(self, relation: Relation) -> None:
        """Make files known: local ones, and `s3://` URLs of the bucket."""
        super().relation(relation._replace(files=[self._readable(file) for file in relation.files]))

    def rows(self, files: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield the rows of files."""
        return super().rows([self._readable(file) for file in files])

    def put(self, sql: str, prefix: str, *, order: Sequence[str], day: str | None = None) -> None:
        """Write a query's rows."""
        if self._reads_s3:
            self._save(sql, self._source.url(prefix), order, day)
        else:
            folder = self._folder / uuid4().hex
            self.write(sql, folder, order=order, day=day)
            for path in folder.rglob("*.parquet"):
                self._bucket.put_file(f"{prefix}/{path.relative_to(folder)}", path)
        if any(self._bucket.list(f"{prefix}/{NO_DAY}")):
            raise no_day(day)

    def _readable(self, file: str) -> str:
        """Return where Spark's executors can read a file."""
        url = self._source.url("")
        if file.startswith(url):
            return file if self._reads_s3 else self._copies.location(file.removeprefix(url))
        if not self._reads_s3:
            return file
        key = f"{self._prefix}/{uuid4().hex}-{Path(file).name}"
        self._bucket.put(key, Path(file).read_bytes())
        return self._source.url(key)

    def _knows_s3(self) -> bool:
        from py4j.protocol import Py4JJavaError

        try:
            self.context._jvm.org.apache.hadoop.fs.FileSystem.getFileSystemClass(
                "s3", self.context._jsc.hadoopConfiguration()
            )
        except Py4JJavaError:
            return False
        return True
