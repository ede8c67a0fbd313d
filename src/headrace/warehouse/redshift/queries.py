"""Queries: WITH, and UNION, INTERSECT and EXCEPT between SELECTs."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.warehouse.redshift import calls, types
from headrace.warehouse.redshift.expressions import only
from headrace.warehouse.redshift.names import Context, Output, Query, folded, place_of, renamed
from headrace.warehouse.redshift.operators import sorted_by, unblanked
from headrace.warehouse.redshift.select import Select
from headrace.warehouse.redshift.types import UNKNOWN, VARCHAR, Refused
from headrace.warehouse.redshift.values import Value, cast, name_sql


class Queries:
    """Compiles queries; `ctes` are the WITH queries in reach, `outer` the query around this one."""

    def __init__(
        self, context: Context, ctes: Mapping[str, list[Output]] | None = None, outer: "Select | None" = None
    ) -> None:
        self.context = context
        self.ctes = dict(ctes or {})
        self.outer = outer

    def within(self, outer: "Select | None") -> "Queries":
        """Return what compiles a query inside of a SELECT; `outer` is that, if its columns are in reach."""
        return Queries(self.context, self.ctes, outer)

    def query(self, node: Any) -> Query:
        """Return a SELECT, or several with UNION, INTERSECT, EXCEPT between them."""
        kind = type(node).__name__
        if kind == "Subquery":
            return self._bracketed(node)
        if kind not in ("Select", "Union", "Intersect", "Except"):
            raise Refused(f"{kind.upper()} is no query here.", "Write SELECT ….")
        prefix = self._with(node.args.get("with_"))
        found = Select(self, node).compile() if kind == "Select" else self._set_operation(node, kind)
        return Query(prefix + found.sql, found.columns)

    def _bracketed(self, node: Any) -> Query:
        only(node, "this", "order", "limit", "offset", "with_")
        if type(node.this).__name__ not in ("Select", "Union", "Intersect", "Except", "Subquery"):
            raise Refused("What is in brackets is no query.", "Write (SELECT …).")
        prefix = self._with(node.args.get("with_"))
        inner = self.query(node.this)
        return Query(prefix + self._ordered(f"({inner.sql})", node, inner.columns), inner.columns)

    def _with(self, node: Any) -> str:
        if node is None:
            return ""
        only(node, "expressions", "recursive")
        is_recursive = bool(node.args.get("recursive"))
        parts = []
        for cte in node.expressions:
            only(cte, "this", "alias")
            name = folded(cte.args["alias"].this)
            names = [folded(column) for column in cte.args["alias"].args.get("columns") or ()]
            inner = Queries(self.context, self.ctes, self.outer)
            if is_recursive and _mentions(cte.this, name):
                inner.ctes[name] = self._recursive(inner, cte.this, name, names)
            query = inner.query(cte.this)
            columns = renamed(query.columns, names, name)
            if is_recursive and [each.type for each in inner.ctes.get(name, columns)] != [
                each.type for each in columns
            ]:
                raise Refused(f"The two queries of {name} have different types.", "Cast the columns of the first one.")
            listed = ", ".join(name_sql(column.name) for column in columns)
            self.ctes[name] = columns
            parts.append(f"{name_sql(name)}({listed}) AS ({query.sql})")
        return f"WITH {'RECURSIVE ' if is_recursive else ''}{', '.join(parts)} "

    def _recursive(self, inner: "Queries", node: Any, name: str, names: list[str]) -> list[Output]:
        """Return the columns of a recursive query: those of its part that does not name it, which comes first."""
        if type(node).__name__ != "Union" or node.args.get("distinct"):
            raise Refused(
                "A recursive WITH is two queries with UNION ALL between them.",
                "Write WITH RECURSIVE r(n) AS (… UNION ALL …).",
            )
        if _mentions(node.this, name):
            raise Refused("A recursive WITH names itself in its second query alone.", "Swap the two queries.")
        if not names:
            raise Refused("A recursive WITH lists its columns.", f"Write WITH RECURSIVE {name}(a, b) AS (…).")
        return renamed(inner.query(node.this).columns, names, name)

    def _set_operation(self, node: Any, kind: str) -> Query:
        only(node, "this", "expression", "distinct", "order", "limit", "offset", "with_")
        if kind != "Union" and not node.args.get("distinct"):
            raise Refused(f"{kind.upper()} ALL is not supported, by Redshift either.", f"Write {kind.upper()}.")
        parts = [self._operand(node.this), self._operand(node.expression)]
        if len(parts[0].columns) != len(parts[1].columns):
            raise Refused(
                f"The queries of {kind.upper()} have different numbers of columns.", "Select as many in each."
            )
        columns = []
        for left, right in zip(parts[0].columns, parts[1].columns, strict=True):
            kinds = [column.type for column in (left, right) if column.type is not None and not column.is_null]
            found = types.common(kinds, f"{kind.upper()} of {left.name!r}")
            columns.append(Output(left.name, found, name_sql(left.name), left.is_null and right.is_null))
        columns = [column if column.type != UNKNOWN else column._replace(type=VARCHAR) for column in columns]
        is_distinct = bool(node.args.get("distinct"))
        operator = f"{kind.upper()}{'' if is_distinct else ' ALL'}"
        sql = f" {operator} ".join(_converted(part, columns, kind.upper() if is_distinct else "") for part in parts)
        return Query(self._ordered(sql, node, columns), columns)

    def _operand(self, node: Any) -> Query:
        kind = type(node).__name__
        inner = Queries(self.context, self.ctes, self.outer)
        return inner.query(node) if kind != "Subquery" else inner._bracketed(node)

    def _ordered(self, sql: str, node: Any, columns: Sequence[Output]) -> str:
        """Return a whole query with ORDER BY, LIMIT and OFFSET around it: by its columns, by name or by number."""
        order = node.args.get("order")
        if not order:
            return sql + self.limits(node)
        names = [f'"sorted"."c{at}"' for at in range(len(columns))]
        sorting = []
        for each in order.expressions:
            inner = each.this if type(each).__name__ == "Ordered" else each
            at = place_of(inner, columns)
            if at is None:
                raise Refused(
                    "Around UNION and brackets, ORDER BY takes names of columns or their numbers.", "Write ORDER BY 1."
                )
            value = Value(names[at - 1], columns[at - 1].type or VARCHAR)
            sorting.append(f"{sorted_by(value)} {calls.direction(each)}")
        listed = ", ".join(f"{name} AS {name_sql(column.name)}" for name, column in zip(names, columns, strict=True))
        aliases = ", ".join(f"c{at}" for at in range(len(columns)))
        whole = f'SELECT {listed} FROM ({sql}) AS "sorted"({aliases})'
        return f"{whole} ORDER BY {', '.join(sorting)}{self.limits(node)}"

    def limits(self, node: Any) -> str:
        """Return LIMIT and OFFSET; TOP is parsed as LIMIT."""
        parts = ""
        for name in ("limit", "offset"):
            part = node.args.get(name)
            if part is None:
                continue
            if type(part).__name__ not in ("Limit", "Offset"):
                raise Refused("FETCH is not supported.", "Write LIMIT 10.")
            only(part, "expression")
            value = self._limit(part.expression)
            parts += f" {name.upper()} {value}" if value is not None else ""
        return parts

    def _limit(self, node: Any) -> int | None:
        kind = type(node).__name__
        if kind == "Placeholder":
            text = self.context_parameter(str(node.this)).strip()
        elif kind in ("Column", "Var") and node.name.upper() == "ALL":
            return None
        else:
            text = node.name if kind == "Literal" and not node.is_string else ""
        if not (text.isascii() and text.isdigit()) or len(text) > 18:
            raise Refused("LIMIT and OFFSET take a number that is written out.", "Write LIMIT 10.")
        return int(text)

    def context_parameter(self, name: str) -> str:
        """Return the value given for `:name`."""
        if name not in self.context.parameters:
            raise Refused(
                f"There is no value for the parameter :{name}.", f"Give one: Parameters=[{{'name': '{name}', …}}]."
            )
        self.context.used.add(name)
        return self.context.parameters[name]


def _converted(part: Query, columns: Sequence[Output], distinct: str) -> str:
    """Return a query as a part of a set operation, its columns converted to the types they have in common.

    `distinct` names an operation that tells rows from each other.
    """
    if all(
        have.type == want.type and (not distinct or want.type != VARCHAR)
        for have, want in zip(part.columns, columns, strict=True)
    ):
        return f"(SELECT * FROM ({part.sql}))"
    names = [f"c{at}" for at in range(len(columns))]
    values = (
        cast(Value(name, have.type or VARCHAR), want.type or VARCHAR)
        for name, have, want in zip(names, part.columns, columns, strict=True)
    )
    casts = ((unblanked(value, distinct) if distinct else value).sql for value in values)
    listed = ", ".join(f"{sql} AS {name_sql(want.name)}" for sql, want in zip(casts, columns, strict=True))
    return f"(SELECT {listed} FROM ({part.sql}) AS part({', '.join(names)}))"


def _mentions(node: Any, name: str) -> bool:
    return any(
        type(each).__name__ == "Table" and not each.args.get("db") and folded(each.this) == name
        for each in node.walk()
        if type(each).__name__ == "Table" and type(each.this).__name__ == "Identifier"
    )
