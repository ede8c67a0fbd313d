"""SQL straight over the archive: each query is a process of its own, whose result is read while it is written.

POST /_headrace/archive-sql {"sql", "parameters", "timeout_s", "rows_max"}     {"id"}: it runs when this answers
GET  /_headrace/archive-sql/<id>                {"state", "bytes", "message", "hint"}: running, done or failed
GET  /_headrace/archive-sql/<id>/part?offset=   the result from there on, up to 4 MiB, in whole or in part
POST /_headrace/archive-sql/<id>/remove         it is not needed any more: what still runs is ended

The result is NDJSON: first `{"columns": [[name, type], …], "notes": […]}`, then an array a row. A query that nobody
asks after for a minute is ended and removed.
"""

import asyncio
import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import msgspec

from headrace import clock, disk
from headrace.errors import Conflict, NotFound, UsageError
from headrace.operations import child
from headrace.settings import Layout
from headrace.wire import Handler, Request, Response, answer, json_body, nothing

PART_BYTES = 4 * 1024 * 1024
ASKED_S_MAX = 60.0  # nobody asks for a query any more: it is ended
TIMEOUT_S, TIMEOUT_S_MAX = 600.0, 3600.0
QUERIES_MAX = 2  # at once; each may take the memory that the settings allow
WATCHED_S = 0.2
SQL_BYTES_MAX = 100_000
_ID = re.compile(r"[0-9a-f]{32}")


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """A query as it is asked for."""

    sql: str
    parameters: dict[str, str] = {}
    timeout_s: float = TIMEOUT_S
    rows_max: int | None = None

    def check(self) -> None:
        """Raise UsageError for what can't be asked."""
        if not self.sql.strip() or len(self.sql.encode()) > SQL_BYTES_MAX:
            raise UsageError(f"The SQL is empty, or has more than {SQL_BYTES_MAX:,} bytes.", "Write one SELECT.")
        if not 0 < self.timeout_s <= TIMEOUT_S_MAX:
            raise UsageError(f"timeout_s is not within {TIMEOUT_S_MAX:.0f} seconds.", "Give a shorter time.")
        if self.rows_max is not None and self.rows_max < 1:
            raise UsageError("rows_max is below 1.", "Give 1 or more, or leave it out.")


class Ended(msgspec.Struct):
    """The last word of a query's process."""

    message: str = ""
    hint: str = ""


