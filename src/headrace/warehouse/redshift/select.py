"""One SELECT: its names are resolved and its `*` is spelled out here, so that DuckDB is left nothing to interpret."""

from typing import TYPE_CHECKING, Any

from headrace.warehouse.redshift import calls, catalog, types
from headrace.warehouse.redshift.expressions import Expressions, only
from headrace.warehouse.redshift.names import (
    COLUMNS_MAX,
    Output,
    Query,
    Source,
    check_place,
    folded,
    name_of,
    named,
    number_of,
    only_one,
    place_of,
    renamed,
)
from headrace.warehouse.redshift.operators import sorted_by, unblanked, without_blanks
from headrace.warehouse.redshift.types import UNKNOWN, VARCHAR, Refused, Type
from headrace.warehouse.redshift.values import Value, as_type, name_sql

if TYPE_CHECKING:
    from headrace.warehouse.redshift.queries import Queries


class Select:
    """One SELECT while it is compiled: the sources in FROM, and the names of its own columns."""

    def __init__(self, queries: "Queries", node: Any) -> None:
        self.queries = queries
        self.node = node
        self.sources: list[Source] = []
        self.merged: dict[str, Output] = {}  # columns of USING, which have no table's name before them
        self.aliases: dict[str, Value] = {}
        self.expressions = Expressions(self, calls.function)
        self._resolving: set[str] = set()

    # Names, as Expressions asks for them.

    def column(self, node: Any) -> Value:
        """Return what a name stands for: a column in FROM, an alias to its left, or a column of the query around."""
        only(node, "this", "table", "db", "catalog")
        if type(node.this).__name__ == "Star":
            raise Refused("* stands in SELECT and in COUNT(*) alone.", "Name the columns.")
        name = folded(node.this)
        table = folded(node.args["table"]) if node.args.get("table") else None
        if table is None and self._is_today(name):
            return calls.function(_no_arguments(name), self.expressions)
        found = self._find(name, table)
        if found is None and table is None and name in self.aliases:
            return self.aliases[name]
        outer = self.queries.outer
        if found is None and outer is not None and (outer._find(name, table) or outer.queries.outer):
            return outer.column(node)
        if found is None:
            raise self._unknown(name, table)
        if found.type is None:
            raise Refused(f"The column {name} has a type that Redshift has no equal of.", "Leave it out.")
        return Value(found.sql, found.type)

    def subquery(self, node: Any) -> tuple[str, list[Type]]:
        """Return a query in the place of a value, or in IN and EXISTS."""
        query = self.queries.within(self).query(node)
        return query.sql, [column.type or VARCHAR for column in query.columns]

    def parameter(self, name: str) -> str:
        """Return the value given for `:name`."""
        return self.queries.context_parameter(name)

    def _is_today(self, name: str) -> bool:
        """Tell whether a name is that of a function without brackets, and of no column."""
        columns = (column.name for source in self.sources for column in source.columns)
        return name in ("current_date", "sysdate") and name not in columns

    def _find(self, name: str, table: str | None) -> Output | None:
        if table is None and name in self.merged:
            return self.merged[name]
        found = [
            column
            for source in self.sources
            if table is None or source.name == table
            for column in source.columns
            if column.name == name
        ]
        if len(found) > 1:
            raise Refused(f"The name {name} is ambiguous.", "Write the table's name before it: t." + name + ".")
        return found[0] if found else None

    def _unknown(self, name: str, table: str | None) -> Refused:
        if table is not None and not any(source.name == table for source in self.sources):
            known = ", ".join(source.name for source in self.sources)
            return Refused(f"There is no table {table} in FROM.", f"There is {known}." if known else "Add FROM.")
        if name in (
            "current_timestamp",
            "current_time",
            "localtime",
            "localtimestamp",
            "current_user",
            "user",
            "session_user",
        ):
            return calls.refused(name)
        names = sorted(
            {column.name for source in self.sources for column in source.columns if table in (None, source.name)}
        )
        return Refused(f"There is no column {name}.", f"There are {', '.join(names[:40])}." if names else "Add FROM.")

    # The clauses.

    def compile(self) -> Query:
        """Return the whole SELECT."""
        node = self.node
        only(
            node, "expressions", "distinct", "from_", "joins", "where", "group", "having", "qualify", "order", "limit",
            "offset", "with_", "kind",
        )  # fmt: skip
        if node.args.get("kind"):
            raise Refused(f"SELECT AS {node.args['kind']} is not supported.", "Write SELECT.")
        origin = self._from()
        outputs = self._projections()
        where = self._without_aliases(node.args["where"].this, "WHERE").sql if node.args.get("where") else ""
        group, keys = self._group(outputs)
        having = self.expressions.boolean(node.args["having"].this, "HAVING").sql if node.args.get("having") else ""
        qualify = (
            f" QUALIFY {self.expressions.boolean(node.args['qualify'].this, 'QUALIFY').sql}"
            if node.args.get("qualify")
            else ""
        )
        distinct = self._distinct()
        order = self._order(outputs, is_distinct=bool(distinct))
        shown = [unblanked(value, "DISTINCT") if distinct else value for _, value in outputs]
        listed = ", ".join(f"{value.sql} AS {name_sql(name)}" for (name, _), value in zip(outputs, shown, strict=True))
        filters = self._filters(where, group, keys, having)
        sql = f"SELECT {distinct}{listed}{origin}{filters}{qualify}{order}{self.queries.limits(node)}"
        return Query(sql, [Output(name, value.type, name_sql(name), value.is_null) for name, value in outputs])

    def _filters(self, where: str, group: str, keys: list[Value], having: str) -> str:
        """Return WHERE, GROUP BY and HAVING; texts that rows are parted by are checked for blanks at their end.

        The check of groups names an aggregate, so that it is made once for a group and not for each row. The check of
        rows says WHERE again, whose parts are tried in any order, unless that would run a query twice.
        """
        partitions = self.expressions.partitions
        parted = [*keys, *partitions]
        what = " or ".join(["GROUP BY"] * bool(keys) + ["PARTITION BY"] * bool(partitions))
        if group or self.expressions.is_aggregated:
            otherwise = f"(count(*) >= 0 AND {having or 'TRUE'})"
            check = without_blanks(parted, what, otherwise)
            having = having if check == otherwise else check
        elif (check := without_blanks(parted, what, "TRUE")) != "TRUE":
            reached = f"CASE WHEN {where} THEN {check} ELSE TRUE END" if where and "(SELECT " not in where else check
            where = f"({where} AND {reached})" if where else check
        return f"{where and ' WHERE '}{where}{group}{having and ' HAVING '}{having}"

    def _distinct(self) -> str:
        distinct = self.node.args.get("distinct")
        if distinct is None:
            return ""
        if distinct.args.get("on") or distinct.expressions:
            raise Refused(
                "DISTINCT ON is not supported.", "Write QUALIFY ROW_NUMBER() OVER (PARTITION BY … ORDER BY …) = 1."
            )
        return "DISTINCT "

    def _without_aliases(self, node: Any, what: str) -> Value:
        """Compile a condition in which names are columns of FROM, never aliases."""
        kept, self.aliases = self.aliases, {}
        try:
            return self.expressions.boolean(node, what)
        finally:
            self.aliases = kept

    def _from(self) -> str:
        from_, joins = self.node.args.get("from_"), self.node.args.get("joins") or ()
        if from_ is None:
            if joins:
                raise Refused("A JOIN needs a FROM.", "Write FROM a JOIN b ON ….")
            return ""
        only(from_, "this")
        sql = f" FROM {self._add(from_.this)}"
        for join in joins:
            sql += self._join(join)
        return sql

    def _add(self, node: Any) -> str:
        source = self._source(node)
        if any(other.name == source.name for other in self.sources):
            raise Refused(
                f"{source.name} stands in FROM twice.", "Give each a name of its own: FROM t AS a JOIN t AS b."
            )
        self.sources.append(source)
        nested = node.args.get("joins")
        if nested:
            return source.sql + "".join(self._join(join) for join in nested)
        return source.sql

    def _source(self, node: Any) -> Source:
        kind = type(node).__name__
        alias = node.args.get("alias")
        names = [folded(column) for column in (alias.args.get("columns") or ())] if alias is not None else []
        if kind == "Subquery":
            only(node, "this", "alias", "joins")
            if type(node.this).__name__ == "Table":
                raise Refused("Joins in brackets are not supported.", "Write them one after the other.")
            if alias is None or alias.this is None:
                raise Refused("A query in FROM needs a name.", "Write FROM (SELECT …) AS t.")
            query = self.queries.within(None).query(node.this)
            return named(f"({query.sql})", folded(alias.this), renamed(query.columns, names, "the query"))
        if kind != "Table":
            raise Refused(f"{kind.upper()} in FROM is not supported.", "Name tables and queries.")
        only(node, "this", "db", "catalog", "alias", "joins")
        if type(node.this).__name__ != "Identifier":
            name = str(node.this.name if hasattr(node.this, "name") else "").lower()
            raise (
                calls.refused(name)
                if name
                else Refused("A function in FROM is not supported.", "Name tables and queries.")
            )
        return self._table(node, folded(alias.this) if alias is not None and alias.this else None, names)

    def _table(self, node: Any, alias: str | None, names: list[str]) -> Source:
        name = folded(node.this)
        schema = folded(node.args["db"]) if node.args.get("db") else None
        if schema is None and name in self.queries.ctes:
            columns = self.queries.ctes[name]
            return named(name_sql(name), alias or name, renamed(columns, names, name))
        context = self.queries.context
        if system := catalog.view(schema, name, context.schema):
            sql, outputs = system
            columns = [Output(column, kind) for column, kind in outputs]
            return named(f"({sql})", alias or name, renamed(columns, names, name))
        check_place(node)
        if name in self.queries.ctes:
            raise Refused(f"{schema}.{name} is a table and a WITH query here.", "Give the WITH query another name.")
        if name not in context.schema:
            known = ", ".join(sorted(context.schema))
            raise Refused(f"There is no table {name}.", f"There are {known}." if known else "Create it first.")
        context.tables.add(name)
        columns = [
            Output(folded(column), types.of_column(kind), column) for column, kind in context.schema[name].items()
        ]
        if len({column.name for column in columns}) < len(columns):
            raise Refused(f"The table {name} has columns that differ in capital letters alone.", "Rename one.")
        return named(name_sql(name), alias or name, renamed(columns, names, name))

    def _join(self, node: Any) -> str:
        only(node, "this", "on", "using", "side", "kind")
        side, kind = str(node.args.get("side") or "").upper(), str(node.args.get("kind") or "").upper()
        if side not in ("", "LEFT", "RIGHT", "FULL") or kind not in ("", "INNER", "OUTER", "CROSS"):
            raise Refused(
                f"{side} {kind} JOIN is not supported.".replace("  ", " "),
                "Write JOIN, LEFT JOIN, RIGHT JOIN, FULL JOIN.",
            )
        before = list(self.sources)
        sql = self._add(node.this)
        on, using = node.args.get("on"), node.args.get("using")
        if on is None and not using:
            if side or (kind and kind != "CROSS"):
                raise Refused("A JOIN needs a condition.", "Write JOIN … ON a.x = b.x.")
            return f" CROSS JOIN {sql}"
        keyword = f" {side or 'INNER'} JOIN {sql}"
        if on is not None:
            return f"{keyword} ON {self._without_aliases(on, 'ON').sql}"
        return f"{keyword} ON {self._using(using, side, before)}"

    def _using(self, using: Any, side: str, before: list[Source]) -> str:
        """Return USING as a condition, and merge its columns: one of the two has the value."""
        conditions = []
        for identifier in using:
            name = folded(identifier)
            left = self.merged.get(name) or only_one(name, before)
            right = only_one(name, [source for source in self.sources if source not in before])
            if left.type is None or right.type is None:
                raise Refused(f"USING ({name}): its type is not supported.", "Join by another column.")
            conditions.append(
                self.expressions.compare(Value(left.sql, left.type), "=", Value(right.sql, right.type)).sql
            )
            kind = types.common((left.type, right.type), "USING")
            sql = {"RIGHT": right.sql, "FULL": f"coalesce({left.sql}, {right.sql})"}.get(side, left.sql)
            self.merged[name] = Output(name, kind, sql)
        return " AND ".join(conditions)

    def _projections(self) -> list[tuple[str, Value]]:
        outputs: list[tuple[str, Value]] = []
        for node in self.node.expressions:
            kind = type(node).__name__
            if kind == "Star" or (kind == "Column" and type(node.this).__name__ == "Star"):
                outputs += self._star(node, folded(node.args["table"]) if kind == "Column" else None)
                continue
            alias = None
            if kind == "Alias":
                only(node, "this", "alias")
                alias, node = folded(node.args["alias"]), node.this
            value = self.expressions.value(node)
            if value.type.name == "interval":
                raise Refused("An interval can't be a column.", "Use DATEDIFF, or add it to a time.")
            if value.type == UNKNOWN:
                value = as_type(value, VARCHAR, "A column")
            if alias is None and self._is_today(name := name_of(node)):
                node = _no_arguments(name)
            outputs.append((alias or name_of(node), value))
            if alias and alias not in self.aliases:
                self.aliases[alias] = value
        if not outputs or len(outputs) > COLUMNS_MAX:
            raise Refused(f"A query has 1 to {COLUMNS_MAX:,} columns.", "Name those you need.")
        return outputs

    def _star(self, node: Any, table: str | None) -> list[tuple[str, Value]]:
        star = node if type(node).__name__ == "Star" else node.this
        only(star)
        sources = [source for source in self.sources if table in (None, source.name)]
        if not sources:
            raise Refused(f"There is no table {table} in FROM." if table else "* needs a FROM.", "Add it to FROM.")
        columns = [] if table else list(self.merged.values())
        columns += [
            column for source in sources for column in source.columns if table or column.name not in self.merged
        ]
        return [(column.name, Value(column.sql, column.type)) for column in columns if column.type is not None]

    def _group(self, outputs: list[tuple[str, Value]]) -> tuple[str, list[Value]]:
        """Return GROUP BY, and what it groups by."""
        group = self.node.args.get("group")
        if group is None:
            return "", []
        only(group, "expressions")
        if not group.expressions:
            raise Refused("GROUP BY lacks its columns.", "Write GROUP BY 1.")
        parts, keys = [], []
        for node in group.expressions:
            if type(node).__name__ in ("Rollup", "Cube", "GroupingSets"):
                raise Refused(
                    "ROLLUP, CUBE and GROUPING SETS are not supported.", "Write a query each, with UNION ALL."
                )
            place, value = self._grouped(node, outputs)
            parts.append(place)
            keys.append(value)
        return f" GROUP BY {', '.join(parts)}", keys

    def _grouped(self, node: Any, outputs: list[tuple[str, Value]]) -> tuple[str, Value]:
        """Return a part of GROUP BY: a number is a column's place; a name is a column of FROM, else an alias."""
        if type(node).__name__ == "Literal" and not node.is_string:
            at = number_of(node, len(outputs), "GROUP BY")
            return str(at), outputs[at - 1][1]
        if (
            type(node).__name__ == "Column"
            and not node.args.get("table")
            and self._find(folded(node.this), None) is None
        ):
            place = place_of(node, [Output(name, value.type) for name, value in outputs])
            if place is not None:
                return str(place), outputs[place - 1][1]
        value = self.expressions.value(node)
        if value.literal is not None or value.number is not None or value.is_null:
            raise Refused("GROUP BY with a constant is not supported.", "Group by columns.")
        return value.sql, value

    def _order(self, outputs: list[tuple[str, Value]], *, is_distinct: bool) -> str:
        order = self.node.args.get("order")
        if order is None:
            return ""
        columns = [Output(name, value.type) for name, value in outputs]
        shown = [value.sql for _, value in outputs]
        sorting = []
        for each in order.expressions:
            inner = each.this if type(each).__name__ == "Ordered" else each
            at = place_of(inner, columns)
            value = outputs[at - 1][1] if at is not None else calls.ordered(each, self.expressions)[0]
            if at is None and (value.literal is not None or value.number is not None or value.is_null):
                raise Refused("ORDER BY with a constant is not supported.", "Order by columns.")
            if value.sql in shown and (is_distinct or sorted_by(value) == value.sql):
                sorting.append(f"{shown.index(value.sql) + 1} {calls.direction(each)}")
            elif is_distinct:
                raise Refused("ORDER BY beside DISTINCT takes columns of the result.", "Select it as well.")
            else:
                sorting.append(f"{sorted_by(value)} {calls.direction(each)}")
        return f" ORDER BY {', '.join(sorting)}"


def _no_arguments(name: str) -> Any:
    from sqlglot import exp

    return exp.Anonymous(this=name, expressions=[])
