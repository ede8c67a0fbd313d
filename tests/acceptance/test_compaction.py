import json
import os
import shutil
import subprocess
import sys
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import duckdb
import pytest

from headrace import clock, disk
from headrace.archive import compaction, export, settled, snapshot, transitions
from headrace.archive.base import Restore
from headrace.archive.catalogue import Range
from headrace.archive.engine import Limits
from headrace.archive.local import LocalBucket
from headrace.errors import Conflict, DataDirectoryError, InvalidObjectState, NotFound, StorageError
from headrace.operations.lifecycle import Lifecycle
from headrace.settings import Layout
from headrace.system import Bucket, System
from headrace.timekeeping import Timekeeper
from support.archive import DAY_MS, Archive, event, events, expected, needs_native, of_version_2
from support.backend import ROOT
from support.memory import ARRIVAL_MS

COLD_AFTER_A_DAY = [
    {"Status": "Enabled", "Prefix": "events/", "Transitions": [{"StorageClass": "GLACIER", "TransitionInDays": 1}]}
]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def test_events_go_to_the_day_of_their_time_sorted(archive: Archive) -> None:
    sent = [*events(range(6), day=2), *events(range(9), day=1)]
    keys = archive.put(*sent)
    summary = archive.compact()
    assert (summary.objects, summary.records, summary.events, summary.days) == (1, 15, 15, 2), summary
    assert [key.rpartition("/")[0] for key in archive.files()] == ["events/dt=2026-07-01", "events/dt=2026-07-02"]
    for key in archive.files():
        select = f"SELECT device_id, time, id FROM read_parquet('{archive.bucket.location(key)}')"
        rows = duckdb.execute(select).fetchall()
        assert rows == sorted(rows)
    assert archive.bucket.tags(keys[0]) == {"compacted": "true"}
    assert archive.identities() == expected(*sent)


def test_files_have_no_bloom_filters(archive: Archive) -> None:
    """Rows are sorted: a row group's least and greatest device say as much, and cost nothing."""
    archive.put(*events(range(300)))
    archive.compact()
    (key,) = archive.files()
    found = f"SELECT count(bloom_filter_length) FROM parquet_metadata('{archive.bucket.location(key)}')"
    assert duckdb.execute(found).fetchone() == (0,)


@needs_native
def test_a_day_larger_than_memory_is_sorted_in_parts(archive: Archive) -> None:
    """One device has most of it; the others come late, and some of them twice.

    DuckDB takes more memory than this for whatever was not decoded natively.
    """
    many = [event(n, device_id="pump-5", time=f"2026-07-01T{n % 24:02d}:00:00Z") for n in range(60_000)]
    others = [event(n, device_id=f"pump-{n % 10}") for n in range(60_000, 63_000)]
    archive.put(*many)
    archive.compact(limits=Limits(memory_mb=24, threads=1))
    archive.put(*others)
    archive.put(*others[:1000], shard=1)
    summary = archive.compact(limits=Limits(memory_mb=24, threads=1))
    assert (summary.events, summary.duplicates) == (3000, 1000)
    (file,) = archive.catalogue.manifest("2026-07-01").files
    rows = duckdb.execute(f"SELECT device_id, time, id FROM '{archive.bucket.location(file.key)}'").fetchall()
    assert len(rows) == 63_000 and rows == sorted(rows)


def test_the_largest_event(archive: Archive) -> None:
    """As JSON in JSON it is twice as long."""
    sent = b'{"device_id":"d","id":"1","text":"%s"}' % (b'\\"' * 204_000)
    archive.put(sent, b'{"device_id":"d","id":"2","text":"%s"}' % (b"x" * 410_000))
    summary = archive.compact()
    assert (summary.events, summary.faults) == (1, 1)
    assert archive.read("SELECT bytes, len(readings) FROM events") == [(len(sent), 408_011)]


