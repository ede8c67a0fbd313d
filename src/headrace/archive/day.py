"""One day of event time: what is new and what was there becomes new files, sorted, no identity twice, and verified."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from headrace import clock
from headrace.archive import catalogue, columns
from headrace.archive.base import Bucket
from headrace.archive.catalogue import File, Manifest
from headrace.archive.columns import names_sql, schema, text_sql
from headrace.archive.engine import digest, parquet_sql
from headrace.archive.merging import FULL_BYTES, Plan
from headrace.archive.sorting import copy, copy_sorted, narrowed
from headrace.errors import HeadraceError

_IDENTITY = names_sql(columns.IDENTITY)
_SPLIT_BYTES = FULL_BYTES * 9 // 8  # of the files that a large one becomes: a bit more than full, as they differ


NOWHERE = Path()  # of a file that is in the bucket already


class Written(NamedTuple):
    """A finished file that is not in the bucket yet; or it is, and then its path is `NOWHERE`."""

    file: File
    path: Path


class Outcome(NamedTuple):
    """What became of a day: files to put, and those that they replace. `events` counts the identities that are new."""

    day: str
    written: tuple[Written, ...]
    replaced: tuple[File, ...]
    events: int

    def applied(self, manifest: Manifest, now_ms: int) -> Manifest:
        """Return the day's manifest with the new files in the place of those replaced; raises HeadraceError."""
        keys = {file.key for file in self.replaced}
        if not keys <= {file.key for file in manifest.files}:
            raise HeadraceError(
                f"A file of {self.day} was deleted while its events were compacted.", "Run the compaction again."
            )
        kept = tuple(file for file in manifest.files if file.key not in keys)
        replaced = tuple(catalogue.Replaced(file.key, now_ms) for file in self.replaced)
        return msgspec.structs.replace(
            manifest,
            files=(*kept, *(written.file for written in self.written)),
            replaced=(*manifest.replaced, *replaced),
        )


def write(
    connection: Any,
    bucket: Bucket,
    folder: Path,
    day: str,
    plan: Plan,
    typed: tuple[str, ...],
    new: str,
    *,
    is_sorted: bool = False,
    part: str = "",
    suffix: str = "",
) -> Outcome:
    """Write what becomes of a day, given its plan; `new` is SQL of what is new for it, with these typed readings.

    An identity that is there already is left as it is: the first that was compacted counts. With `part`, a condition
    on device_id, that part of the day alone, whether it has news or not: the other parts replace the same files.
    The names of the new files end with `suffix`. `is_sorted` says that `new` is in the order of identities, each once.

    Raises HeadraceError if what was written is not what should be; nothing is changed then.
    """
    names = schema(_all_typed(plan.merged, typed))
    new = f"(SELECT * FROM {new} WHERE {part})" if part else new
    merged, compared = (_files_sql(bucket, files, part) for files in (plan.merged, plan.compared))
    known = [files for files in (merged, compared) if files]
    has_copies = any(file.unchecked for file in (*plan.merged, *plan.compared)) or _may_repeat(
        connection, new, known, is_once=is_sorted
    )
    fresh = _fresh(connection, new, known) if has_copies else f"SELECT {_IDENTITY} FROM {new}"
    due = _one(connection, f"SELECT {CHECK} FROM ({fresh})")
    events = due[0]
    if not events and not (part and merged):
        return Outcome(day, (), (), 0)
    union = "UNION" if any(file.unchecked for file in plan.merged) else "UNION ALL"  # such files may repeat others
    if merged:
        due = _one(connection, f"SELECT {CHECK} FROM ({fresh} {union} SELECT {_IDENTITY} FROM {merged})")
    if not due[0]:
        return Outcome(day, (), plan.merged, 0)

    def rows(condition: str) -> str:
        some = [of and narrowed(of)(condition) for of in (new, merged, compared if has_copies else "")]
        return _rows_sql(*some)

    path = folder / f"{uuid4().hex}.parquet"
    if is_sorted and not known:
        copy(connection, f"SELECT {names_sql(names)} FROM {new}", path)
    else:
        copy_sorted(connection, rows, tuple(names), path, has_copies=has_copies)
    paths = _split(connection, path, tuple(names))
    files = [described(connection, day, path, tuple(names), plan.unchecked, suffix) for path in paths]
    found = _one(connection, f"SELECT {CHECK} FROM {parquet_sql([str(path) for path in paths])}")
    if found != due:
        raise HeadraceError(
            f"The new file of {day} does not hold what it should ({found[0]:,} events, not {due[0]:,}).",
            "Nothing was changed. Check memory and disk of this machine, and run the compaction again.",
        )
    return Outcome(day, tuple(map(Written, files, paths)), plan.merged, events)


