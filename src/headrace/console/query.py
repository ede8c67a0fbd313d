"""SQL over the warehouse's wire, the Redshift Data API: a statement is begun, waited for, and its rows are read."""

import asyncio
import contextlib
from typing import Any, NamedTuple

from headrace.console.backend import REDSHIFT_DATA, Backend
from headrace.errors import HeadraceError

ROWS_MAX = 1000  # read of a result
WAIT_S = (0.05, 1.0)  # first and longest, between looks
_WHERE = {"WorkgroupName": "headrace", "Database": "headrace"}

Value = str | int | float | bool | None


class Result(NamedTuple):
    """What a statement gave: its columns as (name, type), the first rows, how many there are, and how long it took."""

    columns: list[tuple[str, str]]
    rows: list[list[Value]]
    total: int
    took_ms: float


class Query:
    """One statement at a time; `cancel` ends the one under way."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._id: str | None = None
        self._is_unwanted = False  # cancelled, maybe before its id is known

    async def run(self, sql: str) -> Result:
        """Return what a statement gives; raises HeadraceError with what is wrong with it."""
        self._is_unwanted = False
        self._id = (await self._call("ExecuteStatement", Sql=sql, **_WHERE))["Id"]
        try:
            if self._is_unwanted:
                await self.cancel()
            described = await self._ended(self._id)
            if not described.get("HasResultSet"):
                return Result([], [], 0, described.get("Duration", 0) / 1e6)
            return await self._rows(self._id, described)
        finally:
            self._id = None

    async def cancel(self) -> None:
        """End the statement under way, if there is one."""
        self._is_unwanted = True
        if self._id is not None:
            with contextlib.suppress(HeadraceError):  # it has ended meanwhile
                await self._call("CancelStatement", Id=self._id)

    async def _ended(self, statement: str) -> dict[str, Any]:
        pause_s = WAIT_S[0]
        while True:
            described: dict[str, Any] = await self._call("DescribeStatement", Id=statement)
            match described["Status"]:
                case "FINISHED":
                    return described
                case "FAILED":
                    raise HeadraceError(described.get("Error") or "The statement failed.")
                case "ABORTED":
                    raise HeadraceError("The statement was cancelled.")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, WAIT_S[1])

    async def _rows(self, statement: str, described: dict[str, Any]) -> Result:
        columns: list[tuple[str, str]] = []
        rows: list[list[Value]] = []
        token: dict[str, str] = {}
        while True:
            answer = await self._call("GetStatementResult", Id=statement, **token)
            columns = columns or [(each["name"], each["typeName"]) for each in answer["ColumnMetadata"]]
            rows += [[value_of(field) for field in record] for record in answer["Records"]]
            if len(rows) >= ROWS_MAX or not answer.get("NextToken"):
                break
            token = {"NextToken": answer["NextToken"]}
        took_ms = described.get("Duration", 0) / 1e6
        return Result(columns, rows[:ROWS_MAX], described.get("ResultRows", len(rows)), took_ms)

    async def _call(self, operation: str, **parameters: object) -> Any:
        return await self._backend.call(REDSHIFT_DATA, operation, **parameters)


def value_of(field: dict[str, Any]) -> Value:
    """Return a field's value: `{"longValue": 3}` is 3."""
    if field.get("isNull"):
        return None
    (value,) = field.values()
    return value if isinstance(value, str | int | float | bool) else str(value)
