"""Expressions: each node of the tree that is known becomes DuckDB's SQL with its type; any other is refused by name."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from headrace.warehouse.redshift import casts, dates, types
from headrace.warehouse.redshift.operators import (
    COMPARISONS,
    check_brackets,
    check_written,
    equals,
    is_column,
    number_sql,
    trimmed,
)
from headrace.warehouse.redshift.patterns import like_sql, regular_expression, similar
from headrace.warehouse.redshift.types import (
    BOOLEAN,
    DATE,
    INTERVAL,
    TIMESTAMP,
    UNKNOWN,
    VARCHAR,
    Refused,
    Type,
)
from headrace.warehouse.redshift.values import (
    NULL,
    Value,
    as_text,
    as_type,
    cast,
    integer,
    text,
    text_sql,
)

SQL_SIZE_MAX = 200_000
_INSTEAD = {
    "Bracket": "JSON_EXTRACT_PATH_TEXT(column, 'name') or JSON_EXTRACT_ARRAY_ELEMENT_TEXT(column, 0)",
    "Dot": "JSON_EXTRACT_PATH_TEXT(column, 'name')",
    "Pow": "POWER(a, b)",
    "Sqrt": "SQRT(x)",
    "Cbrt": "POWER(x, 1.0 / 3)",
    "Filter": "CASE WHEN … THEN … END inside the aggregate",
    "AtTimeZone": "CONVERT_TIMEZONE('UTC', 'Europe/Berlin', t)",
    "Any": "IN (SELECT …), or EXISTS",
    "All": "NOT EXISTS (SELECT …)",
    "ILike": "LOWER(x) LIKE LOWER(pattern)",
    "Concat": "one text, or a || b",
    "Parameter": ":name",
    "Tuple": "the columns one by one, with AND; to count rows, SELECT COUNT(*) FROM (SELECT DISTINCT …) AS t",
    "TryCast": "CASE WHEN … THEN CAST(…) END",
    "Glob": "LIKE",
    "JSONExtract": "JSON_EXTRACT_PATH_TEXT(column, 'name')",
    "Lambda": "columns and functions",
    "BitwiseAnd": "MOD and division",
    "BitwiseOr": "addition",
    "BitwiseXor": "CASE",
}
_OPERATORS = {
    "Pow": "^", "Sqrt": "|/", "Cbrt": "||/", "Filter": "FILTER", "AtTimeZone": "AT TIME ZONE",
    "Any": "ANY", "All": "ALL",
    "Bracket": "[…]", "Dot": "navigation into a value", "Concat": "a text after a text", "Tuple": "a row of values",
    "ILike": "ILIKE", "BitwiseAnd": "&", "BitwiseOr": "|", "BitwiseXor": "#", "JSONExtract": "->",
}  # fmt: skip


def _is_random(node: Any) -> bool:
    return type(node).__name__ == "Anonymous" and node.name.lower() == "random"


class Names(Protocol):
    """What an expression's names mean: the columns in reach, and the functions and queries that may stand there."""

    def column(self, node: Any) -> Value:
        """Return what a column's node stands for."""
        ...

    def subquery(self, node: Any) -> tuple[str, list[Type]]:
        """Return a query's SQL, without brackets, and its columns' types."""
        ...

    def parameter(self, name: str) -> str:
        """Return the value given for `:name`."""
        ...


class Call(NamedTuple):
    """A function's call: its name in small letters, its arguments, and what goes with it."""

    name: str
    nodes: list[Any]
    expressions: "Expressions"
    is_distinct: bool = False
    order: tuple[tuple[Value, str], ...] = ()  # of WITHIN GROUP: the value, and "ASC NULLS LAST" and such

    def value(self, at: int) -> Value:
        """Return an argument."""
        return self.expressions.value(self.nodes[at])

    def text(self, at: int) -> str:
        """Return the SQL of an argument that is text."""
        return as_text(self.value(at), self.title).sql

    def literal(self, at: int) -> str | None:
        """Return an argument that is a written text; None for any other."""
        return self.value(at).literal

    @property
    def title(self) -> str:
        """The name as messages have it."""
        return self.name.upper()


Handler = Callable[[Call], Value]  # compiles a call


