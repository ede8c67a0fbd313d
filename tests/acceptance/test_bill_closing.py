"""A month is closed: frozen for ever, or refused; what it is made of, and how it reads."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from headrace.billing.csvfile import FaultyFile
from headrace.errors import ClockInDoubt, NotFound, UsageError
from support.bill_site import HELD, TIERS, BillSite, october
from support.bills import Held
from support.memory import MemoryTable

OCTOBER, NOVEMBER = "2026-10", "2026-11"


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = BillSite(tmp_path_factory.mktemp("archived"))
    made.add([*october("a", 12), *october("b", 3), *october("nobody", 4)])
    return made.folder


@pytest.fixture
def site(archived: Path, tmp_path: Path) -> BillSite:
    shutil.copytree(archived, tmp_path / "site")
    made = BillSite(tmp_path / "site", MemoryTable())
    made.prepare(TIERS, HELD)
    return made


def test_a_bill_is_provisional_until_the_month_is_closed(site: BillSite) -> None:
    assert site.run() == {"days": 1, "months": 3}
    found = site.read(OCTOBER)
    assert found["state"] == "ended" and found["closed_at"] is None
    assert found["unbilled"] == {"devices": 1, "events": 4, "bytes": 400}
    (x, acme) = found["tenants"]
    assert acme["tenant"] == "acme" and acme["totals"] == {"EUR": "1.25"}
    assert acme["lines"][1]["tiers"] == [{"above": 0, "units": 10, "unit_price": "0.1", "amount": "1.0"}]
    assert acme["lines"][1]["allowance_used_percent"] == 600
    assert [(line["meter"], line["amount"]) for line in x["lines"]] == [
        ("device_months", "0.25"), ("events", "0.10"), ("minimum", "0.65"),
    ]  # fmt: skip
    assert site.read("2026-12")["state"] == "provisional"
    assert {each["month"]: each["state"] for each in site.read()["bills"]}[OCTOBER] == "ended"


def test_closing_freezes_a_month(site: BillSite) -> None:
    done = site.close(OCTOBER)
    assert (done["closed"], done["lines"], done["items"], site.compactions) == (1, 5, 2, 1)
    frozen = site.frozen()
    assert sorted(key.rpartition("/")[2].partition("-")[0] for key in frozen) == [
        "bill.json", "lines", "tariffs", "tenants", "usage",
    ]  # fmt: skip
    bill = site.read(OCTOBER)
    assert bill["state"] == "closed" and bill["closed_at"] == "2026-12-10T00:00:00.000Z"
    assert isinstance(site.table, MemoryTable)
    item = site.table.get("tenant#../../x", "bill#2026-10")
    assert item is not None
    assert msgspec.json.decode(item.attributes)["totals"] == {"EUR": "1.00"}
    site.add(october("a", 5, day=6))
    site.now = datetime(2026, 12, 11, tzinfo=UTC)
    assert site.close(OCTOBER) == {"closed": 0, "items": 2}
    site.run()
    assert site.frozen() == frozen and site.read(OCTOBER) == bill
    assert site.read(OCTOBER, usage=True, tenant="acme", days=True)["devices"] == [
        {
            "tenant": "acme", "device_id": "a", "events": 12, "bytes": 1200,
            "days": [{"day": "2026-10-05", "tariff": "basic", "events": 12, "bytes": 1200}],
        }
    ]  # fmt: skip


def test_a_file_that_is_edited_later_leaves_the_bill_and_corrects_it(site: BillSite) -> None:
    """A price was wrong, and b was acme's all along: the difference goes to the next bills, up and down."""
    site.close(OCTOBER)
    frozen = site.frozen()
    tiers = [TIERS[0]._replace(unit_price="0.05"), TIERS[1]]
    site.prepare(tiers, [HELD[0], Held("b", "acme", "basic", "2026-10-01")])
    site.run()
    found = {key: amount for key, amount in site.amounts(NOVEMBER).items() if key[2]}
    assert found == {
        ("acme", "events", OCTOBER): "-0.35",  # (15 - 2) at 0.05, less 1.00
        ("acme", "device_months", OCTOBER): "0.25",
        ("../../x", "events", OCTOBER): "-0.10",
        ("../../x", "device_months", OCTOBER): "-0.25",
        ("../../x", "minimum", OCTOBER): "-0.65",
    }
    assert frozen.items() == site.frozen().items()
    assert site.read(OCTOBER)["tenants"][1]["lines"][1]["tiers"][0]["unit_price"] == "0.1", "as it was at the close"


