import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.record import Record
from headrace.stream import segment
from headrace.stream.log import Entry, Log
from headrace.stream.reader import Reader
from support.faulty_disk import FaultyDisk
from support.loop import in_loop

HOUR_MS = 3_600_000


class Clock:
    now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


def entries(shard: int, count: int, size: int = 10) -> list[Entry]:
    return [(shard, b"key-%d" % at, b"x" * size) for at in range(count)]


def all_records(reader: Reader, shard: int, position: int = 0, number: int = 0, count: int = 10) -> list[Record]:
    held: list[Record] = []
    while True:
        records, position = reader.records(position, shard, number, count, 10**6)
        if not records:
            return held
        held += records
        number = records[-1].number + 1


def numbers(reader: Reader, shard: int, position: int = 0, number: int = 0) -> list[int]:
    return [record.number for record in all_records(reader, shard, position, number)]


async def filled(folder: Path, clock: Clock | None = None, groups: int = 8, each: int = 4, **sizes: int) -> Log:
    """A log with `groups` commits of `each` records in shards 0 and 1; with small segments, many of them."""
    clock = clock or Clock()
    log = Log.open(folder, FaultyDisk(), stream="s", shards=3, now_ms=clock, **sizes)
    for _ in range(groups):
        await log.append(entries(0, each) + entries(1, each))
        clock.now_ms += 1000
    return log


