"""Redshift's types, and what follows from them: results of arithmetic, common types, conversions. Pure."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from headrace.errors import UsageError


class Refused(UsageError):
    """SQL that is not known to mean the same here as on Redshift, or that is wrong."""


class Type(NamedTuple):
    """A type by Redshift's name; precision and scale are of `numeric` alone."""

    name: str
    precision: int = 0
    scale: int = 0

    def __str__(self) -> str:
        return f"numeric({self.precision},{self.scale})" if self.name == "numeric" else self.name

    @property
    def duckdb(self) -> str:
        """The name of the same type in DuckDB."""
        return f"DECIMAL({self.precision},{self.scale})" if self.name == "numeric" else _DUCKDB[self.name]


SMALLINT, INTEGER, BIGINT = Type("smallint"), Type("integer"), Type("bigint")
REAL, DOUBLE, BOOLEAN = Type("real"), Type("double precision"), Type("boolean")
VARCHAR, DATE, TIMESTAMP = Type("character varying"), Type("date"), Type("timestamp without time zone")
UNKNOWN = Type("unknown")  # a text literal, or NULL: its surroundings say what it is
INTERVAL = Type("interval")

PRECISION_MAX = 38
INTEGERS = (SMALLINT, INTEGER, BIGINT)
FLOATS = (REAL, DOUBLE)
_DIGITS = {SMALLINT: 5, INTEGER: 10, BIGINT: 19}
_DUCKDB = {
    "smallint": "SMALLINT",
    "integer": "INTEGER",
    "bigint": "BIGINT",
    "real": "FLOAT",
    "double precision": "DOUBLE",
    "boolean": "BOOLEAN",
    "character varying": "VARCHAR",
    "date": "DATE",
    "timestamp without time zone": "TIMESTAMP",
    "unknown": "VARCHAR",
    "interval": "INTERVAL",
}
_COLUMNS = {
    "SMALLINT": SMALLINT,
    "INTEGER": INTEGER,
    "BIGINT": BIGINT,
    "FLOAT": REAL,
    "DOUBLE": DOUBLE,
    "DOUBLE PRECISION": DOUBLE,
    "BOOLEAN": BOOLEAN,
    "VARCHAR": VARCHAR,
    "DATE": DATE,
    "TIMESTAMP": TIMESTAMP,
}
_DECIMAL = re.compile(r"(?:DECIMAL|NUMERIC)\((\d+), ?(\d+)\)")


def of_column(duckdb: str) -> Type | None:
    """Return the type of a column that DuckDB describes so, or None for one that Redshift has no equal of."""
    name = duckdb.upper()
    if match := _DECIMAL.fullmatch(name):
        return Type("numeric", int(match[1]), int(match[2]))
    return _COLUMNS.get(re.sub(r"\(\d+\)$", "", name))


def numeric(precision: int, scale: int, what: str) -> Type:
    """Return a numeric type of at most 38 digits: a value that has more is an error, on Redshift and here."""
    if scale > PRECISION_MAX:
        raise Refused(
            f"{what} has {scale} decimals, and numeric at most 38.", "Cast to fewer: CAST(… AS DECIMAL(18, 4))."
        )
    return Type("numeric", min(precision, PRECISION_MAX), scale)


def is_number(kind: Type) -> bool:
    """Tell whether a type is one of numbers."""
    return kind in INTEGERS or kind in FLOATS or kind.name == "numeric"


def as_numeric(kind: Type) -> Type:
    """Return the numeric type that holds every value of an integer type."""
    return Type("numeric", _DIGITS[kind], 0) if kind in _DIGITS else kind


def arithmetic(operator: str, left: Type, right: Type) -> Type:
    """Return the type of `left operator right`, numbers both; operator is one of + - * /."""
    if left in INTEGERS and right in INTEGERS:
        return max(left, right, key=INTEGERS.index)
    if left in FLOATS or right in FLOATS:
        return REAL if left == right == REAL else DOUBLE
    (_, p1, s1), (_, p2, s2) = as_numeric(left), as_numeric(right)
    if operator == "*":
        return numeric(p1 + p2 + 1, s1 + s2, f"{left} * {right}")
    if operator == "/":
        raise Refused(
            f"{left} / {right}: how Redshift rounds the quotient of two numerics is not documented.",
            "Cast one side: CAST(… AS DOUBLE PRECISION).",
        )
    scale = max(s1, s2)
    return numeric(max(p1 - s1, p2 - s2) + 1 + scale, scale, f"{left} {operator} {right}")


def common(kinds: Iterable[Type], what: str) -> Type:
    """Return the type that values of several types have in one column, as UNION, CASE and COALESCE make it."""
    known = [kind for kind in kinds if kind != UNKNOWN]
    if not known:
        return UNKNOWN
    found = known[0]
    for kind in known[1:]:
        found = _common(found, kind, what)
    return found


def _common(left: Type, right: Type, what: str) -> Type:
    if left == right:
        return left
    if is_number(left) and is_number(right):
        if left in FLOATS or right in FLOATS:
            return DOUBLE
        if left in INTEGERS and right in INTEGERS:
            return max(left, right, key=INTEGERS.index)
        (_, p1, s1), (_, p2, s2) = as_numeric(left), as_numeric(right)
        return numeric(max(p1 - s1, p2 - s2) + max(s1, s2), max(s1, s2), f"{what} of {left} and {right}")
    if {left, right} == {DATE, TIMESTAMP}:
        return TIMESTAMP
    raise Refused(f"{what} mixes {left} and {right}.", "Cast them to one type: CAST(… AS …).")
