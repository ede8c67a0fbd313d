"""A cold folder on a disk of its own that is full, read-only or away: what is due stays, and goes once it is mended."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace import cold_folder
from headrace.archive import housekeeping, lifecycle
from headrace.archive.housekeeping import Outcome
from headrace.archive.lifecycle_log import LifecycleLog
from headrace.archive.local import LocalBucket
from support.small_disk import SmallDisk, small_disk

NOW = 1_785_000_000_000
RULE = {"Status": "Enabled", "Transitions": [{"StorageClass": "GLACIER", "TransitionInDays": 90}]}
BODY = os.urandom(1_000_000)
KEY = "events/dt=2026-01-01/part-0.parquet"


class Archive:
    """An object that is due, and a cold folder on a small disk."""

    def __init__(self, folder: Path, disk: SmallDisk) -> None:
        buckets = folder / "data" / "s3"
        buckets.mkdir(parents=True)
        self.cold = cold_folder.choose(buckets, disk.folder / "cold")
        self.bucket = LocalBucket(buckets / "archive")
        self.log = LifecycleLog(folder / "data" / "lifecycle")
        self.bucket.put(KEY, BODY)
        os.utime(buckets / "archive" / KEY, ns=(0, (NOW - 100 * lifecycle.DAY_MS) * 1_000_000))

    def run(self) -> Outcome:
        return housekeeping.run(self.bucket, lifecycle.rules_of([RULE]), NOW, lambda: True, self.log)

    def stays(self, problem: str) -> None:
        """Run, and find that it told the problem and the object is as it was."""
        outcome = self.run()
        assert len(outcome.problems) == 1 and problem in outcome.problems[0], outcome
        assert outcome.transitioned == {}
        assert self.bucket.get(KEY) == BODY
        assert [info.storage_class for info in self.bucket.list()] == ["STANDARD"]

    def goes(self) -> None:
        """Run, and find that the object has moved."""
        outcome = self.run()
        assert (outcome.problems, outcome.transitioned["GLACIER"].objects) == ([], 1)
        assert [(info.storage_class, info.readable) for info in self.bucket.list()] == [("GLACIER", False)]
        assert [path.name for path in (self.cold / "archive").rglob("*") if path.is_file()] == [Path(KEY).name]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path, 8) as mounted:
        yield mounted


def test_a_full_disk(tmp_path: Path, disk: SmallDisk) -> None:
    archive = Archive(tmp_path, disk)
    with disk.ballast(leave_bytes=300_000):
        archive.stays("No space left on device")
    archive.goes()


def test_a_read_only_disk(tmp_path: Path, disk: SmallDisk) -> None:
    archive = Archive(tmp_path, disk)
    subprocess.run(["mount", "-o", "remount,ro", disk.folder], check=True)
    archive.stays("Read-only file system")
    subprocess.run(["mount", "-o", "remount,rw", disk.folder], check=True)
    archive.goes()


def test_a_disk_that_is_not_mounted(tmp_path: Path, disk: SmallDisk) -> None:
    archive = Archive(tmp_path, disk)
    disk.unmount()
    archive.stays("Mount its disk")
    assert list(disk.folder.iterdir()) == []  # nothing went below the mount point
    disk.mount()
    archive.goes()