def test_compaction_where_nothing_was_compiled(archive: Archive, tmp_path: Path) -> None:
    """As on a machine without a C compiler."""
    sent = events(range(20))
    archive.put(*sent)
    pure, bucket = tmp_path / "pure", tmp_path / "s3" / "archive"
    shutil.copytree(ROOT / "src", pure, ignore=shutil.ignore_patterns("*.so"))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from headrace.archive import compaction, native\n"
        "from headrace.archive.local import LocalBucket\n"
        "summary = compaction.compact(LocalBucket(Path(sys.argv[1])), Path(sys.argv[2]), readings=['temperature'])\n"
        "print(native.IS_COMPILED, summary.events, summary.exact)"
    )
    arguments: list[str | Path] = [sys.executable, "-c", code, bucket, archive.folder]
    done = subprocess.run(arguments, env=os.environ | {"PYTHONPATH": str(pure)}, capture_output=True, text=True)
    assert done.stdout == "False 20 20\n", done.stderr
    assert archive.identities() == expected(*sent)


@needs_native
def test_small_objects_are_regular_whatever_they_begin_with(archive: Archive) -> None:
    for start in range(0, 120, 6):
        archive.put({"device_id": "gateway", "is_up": True, "id": str(start)}, *events(range(start + 1, start + 6)))
    summary = archive.compact()
    assert (summary.objects, summary.events, summary.exact) == (20, 120, 0)


def test_columns_hold_what_was_sent(archive: Archive) -> None:
    ahead = b'{"device_id":"d","time":"2027-01-01T00:00:00Z","id":"ahead"}'
    mixed = (
        b'{"device_id":"d","time":"2026-07-01T00:00:00Z","id":"mixed","temperature":70.50,"humidity":"wet",'
        b'"x":1.50,"s":[1, 2]}'
    )
    archive.put(ahead, mixed)
    archive.compact()
    (row,) = archive.read(
        "SELECT temperature, humidity, readings, bytes, shard, number, shard_created, arrived_at, flags, device_time "
        "FROM events WHERE id = 'mixed'"
    )
    assert row[:4] == (70.5, None, '{"humidity":"wet","x":1.50,"s":[1, 2]}', len(mixed))
    assert row[4:] == (0, 1, 1_785_000_000, datetime(2026, 7, 25, 17, 20, 0, 123000), None, None)  # noqa: DTZ001
    (row,) = archive.read("SELECT CAST(time AS VARCHAR), flags, device_time, readings FROM events WHERE id = 'ahead'")
    assert row == ("2026-07-25 17:20:00.123", "clock_ahead", '"2027-01-01T00:00:00Z"', None)
    assert archive.read("SELECT reading, value FROM readings ORDER BY ALL") == [("temperature", 70.5), ("x", 1.5)]


def test_a_number_that_no_double_holds_is_rounded_in_its_column_and_kept_as_sent(archive: Archive) -> None:
    archive.put(b'{"device_id":"d","temperature":9007199254740993,"humidity":1e400}')
    archive.compact()
    (row,) = archive.read("SELECT temperature, humidity, readings FROM events")
    assert row == (9007199254740992.0, None, '{"temperature":9007199254740993,"humidity":1e400}')
    assert archive.read("SELECT reading, value FROM readings") == [("temperature", 9007199254740992.0)]


def test_what_comes_twice_counts_once_in_one_run_and_in_the_next(archive: Archive) -> None:
    archive.put(*events(range(9)), *events(range(3)))
    archive.put(*events(range(5)))
    first = archive.compact()
    assert (first.events, first.duplicates) == (9, 8)
    archive.put(*events(range(9)))
    second = archive.compact()
    assert (second.events, second.duplicates, second.files) == (0, 9, 0)
    assert archive.identities() == expected(*events(range(9)))


def test_the_first_of_an_identity_counts(archive: Archive) -> None:
    archive.put(event(1, temperature=1.0), event(1, temperature=2.0))
    archive.compact()
    archive.put(event(1, temperature=3.0), event(2))
    archive.compact()
    assert archive.read("SELECT temperature FROM events WHERE id = 'e-1'") == [(1.0,)]


