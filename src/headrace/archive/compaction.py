"""Compaction: raw objects become Parquet files by day of event time, each identity once (`docs/formats.md`).

    summary = compact(bucket, folder, readings=("temperature", "humidity"), lifecycle=rules)

A run takes the raw objects that are not tagged `compacted`, some at a time: it writes new files, reads them back, puts
them in the bucket, puts them in the catalogue a day at a time, and then tags the raw objects. Readers look at raw
objects first and at the catalogue then, and count each identity once, so at every moment they see each event once.
Whatever ends a run, the next one goes on: files that never came into the catalogue are removed, and events that did are
known by their identity when their raw objects are read again.
"""

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from headrace import clock, disk
from headrace.archive import catalogue, columns, day, erasures, merging, native, raw, settled, staging
from headrace.archive.base import COLD_CLASSES, Bucket, ObjectInfo
from headrace.archive.catalogue import FILES, File, Run, merged
from headrace.archive.engine import DEFAULT, Limits, connected, is_damaged
from headrace.archive.lifecycle_log import LifecycleLog
from headrace.archive.staging import Problem, Staging
from headrace.errors import Conflict, DataDirectoryError
from headrace.record import parse_sequence_number

RAW, TAG = "raw/", "compacted"
GRACE_MS = 3_600_000  # for readers that began before a file was replaced
# Of raw objects, compressed: each round merges a day's files again, and what it staged is on the disk meanwhile, as
# Parquet (some 90 million events), or in a table if they were decoded one by one (20 million).
ROUND_BYTES = (2048 if native.IS_COMPILED else 512) * 1024 * 1024
ROUND_OBJECTS = 100_000
LOCK, _PENDING = "lock", "pending.json"


class Summary(msgspec.Struct, kw_only=True):
    """What a run did. `problems` are texts for people, one an object or day that could not be used; the rest was."""

    objects: int = 0  # raw objects compacted
    records: int = 0  # their lines
    events: int = 0  # that were new
    duplicates: int = 0  # that were there already, or came twice
    faults: int = 0  # that are no events; the failures bucket has them
    exact: int = 0  # records that were decoded one by one
    days: int = 0  # that changed
    files: int = 0  # written
    bytes: int = 0
    deleted: int = 0  # files replaced before and deleted now
    duration_ms: int = 0
    problems: list[str] = []


def compact(
    bucket: Bucket,
    folder: Path,
    *,
    readings: Iterable[str],
    lifecycle: Iterable[Mapping[str, Any]] = (),
    limits: Limits = DEFAULT,
    now_ms: int | None = None,
    round_bytes: int = ROUND_BYTES,
    grace_ms: int = GRACE_MS,
) -> Summary:
    """Compact what the archive's bucket holds, and return what was done.

    `folder` is the archive's own work folder (`Layout.archive`), on the bucket's disk at best; `readings` are those
    that the template names; `lifecycle` are the bucket's rules. Raises Conflict if another compaction is at work,
    StorageError if the disk refuses: nobody then sees anything of what was not finished, and the next run goes on.
    """
    disk.make_folder(folder)
    with alone(folder, "headrace compaction"):
        return _Run(bucket, folder, readings, lifecycle, limits, now_ms, grace_ms).all(round_bytes)


