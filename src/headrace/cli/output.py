"""How results are printed: JSON for programs, aligned columns for people."""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_raw(body: bytes) -> None:
    """Print JSON text exactly as it is: numbers keep the digits they were sent with."""
    click.echo(body.strip())


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to that takes the place of `path` at the end, so that no part is taken for the whole.

    What is there and is no file (a device, a pipe) is written to as it is; a link goes on to lead there.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    target = path.resolve()
    part = target.with_name(f".{target.name}.part")
    try:
        yield part
        part.replace(target)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def note(text: str) -> None:
    """Say something beside the result, on standard error."""
    click.echo(f"headrace: {text}", err=True)


def note_waiting(problem: str) -> None:
    """Say why nothing gets on, on a line of its own whatever progress is shown."""
    if sys.stderr.isatty():
        click.echo(err=True)
    note(f"waiting, and trying again: {problem}")


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return aligned columns under their heads: numbers to the right with thousands separated, text to the left."""
    cells = [[_cell(value) for value in row] for row in rows]
    right = [any(_is_number(row[i]) for row in rows) for i in range(len(heads))]
    widths = [max(width_of(line[i]) for line in [list(heads), *cells]) for i in range(len(heads))]
    lines = []
    for line in [list(heads), *cells]:
        blanks = [" " * (width - width_of(text)) for text, width in zip(line, widths, strict=True)]
        parts = [blank + text if r else text + blank for text, blank, r in zip(line, blanks, right, strict=True)]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from prompt_toolkit.utils import get_cwidth

    return get_cwidth(text)


def size(count_bytes: float) -> str:
    """Return a number of bytes for people."""
    if count_bytes < 1000:
        return f"{count_bytes:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count_bytes /= 1000
        if count_bytes < 1000:
            return f"{count_bytes:.1f} {unit}"
    return f"{count_bytes / 1000:.1f} TB"


def duration(ms: float) -> str:
    """Return a duration for people."""
    seconds = ms / 1000
    if seconds < 1:
        return f"{ms:.0f} ms"
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.1f} {unit}"
    return f"{seconds / 86400:.1f} d"


class Progress:
    """A line on a terminal that is written over; silent where standard error is no terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._width = 0

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._shown:
            click.echo(f"\r{text.ljust(self._width)}", nl=False, err=True)
            self._width = len(text)

    def clear(self) -> None:
        """Remove the line."""
        if self._width:
            click.echo("\r" + " " * self._width + "\r", nl=False, err=True)
            self._width = 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if _is_number(value):
        return f"{value:,}"
    return printable(str(value))


def printable(text: str) -> str:
    """Return text that a device sent with its control characters spelled out: a terminal must not obey them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