def only(node: Any, *allowed: str) -> None:
    """Refuse a node that says more than the parts that are known."""
    for key, part in node.args.items():
        if part and key not in allowed:
            what = {"method": f"{part}", "except_": "EXCLUDE"}.get(key, str(key).strip("_").replace("_", " ")).upper()
            raise Refused(f"{type(node).__name__.upper()} with {what} is not supported.", "Leave that out.")


class Expressions:
    """Compiles the expressions of one query."""

    def __init__(self, names: Names, functions: Callable[[Any, "Expressions"], Value]) -> None:
        self.partitions: list[Value] = []  # what windows are partitioned by
        self.is_aggregated = False
        self._names = names
        self._functions = functions
        self._nodes: dict[str, Callable[[Any], Value]] = {
            "Literal": self._literal,
            "Null": lambda _: NULL,
            "Boolean": lambda node: Value("TRUE" if node.this else "FALSE", BOOLEAN),
            "Column": names.column,
            "Placeholder": self._placeholder,
            "Paren": lambda node: self.value(node.this),
            "Neg": self._negative,
            "Cast": self._cast,
            "Case": self._case,
            "And": lambda node: self._logic(node, "AND"),
            "Or": lambda node: self._logic(node, "OR"),
            "Not": lambda node: Value(f"(NOT {self.boolean(node.this, 'NOT').sql})", BOOLEAN),
            "Is": self._is,
            "In": self._in,
            "Between": self._between,
            "Like": lambda node: self._like(node, None),
            "Escape": self._escape,
            "RegexpLike": self._regular_expression,
            "SimilarTo": self._similar,
            "DPipe": self._concatenation,
            "Exists": self._exists,
            "Subquery": self._scalar,
            "Interval": dates.interval,
            **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod"), self._arithmetic),
            **dict.fromkeys(COMPARISONS, self._comparison),
            **dict.fromkeys(("Anonymous", "Window", "WithinGroup", "IgnoreNulls", "RespectNulls"), self._function),
            **dict.fromkeys(("Extract", "StrPosition", "Substring", "Trim"), self._function),
        }

    def value(self, node: Any) -> Value:
        """Return an expression's value; raises Refused for what is not known."""
        kind = type(node).__name__
        compile_ = self._nodes.get(kind)
        if compile_ is None:
            name = _OPERATORS.get(kind, kind.upper())
            raise Refused(
                f"{name} is not supported.",
                f"Write {_INSTEAD.get(kind, 'it with the functions and operators listed in docs/sql.md')}.",
            )
        value = compile_(node)
        if value.sql.count("random()") > sum(_is_random(each) for each in node.walk()):
            raise Refused("RANDOM() would be taken more than once for one value.", "Select it in a query inside.")
        if len(value.sql) > SQL_SIZE_MAX:  # an expression that is used twice is written twice
            raise Refused("The SQL grows too large when it is written for DuckDB.", "Use WITH for the inner queries.")
        return value

    def boolean(self, node: Any, what: str) -> Value:
        """Return a condition."""
        return as_type(self.value(node), BOOLEAN, what)

    def common(self, values: list[Value], what: str) -> tuple[list[Value], Type]:
        """Return values converted to the type that they have in common."""
        kind = types.common([value.type for value in values], what)
        if kind == UNKNOWN:
            kind = VARCHAR
        return [as_type(value, kind, what) for value in values], kind

    def compare(self, left: Value, operator: str, right: Value) -> Value:
        """Return a comparison: of text without the blanks at its end, as Redshift compares."""
        (left, right), kind = self.common([left, right], f"A comparison ({operator})")
        if kind != VARCHAR:
            return Value(f"({left.sql} {operator} {right.sql})", BOOLEAN)
        check_written(left, right)
        if operator == "=" and is_column(left.sql) and right.literal is not None:
            return Value(equals(left.sql, [right]), BOOLEAN)
        return Value(f"({trimmed(left)} {operator} {trimmed(right)})", BOOLEAN)

    def _function(self, node: Any) -> Value:
        return self._functions(node, self)

    def _literal(self, node: Any) -> Value:
        if node.is_string:
            return text(node.this)
        written = node.this
        if written.isascii() and written.isdigit():
            return integer(int(written))
        whole, point, decimals = written.partition(".")
        if not point or not (whole + decimals).isascii() or not (whole + decimals).isdigit():
            raise Refused(
                f"The number {written} is not supported.",
                "Write it with all its digits, or as CAST('1e9' AS DOUBLE PRECISION).",
            )
        digits = len(whole.lstrip("0")) + len(decimals)
        kind = types.numeric(max(digits, 1), len(decimals), "A number")
        if digits > types.PRECISION_MAX:
            raise Refused(
                f"The number {written} has more than 38 digits.", "Write it as CAST('…' AS DOUBLE PRECISION)."
            )
        return Value(f"CAST({whole or '0'}.{decimals or '0'} AS {kind.duckdb})", kind)

    def _placeholder(self, node: Any) -> Value:
        if not node.this:
            raise Refused("? is no parameter here.", "Write it as :name.")
        return text(self._names.parameter(str(node.this)))

    def _negative(self, node: Any) -> Value:
        inner = self.value(node.this)
        if inner.number is not None:
            return integer(-inner.number)
        if inner.is_null and types.is_number(inner.type):
            return inner
        if inner.type == UNKNOWN or not (types.is_number(inner.type) or inner.type == INTERVAL):
            raise Refused(f"- before a value of type {inner.type}.", "It needs a number.")
        return Value(f"(- {inner.sql})", inner.type, is_whole=inner.is_whole)

    def _cast(self, node: Any) -> Value:
        only(node, "this", "to")
        kind, bytes_max = casts.type_of(node.args["to"])
        return casts.cast(self.value(node.this), kind, bytes_max)

    def _logic(self, node: Any, operator: str) -> Value:
        left, right = self.boolean(node.this, operator), self.boolean(node.expression, operator)
        return Value(f"({left.sql} {operator} {right.sql})", BOOLEAN)

    def _comparison(self, node: Any) -> Value:
        only(node, "this", "expression")
        check_brackets(node.this, node.expression)
        return self.compare(self.value(node.this), COMPARISONS[type(node).__name__], self.value(node.expression))

    def _is(self, node: Any) -> Value:
        what = type(node.expression).__name__
        check_brackets(node.this)
        inner = self.value(node.this)
        if what == "Null":
            return Value(f"({inner.sql} IS NULL)", BOOLEAN)
        if what == "Boolean":
            return Value(f"({as_type(inner, BOOLEAN, 'IS').sql} IS {str(node.expression.this).upper()})", BOOLEAN)
        raise Refused("IS takes NULL, TRUE or FALSE.", "Compare with =; IS DISTINCT FROM is not supported.")

    def _in(self, node: Any) -> Value:
        only(node, "this", "expressions", "query")
        left = self.value(node.this)
        if query := node.args.get("query"):
            sql, kinds = self._names.subquery(query.this if type(query).__name__ == "Subquery" else query)
            if len(kinds) != 1:
                raise Refused("IN takes a query of one column.", "Select one column.")
            left = as_type(left, kinds[0], "IN") if left.type == UNKNOWN else left
            kind = types.common((left.type, kinds[0]), "IN")
            if kind == VARCHAR:
                return Value(f"({trimmed(left)} IN (SELECT rtrim(_in, ' ') FROM ({sql}) AS _query(_in)))", BOOLEAN)
            return Value(
                f"({cast(left, kind).sql} IN (SELECT CAST(_in AS {kind.duckdb}) FROM ({sql}) AS _query(_in)))", BOOLEAN
            )
        if not node.expressions:
            raise Refused("IN takes one value at least.", "Write x IN (1, 2), or leave the condition out.")
        values, kind = self.common([left, *map(self.value, node.expressions)], "IN")
        if kind == VARCHAR and is_column(values[0].sql) and all(each.literal is not None for each in values[1:]):
            return Value(equals(values[0].sql, values[1:]), BOOLEAN)
        for value in values[1:]:
            check_written(values[0], value)
        sqls = [trimmed(value) if kind == VARCHAR else value.sql for value in values]
        return Value(f"({sqls[0]} IN ({', '.join(sqls[1:])}))", BOOLEAN)

    def _between(self, node: Any) -> Value:
        only(node, "this", "low", "high")
        check_brackets(node.this, node.args["low"], node.args["high"])
        value, low, high = (self.value(node.args[name]) for name in ("this", "low", "high"))
        first, last = self.compare(value, ">=", low), self.compare(value, "<=", high)
        return Value(f"({first.sql} AND {last.sql})", BOOLEAN)

    def _escape(self, node: Any) -> Value:
        if type(node.this).__name__ == "Not":
            only(node.this, "this")
            inner = self._like(node.this.this, node.expression)
            return Value(f"(NOT {inner.sql})", BOOLEAN)
        return self._like(node.this, node.expression)

    def _like(self, node: Any, escape: Any) -> Value:
        if type(node).__name__ != "Like":
            self.value(node)
            raise Refused("ESCAPE stands after LIKE.", "Write x LIKE pattern ESCAPE '!'.")
        only(node, "this", "expression", "negate")
        character = self.value(escape).literal if escape is not None else "\\"
        left, pattern = as_text(self.value(node.this), "LIKE"), as_text(self.value(node.expression), "LIKE")
        sql = like_sql(left, pattern, character)
        return Value(f"(NOT {sql})" if node.args.get("negate") else sql, BOOLEAN)

    def _regular_expression(self, node: Any) -> Value:
        only(node, "this", "expression")
        pattern = regular_expression(self.value(node.expression).literal, "~")
        left = as_text(self.value(node.this), "~")
        return Value(f"regexp_matches({left.sql}, {text_sql(pattern)}, 's')", BOOLEAN)

    def _similar(self, node: Any) -> Value:
        only(node, "this", "expression")
        pattern = similar(self.value(node.expression).literal)
        left = as_text(self.value(node.this), "SIMILAR TO")
        return Value(f"regexp_full_match({left.sql}, {text_sql(pattern)}, 's')", BOOLEAN)

    def _concatenation(self, node: Any) -> Value:
        only(node, "this", "expression", "safe")
        left, right = as_text(self.value(node.this), "||"), as_text(self.value(node.expression), "||")
        if left.is_null or right.is_null:
            return as_type(NULL, VARCHAR, "||")
        return Value(f"({left.sql} || {right.sql})", VARCHAR)

    def _exists(self, node: Any) -> Value:
        sql, _ = self._names.subquery(node.this)
        return Value(f"EXISTS ({sql})", BOOLEAN)

    def _scalar(self, node: Any) -> Value:
        only(node, "this")
        sql, kinds = self._names.subquery(node.this)
        if len(kinds) != 1:
            raise Refused("A query in the place of a value has one column.", "Select one column.")
        return Value(f"({sql})", kinds[0])

    def _case(self, node: Any) -> Value:
        only(node, "this", "ifs", "default")
        subject = self.value(node.this) if node.this is not None else None
        conditions = []
        for branch in node.args["ifs"]:
            if subject is None:
                conditions.append(self.boolean(branch.this, "WHEN"))
            else:
                conditions.append(self.compare(subject, "=", self.value(branch.this)))
        default = node.args.get("default")
        results = [self.value(branch.args["true"]) for branch in node.args["ifs"]]
        results, kind = self.common([*results, NULL if default is None else self.value(default)], "CASE")
        pairs = zip(conditions, results, strict=False)
        whens = " ".join(f"WHEN {condition.sql} THEN {result.sql}" for condition, result in pairs)
        return Value(f"(CASE {whens} ELSE {results[-1].sql} END)", kind)

    def _arithmetic(self, node: Any) -> Value:
        operator = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "Mod": "%"}[type(node).__name__]
        only(node, "this", "expression", "typed", "safe")
        left, right = self.value(node.this), self.value(node.expression)
        if {left.type, right.type} & {DATE, TIMESTAMP, INTERVAL}:
            return dates.arithmetic(left, operator, right)
        if left.literal is not None and types.is_number(right.type):
            left = as_type(left, right.type, operator)
        if right.literal is not None and types.is_number(left.type):
            right = as_type(right, left.type, operator)
        for value in (left, right):
            if not types.is_number(value.type) and not value.is_null:
                raise Refused(f"{operator} takes numbers, not {value.type}.", "For texts write a || b; else CAST.")
        return number_sql(left, operator, right)
