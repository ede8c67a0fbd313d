"""Rows of the store: the bytes that docs/formats.md promises, and what is counted with them."""

import pytest

from headrace.errors import DataDirectoryError
from headrace.table import rows
from headrace.table.base import Item

NEVER = b"\xff" * 8


@pytest.mark.parametrize(
    ("item", "key", "value"),
    [
        (Item("d", "s", b"{}"), b"\x00\x01ds", b"\x01" + NEVER + b"{}"),
        (Item("é", "é", b'{"a":1}', 258), b"\x00\x02\xc3\xa9\xc3\xa9", b"\x01\0\0\0\0\0\0\x01\x02" + b'{"a":1}'),
        (Item("d" * 258, "s", b"", 0), b"\x01\x02" + b"d" * 258 + b"s", b"\x01" + bytes(8)),
    ],
)
def test_the_bytes_of_a_row(item: Item, key: bytes, value: bytes) -> None:
    assert rows.row_of(item).rows == [key, value]
    assert rows.key_of(item.partition, item.sort) == key
    assert rows.item_of(key, value) == item


@pytest.mark.parametrize(
    ("expires_at", "now_ms", "expired"),
    [
        (None, 2**62, False),
        (100, 99_999, False),
        (100, 100_000, True),
        (100, 5_000_000, True),
        (0, 0, True),
        (-5, 0, True),
        (2**70, 2**62, False),
    ],
)
def test_an_item_expires_in_the_second_it_names(expires_at: int | None, now_ms: int, expired: bool) -> None:
    assert rows.expired(rows.head_of(expires_at), rows.expired_at(now_ms)) is expired


def test_a_row_of_a_newer_version_is_refused() -> None:
    with pytest.raises(DataDirectoryError, match="format 2"):
        rows.item_of(b"\x00\x01ds", b"\x02" + NEVER + b"{}")


@pytest.mark.parametrize(
    ("sizes", "chunks"),
    [
        ([], []),
        ([1], [1]),
        ([1] * 5, [2, 2, 1]),
        ([1] * 4, [2, 2]),
        ([5000, 1, 1], [1, 2]),
        ([1, 5000, 1], [2, 1]),
    ],
)
def test_chunks_end_at_a_number_of_rows_or_bytes(sizes: list[int], chunks: list[int]) -> None:
    items = [Item("d", f"{n}", b"x" * size) for n, size in enumerate(sizes)]
    made = list(rows.chunks_of(items, 2, 4000))
    assert [len(chunk.rows) // 2 for chunk in made] == chunks
    assert [row for chunk in made for row in chunk.rows] == [row for item in items for row in rows.row_of(item).rows]


@pytest.mark.parametrize(("size", "units"), [(0, 1), (1022, 1), (1023, 2), (2046, 2), (2047, 3)])
def test_write_units_are_started_kilobytes_of_key_and_attributes(size: int, units: int) -> None:
    assert rows.row_of(Item("d", "s", b"x" * size, 5)).units == units


@pytest.mark.parametrize(("size", "units"), [(0, 1), (1, 1), (4096, 1), (4097, 2), (40_000, 10)])
def test_read_units_are_started_four_kilobytes(size: int, units: int) -> None:
    assert rows.read_units(size) == units
