"""A piece of DuckDB's SQL with the type that it has on Redshift, and what Redshift converts by itself."""

import re
from typing import NamedTuple

from headrace.warehouse.redshift import types
from headrace.warehouse.redshift.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    INTEGERS,
    REAL,
    TIMESTAMP,
    UNKNOWN,
    VARCHAR,
    Refused,
    Type,
)


class Value(NamedTuple):
    """An expression. Its SQL stands for itself anywhere: it is in brackets where it needs them.

    `literal` is the content of a text literal, `number` the value of an integer literal; `is_null` says that it is
    NULL, `is_whole` that a number which is no integer by type has no decimals.
    """

    sql: str
    type: Type
    literal: str | None = None
    number: int | None = None
    is_null: bool = False
    is_whole: bool = False


NULL = Value("NULL", UNKNOWN, is_null=True)

_NUMBER = re.compile(r" *[+-]?(?:\d+(?:\.\d*)?|\.\d+) *")
_FLOAT = re.compile(r" *[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})? *")
_WHOLE = re.compile(r" *[+-]?\d+ *")
DATE_TEXT = r"\d{4}-\d{2}-\d{2}"
TIMESTAMP_TEXT = DATE_TEXT + r"(?:[ T]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?Z?)?"
TRUE_TEXTS = ("t", "true", "y", "yes", "1")
FALSE_TEXTS = ("f", "false", "n", "no", "0")


def text_sql(text: str) -> str:
    """Return a text literal of DuckDB."""
    if "\0" in text:
        raise Refused("A text holds a NUL character.", "Leave it out: Redshift keeps none.")
    return "'" + text.replace("'", "''") + "'"


def name_sql(name: str) -> str:
    """Return a quoted name of DuckDB."""
    return '"' + name.replace('"', '""') + '"'


def integer(number: int) -> Value:
    """Return an integer literal, of the smallest type from INTEGER on that holds it."""
    if -(2**31) < number < 2**31:  # -2147483648 is the negative of a BIGINT
        return Value(str(number), INTEGER, number=number)
    if -(2**63) <= number < 2**63:
        return Value(f"CAST({number} AS BIGINT)", BIGINT, number=number)
    digits = len(str(abs(number)))
    kind = types.numeric(digits, 0, "A number") if digits <= types.PRECISION_MAX else None
    if kind is None:
        raise Refused(f"The number {number} has more than 38 digits.", "Write it as DOUBLE PRECISION: CAST('…' AS …).")
    return Value(f"CAST({number} AS {kind.duckdb})", kind)


def text(content: str) -> Value:
    """Return a text literal, whose type is not known yet."""
    return Value(text_sql(content), UNKNOWN, literal=content)


def cast(value: Value, kind: Type) -> Value:
    """Return a value converted by DuckDB, where that is known to be right."""
    return value if value.type == kind else Value(f"CAST({value.sql} AS {kind.duckdb})", kind)


def as_type(value: Value, kind: Type, what: str) -> Value:
    """Return a value as Redshift converts it by itself to a type; refuses what it doesn't, or not as DuckDB does."""
    if value.is_null:
        return Value(f"CAST(NULL AS {kind.duckdb})", kind, is_null=True)
    if value.literal is not None and value.type == UNKNOWN:
        return literal_as(value.literal, kind, what)
    if value.type == kind:
        return value
    if types.is_number(value.type) and types.is_number(kind):
        widens = kind in types.FLOATS or (
            types.common((value.type, kind), what) == kind if value.type not in types.FLOATS else False
        )
        if widens:
            return Value(f"CAST({value.sql} AS {kind.duckdb})", kind)
    if (value.type, kind) == (DATE, TIMESTAMP):
        return cast(value, TIMESTAMP)
    raise Refused(f"{what}: a value of type {value.type} stands where {kind} is needed.", f"Write CAST(… AS {kind}).")


def literal_as(content: str, kind: Type, what: str) -> Value:
    """Return a text literal read as a type, in the one spelling that every engine reads alike."""
    if kind in (VARCHAR, UNKNOWN):
        return Value(text_sql(content), VARCHAR, literal=content)
    if kind in INTEGERS and _WHOLE.fullmatch(content):
        return Value(f"CAST({int(content)} AS {kind.duckdb})", kind, number=int(content))
    if kind.name == "numeric" and _NUMBER.fullmatch(content):
        return Value(f"CAST({text_sql(content.strip())} AS {kind.duckdb})", kind)
    if kind in (REAL, DOUBLE) and _FLOAT.fullmatch(content):
        return Value(f"CAST({text_sql(content.strip())} AS {kind.duckdb})", kind)
    if kind == BOOLEAN and content.strip().lower() in TRUE_TEXTS + FALSE_TEXTS:
        return Value(str(content.strip().lower() in TRUE_TEXTS).upper(), BOOLEAN)
    if kind == DATE and re.fullmatch(DATE_TEXT, content):
        return Value(f"CAST('{content}' AS DATE)", DATE)
    if kind == TIMESTAMP and re.fullmatch(TIMESTAMP_TEXT, content):
        return Value(f"CAST('{content.replace('T', ' ').removesuffix('Z')}' AS TIMESTAMP)", TIMESTAMP)
    hints = {
        DATE: "Write it as '2026-01-31'.",
        TIMESTAMP: "Write it as '2026-01-31 23:59:59'; times are UTC, without an offset.",
        BOOLEAN: "Write TRUE or FALSE.",
    }
    raise Refused(f"{what}: {content[:60]!r} is no {kind} here.", hints.get(kind, f"Write a number: {kind}."))


def as_text(value: Value, what: str) -> Value:
    """Return a value that is text, or refuse it."""
    return as_type(value, VARCHAR, what)


def as_double(value: Value, what: str) -> Value:
    """Return a number as DOUBLE PRECISION, or refuse it."""
    return as_type(value, DOUBLE, what)


def as_integer(value: Value, what: str) -> Value:
    """Return a value that is an integer of at most 64 bits, or refuse it."""
    if value.type in INTEGERS:
        return value
    return as_type(value, INTEGER, what)


def failing(condition: str, message: str, otherwise: str) -> str:
    """Return SQL that is an error where a condition holds: DuckDB would go on with another value than Redshift."""
    return f"CASE WHEN {condition} THEN error({text_sql(message)}) ELSE {otherwise} END"
