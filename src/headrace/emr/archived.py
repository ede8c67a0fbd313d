"""What reports read of the archive on S3: compacted files by the catalogue, each identity once.

What has arrived since the last compaction is not among it: it is computed with the next one. That changes the mark of
its days, and so nothing is left out for good.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from hashlib import sha256
from typing import NamedTuple

from headrace.archive import columns, erasures
from headrace.archive.base import ObjectInfo
from headrace.archive.catalogue import FILES, Catalogue, File, Manifest, day_of
from headrace.emr import storage, tasks
from headrace.emr.spread import Spread
from headrace.emr.storage import Source
from headrace.errors import NotFound
from headrace.jobs.sources import Archived, Day


class Holding(NamedTuple):
    """The archive at one moment.

    `unchecked` are the days of which some files may hold events that don't count: those of `unchecked` files that
    others hold as well, and those of devices that were erased while a file was cold. For each file it says which.
    """

    archived: Archived
    unchecked: Mapping[date, Mapping[File, bool]]


def take(source: Source, catalogue: Catalogue, readings: Sequence[str]) -> Holding:
    """Return what the archive holds. Raises NotFound if a file is in the catalogue and not in the bucket."""
    bucket = storage.bucket(source)
    infos = {info.key: info for info in bucket.list(FILES)}
    erased = {key for erasure in erasures.read(bucket) for key in erasure.cold}
    with ThreadPoolExecutor(storage.THREADS) as pool:
        manifests = [manifest for manifest in pool.map(catalogue.manifest, catalogue.days()) if manifest.files]
    files = [file for manifest in manifests for file in manifest.files]
    typed = columns.typed((*readings, *(name for file in files for name in file.typed)))
    days = {date.fromisoformat(manifest.date): _day(source, manifest) for manifest in manifests}
    cold = frozenset(date.fromisoformat(day_of(file.key)) for file in files if not _info(infos, file).readable)
    unchecked = {
        date.fromisoformat(manifest.date): {file: file.unchecked or file.key in erased for file in manifest.files}
        for manifest in manifests
    }
    doubtful = {day: found for day, found in unchecked.items() if any(found.values())}
    return Holding(Archived(days, columns.schema(typed), typed, cold), doubtful)


def checked(
    source: Source, holding: Holding, wanted: Sequence[date] | None, target: str, spread: Spread, memory_mb: int
) -> Archived:
    """Return the archive with each identity once on the wanted days; what that takes is put under `target`."""
    archived = holding.archived
    days = [day for day in holding.unchecked if (wanted is None or day in wanted) and day not in archived.cold]
    if not days:
        return archived
    rests = [_rest(source, day, holding.unchecked[day], target, memory_mb) for day in days]
    spread(tasks.rest, rests)
    replaced = {
        day: Day([source.url(key) for key in (*rest.checked, rest.target)], archived.days[day].mark)
        for day, rest in zip(days, rests, strict=True)
    }
    return archived._replace(days={**archived.days, **replaced})


def _rest(source: Source, day: date, files: Mapping[File, bool], target: str, memory_mb: int) -> tasks.Rest:
    unchecked = [file for file, is_unchecked in files.items() if is_unchecked]
    known = tuple(file.key for file, is_unchecked in files.items() if not is_unchecked)
    typed = columns.typed(name for file in unchecked for name in file.typed)
    keys = tuple(file.key for file in unchecked)
    return tasks.Rest(source, keys, known, typed, f"{target}/rest-{day}.parquet", memory_mb)


def _day(source: Source, manifest: Manifest) -> Day:
    """Return a day as reports take it: its mark are the names, which never stand for another content."""
    names = sorted(file.key.rpartition("/")[2] for file in manifest.files)
    return Day([source.url(file.key) for file in manifest.files], sha256("\n".join(names).encode()).hexdigest()[:16])


def _info(infos: Mapping[str, ObjectInfo], file: File) -> ObjectInfo:
    found = infos.get(file.key)
    if found is None:
        raise NotFound(
            f"{file.key} is in the catalogue, and not in the bucket: its {file.rows:,} events are missing.",
            "Put it back from a backup under the same name.",
        )
    return found