@pytest.mark.parametrize(
    ("month", "problem"),
    [("2026-12", "2026-12 has not ended: it does at 2027-01-01"), ("2026-1", "no month"), ("2026-13", "no month"),
     ("../../x", "no month"), ("9999-12", "has not ended")],
)  # fmt: skip
def test_a_month_that_can_not_be_closed(site: BillSite, month: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        site.close(month)
    assert not site.frozen()


def test_the_last_moment_of_a_month(site: BillSite) -> None:
    site.now = datetime(2026, 10, 31, 23, 59, 59, 999000, tzinfo=UTC)
    with pytest.raises(UsageError, match="has not ended"):
        site.close(OCTOBER)
    site.now = datetime(2026, 11, 1, tzinfo=UTC)
    assert site.close(OCTOBER)["closed"] == 1


def test_what_keeps_a_month_from_being_closed(site: BillSite) -> None:
    site.is_believed = False
    with pytest.raises(ClockInDoubt):
        site.close(OCTOBER)
    site.is_believed = True
    site.prepare(TIERS, [Held("a", "acme", "gold", "2026-09-01")])
    with pytest.raises(FaultyFile, match="no tariff 'gold'"):
        site.close(OCTOBER)
    with pytest.raises(FaultyFile, match=r"tenants\.csv:2"):
        site.run()
    site.prepare([], [])
    with pytest.raises(UsageError, match="no tenants"):
        site.close(OCTOBER)
    with pytest.raises(UsageError, match="no parameter 'moth'"):
        site.run(moth=OCTOBER)
    assert not site.frozen()
    assert site.run()["days"] == 1, "usage is computed without tenants, too"


def test_what_a_killed_attempt_has_put_does_not_count(site: BillSite) -> None:
    site.bucket.put("bills/month=2026-10/lines-0000000000000000.parquet", b"half of it")
    assert site.read()["bills"] == []
    assert site.close(OCTOBER)["closed"] == 1
    assert "bills/month=2026-10/lines-0000000000000000.parquet" not in site.frozen()


@pytest.mark.parametrize("name", ["' OR 1=1 --", "'; DROP TABLE bills; --", "..", "", "\0"])
def test_a_name_in_a_question_is_a_name(site: BillSite, name: str) -> None:
    site.run()
    assert site.read(OCTOBER, usage=True, device=name)["devices"] == []
    with pytest.raises(NotFound, match=r"has no bill of 2026-10"):
        site.read(OCTOBER, tenant=name)
    with pytest.raises(NotFound, match="There is no bill of 2020-01"):
        site.read("2020-01")


def test_a_month_without_an_event_has_its_minimum_whenever_it_is_looked_at(tmp_path: Path) -> None:
    site = BillSite(tmp_path)
    site.prepare(TIERS, HELD)  # acme's minimum is due from September on
    site.now = datetime(2027, 3, 10, tzinfo=UTC)
    site.run(month="2026-09")
    assert site.amounts("2026-09") == {("acme", "minimum", None): "1.00"}
    with pytest.raises(NotFound):
        site.read("2026-10")
    for month in ("2026-08", "2027-04", "1999-01"):  # nobody was with a tenant; it has not begun
        site.run(month=month)
        with pytest.raises(NotFound):
            site.read(month)
    site.add(october("a", 3))
    site.run()
    listed = [each["month"] for each in site.read()["bills"]]
    assert listed == ["2026-09", "2026-10", "2026-11", "2026-12", "2027-01", "2027-02", "2027-03"]
    for month in ("2026-11", "2027-01"):
        assert site.amounts(month) == {(tenant, "minimum", None): "1.00" for tenant in ("acme", "../../x")}


def test_where_nobody_is_billed_it_is_said(tmp_path: Path) -> None:
    site = BillSite(tmp_path)
    site.prepare([], [])
    site.add(october("a", 3))
    site.run()
    with pytest.raises(NotFound) as refused:
        site.read("2026-08")
    assert "tenants.csv" in refused.value.hint
