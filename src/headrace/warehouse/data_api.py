"""The Redshift Data API's operations over the executor, as its JSON 1.1 protocol has them.

One operation, one short method. What a request must look like is data: botocore's model. There is one warehouse, so
every workgroup and cluster is it; statements remember which one they were sent to.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import cached_property
from typing import Any
from uuid import uuid4

import msgspec

from headrace import clock, shapes
from headrace.errors import NotFound
from headrace.warehouse import fields, tables
from headrace.warehouse.answers import (
    BAD_TOKEN,
    Answer,
    common,
    invalid,
    like,
    listed,
    missing,
    numbers,
    paged,
    part_of,
    place,
    text_of,
    token_of,
)
from headrace.warehouse.dialect import SQL_BYTES_MAX
from headrace.warehouse.engine import Engine
from headrace.warehouse.executor import Executor, Schema
from headrace.warehouse.results import CSV, JSON, Result, Results
from headrace.warehouse.statements import FINISHED, Part, Statement, Statements, Wanted
from headrace.wire import WireError

ACTIVE_MAX = 500
LISTED_MAX = 100
REQUEST_VALUES_MAX = 20 * SQL_BYTES_MAX  # 40 statements, and each second byte a comma: see shapes.py
POLL_S = 0.01
_NOWHERE = "Either ClusterIdentifier or WorkgroupName must be specified."
_SESSIONS = ("SessionId", "SessionKeepAliveSeconds")

Operation = Callable[[dict[str, Any], bool], Coroutine[Any, Any, Answer]]


class DataApi:
    """Answers operations: JSON in, JSON out."""

    def __init__(
        self,
        engine: Engine,
        executor: Executor,
        statements: Statements,
        results: Results,
        now_ms: Callable[[], int] = clock.now_ms,
    ) -> None:
        self._engine = engine
        self._executor = executor
        self._statements = statements
        self._results = results
        self._now_ms = now_ms
        self._operations: dict[str, Operation] = {
            "BatchExecuteStatement": self._batch_execute,
            "CancelStatement": self._cancel,
            "DescribeStatement": self._describe,
            "DescribeTable": self._describe_table,
            "ExecuteStatement": self._execute,
            "GetStatementResult": self._get_result,
            "GetStatementResultV2": self._get_result_v2,
            "ListDatabases": self._list_databases,
            "ListSchemas": self._list_schemas,
            "ListStatements": self._list_statements,
            "ListTables": self._list_tables,
        }

    async def answer(self, operation: str, body: bytes, *, read_only: bool = False) -> bytes:
        """Answer an operation; raises WireError."""
        run = self._operations.get(operation)
        if run is None:
            if operation in self._model.operations:
                raise WireError("UnknownOperationException", f"{operation} is not built yet.", 501)
            raise WireError("UnknownOperationException", f"The Redshift Data API has no operation {operation!r}.")
        asked = self._model.parse(operation, body or b"{}")
        for name in _SESSIONS:
            if name in asked:
                raise invalid(f"{name} is not built yet: each statement here is a session of its own. Leave it out.")
        return msgspec.json.encode(await run(asked, read_only))

    @cached_property
    def _model(self) -> shapes.Service:
        return shapes.Service("redshift-data", tuple(self._operations), values_max=REQUEST_VALUES_MAX)

    # --- statements ---------------------------------------------------------------------------------------------------

    async def _execute(self, asked: dict[str, Any], read_only: bool) -> Answer:
        return await self._submit(asked, [asked["Sql"]], read_only)

    async def _batch_execute(self, asked: dict[str, Any], read_only: bool) -> Answer:
        return await self._submit(asked, asked["Sqls"], read_only, batch=True)

    async def _submit(self, asked: dict[str, Any], sqls: list[str], read_only: bool, *, batch: bool = False) -> Answer:
        _check_place(asked)
        for sql in sqls:
            if len(sql.encode()) > SQL_BYTES_MAX:
                raise invalid(f"Query length exceeds the limit of {SQL_BYTES_MAX:,} bytes.")
            if not sql.strip():
                raise invalid("The Sql is empty.")
        parameters = _parameters(asked.get("Parameters", ()))
        if self._executor.active() >= ACTIVE_MAX:
            raise WireError(
                "ActiveStatementsExceededException",
                f"The number of active statements exceeds the limit of {ACTIVE_MAX}: wait for some to finish.",
            )
        now_ms = self._now_ms()
        statement = Statement(
            id=str(uuid4()),
            created_ms=now_ms,
            updated_ms=now_ms,
            parts=[Part(sql, created_ms=now_ms, updated_ms=now_ms) for sql in sqls],
            batch=batch,
            name=asked.get("StatementName", ""),
            database=asked.get("Database", tables.DATABASE),
            workgroup=asked.get("WorkgroupName", ""),
            cluster=asked.get("ClusterIdentifier", ""),
            user=asked.get("DbUser", ""),
            secret=asked.get("SecretArn", ""),
            parameters=parameters,
            format=asked.get("ResultFormat", JSON),
            mode=asked.get("ExecutionMode", ""),
            token=asked.get("ClientToken"),
            read_only=read_only,
        )
        _check_database(statement.database)
        kept = await asyncio.to_thread(self._executor.submit, statement)
        if [part.sql for part in kept.parts] != sqls:
            raise invalid("The ClientToken was used for another statement before: give each its own.")
        kept = await self._wait(kept.id, asked.get("WaitTimeSeconds", 0))
        waited = {"Status": kept.status} if "WaitTimeSeconds" in asked else {}
        return {"Id": kept.id, "CreatedAt": kept.created_ms / 1000, "Database": kept.database, **waited, **place(kept)}

    async def _wait(self, statement_id: str, seconds: float) -> Statement:
        """Return the statement once it has ended, or when the time is over."""
        deadline_s = clock.monotonic_s() + seconds
        while self._executor.is_active(statement_id) and clock.monotonic_s() < deadline_s:
            await asyncio.sleep(POLL_S)
        return self._executor.get(statement_id)

    async def _describe(self, asked: dict[str, Any], _: bool) -> Answer:
        statement, part = await self._found(asked)
        if part is not None:
            return {**part_of(statement, statement.parts.index(part) + 1, part), **common(statement)}
        told = {
            "Id": statement.id,
            "Status": statement.status,
            "CreatedAt": statement.created_ms / 1000,
            "UpdatedAt": statement.updated_ms / 1000,
            "Duration": statement.duration_ns,
            "HasResultSet": any(part.result is not None for part in statement.parts),
            "ResultRows": -1,
            "ResultSize": -1,
            **common(statement),
        }
        if statement.error:
            told["Error"] = statement.error
        if statement.parameters:
            told["QueryParameters"] = [{"name": name, "value": each} for name, each in statement.parameters.items()]
        if statement.batch:
            told["SubStatements"] = [part_of(statement, n, part) for n, part in enumerate(statement.parts, 1)]
            told["ExecutionMode"] = statement.mode or "TRANSACTION"
        else:
            told |= numbers(statement.parts[0]) | {"QueryString": statement.parts[0].sql}
        return told

    async def _cancel(self, asked: dict[str, Any], _: bool) -> Answer:
        statement, part = await self._found(asked)
        if part is not None:
            raise invalid("A part of a batch can't be cancelled: cancel the batch.")
        if not self._executor.cancel(statement.id):
            status = self._executor.get(statement.id).status
            raise invalid(f"Could not cancel a query that is already in {status} state with ID: {statement.id}")
        await self._wait(statement.id, 2.0)
        return {"Status": True}

    async def _list_statements(self, asked: dict[str, Any], _: bool) -> Answer:
        if "ClusterIdentifier" in asked and "WorkgroupName" in asked:
            raise invalid("Only one of ClusterIdentifier and WorkgroupName can be specified.")
        status = asked.get("Status", FINISHED)
        place = (
            f"cluster:{asked['ClusterIdentifier']}"
            if "ClusterIdentifier" in asked
            else f"workgroup:{asked['WorkgroupName']}"
            if "WorkgroupName" in asked
            else ""
        )
        wanted = Wanted(
            asked.get("StatementName", ""), "" if status == "ALL" else status, asked.get("Database", ""), place
        )
        before = int(text_of(asked["NextToken"], r"\d{1,18}")) if asked.get("NextToken") else None
        limit = asked.get("MaxResults") or LISTED_MAX
        found = await asyncio.to_thread(self._statements.listed, wanted, before, limit + 1)
        page = found[:limit]
        following = {"NextToken": token_of(str(page[-1].number))} if len(found) > limit else {}
        return {"Statements": [listed(statement) for statement in page], **following}

    # --- results ------------------------------------------------------------------------------------------------------

    async def _get_result(self, asked: dict[str, Any], _: bool) -> Answer:
        told, result = await self._page(asked)
        if result.format != JSON:
            raise invalid("The result is in CSV: get it with GetStatementResultV2.")
        return told

    async def _get_result_v2(self, asked: dict[str, Any], _: bool) -> Answer:
        told, result = await self._page(asked)
        if result.format != CSV:
            raise invalid("The result is in JSON: get it with GetStatementResult, or run it with ResultFormat CSV.")
        return {**told, "ResultFormat": CSV}

    async def _page(self, asked: dict[str, Any]) -> tuple[Answer, Result]:
        statement, part = await self._found(asked)
        name = asked["Id"]
        if part is None:
            if statement.batch and statement.status == FINISHED:
                raise invalid(f"{statement.id} is a batch: name one of its statements, such as {statement.id}:1.")
            part = statement.parts[0]
        status = statement.status if not statement.batch or statement.status == FINISHED else part.status
        if status != FINISHED:
            raise missing(
                f"Query does not have result. Please check query status with DescribeStatement: {status}.", name
            )
        result = part.result
        if result is None:
            raise missing("Query does not have result. Please check query status with DescribeStatement.", name)
        number = int(text_of(asked["NextToken"], r"\d{1,9}")) if asked.get("NextToken") else 0
        if number and number >= len(result.pages):
            raise invalid(BAD_TOKEN)
        try:
            records = await asyncio.to_thread(self._results.page, name, result, number)
        except NotFound as error:
            raise missing(str(error).replace("\n  ", " "), name) from None
        told: Answer = {
            "Records": msgspec.Raw(records),
            "ColumnMetadata": [each.metadata() for each in result.columns],
            "TotalNumRows": result.rows,
        }
        if number + 1 < len(result.pages):
            told["NextToken"] = token_of(str(number + 1))
        return told, result

    async def _found(self, asked: dict[str, Any]) -> tuple[Statement, Part | None]:
        """Return the statement of an id, and of a batch the part that it names."""
        statement_id, _, number = asked["Id"].partition(":")
        try:
            statement = await self._wait(statement_id, asked.get("WaitTimeSeconds", 0))
        except NotFound:
            raise missing("Query does not exist.", asked["Id"]) from None
        if not number:
            return statement, None
        if not statement.batch or not 1 <= int(number) <= len(statement.parts):
            raise missing("Query does not exist.", asked["Id"])
        return statement, statement.parts[int(number) - 1]

    # --- what there is ------------------------------------------------------------------------------------------------

    async def _list_databases(self, asked: dict[str, Any], _: bool) -> Answer:
        _check_place(asked)
        return paged("Databases", [tables.DATABASE], asked)

    async def _list_schemas(self, asked: dict[str, Any], _: bool) -> Answer:
        _check_place(asked)
        _check_databases(asked)
        return paged("Schemas", list(filter(like(asked.get("SchemaPattern")), [tables.SCHEMA])), asked)

    async def _list_tables(self, asked: dict[str, Any], _: bool) -> Answer:
        _check_place(asked)
        _check_databases(asked)
        kinds = await asyncio.to_thread(self._engine.kinds)
        fits, fits_schema = like(asked.get("TablePattern")), like(asked.get("SchemaPattern"))
        found = [
            {"name": name, "schema": tables.SCHEMA, "type": kind}
            for name, kind in sorted(kinds.items())
            if fits(name) and fits_schema(tables.SCHEMA)
        ]
        return paged("Tables", found, asked)

    async def _describe_table(self, asked: dict[str, Any], _: bool) -> Answer:
        _check_place(asked)
        _check_databases(asked)
        schema = await asyncio.to_thread(self._engine.schema)
        if asked.get("Schema", tables.SCHEMA).lower() != tables.SCHEMA:
            schema = {}
        if not asked.get("Table"):  # then of all
            return paged("ColumnList", [each for table in sorted(schema) for each in _described(table, schema)], asked)
        table = asked["Table"].lower()
        if table not in schema:
            return {"TableName": asked["Table"], "ColumnList": []}  # as AWS answers
        return {"TableName": table, **paged("ColumnList", _described(table, schema), asked)}


def _described(table: str, schema: Schema) -> list[Answer]:
    required = _required(table)
    return [
        fields.column(name, kind).metadata(table, nullable=0 if name in required else 1)
        for name, kind in schema[table].items()
    ]


def _required(table: str) -> frozenset[str]:
    found = tables.tables().get(table)
    return frozenset(each.name for each in found.columns if each.required) if found else frozenset()


def _check_place(asked: dict[str, Any]) -> None:
    if "ClusterIdentifier" not in asked and "WorkgroupName" not in asked:
        raise invalid(_NOWHERE)
    if "ClusterIdentifier" in asked and "WorkgroupName" in asked:
        raise invalid("Only one of ClusterIdentifier and WorkgroupName can be specified.")


def _check_database(name: str) -> None:
    if name != tables.DATABASE:
        raise invalid(f'FATAL: database "{name}" does not exist. There is one: {tables.DATABASE}.')


def _check_databases(asked: dict[str, Any]) -> None:
    _check_database(asked.get("Database", tables.DATABASE))
    _check_database(asked.get("ConnectedDatabase", tables.DATABASE))


def _parameters(given: Sequence[dict[str, str]]) -> dict[str, str]:
    found = {each["name"]: each["value"] for each in given}
    if len(found) < len(given):
        raise invalid("Two Parameters have the same name.")
    return found
