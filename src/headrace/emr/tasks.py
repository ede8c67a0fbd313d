"""What executors do for compaction: raw objects to rows by day, and a day's rows to its files.

A task is told all it needs, works in a folder of its own, and answers what it has put in the bucket. It may be done
twice, as Spark repeats what a lost machine has done: nothing counts before the driver has put it into the catalogue.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from headrace.archive import compaction, day, erasures, sorting
from headrace.archive.base import Bucket
from headrace.archive.catalogue import File, Run
from headrace.archive.columns import PART, schema, text_sql
from headrace.archive.copies import Copies
from headrace.archive.engine import Limits, connected, parquet_sql
from headrace.archive.merging import Plan
from headrace.archive.staging import Problem, Staging
from headrace.emr import storage
from headrace.emr.storage import Source

_SAMPLES = 16  # devices of a file that tell where a day may be divided
_SHARES = [place / _SAMPLES for place in range(1, _SAMPLES)]


class Stage(NamedTuple):
    """Raw objects to be decoded; their rows go to files under the key prefix `target`."""

    source: Source
    keys: tuple[str, ...]
    typed: tuple[str, ...]
    target: str
    memory_mb: int


class StagedFile(NamedTuple):
    """Rows of one day. `devices` are some of theirs, in order, as many rows apart from each other."""

    key: str
    rows: int
    bytes: int
    devices: tuple[str, ...]


class Staged(NamedTuple):
    """What raw objects have: files by day, and for each object that could be used its shard and its records' runs."""

    files: dict[str, StagedFile]
    objects: dict[str, tuple[str, tuple[Run, ...]]]
    problems: tuple[Problem, ...]
    records: int
    events: int
    faults: int
    exact: int


class Merge(NamedTuple):
    """A day to be written by its plan, of the rows in the files `staged`; `part`, `suffix`: see `day.write`."""

    source: Source
    day: str
    staged: tuple[str, ...]
    plan: Plan
    typed: tuple[str, ...]
    part: str
    suffix: str
    memory_mb: int
    bytes: int  # of what it reads, about


class Merged(NamedTuple):
    """New files of a day, which are in the bucket, and how many events of them are new."""

    files: tuple[File, ...]
    events: int


class Rest(NamedTuple):
    """A day's `unchecked` files, whose events are wanted that are in none of the `checked`; they go to `target`.

    Those files may also be some that were cold when a device was erased.
    """

    source: Source
    unchecked: tuple[str, ...]
    checked: tuple[str, ...]
    typed: tuple[str, ...]
    target: str
    memory_mb: int


def stage(task: Stage) -> Staged:
    """Decode raw objects."""
    with working(task.source, task.memory_mb) as (bucket, connection, folder):
        found = Staging(
            connection,
            bucket,
            folder,
            task.typed,
            erased=erasures.read(bucket),
            batch_bytes=Limits(task.memory_mb).batch_bytes,
        )
        found.add(task.keys)
        events = found.events
        files = {
            date: _put(connection, bucket, folder, date, found.of_day(date).sql, task.target) for date in found.days()
        }
        objects = {one.key: (compaction.shard_of(one), tuple(compaction.runs_of(bucket, one))) for one in found.staged}
        return Staged(files, objects, tuple(found.problems), found.records, events, found.faults, found.exact)


def _put(connection: Any, bucket: Bucket, folder: Path, date: str, select: str, target: str) -> StagedFile:
    path = folder / f"{date}.parquet"
    sorting.copy(connection, f"SELECT * FROM ({select}) ORDER BY device_id", path)
    asked = f"SELECT count(*), quantile_disc(device_id, {_SHARES}) FROM {parquet_sql([str(path)])}"
    rows, devices = connection.execute(asked).fetchone()
    file = StagedFile(f"{target}/dt={date}/{uuid4().hex}.parquet", rows, path.stat().st_size, tuple(devices))
    bucket.put_file(file.key, path)
    return file


def merge_each(task: Sequence[Merge]) -> list[Merged]:
    """Write days' files, one day after the other."""
    return [merge(each) for each in task]


def merge(task: Merge) -> Merged:
    """Write a day's files."""
    with working(task.source, task.memory_mb) as (bucket, connection, folder):
        new = parquet_sql([bucket.location(key) for key in task.staged])
        outcome = day.write(
            connection, bucket, folder, task.day, task.plan, task.typed, new, part=task.part, suffix=task.suffix
        )
        for each in outcome.written:
            bucket.put_file(each.file.key, each.path)
        return Merged(tuple(each.file for each in outcome.written), outcome.events)


def rest(task: Rest) -> None:
    """Write what unchecked files have besides, each identity once."""
    with working(task.source, task.memory_mb) as (bucket, connection, folder):
        identity = "device_id, time, id"
        columns = tuple(schema(task.typed))
        source = parquet_sql([bucket.location(key) for key in task.unchecked])
        rows = f"SELECT *, 0 AS {PART} FROM {source} WHERE {erasures.kept_sql(erasures.read(bucket))}"
        if task.checked:
            known = parquet_sql([bucket.location(key) for key in task.checked])
            rows = f"SELECT * FROM ({rows}) ANTI JOIN {known} USING ({identity})"
        path = folder / "rest.parquet"
        sorting.copy_sorted(connection, sorting.narrowed(f"({rows})"), columns, path)
        bucket.put_file(task.target, path)


@contextlib.contextmanager
def working(source: Source, memory_mb: int) -> Iterator[tuple[Bucket, Any, Path]]:
    """Yield the bucket, a DuckDB connection, and a folder that is gone afterwards, on the disk that YARN offers."""
    place = os.environ.get("LOCAL_DIRS", "").split(",")[0] or None
    with tempfile.TemporaryDirectory(prefix="headrace-", dir=place) as name:
        folder = Path(name)
        with connected(folder, Limits(memory_mb=memory_mb, threads=1)) as connection:
            yield Copies(storage.bucket(source), folder / "objects"), connection, folder


def parts(files: Sequence[StagedFile], merged_bytes: int, bytes_max: int) -> list[str]:
    """Return the conditions on device_id that divide a day so that no part is much larger than `bytes_max`. Pure.

    A day that is small enough is one part, without a condition.
    """
    count = -(-(sum(file.bytes for file in files) + merged_bytes) // bytes_max)
    devices = sorted((device.encode(), device) for file in files for device in file.devices)
    bounds: list[str] = []
    for place in range(1, count):
        device = devices[place * len(devices) // count][1] if devices else ""
        if device and device not in bounds:
            bounds.append(device)
    if not bounds:
        return [""]
    texts = [text_sql(device) for device in bounds]
    between = [f"device_id >= {low} AND device_id < {high}" for low, high in pairwise(texts)]
    return [f"device_id < {texts[0]}", *between, f"device_id >= {texts[-1]}"]


def grouped(merges: Sequence[Merge], bytes_max: int, count_max: int) -> list[list[Merge]]:
    """Return days for tasks of their own, in order: small ones share one, as a task has its own cost. Pure."""
    groups: list[list[Merge]] = []
    size = 0
    for each in merges:
        if not groups or size + each.bytes > bytes_max or len(groups[-1]) == count_max:
            groups.append([])
            size = 0
        groups[-1].append(each)
        size += each.bytes
    return groups
