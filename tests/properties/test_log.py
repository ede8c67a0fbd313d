"""The log is a list per shard that survives being closed; frames and hash ranges lose nothing."""

import asyncio
import itertools
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.record import Record
from headrace.stream import segment
from headrace.stream.log import Entry, Log
from headrace.stream.reader import Reader
from headrace.stream.segment import Frame, Part, ShardState
from headrace.stream.shards import HASH_MAX, Router, even_ranges, hash_key, shard_of
from support.faulty_disk import FaultyDisk

SHARDS = 3
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
entries = st.lists(
    st.tuples(st.integers(0, SHARDS - 1), keys.map(str.encode), st.binary(max_size=60)), min_size=1, max_size=12
)
steps = st.one_of(
    st.tuples(st.just("append"), st.lists(entries, min_size=1, max_size=3)),
    st.tuples(st.just("reopen"), st.none()),
    st.tuples(st.just("trim"), st.floats(0, 1)),
    st.tuples(st.just("read"), st.tuples(st.integers(0, 2), st.floats(0, 1), st.integers(1, 9), st.integers(0, 200))),
)


class Model:
    """What the log must hold: per shard all records ever, and the first number still there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_ms = 0
        self.held: dict[int, list[tuple[str, bytes, int]]] = {shard: [] for shard in range(SHARDS)}
        self.log = self.open()
        self.reader = Reader(folder)

    def open(self) -> Log:
        sizes = {"segment_bytes": 700, "segment_age_ms": 50}
        return Log.open(self.folder, FaultyDisk(), stream="s", shards=SHARDS, now_ms=lambda: self.now_ms, **sizes)

    async def append(self, batches: list[list[Entry]]) -> None:
        self.now_ms += 10
        appended = await asyncio.gather(*(self.log.append(batch) for batch in batches))
        for batch, answer in zip(batches, appended, strict=True):
            numbers = answer.numbers(shard for shard, _, _ in batch)
            for number, (shard, key, data) in zip(numbers, batch, strict=True):
                assert number == len(self.held[shard])
                assert answer.arrival_ms[shard] == self.now_ms
                self.held[shard].append((key.decode(), data, self.now_ms))

    async def reopen(self, _: None) -> None:
        before = self.log.next_number, self.log.last_arrival_ms, self.log.first_number, self.log.durable
        await self.log.close()
        self.log = self.open()
        assert (self.log.next_number, self.log.last_arrival_ms, self.log.first_number) == before[:3]
        assert self.log.damage == []
        assert self.log.durable == before[3]

    async def trim(self, share: float) -> None:
        low = self.log.first_position + int((self.log.durable - self.log.first_position) * share)
        for removed in await self.log.trim(self.now_ms + 1, 0, low):
            assert removed.end <= low
            for shard, (first, behind) in removed.numbers.items():
                assert first <= behind == self.log.first_number[shard] or removed.end < self.log.first_position

    async def read(self, how: tuple[int, float, int, int]) -> None:
        shard, share, count, bytes_max = how
        held, first = self.held[shard], self.log.first_number[shard]
        number = int(len(held) * share)
        got: list[Record] = []
        position = self.reader.find(shard, number)
        while True:
            following = got[-1].number + 1 if got else number
            records, position = self.reader.records(position, shard, following, count, bytes_max)
            if not records:
                break
            assert len(records) <= count
            assert len(records) == 1 or sum(len(one.key.encode()) + len(one.data) for one in records) <= bytes_max
            got += records
        assert [one.number for one in got] == list(range(max(number, first), len(held)))
        assert [(one.key, one.data, one.arrival_ms) for one in got] == held[max(number, first) :]
        assert self.reader.bounds()[shard] == (first, len(held))
        if first < len(held):
            arrival = held[-1][2]
            earliest = next(at for at, one in enumerate(held) if one[2] >= arrival)
            assert self.reader.find_time(shard, arrival)[0] == max(earliest, first)


@settings(max_examples=80, deadline=None)
@given(st.lists(steps, max_size=25))
def test_the_log_is_a_list_per_shard(plan: list[tuple[str, object]]) -> None:
    async def run(folder: Path) -> None:
        model = Model(folder)
        for name, argument in plan:
            await getattr(model, name)(argument)
        for shard in range(SHARDS):
            await model.read((shard, 0.0, 5, 1000))
        await model.log.close()
        assert model.reader.damage == []
        model.reader.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


@given(
    records=st.lists(st.tuples(keys.map(str.encode), st.binary(max_size=300)), min_size=1, max_size=30),
    position=st.integers(0, 2**64 - 1),
    shard=st.integers(0, 2**32 - 1),
    number=st.integers(0, 2**63),
    arrival_ms=st.integers(0, 2**63),
)
def test_a_frame_comes_back(
    records: list[tuple[bytes, bytes]], position: int, shard: int, number: int, arrival_ms: int
) -> None:
    frame = Frame(0, 0, shard, len(records), 0, 0, 1, number, arrival_ms)
    body = segment.encode_body([key for key, _ in records], [data for _, data in records])
    encoded = segment.encode_frame(frame, position, body)
    decoded = segment.decode_frame(encoded, 0, position)
    assert decoded is not None
    assert decoded[2:] == frame[2:]
    assert segment.body_is_whole(decoded, encoded[segment.FRAME_HEADER_BYTES :])
    found, size = segment.decode_records(decoded, segment.open_body(decoded, body), 0, 10**6, 10**9)
    assert [(one.key.encode(), one.data) for one in found] == records
    assert [one.number for one in found] == list(range(number, number + len(records)))
    assert {(one.shard, one.arrival_ms) for one in found} == {(shard, arrival_ms)}
    assert size == sum(len(key) + len(data) for key, data in records)
    assert segment.decode_damaged(decoded, body) == (found, [])


@given(sizes=st.lists(st.integers(0, segment.FRAME_BODY_BYTES), min_size=1, max_size=12), now_ms=st.integers(0, 2**40))
def test_a_group_keeps_every_record_in_frames_of_bounded_size(sizes: list[int], now_ms: int) -> None:
    part = Part([b"k"] * len(sizes), [bytes(size) for size in sizes])
    encoded, after = segment.encode_group({1: part}, 0, 1, {1: ShardState(7, 5)}, now_ms)
    window = segment.Window(lambda offset, length: encoded[offset : offset + length], 0, 4096)
    position, found = 0, []
    while position < len(encoded):
        position, frame = window.next_frame(1, position, len(encoded))
        assert frame is not None
        assert frame.body_bytes <= segment.FRAME_BODY_BYTES + frame.count * 11
        body = segment.open_body(frame, window.body(position, frame))
        found += segment.decode_records(frame, body, 0, 10**6, 10**9)[0]
        position += segment.FRAME_HEADER_BYTES + frame.body_bytes
    assert [len(one.data) for one in found] == sizes
    assert [one.number for one in found] == list(range(7, 7 + len(sizes)))
    assert after == {1: ShardState(7 + len(sizes), max(5, now_ms))}


@given(count=st.integers(1, 500), value=st.integers(0, HASH_MAX), key=st.text(max_size=256))
def test_hash_ranges_cover_every_hash_once(count: int, value: int, key: str) -> None:
    ranges = even_ranges(count)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == HASH_MAX
    assert all(end + 1 == start for (_, end), (start, _) in itertools.pairwise(ranges))
    router = Router(dict(enumerate(ranges)))
    start, end = ranges[router.by_hash(value)]
    assert start <= value <= end
    assert router[key] == router[key] == shard_of(hash_key(key), dict(enumerate(ranges)))
