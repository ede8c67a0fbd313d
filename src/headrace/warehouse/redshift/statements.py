"""Statements: which there are, what they do, and to what."""

from collections.abc import Mapping
from typing import Any

from headrace.warehouse.dialect import Column, Statement
from headrace.warehouse.redshift import calls, parsing, transfers, writes
from headrace.warehouse.redshift.names import Context, Output, Schema
from headrace.warehouse.redshift.queries import Queries
from headrace.warehouse.redshift.types import VARCHAR, Refused

_SESSION = {
    "BEGIN": "BEGIN", "START": "BEGIN", "COMMIT": "COMMIT", "END": "COMMIT", "ROLLBACK": "ROLLBACK",
    "ABORT": "ROLLBACK",
}  # fmt: skip
_QUERIES = ("SELECT", "WITH", "(")
_WRITES = ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "CREATE", "DROP")
_INSTEAD = {
    "EXPLAIN": "the query itself",
    "SHOW": "SELECT * FROM svv_tables, or svv_columns",
    "VACUUM": "Leave it out: nothing needs it here.",
    "ANALYZE": "Leave it out: nothing needs it here.",
    "MERGE": "DELETE and INSERT in one call of BatchExecuteStatement",
    "ALTER": "CREATE TABLE … AS SELECT …",
    "VALUES": "SELECT … UNION ALL SELECT …",
    "CALL": "the statements themselves",
    "PREPARE": "parameters, as :name",
    "DECLARE": "pages of the result",
}
STATEMENTS_MAX = 40


def translate(sql: str, schema: Schema, parameters: Mapping[str, str]) -> list[Statement]:
    """Translate all the statements of a text."""
    parts = parsing.statements(parsing.tokens(sql))
    if not parts:
        raise Refused("The SQL holds no statement.", "Write one, such as SELECT count(*) FROM events.")
    if len(parts) > STATEMENTS_MAX:
        raise Refused(
            f"There are {len(parts)} statements, and {STATEMENTS_MAX} at most.", "Send them in several calls."
        )
    used: set[str] = set()
    found = [_statement(part, sql, Context(schema, parameters, set(), used)) for part in parts]
    if unused := sorted(set(parameters) - used):
        raise Refused(f"The parameter :{unused[0]} is not in the SQL.", "Give those alone that the SQL names.")
    return found


def _statement(tokens: list[Any], sql: str, context: Context) -> Statement:
    word = tokens[0].text.upper()
    try:
        if word in _QUERIES:
            return _query(parsing.parse(tokens, sql), context)
        if word in _WRITES:
            return writes.statement(word, tokens, sql, context)
        if word == "COPY":
            return Statement(
                "copy", "COPY", target=(copy := transfers.copy(tokens, sql, context.schema)).table, copy=copy
            )
        if word == "UNLOAD":
            return _unload(tokens, sql, context)
    except RecursionError:
        raise Refused("The SQL is nested too deeply.", "Use WITH for the inner queries.") from None
    if word in _SESSION:
        return Statement("session", _session(word, tokens))
    if word == "SET":
        return Statement("session", "SET") if _is_harmless(tokens) else _refuse("This SET", "the settings as they are")
    return _refuse(word, _INSTEAD.get(word, "SELECT, INSERT, UPDATE, DELETE, CREATE TABLE, COPY or UNLOAD"))


def _refuse(what: str, instead: str) -> Statement:
    raise Refused(f"{what} is not supported.", calls.hint(instead))


def _query(tree: Any, context: Context) -> Statement:
    if tree.args.get("into") is not None:
        return writes.select_into(tree, context)
    query = Queries(context).query(tree)
    return Statement("query", "SELECT", query.sql, columns(query.columns), tuple(sorted(context.tables)))


def columns(outputs: list[Output]) -> tuple[Column, ...]:
    """Return a query's columns as results describe them."""
    return tuple(Column(output.name, str(output.type or VARCHAR)) for output in outputs)


def _unload(tokens: list[Any], sql: str, context: Context) -> Statement:
    unload = transfers.unload(tokens, sql)
    inner = parsing.statements(parsing.tokens(unload.query))
    if len(inner) != 1 or inner[0][0].text.upper() not in _QUERIES:
        raise Refused("UNLOAD takes one SELECT.", "Write UNLOAD ('SELECT …') TO 's3://…'.")
    found = _query(parsing.parse(inner[0], unload.query), context)
    if found.kind != "query":
        raise Refused("UNLOAD takes a query that writes nothing.", "Leave INTO out.")
    return Statement("unload", "UNLOAD", found.sql, found.columns, found.tables, unload=unload)


def _session(word: str, tokens: list[Any]) -> str:
    rest = [token.text.upper() for token in tokens[1:]]
    if not set(rest) <= {
        "TRANSACTION",
        "WORK",
        "READ",
        "ONLY",
        "WRITE",
        "ISOLATION",
        "LEVEL",
        "SERIALIZABLE",
        "SNAPSHOT",
    }:
        raise Refused(f"{word} {' '.join(rest)} is not supported.", f"Write {word}.")
    return _SESSION[word]


def _is_harmless(tokens: list[Any]) -> bool:
    """Tell whether a SET says nothing that changes an answer here: who asks, and how long it may take."""
    name = tokens[1].text.lower() if len(tokens) > 1 else ""
    value = tokens[-1].text.lower()
    if name in ("query_group", "statement_timeout", "application_name", "client_encoding", "extra_float_digits"):
        return True
    return (name, value) in (("timezone", "utc"), ("search_path", "public"), ("datestyle", "iso"))