class _Query:
    """A query that runs, or has ended and is not removed yet."""

    def __init__(self, folder: Path, name: str, process: asyncio.subprocess.Process, timeout_s: float) -> None:
        self.result = folder / f"{name}.ndjson"
        self._end = folder / f"{name}.end"
        self._process = process
        self._timeout_s = timeout_s
        self._began_s = self._asked_s = clock.monotonic_s()
        self._is_late = False

    def state(self) -> dict[str, Any]:
        """Return how it stands."""
        self._asked_s = clock.monotonic_s()
        running = self._process.returncode is None  # before the size: what is written afterwards is seen next time
        size = self.result.stat().st_size if self.result.exists() else 0
        ended = Ended() if running else self._ended()
        state = "running" if running else "failed" if ended.message else "done"
        return {"state": state, "bytes": size, "message": ended.message, "hint": ended.hint}

    def asked(self) -> None:
        """Note that somebody reads the result."""
        self._asked_s = clock.monotonic_s()

    async def watch(self) -> None:
        """End it when its time is over or nobody asks for it; return when it may be removed."""
        while True:
            now_s = clock.monotonic_s()
            if self._process.returncode is None and now_s - self._began_s > self._timeout_s:
                self._is_late = True
                self.end()
            if now_s - self._asked_s > ASKED_S_MAX:
                self.end()
                return
            await asyncio.sleep(WATCHED_S)

    def end(self) -> None:
        """End the process, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:
                self._process.kill()

    async def remove(self) -> None:
        """End it, and remove what it wrote."""
        self.end()
        await self._process.wait()
        await asyncio.to_thread(_remove_files, self.result.parent, self.result.stem)

    @property
    def is_running(self) -> bool:
        return self._process.returncode is None

    def _ended(self) -> Ended:
        if self._is_late:
            return Ended(
                f"The query took longer than {self._timeout_s:g} seconds.", "Raise --timeout, or ask for less."
            )
        try:
            return msgspec.json.decode(self._end.read_bytes(), type=Ended)
        except (OSError, msgspec.DecodeError):
            if (self._process.returncode or 0) > 0:  # by itself, and without a word
                return Ended("The query could not say how it ended.", "Is the disk full? See gateway.log.")
            return Ended(
                "The query was ended: it took more memory than it may.", "Ask for less: fewer rows, shorter texts."
            )


class ArchiveSql:
    """Handlers for `paths()`."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folder = layout.archive / "queries"
        self._queries: dict[str, _Query] = {}
        self._watching: set[asyncio.Task[None]] = set()

    def paths(self) -> list[tuple[str, Handler]]:
        """Return what to register: path prefix and handler."""
        return [("/_headrace/archive-sql", self.handle)]

    async def handle(self, request: Request) -> Response:
        """Answer one of the requests above."""
        match request.method, [part for part in request.path.split("/")[2:] if part]:
            case "POST", ["archive-sql"]:
                return await answer(self._start(request))
            case "GET", ["archive-sql", name]:
                return await answer(self._state(name))
            case "GET", ["archive-sql", name, "part"]:
                return await self._part(name, parse_qs(request.query).get("offset", ["0"])[-1])
            case "POST", ["archive-sql", name, "remove"]:
                return await answer(self._remove(name))
        return nothing(request)

    def stop(self) -> None:
        """End every query."""
        for query in self._queries.values():
            query.end()

    async def _start(self, request: Request) -> dict[str, Any]:
        wanted = json_body(request, Wanted)
        wanted.check()
        if sum(query.is_running for query in self._queries.values()) >= QUERIES_MAX:
            raise Conflict(f"{QUERIES_MAX} queries run over the archive already.", "Wait for one, and ask again.")
        name = uuid4().hex
        await asyncio.to_thread(self._make_result, name)
        process = await child.start("archive-sql", name, stdout=asyncio.subprocess.DEVNULL)
        self._queries[name] = query = _Query(self._folder, name, process, wanted.timeout_s)
        task = asyncio.create_task(self._watch(name, query))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        await child.tell(process, wanted)
        return {"id": name}

    async def _watch(self, name: str, query: _Query) -> None:
        await query.watch()
        if self._queries.pop(name, None) is not None:
            await query.remove()

    async def _state(self, name: str) -> dict[str, Any]:
        return self._query(name).state()

    async def _part(self, name: str, offset: str) -> Response:
        def read() -> bytes:
            query = self._query(name)
            query.asked()
            with query.result.open("rb") as file:
                file.seek(int(offset) if offset.isascii() and offset.isdigit() else 0)
                return file.read(PART_BYTES)

        found = await answer(asyncio.to_thread(read))
        return found if found.status != 200 else found._replace(content_type="application/x-ndjson")

    async def _remove(self, name: str) -> dict[str, Any]:
        query = self._query(name)
        del self._queries[name]
        await query.remove()
        return {}

    def _query(self, name: str) -> _Query:
        query = self._queries.get(name) if _ID.fullmatch(name) else None
        if query is None:
            raise NotFound("There is no such query: it is kept as long as somebody reads it.", "Ask again.")
        return query

    def _make_result(self, name: str) -> None:
        """Make a query's result, empty, which a read-only disk refuses; what a gateway that was ended has left goes."""
        path = self._folder / f"{name}.ndjson"
        try:
            disk.make_folder(self._folder)
            if not self._queries:
                for left in self._folder.iterdir():
                    _remove_files(self._folder, left.stem)
            path.touch()
        except OSError as error:
            raise disk.storage_error(path, error) from error


def _remove_files(folder: Path, name: str) -> None:
    """Remove all that belongs to a query: its result, its last word, and the folder that it works in."""
    for path in folder.glob(f"{name}.*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def memory_mb() -> int:
    """Return what a query may hold in memory (HEADRACE_SQL_MEMORY_MB), in megabytes."""
    text = os.environ.get("HEADRACE_SQL_MEMORY_MB") or "512"
    if not text.isascii() or not text.isdigit() or int(text) < 64:
        raise UsageError(f"HEADRACE_SQL_MEMORY_MB is {text!r}.", "Give megabytes, 64 or more.")
    return int(text)
