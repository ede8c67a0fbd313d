import struct
from collections.abc import Callable
from zlib import crc32

import pytest

from headrace.errors import DataDirectoryError
from headrace.record import Record
from headrace.stream import segment
from headrace.stream.segment import Frame, Header, Part, ShardState

HEADER = Header("s", 4096, 1_700_000_000_000, 7, {0: ShardState(12, 99), 1: ShardState()})


def reading(data: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, length: data[offset : offset + length]


def framed(keys: list[bytes], datas: list[bytes], position: int = 0, number: int = 5) -> tuple[bytes, Frame]:
    frame = Frame(0, 0, 2, len(keys), 0, 0, 9, number, 1234)
    encoded = segment.encode_frame(frame, position, segment.encode_body(keys, datas))
    decoded = segment.decode_frame(encoded, 0, position)
    assert decoded is not None
    return encoded, decoded


def records(
    encoded: bytes, frame: Frame, number: int = 0, count: int = 100, bytes_max: int = 10**6, least: int = 0
) -> tuple[list[Record], int]:
    body = segment.open_body(frame, encoded[segment.FRAME_HEADER_BYTES :])
    return segment.decode_records(frame, body, number, count, bytes_max, least)


def test_a_header_comes_back_with_its_length() -> None:
    encoded = segment.encode_header(HEADER)
    assert segment.read_header(reading(encoded + b"frames"), "x") == (HEADER, len(encoded))


def test_the_header_stands_as_documented() -> None:
    encoded = segment.encode_header(HEADER)
    magic, version, zero, length, crc = struct.unpack_from("<5sBHII", encoded)
    assert (magic, version, zero, length) == (b"HRSEG", 1, 0, len(encoded) - 16)
    assert crc == crc32(encoded[:12] + encoded[16:])


@pytest.mark.parametrize("at", range(len(segment.encode_header(HEADER))))
def test_a_header_damaged_anywhere_is_none(at: int) -> None:
    encoded = bytearray(segment.encode_header(HEADER))
    encoded[at] ^= 0x40
    assert segment.read_header(reading(bytes(encoded)), "x") == (None, 0)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 40])
def test_a_header_cut_short_is_none(length: int) -> None:
    assert segment.read_header(reading(segment.encode_header(HEADER)[:length]), "x") == (None, 0)


def test_a_newer_version_is_refused_with_both_versions() -> None:
    encoded = bytearray(segment.encode_header(HEADER))
    encoded[5] = 3
    encoded[12:16] = struct.pack("<I", crc32(bytes(encoded[:12] + encoded[16:])))
    with pytest.raises(DataDirectoryError, match=r"x is of segment format 3; .* format 1") as caught:
        segment.read_header(reading(bytes(encoded)), "x")
    assert "Upgrade" in caught.value.hint


def test_a_frame_stands_as_documented() -> None:
    encoded, frame = framed([b"k", b"key"], [b"data", b""], position=70_000)
    magic, seal, body_crc, body_bytes, shard, count, offset, flags, commit, first, arrival = struct.unpack_from(
        "<4sI6I3Q", encoded
    )
    body = encoded[56:]
    assert (magic, seal) == (b"\xf7HRf", crc32(encoded[8:56], 70_000))
    assert (body_crc, body_bytes) == (crc32(body), len(body))
    assert (shard, count, offset, flags, commit, first, arrival) == (2, 2, 0, 0, 9, 5, 1234)
    assert struct.unpack_from("<2I2I2H", body) == (crc32(b"kdata", 1), crc32(b"key", 3), 5, 3, 1, 3)
    assert body[20:] == b"kdatakey"
    assert frame[2:] == (2, 2, 0, 0, 9, 5, 1234)


@pytest.mark.parametrize("at", range(segment.FRAME_HEADER_BYTES))
def test_a_frame_header_damaged_anywhere_is_none(at: int) -> None:
    encoded = bytearray(framed([b"k"], [b"data"])[0])
    encoded[at] ^= 1
    assert segment.decode_frame(bytes(encoded), 0, 0) is None


