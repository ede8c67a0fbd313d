"""Arithmetic and comparisons of two values, with the types and the errors that Redshift has. Pure."""

import re
from collections.abc import Iterable
from typing import Any

from headrace.warehouse.redshift import types
from headrace.warehouse.redshift.types import FLOATS, INTEGER, INTEGERS, VARCHAR, Refused
from headrace.warehouse.redshift.values import NULL, Value, as_type, failing, text_sql

COMPARISONS = {"EQ": "=", "NEQ": "<>", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}


def check_brackets(*nodes: Any) -> None:
    """Refuse a condition as a part of a comparison: which of them binds first is not the same in all engines."""
    if any(type(node).__name__ in _CONDITIONS for node in nodes):
        raise Refused(
            "A condition stands beside a comparison without brackets.", "Write (a = b) IS NULL, a = (b IS NULL)."
        )


def check_written(left: Value, right: Value) -> None:
    """Refuse two written texts where blanks decide: Redshift's leader node compares them, for which blanks count."""
    literals = (left.literal, right.literal)
    if None not in literals and any(str(literal).endswith(" ") for literal in literals):
        raise Refused("Two texts that are written out are compared, and one ends in a blank.", "Leave the blanks out.")


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
    if is_column(value.sql):  # RTRIM takes several times as long as a look at the end
        return f"CASE WHEN {ends_blank(value.sql)} THEN rtrim({value.sql}, ' ') ELSE {value.sql} END"
    return f"rtrim({value.sql}, ' ')"


def sorted_by(value: Value) -> str:
    """Return what sorts as a value does on Redshift."""
    return trimmed(value) if value.type == VARCHAR and value.literal is None else value.sql


def ends_blank(sql: str) -> str:
    """Return whether a text ends in a blank."""
    return f"suffix({sql}, ' ')"


def unblanked(value: Value, what: str) -> Value:
    """Return a value that is told from others: a text that ends in a blank is an error."""
    return value._replace(sql=without_blanks([value], what, value.sql))


def without_blanks(values: Iterable[Value], what: str, otherwise: str) -> str:
    """Return SQL that is an error where one of some values is a text that ends in a blank.

    Redshift takes texts for equal that differ in such blanks alone; which of them stands for all is not documented.
    """
    ends = dict.fromkeys(ends_blank(each.sql) for each in values if each.type == VARCHAR and each.literal is None)
    return f"({failing(' OR '.join(ends), blank_problem(what), otherwise)})" if ends else otherwise


def blank_problem(what: str) -> str:
    """Return what is said where a text ends in a blank that must not."""
    return f"{what} of a text that ends in a blank: which of its spellings Redshift takes is open. Use RTRIM(x)."
