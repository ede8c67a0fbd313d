"""What comes late for a closed month goes to the next bill: once, up or down, and never for want of data."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from headrace.jobs import work
from headrace.jobs.history import Folder
from support.bill_site import HELD, TIERS, BillSite, october
from support.bills import event

OCTOBER, NOVEMBER = "2026-10", "2026-11"


@pytest.fixture
def site(tmp_path: Path) -> BillSite:
    made = BillSite(tmp_path)
    made.prepare(TIERS, HELD)
    made.add([*october("a", 12), *october("b", 3), *october("nobody", 4)])
    return made


def test_late_events_are_an_adjustment_of_the_next_bill_once(site: BillSite) -> None:
    site.close(OCTOBER)
    site.add([*october("a", 5, day=6), *october("b", 1, day=6)])
    site.run()
    late = {
        ("acme", "events", OCTOBER): "0.50",
        ("../../x", "events", OCTOBER): "0.10",
        ("../../x", "minimum", OCTOBER): "-0.10",
    }
    assert late.items() <= site.amounts(NOVEMBER).items()
    assert not any(adjusts for *_, adjusts in site.amounts("2026-12"))
    site.close(NOVEMBER)
    assert late.items() <= site.amounts(NOVEMBER).items()
    site.run()
    assert not any(adjusts for *_, adjusts in site.amounts("2026-12")), "they are not billed twice"
    site.now = datetime(2027, 1, 2, tzinfo=UTC)
    site.add([*october("a", 1, day=7), *event("a", "2026-11-07", 20)])
    site.close("2026-12")
    found = {key: amount for key, amount in site.amounts("2026-12").items() if key[2]}
    assert found == {
        ("acme", "events", OCTOBER): "0.10",
        ("acme", "events", NOVEMBER): "1.80",
        ("acme", "device_months", NOVEMBER): "0.25",
        ("acme", "minimum", NOVEMBER): "-1.00",
    }
    assert billed(site, OCTOBER) == Decimal("1.85") + 1, "18 events, 2 of them free, and a device; b's minimum"


def billed(site: BillSite, month: str) -> Decimal:
    """Add up all that was billed for a month, whenever."""
    total = Decimal(0)
    for each in site.read()["bills"]:
        if each["state"] == "closed":
            for (*_, adjusts), amount in site.amounts(each["month"]).items():
                total += Decimal(amount) if (adjusts or each["month"]) == month else 0
    return total


def test_what_is_gone_from_the_reports_is_computed_again_and_not_refunded(site: BillSite) -> None:
    site.close(OCTOBER)
    for info in list(site.bucket.list("reports/bill_monthly/")):
        site.bucket.delete(info.key)
    site.close(NOVEMBER)
    assert not any(adjusts for *_, adjusts in site.amounts(NOVEMBER))


def test_a_month_that_was_left_out_is_closed_without_adjustments(site: BillSite) -> None:
    site.close(OCTOBER)
    site.add(october("a", 5, day=6))
    site.close("2026-09")
    assert site.amounts("2026-09") == {("acme", "minimum", None): "1.00"}
    site.close(NOVEMBER)
    assert site.amounts(NOVEMBER)["acme", "events", OCTOBER] == "0.50"


def test_a_device_that_is_erased_is_not_refunded(site: BillSite) -> None:
    site.add([*event("b", "2026-10-20", 2), *event("'; DROP\0", "2026-10-20", 1)])
    site.close(OCTOBER)
    assert site.keep("b") == 2 and site.keep("'; DROP\0") == 1 and site.keep("unheard") == 0
    (later,) = october("b", 1)
    site.add([later._replace(id="later", arrived_at=site.now)])
    assert site.keep("b") == 2
    site.run()
    assert {key: amount for key, amount in site.amounts(NOVEMBER).items() if key[2]} == {
        ("../../x", "events", OCTOBER): "0.10", ("../../x", "minimum", OCTOBER): "-0.10"
    }, "kept, but not erased yet; and what has come since is counted once"  # fmt: skip
    assert site.keep("b") == 2
    shutil.rmtree(site.folder / "files")
    site.now = datetime(2026, 12, 20, tzinfo=UTC)
    again = [*event("b", "2026-10-20T12:00:00", 5), *event("b", "2026-11-02", 1)]
    site.add([*october("a", 12), *(each._replace(arrived_at=datetime(2026, 12, 15, tzinfo=UTC)) for each in again)])
    site.close(NOVEMBER)
    found = {key: amount for key, amount in site.amounts(NOVEMBER).items() if key[0] == "../../x"}
    assert found == {  # 10 events in October by now, 5 of them billed; the minimum of 1.00 then falls to nothing
        ("../../x", "events", OCTOBER): "0.50",
        ("../../x", "minimum", OCTOBER): "-0.45",
        ("../../x", "events", None): "0.00",
        ("../../x", "device_months", None): "0.25",
        ("../../x", "minimum", None): "0.75",
    }


@pytest.mark.parametrize("what", ["keep", "close"])
def test_bills_wait_for_a_report_that_is_at_work(site: BillSite, what: str) -> None:
    with ThreadPoolExecutor(1) as threads:
        with work.alone(Folder(site.folder / "jobs", "bill_usage")):
            done = threads.submit(lambda: site.keep("a") if what == "keep" else site.close(OCTOBER)["closed"])
            with pytest.raises(TimeoutError):
                done.result(0.5)
        assert done.result(60) == 1
