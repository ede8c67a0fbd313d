"""Erasing a device from the archive: raw objects and compacted files are written anew without it (`erasures.py`).

The caller has noted the erasure and lets no other one begin. No compaction is at work meanwhile. Each file is replaced
as a compaction does it: the new one is put, then the catalogue changes, all at once; readers of the old catalogue have
an hour to finish. So at every moment a reader sees every other device's event once, and what a crash has left is done
by the next erase or compaction.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pybase64
import zstandard

from headrace import clock, disk
from headrace.archive import catalogue, compaction, day, raw
from headrace.archive.base import Bucket
from headrace.archive.catalogue import Catalogue, File
from headrace.archive.columns import name_sql, names_sql, schema, text_sql
from headrace.archive.engine import DEFAULT, Limits, connected, is_damaged, parquet_sql
from headrace.archive.erasures import Erasure, erased_sql, kept_sql
from headrace.archive.sorting import copy
from headrace.errors import HeadraceError, InvalidObjectState, NotFound
from headrace.event.redaction import may_name, redact

WAIT_S = 900.0  # for a compaction that is at work
_REPORTS = "reports/"


class Archived(msgspec.Struct, kw_only=True):
    """What was done. `cold` and `damaged` are keys of what could not be read; `problems` texts for people."""

    raw_objects: int = 0  # written anew
    raw_records: int = 0  # in them, that held something of the device
    files: int = 0  # compacted ones, replaced
    events: int = 0  # that were in them
    cold: list[str] = []
    damaged: list[str] = []  # compacted files, or missing; `problems` name them, too
    problems: list[str] = []


def erase(
    bucket: Bucket, folder: Path, erasure: Erasure, *, limits: Limits = DEFAULT, wait_s: float = WAIT_S
) -> Archived:
    """Erase a device from raw objects and compacted files; `folder` as for `compaction.compact`.

    Raises Conflict if a compaction is at work all the time, StorageError if the disk refuses.
    """
    disk.make_folder(folder)
    known = catalogue.of(bucket, folder)
    with (
        compaction.alone(folder, "headrace erase", wait_s),
        _work(folder) as work,
        connected(work, limits) as connection,
    ):
        compaction.remove_unfinished(bucket, folder, known)
        done = Archived()
        _raw(bucket, erasure, done)
        for date in known.days():
            for file in known.manifest(date).files:
                if file.first_device.encode() <= erasure.device_id.encode() <= file.last_device.encode():
                    _file(_Place(connection, bucket, folder, work, known), date, file, erasure, done)
        return done


class _Place:
    """Where a file is replaced."""

    def __init__(self, connection: Any, bucket: Bucket, folder: Path, work: Path, known: Catalogue) -> None:
        self.connection = connection
        self.bucket = bucket
        self.folder = folder
        self.work = work
        self.catalogue = known


def _raw(bucket: Bucket, erasure: Erasure, done: Archived) -> None:
    for info in list(bucket.list("raw/", tags=True)):
        name = raw.parse_key(info.key)
        if name is None:
            continue
        try:
            body = bucket.get(info.key)
        except NotFound:  # deleted by a rule meanwhile
            continue
        except InvalidObjectState:
            done.cold.append(info.key)
            continue
        if not raw.is_whole(name, body):
            done.problems.append(f"{info.key} was cut short or edited, so it was left as it is: delete it by hand.")
            continue
        records = 0

        def change(line: raw.Line) -> tuple[str, bytes] | None:
            nonlocal records
            found = _redacted(line, erasure)
            records += found is not None
            return found

        content = zstandard.ZstdDecompressor().decompress(body)
        if not raw.is_known(name, content):
            done.problems.append(
                f"{info.key} is of a later version, so it was left as it is: erase again with that one."
            )
            continue
        if b'"data_b64":' not in content and not may_name(content, erasure.device_id):
            continue
        if (new := raw.rewritten(info.key, name, content, change)) is None:
            continue
        bucket.put(new.key, new.body)
        if info.tags:
            bucket.tag(new.key, info.tags)
        bucket.delete(info.key)
        done.raw_objects, done.raw_records = done.raw_objects + 1, done.raw_records + records


def _redacted(line: raw.Line, erasure: Erasure) -> tuple[str, bytes] | None:
    if line.arrived_us >= erasure.before_us:
        return None
    data = bytes(line.data) if line.data_b64 is None else pybase64.b64decode(line.data_b64)
    found = redact(data, line.key, erasure.device_id)
    return None if found is None else (found.key, found.data)


def _file(place: _Place, date: str, file: File, erasure: Erasure, done: Archived) -> None:
    """Put a file without the device in the place of one that has it."""
    try:
        location = place.bucket.location(file.key)
    except InvalidObjectState:
        done.cold.append(file.key)
        return
    except NotFound:
        _leave(file, "is in the catalogue, and not in the bucket", done)
        return
    # Damage may hide the device's events, and would be as good as right in a new file, which has a digest of its own.
    if file.sha256 is not None and is_damaged(place.connection, location, file):
        _leave(file, "is damaged", done)
        return
    source = parquet_sql([location])
    (events,) = _one(place.connection, f"SELECT count(*) FROM {source} WHERE {erased_sql([erasure])}")
    if not events:
        return
    written = _written(place, date, file, f"{source} WHERE {kept_sql([erasure])}")
    outcome = day.Outcome(date, (written,) if written else (), (file,), 0)
    compaction.publish(place.bucket, place.folder, place.catalogue, [outcome], clock.now_ms())
    done.files, done.events = done.files + 1, done.events + events


def _leave(file: File, problem: str, done: Archived) -> None:
    done.damaged.append(file.key)
    done.problems.append(
        f"{file.key} {problem}, so it was left as it is, and nothing of the device in it is shown: put it back from a "
        "backup under the same name, then erase again."
    )


def _written(place: _Place, date: str, file: File, rows: str) -> day.Written | None:
    """Write what is left of a file, in its order, and read it back; None where nothing is left."""
    names = tuple(schema(file.typed))
    due = _one(place.connection, f"SELECT {day.CHECK} FROM {rows}")
    if not due[0]:
        return None
    path = place.work / f"{uuid4().hex}.parquet"
    copy(place.connection, f"SELECT {names_sql(names)} FROM {rows}", path)
    if _one(place.connection, f"SELECT {day.CHECK} FROM {parquet_sql([str(path)])}") != due:
        raise HeadraceError(
            f"What was to be left of {file.key} is not what was written.",
            "Nothing of it was changed. Check memory and disk of this machine, and erase again.",
        )
    return day.Written(day.described(place.connection, date, path, names, file.unchecked), path)


def report_keys(bucket: Bucket, report: str) -> list[str]:
    """Return the keys of a report's objects."""
    return [info.key for info in bucket.list(f"{_REPORTS}{report}/") if info.key.endswith(".parquet")]


