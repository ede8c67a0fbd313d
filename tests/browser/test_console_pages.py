"""The console's other pages in a real browser: fleet, a device and its configuration, SQL, bills with the statement."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from support.backend import ROOT, Backend, backend, wait_until
from support.browser import PATIENCE_MS, needs_browser, opened
from support.console import put

pytestmark = [needs_browser, pytest.mark.timeout(300)]
expect.set_options(timeout=PATIENCE_MS)

TENANT = "<b>Acme & Söhne</b>"
NASTY = "pump/../<img src=x onerror=alert(1)>'\""
TARIFFS = """tariff,valid_from,currency,meter,above,unit_price,free,minimum
basic,2020-01-01,EUR,events,0,0.50,0,
"""
TENANTS = f"""device_id,tenant,tariff,valid_from
pump-1,{TENANT},basic,2020-01-01
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("pages")
    with backend(folder, project(folder)) as running:
        now = datetime.now(UTC)
        last_month = now.replace(day=1) - timedelta(days=3)
        for device in ("pump-1", "pump-2", NASTY):
            times = [last_month, now - timedelta(seconds=2), now - timedelta(seconds=1)]
            put(running, *({"device_id": device, "time": at.isoformat(), "temperature_f": 70.5} for at in times))
        wait_until(lambda: running.status()["archive"]["records"] == 9)
        for job in ("compact", "aggregate_hourly", "load", "bills"):
            running.cli("jobs", "run", job, "--wait")
        yield running


def project(folder: Path) -> Path:
    """Write the built-in project with a tariff and a tenant; return its template."""
    for name in ("functions", "reports"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "reports" / "tariffs.csv").write_text(TARIFFS)
    (folder / "reports" / "tenants.csv").write_text(TENANTS)
    template = folder / "template.yaml"
    shutil.copy(ROOT / "template.yaml", template)
    return template


def page_of(running: Backend, path: str) -> str:
    return f"{running.url}/_headrace/console{path}"


def test_the_fleet_leads_to_a_device(running: Backend, browser: Browser) -> None:
    with opened(browser, page_of(running, "/")) as seen:
        page = seen.page
        page.get_by_role("link", name="Fleet").click()
        expect(page.locator("#fleet-note")).to_contain_text("3 devices.")
        page.get_by_role("textbox", name="Label").fill("site=north")
        page.locator("#find").click()
        expect(page.locator("#fleet-note")).to_contain_text("0 devices.")
        page.get_by_role("textbox", name="Label").fill("")
        page.locator("#find").click()
        page.locator("#fleet tbody tr").filter(has_text="onerror").click()
        expect(page.locator("#about h2")).to_have_text(NASTY)
        expect(page.locator("#facts")).to_contain_text("3 events in the table")
        assert seen.errors == []
        assert seen.hosts == {"127.0.0.1"}


def test_a_devices_configuration_is_edited_and_nobody_is_overwritten(running: Backend, browser: Browser) -> None:
    with opened(browser, page_of(running, "/device?id=pump-1")) as seen:
        page = seen.page
        expect(page.locator("#config-note")).to_contain_text("None is stored yet.")
        text = page.get_by_label("What the device should be")
        text.fill('{"interval_s": 1e1, "serial": 123456789012345678901}')
        page.locator("#config-save").click()
        expect(page.locator("#config-outcome")).to_contain_text("Saved as version 1.")
        stored = running.get("/_headrace/url/device_api/devices/pump-1/config")
        assert stored["config"] == {"interval_s": 10.0, "serial": 123456789012345678901}
        running.cli("config", "pump-1", "set", '{"interval_s": 30}')
        text.fill('{"interval_s": 20}')
        page.locator("#config-save").click()
        expect(page.locator("#config-outcome")).to_contain_text("Nothing was written")
        text.fill("[1]")
        page.locator("#config-save").click()
        expect(page.locator("#config-outcome")).to_contain_text("This is no JSON object")
        page.locator("#config").get_by_role("button", name="Load again").click()
        expect(page.locator("#config-note")).to_contain_text("Version 2")
        expect(text).to_have_value('{\n  "interval_s": 30\n}')
        expect(page.locator("#used")).to_contain_text("2 events")
        expect(page.locator("#aggregates tbody tr").first).to_contain_text("temperature_f")


