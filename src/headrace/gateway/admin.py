"""What lies under `/_headrace/` for the command line: logs, failures and their replay, the archive's objects.

    GET  logs                              {"functions": […], "processes": […]}
    GET  logs/<name>?lines=100             {"name", "files": [{"file", "text", "offset"}, …]}: each file's last lines
    GET  logs/<name>?offset=<file>:<n>&…   the same, from those offsets on; a file that is not named from its start
    GET  failures?after=&limit=            {"failures": […], "next": key or null}: a row a (document, record)
    GET  failures/newest?limit=            {"failures": […], "documents": n}: the documents written last, a row each
    GET  failures/document?id=             the whole document
    POST failures/replay {"ids": […]}      {"results": [{"id", "function", "ok", "error"}, …]}
    GET  archive?prefix=&after=&limit=     {"objects": [{"key", "size", "modified", "storage_class", "readable", "tags",
                                           "restore"}, …], "next": key or null}

Errors are `{"error": word, "message": text, "hint": text}`. Files are read in threads: a large listing never holds up
the events that the same process takes in.
"""

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from headrace import clock
from headrace.archive.base import Bucket, ObjectInfo
from headrace.errors import InvalidObjectState, NotFound, UsageError
from headrace.failure_document import KINDS, Document, Row
from headrace.gateway import logs
from headrace.gateway.replay import Replay, Replayer, read_document
from headrace.settings import Layout
from headrace.wire import Handler, Request, Response, answer, json_body, json_response, nothing

PROCESSES = ("gateway", "table", "runtime", "metrics", "jobs", "console", "warehouse", "supervisor")
LOG_LINES = 100
LOG_LINES_MAX = 100_000
LOG_BYTES_MAX = 1024 * 1024  # of one file in one answer
DOCUMENTS_MAX = 1000  # in one page of failures
ROWS_MAX = 10_000  # in one page of failures, but for the last document's
NEWEST_MAX = 200  # documents in an answer of the newest
OBJECTS_MAX = 10_000  # in one page of the archive


class _Ids(msgspec.Struct):
    ids: list[str]


