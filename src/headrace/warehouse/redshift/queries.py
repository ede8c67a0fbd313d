"""SELECT: names are resolved and `*` is spelled out here, so that DuckDB is left nothing to interpret."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from headrace.warehouse.redshift import calls, catalog, types
from headrace.warehouse.redshift.aggregates import AGGREGATES
from headrace.warehouse.redshift.expressions import Expressions, only
from headrace.warehouse.redshift.types import BIGINT, UNKNOWN, VARCHAR, Refused, Type
from headrace.warehouse.redshift.values import Value, as_type, cast, name_sql, text_sql

Schema = Mapping[str, Mapping[str, str]]
COLUMNS_MAX = 1600
SCHEMAS = ("public",)
DATABASES = ("headrace", "dev")


class Output(NamedTuple):
    """A column that a query gives; `sql` refers to it from around the query."""

    name: str
    type: Type | None  # None: a type that Redshift has no equal of
    sql: str = ""
    is_null: bool = False  # NULL and nothing else: it takes any type in UNION


class Source(NamedTuple):
    """A table, view or query in FROM, under the name it has there."""

    name: str
    sql: str
    columns: list[Output]


class Query(NamedTuple):
    """A query of DuckDB's, without brackets, and its columns."""

    sql: str
    columns: list[Output]


class Context(NamedTuple):
    """What a statement is compiled with; `tables` collects the names of those that are read."""

    schema: Schema
    parameters: Mapping[str, str]
    tables: set[str]
    used: set[str]  # parameters that were met


def folded(identifier: Any) -> str:
    """Return a name as Redshift keeps it: ASCII letters small, in quotes or not."""
    name = identifier if isinstance(identifier, str) else identifier.name
    if not name:
        raise Refused("A name is empty.", "Write a name.")
    return "".join(c.lower() if c.isascii() else c for c in name)


class Queries:
    """Compiles queries; `ctes` are the WITH queries in reach, `outer` the query around this one."""

    def __init__(
        self, context: Context, ctes: Mapping[str, list[Output]] | None = None, outer: "Select | None" = None
    ) -> None:
        self.context = context
        self.ctes = dict(ctes or {})
        self.outer = outer

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
        return Query(f"{prefix}({inner.sql}){self._tail(node, inner.columns)}", inner.columns)

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
            columns = _renamed(query.columns, names, name)
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
        return _renamed(inner.query(node.this).columns, names, name)

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
        operator = f"{kind.upper()}{'' if node.args.get('distinct') else ' ALL'}"
        sql = f" {operator} ".join(_converted(part, columns) for part in parts)
        return Query(sql + self._tail(node, columns), columns)

    def _operand(self, node: Any) -> Query:
        kind = type(node).__name__
        inner = Queries(self.context, self.ctes, self.outer)
        return inner.query(node) if kind != "Subquery" else inner._bracketed(node)

    def _tail(self, node: Any, columns: Sequence[Output]) -> str:
        """Return ORDER BY, LIMIT and OFFSET around a whole query: by its columns, by name or by number."""
        parts = []
        if order := node.args.get("order"):
            sorting = []
            for each in order.expressions:
                inner = each.this if type(each).__name__ == "Ordered" else each
                at = _place(inner, columns)
                if at is None:
                    raise Refused(
                        "Around UNION and brackets, ORDER BY takes names of columns or their numbers.",
                        "Write ORDER BY 1.",
                    )
                sorting.append(f"{at} {calls.direction(each)}")
            parts.append(f" ORDER BY {', '.join(sorting)}")
        return "".join(parts) + self.limits(node)

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


