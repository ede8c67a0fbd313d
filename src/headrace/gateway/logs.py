"""Reading log files that others are writing: their last lines, and what came since."""

import contextlib
import io
from pathlib import Path
from typing import BinaryIO, NamedTuple

BLOCK_BYTES = 64 * 1024


class Part(NamedTuple):
    """Whole lines of a log file; `offset` (bytes) is where the next ones begin."""

    text: str
    offset: int


def tail(path: Path, lines: int, bytes_max: int) -> Part:
    """Return the last lines of a file, as many as fit into `bytes_max`; a missing file is empty."""
    with _opened(path) as file:
        end = _last_line_end(file, file.seek(0, 2))
        start, found = end, b""
        while start > 0 and found.count(b"\n") <= lines and len(found) < bytes_max:
            step = min(BLOCK_BYTES, start)
            start -= step
            file.seek(start)
            found = file.read(step) + found
    wanted = found[: end - start].splitlines(keepends=True)
    if start > 0:
        wanted = wanted[1:]  # the first is the end of a longer line
    return Part(b"".join(wanted[-lines:] if lines else []).decode(errors="replace"), end)


def since(path: Path, offset: int, bytes_max: int) -> Part:
    """Return the whole lines from `offset` on; a file shorter than that was started anew and is read from its start."""
    with _opened(path) as file:
        size = file.seek(0, 2)
        offset = offset if offset <= size else 0
        file.seek(offset)
        found = file.read(min(bytes_max, size - offset))
    whole = found[: found.rfind(b"\n") + 1]
    if not whole and len(found) == bytes_max:
        whole = found  # one line longer than an answer may be: hand it over in parts
    return Part(whole.decode(errors="replace"), offset + len(whole))


def followed(path: Path, offset: int, bytes_max: int) -> Part:
    """Return as `since` does; of a file that was rotated meanwhile also what stands in the old one from `offset` on."""
    rest = ""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size < offset:
            rotated = path.with_name(path.name + ".1")
            size = rotated.stat().st_size
            if size > offset:  # else the log was cut short, and the old one is another's
                rest = since(rotated, offset, size - offset).text
    part = since(path, offset, bytes_max)
    return Part(rest + part.text, part.offset)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return io.BytesIO()


def _last_line_end(file: BinaryIO, size: int) -> int:
    """Return the offset after the last line that is whole: its writer may be in the middle of the next."""
    at = size
    while at > 0:
        step = min(BLOCK_BYTES, at)
        file.seek(at - step)
        newline = file.read(step).rfind(b"\n")
        if newline >= 0:
            return at - step + newline + 1
        at -= step
    return 0
