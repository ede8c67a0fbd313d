"""What every job engine bills: the table computed by hand, and what a direct computation comes to, to the cent."""

from decimal import Decimal
from pathlib import Path

from headrace.jobs.base import Engine
from support.bill_cases import ALL_EVENTS, ALL_HELD, ALL_TIERS, CASES, expected_amounts, made_up
from support.bills import amounts, book, by_reports, directly


class BillContract:
    """Subclass it in a module that names its ENGINE, and import the fixture `started` there."""

    def test_bills_computed_by_hand(self, started: Engine, tmp_path: Path) -> None:
        assert len(CASES) >= 12
        usage, lines = by_reports(started, ALL_EVENTS, book(ALL_TIERS, ALL_HELD), tmp_path)
        found = amounts(lines)
        billed: dict[object, Decimal] = {}
        for (month, tenant, *_, meter), (_, amount) in found.items():
            billed[month, tenant, meter] = billed.get((month, tenant, meter), Decimal(0)) + amount
        assert billed == expected_amounts()
        assert found == directly(ALL_EVENTS, ALL_TIERS, ALL_HELD)
        assert sum(row["events"] for row in usage) == len(ALL_EVENTS)
        nobody = [row for row in usage if not row["tenant"]]
        assert {row["device_id"] for row in nobody} == {"nobody"} and sum(row["events"] for row in nobody) == 2
        assert {row["tariff_from"] for row in nobody} == {None}

    def test_bills_that_nobody_has_thought_of(self, started: Engine, tmp_path: Path) -> None:
        tiers, held, events = made_up(20261126)
        _, lines = by_reports(started, events, book(tiers, held), tmp_path)
        found = amounts(lines)
        assert len(found) > 50 and {code for _, _, code, *_ in found} == {"EUR", "JPY", "KWD", "CLF"}
        assert found == directly(events, tiers, held)