def test_sql_is_asked_drawn_refused_and_cancelled(running: Backend, browser: Browser) -> None:
    with opened(browser, page_of(running, "/sql"), dark=True) as seen:
        page = seen.page
        page.locator("#run").click()
        expect(page.locator("#result-note")).to_contain_text("2 rows in")
        expect(page.locator("#rows tbody tr")).to_have_count(2)
        expect(page.locator("#result svg path").first).to_be_attached()
        sql = page.get_by_label("SQL")
        sql.fill("select device_id, '<img src=x onerror=alert(1)>' as text, count(*) from events group by 1 order by 1")
        sql.press("Control+Enter")
        expect(page.locator("#rows")).to_contain_text("<img src=x onerror=alert(1)>")
        sql.fill("delete from events")
        page.locator("#run").click()
        expect(page.locator("#result-note")).to_have_class("outcome bad")
        sql.fill("select nonsense(1)")
        page.locator("#run").click()
        expect(page.locator("#result-note")).to_contain_text("NONSENSE")
        sql.fill("create table mine as select 1 as n")
        page.locator("#run").click()
        expect(page.locator("#result-note")).to_contain_text("read only")
        # As many rows as no machine counts within this test.
        sql.fill(
            "with recursive t(n) as (select 1 union all select n + 1 from t where n < 1000) select count(*) from "
            "t a cross join t b cross join t c cross join t d cross join t e where a.n + b.n + c.n + d.n > e.n"
        )
        expect(page.locator("#cancel")).to_be_hidden()
        page.locator("#run").click()
        expect(page.locator("#result-note")).to_have_text("Running …")
        expect(page.locator("#run")).to_be_disabled()
        page.locator("#cancel").click()
        expect(page.locator("#result-note")).to_contain_text("cancelled")
        expect(page.locator("#cancel")).to_be_hidden()
        sql.fill("select 7 as still")
        page.locator("#run").click()
        expect(page.locator("#rows")).to_contain_text("7")
        statuses = [
            each["Status"] for each in running.client("redshift-data").list_statements(Status="ALL")["Statements"]
        ]
        assert statuses.count("ABORTED") == 1 and "STARTED" not in statuses
        assert seen.errors == []
        assert seen.hosts == {"127.0.0.1"}


def test_bills_and_the_statement(running: Backend, browser: Browser) -> None:
    with opened(browser, page_of(running, "/bills")) as seen:
        page = seen.page
        expect(page.locator("#bills tbody tr")).to_have_count(2)
        expect(page.locator("#tenants")).to_contain_text(TENANT)
        expect(page.locator("#tenants")).to_contain_text("1.00 EUR")
        expect(page.locator("#month-note")).to_contain_text("without a tenant")
        with page.context.expect_page() as opening:
            page.get_by_role("link", name="Statement").click()
        statement = opening.value
        expect(statement.locator("h1")).to_have_text(TENANT)
        expect(statement.locator("body")).to_contain_text("Provisional")
        page.locator("#bills tbody tr").nth(1).click()
        expect(page.locator("#tenants")).to_contain_text("0.50 EUR")
        for query, status in (("?month=2026-13&tenant=x", 400), ("?month=2026-11&tenant=x", 404), ("", 404)):
            answer = statement.goto(page_of(running, f"/statement{query}"))
            assert answer is not None and answer.status == status, query


@pytest.mark.parametrize("path", ["/fleet", "/device?id=pump-1", f"/device?id={'x' * 300}", "/sql", "/bills"])
def test_pages_fit_a_phone(running: Backend, browser: Browser, path: str) -> None:
    with opened(browser, page_of(running, path), width=390, height=844, phone=True) as seen:
        expect(seen.page.locator(".card").first).to_be_visible()
        seen.page.wait_for_timeout(1500)
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert json.dumps(seen.errors) == "[]"
