"""The archive after a power cut at any moment, on a disk that keeps what was synced, and of all else what it likes.

Every event that was acknowledged is read once, doctor finds nothing damaged, and what was cut off goes on.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from headrace import clock, cold_folder
from headrace.archive import erasing, erasures, housekeeping, lifecycle, restores, transitions
from headrace.archive.base import Restore
from headrace.archive.lifecycle import Rule
from headrace.archive.lifecycle_log import LifecycleLog
from headrace.errors import InvalidObjectState
from headrace.operations import doctor
from headrace.settings import DATA_FORMAT, Layout
from support.archive import Archive, events, expected
from support.power_cut import Cut, recording

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
OLD = lifecycle.rules_of(
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
TOO_OLD = lifecycle.rules_of([{"Status": "Enabled", "Prefix": "events/", "ExpirationInDays": 2}])


class Site(Archive):
    """An archive in a data directory, with a cold folder."""

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self.data = data
        self.copies = data / "s3" / ".restored" / "archive"
        if not data.exists():
            (data / "s3").mkdir(parents=True)
            Layout(data).version.write_bytes(msgspec.json.encode({"format": DATA_FORMAT}))
            cold_folder.choose(data / "s3", None)

    def age(self, now_ms: int, rules: Sequence[Rule]) -> None:
        log = LifecycleLog(self.data / "lifecycle")
        outcome = housekeeping.run(
            self.bucket,
            rules,
            now_ms,
            lambda: True,
            log,
            minimum=lifecycle.VARIES,
            before_expiry=self.catalogue.forget,
        )
        assert outcome.problems == []

    def restore(self, asked: Restore) -> None:
        """Have all that is cold readable."""
        keys = [info.key for info in self.bucket.list() if not info.readable]
        self.bucket.restores.change({("archive", key): asked for key in keys})
        assert transitions.bring_restored(self.bucket, asked.ready_ms) == []

    def erase(self, device: str) -> None:
        noted = erasures.begin(self.bucket, device, (clock.now_ms() + 1) * 1000)
        erasing.erase(self.bucket, self.folder, noted)
        erasures.write(self.bucket, msgspec.structs.replace(noted, finished=True))

    def tidy(self) -> None:
        """Compact until nothing is left to be done or removed."""
        for _ in range(2):
            assert self.compact(grace_ms=0, now_ms=clock.now_ms() + 1).problems == []
        counted = {file.key for day in self.catalogue.days() for file in self.catalogue.manifest(day).files}
        assert set(self.files()) == counted
        assert all(self.bucket.tags(key)["compacted"] == "true" for key in self.files("raw/"))

    def damage(self) -> list[str]:
        """Return what doctor finds wrong with the archive."""
        found = doctor.examine(Layout(self.data)).findings
        return [one.problem for one in found if one.what in ("archive", "objects", "cold folder")]

    def holds(self, folder: Path) -> list[Path]:
        return [path for path in folder.rglob("*") if path.is_file()]


def is_work(path: str) -> bool:
    return path.startswith(("archive/run-", "archive/erase-", "archive/snapshots")) or path.endswith("lock")


def check(cuts: Sequence[Cut], folder: Path, goes_on: Callable[[Site, Cut], None]) -> None:
    assert len(cuts) > 15
    for number, cut in enumerate(cuts):
        cut.restore(folder / str(number))
        site = Site(folder / str(number))
        try:
            assert site.damage() == []
            goes_on(site, cut)
            assert site.damage() == []
        except Exception as error:
            error.add_note(f"A cut before {cut.before}, that keeps {cut.kept} of what was not synced; see {site.data}.")
            raise


def test_events_that_were_put_are_there(tmp_path: Path) -> None:
    site, hour_ms = Site(tmp_path / "data"), 1_785_000_000_000 // HOUR_MS * HOUR_MS
    put = 0
    with recording(site.data, lambda: put, is_work) as cuts:
        site.put(*events([0]), arrival_ms=hour_ms)
        put = 1
        site.bucket.tag(site.files("raw/")[0], {"a": "b" * 200})
        site.put(*events([1]), arrival_ms=hour_ms)
        put = 2
        site.bucket.path(site.files("raw/")[0]).parent.with_name("hour=23").mkdir()  # by somebody who is slow
        site.put(*events([2]), arrival_ms=hour_ms // DAY_MS * DAY_MS + 23 * HOUR_MS)
        put = 3

    def goes_on(site: Site, cut: Cut) -> None:
        found = site.identities()
        assert found in (expected(*events(range(cut.promise))), expected(*events(range(cut.promise + 1))))
        site.tidy()
        assert site.identities() == found

    check(cuts, tmp_path, goes_on)


def test_compaction_counts_each_event_once(tmp_path: Path) -> None:
    site = Site(tmp_path / "data")
    site.put(*events(range(4)), *events(range(4), day=2))
    site.compact()
    site.put(*events(range(2, 8)), *events(range(4), day=3))
    sent = expected(*events(range(8)), *events(range(4), day=2), *events(range(4), day=3))
    with recording(site.data, is_same=is_work) as cuts:
        site.tidy()

    def goes_on(site: Site, cut: Cut) -> None:
        assert site.identities() == sent
        site.tidy()
        assert site.identities() == sent

    check(cuts, tmp_path, goes_on)


def test_what_turns_cold_is_restored_and_what_was_restored_goes(tmp_path: Path) -> None:
    site = Site(tmp_path / "data")
    site.put(*events(range(8)))
    site.compact()
    sent = expected(*events(range(8)))
    later_ms = clock.now_ms() + 3 * DAY_MS
    asked = restores.new("GLACIER", 1, "Expedited", later_ms)
    with recording(site.data, is_same=is_work) as cuts:
        site.age(later_ms, OLD)
        site.restore(asked)
        assert transitions.bring_restored(site.bucket, asked.expires_ms) == []

    def goes_on(site: Site, cut: Cut) -> None:
        try:
            assert site.identities() == sent
        except InvalidObjectState:
            assert not any(info.readable for info in site.bucket.list("events/"))
        assert transitions.bring_restored(site.bucket, asked.expires_ms) == []
        assert not [path for path in site.holds(site.copies) if not path.name.startswith(".tmp-")]
        site.age(later_ms, OLD)
        assert not site.files("raw/") and {info.storage_class for info in site.bucket.list("events/")} == {"GLACIER"}
        assert len(site.holds(site.data / "cold")) == 2  # its marker, and the file
        site.restore(asked)
        assert site.identities() == sent
        assert len(site.holds(site.copies)) == 1

    check(cuts, tmp_path, goes_on)


def test_what_expires_goes_and_what_is_put_over_a_restored_object_is_read(tmp_path: Path) -> None:
    site, key = Site(tmp_path / "data"), "reports/daily/part-0"
    later_ms = clock.now_ms() + 3 * DAY_MS
    asked = restores.new("GLACIER", 9, "Expedited", later_ms)
    site.put(*events(range(4)))
    site.compact()
    site.bucket.put(key, b"old")
    transitions.transition(site.bucket, site.bucket.find(key), "GLACIER")
    site.age(later_ms, OLD)
    site.restore(asked)
    body = b"old"
    with recording(site.data, lambda: body, is_same=is_work) as cuts:
        site.bucket.put(key, b"new")
        body = b"new"
        site.age(later_ms, TOO_OLD)

    def goes_on(site: Site, cut: Cut) -> None:
        read = site.bucket.get(key)
        assert read in (cut.promise, b"new")
        if site.bucket.find(key).storage_class != "GLACIER":
            assert transitions.transition(site.bucket, site.bucket.find(key), "GLACIER")
        site.restore(asked)
        assert site.bucket.get(key) == read
        site.age(later_ms, TOO_OLD)
        assert site.files() == [] == site.identities()
        assert transitions.bring_restored(site.bucket, asked.expires_ms) == []
        assert not site.holds(site.copies)

    check(cuts, tmp_path, goes_on)


def test_what_was_erased_is_nowhere_and_other_devices_events_are_there(tmp_path: Path) -> None:
    site, sent = Site(tmp_path / "data"), [*events(range(4)), *events(range(4), day=2)]
    site.put(*sent[:4])
    site.compact()
    site.put(*sent[4:])
    others = expected(*(each for each in sent if each["device_id"] != "pump-1"))
    is_erased = False
    with recording(site.data, lambda: is_erased, is_work) as cuts:
        site.erase("pump-1")
        is_erased = True

    def goes_on(site: Site, cut: Cut) -> None:
        found = site.identities()
        assert [each for each in found if each[0] != "pump-1"] == others
        if not cut.promise:
            site.erase("pump-1")
        site.tidy()
        assert site.identities() == others
        for path in site.holds(site.data / "s3" / "archive" / "events"):
            assert b"pump-1" not in path.read_bytes()

    check(cuts, tmp_path, goes_on)