def test_late_events_are_merged_into_one_file_of_their_day(archive: Archive) -> None:
    for start in range(0, 30, 3):
        archive.put(*events(range(start, start + 3)))
        archive.compact()
        assert len(archive.catalogue.manifest("2026-07-01").files) == 1
    assert archive.identities() == expected(*events(range(30)))
    archive.compact(now_ms=ARRIVAL_MS * 2)
    assert len(archive.files()) == 1  # what was replaced is deleted after a while


def test_raw_and_compacted_are_read_together(archive: Archive) -> None:
    archive.put(*events(range(5)))
    archive.compact()
    archive.put(*events(range(3, 8)), *events(range(2), day=3))
    sent = [*events(range(8)), *events(range(2), day=3)]
    assert archive.identities() == expected(*sent)
    day = Range(start_us=1_782_864_000_000_000, end_us=1_782_950_400_000_000)
    assert archive.identities(wanted=day) == expected(*events(range(8)))
    assert archive.identities(wanted=Range(device="pump-1")) == expected(
        *(e for e in sent if e["device_id"] == "pump-1")
    )


def test_an_empty_archive_has_no_events_and_all_columns(archive: Archive) -> None:
    assert archive.read("SELECT count(*), count(temperature), count(readings) FROM events") == [(0, 0, 0)]
    assert archive.compact().events == 0


def test_years_at_both_ends(archive: Archive) -> None:
    old = {"device_id": "d", "time": "0001-01-01T00:00:00Z", "id": "old"}
    epoch = {"device_id": "d", "time": 0, "id": "epoch"}
    new = {"device_id": "d", "time": "2099-01-01T00:00:00Z", "id": "new"}
    archive.put(old, epoch, new)
    archive.compact()
    assert [key.split("/")[1] for key in archive.files()] == ["dt=0001-01-01", "dt=1970-01-01", "dt=2026-07-25"]
    assert archive.read("SELECT id, flags FROM events ORDER BY time") == [
        ("old", None), ("epoch", None), ("new", "clock_ahead"),
    ]  # fmt: skip


def test_what_is_no_event_is_left_to_the_failures(archive: Archive) -> None:
    archive.put(b"no json", b'{"device_id":5}', event(1), b'[{"id":""},{"device_id":"a"}]')
    summary = archive.compact()
    assert (summary.records, summary.events, summary.faults) == (4, 2, 3)


def test_readings_named_later_are_found_by_name(archive: Archive) -> None:
    archive.put(event(1, pressure=5.0))
    archive.compact(readings=("temperature",))
    archive.put(event(2, day=2, pressure=6.0))
    archive.compact(readings=("pressure", "temperature"))
    both = [("pressure", 5.0), ("pressure", 6.0), ("temperature", 1.5), ("temperature", 2.5)]
    assert archive.read("SELECT reading, value FROM readings ORDER BY ALL", readings=()) == both
    archive.put(event(3, pressure=7.0))
    archive.compact(readings=("pressure", "temperature"))
    (found,) = archive.read("SELECT count(*), sum(value) FROM readings WHERE reading = 'pressure'", readings=())
    assert found == (3, 18.0)


@pytest.mark.parametrize("name", ["part", "object", "place", "regular", "repeated", "hashed", "size", "file_index"])
def test_a_reading_may_have_any_name(archive: Archive, name: str) -> None:
    for start in (0, 2):
        archive.put(*(event(number) | {name: number + start / 2} for number in range(start, start + 4)))
        archive.compact(readings=("temperature", name))
    archive.put(*(event(number) | {name: number + 9.0} for number in range(4, 8)))
    found = archive.read(f'SELECT id, "{name}" FROM events ORDER BY id', readings=("temperature", name))
    assert found == [(f"e-{n}", n + (n > 3) + 8.0 * (n > 5)) for n in range(8)]


