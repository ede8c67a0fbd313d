"""The format of a segment file: its header, and frames of records. Pure: bytes in, bytes out.

A *position* is a byte of the whole log: the segment's base plus the offset in its file. A *group* is what one commit
wrote: one or more frames, each with records of one shard. docs/formats.md has the layout, byte by byte.
"""

import struct
import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate
from operator import add
from typing import NamedTuple

import msgspec
from zlib_ng.zlib_ng import crc32

from headrace.errors import DataDirectoryError
from headrace.record import Record

VERSION = 1
FRAME_MAGIC = b"\xf7HRf"  # 0xF7 is in no UTF-8 text
FRAME_BODY_BYTES = 256 * 1024  # a frame takes no further record beyond this; one record alone may be larger
KEY_BYTES_MAX = 2**16 - 1
DATA_BYTES_MAX = 10 * 1024 * 1024

FILLER = 2**32 - 1  # as a frame's shard: it stands where damage was set aside, and holds no records
LOSSY = 1  # a frame's flag: records of it are known to be lost; each one counts only if its own CRC is right

_MAGIC = b"HRSEG"
_PREFIX = struct.Struct("<5sBHI")  # magic, version, 0, length of the JSON; then the CRC of these and the JSON
_CRC = struct.Struct("<I")
_HEADER_BYTES_MAX = 1024 * 1024
_FIELDS = struct.Struct("<6I3Q")  # those of Frame
_SEAL = struct.Struct("<4sI")  # magic, CRC of the fields
_SEALED = struct.Struct("<4sI6I3Q")  # both at once
_ONE = struct.Struct("<4xIH")  # the index of a single record: CRC (left out), length, key length
_INDEX_BYTES = 10  # of a record: CRC, length, key length
FRAME_HEADER_BYTES = _SEALED.size

_new = tuple.__new__  # makes a NamedTuple from a tuple at half the cost of calling it


class ShardState(msgspec.Struct, array_like=True, frozen=True):
    """Where a shard stands: the number its next record gets, and the arrival of its last one (0: none yet)."""

    next_number: int = 0
    last_arrival_ms: int = 0


class Header(msgspec.Struct, frozen=True):
    """A segment's header: whose it is, where it starts in the log, the last commit before it, each shard's state."""

    stream: str
    base: int
    created_ms: int
    commit: int
    shards: dict[int, ShardState]


class Frame(NamedTuple):
    """A frame's header. `group_offset` is how many bytes before it the first frame of its group lies."""

    body_crc: int
    body_bytes: int
    shard: int
    count: int  # type: ignore[assignment]  # not tuple.count
    group_offset: int
    flags: int
    commit: int
    first_number: int
    arrival_ms: int


class Damage(NamedTuple):
    """Bytes of the log that can't be read, from `position` up to `end`; shard and number where they are known."""

    position: int
    end: int
    reason: str
    shard: int | None = None
    number: int | None = None


class Part(NamedTuple):
    """What a group holds for one shard: keys (UTF-8) and data, in order."""

    keys: list[bytes]
    datas: list[bytes]


# -- the segment's header


def encode_header(header: Header) -> bytes:
    """Return the first bytes of a segment file."""
    body = msgspec.json.encode(header)
    start = _PREFIX.pack(_MAGIC, VERSION, 0, len(body))
    return start + _CRC.pack(crc32(body, crc32(start))) + body


def read_header(read: Callable[[int, int], bytes], name: str) -> tuple[Header | None, int]:
    """Return a segment's header and its length, reading through `read(offset, length)`; (None, 0) if it is damaged.

    Raises DataDirectoryError if the segment (`name` is for the message) is of a newer version: magic, version, length
    and CRC stand where they do in every version.
    """
    start = read(0, _PREFIX.size + _CRC.size)
    if len(start) < _PREFIX.size + _CRC.size:
        return None, 0
    magic, version, _, length = _PREFIX.unpack_from(start)
    if magic != _MAGIC or length > _HEADER_BYTES_MAX:
        return None, 0
    body = read(len(start), length)
    if len(body) != length or crc32(body, crc32(start[: _PREFIX.size])) != _CRC.unpack_from(start, _PREFIX.size)[0]:
        return None, 0
    if version != VERSION:
        raise DataDirectoryError(
            f"{name} is of segment format {version}; this headrace reads format {VERSION}.",
            "Upgrade headrace, or give another --data directory.",
        )
    return msgspec.json.decode(body, type=Header), len(start) + length


# -- frames


def _values(code: str, data: bytes) -> list[int]:
    column = array(code, data)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tolist()