def test_a_frame_is_one_only_at_its_own_position() -> None:
    encoded, _ = framed([b"k"], [b"data"], position=500)
    assert segment.decode_frame(encoded, 0, 500) is not None
    assert segment.decode_frame(encoded, 0, 501) is None


@pytest.mark.parametrize("length", [0, 10, segment.FRAME_HEADER_BYTES - 1])
def test_a_frame_header_cut_short_is_none(length: int) -> None:
    assert segment.decode_frame(framed([b"k"], [b"d"])[0][:length], 0, 0) is None


KEYS, DATAS = [b"a", b"bb", "ö".encode()], [b"1" * 9, b"2" * 18, b"3" * 28]  # 10, 20, 30 bytes


@pytest.mark.parametrize(
    ("number", "count", "bytes_max", "least", "numbers", "size"),
    [
        (0, 100, 10**6, 0, [5, 6, 7], 60),
        (5, 100, 10**6, 0, [5, 6, 7], 60),
        (6, 100, 10**6, 0, [6, 7], 50),
        (6, 1, 10**6, 0, [6], 20),
        (8, 100, 10**6, 1, [], 0),
        (99, 100, 10**6, 1, [], 0),
        (5, 100, 30, 0, [5, 6], 30),
        (5, 100, 29, 0, [5], 10),
        (7, 100, 29, 0, [], 0),
        (7, 100, 29, 1, [7], 30),
        (5, 0, 100, 0, [], 0),
    ],
)
def test_records_within_bounds(
    number: int, count: int, bytes_max: int, least: int, numbers: list[int], size: int
) -> None:
    found, found_bytes = records(*framed(KEYS, DATAS), number, count, bytes_max, least)
    assert [record.number for record in found] == numbers
    assert found_bytes == size
    for record in found:
        at = record.number - 5
        assert record == Record(2, record.number, 1234, KEYS[at].decode(), DATAS[at])


def test_a_single_record() -> None:
    assert records(*framed([b"k"], [b"data"], number=0))[0] == [Record(2, 0, 1234, "k", b"data")]


def test_a_damaged_body_gives_up_only_what_is_damaged() -> None:
    encoded, frame = framed(KEYS, DATAS)
    body = bytearray(encoded[segment.FRAME_HEADER_BYTES :])
    body[body.index(b"2")] = 0
    assert not segment.body_is_whole(frame, bytes(body))
    found, lost = segment.decode_damaged(frame, bytes(body))
    assert [record.number for record in found] == [5, 7]
    assert lost == [6]


@pytest.mark.parametrize("at", range(len(framed(KEYS, DATAS)[0]) - segment.FRAME_HEADER_BYTES))
def test_damage_in_a_body_never_changes_a_record(at: int) -> None:
    encoded, frame = framed(KEYS, DATAS)
    body = bytearray(encoded[segment.FRAME_HEADER_BYTES :])
    body[at] ^= 0x20
    whole, _ = records(encoded, frame)
    found, lost = segment.decode_damaged(frame, bytes(body))
    assert lost
    assert set(found) < set(whole)
    assert sorted([*lost, *(record.number for record in found)]) == [5, 6, 7]


@pytest.mark.parametrize("length", [0, 5, 29, 30, 60])
def test_a_body_cut_short_gives_what_is_there(length: int) -> None:
    encoded, frame = framed(KEYS, DATAS)
    body = encoded[segment.FRAME_HEADER_BYTES :][:length]
    assert not segment.body_is_whole(frame, body)
    found, lost = segment.decode_damaged(frame, body)
    assert len(found) + len(lost) == 3
    assert len(found) == (2 if length == 60 else 0)


