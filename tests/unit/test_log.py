import asyncio
import shutil
from pathlib import Path
from zlib import crc32

import msgspec
import pytest

from headrace.errors import DataDirectoryError, StorageError, Throttled, UsageError
from headrace.stream import board, catalog, segment
from headrace.stream.group import Appended
from headrace.stream.log import Entry, Log
from headrace.stream.reader import Reader
from support.faulty_disk import FaultyDisk
from support.loop import in_loop


def open_log(folder: Path, disk: FaultyDisk | None = None, now_ms: int = 1000, **sizes: int) -> Log:
    return Log.open(folder, disk or FaultyDisk(), stream="s", shards=2, now_ms=lambda: now_ms, **sizes)


@in_loop
async def test_numbers_are_dense_per_shard(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    shards = [0, 1, 1, 0, 1]
    appended = await log.append([(shard, b"k", b"d") for shard in shards])
    assert appended == Appended({0: 0, 1: 0}, {0: 1000, 1: 1000})
    assert appended.numbers(shards) == [0, 0, 1, 1, 2]
    again = await log.append([(1, b"k", b"d")])
    assert again.first_number == {1: 3}
    assert log.next_number == {0: 2, 1: 4}
    assert log.last_arrival_ms == {0: 1000, 1: 1000}
    await log.close()


@in_loop
async def test_appends_of_one_turn_are_one_group(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = open_log(tmp_path, disk)
    await log.append([(0, b"k", b"d")])
    syncs: list[str] = []
    disk.before = syncs.append
    futures = [log.append([(0, b"k", b"%d" % at), (1, b"k", b"%d" % at)]) for at in range(10)]
    appended = await asyncio.gather(*futures)
    assert [one.first_number for one in appended] == [{0: 1 + at, 1: at} for at in range(10)]
    assert syncs == ["write", "sync"]
    assert (log.stats.records, log.stats.commits, log.stats.bytes) == (21, 2, 42)  # a byte of key, a byte of data
    assert [record.data for record in Reader(tmp_path).records(0, 1, 0, 99, 999)[0]] == [b"%d" % at for at in range(10)]
    await log.close()


@in_loop
async def test_nothing_appended_is_nothing(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    assert await log.append([]) == Appended({}, {})
    assert log.stats.commits == 0
    await log.close()


@pytest.mark.parametrize(
    "entry",
    [(2, b"k", b"d"), (0, b"k", bytes(segment.DATA_BYTES_MAX + 1)), (0, b"k" * 65_536, b"d")],
    ids=["shard", "data", "key"],
)
@in_loop
async def test_a_record_out_of_bounds_refuses_its_append_alone(tmp_path: Path, entry: Entry) -> None:
    log = open_log(tmp_path)
    good = log.append([(0, b"k", b"d")])
    with pytest.raises(UsageError):
        log.append([(1, b"k", b"d"), entry])
    assert (await good).first_number == {0: 0}
    assert log.next_number == {0: 1, 1: 0}
    await log.close()


@in_loop
async def test_too_much_waiting_is_throttled(tmp_path: Path) -> None:
    log = open_log(tmp_path, pending_bytes_max=1000)
    waiting = [log.append([(0, b"k" * 10, bytes(90))]) for _ in range(10)]
    with pytest.raises(Throttled):
        log.append([(0, b"k", b"d")])
    await asyncio.gather(*waiting)
    assert (await log.append([(0, b"k", bytes(5000))])).first_number == {0: 10}, "one alone may be larger"
    await log.close()


@in_loop
async def test_a_caller_that_went_away_harms_nobody(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    gone, there = log.append([(0, b"k", b"gone")]), log.append([(0, b"k", b"there")])
    gone.cancel()
    assert (await there).first_number == {0: 1}
    await log.close()


@in_loop
async def test_arrival_never_falls(tmp_path: Path) -> None:
    times = iter([5000, 4000, 6000])
    log = Log.open(tmp_path, FaultyDisk(), stream="s", shards=1, now_ms=lambda: next(times))
    assert [(await log.append([(0, b"k", b"d")])).arrival_ms[0] for _ in range(3)] == [5000, 5000, 6000]
    await log.close()
    log = open_log(tmp_path, now_ms=10)
    assert (await log.append([(0, b"k", b"d")])).arrival_ms[0] == 6000
    await log.close()


@in_loop
async def test_a_clock_that_fails_refuses_what_waits_and_nothing_later(tmp_path: Path) -> None:
    is_broken = True

    def now_ms() -> int:
        if is_broken:
            raise ValueError("no time")
        return 1000

    log = Log.open(tmp_path, FaultyDisk(), stream="s", shards=1, now_ms=now_ms)
    waiting = [log.append([(0, b"k", b"lost")]) for _ in range(2)]
    assert [str(error) for error in await asyncio.gather(*waiting, return_exceptions=True)] == ["no time"] * 2
    with pytest.raises(ValueError, match="no time"):
        await log.append([(0, b"k", b"lost")])
    is_broken = False
    assert (await log.append([(0, b"k", b"kept")])).first_number == {0: 0}
    await log.close()


@in_loop
async def test_close_finishes_what_was_appended(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    futures = [log.append([(0, b"k", b"d")])]
    await asyncio.sleep(0)
    futures += [log.append([(0, b"k", b"d")]) for _ in range(3)]
    await log.close()
    assert [future.result().first_number[0] for future in futures] == [0, 1, 2, 3]
    with pytest.raises(StorageError, match="closed"):
        log.append([(0, b"k", b"d")])
    await log.close()


@in_loop
async def test_one_owner_at_a_time(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    with pytest.raises(DataDirectoryError, match="in use by"):
        open_log(tmp_path)
    await log.close()
    await open_log(tmp_path).close()


@in_loop
async def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        open_log(tmp_path / "file")


@in_loop
async def test_a_segment_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    await log.append([(0, b"k", b"d")])
    await log.close()
    (path,) = tmp_path.glob("*.segment")
    header, length = segment.read_header(lambda at, size: path.read_bytes()[at : at + size], "x")
    assert header is not None
    body = bytearray(path.read_bytes())
    body[5] = 2
    body[12:16] = crc32(bytes(body[:12] + body[16:length])).to_bytes(4, "little")
    path.write_bytes(body)
    with pytest.raises(DataDirectoryError, match="format 2"):
        open_log(tmp_path)
    assert path.read_bytes() == body
    with pytest.raises(DataDirectoryError, match="format 2"):
        Reader(tmp_path).records(0, 0, 0, 1, 1)


@in_loop
async def test_a_board_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    await open_log(tmp_path).close()
    path = tmp_path / board.FILE
    path.write_bytes(bytes([2]) + path.read_bytes()[1:])
    with pytest.raises(DataDirectoryError, match="format 2; this headrace reads format 1"):
        open_log(tmp_path)
    with pytest.raises(DataDirectoryError, match="format 2"):
        Reader(tmp_path).durable()


@pytest.mark.parametrize("body", [b"", b"short", b"x" * 300_000])
@in_loop
async def test_a_board_that_is_none_is_made_anew(tmp_path: Path, body: bytes) -> None:
    log = open_log(tmp_path)
    await log.append([(0, b"k", b"d")])
    await log.close()
    (tmp_path / board.FILE).write_bytes(body)
    assert Reader(tmp_path).durable() == 0
    log = open_log(tmp_path)
    assert Reader(tmp_path).bounds() == {0: (0, 1), 1: (0, 0)}
    assert log.damage == []
    await log.close()


@in_loop
async def test_more_shards_than_before(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    await log.append([(0, b"k", b"d")])
    await log.close()
    log = Log.open(tmp_path, FaultyDisk(), stream="s", shards=4)
    assert log.next_number == {0: 1, 1: 0, 2: 0, 3: 0}
    assert (await log.append([(3, b"k", b"d")])).first_number == {3: 0}
    assert Reader(tmp_path).bounds() == {0: (0, 1), 1: (0, 0), 2: (0, 0), 3: (0, 1)}
    await log.close()


class Times:
    now_ms = 0

    def __call__(self) -> int:
        return self.now_ms


async def hourly(folder: Path, times: Times, hours: int = 6) -> Log:
    """A segment an hour, each with a record in both shards."""
    log = Log.open(folder, FaultyDisk(), stream="s", shards=2, segment_age_ms=3_600_000, now_ms=times)
    for hour in range(hours):
        times.now_ms = hour * 3_600_000 + 10
        await log.append([(0, b"k", b"d"), (1, b"k", b"d")])
    return log


@pytest.mark.parametrize(
    ("retention_h", "low", "removed"),
    [
        (24, 10**9, []),
        (3, 10**9, [0, 1]),
        (0, 10**9, [0, 1, 2, 3, 4]),  # never the last one
        (0, 0, []),
        (0, 1, []),
        (0, "end of the second", [0, 1]),
        (0, "within the third", [0, 1]),
    ],
)
@in_loop
async def test_trim(tmp_path: Path, retention_h: int, low: int | str, removed: list[int]) -> None:
    times = Times()
    log = await hourly(tmp_path, times)
    bases = sorted(int(path.stem) for path in tmp_path.glob("*.segment"))
    assert len(bases) == 6
    if isinstance(low, str):
        low = bases[2] + (low == "within the third")
    assert log.first_position == 0
    gone = await log.trim(times.now_ms, retention_h * 3_600_000, low)
    assert [(one.base, one.end) for one in gone] == [(bases[at], bases[at + 1]) for at in removed]
    assert [one.numbers for one in gone] == [{0: (at, at + 1), 1: (at, at + 1)} for at in removed]
    assert log.first_number == {0: len(removed), 1: len(removed)}
    assert log.first_position == bases[len(removed)]
    assert sorted(int(path.stem) for path in tmp_path.glob("*.segment")) == bases[len(removed) :]
    await log.close()
    log = open_log(tmp_path)
    assert log.first_number == {0: len(removed), 1: len(removed)}
    assert log.next_number == {0: 6, 1: 6}
    assert log.first_position == bases[len(removed)]
    await log.close()


@in_loop
async def test_trim_passes_a_damaged_header(tmp_path: Path) -> None:
    times = Times()
    log = await hourly(tmp_path, times)
    paths = sorted(tmp_path.glob("*.segment"))
    paths[1].write_bytes(b"?" + paths[1].read_bytes()[1:])
    await log.close()
    log = open_log(tmp_path)
    gone = await log.trim(times.now_ms, 3 * 3_600_000, log.durable)
    assert [one.numbers[0] for one in gone] == [(0, 2)]
    assert sorted(tmp_path.glob("*.segment")) == paths[2:]
    await log.close()


@in_loop
async def test_trim_on_a_failing_disk(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = open_log(tmp_path, disk, segment_bytes=1)
    for _ in range(3):
        await log.append([(0, b"k", b"d")])
    disk.cut_power()
    with pytest.raises(StorageError):
        await log.trim(10**6, 0, log.durable)
    await log.close()
    assert await log.trim(10**6, 0, log.durable) == []


@in_loop
async def test_an_interrupted_delete_is_finished_by_open(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = open_log(tmp_path, disk, segment_bytes=1)
    for _ in range(3):
        await log.append([(0, b"k", b"d")])
    disk.before = lambda name: disk.cut_power() if name == "remove" else None
    with pytest.raises(StorageError):
        await log.delete()
    assert len(list(tmp_path.glob("*.segment"))) == 3
    log = open_log(tmp_path)
    assert log.next_number == {0: 0, 1: 0}
    assert list(tmp_path.glob("*.segment")) == []
    await log.close()


def test_a_stream_comes_back_from_its_file(tmp_path: Path) -> None:
    stream = catalog.new_stream("sensors", 3, 1_700_000_000, retention_hours=48)
    assert catalog.load(tmp_path / "sensors") is None
    catalog.save(tmp_path / "sensors", stream)
    assert catalog.load(tmp_path / "sensors") == stream
    assert [shard.shard for shard in stream.shards] == [0, 1, 2]
    assert stream.open_ranges[2][1] == 2**128 - 1
    closed = msgspec.structs.replace(stream.shards[1], closed=True)
    assert list(msgspec.structs.replace(stream, shards=(stream.shards[0], closed)).open_ranges) == [0]
    catalog.remove(tmp_path / "sensors")
    catalog.remove(tmp_path / "sensors")
    catalog.remove(tmp_path / "never there")
    assert catalog.load(tmp_path / "sensors") is None


@pytest.mark.parametrize(
    ("body", "problem", "hint"),
    [
        (b'{"version": 2, "unknown": []}', "format 2; this headrace reads format 1", "Upgrade"),
        (b'{"version": 1}', "damaged: .*name", "backup"),
        (b"", "damaged", "backup"),
    ],
)
def test_a_catalogue_entry_that_is_not_ours(tmp_path: Path, body: bytes, problem: str, hint: str) -> None:
    (tmp_path / catalog.FILE).write_bytes(body)
    with pytest.raises(DataDirectoryError, match=problem) as caught:
        catalog.load(tmp_path)
    assert hint in caught.value.hint


class Told:
    """What a single append is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int] | Exception | str] = []
        self.answered = asyncio.get_running_loop().create_future()

    def numbered(self, number: int, arrival_ms: int) -> None:
        self.told.append((number, arrival_ms))

    def durable(self) -> None:
        self.told.append("durable")
        self.answered.set_result(None)

    def refused(self, error: Exception) -> None:
        self.told.append(error)
        self.answered.set_result(None)


class Clumsy(Told):
    def numbered(self, number: int, arrival_ms: int) -> None:
        raise KeyError(number)

    def durable(self) -> None:
        raise KeyError("no answer")


@in_loop
async def test_single_appends_join_the_group_and_are_told_their_numbers(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = open_log(tmp_path, disk)
    ones = [Told(), Told(), Told()]
    log.append_one(1, b"k", b"first", ones[0])
    together = log.append([(1, b"k", b"second"), (0, b"k", b"other")])
    log.append_one(1, b"k", b"third", ones[1])
    assert (await together).first_number == {0: 0, 1: 1}
    assert [each.told for each in ones[:2]] == [[(0, 1000), "durable"], [(2, 1000), "durable"]]
    assert log.stats.commits == 1
    clumsy, beside = Clumsy(), Told()
    log.append_one(1, b"k", b"fourth", clumsy)
    log.append_one(1, b"k", b"fifth", beside)
    await beside.answered
    assert isinstance(clumsy.told[0], KeyError) and beside.told == [(4, 1000), "durable"]
    disk.space = 0
    log.append_one(0, b"k", bytes(2_000_000), ones[2])
    await ones[2].answered
    assert isinstance(ones[2].told[-1], StorageError)
    with pytest.raises(UsageError):
        log.append_one(2, b"k", b"d", Told())
    with pytest.raises(UsageError):
        log.append_one(0, b"k" * 70_000, b"d", Told())
    assert log.next_number == {0: 1, 1: 5}
    await log.close()


@in_loop
async def test_zeros_stand_behind_small_groups_and_nothing_else_does(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    await log.append([(0, b"k", b"small")])
    (path,) = tmp_path.glob("*.segment")
    held = path.read_bytes()
    assert len(held) > log.durable and not any(held[log.durable :])
    await log.append([(0, b"k", bytes(3_000_000))])  # a large one has none
    assert path.stat().st_size == log.durable
    await log.append([(0, b"k", b"small")])
    assert path.stat().st_size > log.durable
    await log.close()
    assert path.stat().st_size == log.durable


@in_loop
async def test_what_a_crash_leaves_is_not_written_over(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    await log.append([(0, b"k", b"kept")])
    shutil.copytree(tmp_path / "log", tmp_path / "crashed")
    await log.close()
    again = open_log(tmp_path / "crashed")
    await again.append([(0, b"k", b"more")])
    reader = Reader(tmp_path / "crashed")
    assert [record.data for record in reader.records(0, 0, 0, 9, 999)[0]] == [b"kept", b"more"]
    reader.close()
    await again.close()
