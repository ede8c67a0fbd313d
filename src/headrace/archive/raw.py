"""Raw objects: a stream's records as they arrived, one line each (`docs/formats.md`). Pure.

The same records make the same objects, in name and bytes: a batch that is repeated replaces its own.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

import msgspec
import pybase64
import zstandard

from headrace.event import jsontext
from headrace.event.lambda_event import LambdaRecord, arrival_ms, shard_of, stream_of

VERSION = 1
SUFFIX = ".ndjson.zst"
_HOUR_S = 3600
_KEY = re.compile(
    r"raw/dt=\d{4}-\d\d-\d\d/hour=\d\d/(?P<stream>.+)-(?P<shard>shardId-\d{12})-(?P<first>\d+)-(?P<last>\d+)"
    r"-(?P<count>[1-9]\d*)-(?P<digest>[0-9a-f]{16})\.ndjson\.zst",
    re.ASCII,
)
# The fastest of the regular levels: 0.5 us and 40 bytes an event of 150 bytes; level 3 takes longer and writes more.
_compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)


class RawObject(NamedTuple):
    """An object to be put."""

    key: str
    body: bytes


class Line(msgspec.Struct, frozen=True):
    """A record as it stands in a raw object: `data` is its JSON; empty, where `data_b64` holds what was no JSON."""

    v: int
    stream: str
    shard: str
    seq: str
    key: str
    arrived_us: int
    data: msgspec.Raw = msgspec.Raw()
    data_b64: str | None = None


class Name(NamedTuple):
    """What an object's key says: the sequence numbers of its first and last line, and how many lines it has."""

    stream: str
    shard: str
    first: str
    last: str
    records: int
    digest: str


Change = Callable[[Line], tuple[str, bytes] | None]
_lines = msgspec.json.Decoder(Line).decode_lines
_line = msgspec.json.Decoder(Line).decode


class _Group(msgspec.Struct):
    """The records of one object."""

    head: str  # what all its lines start with
    first: str
    last: str
    lines: list[str]


def objects(records: Iterable[LambdaRecord]) -> list[RawObject]:
    """Return the raw objects that hold the records of a Lambda event: one a shard and arrival hour, in order."""
    groups: dict[tuple[str, str, int], _Group] = {}
    for record in records:
        kinesis = record["kinesis"]
        sequence = kinesis["sequenceNumber"]
        arrived_ms = arrival_ms(record)
        place = (record["eventSourceARN"], shard_of(record), arrived_ms // (_HOUR_S * 1000))
        group = groups.get(place)
        if group is None:
            group = groups[place] = _Group(head(stream_of(record), place[1]), sequence, sequence, [])
        group.last = sequence
        key = jsontext.encode(kinesis["partitionKey"]).decode()
        data = _data(kinesis["data"])
        group.lines.append(f'{group.head}{sequence}","key":{key},"arrived_us":{arrived_ms}000,{data}}}\n')
    return [_object(arn.split("/", 2)[1], shard, hour, group) for (arn, shard, hour), group in groups.items()]


def lines(body: bytes) -> list[Line]:
    """Return the records of a raw object; raises zstandard.ZstdError where it is damaged."""
    return _lines(zstandard.ZstdDecompressor().decompress(body))


def parsed(content: bytes) -> list[Line]:
    """Return the records of some lines."""
    return _lines(content)


def is_utf8(content: bytes) -> bool:
    """Return whether lines are in UTF-8, as all that are put are."""
    try:
        return content.isascii() or bool(content.decode())
    except UnicodeDecodeError:
        return False


def rewritten(key: str, name: Name, content: bytes, change: Change) -> RawObject | None:
    """Return an object with some of its lines changed, the others as they were; None if none is.

    `content` is what its body compresses; `change` returns a line's new partition key and data, None to leave it.
    """
    texts, changes = [], 0
    for text in content.splitlines(keepends=True):  # no line has a break in it
        line = _line(text)
        changed = change(line)
        if changed is not None:
            changes += 1
            start, data = head(line.stream, line.shard), _data(pybase64.b64encode(changed[1]).decode())
            sent_as = jsontext.encode(changed[0]).decode()
            text = f'{start}{line.seq}","key":{sent_as},"arrived_us":{line.arrived_us},{data}}}\n'.encode()
        texts.append(text)
    if not changes:
        return None
    body = _compressor.compress(b"".join(texts))
    digest = sha256(body).hexdigest()[:16]
    return RawObject(f"{key.removesuffix(f'{name.digest}{SUFFIX}')}{digest}{SUFFIX}", body)


def parse_key(key: str) -> Name | None:
    """Return what a raw object's key says; None for a key that `objects` does not make."""
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    stream, shard, first, last, records, digest = found.groups()
    return Name(stream, shard, first, last, int(records), digest)


def is_whole(name: Name, body: bytes) -> bool:
    """Return whether an object's bytes are those that were put."""
    return sha256(body).hexdigest()[:16] == name.digest


def is_known(name: Name, content: bytes) -> bool:
    """Return whether an object's lines are of the version that is read here."""
    return content.startswith(head(name.stream, name.shard).encode())


def head(stream: str, shard: str) -> str:
    """Return what all lines of a shard start with, up to the sequence number."""
    return f'{{"v":{VERSION},"stream":"{stream}","shard":"{shard}","seq":"'


def _data(encoded: str) -> str:
    """Return the member that holds a record's data (base64): spliced as sent where it is strict JSON, on one line."""
    data = pybase64.b64decode(encoded)
    try:
        jsontext.check(data)
    except jsontext.Malformed:
        return f'"data_b64":"{encoded}"'
    text = data.decode()
    if "\n" in text or "\r" in text:  # strict JSON has them between values only
        text = text.replace("\n", " ").replace("\r", " ")
    return f'"data":{text}'


def _object(stream: str, shard: str, hour: int, group: _Group) -> RawObject:
    body = _compressor.compress("".join(group.lines).encode())
    at = datetime.fromtimestamp(hour * _HOUR_S, UTC)
    name = f"{stream}-{shard}-{group.first}-{group.last}-{len(group.lines)}-{sha256(body).hexdigest()[:16]}{SUFFIX}"
    return RawObject(f"raw/dt={at:%Y-%m-%d}/hour={at:%H}/{name}", body)