@pytest.mark.parametrize("name", ["*", 'say "hi"', "it's", "a.b[0]", "é"])
def test_an_export_tells_a_reading_of_any_name_once(archive: Archive, tmp_path: Path, name: str) -> None:
    values = [1.5, 9007199254740993, "text", None]
    archive.put(*(event(number) | {"temperature": 1.5, name: value} for number, value in enumerate(values)))
    archive.compact(readings=(name,))
    taking = snapshot.open(archive.bucket, archive.folder, readings=(name,))
    with taking as taken, duckdb.connect() as connection:
        export.export(connection, taken, "ndjson", tmp_path / "out")
    found = {each["id"]: each["readings"] for each in map(json.loads, (tmp_path / "out").read_text().splitlines())}
    assert found == {f"e-{number}": {"temperature": 1.5, name: value} for number, value in enumerate(values)}


# What is damaged


def test_a_raw_object_that_was_cut_short_is_named_and_the_rest_goes_on(archive: Archive) -> None:
    (cut,) = archive.put(*events(range(3)))
    archive.put(*events(range(3, 6)))
    path = archive.bucket.path(cut)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    summary = archive.compact()
    assert summary.events == 3 and len(summary.problems) == 1
    assert cut in summary.problems[0] and "backup" in summary.problems[0]
    assert "compacted" not in archive.bucket.tags(cut)
    with snapshot.open(archive.bucket, archive.folder, readings=()) as taken:
        assert [problem.key for problem in taken.problems] == [cut]
    path.write_bytes(whole)
    assert archive.compact().events == 3
    assert archive.identities() == expected(*events(range(6)))


def test_a_file_deleted_behind_the_catalogue_is_named_and_nothing_is_doubled(archive: Archive) -> None:
    archive.put(*events(range(3)))
    archive.compact()
    (key,) = archive.files()
    body = archive.bucket.get(key)
    archive.bucket.path(key).unlink()
    with pytest.raises(NotFound, match="3 events are missing") as caught:
        archive.identities()
    assert key in caught.value.problem and "backup" in caught.value.hint
    archive.put(*events(range(5)), *events(range(2), day=2))
    summary = archive.compact()
    assert len(summary.problems) == 1 and key in summary.problems[0] and summary.days == 2
    archive.bucket.put(key, body)
    assert archive.identities() == expected(*events(range(5)), *events(range(2), day=2))


def test_a_file_of_another_size_is_not_merged(archive: Archive) -> None:
    archive.put(*events(range(3)))
    archive.compact()
    (key,) = archive.files()
    archive.bucket.path(key).write_bytes(b"PAR1")
    archive.put(*events(range(5)))
    assert key in archive.compact().problems[0]
    with pytest.raises(StorageError, match="3 events are missing") as caught:
        archive.identities()
    assert key in caught.value.problem and "backup" in caught.value.hint


@pytest.mark.parametrize("has_digest", [True, False])
def test_a_damaged_file_is_named_and_the_rest_goes_on(archive: Archive, *, has_digest: bool) -> None:
    archive.put(*events(range(3)))
    archive.compact()
    if not has_digest:
        archive.forget_digests()
    (key,) = archive.files()
    body = archive.bucket.get(key)
    archive.bucket.path(key).write_bytes(b"PAR1" + bytes(len(body) - 8) + b"PAR1")
    for start in (3, 6):  # also beside what the run before has put beside it
        archive.put(*events(range(start, start + 5)), *events(range(start), day=2))
        summary = archive.compact()
        assert [problem.partition("\n")[0] for problem in summary.problems] == [f"{key}: is damaged"]
    archive.bucket.path(key).write_bytes(body)
    sent = [*events(range(11)), *events(range(6), day=2)]
    assert archive.identities() == expected(*sent)
    archive.put(*events(range(12)))
    assert archive.compact().problems == []
    assert len(archive.catalogue.manifest("2026-07-01").files) == 1
    assert archive.identities() == expected(*sent, *events(range(12)))


