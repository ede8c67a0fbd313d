"""What the Data API answers of statements and listings, as AWS shapes it; tokens and errors. Pure."""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import Any

from headrace.warehouse.statements import FINISHED, Part, Statement
from headrace.wire import WireError

DESCRIBED_MAX = 1000
BAD_TOKEN = "The NextToken is none that was answered here."  # noqa: S105

Answer = dict[str, Any]


def common(statement: Statement) -> Answer:
    """Return what every description of a statement says."""
    told = {
        "Database": statement.database,
        "ResultFormat": statement.format,
        "RedshiftQueryId": statement.number,
        "RedshiftPid": statement.number,
        **place(statement),
    }
    return told | ({"SecretArn": statement.secret} if statement.secret else {})


def place(statement: Statement) -> Answer:
    """Return where a statement was sent to, and by whom."""
    told = {"ClusterIdentifier": statement.cluster, "WorkgroupName": statement.workgroup, "DbUser": statement.user}
    return {name: value for name, value in told.items() if value}


def part_of(statement: Statement, number: int, part: Part) -> Answer:
    """Return a part of a batch as SubStatements has it."""
    told = {
        "Id": f"{statement.id}:{number}",
        "Status": part.status,
        "CreatedAt": part.created_ms / 1000,
        "UpdatedAt": part.updated_ms / 1000,
        "QueryString": part.sql,
        "RedshiftQueryId": statement.number,
        **numbers(part),
    }
    return told | ({"Error": part.error} if part.error else {})


def numbers(part: Part) -> Answer:
    """Return how long a part took and what it gave."""
    return {
        "Duration": part.duration_ns,
        "HasResultSet": part.result is not None,
        "ResultRows": part.rows,
        "ResultSize": part.result.bytes if part.result is not None else 0 if part.status == FINISHED else -1,
    }


def listed(statement: Statement) -> Answer:
    """Return a statement as a listing has it."""
    told: Answer = {
        "Id": statement.id,
        "Status": statement.status,
        "StatementName": statement.name,
        "CreatedAt": statement.created_ms / 1000,
        "UpdatedAt": statement.updated_ms / 1000,
        "IsBatchStatement": statement.batch,
        "ResultFormat": statement.format,
    }
    if statement.batch:
        told["QueryStrings"] = [part.sql for part in statement.parts]
    else:
        told["QueryString"] = statement.parts[0].sql
    if statement.parameters:
        told["QueryParameters"] = [{"name": name, "value": each} for name, each in statement.parameters.items()]
    return told


def like(pattern: str | None) -> Callable[[str], bool]:
    """Return what says whether a name fits an SQL pattern: `%` is any text, `_` any character."""
    if not pattern:
        return lambda _: True
    expression = "".join({"%": ".*", "_": "."}.get(each, re.escape(each)) for each in pattern)
    matches = re.compile(expression, re.IGNORECASE | re.DOTALL).fullmatch
    return lambda name: matches(name) is not None


def paged(member: str, found: Sequence[Any], asked: dict[str, Any]) -> Answer:
    """Return a page of what was found; a token says how many came before it."""
    start = int(text_of(asked["NextToken"], r"\d{1,9}")) if asked.get("NextToken") else 0
    limit = asked.get("MaxResults") or DESCRIBED_MAX
    following = {"NextToken": token_of(str(start + limit))} if len(found) > start + limit else {}
    return {member: list(found[start : start + limit]), **following}


def token_of(text: str) -> str:
    """Return a NextToken."""
    return base64.urlsafe_b64encode(text.encode()).decode()


def text_of(token: str, pattern: str) -> str:
    """Return what a NextToken of ours says; raises WireError."""
    try:
        text = base64.urlsafe_b64decode(token.encode("ascii")).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    if re.fullmatch(pattern, text) is None:
        raise invalid(BAD_TOKEN)
    return text


def invalid(message: str) -> WireError:
    """Return the error for a request that AWS would not take."""
    return WireError("ValidationException", message)


class Missing(WireError):
    """There is no such statement or result: AWS says which as ResourceId."""

    def __init__(self, message: str, resource: str) -> None:
        super().__init__("ResourceNotFoundException", message)
        self.resource = resource


def missing(message: str, resource: str) -> WireError:
    """Return the error for a statement or result that is not there."""
    return Missing(message, resource)
