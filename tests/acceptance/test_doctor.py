"""`headrace doctor` on data directories that something is wrong with, and what a repair leaves."""

import asyncio
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace import cold_folder, disk
from headrace.archive import erasures, transitions
from headrace.archive.base import Restore
from headrace.archive.erasures import Erasure
from headrace.archive.lifecycle_log import LifecycleLog, Line
from headrace.archive.local import LocalBucket
from headrace.operations.doctor import examine
from headrace.runtime.checkpoint import Checkpoint
from headrace.runtime.mapping import State
from headrace.settings import Layout
from headrace.stream import catalog, repair
from headrace.stream.log import Log
from headrace.stream.reader import Reader
from headrace.table.store import Store
from support.archive import Archive, events, expected
from support.command_line import run
from support.memory import ARRIVAL_MS

GROUPS, RECORDS = 6, 5  # of two shards each


def record(group: int, shard: int, place: int) -> bytes:
    return f"record {group} {shard} {place} ".encode() * 10


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a stream of two shards, a checkpoint and a journalled invoke."""
    layout = Layout(tmp_path / "data")
    folder = layout.streams / "events"
    disk.make_folder(folder)
    layout.version.write_text('{"format":1}')
    catalog.save(folder, catalog.new_stream("events", 2, 1))

    async def fill() -> None:
        log = Log.open(folder, stream="events", shards=2, now_ms=lambda: 1_000)
        for group in range(GROUPS):
            await log.append([(s, b"key", record(group, s, place)) for place in range(RECORDS) for s in (0, 1)])
        await log.close()

    asyncio.run(fill())
    path = layout.checkpoints / "store" / "events" / "shardId-000000000000"
    disk.make_folder(path.parent)
    Checkpoint.create(path, State(0, 0, 0)).close()
    disk.write_file(layout.invokes / "f" / "000000000000001-a.json", b'{"payload":{}}')
    return layout.data


def segment_file(data: Path) -> Path:
    (found,) = (data / "streams" / "events").glob("*.segment")
    return found


def flip(data: Path, needle: bytes, offset: int = 0) -> int:
    """Change a byte at the place of `needle` in the segment; return the place."""
    path = segment_file(data)
    body = bytearray(path.read_bytes())
    at = body.index(needle) + offset
    body[at] ^= 0xFF
    path.write_bytes(body)
    return at


def read(data: Path) -> tuple[dict[int, list[int]], int]:
    """Return shard -> the numbers that can be read, and how many damaged places the reader met."""
    reader = Reader(data / "streams" / "events")
    numbers: dict[int, list[int]] = {}
    for shard in (0, 1):
        position = number = 0
        numbers[shard] = []
        while records := reader.records(position, shard, number, 3, 10_000)[0]:
            for one in records:
                assert one.data == record(one.number // RECORDS, shard, one.number % RECORDS)
            numbers[shard] += [one.number for one in records]
            number = records[-1].number + 1
    damage = len(reader.damage)
    reader.close()
    return numbers, damage


def findings(data: Path, **more: Any) -> list[str]:
    return [f"{one.what}: {one.problem}" for one in examine(Layout(data), **more).findings]


def test_nothing_is_wrong(data: Path) -> None:
    assert findings(data) == []
    result = run("doctor", "--data", data)
    assert result.exit_code == 0 and result.stdout == f"nothing is wrong with the installation and {data}\n"
    assert findings(data, mend=True) == []
    assert not (data / "damaged").exists()


ALL = list(range(GROUPS * RECORDS))


@pytest.mark.parametrize(
    ("needle", "offset", "lost"),
    [
        (record(2, 0, 3), 5, {13}),  # a byte of one record
        (record(0, 0, 0), 0, {0}),  # the first of all
        (record(5, 0, 4), 7, {29}),  # the last, acknowledged as `durable` tells
        (record(1, 0, 0), -3 - 10 * RECORDS + 4 * RECORDS, {5, 6, 7, 8, 9}),  # a length in the body's index
        (record(3, 0, 0), -3 - 10 * RECORDS - 56 + 33, {15, 16, 17, 18, 19}),  # the frame's header
    ],
)
def test_damage_in_the_log_is_found_and_set_aside(data: Path, needle: bytes, offset: int, lost: set[int]) -> None:
    place = flip(data, needle, offset)
    expected = [number for number in ALL if number not in lost], ALL
    numbers, met = read(data)
    assert met > 0 and set(numbers[0]) <= set(ALL) - lost | {13}
    before = segment_file(data).read_bytes()
    os.link(segment_file(data), data.parent / "shared")  # as a backup does
    (found,) = examine(Layout(data)).findings
    assert found.what == "log" and found.serious
    result = run("doctor", "--data", data)
    assert result.exit_code == 1 and "can't be read" in result.stdout and "--repair" in result.stdout
    assert segment_file(data).read_bytes() == before  # a look changes nothing
    mended = run("doctor", "--data", data, "--repair", "--json")
    assert mended.exit_code == 0, mended.stdout
    (kept,) = (data / "damaged" / "streams" / "events").iterdir()
    position = int(kept.name.partition("-")[0])
    assert kept.read_bytes() == before[position : position + kept.stat().st_size]
    assert position <= place < position + kept.stat().st_size
    assert read(data) == ({0: expected[0], 1: expected[1]}, 0)  # reading is clean, and all the rest is there
    assert findings(data) == []
    assert segment_file(data).stat().st_size == len(before)
    assert (data.parent / "shared").read_bytes() == before
    check_that_it_goes_on(data)


def check_that_it_goes_on(data: Path) -> None:
    """Open the log, also as if the board were lost, and append to it."""
    (data / "streams" / "events" / "durable").unlink()

    async def append() -> None:
        log = Log.open(data / "streams" / "events", stream="events", shards=2, now_ms=lambda: 2_000)
        assert log.damage == []
        assert set(log.next_number) == {0, 1}
        appended = await log.append([(0, b"key", record(GROUPS, 0, 0)), (1, b"key", record(GROUPS, 1, 0))])
        assert appended.first_number == {0: len(ALL), 1: len(ALL)}
        await log.close()

    asyncio.run(append())
    assert read(data)[0][0][-1] == len(ALL)


def test_a_log_that_is_cut_short_is_filled(data: Path) -> None:
    path = segment_file(data)
    size = path.stat().st_size
    os.truncate(path, size - 2000)
    assert any("missing" in one for one in findings(data))
    assert examine(Layout(data), mend=True).well
    assert findings(data) == []
    assert path.stat().st_size == size


def test_a_torn_end_that_was_never_acknowledged_is_no_damage(data: Path) -> None:
    with segment_file(data).open("ab") as file:
        file.write(b"\xf7HRf" + b"x" * 500)
    assert findings(data) == []


def test_a_damaged_segment_header_is_told(data: Path) -> None:
    flip(data, b'"stream"')
    (found,) = examine(Layout(data), mend=True).findings
    assert "segment header" in found.problem and found.repaired is None
    assert read(data)[0] == {0: ALL, 1: ALL}


def damage_checkpoint(data: Path) -> None:
    (path,) = data.glob("checkpoints/*/*/*")
    path.write_bytes(b"\xff" * path.stat().st_size)


def damage_invoke(data: Path) -> None:
    (path,) = data.glob("invokes/*/*")
    path.write_bytes(b"{")


def leave_sockets(data: Path) -> None:
    folder = Layout(data).sockets
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(Layout(data).table_socket))


@pytest.mark.parametrize(
    ("spoil", "what", "code", "mended_code"),
    [
        (damage_checkpoint, "checkpoint: The checkpoint", 1, 0),
        (damage_invoke, "invoke: ", 1, 0),
        (leave_sockets, "sockets: ", 0, 0),
        (lambda data: (data / "headrace.json").write_text('{"format":99}'), "format: ", 1, 1),
        (lambda data: (data / "headrace.json").write_text("{"), "format: ", 1, 1),
        (lambda data: (data / "headrace.json").unlink(), "data directory: ", 1, 1),
        (lambda data: shutil.rmtree(data), "data directory: ", 1, 1),
        (lambda data: (data / "streams/events/stream.json").write_text("{"), "stream: ", 1, 1),
        (lambda data: (data / "streams/events/stream.json").unlink(), "stream: ", 1, 1),
    ],
)
def test_what_else_is_wrong(
    data: Path, spoil: Callable[[Path], object], what: str, code: int, mended_code: int
) -> None:
    spoil(data)
    (found,) = findings(data)
    assert found.startswith(what)
    result = run("doctor", "--data", data)
    assert result.exit_code == code and len(result.stdout.splitlines()) == 2
    assert run("doctor", "--data", data, "--repair").exit_code == mended_code
    assert (findings(data) == []) == (mended_code == 0)


def test_a_repair_beside_a_running_backend_is_refused(data: Path) -> None:
    with disk.locked(data / "lock", "headrace up"):
        result = run("doctor", "--data", data, "--repair")
        assert result.exit_code == 1 and "is in use by headrace up" in result.stderr
        text = run("doctor", "--data", data, "--json")
    assert {one["what"] for one in json.loads(text.stdout)["findings"]} == {"processes"}  # no socket answers


def test_the_installation_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("doctor").stdout == "nothing is wrong with the installation\n"


@pytest.mark.parametrize("file", ["format.json", "db/CURRENT", "db/MANIFEST-*", "db/*.sst"])
def test_a_table_that_can_not_be_opened_is_told(data: Path, file: str) -> None:
    folder = Layout(data).table
    table = Store.open(folder, ["events"])
    table.put("events", (b"key", b"value"))
    table.snapshot(data / "flushed")
    table.close()
    shutil.rmtree(data / "flushed")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert findings(data) == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    for path in folder.glob(file):
        path.write_bytes(b"")
    (found,) = findings(data)
    assert found.startswith("table: ")
    with disk.locked(data / "lock", "headrace up"):
        assert run("doctor", "--data", data).exit_code == 1  # the processes do not answer: the table is theirs


def test_scanning_changes_nothing(data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    repair.scan(data / "streams" / "events")
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


# --- objects and the cold folder


@pytest.fixture
def archived(data: Path, tmp_path: Path) -> LocalBucket:
    """An archive with a cold object in a folder of its own."""
    layout = Layout(data)
    disk.make_folder(layout.buckets)
    cold_folder.choose(layout.buckets, tmp_path / "cold")
    bucket = LocalBucket(layout.buckets / "archive")
    bucket.put("events/a", b"x" * 1000)
    bucket.tag("events/a", {"a": "b"})
    assert transitions.transition(bucket, bucket.find("events/a"), "GLACIER")
    return bucket


def problems(data: Path) -> list[str]:
    return [
        f"{one.problem} {one.mend}" for one in examine(Layout(data)).findings if one.what in ("objects", "cold folder")
    ]


def test_a_cold_folder_that_is_as_it_should_be(data: Path, archived: LocalBucket) -> None:
    assert problems(data) == []


def test_a_cold_folder_that_is_away(data: Path, archived: LocalBucket, tmp_path: Path) -> None:
    (tmp_path / "cold").rename(tmp_path / "away")
    (problem,) = problems(data)
    assert "is not there" in problem and "Mount its disk" in problem


def test_a_cold_folder_that_is_no_longer_known(archived: LocalBucket, data: Path) -> None:
    (data / "s3" / ".cold.json").write_bytes(b"")
    (found,) = findings(data)
    assert found.startswith("cold folder: ") and "is damaged" in found


def test_a_catalogue_that_is_damaged(archived: LocalBucket, data: Path) -> None:
    archived.put("catalogue/compacted.json", b"no JSON")
    (found,) = findings(data)
    assert found.startswith("archive: catalogue/compacted.json can't be read")


def test_a_cold_object_that_is_missing(data: Path, archived: LocalBucket, tmp_path: Path) -> None:
    (tmp_path / "cold" / "archive" / "events" / "a").unlink()
    (problem,) = problems(data)
    assert "1 cold objects are not in" in problem and "archive/events/a" in problem and "backup" in problem


def test_a_journal_that_is_damaged(data: Path, archived: LocalBucket) -> None:
    path = data / "s3" / "archive" / "events" / ".headrace"
    content = bytearray(path.read_bytes())
    content[30] ^= 1
    path.write_bytes(content)
    (problem,) = problems(data)
    assert "1 lines that can't be read" in problem
    assert archived.find("events/a").storage_class == "GLACIER"  # the later line stands


def test_an_erase_that_has_not_ended_is_told(data: Path) -> None:
    bucket = LocalBucket(data / "s3" / "archive")
    erasures.write(bucket, Erasure("pump-1", 1))
    assert findings(data) == [
        "erasures: The device 'pump-1' is not erased everywhere: that was begun and has not ended."
    ]
    assert run("doctor", "--data", data).exit_code == 0
    erasures.write(bucket, Erasure("pump-1", 2, finished=True))
    assert findings(data) == []
    bucket.put(erasures.KEY, b"{")
    assert "can't be read" in findings(data)[0] and run("doctor", "--data", data).exit_code == 1


@pytest.mark.parametrize("has_digests", [True, False])
def test_compacted_files_that_are_missing_cut_short_or_damaged_are_told(data: Path, *, has_digests: bool) -> None:
    archive = Archive(data)
    archive.put(*events(range(9)), *events(range(9), day=2))
    archive.compact()
    if not has_digests:
        archive.forget_digests()
    bucket, (first, second) = archive.bucket, archive.files()
    bodies = {key: bucket.get(key) for key in (first, second)}
    assert findings(data) == []
    bucket.delete(second)
    told = "archive: Compacted files of archive are {} ({}): {}."
    missing = "missing or cut short"
    assert findings(data) == [told.format(missing, 1, second)]
    bucket.path(first).write_bytes(bodies[first][:-1])
    assert findings(data) == [told.format(missing, 2, f"{first}, {second}")]
    assert run("doctor", "--data", data).exit_code == 1
    bucket.path(first).write_bytes(bytes(len(bodies[first])))
    bucket.path(second).write_bytes(bodies[second])
    assert findings(data) == [told.format("damaged", 1, first)]
    bucket.path(first).write_bytes(bodies[first])
    assert findings(data) == []
    bucket.put("catalogue/dt=2026-07-01.json", b"{")
    assert "catalogue/dt=2026-07-01.json" in findings(data)[0]


def test_raw_objects_that_can_not_be_compacted_are_told(data: Path) -> None:
    archive = Archive(data)
    archive.put(*events(range(9)))
    archive.compact()
    cut, edited = archive.put(*events(range(9)), shard=1) + archive.put(*events(range(9)), shard=2)
    assert findings(data) == []
    for key in (cut, edited):
        path = archive.bucket.path(key)
        path.write_bytes(path.read_bytes()[:-9])
    stray = f"{edited}.txt"
    archive.bucket.put(stray, b"")
    wrong, other = findings(data)
    assert f"can't be compacted (2): {cut}, {edited}. Each was cut short or edited" in wrong
    assert f"can't be compacted (1): {stray}. Each is no raw object by its name" in other
    assert "move it out of raw/" in run("doctor", "--data", data).stdout


def test_a_compacted_file_with_a_flipped_bit_is_told_warm_and_cold(data: Path, tmp_path: Path) -> None:
    archive = Archive(data)
    archive.put(*events(range(30)))
    archive.compact()
    cold_folder.choose(Layout(data).buckets, tmp_path / "cold")
    bucket, (key,) = archive.bucket, archive.files()
    told = [f"archive: Compacted files of archive are damaged (1): {key}."]
    body = archive.flip(key)
    assert findings(data) == told
    assert transitions.transition(bucket, bucket.find(key), "GLACIER")
    assert findings(data) == told, "it was damaged when it was moved there"
    bucket.path(key).write_bytes(body)
    assert findings(data) == []
    assert transitions.transition(bucket, bucket.find(key), "GLACIER")
    assert findings(data) == []
    bucket.restores.change({("archive", key): Restore("Standard", 0, 10**15)})
    assert transitions.bring_restored(bucket, 1) == [] and findings(data) == []
    copy = Path(bucket.location(key))
    copy.write_bytes(body[:-9] + b"x" + body[-8:])
    assert findings(data) == told


@pytest.mark.parametrize("what", ["missing", "cut short", "damaged"])
def test_a_lost_file_is_given_up_and_comes_back_from_raw_objects(data: Path, what: str) -> None:
    archive = Archive(data)
    (raw,) = archive.put(*events(range(30)))
    archive.put(*events(range(30), day=2), arrival_ms=ARRIVAL_MS + 3_600_000)
    archive.compact()
    first, second = archive.files()
    for key in (first, second):
        archive.flip(key)
        if what == "missing":
            archive.bucket.delete(key)
        elif what == "cut short":
            archive.bucket.path(key).write_bytes(b"PAR1")
    archive.bucket.delete(raw)
    told = run("doctor", "--data", data, "--give-up", first).stdout
    kind = "damaged" if what == "damaged" else "missing or cut short"
    assert f"mended: {first} is {kind}: 30 events of 2026-07-01, devices 'pump-0' to 'pump-2'." in told
    assert "are compacted again (0)" in told and f"are {kind} (1): {second}." in told
    assert run("doctor", "--data", data, "--give-up", second).exit_code == 0
    aside = [path.relative_to(data / "damaged/s3/archive").as_posix() for path in data.glob("damaged/**/*.parquet")]
    assert sorted(aside) == ([] if what == "missing" else [first, second])
    assert archive.identities() == expected(*events(range(30), day=2))
    assert archive.compact().events == 30
    assert archive.identities() == expected(*events(range(30), day=2)) and findings(data) == []


def test_a_file_that_is_not_lost_is_not_given_up(data: Path) -> None:
    archive = Archive(data)
    archive.put(*events(range(9)))
    archive.compact()
    result = run("doctor", "--data", data, "--give-up", archive.files()[0])
    assert result.exit_code == 1 and "is cold, or no lost file" in result.stdout
    assert archive.catalogue.manifest("2026-07-01").files and archive.identities() == expected(*events(range(9)))


def test_compacted_files_that_no_manifest_names_are_told(data: Path) -> None:
    archive = Archive(data)
    archive.put(*events(range(9)))
    archive.compact()
    (key,) = archive.files()
    archive.bucket.put("events/dt=2026-07-01/mine.parquet", b"is none of ours")
    archive.bucket.delete("catalogue/dt=2026-07-01.json")
    assert findings(data) == [
        f"archive: Compacted files of archive are in no manifest, so nobody reads them (1): {key}."
    ]
    assert run("doctor", "--data", data).exit_code == 1
    archive.put(*events(range(5)))
    archive.compact()
    archive.put(*events(range(10)))
    archive.compact()  # what it has replaced is there for a while
    assert len(archive.files()) == 4 and len(findings(data)) == 1
    log = LifecycleLog(Layout(data).lifecycle)
    log.append([Line(at_ms=1, action="expire", bucket="archive", key=key, rule="r", size=1, created_ms=1,
                     storage_class="STANDARD")])  # fmt: skip
    assert findings(data) == []  # it is about to go
