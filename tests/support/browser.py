"""A real browser for tests: Debian's Chromium, without a window, driven by its path."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request, sync_playwright

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
# A missing browser skips these tests on a laptop and fails them in CI.
needs_browser = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="needs chromium: sudo apt-get install chromium"
)
PATIENCE_MS = 60_000


@dataclass
class Watched:
    """A page, whom it asked, and what went wrong in it."""

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def hosts(self) -> set[str]:
        """Return the hosts that were asked for anything; `data:` URLs ask none."""
        return {urlsplit(url).hostname or "" for url in self.requests if not url.startswith(("data:", "blob:"))}

    def on_request(self, request: Request) -> None:
        self.requests.append(request.url)

    def on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser that asks nobody but who a page names: no updates, no telemetry."""
    if CHROMIUM is None:
        pytest.fail("There is no chromium: sudo apt-get install chromium")
    with sync_playwright() as playwright:
        started = _launch(playwright)
        try:
            yield started
        finally:
            started.close()


def _launch(playwright: Playwright) -> Browser:
    assert CHROMIUM is not None
    flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]  # as containers need it
    return playwright.chromium.launch(executable_path=CHROMIUM, args=flags, timeout=PATIENCE_MS)


@contextlib.contextmanager
def opened(
    on: Browser, url: str, *, dark: bool = False, width: int = 1280, height: int = 900, phone: bool = False
) -> Iterator[Watched]:
    """A page at a URL, in a fresh profile."""
    context = on.new_context(
        color_scheme="dark" if dark else "light", viewport={"width": width, "height": height},
        is_mobile=phone, has_touch=phone,
    )  # fmt: skip
    context.set_default_timeout(PATIENCE_MS)
    watched = Watched(context.new_page())
    watched.page.on("request", watched.on_request)
    watched.page.on("console", watched.on_console)
    watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
    try:
        watched.page.goto(url)
        yield watched
    finally:
        context.close()
