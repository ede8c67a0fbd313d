import hashlib
import json
import sys
from typing import Any

import pytest

from headrace import event
from headrace.event import Event, Fault
from support.memory import lambda_record, sequence

MAGIC = b"\xf3\x89\x9a\xc2"


def varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def aggregate(keys: list[bytes], records: list[tuple[int, bytes]]) -> bytes:
    """Return an aggregate as the KPL's format describes it; records are (index of the key, data)."""
    message = b"".join(field(1, key) for key in keys)
    for index, data in records:
        message += field(3, b"\x08" + varint(index) + field(3, data))
    return MAGIC + message + hashlib.md5(message).digest()


def decoded(data: bytes) -> list[Any]:
    found = event.decode(lambda_record(data, "outer"))
    return [
        json.loads(event.public(event.item(one)))
        if isinstance(one, Event)
        else (one.reason, one.subsequence, one.index)
        for one in found
    ]


def test_an_aggregate_is_its_user_records() -> None:
    data = aggregate(
        [b"a", b"b"],
        [
            (0, b'{"x":1}'),
            (1, b'[{"x":2},{"device_id":"c","id":"i"},5]'),
            (1, b"oops"),
            (0, b'{"device_id":null,"x":"\xff"}'),
            (0, b'{"x":NaN}'),
            (1, b"[]"),
            (1, MAGIC + b"nested"),
        ],
    )
    found = decoded(data)
    assert [one if isinstance(one, tuple) else (one["device_id"], one["id"]) for one in found] == [
        ("a", f"{sequence(0)}.000000.000000"),
        ("b", f"{sequence(0)}.000001.000000"),
        ("c", "i"),
        ("json", 1, 2),
        ("json", 2, 0),
        ("encoding", 3, 0),
        ("a", f"{sequence(0)}.000004.000000"),
        ("encoding", 6, 0),
    ]
    assert found[6]["flags"] == ["non_finite"]


def test_what_the_library_makes_is_read() -> None:
    path = list(sys.path)
    from aws_kinesis_agg.aggregator import RecordAggregator

    sys.path[:] = path
    aggregator = RecordAggregator()
    for number in range(200):
        assert aggregator.add_user_record(f"device-{number % 7}", json.dumps({"x": number}).encode()) is None
    _, _, data = aggregator.clear_and_get().get_contents()
    found = decoded(data)
    assert [one["readings"]["x"] for one in found] == list(range(200))
    assert [one["device_id"] for one in found] == [f"device-{number % 7}" for number in range(200)]
    assert len({one["id"] for one in found}) == 200


def test_an_empty_aggregate_has_no_events() -> None:
    assert decoded(aggregate([], [])) == []


def test_a_key_that_is_no_device_id() -> None:
    assert decoded(aggregate([b"", b"k" * 2049], [(0, b"{}"), (1, b"{}"), (1, b'{"device_id":"d"}')]))[:2] == [
        ("device_id", 0, 0),
        ("device_id", 1, 0),
    ]


WHOLE = aggregate([b"a"], [(0, b'{"x":1}')])


@pytest.mark.parametrize(
    "data",
    [
        MAGIC,
        MAGIC + b"x" * 15,
        WHOLE[:-1],
        WHOLE[:-1] + bytes([WHOLE[-1] ^ 1]),
        WHOLE[:8] + b"!" + WHOLE[9:],
        aggregate([b"a"], [(1, b"{}")]),
        aggregate([b"a"], [(0, b"{}"), (2**63, b"{}")]),
        aggregate([b"\xff"], [(0, b"{}")]),
        MAGIC + b"\x1a\x05\x08" + hashlib.md5(b"\x1a\x05\x08").digest(),
        MAGIC + b"\xff" * 40 + hashlib.md5(b"\xff" * 40).digest(),
    ],
)
def test_a_broken_aggregate_is_one_fault(data: bytes) -> None:
    (found,) = event.decode(lambda_record(data))
    assert isinstance(found, Fault)
    assert (found.reason, found.subsequence, found.index) == ("json", 0, 0)
    assert "aggregate" in found.message


def test_the_library_leaves_the_path_as_it_was() -> None:
    path = list(sys.path)
    decoded(WHOLE)
    assert sys.path == path
