"""Compaction, killed before each of its changes: readers see every event once throughout, and the next run ends it."""

import random
import threading
from collections.abc import Callable
from pathlib import Path

from headrace import clock, cold_folder
from headrace.archive import housekeeping, lifecycle, restores, transitions
from headrace.archive.lifecycle import VARIES
from headrace.archive.lifecycle_log import LifecycleLog
from headrace.archive.local import LocalBucket
from headrace.errors import InvalidObjectState
from support import death
from support.archive import Archive, events, expected


def run(folder: Path, what: str, step: int = 0, grace_ms: int = 3_600_000) -> int:
    return death.run("archive_process", folder, what, step, grace_ms).returncode


def test_killed_before_every_change(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.put(*events(range(4)), *events(range(4), day=2))
    assert run(tmp_path, "compact") == 0
    archive.put(*events(range(2, 8)), *events(range(4), day=3))
    archive.put(*events(range(6), day=2))
    sent = expected(*events(range(8)), *events(range(6), day=2), *events(range(4), day=3))
    killed = 0
    for step in range(1, 60):
        assert archive.identities() == sent
        code = run(tmp_path, "compact", step, 0)
        if code == 0:
            break
        assert code == -9
        killed += 1
    assert killed > 8 and archive.identities() == sent
    assert run(tmp_path, "compact", 0, 0) == 0
    known = {file.key for day in archive.catalogue.days() for file in archive.catalogue.manifest(day).files}
    assert set(archive.files()) == known and len(known) == 3  # a file a day, and nothing was left behind
    assert all(archive.bucket.tags(key) == {"compacted": "true"} for key in archive.files("raw/"))


def test_what_a_killed_reader_left_is_removed_by_the_next(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.put(*events(range(3)))
    assert run(tmp_path, "read") == -9
    snapshots = archive.folder / "snapshots"
    assert len([left for left in snapshots.iterdir() if left.is_dir()]) == 1
    assert archive.identities() == expected(*events(range(3)))
    assert not [left for left in snapshots.iterdir() if left.is_dir()]


class Beside(threading.Thread):
    """Does something over and over, until it is told to stop; what goes wrong is raised by `stop`."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__()
        self._work = work
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            while not self._ended.is_set():
                self._work()
        except BaseException as error:
            self._error = error

    def stop(self) -> None:
        self._ended.set()
        self.join()
        if self._error is not None:
            raise self._error


def test_a_readers_count_never_falls_while_events_come_and_compactions_are_killed(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    archive, reading = Archive(tmp_path), Archive(tmp_path)
    counts, codes = [0], set()
    sent: list[str] = []

    def write() -> None:
        start = 10 * len(sent)
        sent.extend(archive.put(*events(range(start, start + 15), day=1 + len(sent) % 3)))  # five of them again later

    def compact() -> None:
        codes.add(run(tmp_path, "compact", chance.choice((5, 9, 14, 1000))))

    compacting = Beside(compact)
    try:
        while len(counts) < 30 or len(codes) < 2:
            if len(sent) < 40:
                write()
            (found,) = reading.read("SELECT count(*), count(DISTINCT (device_id, time, id)) FROM events")
            assert found[0] == found[1] and found[0] >= counts[-1], (found, counts)
            counts.append(found[0])
    finally:
        compacting.stop()
    assert codes == {0, -9} and run(tmp_path, "compact") == 0
    (found,) = reading.read("SELECT count(*), count(DISTINCT (device_id, time, id)) FROM events")
    assert found[0] == found[1] == len(set(reading.identities())) >= counts[-1]
    assert all(archive.bucket.tags(key) == {"compacted": "true"} for key in archive.files("raw/"))


RULES = lifecycle.rules_of(
    [
        {
            "Status": "Enabled", "Prefix": "raw/", "ExpirationInDays": 1,
            "TagFilters": [{"Key": "compacted", "Value": "true"}],
        },
        {
            "Status": "Enabled", "Prefix": "events/",
            "Transitions": [{"StorageClass": "GLACIER", "TransitionInDays": 0}],
        },
    ]
)  # fmt: skip


def test_a_readers_count_never_falls_beside_writer_compaction_lifecycle_and_restore(tmp_path: Path) -> None:
    """A day later all at once: raw objects expire once they are compacted, files go cold, and are restored again.

    What is cold and not restored yet is told to the reader as such: it is never a lower count.
    """
    archive, reading = Archive(tmp_path), Archive(tmp_path)
    buckets = tmp_path / "s3"
    cold_folder.choose(buckets, tmp_path / "cold")
    log = LifecycleLog(tmp_path / "lifecycle")
    bucket = LocalBucket(buckets / "archive")
    later_ms = clock.now_ms() + 2 * 86_400_000
    counts, sent = [0], 0
    outcomes: list[housekeeping.Outcome] = []

    def compact() -> None:
        archive.compact(now_ms=later_ms, lifecycle=[])

    def age() -> None:
        outcomes.append(housekeeping.run(bucket, RULES, later_ms, lambda: True, log, minimum=VARIES))
        for info in bucket.list("events/"):
            if info.storage_class == "GLACIER" and info.restore is None:
                asked = restores.new("GLACIER", 9, "Expedited", later_ms, 1e9)
                bucket.restores.change({(bucket.name, info.key): asked._replace(ready_ms=later_ms)})
        assert transitions.bring_restored(bucket, later_ms) == []

    beside = [Beside(compact), Beside(age)]
    try:
        while len(counts) < 25 or sum(each.expired.objects for each in outcomes) < 5:
            if len(counts) % 2:
                sent += 10
                archive.put(*events(range(sent, sent + 15), day=1 + sent % 3))
            try:
                (found,) = reading.read("SELECT count(*), count(DISTINCT (device_id, time, id)) FROM events")
            except InvalidObjectState:
                continue
            assert found[0] == found[1] and found[0] >= counts[-1], (found, counts)
            counts.append(found[0])
    finally:
        for each in beside:
            each.stop()
    assert any(outcome.transitioned for outcome in outcomes)
