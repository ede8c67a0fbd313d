"""Lifecycle rules executed on a bucket: what goes, what is logged, and the clock that is not believed."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace import cold_folder
from headrace.archive import housekeeping, lifecycle
from headrace.archive.housekeeping import Outcome
from headrace.archive.lifecycle import DAY_MS
from headrace.archive.lifecycle_log import LifecycleLog
from headrace.archive.local import LocalBucket
from headrace.errors import ClockInDoubt, StorageError

NOW = 1_785_000_000_000
RULES: list[dict[str, Any]] = [
    {"Id": "raw", "Status": "Enabled", "Prefix": "raw/", "TagFilters": [{"Key": "compacted", "Value": "true"}],
     "ExpirationInDays": 7},
    {"Id": "cold", "Status": "Enabled", "Prefix": "events/",
     "Transitions": [{"StorageClass": "GLACIER", "TransitionInDays": 90}], "ExpirationInDays": 1000},
    {"Id": "uploads", "Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}},
]  # fmt: skip


class Archive:
    """A bucket with rules, a log, and a clock to move."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data" / "s3" / "archive"
        self.folder.mkdir(parents=True)
        self.cold = cold_folder.choose(self.folder.parent, folder / "cold")
        self.bucket = LocalBucket(self.folder)
        self.log = LifecycleLog(folder / "data" / "lifecycle")
        self.believed = True

    def put(self, key: str, days_old: float, size: int = 200_000, **tags: str) -> None:
        self.bucket.put(key, bytes(size))
        self.age(key, days_old)
        if tags:
            self.bucket.tag(key, tags)

    def age(self, key: str, days_old: float) -> None:
        os.utime(self.folder / key, ns=(0, int(NOW - days_old * DAY_MS) * 1_000_000))

    def run(self, now_ms: int = NOW, **keywords: Any) -> Outcome:
        rules = lifecycle.rules_of(RULES)
        return housekeeping.run(self.bucket, rules, now_ms, lambda: self.believed, self.log, **keywords)

    def classes(self) -> dict[str, str]:
        return {info.key: info.storage_class for info in self.bucket.list()}


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    found = Archive(tmp_path)
    found.put("raw/old", 30, compacted="true")
    found.put("raw/old-untagged", 30)
    found.put("raw/new", 3, compacted="true")
    found.put("events/new", 30)
    found.put("events/cold", 100)
    found.put("events/small", 100, size=10)
    found.put("events/ancient", 1002)
    found.put("other/ancient", 1002)
    return found


LEFT = {
    "events/cold": "GLACIER", "events/new": "STANDARD", "events/small": "STANDARD", "other/ancient": "STANDARD",
    "raw/new": "STANDARD", "raw/old-untagged": "STANDARD",
}  # fmt: skip


def test_what_rules_name_goes_and_nothing_else(archive: Archive) -> None:
    outcome = archive.run()
    assert archive.classes() == LEFT
    assert (outcome.expired.objects, outcome.expired.bytes) == (2, 400_000)
    assert {name: (count.objects, count.bytes) for name, count in outcome.transitioned.items()} == {
        "GLACIER": (1, 200_000)
    }
    assert outcome.problems == []
    again = archive.run()
    assert (again.expired.objects, again.transitioned, archive.classes()) == (0, {}, LEFT)


def test_every_move_and_deletion_is_logged(archive: Archive) -> None:
    archive.run()
    lines = archive.log.read(100)
    assert [(line.action, line.key, line.rule, line.storage_class, line.to) for line in lines] == [
        ("expire", "events/ancient", "cold", "STANDARD", None),
        ("expire", "raw/old", "raw", "STANDARD", None),
        ("transition", "events/cold", "cold", "STANDARD", "GLACIER"),
    ]
    assert {(line.bucket, line.at_ms, line.size) for line in lines} == {("archive", NOW, 200_000)}
    assert [line.key for line in archive.log.read(1)] == ["events/cold"]
    archive.log.append([msgspec.structs.replace(lines[0], at_ms=NOW + 40 * DAY_MS)])
    assert archive.log.read(2) == archive.log.read(100)[-2:], "of two months"