def test_a_group_numbers_its_records_and_lets_no_arrival_fall() -> None:
    shards = {0: ShardState(10, 5000), 1: ShardState(3, 100)}
    parts = {0: Part([b"k", b"k"], [b"a", b"b"]), 1: Part([b"k"], [b"c"])}
    encoded, after = segment.encode_group(parts, 1000, 8, shards, now_ms=2000)
    assert after == {0: ShardState(12, 5000), 1: ShardState(4, 2000)}
    window = segment.Window(reading(b"\0" * 1000 + encoded), 0, 64)
    limit = 1000 + len(encoded)
    first = window.frame(1000, limit)
    assert first is not None
    second_at = 1000 + segment.FRAME_HEADER_BYTES + first.body_bytes
    second = window.frame(second_at, limit)
    assert second is not None
    assert (first.shard, first.first_number, first.arrival_ms, first.commit, first.group_offset) == (0, 10, 5000, 8, 0)
    assert (second.shard, second.first_number, second.arrival_ms, second.commit) == (1, 3, 2000, 8)
    assert second.group_offset == second_at - 1000


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ([10], [1]),
        ([segment.FRAME_BODY_BYTES], [1]),
        ([segment.FRAME_BODY_BYTES + 1], [1]),
        ([segment.FRAME_BODY_BYTES, 1], [1, 1]),
        ([100_000] * 5, [2, 2, 1]),
        ([10, 10_000_000, 10, 10], [1, 1, 2]),
    ],
)
def test_a_large_part_is_cut_into_frames(sizes: list[int], counts: list[int]) -> None:
    part = Part([b""] * len(sizes), [bytes(size) for size in sizes])
    assert [len(keys) for keys, _ in segment.chunks(part)] == counts
    assert [data for _, datas in segment.chunks(part) for data in datas] == part.datas


@pytest.mark.parametrize("chunk", [56, 100, 4096])
def test_a_window_hops_to_the_frames_of_a_shard(chunk: int) -> None:
    data, shards = b"", {0: ShardState(), 1: ShardState()}
    for commit in range(1, 20):
        parts = {shard: Part([b"k"] * commit, [b"d" * 40] * commit) for shard in (0, 1)}
        encoded, shards = segment.encode_group(parts, len(data), commit, shards, 1)
        data += encoded
    window = segment.Window(reading(data), 0, chunk)
    position, numbers = 0, []
    while position < len(data):
        position, frame = window.next_frame(1, position, len(data))
        if frame is not None:
            numbers.append(frame.first_number)
            body = window.body(position, frame)
            assert segment.body_is_whole(frame, body)
            position += segment.FRAME_HEADER_BYTES + frame.body_bytes
    assert numbers == [sum(range(1, commit)) for commit in range(1, 20)]
    assert position == len(data)


def test_a_window_never_looks_beyond_the_limit() -> None:
    encoded, frame = framed([b"k"], [b"data"])
    asked: list[int] = []

    def read(offset: int, length: int) -> bytes:
        asked.append(offset + length)
        return encoded[offset : offset + length]

    window = segment.Window(read, 0, 4096)
    assert window.frame(0, len(encoded) - 1) is None
    assert window.next_frame(2, 0, len(encoded) - 1) == (0, None)
    assert max(asked) < len(encoded)
    assert window.next_frame(2, 0, len(encoded)) == (0, frame)


@pytest.mark.parametrize("garbage", [b"", b"x" * 3, segment.FRAME_MAGIC, b"y" * 1_048_575, b"z" * 1_048_574 + b"\xf7"])
def test_the_next_frame_is_found_behind_garbage(garbage: bytes) -> None:
    encoded, _ = framed([b"k"], [b"data"], position=len(garbage))
    data = garbage + encoded
    window = segment.Window(reading(data), 0, 4096)
    assert window.find_frame(0, len(data)) == len(garbage)
    assert window.find_frame(len(garbage) + 1, len(data)) == len(data)


def test_a_frame_inside_a_record_is_none() -> None:
    """A device may send what it read from a log."""
    inner, _ = framed([b"k"], [b"data"])
    outer, frame = framed([b"k"], [inner])
    window = segment.Window(reading(outer), 0, 4096)
    assert window.find_frame(1, len(outer)) == len(outer)
    assert records(outer, frame)[0][0].data == inner
