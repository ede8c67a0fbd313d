"""Objects that turn cold: moved, kept, restored, deleted; and a cold folder that is not what it should be."""

import json
import os
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace import cold_folder
from headrace.archive import restores, transitions
from headrace.archive.base import ObjectInfo
from headrace.archive.local import LocalBucket
from headrace.archive.restores import DAY_MS
from headrace.errors import DataDirectoryError, InvalidObjectState, NotFound, StorageError, UsageError

KEY = "events/dt=2026-01-01/part-0.parquet"
TEXT = b'{"device_id": "pump-1", "temperature_f": 70.5}\n' * 4000
NOISE = os.urandom(150_000)
CREATED = 1_785_000_000_123


class Place:
    """A bucket in a data directory, and its cold folder on `another disk`."""

    def __init__(self, folder: Path) -> None:
        self.buckets = folder / "data" / "s3"
        self.buckets.mkdir(parents=True)
        self.cold = cold_folder.choose(self.buckets, folder / "other-disk" / "cold")
        self.bucket = LocalBucket(self.buckets / "archive")

    def put(self, body: bytes, key: str = KEY) -> ObjectInfo:
        self.bucket.put(key, body)
        os.utime(self.buckets / "archive" / key, ns=(0, CREATED * 1_000_000))
        return self.bucket.find(key)

    def freeze(self, body: bytes = TEXT, key: str = KEY, storage_class: str = "GLACIER") -> ObjectInfo:
        assert transitions.transition(self.bucket, self.put(body, key), storage_class)
        return self.bucket.find(key)

    def restore(self, days: int = 1, now_ms: int = CREATED, key: str = KEY) -> None:
        info = self.bucket.find(key)
        self.bucket.restores.change({("archive", key): restores.new(info.storage_class, days, "Standard", now_ms)})


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize(("body", "packed"), [(TEXT, True), (NOISE, False), (b"", False)])
def test_a_cold_object_is_listed_as_before_and_can_not_be_read(place: Place, body: bytes, packed: bool) -> None:
    hot = place.put(body)
    place.bucket.tag(KEY, {"a": "b"})
    assert transitions.transition(place.bucket, hot, "GLACIER")
    (listed,) = place.bucket.list(tags=True)
    assert listed == ObjectInfo(KEY, len(body), CREATED, "GLACIER", readable=False, tags={"a": "b"})
    for ask in (place.bucket.get, place.bucket.location):
        with pytest.raises(InvalidObjectState) as caught:
            ask(KEY)
        assert f"headrace archive restore {KEY}" in caught.value.hint
    assert not (place.buckets / "archive" / KEY).exists()
    cold = place.cold / "archive" / KEY
    assert (cold.read_bytes() != body) == packed
    assert cold.stat().st_size <= len(body)
    assert cold.stat().st_mtime_ns // 1_000_000 == CREATED


@pytest.mark.parametrize("storage_class", ["STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"])
def test_other_classes_stay_readable_at_once(place: Place, storage_class: str) -> None:
    info = place.freeze(storage_class=storage_class)
    assert (info.storage_class, info.modified_ms, info.readable) == (storage_class, CREATED, True)
    assert place.bucket.get(KEY) == TEXT
    assert place.bucket.location(KEY) == str(place.buckets / "archive" / KEY)
    assert not (place.cold / "archive").exists()


def test_from_glacier_to_deep_archive_only_the_class_changes(place: Place) -> None:
    info = place.freeze()
    before = (place.cold / "archive" / KEY).stat()
    assert transitions.transition(place.bucket, info, "DEEP_ARCHIVE")
    assert place.bucket.find(KEY).storage_class == "DEEP_ARCHIVE"
    assert (place.cold / "archive" / KEY).stat() == before


@pytest.mark.parametrize("body", [TEXT, NOISE, b""])
def test_a_restored_copy_is_readable_until_its_days_are_over(place: Place, body: bytes) -> None:
    place.freeze(body)
    place.restore(days=2)
    ready_ms = CREATED + 5 * 3_600_000
    for early_ms in (CREATED, ready_ms - 1):
        assert transitions.bring_restored(place.bucket, early_ms) == []
        assert not place.bucket.find(KEY).readable
    transitions.bring_restored(place.bucket, ready_ms)
    found = LocalBucket(place.buckets / "archive")
    info = found.find(KEY)
    assert info.restore is not None
    assert (info.readable, info.storage_class, info.restore.done) == (True, "GLACIER", True)
    assert found.get(KEY) == Path(found.location(KEY)).read_bytes() == body
    expires_ms = info.restore.expires_ms
    assert expires_ms % DAY_MS == 0 and 0 <= expires_ms - (ready_ms + 2 * DAY_MS) < DAY_MS
    transitions.bring_restored(place.bucket, expires_ms - 1)
    assert place.bucket.get(KEY) == body
    transitions.bring_restored(place.bucket, expires_ms)
    assert place.bucket.find(KEY) == info._replace(readable=False, restore=None)
    assert not place.bucket.restores.path("archive", KEY).exists()