class Select:
    """One SELECT while it is compiled: the sources in FROM, and the names of its own columns."""

    def __init__(self, queries: Queries, node: Any) -> None:
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
        if table is None and name in ("current_date", "sysdate") and not self._in_reach(name):
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
        query = Queries(self.queries.context, self.queries.ctes, self).query(node)
        return query.sql, [column.type or VARCHAR for column in query.columns]

    def parameter(self, name: str) -> str:
        """Return the value given for `:name`."""
        return self.queries.context_parameter(name)

    def _in_reach(self, name: str) -> bool:
        return any(column.name == name for source in self.sources for column in source.columns)

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
        where = (
            f" WHERE {self._without_aliases(node.args['where'].this, 'WHERE').sql}" if node.args.get("where") else ""
        )
        group = self._group(outputs)
        having = (
            f" HAVING {self.expressions.boolean(node.args['having'].this, 'HAVING').sql}"
            if node.args.get("having")
            else ""
        )
        qualify = (
            f" QUALIFY {self.expressions.boolean(node.args['qualify'].this, 'QUALIFY').sql}"
            if node.args.get("qualify")
            else ""
        )
        order = self._order(outputs)
        distinct = self._distinct()
        listed = ", ".join(f"{value.sql} AS {name_sql(name)}" for name, value in outputs)
        sql = f"SELECT {distinct}{listed}{origin}{where}{group}{having}{qualify}{order}{self.queries.limits(node)}"
        return Query(sql, [Output(name, value.type, name_sql(name), value.is_null) for name, value in outputs])

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
            query = Queries(self.queries.context, self.queries.ctes, None).query(node.this)
            return _named(f"({query.sql})", folded(alias.this), _renamed(query.columns, names, "the query"))
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
            return _named(name_sql(name), alias or name, _renamed(columns, names, name))
        context = self.queries.context
        if system := catalog.view(schema, name, context.schema):
            sql, outputs = system
            columns = [Output(column, kind) for column, kind in outputs]
            return _named(f"({sql})", alias or name, _renamed(columns, names, name))
        check_place(node)
        if name not in context.schema:
            known = ", ".join(sorted(context.schema))
            raise Refused(f"There is no table {name}.", f"There are {known}." if known else "Create it first.")
        context.tables.add(name)
        columns = [
            Output(folded(column), types.of_column(kind), column) for column, kind in context.schema[name].items()
        ]
        if len({column.name for column in columns}) < len(columns):
            raise Refused(f"The table {name} has columns that differ in capital letters alone.", "Rename one.")
        return _named(name_sql(name), alias or name, _renamed(columns, names, name))

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
            left = self.merged.get(name) or _only_one(name, before)
            right = _only_one(name, [source for source in self.sources if source not in before])
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
            outputs.append((alias or _name_of(node), value))
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

    def _group(self, outputs: list[tuple[str, Value]]) -> str:
        group = self.node.args.get("group")
        if group is None:
            return ""
        only(group, "expressions")
        parts = []
        for node in group.expressions:
            if type(node).__name__ in ("Rollup", "Cube", "GroupingSets"):
                raise Refused(
                    "ROLLUP, CUBE and GROUPING SETS are not supported.", "Write a query each, with UNION ALL."
                )
            parts.append(self._grouped(node, outputs))
        return f" GROUP BY {', '.join(parts)}"

    def _grouped(self, node: Any, outputs: list[tuple[str, Value]]) -> str:
        """Return a part of GROUP BY: a number is a column's place; a name is a column of FROM, else an alias."""
        if type(node).__name__ == "Literal" and not node.is_string:
            return outputs[_number(node, len(outputs), "GROUP BY") - 1][1].sql
        value = self.expressions.value(node)
        if value.literal is not None or value.number is not None or value.is_null:
            raise Refused("GROUP BY with a constant is not supported.", "Group by columns.")
        return value.sql

    def _order(self, outputs: list[tuple[str, Value]]) -> str:
        order = self.node.args.get("order")
        if order is None:
            return ""
        columns = [Output(name, value.type) for name, value in outputs]
        sorting = []
        for each in order.expressions:
            inner = each.this if type(each).__name__ == "Ordered" else each
            at = _place(inner, columns)
            if at is None:
                value, how = calls.ordered(each, self.expressions)
                if value.literal is not None or value.number is not None or value.is_null:
                    raise Refused("ORDER BY with a constant is not supported.", "Order by columns.")
                sorting.append(f"{value.sql} {how}")
            else:
                sorting.append(f"{at} {calls.direction(each)}")
        return f" ORDER BY {', '.join(sorting)}"


