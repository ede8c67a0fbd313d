"""Exports of the archive: written by a process of their own, fetched in parts.

POST /_headrace/export {"format", "device", "from", "to", "leave_out_cold"}
                                     {"id", "events", "bytes", "cold", "problems"}: it is written when this answers
GET  /_headrace/export/<id>?offset=  the file's bytes from there on, up to 4 MiB; none at its end
POST /_headrace/export/<id>/remove   it is not needed any more

An export that nobody takes is removed after an hour, with the next one.
"""

import asyncio
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import msgspec

from headrace import clock, disk
from headrace.errors import NotFound, Unavailable, UsageError
from headrace.event import times
from headrace.operations import child
from headrace.settings import Layout
from headrace.system import System
from headrace.wire import Handler, Request, Response, answer, json_body, nothing

PART_BYTES = 4 * 1024 * 1024
KEPT_MS = 3_600_000
FORMATS = ("parquet", "csv", "ndjson")
_ID = re.compile(r"[0-9a-f]{32}")


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """What to export: times as devices write them, the first inclusive, the second exclusive."""

    format: str = "parquet"
    device: str | None = None
    start: str | None = msgspec.field(default=None, name="from")
    end: str | None = msgspec.field(default=None, name="to")
    leave_out_cold: bool = False

    def check(self) -> None:
        """Raise UsageError for what can't be exported."""
        if self.format not in FORMATS:
            raise UsageError(f"{self.format!r} is no format of exports.", f"Write one of: {', '.join(FORMATS)}.")
        for name, text in (("from", self.start), ("to", self.end)):
            try:
                _us(text)
            except ValueError as error:
                hint = "Write RFC 3339 or a number since 1970, such as 2026-01-31T00:00:00Z."
                raise UsageError(f"{name} is {text!r}, {error}.", hint) from None


class Exports:
    """Handlers for `paths()`."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folder = layout.archive / "exports"

    def paths(self) -> list[tuple[str, Handler]]:
        """Return what to register: path prefix and handler."""
        return [("/_headrace/export", self.handle)]

    async def handle(self, request: Request) -> Response:
        """Answer one of the requests above."""
        match request.method, [part for part in request.path.split("/")[2:] if part]:
            case "POST", ["export"]:
                return await answer(self._write(request))
            case "GET", ["export", name]:
                return await self._part(name, parse_qs(request.query).get("offset", ["0"])[-1])
            case "POST", ["export", name, "remove"]:
                return await answer(asyncio.to_thread(self._remove, name))
        return nothing(request)

    async def _write(self, request: Request) -> bytes:
        wanted = json_body(request, Wanted)
        wanted.check()
        await asyncio.to_thread(self._clean)
        hint = f"See {self._layout.logs / 'gateway.log'}, and ask again."
        return await child.ask("export", wanted, Unavailable("The export was ended before it was done.", hint))

    async def _part(self, name: str, offset: str) -> Response:
        def read() -> bytes:
            with self._file(name).open("rb") as file:
                file.seek(int(offset) if offset.isascii() and offset.isdigit() else 0)
                return file.read(PART_BYTES)

        found = await answer(asyncio.to_thread(read))
        return found if found.status != 200 else found._replace(content_type="application/octet-stream")

    def _file(self, name: str) -> Path:
        path = self._folder / name
        if not _ID.fullmatch(name) or not path.is_file():
            raise NotFound("There is no such export: they are kept for an hour.", "Export again.")
        return path

    def _remove(self, name: str) -> dict[str, Any]:
        self._file(name).unlink(missing_ok=True)
        return {}

    def _clean(self) -> None:
        for path in self._folder.glob("*"):
            try:
                if path.stat().st_mtime_ns // 1_000_000 + KEPT_MS < clock.now_ms():
                    path.unlink()
            except FileNotFoundError:
                continue


def write(layout: Layout, system: System, body: bytes) -> dict[str, Any]:
    """Write an export in this process, and return what there is to say of it; raises HeadraceError."""
    from headrace.archive import engine, export, snapshot
    from headrace.archive.catalogue import Range
    from headrace.archive.local import LocalBucket

    wanted = msgspec.json.decode(body, type=Wanted)
    folder = layout.archive / "exports"
    disk.make_folder(folder)
    name = uuid4().hex
    bucket = LocalBucket(layout.buckets / system.archive_bucket)
    chosen = Range(_us(wanted.start), _us(wanted.end), wanted.device)
    taking = snapshot.open(
        bucket, layout.archive, readings=system.readings, wanted=chosen, leave_out_cold=wanted.leave_out_cold
    )
    with (
        taking as taken,
        disk.work_folder(layout.archive / "exporting") as work,
        engine.connected(work, engine.DEFAULT) as connection,
    ):
        written = export.export(connection, taken, wanted.format, work / name)
        (work / name).rename(folder / name)
    problems = [str(problem) for problem in taken.problems]
    return {"id": name, "events": written.events, "bytes": written.bytes, "cold": taken.cold, "problems": problems}


def _us(text: str | None) -> int | None:
    return None if text is None else times.to_us(times.from_text(text))
