"""SQL straight over the archive: run by the backend in a process of its own, its result read while it is written."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from headrace import clock
from headrace.cli.backend import Backend
from headrace.cli.output import note
from headrace.cli.sql_results import Column, Result
from headrace.errors import HeadraceError

POLL_S_FIRST, POLL_S_MAX = 0.02, 0.5
PATH = "archive-sql"


class Archive:
    """Runs queries over the archive, one after the other."""

    def __init__(self, backend: Backend, *, timeout_s: float | None, rows_max: int | None) -> None:
        self._backend = backend
        self._timeout_s = timeout_s
        self._rows_max = rows_max

    def run(self, sql: str, parameters: Mapping[str, str]) -> Result:
        """Run a query and return what it gives. Raises HeadraceError; an interrupt ends it."""
        wanted: dict[str, Any] = {"sql": sql, "parameters": dict(parameters)}
        if self._timeout_s is not None:
            wanted["timeout_s"] = self._timeout_s
        if self._rows_max is not None:
            wanted["rows_max"] = self._rows_max + 1  # one more, so that it can be said that there are more
        query = self._backend.post(PATH, wanted)["id"]
        lines = self._lines(query)
        head = next(lines)
        for problem in head["notes"]:
            note(problem)
        return Result([Column(*column) for column in head["columns"]], lines)

    def tables(self) -> dict[str, list[str]]:
        """Return the views and their columns, for completion."""
        sql = "SELECT table_name, column_name FROM svv_columns ORDER BY table_name, ordinal_position"
        found: dict[str, list[str]] = {}
        for table, column in self.run(sql, {}).rows:
            found.setdefault(str(table), []).append(str(column))
        return found

    def _lines(self, query: str) -> Iterator[Any]:
        """Yield what the query has written, line by line; then let it be removed."""
        rest, at, pause = b"", 0, POLL_S_FIRST
        try:
            while True:
                state = self._backend.get(f"{PATH}/{query}")
                while at < state["bytes"]:
                    part = self._backend.get_bytes(f"{PATH}/{query}/part", [("offset", str(at))])
                    at, pause = at + len(part), POLL_S_FIRST
                    *lines, rest = (rest + part).split(b"\n")
                    yield from map(json.loads, lines)
                if state["state"] == "failed":
                    raise HeadraceError(state["message"], state["hint"])
                if state["state"] == "done":
                    return
                clock.sleep(pause)
                pause = min(pause * 1.5, POLL_S_MAX)
        finally:
            self._backend.post(f"{PATH}/{query}/remove", {})