def test_a_line_that_a_crash_cut_off_costs_no_other(archive: Archive, tmp_path: Path) -> None:
    archive.run()
    (path,) = (tmp_path / "data" / "lifecycle").glob("*.ndjson")
    path.write_bytes(path.read_bytes()[:-20])
    archive.put("raw/more", 30, compacted="true")
    archive.run()
    assert [line.key for line in archive.log.read(100)] == ["events/ancient", "raw/old", "raw/more"]


def test_a_log_that_can_not_be_written_stops_the_deletion(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "data" / "lifecycle").symlink_to("/proc/self")
    before = archive.classes()
    with pytest.raises(StorageError):
        archive.run()
    assert archive.classes() == before


def test_uploads_that_were_cut_off_are_removed_in_time(archive: Archive) -> None:
    for name, days in (("raw/.tmp-old", 9), ("raw/.tmp-new", 2)):
        (archive.folder / name).write_bytes(b"half")
        archive.age(name, days)
    assert archive.run().aborted.objects == 1
    assert [path.name for path in (archive.folder / "raw").glob(".tmp-*")] == [".tmp-new"]


# --- the clock


def test_a_clock_before_the_newest_object_stops_the_run(archive: Archive) -> None:
    before = archive.classes()
    with pytest.raises(ClockInDoubt, match="but events/new was created at") as caught:
        archive.run(NOW - 40 * DAY_MS)
    assert "headrace lifecycle run --clock-is-right" in caught.value.hint
    assert archive.classes() == before and archive.log.read(10) == []
    archive.put("new", 0)
    assert archive.run(NOW - 30_000).expired.objects == 2  # clocks differ a little


def test_a_clock_far_from_the_last_run_stops_the_run_until_it_is_confirmed(archive: Archive) -> None:
    before = archive.classes()
    archive.believed = False
    with pytest.raises(ClockInDoubt, match="days away from the last run"):
        archive.run()
    assert archive.classes() == before
    assert archive.run(trust_clock=True).expired.objects == 2
    assert archive.classes() == LEFT


def test_a_clock_that_is_set_amid_a_run_stops_it(archive: Archive) -> None:
    for number in range(450):
        archive.put(f"raw/{number:04d}", 30, size=1)
    for number in range(450):
        archive.bucket.tag(f"raw/{number:04d}", {"compacted": "true"})
    answers = iter([True, True, False])
    rules = lifecycle.rules_of(RULES)
    outcome = housekeeping.run(archive.bucket, rules, NOW, lambda: next(answers, False), archive.log)
    assert outcome.expired.objects == 200
    assert "events/cold" in archive.classes()


def test_a_cold_folder_that_is_away_is_a_problem_that_is_told_and_expiry_goes_on(archive: Archive) -> None:
    archive.put("events/cold-2", 100)
    archive.cold.rename(archive.cold.with_name("away"))
    outcome = archive.run()
    (problem,) = outcome.problems
    assert "is not there" in problem and "Mount its disk" in problem
    assert outcome.expired.objects == 2 and outcome.transitioned == {}
    assert archive.classes() == LEFT | {"events/cold": "STANDARD", "events/cold-2": "STANDARD"}


def test_what_can_not_be_deleted_for_now_is_not_in_the_log(archive: Archive) -> None:
    archive.run()
    before = archive.log.read(100)
    away = archive.cold.rename(archive.cold.with_name("away"))
    for _ in range(2):
        outcome = archive.run(NOW + 1000 * DAY_MS)
        assert "is not there" in outcome.problems[0]
        assert archive.classes()["events/cold"] == "GLACIER"
    assert "events/cold" not in {line.key for line in archive.log.read(100)[len(before) :]}
    away.rename(archive.cold)
    archive.run(NOW + 1000 * DAY_MS)
    assert "events/cold" not in archive.classes()


def test_a_run_that_is_stopped_begins_nothing_more(archive: Archive) -> None:
    before = archive.classes()
    assert archive.run(is_stopped=lambda: True).expired.objects == 0
    assert archive.classes() == before


def test_a_bucket_without_rules_is_not_even_looked_at(tmp_path: Path) -> None:
    bucket = LocalBucket(tmp_path / "s3" / "b")
    outcome = housekeeping.run(bucket, [], NOW, lambda: False, LifecycleLog(tmp_path / "lifecycle"))
    assert (outcome.expired.objects, outcome.problems) == (0, [])
