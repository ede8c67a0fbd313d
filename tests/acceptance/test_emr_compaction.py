"""Compaction on a cluster equals compaction on one machine; the tasks are done in this process, S3 is moto's."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from headrace.archive import erasures
from headrace.archive.copies import Copies
from headrace.emr import archived, compact, spread, tasks
from headrace.emr.lease import Lease
from headrace.errors import Conflict
from support.archive import DAY_MS, READINGS, event, events
from support.emr import Killed, SharedArchive, rows, rows_here, shared
from support.memory import ARRIVAL_MS


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[SharedArchive]:
    with shared(tmp_path) as made:
        yield made


def test_the_same_files_as_on_one_machine(archive: SharedArchive) -> None:
    odd = b'{"device_id":"d","time":"2026-07-01T00:00:00Z","id":"odd","temperature":70.50,"humidity":"wet","x":1.50}'
    archive.put(*events(range(40)), *events(range(30), day=2))
    archive.put(*events(range(20, 50)), odd, b"no event", shard=1)
    ours, theirs = archive.compact(stage_bytes=1), archive.here.compact()
    assert archive.rows() == rows_here(archive.here)
    for name in ("objects", "records", "events", "duplicates", "faults", "days", "files", "deleted"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert archive.catalogue.compacted() == archive.here.catalogue.compacted()
    assert all(archive.bucket.tags(key) == {"compacted": "true"} for key in archive.keys("raw/"))
    assert archive.keys("jobs/compact/") == ["jobs/compact/lease.json"]


def test_later_events_are_merged_and_known_ones_left_as_they_were(archive: SharedArchive) -> None:
    archive.put(*events(range(30)))
    archive.compact()
    archive.here.compact()
    (before,) = archive.keys("events/")
    archive.put(*events(range(20, 40)), event(3, temperature=99))
    archive.compact()
    archive.here.compact()
    assert archive.rows() == rows_here(archive.here)
    (after,) = set(archive.keys("events/")) - {before}
    manifest = archive.catalogue.manifest("2026-07-01")
    assert [file.key for file in manifest.files] == [after] and [each.key for each in manifest.replaced] == [before]
    archive.compact(grace_ms=0)
    assert archive.keys("events/") == [after]


def test_a_large_day_is_divided_among_tasks(archive: SharedArchive) -> None:
    for first in (0, 50, 80):  # the last brings news to some devices alone, and the files of all are replaced
        sent = [
            event(number, device_id=f"d-{number % 10}'", time="2026-07-01T00:00:00Z") for number in range(first, 100)
        ]
        archive.put(*sent, *([event(1000, device_id="d-3'")] if first == 80 else []))
        archive.compact(part_bytes=2000)
        archive.here.compact()
        assert archive.rows() == rows_here(archive.here)
    files = archive.catalogue.manifest("2026-07-01").files
    assert len(files) > 2
    ordered = sorted(files, key=lambda file: file.first_device)
    assert all(one.last_device < other.first_device for one, other in pairwise(ordered))


def test_what_is_new_for_a_day_with_cold_files_goes_to_an_unchecked_one(archive: SharedArchive) -> None:
    archive.put(*events(range(10)))
    archive.compact()
    archive.put(*events(range(5, 15)))
    archive.compact(warm_days=0)
    first, second = archive.catalogue.manifest("2026-07-01").files
    assert (first.unchecked, second.unchecked) == (False, True) and second.rows == 10


def stopping(after: int, calls: list[int]) -> spread.Spread:
    """Return what does tasks here, but ends in the middle of the task `after`: before it has answered."""

    def run(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        answers = []
        for item in items:
            answers.append(function(item))
            calls.append(1)
            if len(calls) == after:
                raise Killed
        return answers

    return run


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_run_that_is_killed_leaves_nothing_half(archive: SharedArchive, after: int) -> None:
    archive.put(*events(range(30)), *events(range(10), day=2))
    archive.put(*events(range(20, 40)), shard=1)
    with pytest.raises(Killed):
        archive.compact(stopping(after, []), stage_bytes=1)
    assert archive.rows() == [] and not any(archive.bucket.tags(key) for key in archive.keys("raw/"))
    assert archive.keys("jobs/compact/attempts/")
    archive.compact()
    archive.here.compact()
    assert archive.rows() == rows_here(archive.here)
    listed = [file.key for day in archive.catalogue.days() for file in archive.catalogue.manifest(day).files]
    assert archive.keys("events/") == sorted(listed)
    assert archive.keys("jobs/compact/") == ["jobs/compact/lease.json"]


def test_two_at_once_don_t_overwrite_each_other(archive: SharedArchive) -> None:
    archive.put(*events(range(30)))

    def meanwhile(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        answers = spread.here(function, items)
        if function is tasks.merge_each:  # another run publishes the day between this one's work and its manifest
            settings = compact.Settings(("temperature", "humidity"), None)
            compact.compact(archive.source, archive.catalogue, spread.here, Always(), settings)
        return answers

    with pytest.raises(Conflict, match="somebody else"):
        archive.compact(meanwhile)
    assert len(archive.catalogue.manifest("2026-07-01").files) == 1
    archive.put(*events(range(25, 35), day=1), arrival_ms=ARRIVAL_MS + DAY_MS)
    archive.compact()
    archive.here.compact()
    assert [row[:3] for row in archive.rows()] == [row[:3] for row in rows_here(archive.here)]


class Always(Lease):
    """A lease that is never lost."""

    def __init__(self) -> None:
        pass

    def check(self) -> None:
        pass


def test_what_was_erased_is_not_compacted(archive: SharedArchive) -> None:
    archive.put(*events(range(30)))
    for bucket in (archive.bucket, archive.here.bucket):
        erasures.begin(bucket, "pump-1", (ARRIVAL_MS + 1) * 1000)
    archive.compact()
    archive.here.compact()
    assert archive.rows() == rows_here(archive.here)
    assert {row[0] for row in archive.rows()} == {"pump-0", "pump-2"}


def test_reports_read_each_event_once(archive: SharedArchive, tmp_path: Path) -> None:
    archive.put(*events(range(10)), *events(range(4), day=2))
    archive.compact()
    archive.put(*events(range(5, 15)))
    archive.compact(warm_days=0)  # an `unchecked` file, five of whose events are in the first one
    first, _ = archive.catalogue.manifest("2026-07-01").files
    erasures.write(archive.bucket, erasures.Erasure("pump-1", (ARRIVAL_MS + 1) * 1000, cold=(first.key,)))
    holding = archived.take(archive.source, archive.catalogue, READINGS)
    assert list(holding.unchecked) == [date(2026, 7, 1)]
    held = archived.checked(archive.source, holding, None, "jobs/x/attempts/y", spread.here, 512)
    near = Copies(archive.bucket, tmp_path / "read")
    paths = [near.location(url.removeprefix(archive.source.url(""))) for url in held.days[date(2026, 7, 1)].files]
    found = [row[0] for row in rows(paths)]
    assert sorted(found) == sorted(f"pump-{number % 3}" for number in range(15) if number % 3 != 1)
    assert held.days[date(2026, 7, 2)] == holding.archived.days[date(2026, 7, 2)]
