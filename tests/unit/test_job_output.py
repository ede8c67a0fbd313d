"""Which days are computed, items of aggregates, and the pace at which they are written."""

from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec
import pytest

from headrace.jobs import aggregates, days, output
from headrace.jobs.days import Seen
from headrace.table.base import Item
from support.memory import MemoryTable

A, B, C = (date(2026, 1, day) for day in (1, 2, 3))
START = datetime(2026, 1, 1, 5, tzinfo=UTC).replace(tzinfo=None)


def test_a_day_is_computed_when_what_it_holds_changed() -> None:
    present = {A: "a", B: "b and late"}
    seen = Seen("sql", {A.isoformat(): "a", B.isoformat(): "b", C.isoformat(): "c"})
    assert days.changed(present, seen, "sql") == {B}
    assert days.changed(present, seen, "another") == {A, B}


@pytest.mark.parametrize(
    ("first", "last", "since", "computed"),
    [
        (None, None, None, [B]),
        (None, None, B, [B, C]),
        (A, A, None, [A]),
        (B, None, None, [B, C]),
        (None, B, None, [A, B]),
        (date(2027, 1, 1), None, None, []),
    ],
)
def test_which_days(first: date | None, last: date | None, since: date | None, computed: list[date]) -> None:
    assert days.chosen([C, A, B], {B}, first, last, since) == computed


def test_a_row_becomes_an_item() -> None:
    row = {"device_id": "d", "reading": "t#1", "period_start": START, "count": 3, "sum": Decimal("1.500000000"),
           "zero": Decimal("0E-9"), "least": -0.25, "last": None, "at": START, "large": Decimal(10) ** 20}  # fmt: skip
    (item,) = aggregates.items([row], "hour")
    assert (item.partition, item.sort) == ("d", "aggregate#hour#2026-01-01T05:00:00.000000Z#t#1")
    assert item.attributes == (
        b'{"count":3,"sum":1.5,"zero":0,"least":-0.25,"last":null,"at":"2026-01-01T05:00:00.000000Z",'
        b'"large":100000000000000000000}'
    )


def test_a_reading_that_no_key_can_hold_has_no_item() -> None:
    row = {"device_id": "d", "reading": "x" * 1_100, "period_start": START}
    assert list(aggregates.items([row], "hour")) == []


class SlowTable(MemoryTable):
    """Notes when how many items came, by a clock that only sleeping moves."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0
        self.puts: list[tuple[float, int]] = []

    def put(self, items: list[Item]) -> None:  # type: ignore[override]
        self.puts.append((self.now_s, len(items)))
        super().put(items)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.mark.parametrize("per_s", [1, 3, 100, 10_000])
def test_items_are_written_no_faster_than_allowed(per_s: int) -> None:
    table = SlowTable()
    items = [Item("d", f"{number:04d}", b"{}") for number in range(950)]
    assert output.put_slowly(table, items, per_s, lambda: table.now_s, table.sleep) == 950 == len(table.items)
    written = 0
    for at_s, count in table.puts:
        assert written <= (at_s - 100) * per_s + 1e-6
        assert count <= max(1, per_s // 4)
        written += count
    assert table.now_s - 100 == pytest.approx((950 - table.puts[-1][1]) / per_s)


def test_a_seen_file_of_today_reads_back() -> None:
    seen = Seen("s", {"2026-01-01": "f"})
    assert msgspec.json.decode(msgspec.json.encode(seen), type=Seen) == seen
