"""Jobs over HTTP, under `/_headrace/jobs`. The gateway only hands requests on to the jobs process.

    GET  jobs                            {"jobs": [{"job", "description", "schedules", "next", "last"}, …]}
    GET  jobs/runs?job=&limit=           {"runs": […]}, the newest first
    GET  jobs/runs/<id or job>           the run, or the last run of that job
    GET  jobs/runs/<id or job>/log?offset=   {"text", "offset"}
    POST jobs/runs/<id or job>/cancel    the run
    POST jobs/<job>/run {"engine", "from", "to", "parameters"}   the run that was created

`from` and `to` are days (`2026-01-31`), the second one not included.
"""

from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from headrace import clock, rpc
from headrace.billing import month
from headrace.errors import NotFound, UsageError
from headrace.jobs.run import Asked
from headrace.system import BILLS, COMPACT, LOAD
from headrace.wire import Handler, Request, Response, answer, json_body

RUNS, RUNS_MAX = 20, 1000


# What jobs that are no reports take of a request.
_TAKES = {COMPACT: (), LOAD: (), BILLS: ("engine", "parameters")}


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    engine: str | None = None
    start: str | None = msgspec.field(name="from", default=None)
    end: str | None = msgspec.field(name="to", default=None)
    parameters: dict[str, int | float | str] = {}


class _Nothing(msgspec.Struct):
    pass


class JobsApi:
    """Handlers for the gateway over the jobs process."""

    def __init__(self, jobs: rpc.AsyncClient) -> None:
        self._jobs = jobs

    def paths(self) -> list[tuple[str, Handler]]:
        """Return what to register: path prefix and handler."""
        return [("/_headrace/jobs", self.handle)]

    async def handle(self, request: Request) -> Response:
        """Answer a request."""
        return await answer(self._answered(request))

    async def _answered(self, request: Request) -> object:
        query = parse_qs(request.query)
        match request.method, [unquote(part) for part in request.path.split("/")[3:] if part]:
            case "GET", []:
                return {"jobs": await self._call("list", None)}
            case "GET", ["runs"]:
                limit = min(_number(query, "limit", RUNS), RUNS_MAX)
                return {"runs": await self._call("runs", (query.get("job", [None])[-1], limit))}
            case "GET", ["runs", name]:
                return await self._call("show", name)
            case "GET", ["runs", name, "log"]:
                text, offset = await self._call("log", (name, _number(query, "offset", 0)))
                return {"text": text, "offset": offset}
            case "POST", ["runs", name, "cancel"]:
                json_body(request, _Nothing)
                return await self._call("cancel", name)
            case "POST", [job, "run"]:
                return await self._call("run", _asked(job, json_body(request, _Body)))
        raise NotFound(f"There is nothing at {request.method} {request.path}.")

    async def _call(self, method: str, params: object) -> Any:
        return rpc.decode(await self._jobs.call(method, params))


def _asked(job: str, found: _Body) -> Asked:
    given = {"engine": found.engine, "from": found.start, "to": found.end, "parameters": found.parameters}
    refused = [name for name, value in given.items() if value and name not in _TAKES.get(job, given)]
    if refused:
        raise UsageError(f"{job} is no report: it takes no {refused[0]}.", f"Write: headrace jobs run {job}")
    if job == BILLS and "close" in found.parameters:  # else a run would be there that has failed
        month.check_ended(month.parse(str(found.parameters["close"])), clock.now_ms())
    first, end = _day("from", found.start), _day("to", found.end)
    last = end - timedelta(days=1) if end else None
    if first and last and last < first:
        raise UsageError(f"From {first} to {end} there is no day.", "The day `to` is not included.")
    return Asked(
        job=job,
        engine=found.engine,
        first=str(first) if first else None,
        last=str(last) if last else None,
        parameters=found.parameters,
    )


def _day(name: str, text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise UsageError(f"{name} is {text!r}, no day.", "Write it like 2026-01-31.") from None


def _number(query: dict[str, list[str]], name: str, default: int) -> int:
    text = query.get(name, [str(default)])[-1]
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{name} is {text!r}, no number.", "Write a whole number of 0 or more.")
    return int(text)
