"""Compaction on a cluster: files and catalogue as on one machine (`archive/compaction.py`), made by many executors.

Raw objects are decoded some at a time, each task's rows going to a file a day. Then each day, or each part of a large
one, is merged by a task. The driver alone changes the catalogue: a day appears all at once when its manifest is put,
and only if that is still the one that the plan was made of. Raw objects are tagged after that. Whatever ends a run, the
next one removes what was not put into the catalogue and goes on, as it does on one machine.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from uuid import uuid4

import msgspec

from headrace import clock
from headrace.archive import compaction, day, merging
from headrace.archive.base import ObjectInfo
from headrace.archive.catalogue import FILES, Catalogue, Manifest, Run, merged
from headrace.archive.compaction import GRACE_MS, TAG, Summary
from headrace.emr import storage, tasks
from headrace.emr.lease import Lease
from headrace.emr.spread import Spread
from headrace.emr.storage import Source
from headrace.errors import Conflict

JOB = "compact"
WORK = f"jobs/{JOB}/attempts/"
RUN = f"jobs/{JOB}/run.json"
VERSION = 1
ROUND_BYTES = 64 * 1024 * 1024 * 1024  # of raw objects, compressed; the driver holds what a listing says of them
ROUND_OBJECTS = 500_000
STAGE_BYTES = 64 * 1024 * 1024  # of raw objects in one task
STAGE_OBJECTS = 400
PART_BYTES = 768 * 1024 * 1024  # of a day in one task
MERGES_A_TASK = 50


class _Run(msgspec.Struct):
    """The run whose files may be in the bucket without being in the catalogue: their names end with `-<run>`."""

    run: str
    version: int = VERSION


class Settings(NamedTuple):
    """How to compact: the readings with columns, after how many days files turn cold (None: never), memory a task."""

    typed: tuple[str, ...]
    warm_days: int | None
    memory_mb: int = 1024
    grace_ms: int = GRACE_MS
    stage_bytes: int = STAGE_BYTES
    part_bytes: int = PART_BYTES


class _Day(NamedTuple):
    """What becomes of a day: `before` is the manifest that the plan was made of."""

    before: Manifest
    plan: merging.Plan
    merges: list[tasks.Merge]


def compact(source: Source, catalogue: Catalogue, spread: Spread, lease: Lease, settings: Settings) -> Summary:
    """Compact what the archive's bucket holds; the lease is that of the job. Raises HeadraceError."""
    with ThreadPoolExecutor(storage.THREADS) as pool:
        return _Compaction(source, catalogue, spread, lease, settings, pool).all()


