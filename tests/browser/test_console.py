"""The console in a real browser, as a reader meets it on a good day: verdict, functions, events, a device's day."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Page, expect

from support.backend import Backend, backend, wait_until
from support.browser import PATIENCE_MS, needs_browser, opened
from support.console import put

pytestmark = [needs_browser, pytest.mark.timeout(300)]
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with backend(tmp_path_factory.mktemp("calm")) as running:
        yield running


def background(page: Page) -> tuple[int, ...]:
    colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return tuple(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_is_well_and_nothing_leaves_the_machine(running: Backend, browser: Browser, dark: bool) -> None:
    with opened(browser, running.url, dark=dark) as seen:  # the root of the endpoint leads there
        expect(seen.page.locator("#verdict")).to_contain_text("All is well")
        assert seen.page.url.startswith(f"{running.url}/_headrace/console")
        for function, text in (("store", "keeps up"), ("archive", "keeps up"), ("device_api", "answers when called")):
            expect(seen.page.locator("#functions tbody tr").filter(has_text=function)).to_contain_text(text)
        expect(seen.page.locator("#failures")).to_contain_text("None.")
        expect(seen.page.locator("#alarms")).to_contain_text("StoreIsBehind")
        assert sum(background(seen.page)) < 200 if dark else sum(background(seen.page)) > 600
        assert seen.hosts == {"127.0.0.1"}
        assert seen.errors == []


def test_events_are_shown_as_they_come(running: Backend, browser: Browser) -> None:
    with opened(browser, running.url) as seen:
        expect(seen.page.locator("#verdict")).to_contain_text("All is well")
        for number in (1, 2):
            put(running, {"device_id": f"pump-{number}", "temperature_f": 70.25, "door": "open"})
            row = seen.page.locator("#events tbody tr").filter(has_text=f"pump-{number}")
            expect(row).to_contain_text("temperature_f 70.25 · door open")
        tile = seen.page.locator(".tile").filter(has_text="Events per second")
        expect(tile).to_contain_text("accepted in all")


def test_a_devices_last_day_is_drawn(running: Backend, browser: Browser) -> None:
    now = datetime.now(UTC)
    put(
        running,
        *(
            {"device_id": "boiler", "time": (now - timedelta(hours=hours)).isoformat(), "pressure": hours, "heat": 80}
            for hours in range(30)
        ),
    )
    with opened(browser, running.url) as seen:
        page = seen.page
        device = page.get_by_role("combobox", name="Device")
        expect(page.locator("#verdict")).to_contain_text("All is well")
        wait_until(lambda: len(history(running)) == 24)
        device.click()
        device.fill("boiler")
        device.press("Enter")
        expect(page.locator("#device-note")).to_contain_text("24 events")
        line = page.locator('#device svg path[stroke="#3f8cff"]').first
        expect(line).to_be_attached()
        page.get_by_role("combobox", name="Reading").click()
        page.get_by_role("option", name="heat").click()
        expect(page.get_by_role("combobox", name="Reading")).to_have_value("heat")
        device.click()
        device.fill("nobody")
        device.press("Enter")
        expect(page.locator("#device-note")).to_contain_text("There is no event of nobody")


def history(running: Backend) -> list[object]:
    since = (datetime.now(UTC) - timedelta(hours=24)).strftime("%Y-%m-%dT%H:%M:%SZ")
    events: list[object] = running.get(f"/_headrace/url/device_api/devices/boiler/events?from={since}")["events"]
    return events


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_a_phone(running: Backend, browser: Browser, dark: bool) -> None:
    with opened(browser, running.url, dark=dark, width=390, height=844, phone=True) as seen:
        expect(seen.page.locator("#verdict")).to_contain_text("All is well")
        expect(seen.page.locator("#verdict")).to_be_in_viewport()
        expect(seen.page.locator("#functions tbody tr")).to_have_count(3)
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
        for card in seen.page.locator(".card").all():
            box = card.bounding_box()
            assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390
            inner = card.evaluate("e => [...e.querySelectorAll('td, label, .quiet')].every(c => !c.offsetWidth || "
                                  "c.getBoundingClientRect().right <= 391)")  # fmt: skip
            assert inner, card.get_attribute("id")


def test_an_open_page_goes_on_after_a_restart(running: Backend, browser: Browser) -> None:
    with opened(browser, running.url) as seen:
        expect(seen.page.locator("#verdict")).to_contain_text("All is well")
        for process in ("headrace.app console", "headrace.app gateway"):
            running.kill(process)
            wait_until(lambda: running.get("/_headrace/health")["ready"])
            device = f"after-the-{process[-7:].strip()}"
            put(running, {"device_id": device})
            expect(seen.page.locator("#events tbody tr").filter(has_text=device)).to_be_visible()
            expect(seen.page.locator("#verdict")).to_contain_text("All is well")