def encode_body(keys: Sequence[bytes], datas: Sequence[bytes]) -> bytes:
    """Return a frame's body: a column of CRCs, one of lengths (key and data), one of key lengths, then the records.

    A record's CRC starts from its key's length, so that a damaged length is noticed too.
    """
    records = list(map(add, keys, datas))
    lengths, key_lengths = map(len, records), list(map(len, keys))
    index = _index(len(records)).pack(*map(crc32, records, key_lengths), *lengths, *key_lengths)
    return b"".join((index, *records))


@lru_cache
def _index(count: int) -> struct.Struct:
    return struct.Struct(f"<{2 * count}I{count}H")


def encode_frame(frame: Frame, position: int, body: bytes) -> bytes:
    """Return a frame as it stands at `position`; `frame`'s CRC and length of the body are set here."""
    fields = _FIELDS.pack(crc32(body), len(body), *frame[2:])
    return b"".join((_seal(fields, position), fields, body))


def _seal(fields: bytes, position: int) -> bytes:
    """Return what a frame begins with.

    The header's CRC starts from the position: a copy of a frame elsewhere, such as in a record's data, is no frame.
    """
    return _SEAL.pack(FRAME_MAGIC, crc32(fields, position & 0xFFFFFFFF))


def decode_frame(buffer: bytes, offset: int, position: int) -> Frame | None:
    """Return the header of the frame at `offset` of `buffer`, which is `position` of the log; None: there is none."""
    end = offset + FRAME_HEADER_BYTES
    if end > len(buffer):
        return None
    fields = _SEALED.unpack_from(buffer, offset)
    if fields[0] != FRAME_MAGIC or crc32(buffer[offset + 8 : end], position & 0xFFFFFFFF) != fields[1]:
        return None
    return _new(Frame, fields[2:])


def chunks(part: Part) -> list[Part]:
    """Cut a shard's part of a group into bodies of about FRAME_BODY_BYTES, a record at least in each."""
    keys, datas = part  # keys are short: the bound is not exact
    if sum(map(len, datas)) <= FRAME_BODY_BYTES:
        return [part]
    cut = []
    ends = list(accumulate(map(len, datas)))
    start = done = 0
    while start < len(keys):
        stop = max(bisect_right(ends, done + FRAME_BODY_BYTES), start + 1)
        cut.append(Part(keys[start:stop], datas[start:stop]))
        start, done = stop, ends[stop - 1]
    return cut


def encode_group(
    parts: dict[int, Part], position: int, commit: int, shards: dict[int, ShardState], now_ms: int
) -> tuple[bytes, dict[int, ShardState]]:
    """Return a group as it stands at `position`, and how its shards stand after it.

    Arrival never falls within a shard, whatever the clock does.
    """
    start, pieces, after = position, list[bytes](), {}
    for shard, part in parts.items():
        state = shards[shard]
        number, arrival_ms = state.next_number, max(now_ms, state.last_arrival_ms)
        for keys, datas in chunks(part):
            body, count = encode_body(keys, datas), len(keys)
            fields = _FIELDS.pack(crc32(body), len(body), shard, count, position - start, 0, commit, number, arrival_ms)
            pieces += _seal(fields, position), fields, body
            position += FRAME_HEADER_BYTES + len(body)
            number += count
        after[shard] = ShardState(number, arrival_ms)
    return b"".join(pieces), after


# -- records


class Body(NamedTuple):
    """A frame's body, opened: where its records start (and the last one ends), and how long their keys are."""

    data: bytes
    ends: list[int]
    key_lengths: list[int]


def open_body(frame: Frame, data: bytes) -> Body:
    """Return a body whose CRC is right, ready to take records from."""
    n = frame.count
    if n == 1:
        length, key_length = _ONE.unpack_from(data)
        return Body(data, [_INDEX_BYTES, _INDEX_BYTES + length], [key_length])
    lengths = _values("I", data[4 * n : 8 * n])
    ends = list(accumulate(lengths, initial=_INDEX_BYTES * n))
    return Body(data, ends, _values("H", data[8 * n : _INDEX_BYTES * n]))


def decode_records(
    frame: Frame, body: Body, number: int, count: int, bytes_max: int, at_least: int = 0
) -> tuple[list[Record], int]:
    """Return up to `count` records from `number` on (or the frame's first), and their bytes (keys and data).

    Ends before the record that would exceed `bytes_max`, but has `at_least` so many (as far as the frame has them).
    """
    data, ends, key_lengths = body
    shard, arrival_ms = frame.shard, frame.arrival_ms
    skip = min(max(number - frame.first_number, 0), frame.count)
    fitting = bisect_right(ends, ends[skip] + bytes_max) - 1
    stop = min(skip + count, max(fitting, skip + at_least), frame.count)
    records: list[Record] = [
        _new(Record, (shard, place, arrival_ms, data[start : (middle := start + key)].decode(), data[middle:end]))
        for place, start, key, end in zip(
            range(frame.first_number + skip, frame.first_number + stop),
            ends[skip:stop],
            key_lengths[skip:stop],
            ends[skip + 1 : stop + 1],
            strict=True,
        )
    ]
    return records, ends[stop] - ends[skip]


