"""Arithmetic and comparisons of two values, with the types and the errors that Redshift has. Pure."""

import re
from typing import Any

from headrace.warehouse.redshift import types
from headrace.warehouse.redshift.types import FLOATS, INTEGER, INTEGERS, Refused
from headrace.warehouse.redshift.values import NULL, Value, as_type, failing, text_sql

COMPARISONS = {"EQ": "=", "NEQ": "<>", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}


def check_brackets(*nodes: Any) -> None:
    """Refuse a condition as a part of a comparison: which of them binds first is not the same in all engines."""
    if any(type(node).__name__ in _CONDITIONS for node in nodes):
        raise Refused(
            "A condition stands beside a comparison without brackets.", "Write (a = b) IS NULL, a = (b IS NULL)."
        )


def number_sql(left: Value, operator: str, right: Value) -> Value:
    """Return arithmetic on two numbers, with Redshift's types; a division by zero is an error, as there."""
    if left.is_null or right.is_null:
        other = right if left.is_null else left
        kind = other.type if types.is_number(other.type) else INTEGER
        return as_type(NULL, kind, operator)
    if operator == "%":
        return _remainder(left, right)
    kind = types.arithmetic(operator, left.type, right.type)
    if kind in INTEGERS or kind in FLOATS:
        left, right = as_type(left, kind, operator), as_type(right, kind, operator)
    symbol = "//" if operator == "/" and kind in INTEGERS else operator
    sql = f"({left.sql} {symbol} {right.sql})"
    if operator == "/" and not right.number:
        sql = f"({failing(f'{right.sql} = 0', 'Division by zero.', sql)})"
    if kind.name == "numeric":
        sql = f"CAST({sql} AS {kind.duckdb})"
    return Value(sql, kind, is_whole=left.is_whole and right.is_whole and operator != "/")


def _remainder(left: Value, right: Value) -> Value:
    if left.type not in INTEGERS or right.type not in INTEGERS:
        raise Refused("% and MOD take integers.", "Cast both: CAST(TRUNC(x) AS BIGINT).")
    kind = max(left.type, right.type, key=INTEGERS.index)
    sql = f"({as_type(left, kind, '%').sql} % {as_type(right, kind, '%').sql})"
    return Value(sql if right.number else f"({failing(f'{right.sql} = 0', 'Division by zero.', sql)})", kind)


_CONDITIONS = frozenset((*COMPARISONS, "Is", "In", "Between", "Like", "Escape", "RegexpLike", "SimilarTo", "Not"))
_COLUMN = re.compile(r'"(?:[^"]|"")*"\."(?:[^"]|"")*"')


def is_column(sql: str) -> bool:
    """Tell whether SQL is a column's name and nothing else."""
    return _COLUMN.fullmatch(sql) is not None


def equals(column: str, literals: list[Value]) -> str:
    """Return that a column of texts is one of some literals, but for blanks at its end.

    Between the least and the greatest lie all that can be equal (`!` follows the blank): other files are skipped.
    """
    texts = sorted({str(value.literal).rstrip(" ") for value in literals}, key=str.encode)
    listed = ", ".join(map(text_sql, texts))
    last = text_sql(texts[-1] + "!")
    return f"({column} >= {text_sql(texts[0])} AND {column} < {last} AND rtrim({column}, ' ') IN ({listed}))"


def trimmed(value: Value) -> str:
    """Return text without the blanks at its end, which do not count when Redshift compares."""
    if value.literal is not None:
        return text_sql(value.literal.rstrip(" "))
    return f"rtrim({value.sql}, ' ')"
