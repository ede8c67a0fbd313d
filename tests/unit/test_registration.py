"""Erasures of one table, written behind those of another: numbers are each table's own."""

import json

from headrace.errors import Conflict
from headrace.registration import PARTITION, Erasure, add_erasure, add_erasures, erasures, is_erasure
from headrace.table import dynamodb_item
from headrace.table.base import Item
from support.memory import MemoryTable


def table(*noted: Erasure, made: MemoryTable | None = None) -> MemoryTable:
    made = made or MemoryTable()
    for erasure in noted:
        add_erasure(made, erasure)
    return made


def items(source: MemoryTable) -> list[Item]:
    return [item for item in source.scan(None, 100) if is_erasure(item)]


def test_numbers_that_both_have_given_lose_none() -> None:
    theirs = table(Erasure("a", 100), Erasure("b", 100))
    running = erasures(theirs)
    assert add_erasures(theirs, items(table(Erasure("c", 50), Erasure("b", 200), Erasure("a", 70)))) == 2
    assert running.news() == {"b", "c"}  # a process that has seen all of them sees the new ones
    known = erasures(theirs)
    assert [known.is_erased(*each) for each in (("a", 99), ("b", 199), ("c", 49))] == [True] * 3
    assert [known.is_erased(*each) for each in (("a", 100), ("b", 200), ("c", 50))] == [False] * 3


def test_again_nothing_is_written() -> None:
    ours = table(Erasure("c", 50), Erasure("c", 90))
    theirs = table(Erasure("a", 100))
    assert add_erasures(theirs, items(ours)) == 2
    before = dict(theirs.items)
    assert add_erasures(theirs, items(ours)) == 0
    assert theirs.items == before


class Contended(MemoryTable):
    """Another upload takes the number first, once."""

    def put_if_version(self, item: Item, expected: int) -> None:
        if not self.items:
            self.put([Item(PARTITION, item.sort, b'{"device_id":"other","before_ms":7,"version":1}')])
            raise Conflict("The item has version 1, not 0.")
        super().put_if_version(item, expected)


def test_a_number_that_somebody_takes_meanwhile() -> None:
    theirs = Contended()
    assert add_erasures(theirs, items(table(Erasure("c", 50)))) == 1
    known = erasures(theirs)
    assert known.is_erased("other", 6) and known.is_erased("c", 49)


def test_an_item_of_an_earlier_version_is_read_and_moved() -> None:
    ours = MemoryTable()
    ours.put([Item(PARTITION, "erasure#000000000001", b'{"device_id":"a","before_ms":100,"version":1}')])
    add_erasure(ours, Erasure("b", 200))
    known = erasures(ours)
    assert known.is_erased("a", 99) and known.is_erased("b", 199)
    theirs = MemoryTable()
    assert add_erasures(theirs, items(ours)) == 2
    for item in items(theirs):
        on_aws = dynamodb_item.item_of(dynamodb_item.attributes_of(item))
        assert json.loads(on_aws.attributes) == json.loads(item.attributes)


def test_what_erases_more_counts_in_whatever_order_they_stand() -> None:
    known = erasures(table(Erasure("a", 200), Erasure("a", 100)))
    assert known.is_erased("a", 199)
