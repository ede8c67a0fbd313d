"""What the pages are made of: the bar with the ways to the others, cards, figures and plain tables."""

from html import escape
from pathlib import Path
from typing import Any

from nicegui import ui

STYLE = Path(__file__).with_name("console.css")
PAGES = {"/": "Now", "/fleet": "Fleet", "/sql": "Ask", "/bills": "Bills"}
STATE_CELL = """<q-td :props="props" :class="'state ' + props.row.level"
    ><span :class="'dot ' + props.row.level"></span>{{ props.value }}</q-td>"""
WIDE = {"classes": "wide tight", "headerClasses": "wide"}


def frame(here: str) -> ui.element:
    """Begin a page: its style, and the bar with the ways to the other pages; return the bar, to be filled further."""
    ui.add_css(STYLE)
    ui.colors(primary="#1f6feb")
    with ui.element("div").classes("bar") as bar:
        heading("Headrace", 1)
        with ui.element("nav"):
            for path, name in PAGES.items():
                link = ui.link(name, path)
                if path == here:
                    link.classes("here").props("aria-current=page")
    return bar


def heading(text: str, level: int) -> None:
    """Add a heading."""
    ui.html(escape(text), sanitize=False, tag=f"h{level}")


def card(title: str, name: str) -> ui.element:
    """Return a card with a heading, to be filled."""
    found = ui.element("section").classes("card").props(f"id={name}")
    with found:
        heading(title, 2)
    return found


def tile(name: str) -> tuple[ui.label, ui.label]:
    """Add a figure; return its value and the note beneath it."""
    with ui.element("div").classes("tile"):
        ui.label(name).classes("quiet")
        return ui.label("–").classes("value"), ui.label().classes("quiet")


def table(columns: list[dict[str, Any]], row_key: str) -> ui.table:
    """Return a plain table; each column is (at least) its name and its label."""
    columns = [{"align": "left", "field": column["name"], **column} for column in columns]
    return ui.table(columns=columns, rows=[], row_key=row_key).props("flat dense hide-pagination wrap-cells")
