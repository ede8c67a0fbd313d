"""Which page is where. A page is built anew for each reader; what takes a while is read once the page is there."""

from urllib.parse import quote

from fastapi import Response
from nicegui import app, ui

from headrace.billing import statement
from headrace.console import page
from headrace.console.backend import READING_S_MAX, Backend
from headrace.console.bills_page import STATEMENT, BillsPage
from headrace.console.device_page import DevicePage
from headrace.console.fleet import FleetPage
from headrace.console.sql_page import SqlPage
from headrace.console.watcher import Watcher
from headrace.errors import HeadraceError, NotFound, UsageError

_TITLE = "Headrace"


def register(backend: Backend, watcher: Watcher) -> None:
    """Make every page known."""
    ui.page("/", title=_TITLE)(lambda: page.build(backend, watcher))

    @ui.page("/fleet", title=f"Fleet – {_TITLE}")
    async def fleet() -> None:
        found = FleetPage(backend)
        await ui.context.client.connected()
        await found.load()

    @ui.page("/device", title=f"Device – {_TITLE}")
    async def device(id: str = "") -> None:
        found = DevicePage(backend, id)
        await ui.context.client.connected()
        await found.load()

    @ui.page("/sql", title=f"Ask – {_TITLE}")
    def sql() -> None:
        SqlPage(backend)

    @ui.page("/bills", title=f"Bills – {_TITLE}")
    async def bills() -> None:
        found = BillsPage(backend)
        await ui.context.client.connected()
        await found.load()

    @app.get(STATEMENT)
    async def printable(month: str = "", tenant: str = "") -> Response:
        return await _statement(backend, month, tenant)


async def _statement(backend: Backend, month: str, tenant: str) -> Response:
    """Return a tenant's statement as a page of its own, to be printed."""
    try:
        if not month or not tenant:
            raise NotFound("A statement is of a month and a tenant.", "Choose one among the bills.")
        bill = await backend.get(f"bills/{quote(month, safe='')}", timeout_s=READING_S_MAX, tenant=tenant)
        (found,) = bill["tenants"]
        usage = await backend.get(
            f"bills/{quote(month, safe='')}/usage", timeout_s=READING_S_MAX, tenant=tenant, days="1"
        )
    except HeadraceError as error:
        text = f"{error.problem} {error.hint}".strip()
        status = 404 if isinstance(error, NotFound) else 400 if isinstance(error, UsageError) else 502
        return Response(text, status, media_type="text/plain")
    return Response(statement.to_html(bill, found, usage["devices"]), media_type="text/html")
