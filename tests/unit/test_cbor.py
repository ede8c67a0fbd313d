"""CBOR as AWS's SDKs write and read it: examples of RFC 8949, what is none, and what JSON has not."""

from typing import Any

import pytest

from headrace import cbor


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("17", 23),
        ("1818", 24),
        ("1903e8", 1000),
        ("1bffffffffffffffff", 2**64 - 1),
        ("20", -1),
        ("3903e7", -1000),
        ("fb3ff199999999999a", 1.1),
        ("fb7e37e43c8800759c", 1e300),
        ("f5", True),
        ("f4", False),
        ("f6", None),
        ("60", ""),
        ("63c3bc61", "üa"),
        ("83010203", [1, 2, 3]),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("a16954696d657374616d70c11a514b67b0", {"Timestamp": 1363896240}),
        ("98190102030405060708090a0b0c0d0e0f101112131415161718181819", list(range(1, 26))),
    ],
)
def test_what_is_written_is_read(written: str, value: Any) -> None:
    assert cbor.decode(bytes.fromhex(written)) == value
    assert cbor.encode(value) == bytes.fromhex(written)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
        ("f93e00", 1.5),
        ("fa47c35000", 100_000.0),
        ("f97c00", "Infinity"),
        ("faff800000", "-Infinity"),
        ("fb7ff8000000000000", "NaN"),
        ("f7", None),
        ("7f61616162ff", "ab"),
        ("1817", 23),
        ("4101", b"\x01"),
        ("c1fb41d452d9ec200000", 1363896240.5),
    ],
)
def test_what_others_may_write(written: str, value: Any) -> None:
    assert cbor.decode(bytes.fromhex(written), words=True) == value


def test_moments_of_kinesis_are_whole_milliseconds() -> None:
    written = cbor.encode({"Streams": [{"StreamCreationTimestamp": 1363896240.512}], "Count": 1.5}, in_ms=True)
    moment = bytes.fromhex("7753747265616d4372656174696f6e54696d657374616d70c11b0000013d8e8d0980")
    assert moment in written
    assert cbor.loads(written) == {"Streams": [{"StreamCreationTimestamp": 1363896240512}], "Count": 1.5}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "18",
        "62c3",
        "62c328",
        "82",
        "9f01",
        "a101",
        "ff",
        "82ff",
        "1c",
        "f8",
        "f0",
        "d81e820103",
        "d81c81d81d00",  # a list that holds itself
        "c249ffffffffffffffffff",
        "d82361ff",
        "81" * 1000,
        "a16161f97e00",
        "5bffffffffffffffff",
    ],
)
def test_what_is_no_cbor(body: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        cbor.decode(bytes.fromhex(body))