def decode_damaged(frame: Frame, data: bytes) -> tuple[list[Record], list[int]]:
    """Return what can be read of a body whose CRC is wrong: the records whose own CRC is right, the others' numbers."""
    n = frame.count
    if len(data) < _INDEX_BYTES * n:
        return [], list(range(frame.first_number, frame.first_number + n))
    records, lost, start = [], [], _INDEX_BYTES * n
    columns = zip(
        _values("I", data[: 4 * n]),
        _values("I", data[4 * n : 8 * n]),
        _values("H", data[8 * n : _INDEX_BYTES * n]),
        strict=True,
    )
    for place, (crc, length, key) in enumerate(columns, frame.first_number):
        raw = data[start : start + length]
        start += length
        if len(raw) == length and key <= length and crc32(raw, key) == crc:
            records.append(Record(frame.shard, place, frame.arrival_ms, raw[:key].decode(), raw[key:]))
        else:
            lost.append(place)
    return records, lost


# -- walking


class Window:
    """The frames of one file through a buffer, so that small ones don't cost a read each."""

    def __init__(self, read: Callable[[int, int], bytes], base: int, chunk_bytes: int) -> None:
        self._read = read
        self._chunk_bytes = chunk_bytes
        self._base = base
        self._small = True  # whether the frame last loaded was: among large ones only headers are read
        self._start = 0  # the buffer's position
        self._buffer = b""

    def frame(self, position: int, limit: int) -> Frame | None:
        """Return the header of the frame at `position` if there is a whole frame before `limit`."""
        index = position - self._start
        if index < 0 or index + FRAME_HEADER_BYTES > len(self._buffer):
            index = self._load(position, limit)
        frame = decode_frame(self._buffer, index, position)
        if frame is None or position + FRAME_HEADER_BYTES + frame.body_bytes > limit:
            return None
        return frame

    def next_frame(self, shard: int, position: int, limit: int) -> tuple[int, Frame | None]:
        """Hop from the frame at `position` to the next one of `shard`: return its position and header.

        The header is None where no frame is, and at `limit` if the shard has no further one. The hot loop of every
        reader: it does what `frame` does, with no call for the other shards' frames.
        """
        buffer, start = self._buffer, self._start
        while position < limit:
            index = position - start
            if index < 0 or index + FRAME_HEADER_BYTES > len(buffer):
                index = self._load(position, limit)
                buffer, start = self._buffer, self._start
                if len(buffer) < FRAME_HEADER_BYTES:
                    return position, None
            fields = _SEALED.unpack_from(buffer, index)
            end = position + FRAME_HEADER_BYTES + fields[3]
            seal = crc32(buffer[index + 8 : index + FRAME_HEADER_BYTES], position & 0xFFFFFFFF)
            if fields[0] != FRAME_MAGIC or seal != fields[1] or end > limit:
                return position, None
            if fields[4] == shard:
                return position, _new(Frame, fields[2:])
            position = end
        return position, None

    def body(self, position: int, frame: Frame) -> bytes:
        """Return the body of the frame at `position`; shorter if the file is."""
        index = position + FRAME_HEADER_BYTES - self._start
        if index >= 0 and index + frame.body_bytes <= len(self._buffer):
            return self._buffer[index : index + frame.body_bytes]
        return self._read(position + FRAME_HEADER_BYTES - self._base, frame.body_bytes)

    def find_frame(self, position: int, limit: int) -> int:
        """Return the position of the first frame at or after `position`; `limit` if there is none before it."""
        overlap = len(FRAME_MAGIC) - 1
        while position < limit:
            data = self._read(position - self._base, min(1024 * 1024, limit - position))
            if not data:
                break
            index = data.find(FRAME_MAGIC)
            while index >= 0:
                if self.frame(position + index, limit) is not None:
                    return position + index
                index = data.find(FRAME_MAGIC, index + 1)
            position += max(len(data) - overlap, 1)
        return limit

    def _load(self, position: int, limit: int) -> int:
        """Have the bytes from `position` on in the buffer; return the index of the first."""
        # What lies beyond the limit may still change: it must not be kept.
        length = min(self._chunk_bytes if self._small else FRAME_HEADER_BYTES, limit - position)
        self._buffer, self._start = self._read(position - self._base, length), position
        if len(self._buffer) >= FRAME_HEADER_BYTES:
            self._small = _SEALED.unpack_from(self._buffer)[3] < self._chunk_bytes
        return 0


def body_is_whole(frame: Frame, body: bytes) -> bool:
    """Return whether a frame's body is as it was written."""
    return len(body) == frame.body_bytes and crc32(body) == frame.body_crc
