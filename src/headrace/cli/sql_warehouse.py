"""SQL through the Redshift Data API, as boto3 speaks it: the same on one machine and on AWS."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from headrace import clock
from headrace.cli.backend import Backend
from headrace.cli.sql_results import ALIASES, Column, Result, Row
from headrace.deployed import Deployed
from headrace.errors import HeadraceError, Unavailable, UsageError

DATABASE = "headrace"
WORKGROUP = "headrace"
POLL_S_FIRST, POLL_S_MAX = 0.02, 0.5
READ_ONLY_HEADER = "x-headrace-read-only"  # AWS ignores it; one machine refuses what writes


class Place(NamedTuple):
    """Which warehouse: a Redshift Serverless workgroup and a database in it. One machine has one, whatever they say."""

    workgroup: str = WORKGROUP
    database: str = DATABASE


class Warehouse:
    """Runs statements, one after the other."""

    def __init__(self, backend: Backend | Deployed, place: Place, *, writes: bool, timeout_s: float | None) -> None:
        self._backend = backend
        self._place = place
        self._timeout_s = timeout_s
        self._client = backend.client("redshift-data")
        if not writes:
            self._client.meta.events.register("before-sign.redshift-data.*", _mark_read_only)

    def run(self, sql: str, parameters: Mapping[str, str]) -> Result:
        """Run a statement and return what it gives. Raises HeadraceError; an interrupt cancels it."""
        asked: dict[str, Any] = {"WorkgroupName": self._place.workgroup, "Database": self._place.database, "Sql": sql}
        if parameters:
            if empty := next((name for name, value in parameters.items() if not value), None):
                raise UsageError(f"The parameter {empty!r} is empty, which the API refuses.", "Write '' into the SQL.")
            asked["Parameters"] = [{"name": name, "value": value} for name, value in parameters.items()]
        with self._backend.errors():
            statement = self._client.execute_statement(**asked)["Id"]
        try:
            found = self._finished(statement)
        except BaseException:
            self.cancel(statement)
            raise
        if not found.get("HasResultSet"):
            return Result((), (), has_rows=False, changed=found.get("ResultRows", -1))
        pages = self._pages(statement)
        first = next(pages)
        columns = [_column(each) for each in first["ColumnMetadata"]]
        return Result(columns, _rows(first, pages))

    def cancel(self, statement: str) -> None:
        """Ask for a statement's end; one that has ended, or a backend that is gone, is left alone."""
        try:
            with self._backend.errors():
                self._client.cancel_statement(Id=statement)
        except HeadraceError:
            return

    def tables(self) -> dict[str, list[str]]:
        """Return the tables and their columns, for completion; none where there is no warehouse."""
        sql = "SELECT table_name, column_name FROM svv_columns ORDER BY table_name, ordinal_position"
        found: dict[str, list[str]] = {}
        for table, column in self.run(sql, {}).rows:
            found.setdefault(str(table), []).append(str(column))
        return found

    def _finished(self, statement: str) -> Mapping[str, Any]:
        began, pause = clock.monotonic_s(), POLL_S_FIRST
        while True:
            with self._backend.errors():
                found: Mapping[str, Any] = self._client.describe_statement(Id=statement)
            if found["Status"] == "FINISHED":
                return found
            if found["Status"] in ("FAILED", "ABORTED"):
                raise _failure(found)
            if self._timeout_s is not None and clock.monotonic_s() - began > self._timeout_s:
                raise Unavailable(
                    f"The statement took longer than {self._timeout_s:g} seconds, and was cancelled.",
                    "Raise --timeout, or ask for less: a shorter time, fewer columns.",
                )
            clock.sleep(pause)
            pause = min(pause * 1.5, POLL_S_MAX)

    def _pages(self, statement: str) -> Iterator[Mapping[str, Any]]:
        token = None
        while True:
            with self._backend.errors():
                page = self._client.get_statement_result(Id=statement, **({"NextToken": token} if token else {}))
            yield page
            token = page.get("NextToken")
            if not token:
                return


def _mark_read_only(request: Any, **_: Any) -> None:
    request.headers[READ_ONLY_HEADER] = "1"


def _failure(found: Mapping[str, Any]) -> HeadraceError:
    text = str(found.get("Error") or f"The statement is {found['Status'].lower()}.").strip()
    problem, _, hint = text.partition("\n")
    return HeadraceError(problem, "\n".join(line.strip() for line in hint.splitlines()))


def _column(found: Mapping[str, Any]) -> Column:
    kind = str(found.get("typeName") or "varchar").lower()
    kind = ALIASES.get(kind, kind)
    if kind == "numeric" and found.get("precision"):
        kind = f"numeric({found['precision']},{found.get('scale', 0)})"
    return Column(str(found.get("label") or found.get("name") or "?column?"), kind)


def _rows(first: Mapping[str, Any], pages: Iterator[Mapping[str, Any]]) -> Iterator[Row]:
    yield from map(_row, first["Records"])
    for page in pages:
        yield from map(_row, page["Records"])


def _row(record: Sequence[Mapping[str, Any]]) -> Row:
    return [None if field.get("isNull") else next(iter(field.values()), None) for field in record]