@contextlib.contextmanager
def alone(folder: Path, owner: str, patience_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of whatever replaces the archive's files; raises Conflict if another has it for so long."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(disk.locked(folder / LOCK, owner, patience_s))
        except DataDirectoryError:
            raise Conflict(
                "Another compaction of this archive, or an erase, is at work.",
                "Wait until it is done; see: headrace jobs",
            ) from None
        yield


class _Run:
    def __init__(
        self,
        bucket: Bucket,
        folder: Path,
        readings: Iterable[str],
        lifecycle: Iterable[Mapping[str, Any]],
        limits: Limits,
        now_ms: int | None,
        grace_ms: int,
    ) -> None:
        self._bucket = bucket
        self._folder = folder
        self._typed = columns.typed(readings)
        self._warm_days = merging.warm_days_of(lifecycle, FILES)
        self._limits = limits
        self._now_ms = clock.now_ms() if now_ms is None else now_ms
        self._grace_ms = grace_ms
        self._catalogue = catalogue.of(bucket, folder)
        self._changed: set[str] = set()
        self._summary = Summary()

    def all(self, round_bytes: int) -> Summary:
        """Clean up after runs before, then do round after round."""
        began = clock.monotonic_s()
        self._clean()
        for infos in rounds(pending(self._bucket), round_bytes):
            work = self._folder / f"run-{uuid4().hex[:8]}"
            disk.make_folder(work)
            try:
                self._round(infos, work)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        settled.note(self._bucket, self._folder, RAW, _is_compacted)
        self._summary.days = len(self._changed)
        self._summary.duration_ms = round(1000 * (clock.monotonic_s() - began))
        return self._summary

    def _clean(self) -> None:
        """Remove what a run that was ended left, and files that were replaced long enough ago."""
        for left in self._folder.glob("run-*"):
            shutil.rmtree(left, ignore_errors=True)
        for date in self._catalogue.days():
            manifest = self._catalogue.manifest(date)
            gone = {each.key for each in manifest.replaced if each.at_ms + self._grace_ms <= self._now_ms}
            for key in gone:
                self._bucket.delete(key)
            if gone:
                self._catalogue.forget(gone)
            self._summary.deleted += len(gone)
        remove_unfinished(self._bucket, self._folder, self._catalogue)

    def _round(self, infos: Sequence[ObjectInfo], work: Path) -> None:
        with connected(work, self._limits) as connection:
            staged = Staging(
                connection,
                self._bucket,
                work,
                self._typed,
                erased=erasures.read(self._bucket),
                batch_bytes=self._limits.batch_bytes,
            )
            staged.add(info.key for info in infos)
            self._problems(staged.problems)
            events = staged.events
            outcomes = self._days(connection, staged, work)
        publish(self._bucket, self._folder, self._catalogue, outcomes, self._now_ms)
        self._count(staged, events, outcomes)
        self._finish(staged, {info.key: info for info in infos})

    def _days(self, connection: Any, staged: Staging, work: Path) -> list[day.Outcome]:
        """Write the files of each day; return what to publish."""
        outcomes = []
        for date in staged.days():
            outcome = self._day(connection, date, staged.of_day(date), work)
            if outcome.events:
                outcomes.append(outcome)
        return outcomes

    def _day(self, connection: Any, date: str, staged: staging.Staged, work: Path) -> day.Outcome:
        """Write the files of a day. Those that prove to be damaged are left as they are, as if they were cold."""
        import duckdb

        files = self._catalogue.manifest(date).files
        left = self._unreadable(date, files)

        def write(plan: merging.Plan) -> day.Outcome:
            return day.write(
                connection, self._bucket, work, date, plan, self._typed, f"({staged.sql})", is_sorted=staged.is_sorted
            )

        def planned() -> merging.Plan:
            return merging.plan(files, left, self._now_ms, self._warm_days)

        # What is wrong in a file that is merged would be as good as right: the new one has a digest of its own.
        left |= self._damaged(connection, (file for file in planned().merged if file.sha256 is not None))
        plan = planned()
        try:
            return write(plan)
        except (duckdb.OutOfMemoryException, duckdb.IOException):
            raise
        except duckdb.Error:
            damaged = self._damaged(connection, (*plan.merged, *plan.compared))
            if not damaged:
                raise
        left |= damaged
        return write(planned())

    def _damaged(self, connection: Any, files: Iterable[File]) -> set[str]:
        found = {file.key for file in files if is_damaged(connection, self._bucket.location(file.key), file)}
        self._problems(Problem(key, "is damaged", _PUT_BACK) for key in sorted(found))
        return found

    def _unreadable(self, date: str, files: Sequence[File]) -> set[str]:
        found, problems = unreadable(self._bucket, date, files)
        self._problems(problems)
        return found

    def _finish(self, staged: Staging, infos: Mapping[str, ObjectInfo]) -> None:
        """Note which records are compacted, and tag their objects: from now on they may be deleted."""
        runs: dict[str, list[Run]] = {}
        for one in staged.staged:
            runs.setdefault(shard_of(one), []).extend(runs_of(self._bucket, one))
        self._catalogue.add_compacted({shard: merged(found) for shard, found in runs.items()})
        for one in staged.staged:
            self._bucket.tag(one.key, {**infos[one.key].tags, TAG: "true"})
        self._summary.objects += len(staged.staged)

    def _count(self, staged: Staging, staged_events: int, outcomes: Sequence[day.Outcome]) -> None:
        summary = self._summary
        events = sum(outcome.events for outcome in outcomes)
        written = [each.file for outcome in outcomes for each in outcome.written]
        self._changed |= {outcome.day for outcome in outcomes}
        summary.records += staged.records
        summary.exact += staged.exact
        summary.faults += staged.faults
        summary.events += events
        summary.duplicates += staged_events - events
        summary.files += len(written)
        summary.bytes += sum(file.bytes for file in written)

    def _problems(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self._problem(problem)

    def _problem(self, problem: Problem) -> None:
        if (text := str(problem)) not in self._summary.problems:
            self._summary.problems.append(text)


_PUT_BACK = (
    "Put it back from a backup under the same name. What is new for its day goes to another file meanwhile, "
    "so nothing is lost or doubled."
)


def publish(
    bucket: Bucket, folder: Path, known: catalogue.Catalogue, outcomes: Sequence[day.Outcome], now_ms: int
) -> None:
    """Put files in the bucket, then in the catalogue; the lock is held. What a crash leaves is no reader's."""
    written = [each for outcome in outcomes for each in outcome.written]
    path = folder / _PENDING
    disk.write_file(path, msgspec.json.encode([each.file.key for each in written]))
    for each in written:
        bucket.put_file(each.file.key, each.path)
    for outcome in outcomes:
        known.change(outcome.day, lambda manifest, one=outcome: one.applied(manifest, now_ms))  # type: ignore[misc]
    path.unlink()


def remove_unfinished(bucket: Bucket, folder: Path, known: catalogue.Catalogue) -> None:
    """Delete files that never came into the catalogue, of a `publish` that was ended; the lock is held."""
    if keys := unfinished(folder):
        listed = {file.key for date in known.days() for file in known.manifest(date).files}
        for key in keys - listed:
            bucket.delete(key)
        (folder / _PENDING).unlink()


def unfinished(folder: Path) -> set[str]:
    """Return the files that a `publish` which has not ended, or was cut off, may leave in no manifest."""
    try:
        return set(msgspec.json.decode((folder / _PENDING).read_bytes(), type=list[str]))
    except FileNotFoundError:
        return set()


def uncounted(bucket: Bucket, folder: Path, known: catalogue.Catalogue, log: LifecycleLog) -> list[str]:
    """Return compacted files that are in no manifest, so that nobody reads them; not those that are about to go."""
    there = {info.key for info in bucket.list(FILES) if catalogue.is_file(info.key)}  # and then what is to be there
    coming = unfinished(folder)
    manifests = [known.manifest(day) for day in known.days()]
    counted = {file.key for manifest in manifests for file in manifest.files}
    going = {each.key for manifest in manifests for each in manifest.replaced}
    if left := there - coming - counted - going:
        left -= {line.key for line in log.lines() if line.action == "expire"}
        left &= {info.key for info in bucket.list(FILES)}
    return sorted(left)


def give_up(bucket: Bucket, known: catalogue.Catalogue, file: File) -> int:
    """Take a lost file out of the catalogue; return how many raw objects may hold some of its events.

    They are those of the hours in which its events arrived, and are compacted again. No compaction is at work; if this
    is cut off, it may be done again.
    """
    hours = (datetime.fromtimestamp(us // 1_000_000, UTC) for us in (file.first_arrival, file.last_arrival))
    first, last = (f"{RAW}dt={hour:%Y-%m-%d}/hour={hour:%H}/" for hour in hours)
    found = [info for info in bucket.list(RAW, tags=True) if first <= info.key[: len(first)] <= last and info.readable]
    for info in filter(_is_compacted, found):
        bucket.tag(info.key, {name: value for name, value in info.tags.items() if name != TAG})
    known.forget([file.key])
    return len(found)


def unreadable(bucket: Bucket, date: str, files: Sequence[File]) -> tuple[set[str], list[Problem]]:
    """Return the keys of a day's files that are cold, gone or damaged, and what of that should not be so."""
    infos = {info.key: info for info in bucket.list(f"{FILES}dt={date}/")} if files else {}
    found: set[str] = set()
    problems: list[Problem] = []
    for file in files:
        info = infos.get(file.key)
        if info is not None and info.size == file.bytes and info.storage_class not in COLD_CLASSES:
            continue
        found.add(file.key)
        if info is None:
            problems.append(Problem(file.key, "is in the catalogue, and not in the bucket", _PUT_BACK))
        elif info.size != file.bytes:
            problem = f"has {info.size:,} bytes, and not the {file.bytes:,} written"
            problems.append(Problem(file.key, problem, _PUT_BACK))
    return found, problems


def pending(bucket: Bucket, folder: Path | None = None) -> Iterator[ObjectInfo]:
    """Yield the raw objects that are not compacted yet, in the order of their keys.

    With the archive's work folder, what a compaction has noted as settled is not looked at.
    """
    infos = bucket.list(RAW, tags=True) if folder is None else settled.others(bucket, folder, RAW)
    return (info for info in infos if not _is_compacted(info))


def _is_compacted(info: ObjectInfo) -> bool:
    return info.tags.get(TAG) == "true"


def rounds(infos: Iterable[ObjectInfo], bytes_max: int, objects_max: int = ROUND_OBJECTS) -> Iterator[list[ObjectInfo]]:
    """Yield the objects some at a time. The listing is read to its end first: a round changes what it would say."""
    group: list[ObjectInfo] = []
    size = 0
    for info in list(infos):
        if group and (size + info.size > bytes_max or len(group) >= objects_max):
            yield group
            group, size = [], 0
        group.append(info)
        size += info.size
    if group:
        yield group


def shard_of(one: staging.Object) -> str:
    """Return what the catalogue calls the shard of an object's records."""
    return f"{one.name.stream}/{one.name.shard}"


def runs_of(bucket: Bucket, one: staging.Object) -> list[Run]:
    """Return the numbers of an object's records; none where they are not numbered as ours are."""
    if not one.is_numbered:
        return []
    first, last = (parse_sequence_number(text).number for text in (one.name.first, one.name.last))
    if one.name.records == last - first + 1:
        return [(first, last)]
    numbers = (parse_sequence_number(line.seq).number for line in raw.lines(bucket.get(one.key)))
    return merged((number, number) for number in numbers)
