"""The log on a disk that fails: what was acknowledged is there after every power cut, numbers go on without a hole."""

import asyncio
import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headrace.errors import StorageError
from headrace.stream import board
from headrace.stream.log import Entry
from headrace.stream.reader import Reader
from support.faulty_disk import FaultyDisk, Tear, drop_pages, keep, lose, tear_at
from support.logs import SHARDS, batch, by_shard, open_log, plain, read
from support.loop import in_loop


async def written(folder: Path, disk: FaultyDisk, batches: Iterable[list[Entry]], **sizes: int) -> list[list[Entry]]:
    """Append until the disk fails; returns the batches that were acknowledged."""
    acknowledged: list[list[Entry]] = []
    try:
        log = open_log(folder, disk, **sizes)
    except StorageError:
        return acknowledged
    with contextlib.suppress(StorageError):
        for entries in batches:
            await log.append(entries)
            acknowledged.append(entries)
    await log.close()
    return acknowledged


async def check_after(folder: Path, acknowledged: list[list[Entry]], tried: list[list[Entry]]) -> None:
    """The log opens, holds all that was acknowledged, beyond it at most a prefix of what was tried, and goes on."""
    sure, possible = by_shard(acknowledged), by_shard(tried)
    log = open_log(folder)
    assert log.damage == []
    held = plain(read(folder))
    for shard in range(SHARDS):
        assert held[shard][: len(sure[shard])] == sure[shard], f"acknowledged records of shard {shard} are lost"
        assert held[shard] == possible[shard][: len(held[shard])], f"shard {shard} has what was never sent"
        assert log.next_number[shard] == len(held[shard])
    more = batch("more", 5)
    appended = await log.append(more)
    assert appended.first_number == {shard: len(held[shard]) for shard in range(SHARDS)}
    await log.close()
    after = read(folder)
    assert plain(after) == {shard: held[shard] + by_shard([more])[shard] for shard in range(SHARDS)}
    assert all([record.number for record in records] == list(range(len(records))) for records in after.values())


def cut_at_sync(disk: FaultyDisk, number: int) -> None:
    """Cut power when the sync `number` (from now on, 0 first) is asked for."""
    count = iter(range(1_000_000))
    disk.before = lambda name: disk.cut_power() if name == "sync" and next(count) == number else None


async def torn(tmp_path: Path, last: list[Entry]) -> tuple[FaultyDisk, Path, list[list[Entry]]]:
    """A log with two acknowledged groups, whose third was written and not synced when power went."""
    folder, disk = tmp_path / "before", FaultyDisk()
    log = open_log(folder, disk)
    acknowledged = [batch("a", 7), batch("b", 5)]
    for entries in acknowledged:
        await log.append(entries)
    cut_at_sync(disk, 0)
    with pytest.raises(StorageError):
        await log.append(last)
    await log.close()
    return disk, folder, acknowledged


def leave(disk: FaultyDisk, before: Path, after: Path, tear: Tear, with_board: bool, **how: bool) -> None:
    disk.leave(after, tear, **how)
    if with_board:
        shutil.copy(before / board.FILE, after / board.FILE)


@pytest.mark.parametrize("with_board", [True, False], ids=["board kept", "board lost"])
@in_loop
async def test_the_last_write_torn_at_every_byte(tmp_path: Path, with_board: bool) -> None:
    last = batch("c", 7)
    disk, before, acknowledged = await torn(tmp_path, last)
    ((_, file),) = disk.unsynced().items()
    for byte in range(len(file.cached) - len(file.synced) + 1):
        leave(disk, before, tmp_path / "after", tear_at(byte), with_board)
        await check_after(tmp_path / "after", acknowledged, [*acknowledged, last])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dropped=st.sets(st.integers(0, 12)), with_board=st.booleans())
@example(dropped={0}, with_board=False)
@example(dropped=set(range(1, 13)), with_board=True)
def test_any_pages_of_the_last_write_dropped(
    tmp_path_factory: pytest.TempPathFactory, dropped: set[int], with_board: bool
) -> None:
    async def check() -> None:
        path = tmp_path_factory.mktemp("pages")
        last = batch("c", 9, size=600)
        disk, before, acknowledged = await torn(path, last)
        leave(disk, before, path / "after", drop_pages(dropped), with_board)
        await check_after(path / "after", acknowledged, [*acknowledged, last])

    asyncio.run(check())