def _may_repeat(connection: Any, new: str, known: Sequence[str], *, is_once: bool) -> bool:
    """Return whether an identity may come twice in what is new, or be in files that are known; never wrongly not.

    Those that are equal have equal hashes, and numbers are compared far faster than texts.
    """
    hashed = f"SELECT hash({_IDENTITY}) AS hashed FROM "
    if not is_once:
        (is_once,) = _one(connection, f"SELECT count(*) = count(DISTINCT hashed) FROM ({hashed} {new})")
    both = (f"SELECT count(*) FROM ({hashed} {files}) SEMI JOIN ({hashed} {new}) USING (hashed)" for files in known)
    return not is_once or any(_one(connection, sql)[0] for sql in both)


def _fresh(connection: Any, new: str, known: Sequence[str]) -> str:
    """Return a SELECT of the identities that are new and in none of the files that are known, each once."""
    identities = f"SELECT DISTINCT {_IDENTITY} FROM {new}"
    for files in known:
        identities = f"SELECT {_IDENTITY} FROM ({identities}) ANTI JOIN {files} USING ({_IDENTITY})"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE fresh AS {identities}")
    return "FROM fresh"


CHECK = f"count(*), bit_xor(hash({_IDENTITY})), sum(hash({_IDENTITY}) % 1000003)"


def _all_typed(files: Sequence[File], typed: tuple[str, ...]) -> tuple[str, ...]:
    """Return every typed reading: those of now, then those that older files have besides."""
    return columns.typed((*typed, *(name for file in files for name in file.typed)))


def _files_sql(bucket: Bucket, files: Sequence[File], part: str) -> str:
    """Return a relation of files' rows, nothing where there are none."""
    if not files:
        return ""
    found = parquet_sql([bucket.location(file.key) for file in files])
    return f"(SELECT * FROM {found} WHERE {part})" if part else found


def _rows_sql(new: str, merged: str, compared: str) -> str:
    """Return a relation of all rows; `PART` is 0 of what was there."""
    rows = f"SELECT *, 1 AS {columns.PART} FROM {new}"
    if compared:
        rows = f"SELECT * FROM ({rows}) ANTI JOIN {compared} USING ({_IDENTITY})"
    if merged:
        rows = f"SELECT *, 0 AS {columns.PART} FROM {merged} UNION ALL BY NAME {rows}"
    return f"({rows})"


def _split(connection: Any, path: Path, names: tuple[str, ...]) -> list[Path]:
    """Return the file, or where it is much larger than a full one, those that it is split into."""
    parts = path.stat().st_size // _SPLIT_BYTES
    if parts < 2:
        return [path]
    (rows,) = _one(connection, f"SELECT count(*) FROM {parquet_sql([str(path)])}")
    step = -(-rows // parts)
    paths: list[Path] = []
    for start in range(0, rows, step):
        part = path.with_name(f"{path.stem}-{len(paths)}.parquet")
        source = f"read_parquet({text_sql(str(path))}, file_row_number = true, hive_partitioning = false)"
        where = f"file_row_number >= {start} AND file_row_number < {start + step}"
        copy(connection, f"SELECT {names_sql(names)} FROM {source} WHERE {where}", part)
        paths.append(part)
    path.unlink()
    return paths


def described(connection: Any, day: str, path: Path, names: tuple[str, ...], unchecked: bool, suffix: str = "") -> File:
    """Return what the catalogue says of a file, from what was written."""
    times = "epoch_us(min(time)), epoch_us(max(time)), epoch_us(min(arrived_at)), epoch_us(max(arrived_at))"
    source = parquet_sql([str(path)])
    found = _one(connection, f"SELECT count(*), {times}, min(device_id), max(device_id) FROM {source}")
    now_ms = clock.now_ms()
    stamp = clock.rfc3339_ms(now_ms)[:19].replace("-", "").replace(":", "")
    return File(
        key=catalogue.key_of(day, f"{stamp}-{uuid4().hex[:12]}{suffix}"),
        rows=found[0],
        bytes=path.stat().st_size,
        created_ms=now_ms,
        first_time=found[1],
        last_time=found[2],
        first_arrival=found[3],
        last_arrival=found[4],
        first_device=found[5],
        last_device=found[6],
        typed=tuple(name for name in names if name not in schema(())),
        unchecked=unchecked,
        sha256=digest(path),
    )


def _one(connection: Any, sql: str) -> tuple[Any, ...]:
    found: tuple[Any, ...] = connection.execute(sql).fetchone()
    return found