class Admin:
    """Handlers for `paths()`. `functions` are the names that the system declares; a missing bucket is None."""

    def __init__(
        self,
        layout: Layout,
        functions: Iterable[str],
        *,
        failures: Bucket | None,
        archive: Bucket | None,
        replay: Replay,
    ) -> None:
        self._logs = layout.logs
        self._functions = tuple(functions)
        self._failures = failures
        self._archive = archive
        self._replayer = Replayer(failures, replay) if failures is not None else None

    def paths(self) -> list[tuple[str, Handler]]:
        """Return what to register: path prefix and handler."""
        return [
            ("/_headrace/logs", self.logs),
            ("/_headrace/failures", self.failures),
            ("/_headrace/archive", self.archive),
        ]

    async def logs(self, request: Request) -> Response:
        """Answer the names of logs, or the lines of one."""
        match _parts(request):
            case "GET", ["logs"]:
                return json_response({"functions": self._functions, "processes": PROCESSES})
            case "GET", ["logs", name]:
                return await answer(asyncio.to_thread(self._log, name, _query(request)))
        return nothing(request)

    async def failures(self, request: Request) -> Response:
        """List failures, answer a whole document, or replay."""
        match _parts(request):
            case "GET", ["failures"]:
                return await answer(asyncio.to_thread(self._failures_page, _query(request)))
            case "GET", ["failures", "newest"]:
                return await answer(asyncio.to_thread(self._newest, _query(request)))
            case "GET", ["failures", "document"]:
                return await answer(asyncio.to_thread(self._document, _query(request)))
            case "POST", ["failures", "replay"]:
                return await answer(self._replay(request))
        return nothing(request)

    async def archive(self, request: Request) -> Response:
        """List the archive's objects in the order of their keys."""
        if _parts(request) == ("GET", ["archive"]):
            return await answer(asyncio.to_thread(self._objects, _query(request)))
        return nothing(request)

    def _log(self, name: str, query: dict[str, list[str]]) -> dict[str, Any]:
        if name in self._functions:
            files = sorted((self._logs / "functions" / name).glob("*.log"), key=_modified)  # the last to write last
        elif name in PROCESSES:
            files = [self._logs / f"{name}.log"]
        else:
            known = ", ".join((*self._functions, *PROCESSES))
            raise NotFound(f"There is no function {name!r}.", f"Logs there are: {known}.")
        return {"name": name, "files": [self._lines(path, query) for path in files]}

    def _lines(self, path: Path, query: dict[str, list[str]]) -> dict[str, Any]:
        if "offset" in query:
            offsets = dict(text.rpartition(":")[::2] for text in query["offset"])
            part = logs.followed(path, _number(offsets.get(path.stem, "0"), 1 << 62), LOG_BYTES_MAX)
        else:
            lines = _number(query.get("lines", [str(LOG_LINES)])[-1], LOG_LINES_MAX)
            part = logs.tail(path, lines, LOG_BYTES_MAX)
            if missing := lines - part.text.count("\n"):
                rotated = logs.tail(path.with_name(path.name + ".1"), missing, LOG_BYTES_MAX)
                part = logs.Part(rotated.text + part.text, part.offset)
        return {"file": path.stem, "text": part.text, "offset": part.offset}

    def _failures_page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        bucket = _present(self._failures, "failures")
        after, limit = query.get("after", [""])[-1], _limit(query, DOCUMENTS_MAX)
        rows: list[Row] = []
        infos = (info for info in bucket.list() if info.key > after and info.key.startswith(KINDS))
        for count, info in enumerate(infos):
            if count >= limit or len(rows) >= ROWS_MAX:
                return {"failures": rows, "next": after}
            after = info.key
            try:
                rows += Document.parse(info.key, bucket.get(info.key)).rows()
            except (NotFound, InvalidObjectState):
                continue  # removed since it was listed, or cold by a rule of the user's
        return {"failures": rows, "next": None}

    def _newest(self, query: dict[str, list[str]]) -> dict[str, Any]:
        bucket = _present(self._failures, "failures")
        infos = [info for info in bucket.list() if info.key.startswith(KINDS)]
        rows = []
        for info in heapq.nlargest(_limit(query, NEWEST_MAX), infos, key=lambda info: info.modified_ms):
            with contextlib.suppress(NotFound):  # removed since it was listed
                rows.append(Document.parse(info.key, bucket.get(info.key)).summary())
        return {"failures": rows, "documents": len(infos)}

    def _document(self, query: dict[str, list[str]]) -> bytes:
        bucket = _present(self._failures, "failures")
        return read_document(bucket, query.get("id", [""])[-1]).body

    async def _replay(self, request: Request) -> dict[str, Any]:
        ids = json_body(request, _Ids).ids
        _present(self._failures, "failures")
        assert self._replayer is not None
        return {"results": await self._replayer.replay(ids)}

    def _objects(self, query: dict[str, list[str]]) -> dict[str, Any]:
        bucket = _present(self._archive, "archive")
        after, limit = query.get("after", [""])[-1], _limit(query, OBJECTS_MAX)
        later = (info for info in bucket.list(query.get("prefix", [""])[-1], tags=True) if info.key > after)
        page = list(itertools.islice(later, limit + 1))
        return {
            "objects": [_object(info) for info in page[:limit]],
            "next": page[limit - 1].key if len(page) > limit else None,
        }


def _parts(request: Request) -> tuple[str, list[str]]:
    """Return the method and the path's segments after `/_headrace/`."""
    return request.method, [unquote(part) for part in request.path.split("/")[2:] if part]


def _query(request: Request) -> dict[str, list[str]]:
    return parse_qs(request.query, keep_blank_values=True)


def _limit(query: dict[str, list[str]], most: int) -> int:
    return max(1, _number(query.get("limit", [str(most)])[-1], most))


def _number(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{text!r} is no number.", "Write a whole number of 0 or more.")
    return min(int(text), most)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # rotated since it was listed
        return 0.0


def _object(info: ObjectInfo) -> dict[str, Any]:
    restore = info.restore
    return {
        "key": info.key,
        "size": info.size,
        "modified": clock.rfc3339_ms(info.modified_ms),
        "storage_class": info.storage_class,
        "readable": info.readable,
        "tags": dict(info.tags),
        "restore": {
            "tier": restore.tier,
            "done": restore.done,
            "ready": clock.rfc3339_ms(restore.ready_ms),
            "expires": clock.rfc3339_ms(restore.expires_ms),
        }
        if restore is not None
        else None,
    }


def _present(bucket: Bucket | None, name: str) -> Bucket:
    if bucket is None:
        raise NotFound(f"The template declares no {name} bucket.", f"Add an AWS::S3::Bucket with BucketName {name}.")
    return bucket