@pytest.mark.parametrize(
    ("storage_class", "tier", "wait_min"),
    [
        ("GLACIER", "Expedited", 5),
        ("GLACIER", "Standard", 300),
        ("GLACIER", "Bulk", 720),
        ("DEEP_ARCHIVE", "Standard", 720),
        ("DEEP_ARCHIVE", "Bulk", 2880),
    ],
)
def test_tiers_take_their_time_and_a_trial_less(storage_class: str, tier: str, wait_min: int) -> None:
    assert restores.new(storage_class, 1, tier, CREATED).ready_ms == CREATED + wait_min * 60_000
    assert restores.new(storage_class, 1, tier, CREATED, speed=60).ready_ms == CREATED + wait_min * 1000


@pytest.mark.parametrize(
    ("storage_class", "days", "tier", "says"),
    [
        ("STANDARD", 1, "Standard", "Restore is not allowed for the object's current storage class"),
        ("GLACIER_IR", 1, "Standard", "Restore is not allowed for the object's current storage class"),
        ("DEEP_ARCHIVE", 1, "Expedited", "Retrieval option is not supported by this storage class"),
        ("GLACIER", 1, "Fast", "Retrieval option is not supported by this storage class"),
        ("GLACIER", 0, "Standard", "can't be kept for 0 days"),
        ("GLACIER", 36_501, "Standard", "can't be kept for 36501 days"),
    ],
)
def test_restores_that_aws_refuses(storage_class: str, days: int, tier: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        restores.new(storage_class, days, tier, CREATED)


def test_a_put_over_a_cold_object_is_a_new_one(place: Place) -> None:
    place.freeze()
    place.restore()
    transitions.bring_restored(place.bucket, CREATED + DAY_MS)
    place.bucket.put(KEY, b"new")
    info = place.bucket.find(KEY)
    assert (info.storage_class, info.size, info.readable, info.restore) == ("STANDARD", 3, True, None)
    assert place.bucket.get(KEY) == b"new"
    assert not (place.cold / "archive" / KEY).exists()
    assert not place.bucket.restores.path("archive", KEY).exists()


def test_a_deleted_cold_object_is_gone_everywhere(place: Place) -> None:
    place.freeze()
    place.restore()
    transitions.bring_restored(place.bucket, CREATED + DAY_MS)
    place.bucket.delete(KEY)
    assert list(place.bucket.list()) == []
    with pytest.raises(NotFound):
        place.bucket.get(KEY)
    left = [path for path in place.buckets.parent.parent.rglob("*") if path.name == Path(KEY).name]
    assert left == []


def test_what_was_listed_and_is_another_object_by_now_is_left_alone(place: Place) -> None:
    listed = place.put(TEXT)
    place.bucket.put(KEY, b"newer")
    assert not transitions.transition(place.bucket, listed, "GLACIER")
    assert not transitions.transition(place.bucket, listed, "STANDARD_IA")
    assert not transitions.expire(place.bucket, listed)
    assert place.bucket.get(KEY) == b"newer"
    tagged = place.put(TEXT)
    place.bucket.tag(KEY, {"keep": "me"})
    assert not transitions.expire(place.bucket, tagged)
    place.bucket.delete(KEY)
    assert not transitions.transition(place.bucket, listed, "GLACIER")
    assert not transitions.expire(place.bucket, listed)
    assert list(place.bucket.list()) == []


def test_two_that_move_the_same_object(place: Place) -> None:
    infos = [place.put(NOISE[:5000], f"events/{number}") for number in range(20)]
    done: list[bool] = []

    def move() -> None:
        bucket = LocalBucket(place.buckets / "archive")
        done.extend(transitions.transition(bucket, info, "GLACIER") for info in infos)

    threads = [threading.Thread(target=move) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 60 and done.count(True) == 20
    assert {info.storage_class for info in place.bucket.list()} == {"GLACIER"}
    for info in infos:
        place.restore(key=info.key)
    assert transitions.bring_restored(place.bucket, CREATED + DAY_MS) == []
    assert {place.bucket.get(info.key) for info in infos} == {NOISE[:5000]}


def test_a_cold_key_may_be_the_folder_of_others(place: Place) -> None:
    place.freeze(key="a")
    place.bucket.put("a/b", b"1")
    assert [(info.key, info.storage_class) for info in place.bucket.list()] == [("a", "GLACIER"), ("a/b", "STANDARD")]


def test_a_listing_misses_no_object_that_is_moved_meanwhile(place: Place) -> None:
    keys = [f"events/{number:02d}" for number in range(40)]
    infos = [place.put(NOISE[:2000], key) for key in keys]
    reader = LocalBucket(place.buckets / "archive")
    listings: list[list[str]] = []
    moved = threading.Event()

    def read() -> None:
        while not moved.is_set():
            listings.append([info.key for info in reader.list()])
            for key in keys:
                reader.find(key)

    thread = threading.Thread(target=read)
    thread.start()
    for info in infos:
        assert transitions.transition(place.bucket, info, "GLACIER")
    moved.set()
    thread.join()
    assert listings and all(listing == keys for listing in listings)


# --- a cold folder in trouble


def test_a_cold_folder_that_is_not_mounted_stops_every_move_and_loses_nothing(place: Place) -> None:
    place.freeze()
    info = place.put(NOISE, "events/b")
    place.restore()
    away = place.cold.with_name("away")
    place.cold.rename(away)
    for mount_point in (False, True):  # the folder is missing; it is there, and empty
        if mount_point:
            place.cold.mkdir()
        with pytest.raises(StorageError, match="is not there") as caught:
            transitions.transition(place.bucket, info, "GLACIER")
        assert "Mount its disk" in caught.value.hint
        with pytest.raises(StorageError, match="is not there"):
            place.bucket.delete(KEY)
        (problem,) = transitions.bring_restored(place.bucket, CREATED + DAY_MS)
        assert "is not there" in problem
        assert [(found.key, found.storage_class) for found in place.bucket.list()] == [
            ("events/b", "STANDARD"), (KEY, "GLACIER"),
        ]  # fmt: skip
        assert place.bucket.get("events/b") == NOISE
    place.cold.rmdir()
    away.rename(place.cold)
    assert transitions.bring_restored(place.bucket, CREATED + DAY_MS) == []
    assert place.bucket.get(KEY) == TEXT


def test_a_cold_folder_that_refuses_is_told_and_the_object_stays(place: Place) -> None:
    info = place.put(TEXT)
    (place.cold / "archive").symlink_to("/proc")  # no file can be made there, whoever asks
    with pytest.raises(StorageError):
        transitions.transition(place.bucket, info, "GLACIER")
    assert place.bucket.get(KEY) == TEXT and place.bucket.find(KEY).storage_class == "STANDARD"


def test_a_damaged_cold_object_is_never_given_out(place: Place) -> None:
    for body in (TEXT, NOISE):
        place.freeze(body)
        path = place.cold / "archive" / KEY
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        place.restore()
        (problem,) = transitions.bring_restored(place.bucket, CREATED + DAY_MS)
        assert "is damaged" in problem and "backup" in problem
        assert not place.bucket.find(KEY).readable
        place.bucket.delete(KEY)


def test_the_cold_folder_is_kept_until_it_is_moved(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert cold_folder.choose(place.buckets, None) == place.cold
    place.freeze()
    with pytest.raises(UsageError, match="does not have them"):
        cold_folder.choose(place.buckets, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()
    shutil.move(place.cold, tmp_path / "elsewhere")
    assert cold_folder.choose(place.buckets, tmp_path / "elsewhere") == tmp_path / "elsewhere"
    place.restore()
    transitions.bring_restored(place.bucket, CREATED + DAY_MS)
    assert place.bucket.get(KEY) == TEXT


def test_the_default_is_in_the_data_directory_and_moves_with_it(tmp_path: Path) -> None:
    buckets = tmp_path / "data" / "s3"
    buckets.mkdir(parents=True)
    assert cold_folder.choose(buckets, None) == tmp_path / "data" / "cold"
    (tmp_path / "data").rename(tmp_path / "moved")
    cold_folder.check(tmp_path / "moved" / "s3")
    assert json.loads((tmp_path / "moved" / "s3" / ".cold.json").read_bytes())["folder"] == "cold"


def test_one_cold_folder_serves_one_data_directory(tmp_path: Path) -> None:
    first = Place(tmp_path / "first")
    other = tmp_path / "second" / "s3"
    other.mkdir(parents=True)
    with pytest.raises(UsageError, match="of another data directory"):
        cold_folder.choose(other, first.cold)
    with pytest.raises(UsageError, match="lies among the buckets"):
        cold_folder.choose(other, other / "cold")
    with pytest.raises(UsageError, match="is the data directory"):
        cold_folder.choose(other, other.parent)
    with pytest.raises(UsageError, match="can't be used"):
        cold_folder.choose(other, Path("/proc/cold"))


def test_a_cold_folder_is_not_lost_sight_of_when_what_names_it_is_damaged(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.freeze()
    (place.buckets / ".cold.json").write_bytes(b"no JSON")
    with pytest.raises(DataDirectoryError, match=r"\.cold\.json is damaged"):
        cold_folder.choose(place.buckets, None)
    with pytest.raises(DataDirectoryError, match=r"\.cold\.json is damaged"):
        cold_folder.place(place.buckets)
    assert cold_folder.choose(place.buckets, place.cold) == place.cold
    place.restore()
    transitions.bring_restored(place.bucket, CREATED + DAY_MS)
    assert place.bucket.get(KEY) == TEXT


def test_the_one_in_the_data_directory_is_its_own(tmp_path: Path) -> None:
    buckets = tmp_path / "data" / "s3"
    buckets.mkdir(parents=True)
    cold = cold_folder.choose(buckets, None)
    (buckets / ".cold.json").unlink()
    assert cold_folder.choose(buckets, None) == cold


def test_times_are_utc() -> None:
    assert datetime.fromtimestamp(restores.expiry_ms(CREATED, 3) / 1000, UTC).isoformat() == "2026-07-29T00:00:00+00:00"
