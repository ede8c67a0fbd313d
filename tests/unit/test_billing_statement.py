"""Statements: all of it is escaped, nothing of it is loaded, and the CSV holds every line."""

import csv
import io
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest

from headrace.billing import statement, tariffs, tenants
from headrace.operations import bill_document
from support.bills import Held, Tier, text
from support.command_line import run

NASTY = "<script>alert('\"1')</script> & ../../x"
BEGINS = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)
TIERS = [
    Tier(NASTY, "2026-01-01", "EUR", "events", 0, "0.001", "100"),
    Tier(NASTY, "2026-01-01", "EUR", "events", 1000, "0.0005"),
]


def row(**more: Any) -> dict[str, Any]:
    found = {
        "month": date(2026, 11, 1), "tenant": NASTY, "currency": "EUR", "kind": "usage", "adjusts": None,
        "tariff": NASTY, "tariff_from": BEGINS, "meter": "events", "quantity": 1_500, "allowance": 100,
        "amount": Decimal("1.2000"),
    }  # fmt: skip
    return found | more


ROWS = [
    row(),
    row(kind="minimum", tariff="", tariff_from=None, meter="minimum", quantity=0, allowance=0, amount=Decimal("3.8")),
    row(kind="adjustment", adjusts=date(2026, 10, 1), quantity=-4, amount=Decimal("-0.0100")),
    row(tenant="=HYPERLINK(1)"),
]
USAGE = [
    {
        "period_start": datetime(2026, 11, day, tzinfo=UTC), "device_id": NASTY, "tenant": NASTY, "tariff": NASTY,
        "first_time": BEGINS, "events": 750, "bytes": 75_000,
    }
    for day in (2, 1)
]  # fmt: skip


@pytest.fixture
def bill() -> dict[str, Any]:
    prices = tariffs.parse(text(tariffs.COLUMNS, TIERS))
    return bill_document.bill(date(2026, 11, 1), "ended", ROWS, prices) | {"closed_at": None}


class Page(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_a_statement_is_text_whatever_it_is_called(bill: dict[str, Any]) -> None:
    devices = bill_document.usage(date(2026, 11, 1), "ended", USAGE, days=True)["devices"]
    html = statement.to_html(bill, bill["tenants"][0] | {"tenant": NASTY}, devices)
    page = Page()
    page.feed(html)
    assert not {"script", "img", "link", "iframe", "a", "form"} & set(page.tags)
    assert {name for name, _ in page.attributes} <= {
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "colspan",
    }
    assert not re.search(r"https?:|url\(|@import|src=", html)
    assert NASTY in page.texts and f"{NASTY}: 1,500 events, 150,000 bytes" in page.texts
    assert page.texts.index("2026-11-01") < page.texts.index("2026-11-02")
    assert "@media print" in html


def test_a_statement_says_how_its_lines_come_about(bill: dict[str, Any]) -> None:
    tenant = next(each for each in bill["tenants"] if each["tenant"] == NASTY)
    page = Page()
    page.feed(statement.to_html(bill, tenant, []))
    shown = [text for text in page.texts if text]
    assert "1,000 × 0.001 = 1" in shown and "above 1,000: 400 × 0.0005 = 0.2" in shown
    assert shown[shown.index("Events") : shown.index("Events") + 5] == [
        "Events", f"{NASTY}, from 2026-01-01", "1,500", "100", "EUR 1.20",
    ]  # fmt: skip
    assert "EUR -0.01" in shown and "Total: EUR 4.99" in shown
    assert "Provisional: the month is not closed yet." in shown


def test_the_csv_has_every_line_and_no_formula(bill: dict[str, Any]) -> None:
    lines = list(csv.DictReader(io.StringIO(statement.to_csv(bill))))
    assert len(lines) == len(ROWS)
    assert lines[0]["tenant"] == NASTY and lines[-1]["tenant"] == "'=HYPERLINK(1)"
    adjustment = next(line for line in lines if line["kind"] == "adjustment")
    assert (adjustment["adjusts"], adjustment["amount"], adjustment["quantity"]) == ("2026-10", "-0.01", "-4")


def test_files_are_checked_without_a_backend(tmp_path: Any) -> None:
    (tmp_path / "tariffs.csv").write_bytes(text(tariffs.COLUMNS, TIERS))
    (tmp_path / "tenants.csv").write_bytes(text(tenants.COLUMNS, [Held("a", "acme", NASTY, "2026-01-01")]))
    result = run("bills", "check", tmp_path)
    assert result.exit_code == 0 and "1 tariff, 1 version, 1 tenant, 1 device" in result.output
    (tmp_path / "tenants.csv").write_bytes(text(tenants.COLUMNS, [Held("a", "acme", "gold", "2026-01-01")]))
    result = run("bills", "check", tmp_path)
    assert result.exit_code == 2 and "tenants.csv:2: there is no tariff 'gold'." in result.stderr