def erase_report(bucket: Bucket, folder: Path, key: str, device_id: str, limits: Limits = DEFAULT) -> int:
    """Take a device's rows out of a report's object, and return how many there were.

    Nobody writes the report meanwhile. Raises InvalidObjectState where it is cold.
    """
    with _work(folder) as work, connected(work, limits) as connection:
        source = parquet_sql([bucket.location(key)])
        names = [name for name, *_ in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()]
        if "device_id" not in names:
            return 0
        is_it = f"{name_sql('device_id')} = {text_sql(device_id)}"
        all_rows, rows = _one(connection, f"SELECT count(*), count(*) FILTER (WHERE {is_it}) FROM {source}")
        if rows == all_rows:
            bucket.delete(key)
        elif rows:
            path = work / "rows.parquet"
            copy(connection, f"SELECT * FROM {source} WHERE ({is_it}) IS NOT TRUE", path)
            bucket.put_file(key, path)
        return int(rows)


def clean(folder: Path) -> None:
    """Remove what an erase that was ended has left; none is at work."""
    for left in folder.glob("erase-*"):
        shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _work(folder: Path) -> Iterator[Path]:
    """Yield a folder that is gone afterwards; see `clean` for one that a crash leaves."""
    work = folder / f"erase-{uuid4().hex[:8]}"
    disk.make_folder(work)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _one(connection: Any, sql: str) -> tuple[Any, ...]:
    found: tuple[Any, ...] = connection.execute(sql).fetchone()
    return found
