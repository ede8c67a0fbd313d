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
    assert cbor.decode(bytes.fromhex(written), 100) == value
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
    assert cbor.decode(bytes.fromhex(written), 100, words=True) == value


def test_moments_of_kinesis_are_whole_milliseconds() -> None:
    written = cbor.encode({"Streams": [{"StreamCreationTimestamp": 1363896240.512}], "Count": 1.5}, in_ms=True)
    moment = bytes.fromhex("7753747265616d4372656174696f6e54696d657374616d70c11b0000013d8e8d0980")
    assert moment in written
    assert cbor.loads(written, 100) == {"Streams": [{"StreamCreationTimestamp": 1363896240512}], "Count": 1.5}


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
        "a10102",  # a name that is a number
        "a1820102f6",
        "a181f6f6",
    ],
)
def test_what_is_no_cbor(body: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        cbor.decode(bytes.fromhex(body), 100)


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("8300f620", 4),
        ("821903e7fb3ff199999999999a", 3),
        ("a16161c11a514b67b0", 4),
        ("8258030102034180", 3),
        ("825903e8" + "80" * 1000 + "80", 3),
        ("825a00000002ffff780161", 3),
        ("825b0000000000000001ff60", 3),
        ("9f80ff", 3),  # the end of what is open-ended counts as one
        ("7f6161616260ff", 5),
    ],
)
def test_no_more_values_are_read_than_may_be(written: str, values: int) -> None:
    body = bytes.fromhex(written)
    cbor.loads(body, values)
    with pytest.raises(ValueError, match=f"it has more than {values - 1} values"):
        cbor.loads(body, values - 1)


@pytest.mark.parametrize("written", ["9f80", "9903e8", "5bffffffffffffffff", "9f5b01", "9f1c1c1c"])
def test_what_ends_early_is_no_matter_of_how_many(written: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        cbor.loads(bytes.fromhex(written), 4)
    assert "more than" not in str(caught.value)