@pytest.mark.parametrize("has_digest", [True, False])
def test_a_damaged_file_is_named_by_what_meets_it(archive: Archive, *, has_digest: bool) -> None:
    archive.put(*events(range(3)), *events(range(3), day=2))
    archive.compact()
    if not has_digest:
        archive.forget_digests()
    for key in archive.files():
        body = archive.bucket.get(key)
        archive.bucket.path(key).write_bytes(b"PAR1" + bytes(len(body) - 8) + b"PAR1")
        for select in ("FROM events", "SELECT sum(value) FROM readings"):
            with pytest.raises(StorageError, match="is damaged: 3 events are missing") as caught:
                archive.read(select)
            assert key in caught.value.problem and "doctor" in caught.value.hint
        archive.bucket.path(key).write_bytes(body)
    archive.flip(key)
    with pytest.raises(duckdb.BinderException):  # what has another reason is left as it is
        archive.read("SELECT nothing FROM events")


def test_a_file_with_a_flipped_bit_is_named_and_merged_once_it_is_put_back(archive: Archive) -> None:
    archive.put(*events(range(30)))
    archive.compact()
    (key,) = archive.files()
    body = archive.flip(key)
    flipped = archive.bucket.get(key)
    archive.put(*events(range(25, 35)))
    (problem,) = archive.compact().problems
    assert problem.startswith(f"{key}: is damaged\n") and "backup" in problem
    assert archive.bucket.get(key) == flipped and len(archive.files()) == 2
    archive.bucket.path(key).write_bytes(body)
    assert archive.identities() == expected(*events(range(35)))
    archive.put(*events(range(40)))
    assert archive.compact().problems == []
    assert archive.identities() == expected(*events(range(40)))
    check_digests(archive)
    assert len(archive.catalogue.manifest("2026-07-01").files) == 1


def check_digests(archive: Archive, day: str = "2026-07-01") -> None:
    for file in archive.catalogue.manifest(day).files:
        assert file.sha256 == sha256(archive.bucket.get(file.key)).hexdigest()


def test_a_day_of_before_files_had_digests_is_read_and_merged(archive: Archive) -> None:
    archive.put(*events(range(9)))
    archive.compact()
    archive.forget_digests()
    assert archive.identities() == expected(*events(range(9)))
    archive.put(*events(range(12)))
    assert archive.compact().problems == []
    assert archive.identities() == expected(*events(range(12)))
    check_digests(archive)


def test_a_cold_raw_object_is_named_and_the_rest_goes_on(archive: Archive) -> None:
    (cold,) = archive.put(*events(range(3)))
    archive.put(*events(range(3, 6)))
    assert transitions.transition(archive.bucket, archive.bucket.find(cold), "GLACIER")
    with pytest.raises(InvalidObjectState, match=cold):
        archive.identities()
    assert archive.identities(leave_out_cold=True) == expected(*events(range(3, 6)))
    summary = archive.compact()
    assert summary.events == 3 and len(summary.problems) == 1
    assert cold in summary.problems[0] and "headrace archive restore" in summary.problems[0]
    now = clock.now_ms()
    archive.bucket.restores.change({("archive", cold): Restore("Standard", now, now + DAY_MS)})
    assert transitions.bring_restored(archive.bucket, now) == []
    assert archive.compact().events == 3
    assert archive.identities() == expected(*events(range(6)))
    assert archive.bucket.tags(cold) == {"compacted": "true"}


def test_a_raw_object_of_another_version_is_left_to_the_headrace_that_knows_it(archive: Archive) -> None:
    (key,) = archive.put(event(1))
    archive.put(event(2))
    newer = of_version_2(archive, key)
    summary = archive.compact()
    assert summary.events == 1 and len(summary.problems) == 1
    assert newer in summary.problems[0] and "version 1" in summary.problems[0]
    assert archive.identities() == expected(event(2))
    assert archive.bucket.tags(newer) == {}