@pytest.mark.parametrize(
    "tear", [lose, keep, drop_pages({0}), drop_pages({1, 2})], ids=["lost", "kept", "first", "later"]
)
@pytest.mark.parametrize("entries", [True, False], ids=["names kept", "names lost"])
@in_loop
async def test_power_cut_at_every_operation_with_rolling_segments(tmp_path: Path, tear: Tear, entries: bool) -> None:
    batches = [batch(str(number), 4, size=200) for number in range(6)]
    whole = FaultyDisk()
    assert await written(tmp_path / "whole", whole, batches, segment_bytes=1500) == batches
    for cut_after in range(whole.operations):
        before, disk = tmp_path / f"before-{cut_after}", FaultyDisk(cut_after)
        acknowledged = await written(before, disk, batches, segment_bytes=1500)
        disk.leave(tmp_path / "after", tear, entries=entries)
        await check_after(tmp_path / "after", acknowledged, batches)


@in_loop
async def test_power_cut_during_trim(tmp_path: Path) -> None:
    batches = [batch(str(number), 3, size=200) for number in range(6)]
    for cut_after in range(6):
        before, disk = tmp_path / f"before-{cut_after}", FaultyDisk()
        log = open_log(before, disk, segment_bytes=1000)
        for entries in batches:
            await log.append(entries)
        disk.cut_after = disk.operations + cut_after
        with contextlib.suppress(StorageError):
            await log.trim(10**13, 1000, log.durable)
        await log.close()
        for entries_kept in (True, False):
            disk.leave(tmp_path / "after", lose, entries=entries_kept)
            log = open_log(tmp_path / "after")
            assert log.damage == []
            held = read(tmp_path / "after")
            for shard, records in held.items():
                assert [record.number for record in records] == list(range(log.first_number[shard], 6))
            await log.close()


@in_loop
async def test_a_full_disk_refuses_the_group_and_goes_on_when_there_is_space(tmp_path: Path) -> None:
    folder, disk = tmp_path / "s", FaultyDisk()
    log = open_log(folder, disk)
    good = [batch("a", 4)]
    await log.append(good[0])
    size = log.durable
    for space in range(0, 500, 7):
        disk.space = space
        refused = [log.append(batch("full", 6, size=100)), log.append(batch("too", 3))]
        for future in refused:
            with pytest.raises(StorageError, match="No space left") as caught:
                await future
            assert "Free space" in caught.value.hint
        assert log.durable == size
        assert plain(read(folder)) == by_shard(good)
    disk.space = None
    good.append(batch("b", 4))
    assert (await log.append(good[1])).first_number == {0: 2, 1: 1, 2: 1}
    await log.close()
    disk.leave(tmp_path / "after", lose)
    await check_after(tmp_path / "after", good, good)


@in_loop
async def test_a_disk_too_full_for_a_new_segment(tmp_path: Path) -> None:
    folder, disk = tmp_path / "s", FaultyDisk()
    log = open_log(folder, disk, segment_bytes=300)
    good = [batch("a", 6)]
    await log.append(good[0])
    for space in (0, 1, 20, 100, 400):
        disk.space = space
        with pytest.raises(StorageError):
            await log.append(batch("full", 6, size=400))
    disk.space = None
    good.append(batch("b", 4))
    await log.append(good[1])
    await log.close()
    disk.leave(tmp_path / "after", lose)
    await check_after(tmp_path / "after", good, good)


@pytest.mark.parametrize("failing_truncates", [0, 1])
@pytest.mark.parametrize("tear", [lose, keep], ids=["lost", "kept"])
@in_loop
async def test_a_failed_sync_is_not_believed_the_second_time(
    tmp_path: Path, tear: Tear, failing_truncates: int
) -> None:
    """After a failed sync the system forgets what it did not write: a further sync of the file proves nothing."""
    folder, disk = tmp_path / "s", FaultyDisk()
    log = open_log(folder, disk)
    good = [batch("a", 4)]
    await log.append(good[0])
    disk.failing_syncs, disk.failing_truncates = 1, failing_truncates
    with pytest.raises(StorageError, match="Input/output"):
        await log.append(batch("failed", 4, size=900))
    assert plain(read(folder)) == by_shard(good)
    for name in "bc":
        good.append(batch(name, 4, size=300))
        await log.append(good[-1])
        assert plain(read(folder)) == by_shard(good)
    await log.close()
    disk.leave(tmp_path / "after", tear)
    await check_after(tmp_path / "after", good, good)


