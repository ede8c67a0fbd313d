"""The engine for a cluster, here as Spark's local mode: what runs on EMR, on one machine. Needs Java 17 or newer."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

from headrace.errors import HeadraceError, UsageError
from headrace.jobs.base import Engine, Relation, has_column, no_day

T = TypeVar("T")

NO_DAY = "dt=__HIVE"  # what the folder of rows without a day begins with

_TYPES = {"VARCHAR": "STRING", "INTEGER": "INT"}
_WIDENED = {
    **dict.fromkeys(("tinyint", "smallint", "int"), "BIGINT"),
    "float": "DOUBLE",
    "timestamp": "TIMESTAMP_NTZ",
}
# The first version whose vectorized reader knows BYTE_STREAM_SPLIT, an encoding of compacted files; the other one does.
_SPLIT_STREAMS = (4, 2)
_SQL = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.ansi.doubleQuotedIdentifiers": "true",
    "spark.sql.parquet.compression.codec": "zstd",
    # Files are named one by one: to list them as a job of its own only takes time.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
}
_ON_ONE_MACHINE = {
    "spark.master": "local[*]",
    "spark.app.name": "headrace",
    "spark.sql.shuffle.partitions": str(2 * (os.cpu_count() or 1)),
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "WARN",
    # Nobody but this process speaks to it.
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
}


class Spark(Engine):
    """A session of `local[*]` whose Java process may hold `memory_mb`; the folder `temporary` takes what it spills.

    If it is `submitted`, spark-submit has said where it runs and what it may take.
    """

    MICROSECONDS = "unix_micros({})"

    def __init__(self, temporary: Path, *, memory_mb: int, submitted: bool = False) -> None:
        try:
            from pyspark.errors import AnalysisException, PySparkException
            from pyspark.sql import SparkSession
        except ImportError:
            raise UsageError(
                "The engine Spark is not installed.", "Install it: pip install 'headrace[spark]'"
            ) from None
        if java() is None and not submitted:
            raise UsageError(
                "Spark needs Java, and there is none on this machine.",
                "Install it (Debian: apt-get install default-jre-headless), or set JAVA_HOME.",
            )
        self._refusal, self._errors = AnalysisException, PySparkException
        self._memory_mb = memory_mb
        builder: Any = SparkSession.builder
        for name, value in (_SQL if submitted else _settings(temporary, memory_mb)).items():
            builder = builder.config(name, value)
        self._session = self._call(builder.getOrCreate)
        if _version(self._session.version) < _SPLIT_STREAMS:
            self._session.conf.set("spark.sql.parquet.enableVectorizedReader", "false")

    def members(self, typed: Sequence[str]) -> str:
        """Return a SELECT of the numbers in `readings`."""
        return f"""
            SELECT e.device_id, e.time, e.id, e.arrived_at, m.key AS reading, CAST(m.value AS DOUBLE) AS value
            FROM (SELECT * FROM events WHERE readings <> '{{}}') AS e,
                LATERAL variant_explode(try_parse_json(e.readings)) AS m
            WHERE (schema_of_variant(m.value) IN ('BIGINT', 'DOUBLE') OR schema_of_variant(m.value) LIKE 'DECIMAL%')
                AND NOT {has_column("m.key", typed, _text)}"""

    def relation(self, relation: Relation) -> None:
        """Make files known."""
        if relation.columns is None:
            self._call(lambda: self._session.read.parquet(*relation.files).createOrReplaceTempView(relation.name))
            return
        kinds = {name: _TYPES.get(kind, kind) for name, kind in relation.columns.items()}
        schema = ", ".join(f"{_quoted(name)} {kind}" for name, kind in kinds.items())
        texts = ", ".join(f"{_quoted(name)} STRING" for name in kinds)
        casts = [f"CAST({_quoted(name)} AS {kind}) AS {_quoted(name)}" for name, kind in kinds.items()]
        parquet = [path for path in relation.files if not path.endswith(".ndjson")]
        ndjson = [path for path in relation.files if path.endswith(".ndjson")]

        def make() -> None:
            frames = []
            if parquet:
                frames.append(self._session.read.schema(schema).parquet(*parquet))
            if ndjson:
                frames.append(self._session.read.schema(texts).json(ndjson).selectExpr(*casts))
            if not frames:
                nulls = ", ".join(f"CAST(NULL AS {kind}) AS {_quoted(name)}" for name, kind in kinds.items())
                frames.append(self._session.sql(f"SELECT {nulls} WHERE false"))
            reduce(lambda one, other: one.unionByName(other), frames).createOrReplaceTempView(relation.name)

        self._call(make)

    def view(self, name: str, sql: str) -> None:
        """Make a query known."""
        self._call(lambda: self._session.sql(f"CREATE OR REPLACE TEMP VIEW {_quoted(name)} AS {sql}"))

    def write(self, sql: str, folder: Path, *, order: Sequence[str], day: str | None = None) -> None:
        """Write a query's rows."""

        self._save(sql, str(folder), order, day)
        if any(folder.glob(NO_DAY + "*")):
            raise no_day(day)

    def _save(self, sql: str, target: str, order: Sequence[str], day: str | None) -> None:
        """Write a query's rows to where Spark can write, a path or URL."""

        def make() -> None:
            frame = self._session.sql(sql)
            names = list(order) or frame.columns
            values = [_widened(name, kind) for name, kind in frame.dtypes]
            if day is None:
                frame.selectExpr(*values).coalesce(1).sortWithinPartitions(*names).write.parquet(target)
                return
            frame = frame.selectExpr(*values, f"date_format(CAST({_quoted(day)} AS DATE), 'yyyy-MM-dd') AS dt")
            frame = frame.repartition("dt").sortWithinPartitions("dt", *names)
            frame.write.partitionBy("dt").parquet(target)

        self._call(make)

    def rows(self, files: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield the rows of files."""
        for row in self._session.read.parquet(*files).toLocalIterator():
            yield row.asDict()

    def close(self) -> None:
        """End the session."""
        with contextlib.suppress(HeadraceError):  # it may have ended by itself
            self._call(self._session.stop)

    def _call(self, call: Callable[[], T]) -> T:
        from py4j.protocol import Py4JError, Py4JNetworkError

        try:
            return call()
        except (Py4JNetworkError, ConnectionError) as error:
            raise HeadraceError(
                "Spark's Java process was ended.", "Was the machine short of memory (dmesg)? See the job's log."
            ) from error
        except (self._errors, Py4JError) as error:
            text = str(error)
            if "OutOfMemoryError" in text:
                raise HeadraceError(
                    f"The job needs more memory than it may have ({self._memory_mb:,} MB).",
                    "Raise its memory_mb, compute fewer days at once (--from, --to), or group before joining.",
                ) from error
            reason = text.partition("\n\n")[0].partition("\n\tat ")[0].strip()[:2000]  # without Java's stack
            if isinstance(error, self._refusal):
                raise UsageError(f"Spark refuses the SQL: {reason}", "Mend the report, and run it again.") from error
            raise HeadraceError(
                f"Spark failed: {reason}", "See the job's log; a value may not fit its type."
            ) from error


def _settings(temporary: Path, memory_mb: int) -> dict[str, str]:
    return {
        **_SQL,
        **_ON_ONE_MACHINE,
        "spark.driver.memory": f"{memory_mb}m",
        "spark.local.dir": str(temporary),
        "spark.sql.warehouse.dir": str(temporary / "warehouse"),
    }


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])


def java() -> str | None:
    """Return the Java program that Spark would start, or None."""
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")


def _widened(name: str, kind: str) -> str:
    column = _quoted(name)
    return f"CAST({column} AS {_WIDENED[kind]}) AS {column}" if kind in _WIDENED else column


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _text(text: str) -> str:
    """Return text as an SQL literal: in Spark's a backslash escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