def test_a_copy_of_a_manifest_counts_for_nothing(archive: Archive) -> None:
    archive.put(*events(range(3)))
    archive.compact()
    manifest = archive.bucket.get("catalogue/dt=2026-07-01.json")
    for name in ("dt=2026-07-01 (copy).json", "dt=before.json"):
        archive.bucket.put(f"catalogue/{name}", manifest)
    archive.put(*events(range(5)))
    archive.compact()
    assert archive.identities() == expected(*events(range(5)))
    assert archive.identities(wanted=Range(start_us=1_782_864_000_000_000)) == archive.identities()


def test_a_manifest_that_cannot_be_read_stops_the_run(archive: Archive) -> None:
    archive.put(*events(range(3)))
    archive.compact()
    archive.bucket.put("catalogue/dt=2026-07-01.json", b'{"version":9}')
    archive.put(*events(range(5)))
    with pytest.raises(DataDirectoryError, match="version 9"):
        archive.compact()


def test_a_full_disk_is_told_and_the_next_run_goes_on(archive: Archive) -> None:
    class Full(LocalBucket):
        def put_file(self, key: str, path: Path) -> None:
            raise StorageError("disk full")

    archive.put(*events(range(3)))
    with pytest.raises(StorageError):
        archive.compact(Full(archive.bucket.path("x").parent))
    assert archive.files() == [] and not list(archive.folder.glob("run-*"))
    assert archive.compact().events == 3


def test_two_at_once_the_second_is_refused(archive: Archive) -> None:
    archive.put(*events(range(3)))
    disk.make_folder(archive.folder)
    with disk.locked(archive.folder / compaction.LOCK, "a test"), pytest.raises(Conflict, match="Another compaction"):
        archive.compact()
    assert archive.compact().events == 3


# Cold files


class Cold(LocalBucket):
    """A bucket in which some files are cold."""

    frozen: frozenset[str] = frozenset()

    def location(self, key: str) -> str:
        if key in self.frozen:
            raise InvalidObjectState(f"{key} is in GLACIER", f"Restore it first: headrace archive restore {key}")
        return super().location(key)


def test_a_day_that_may_be_cold_gets_one_unchecked_file(archive: Archive) -> None:
    archive.put(*events(range(5)))
    archive.compact(lifecycle=COLD_AFTER_A_DAY)
    (old,) = archive.files()
    body = archive.bucket.get(old)
    now_ms = archive.catalogue.manifest("2026-07-01").files[0].created_ms + DAY_MS
    for start in (3, 6):
        archive.put(*events(range(start, start + 4)))
        archive.compact(lifecycle=COLD_AFTER_A_DAY, now_ms=now_ms)
    files = archive.catalogue.manifest("2026-07-01").files
    assert [file.unchecked for file in files] == [False, True] and archive.bucket.get(old) == body
    assert archive.identities() == expected(*events(range(10)))

    archive.bucket = Cold(archive.bucket.path("x").parent)
    Cold.frozen = frozenset({old})
    with pytest.raises(InvalidObjectState, match="restore"):
        archive.identities()
    assert archive.identities(leave_out_cold=True) == expected(*events(range(3, 10)))
    other = Range(start_us=0, end_us=1)
    assert archive.identities(wanted=other) == []
    new = files[1].key
    Cold.frozen = frozenset({old, new})
    with pytest.raises(InvalidObjectState, match="2 files of 2026-07-01 to 2026-07-01 are cold") as caught:
        archive.identities()
    assert "headrace archive restore --prefix events/dt=2026-07" in caught.value.hint


def test_what_a_lifecycle_rule_deletes_is_forgotten_first(archive: Archive) -> None:
    archive.put(*events(range(3)), *events(range(3), day=2))
    archive.compact()
    first = archive.files()[0]
    archive.catalogue.forget([first])
    archive.bucket.delete(first)
    assert archive.identities() == expected(*events(range(3), day=2))


# Readers beside it


def test_a_snapshot_stays_readable_while_its_files_are_replaced(archive: Archive) -> None:
    archive.put(*events(range(3)))
    archive.compact()
    archive.put(*events(range(3, 6)))
    with snapshot.open(archive.bucket, archive.folder, readings=()) as taken, duckdb.connect() as connection:
        archive.compact()
        archive.put(*events(range(6, 9)))
        archive.compact()
        taken.relation(connection)
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (6,)
    assert not [left for left in (archive.folder / "snapshots").iterdir() if left.is_dir()]