def check_place(node: Any) -> None:
    """Refuse a table of another schema or database."""
    schema = folded(node.args["db"]) if node.args.get("db") else "public"
    database = folded(node.args["catalog"]) if node.args.get("catalog") else DATABASES[0]
    if schema not in SCHEMAS or database not in DATABASES:
        raise Refused(
            f"There is no schema {schema}." if schema not in SCHEMAS else f"There is no database {database}.",
            "Tables are in headrace.public.",
        )


def _named(sql: str, name: str, columns: list[Output]) -> Source:
    """Return a source under its name; its columns are referred to with that before them."""
    listed = [column._replace(sql=f"{name_sql(name)}.{name_sql(column.name)}") for column in columns]
    names = ", ".join(name_sql(column.name) for column in columns)
    return Source(name, f"{sql} AS {name_sql(name)}({names})", listed)


def _renamed(columns: Sequence[Output], names: Sequence[str], what: str) -> list[Output]:
    if names and len(names) != len(columns):
        raise Refused(f"{what} has {len(columns)} columns, and {len(names)} names are given.", "Name each.")
    renamed = (
        [column._replace(name=name) for column, name in zip(columns, names, strict=True)] if names else list(columns)
    )
    seen: set[str] = set()
    for column in renamed:
        if column.name in seen:
            raise Refused(f"{what} has two columns called {column.name}.", "Give one another name: x AS y.")
        seen.add(column.name)
    return renamed


def _converted(part: Query, columns: Sequence[Output]) -> str:
    """Return a query as a part of a set operation, its columns converted to the types they have in common."""
    if all(have.type == want.type for have, want in zip(part.columns, columns, strict=True)):
        return f"(SELECT * FROM ({part.sql}))"
    names = [f"c{at}" for at in range(len(columns))]
    casts = (
        cast(Value(name, have.type or VARCHAR), want.type or VARCHAR).sql
        for name, have, want in zip(names, part.columns, columns, strict=True)
    )
    listed = ", ".join(f"{sql} AS {name_sql(want.name)}" for sql, want in zip(casts, columns, strict=True))
    return f"(SELECT {listed} FROM ({part.sql}) AS part({', '.join(names)}))"


def _only_one(name: str, sources: list[Source]) -> Output:
    found = [column for source in sources for column in source.columns if column.name == name]
    if len(found) != 1:
        raise Refused(f"USING ({name}): not one column is called so on each side.", "Write ON a.x = b.y.")
    return found[0]


def _number(node: Any, most: int, what: str) -> int:
    text = node.name
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= most:
        raise Refused(f"{what} {text}: there is no such column.", f"Count from 1 to {most}.")
    return int(text)


def _place(node: Any, columns: Sequence[Output]) -> int | None:
    """Return which of the columns ORDER BY means by a number or a bare name, from 1; None for an expression."""
    kind = type(node).__name__
    if kind == "Literal" and not node.is_string:
        return _number(node, len(columns), "ORDER BY")
    if kind == "Column" and not node.args.get("table") and type(node.this).__name__ == "Identifier":
        name = folded(node.this)
        places = [at for at, column in enumerate(columns, 1) if column.name == name]
        if len(places) > 1:
            raise Refused(f"ORDER BY {name}: several columns are called so.", "Write the column's number.")
        return places[0] if places else None
    return None


def _name_of(node: Any) -> str:
    """Return the name that a column has without an alias."""
    kind = type(node).__name__
    if kind == "Column":
        return folded(node.this)
    if kind in ("Paren", "Cast", "WithinGroup", "Window", "IgnoreNulls"):
        return _name_of(node.this)
    if kind == "Anonymous":
        return folded(node.this if isinstance(node.this, str) else node.this.name)
    return {
        "Case": "case",
        "Extract": "date_part",
        "Substring": "substring",
        "Trim": "btrim",
        "StrPosition": "strpos",
    }.get(kind, "?column?")


def _mentions(node: Any, name: str) -> bool:
    return any(
        type(each).__name__ == "Table" and not each.args.get("db") and folded(each.this) == name
        for each in node.walk()
        if type(each).__name__ == "Table" and type(each.this).__name__ == "Identifier"
    )


def _no_arguments(name: str) -> Any:
    from sqlglot import exp

    return exp.Anonymous(this=name, expressions=[])


__all__ = ["AGGREGATES", "BIGINT", "Context", "Output", "Queries", "Query", "Schema", "Source", "text_sql"]
