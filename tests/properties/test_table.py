"""The table against a dictionary: whatever is written and deleted, reads agree, in the order of UTF-8 bytes."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.table import rows, server
from headrace.table.base import Item
from headrace.table.local import LocalTable
from support.rpc import in_thread

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
few = st.sampled_from(["a", "b", "ab", "a\x00", "é", "\uffff", "\U00010000", "\x00", "~"])
key_text = st.one_of(few, text.filter(bool))
keys = st.tuples(key_text, key_text)
changes = st.lists(st.one_of(st.tuples(st.just("put"), keys), st.tuples(st.just("delete"), keys)), max_size=40)


@pytest.fixture(scope="module")
def table() -> Iterator[LocalTable]:
    with tempfile.TemporaryDirectory() as name:
        socket = Path(name, "t.sock")
        with in_thread(lambda: server.start(Path(name, "table"), socket, ["events"])):
            table = LocalTable.connect("events", socket)
            yield table
            table.close()


def order(key: tuple[str, str]) -> tuple[bytes, bytes]:
    return key[0].encode(), key[1].encode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes, st.sampled_from(["a", "ab", "é", "\x00"]), text, text, st.integers(1, 20), st.booleans())
def test_the_table_is_a_sorted_dictionary(
    table: LocalTable,
    changes: list[tuple[str, tuple[str, str]]],
    partition: str,
    start: str,
    end: str,
    limit: int,
    newest_first: bool,
) -> None:
    table.delete([(one.partition, one.sort) for one in table.scan(None, 10_000)])
    model: dict[tuple[str, str], Item] = {}
    for number, (change, key) in enumerate(changes):
        if change == "put":
            model[key] = Item(*key, b'{"n":%d}' % number, None)
            table.put([model[key]])
        else:
            model.pop(key, None)
            table.delete([key])
    everything = table.scan(None, 1000)
    assert sorted(everything) == sorted(model.values())
    for one in {key[0] for key in model} | {partition}:
        stored = [model[key] for key in sorted(model, key=order) if key[0] == one]
        assert [item for item in everything if item.partition == one] == stored
        within = [item for item in stored if start.encode() <= item.sort.encode() < end.encode()]
        expected = (within[::-1] if newest_first else within)[:limit]
        assert table.query(one, start, end, limit, newest_first) == expected


@given(keys, keys)
def test_rows_of_a_partition_order_by_sort_and_stand_together(one: tuple[str, str], other: tuple[str, str]) -> None:
    first, second = rows.key_of(*one), rows.key_of(*other)
    assert (first == second) == (one == other)
    if one[0] == other[0]:
        assert (first < second) == (one[1].encode() < other[1].encode())
    else:
        low, high = rows.range_of(other[0], "", "\U0010ffff" * 3)
        assert not low <= first < high


@given(keys, st.binary(max_size=20), st.none() | st.integers(0, 2**63))
def test_a_row_gives_the_item_back(key: tuple[str, str], attributes: bytes, expires_at: int | None) -> None:
    item = Item(*key, attributes, expires_at)
    ((stored_key, value), units) = rows.row_of(item)
    assert rows.item_of(stored_key, value) == item
    assert units == 1