def test_a_raw_object_deleted_while_a_snapshot_is_taken_is_found_in_its_file(archive: Archive) -> None:
    class Late(LocalBucket):
        """Between the listing and the first read, the objects are compacted and deleted."""

        def get(self, key: str) -> bytes:
            if key in due:
                due.clear()
                archive.compact(LocalBucket(self.path("x").parent))
                self.delete(key)
            return super().get(key)

    due = set(archive.put(*events(range(3))))
    archive.bucket = Late(archive.bucket.path("x").parent)
    assert archive.identities() == expected(*events(range(3)))


def test_a_folder_of_raw_objects_that_is_compacted_is_not_read_again_until_it_changes(archive: Archive) -> None:
    keys = [*archive.put(*events(range(3))), *archive.put(*events(range(3, 5)))]

    def seen() -> list[str]:
        return [info.key for info in settled.others(archive.bucket, archive.folder, "raw/")]

    def age() -> None:
        for path in (archive.bucket.path(keys[0]).parent, archive.bucket.path(keys[0]).parent / ".headrace"):
            os.utime(path, (1_000_000_000, 1_000_000_000))

    archive.compact()
    assert seen() == sorted(keys)  # it has changed just now
    age()
    archive.compact()
    assert seen() == []
    keys += archive.put(*events(range(5, 8)))
    assert seen() == sorted(keys)
    assert archive.identities() == expected(*events(range(8)))
    age()
    assert archive.compact().events == 3
    age()
    archive.compact()
    assert seen() == []
    archive.bucket.tag(keys[0], {})
    age()
    assert seen() == sorted(keys)


def test_what_is_noted_of_settled_folders_needs_no_keeping(archive: Archive) -> None:
    archive.put(*events(range(3)))
    archive.compact()
    for content in (b"", b"no json", b'{"folders":{},"version":9}'):
        (archive.folder / settled.FILE).write_bytes(content)
        assert archive.identities() == expected(*events(range(3)))


def test_the_books_know_which_records_are_compacted(archive: Archive) -> None:
    archive.put(*events(range(3)))
    archive.compact()
    archive.put(*events(range(4)), shard=1)
    archive.put(*events(range(2)))
    archive.compact()
    runs = {shard: list(map(tuple, found)) for shard, found in archive.catalogue.compacted().items()}
    assert runs == {"events/shardId-000000000000": [(0, 2), (7, 8)], "events/shardId-000000000001": [(3, 6)]}


def test_a_reading_that_no_file_has_yet_has_a_column(archive: Archive) -> None:
    archive.put(event(1))
    archive.compact(readings=("temperature",))
    assert archive.read("SELECT temperature, pressure FROM events", readings=("pressure",)) == [(1.5, None)]


def test_rounds_are_bounded_and_each_is_published(archive: Archive) -> None:
    for start in range(0, 20, 2):
        archive.put(*events(range(start, start + 2)))
    summary = archive.compact(round_bytes=1)
    assert (summary.objects, summary.events, summary.files) == (10, 20, 10)
    assert len(archive.catalogue.manifest("2026-07-01").files) == 1


def test_what_a_rule_deletes_leaves_the_catalogue_first(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.put(*events(range(5)))
    archive.compact()
    rule = {"Id": "gone", "Status": "Enabled", "Prefix": "events/", "ExpirationInDays": 1}
    bucket = Bucket(logical_id="Archive", name="archive", lifecycle=(rule,))
    system = System(template="", parameters={}, buckets=(bucket,))
    later_ms = clock.now_ms() + 3 * DAY_MS
    keeper = Timekeeper(tmp_path / "clock.json")
    Lifecycle(Layout(tmp_path), system, keeper, now_ms=lambda: later_ms).run(trust_clock=True)
    assert archive.files() == []
    assert archive.identities() == []  # and not an error about files that are missing