class _Compaction:
    def __init__(
        self,
        source: Source,
        catalogue: Catalogue,
        spread: Spread,
        lease: Lease,
        settings: Settings,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._source = source
        self._bucket = storage.bucket(source)
        self._catalogue = catalogue
        self._spread = spread
        self._lease = lease
        self._settings = settings
        self._pool = pool
        self._run = uuid4().hex[:8]
        self._summary = Summary()
        self._changed: set[str] = set()

    def all(self) -> Summary:
        """Clean up after runs before, then do round after round."""
        began_s = clock.monotonic_s()
        self._clean()
        self._bucket.put(RUN, msgspec.json.encode(_Run(self._run)))
        for infos in compaction.rounds(self._pending(), ROUND_BYTES, ROUND_OBJECTS):
            self._round({info.key: info for info in infos})
        self._clean_files(self._run, set())
        self._bucket.delete(RUN)
        self._summary.days = len(self._changed)
        self._summary.duration_ms = round(1000 * (clock.monotonic_s() - began_s))
        return self._summary

    def _clean(self) -> None:
        """Remove what a run that was ended left, and files that were replaced long enough ago."""
        self._delete(info.key for info in self._bucket.list(WORK))
        due_ms = clock.now_ms() - self._settings.grace_ms
        known: set[str] = set()
        for manifest in self._pool.map(self._catalogue.manifest, self._catalogue.days()):
            known.update(file.key for file in manifest.files)
            known.update(each.key for each in manifest.replaced)
            gone = {each.key for each in manifest.replaced if each.at_ms <= due_ms}
            self._delete(gone)
            self._catalogue.forget(gone)
            self._summary.deleted += len(gone)
        for info in list(self._bucket.list(RUN)):
            left = msgspec.json.decode(self._bucket.get(info.key), type=_Run)
            self._clean_files(left.run, known)

    def _clean_files(self, run: str, known: set[str]) -> None:
        """Remove the files of a run that are in no manifest."""
        ending = f"-{run}.parquet"
        keys = [info.key for info in self._bucket.list(FILES) if info.key.endswith(ending) and info.key not in known]
        if keys and not known:
            manifests = self._pool.map(self._catalogue.manifest, self._catalogue.days())
            for manifest in manifests:
                known = known | {file.key for file in manifest.files} | {each.key for each in manifest.replaced}
        self._delete(key for key in keys if key not in known)

    def _delete(self, keys: Iterable[str]) -> None:
        list(self._pool.map(self._bucket.delete, keys))

    def _pending(self) -> Iterator[ObjectInfo]:
        """Yield the raw objects that are not compacted, with their tags: a request each, many at once."""
        infos = list(self._bucket.list("raw/"))
        for info, tags in zip(infos, self._pool.map(lambda info: self._bucket.tags(info.key), infos), strict=True):
            if tags.get(TAG) != "true":
                yield info._replace(tags=tags)

    def _round(self, infos: dict[str, ObjectInfo]) -> None:
        target = f"{WORK}{self._run}"
        groups = compaction.rounds(infos.values(), self._settings.stage_bytes, STAGE_OBJECTS)
        stages = [
            tasks.Stage(
                self._source, tuple(info.key for info in group), self._settings.typed, target, self._settings.memory_mb
            )
            for group in groups
        ]
        staged = self._spread(tasks.stage, stages)
        days: dict[str, list[tasks.StagedFile]] = {}
        for each in staged:
            self._note(map(str, each.problems))
            for date, file in each.files.items():
                days.setdefault(date, []).append(file)
        planned = list(self._pool.map(lambda item: self._planned(*item), sorted(days.items())))
        merges = [merge for one in planned for merge in one.merges]
        shared = tasks.grouped(merges, self._settings.part_bytes // 8, MERGES_A_TASK)
        answers = iter([answer for answered in self._spread(tasks.merge_each, shared) for answer in answered])
        merged_days = [(one, [next(answers) for _ in one.merges]) for one in planned]
        outcomes = list(self._pool.map(lambda item: self._publish(*item), merged_days))
        self._finish(infos, staged)
        self._count(staged, outcomes)
        self._delete(info.key for info in self._bucket.list(f"{target}/"))

    def _planned(self, date: str, files: Sequence[tasks.StagedFile]) -> _Day:
        before = self._catalogue.manifest(date)
        unreadable, problems = compaction.unreadable(self._bucket, date, before.files)
        self._note(map(str, problems))
        plan = merging.plan(before.files, unreadable, clock.now_ms(), self._settings.warm_days)
        merged_bytes = sum(file.bytes for file in plan.merged)
        parts = tasks.parts(files, merged_bytes, self._settings.part_bytes)
        keys = tuple(file.key for file in files)
        size = (merged_bytes + sum(file.bytes for file in files)) // len(parts)
        merges = [
            tasks.Merge(
                self._source,
                date,
                keys,
                plan,
                self._settings.typed,
                part,
                f"-{self._run}",
                self._settings.memory_mb,
                size,
            )
            for part in parts
        ]
        return _Day(before, plan, merges)

    def _publish(self, planned: _Day, answers: Sequence[tasks.Merged]) -> day.Outcome:
        """Put a day into the catalogue, if it has news: else its files stay as they are."""
        date, events = planned.before.date, sum(answer.events for answer in answers)
        if not events:
            return day.Outcome(date, (), (), 0)
        written = tuple(day.Written(file, day.NOWHERE) for answer in answers for file in answer.files)
        outcome = day.Outcome(date, written, planned.plan.merged, events)

        def changed(manifest: Manifest) -> Manifest:
            if manifest.files != planned.before.files:
                raise Conflict(f"{date} was compacted by somebody else meanwhile.", "Run the compaction again.")
            return outcome.applied(manifest, clock.now_ms())

        self._lease.check()
        self._catalogue.change(date, changed)
        return outcome

    def _finish(self, infos: dict[str, ObjectInfo], staged: Sequence[tasks.Staged]) -> None:
        """Note which records are compacted, and tag their objects: from now on they may be deleted."""
        runs: dict[str, list[Run]] = {}
        for each in staged:
            for shard, found in each.objects.values():
                runs.setdefault(shard, []).extend(found)
        self._lease.check()
        self._catalogue.add_compacted({shard: merged(found) for shard, found in runs.items()})
        keys = [key for each in staged for key in each.objects]
        list(self._pool.map(lambda key: self._bucket.tag(key, {**infos[key].tags, TAG: "true"}), keys))
        self._summary.objects += len(keys)

    def _count(self, staged: Sequence[tasks.Staged], outcomes: Sequence[day.Outcome]) -> None:
        summary, events = self._summary, sum(outcome.events for outcome in outcomes)
        files = [each.file for outcome in outcomes for each in outcome.written]
        self._changed |= {outcome.day for outcome in outcomes if outcome.events}
        summary.files += len(files)
        summary.bytes += sum(file.bytes for file in files)
        summary.records += sum(each.records for each in staged)
        summary.exact += sum(each.exact for each in staged)
        summary.faults += sum(each.faults for each in staged)
        summary.events += events
        summary.duplicates += sum(each.events for each in staged) - events

    def _note(self, problems: Iterable[str]) -> None:
        self._summary.problems += [text for text in problems if text not in self._summary.problems]