@in_loop
async def test_what_a_dead_process_failed_to_sync_is_written_again(tmp_path: Path) -> None:
    """The cache shows a group that is not on the medium and not to be written either: it must not become an ack."""
    folder, disk = tmp_path / "s", FaultyDisk()
    log = open_log(folder, disk)
    good = [batch("a", 4)]
    await log.append(good[0])
    disk.failing_syncs = 1
    disk.before = lambda name: disk.cut_power() if disk.failing_syncs == 0 else None  # it dies before it can cut back
    good.append(batch("b", 4, size=2000))
    with pytest.raises(StorageError):
        await log.append(good[1])
    await log.close()
    disk.before = lambda name: None
    disk.restart_process()
    log = open_log(folder, disk)
    assert plain(read(folder)) == by_shard(good), "whole in the cache, so it counts from now on"
    disk.leave(tmp_path / "at once", lose)
    await check_after(tmp_path / "at once", good, good)
    good.append(batch("c", 4))
    await log.append(good[2])
    await log.close()
    disk.leave(tmp_path / "after", lose)
    await check_after(tmp_path / "after", good, good)


@in_loop
async def test_opening_fails_plainly_when_the_disk_refuses(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    good = [batch("a", 4)]
    assert await written(folder, FaultyDisk(), good) == good
    disk = FaultyDisk()
    disk.failing_syncs = 1
    with pytest.raises(StorageError):
        open_log(folder, disk)
    await check_after(folder, good, good)


async def whole_log(folder: Path) -> tuple[list[list[Entry]], Path, bytes]:
    batches = [batch(name, 6) for name in "abc"]
    assert await written(folder, FaultyDisk(), batches) == batches
    (path,) = folder.glob("*.segment")
    return batches, path, path.read_bytes()


@in_loop
async def test_one_damaged_byte_costs_its_record_at_most_its_frame(tmp_path: Path) -> None:
    """Every byte of a log in turn: found with its position, the rest readable, and nothing acknowledged cut off."""
    folder = tmp_path / "s"
    batches, path, body = await whole_log(folder)
    everything = by_shard(batches)
    for at in range(len(body)):
        damaged = bytearray(body)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        log = open_log(folder)
        assert any(found.position <= at < found.end for found in log.damage), f"byte {at} is not told"
        await log.close()
        assert path.read_bytes() == bytes(damaged), "damage is kept as it is"
        held = read(folder)
        for shard, records in held.items():
            assert all((record.key, record.data) == everything[shard][record.number] for record in records)
        lost = sum(len(records) for records in everything.values()) - sum(len(records) for records in held.values())
        assert lost <= 2, "a frame has two records here"
        assert log.next_number == dict.fromkeys(range(SHARDS), 6), "numbers are never given twice"


@in_loop
async def test_damage_in_a_record_costs_that_record_alone(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    _, path, body = await whole_log(folder)
    at = body.index(b"b/3/")
    path.write_bytes(body[:at] + b"B" + body[at + 1 :])
    reader = Reader(folder)
    held = read(folder)
    assert [record.data[:4] for record in held[0]] == [b"a/0/", b"a/3/", b"b/0/", b"c/0/", b"c/3/"]
    assert [record.number for record in held[0]] == [0, 1, 2, 4, 5]
    reader.records(0, 0, 0, 100, 10_000)
    ((position, end, _, shard, number),) = reader.damage
    assert position <= at < end
    assert (shard, number) == (0, 3)


@pytest.mark.parametrize("cut", [1, 30, 100])
@in_loop
async def test_a_file_that_lost_acknowledged_bytes_is_told_and_its_numbers_are_not_given_again(
    tmp_path: Path, cut: int
) -> None:
    folder = tmp_path / "s"
    batches, path, body = await whole_log(folder)
    path.write_bytes(body[:-cut])
    log = open_log(folder)
    assert log.damage
    assert log.damage[-1].end == len(body) == log.durable
    assert (await log.append(batch("d", 3))).first_number == {0: 6, 1: 6, 2: 6}
    await log.close()
    held = plain(read(folder))
    assert held[0][:5] == by_shard(batches)[0][:5]
    assert all(records[-1][1].startswith(b"d/") for records in held.values())


@in_loop
async def test_a_header_that_was_damaged_later(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    batches = [batch(str(number), 4, size=200) for number in range(6)]
    await written(folder, FaultyDisk(), batches, segment_bytes=1500)
    paths = sorted(folder.glob("*.segment"))
    assert len(paths) > 2
    for path in paths:
        body = path.read_bytes()
        path.write_bytes(body[:20] + b"?" + body[21:])
        (folder / board.FILE).unlink()
        log = open_log(folder)
        assert plain(read(folder)) == by_shard(batches)
        assert log.next_number == {0: 12, 1: 6, 2: 6}
        assert log.first_number == {0: 0, 1: 0, 2: 0}
        await log.close()
        path.write_bytes(body)
