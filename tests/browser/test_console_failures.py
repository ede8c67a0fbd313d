"""The console in a real browser on a bad day: who fails and why, what was sent, replays; what tries to be markup."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from support.backend import Backend, backend
from support.browser import PATIENCE_MS, needs_browser, opened
from support.console import mend, project, put

pytestmark = [needs_browser, pytest.mark.timeout(300)]
expect.set_options(timeout=PATIENCE_MS)

MARKUP = '<img src=x onerror="window.pwned = 1"><script>window.pwned = 2</script>'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def running(folder: Path) -> Iterator[Backend]:
    with backend(folder, project(folder)) as running:
        yield running


def open_failure(page: Page, text: str) -> None:
    page.locator("#failures tbody tr").filter(has_text=text).first.click()


def test_why_an_event_failed_and_its_replay(folder: Path, running: Backend, browser: Browser) -> None:
    put(
        running, {"device_id": "shop-1", "price": 3}, {"device_id": "shop-2"}, '{"device_id": "shop-3", "time": "noon"}'
    )
    with opened(browser, running.url) as seen:
        page = seen.page
        expect(page.locator("#verdict")).to_contain_text("fragile gave up 1 event in the last day")
        expect(page.locator("#functions tbody tr").filter(has_text="store")).to_contain_text("keeps up")
        rejected = page.locator("#failures tbody tr").filter(has_text="rejected")
        expect(rejected).to_contain_text('Its time can\'t be read: time is "noon"')

        open_failure(page, "given up")
        dialog = page.locator("#failure")
        expect(dialog).to_contain_text("fragile: The function failed on it at every try.")
        expect(dialog).to_contain_text("ValueError: no currency for the price of shop-1")
        expect(page.locator("#payload")).to_have_text('{\n  "device_id": "shop-1",\n  "price": 3\n}')
        replay, outcome = page.locator("#replay"), page.locator("#outcome")
        replay.click()
        expect(outcome).to_contain_text("It failed again: ValueError: no currency for the price of shop-1")
        mend(folder)
        replay.click()
        expect(outcome).to_contain_text("Replayed: fragile succeeded with it this time.")
        expect(replay).to_have_text("Replay again")
        replay.click()
        expect(outcome).to_contain_text("It was replayed before, ")
        page.get_by_role("button", name="Close").click()
        expect(page.locator("#failures tbody tr").filter(has_text="fragile")).to_contain_text("replayed")
        expect(page.locator("#verdict")).not_to_contain_text("gave up")

        open_failure(page, "rejected")
        replay.click()
        expect(outcome).to_contain_text("It failed again: rejected again: time")
        assert seen.hosts == {"127.0.0.1"}


def test_what_was_sent_is_never_markup(running: Backend, browser: Browser) -> None:
    put(
        running,
        {"device_id": MARKUP, MARKUP: 1.5, "text": MARKUP, "price": 1},
        {"device_id": "plain", "time": MARKUP},
        MARKUP,
        f'{{"device_id": "plain", "x": {MARKUP}}}',
    )
    with opened(browser, running.url) as seen:
        page = seen.page
        expect(page.locator("#events tbody tr").filter(has_text="<script>window.pwned")).not_to_have_count(0)
        expect(page.locator("#failures tbody tr").filter(has_text="rejected")).to_have_count(3)
        open_failure(page, "given up")
        expect(page.locator("#failure")).to_contain_text("ValueError: no currency for the price of <img src=x")
        expect(page.locator("#payload")).to_contain_text('"window.pwned = 1'.replace('"', '\\"'))
        page.get_by_role("button", name="Close").click()
        open_failure(page, "not JSON")
        expect(page.locator("#payload")).to_contain_text("<script>")
        page.get_by_role("button", name="Close").click()
        page.get_by_role("combobox", name="Device").click()
        expect(page.get_by_role("option").filter(has_text="<img")).to_have_count(1)
        page.get_by_role("option").filter(has_text="<img").click()
        expect(page.locator("#device-note")).to_contain_text("1 event")
        expect(page.get_by_role("combobox", name="Reading")).to_have_value(MARKUP)
        assert page.evaluate("window.pwned") is None
        assert page.locator("img[src=x]").count() == 0
        assert seen.errors == []