def test_no_log_yet(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        reader = Reader(folder)
        assert reader.durable() == 0
        assert reader.bounds() == {}
        assert reader.first_number(0) == 0
        assert list(reader.next_frames(0, 0)) == []
        assert reader.records(0, 0, 0, 10, 1000) == ([], 0)
        assert reader.find(0, 5) == 0
        assert reader.find_time(0, 5) == (0, 0)


@in_loop
async def test_a_reader_made_before_the_log_sees_it(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "s")
    assert reader.durable() == 0
    log = await filled(tmp_path / "s")
    assert reader.durable() == log.durable
    assert numbers(reader, 1) == list(range(32))
    await log.close()


@in_loop
async def test_a_reader_sees_only_what_is_synced(tmp_path: Path) -> None:
    folder, disk = tmp_path / "s", FaultyDisk()
    log = Log.open(folder, disk, stream="s", shards=1, segment_bytes=200)
    seen: list[int] = []
    follower, position = Reader(folder), 0

    def look(_: str) -> None:
        nonlocal position
        assert len(all_records(Reader(folder), 0)) == accepted
        records, position = follower.records(position, 0, len(seen), 100, 10**6)
        seen.extend(record.number for record in records)
        assert len(seen) == accepted

    disk.before = look
    accepted = 0
    for _ in range(6):
        await log.append(entries(0, 5))
        accepted += 5
    await log.close()
    assert numbers(follower, 0, position, 25) == list(range(25, 30))


@in_loop
async def test_records_arrive_whole_and_in_order(tmp_path: Path) -> None:
    log = await filled(tmp_path / "s", segment_bytes=300)
    reader = Reader(tmp_path / "s")
    records = all_records(reader, 1, count=3)
    assert records == [
        Record(1, group * 4 + at, 1_000_000 + group * 1000, f"key-{at}", b"x" * 10)
        for group in range(8)
        for at in range(4)
    ]
    assert numbers(reader, 2) == []
    assert reader.bounds() == {0: (0, 32), 1: (0, 32), 2: (0, 0)}
    assert reader.damage == []
    await log.close()


@in_loop
async def test_frames_tell_what_records_hold(tmp_path: Path) -> None:
    log = await filled(tmp_path / "s", segment_bytes=300)
    reader = Reader(tmp_path / "s")
    frames = list(reader.next_frames(0, 1))
    assert [frame.first_number for frame in frames] == list(range(0, 32, 4))
    assert {(frame.shard, frame.count) for frame in frames} == {(1, 4)}
    for frame in frames:
        records, position = reader.records(frame.position, 1, frame.first_number, 4, 10**6)
        assert [record.number for record in records] == list(range(frame.first_number, frame.first_number + 4))
        assert {record.arrival_ms for record in records} == {frame.arrival_ms}
        assert position == frame.end
    assert [frame.first_number for frame in reader.next_frames(0, 1, number=11)] == list(range(8, 32, 4))
    assert len(list(reader.next_frames(0, 1, frames[0].body_bytes * 2))) == 2
    assert len(list(reader.next_frames(0, 1, 1))) == 1
    await log.close()


@pytest.mark.parametrize(
    ("count", "bytes_max", "expected"),
    [(3, 10**6, 3), (5, 10**6, 5), (100, 10**6, 32), (100, 15 * 6, 6), (100, 15 * 6 - 1, 5), (100, 1, 1), (100, 0, 1)],
)
@in_loop
async def test_bounds_of_a_read(tmp_path: Path, count: int, bytes_max: int, expected: int) -> None:
    log = await filled(tmp_path / "s")
    reader = Reader(tmp_path / "s")
    position = number = 0
    while number < 32:
        records, position = reader.records(position, 0, number, count, bytes_max)
        assert [record.number for record in records] == list(range(number, min(number + expected, 32)))
        number += len(records)
    await log.close()


@in_loop
async def test_a_position_is_a_hint(tmp_path: Path) -> None:
    log = await filled(tmp_path / "s", segment_bytes=400)
    reader = Reader(tmp_path / "s")
    for position in range(log.durable + 1):
        assert numbers(reader, 1, position, 13) == list(range(13, 32)), f"from {position}"
    assert reader.damage == []
    assert numbers(reader, 1, log.durable, 32) == []
    await log.close()


@in_loop
async def test_find(tmp_path: Path) -> None:
    log = await filled(tmp_path / "s", segment_bytes=400)
    reader = Reader(tmp_path / "s")
    frames = list(reader.next_frames(0, 1))
    for number in range(32):
        assert reader.find(1, number) == frames[number // 4].position
    assert reader.find(1, 32) == log.durable
    assert reader.find(2, 0) == log.durable
    await log.close()


@in_loop
async def test_find_time(tmp_path: Path) -> None:
    log = await filled(tmp_path / "s", segment_bytes=400)
    reader = Reader(tmp_path / "s")
    frames = list(reader.next_frames(0, 1))
    for at, frame in enumerate(frames):
        assert reader.find_time(1, 1_000_000 + at * 1000) == (at * 4, frame.position)
        assert reader.find_time(1, 1_000_000 + at * 1000 - 999) == (at * 4, frame.position)
    assert reader.find_time(1, 0) == (0, frames[0].position)
    assert reader.find_time(1, 2_000_000) == (32, log.durable)
    assert reader.find_time(2, 0) == (0, log.durable)
    await log.close()


@in_loop
async def test_find_in_a_segment_of_many_small_frames(tmp_path: Path) -> None:
    """Far more than the distance between the marks that a reader keeps of a segment."""
    log = Log.open(tmp_path / "s", FaultyDisk(), stream="s", shards=2, now_ms=Clock())
    for _ in range(40):
        await log.append(entries(0, 3, 40_000) + entries(1, 1, 100))
    reader = Reader(tmp_path / "s")
    for number in (119, 3, 60, 118, 0):
        assert numbers(reader, 0, reader.find(0, number), number) == list(range(number, 120))
    assert numbers(reader, 1, reader.find(1, 33), 33) == list(range(33, 40))
    await log.append(entries(1, 1))
    assert numbers(reader, 1, reader.find(1, 40), 40) == [40]
    await log.close()


@in_loop
async def test_segments_removed_under_a_reader(tmp_path: Path) -> None:
    clock = Clock()
    log = await filled(tmp_path / "s", clock, segment_bytes=300)
    behind, within = Reader(tmp_path / "s"), Reader(tmp_path / "s")
    _, behind_at = behind.records(0, 1, 0, 6, 10**6)
    frames = within.next_frames(0, 1)
    assert next(frames).first_number == 0
    removed = await log.trim(clock.now_ms, 2500, log.durable)
    assert removed
    first = removed[-1].numbers[1][1]
    assert log.first_number[1] == behind.first_number(1) == first == 24
    assert numbers(behind, 1, behind_at, 6) == list(range(first, 32)), "it goes on with the first record held"
    assert numbers(within, 0) == list(range(first, 32))
    assert [frame.first_number for frame in frames][-1] == 28, "a walk under way ends well"
    assert behind.find(1, 0) == behind.find(1, first)
    assert behind.damage == within.damage == []
    await log.close()


@in_loop
async def test_a_deleted_stream_is_empty_and_a_new_one_of_its_name_is_seen(tmp_path: Path) -> None:
    log = await filled(tmp_path / "s")
    reader = Reader(tmp_path / "s")
    assert len(all_records(reader, 0)) == 32
    await log.delete()
    assert reader.durable() == 0
    assert reader.bounds() == {}
    assert all_records(reader, 0) == []
    log = await filled(tmp_path / "s", groups=1)
    assert numbers(reader, 0) == [0, 1, 2, 3]
    await log.close()


@in_loop
async def test_damage_is_passed_over_and_told(tmp_path: Path) -> None:
    log = await filled(tmp_path / "s")
    await log.close()
    (path,) = (tmp_path / "s").glob("*.segment")
    frames = list(Reader(tmp_path / "s").next_frames(0, 1))
    body = bytearray(path.read_bytes())
    body[frames[2].position + 30] ^= 1
    body[frames[4].end - 1] ^= 1
    path.write_bytes(body)
    reader = Reader(tmp_path / "s")
    lost = {8, 9, 10, 11, 19}
    for position in (0, frames[1].position, frames[2].position):
        first = 0 if position == 0 else 8
        assert numbers(reader, 1, position, first) == [number for number in range(first, 32) if number not in lost]
    assert numbers(reader, 0) == list(range(32)), "other shards lose nothing"
    assert [(found.position, found.shard, found.number) for found in reader.damage] == [
        (frames[2].position, None, None),
        (frames[4].position, 1, 19),
    ]


@in_loop
async def test_records_of_ten_mebibytes(tmp_path: Path) -> None:
    log = Log.open(tmp_path / "s", FaultyDisk(), stream="s", shards=1)
    data = os.urandom(segment.DATA_BYTES_MAX)
    await log.append([(0, b"k" * 256, data), (0, b"small", b"x"), (0, b"k", data)])
    reader = Reader(tmp_path / "s")
    assert [len(record.data) for record in all_records(reader, 0)] == [len(data), 1, len(data)]
    assert reader.records(0, 0, 0, 1, 1000)[0][0].data == data
    await log.close()


@in_loop
async def test_another_process_reads(tmp_path: Path) -> None:
    log = await filled(tmp_path / "s", segment_bytes=300)
    code = (
        "import sys; from pathlib import Path; from headrace.stream.reader import Reader; "
        "reader = Reader(Path(sys.argv[1])); records, _ = reader.records(0, 1, 0, 1000, 10**6); "
        "print(len(records), records[-1].number, reader.bounds()[1])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s")], capture_output=True, text=True, check=True
    )
    assert output.stdout.split(maxsplit=2) == ["32", "31", "(0, 32)\n"]
    await log.close()


@in_loop
async def test_a_reader_can_be_closed_and_used_again(tmp_path: Path) -> None:
    log = await filled(tmp_path / "s")
    reader = Reader(tmp_path / "s")
    for _ in range(2):
        assert len(all_records(reader, 0)) == 32
        reader.close()
    await log.close()
