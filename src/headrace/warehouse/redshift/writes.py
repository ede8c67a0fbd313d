"""Statements that write: INSERT, UPDATE, DELETE, TRUNCATE, and the making and dropping of tables and views."""

from typing import Any

from headrace.warehouse.dialect import Statement
from headrace.warehouse.redshift import casts, parsing
from headrace.warehouse.redshift.expressions import only
from headrace.warehouse.redshift.names import Context, Output, Query, check_place, folded
from headrace.warehouse.redshift.queries import Queries
from headrace.warehouse.redshift.select import Select
from headrace.warehouse.redshift.types import UNKNOWN, VARCHAR, Refused, Type, of_column
from headrace.warehouse.redshift.values import NULL, Value, as_type, name_sql

_ENCODINGS = [
    "AZ64",
    "BYTEDICT",
    "DELTA",
    "DELTA32K",
    "LZO",
    "MOSTLY8",
    "MOSTLY16",
    "MOSTLY32",
    "RAW",
    "RUNLENGTH",
    "TEXT255",
    "TEXT32K",
    "ZSTD",
    "AUTO",
]


def statement(word: str, tokens: list[Any], sql: str, context: Context) -> Statement:
    """Translate a statement that begins with a word."""
    if word == "CREATE":
        tokens = _without_layout(tokens)
    tree = parsing.parse(tokens, sql)
    handler = {
        "Insert": _insert, "Update": _update, "Delete": _delete, "TruncateTable": _truncate, "Create": _create,
        "Drop": _drop,
    }.get(type(tree).__name__)  # fmt: skip
    if handler is None:
        raise Refused(f"This {word} is not supported.", "See docs/sql.md for the statements that are known.")
    return handler(tree, context)


def select_into(tree: Any, context: Context) -> Statement:
    """SELECT … INTO table: a CREATE TABLE AS."""
    into = tree.args["into"]
    only(into, "this")
    target = _new(into.this, context)
    tree.set("into", None)
    return _create_as(tree, target, context, exists=False)


def _write(action: str, sql: str, target: str, context: Context) -> Statement:
    return Statement("write", action, sql, tables=tuple(sorted(context.tables)), target=target)


def _target(node: Any, context: Context) -> str:
    """Return the name of a table that is written to."""
    if type(node).__name__ != "Table" or type(node.this).__name__ != "Identifier":
        raise Refused("A table is named here.", "Write its name.")
    only(node, "this", "db", "catalog")
    check_place(node)
    name = folded(node.this)
    if name not in context.schema:
        raise Refused(f"There is no table {name}.", f"There are {', '.join(sorted(context.schema))}.")
    return name


def _new(node: Any, context: Context) -> str:
    if type(node).__name__ != "Table" or type(node.this).__name__ != "Identifier":
        raise Refused("A table is named here.", "Write its name.")
    only(node, "this", "db", "catalog")
    check_place(node)
    return folded(node.this)


def _columns(table: str, context: Context) -> dict[str, Type]:
    found = {}
    for name, kind in context.schema[table].items():
        if (typed := of_column(kind)) is not None:
            found[folded(name)] = typed
    return found


def _insert(tree: Any, context: Context) -> Statement:
    only(tree, "this", "expression", "with_")
    schema = type(tree.this).__name__ == "Schema"
    target = _target(tree.this.this if schema else tree.this, context)
    known = _columns(target, context)
    names = [folded(each) for each in tree.this.expressions] if schema else list(known)
    for name in names:
        if name not in known or names.count(name) > 1:
            raise Refused(f"{target} has no column {name}, or it is named twice.", f"It has {', '.join(known)}.")
    listed = ", ".join(map(name_sql, names))
    kinds = [known[name] for name in names]
    if type(tree.expression).__name__ == "Values":
        source = _values(tree.expression, kinds, context, whole=schema)
        names = names[: len(source[1])]
        listed = ", ".join(map(name_sql, names))
        return _write("INSERT", f"INSERT INTO {name_sql(target)} ({listed}) {source[0]}", target, context)
    query = Queries(context).query(tree.expression)
    if len(query.columns) != len(names):
        raise Refused(f"INSERT names {len(names)} columns, and the query gives {len(query.columns)}.", "Give as many.")
    return _write("INSERT", f"INSERT INTO {name_sql(target)} ({listed}) {_assigned(query, kinds)}", target, context)


def _assigned(query: Query, kinds: list[Type]) -> str:
    """Return a query whose columns have the types of those that they are written to."""
    names = [f"c{at}" for at in range(len(kinds))]
    values = []
    for name, column, kind in zip(names, query.columns, kinds, strict=True):
        value = Value(name, column.type or UNKNOWN)
        values.append(as_type(value, kind, f"INSERT of {column.name!r}").sql)
    return f"SELECT {', '.join(values)} FROM ({query.sql}) AS query({', '.join(names)})"


def _values(node: Any, kinds: list[Type], context: Context, *, whole: bool) -> tuple[str, list[Type]]:
    only(node, "expressions")
    expressions = Select(Queries(context), node).expressions
    rows, count = [], None
    for row in node.expressions:
        cells = row.expressions if type(row).__name__ == "Tuple" else [row]
        if len(cells) > len(kinds) or (whole and len(cells) != len(kinds)) or count not in (None, len(cells)):
            raise Refused("The rows of VALUES have other numbers of values than there are columns.", "Give as many.")
        count = len(cells)
        parts = []
        for cell, kind in zip(cells, kinds, strict=False):
            if type(cell).__name__ in ("Var", "Column") and cell.name.upper() == "DEFAULT":
                raise Refused("DEFAULT in VALUES is not supported.", "Leave the column out.")
            parts.append(as_type(expressions.value(cell), kind, "INSERT").sql)
        rows.append(f"({', '.join(parts)})")
    return f"VALUES {', '.join(rows)}", kinds[: count or 0]


def _update(tree: Any, context: Context) -> Statement:
    only(tree, "this", "expressions", "where")
    target = _target(tree.this, context)
    known = _columns(target, context)
    select = _over(target, context)
    parts = []
    for each in tree.expressions:
        if type(each).__name__ != "EQ" or type(each.this).__name__ != "Column" or each.this.args.get("table"):
            raise Refused("UPDATE takes SET column = value.", "Write SET a = 1, b = 2.")
        name = folded(each.this.this)
        if name not in known:
            raise Refused(f"{target} has no column {name}.", f"It has {', '.join(known)}.")
        default = type(each.expression).__name__ == "Null"
        value = NULL if default else select.expressions.value(each.expression)
        parts.append(f"{name_sql(name)} = {as_type(value, known[name], f'UPDATE of {name}').sql}")
    return _write("UPDATE", f"UPDATE {name_sql(target)} SET {', '.join(parts)}{_where(tree, select)}", target, context)


def _delete(tree: Any, context: Context) -> Statement:
    only(tree, "this", "where")
    target = _target(tree.this, context)
    select = _over(target, context)
    return _write("DELETE", f"DELETE FROM {name_sql(target)}{_where(tree, select)}", target, context)


def _over(target: str, context: Context) -> Select:
    """Return a SELECT over a table, for the names in conditions on its rows."""
    from sqlglot import exp

    select = Select(Queries(context), exp.Select())
    select._add(exp.to_table(f'"{target}"'))
    context.tables.discard(target)
    return select


def _where(tree: Any, select: Select) -> str:
    where = tree.args.get("where")
    return f" WHERE {select.expressions.boolean(where.this, 'WHERE').sql}" if where is not None else ""


def _truncate(tree: Any, context: Context) -> Statement:
    only(tree, "expressions")
    if len(tree.expressions) != 1:
        raise Refused("TRUNCATE takes one table.", "Write one for each.")
    target = _target(tree.expressions[0], context)
    return _write("TRUNCATE", f"DELETE FROM {name_sql(target)}", target, context)


def _create(tree: Any, context: Context) -> Statement:
    only(tree, "this", "kind", "expression", "exists", "replace")
    kind = tree.args["kind"]
    if kind not in ("TABLE", "VIEW"):
        raise Refused(f"CREATE {kind} is not supported.", "Create tables and views.")
    schema = type(tree.this).__name__ == "Schema"
    target = _new(tree.this.this if schema else tree.this, context)
    if kind == "VIEW":
        return _create_view(tree, target, context)
    if tree.args.get("replace"):
        raise Refused("CREATE OR REPLACE TABLE is not supported.", "Write DROP TABLE IF EXISTS, then CREATE TABLE.")
    exists = bool(tree.args.get("exists"))
    if target in context.schema and not exists:
        raise Refused(f"There is a table {target} already.", "Drop it first, or take another name.")
    if tree.expression is not None:
        if schema:
            raise Refused("CREATE TABLE (…) AS is not supported.", "Name the columns in the query: x AS name.")
        return _create_as(tree.expression, target, context, exists=exists)
    if not schema:
        raise Refused("CREATE TABLE needs its columns.", "Write CREATE TABLE t (a INTEGER, b VARCHAR(100)).")
    definitions = ", ".join(_definition(each) for each in tree.this.expressions)
    return _write(
        "CREATE TABLE",
        f"CREATE TABLE {'IF NOT EXISTS ' if exists else ''}{name_sql(target)} ({definitions})",
        target,
        context,
    )


def _definition(node: Any) -> str:
    if type(node).__name__ != "ColumnDef":
        raise Refused(
            "Keys and other rules of a table are not supported.",
            "List the columns alone: Redshift does not enforce keys.",
        )
    only(node, "this", "kind", "constraints")
    name = folded(node.this)
    if node.args.get("kind") is None:
        raise Refused(f"The column {name} has no type.", "Write one: INTEGER, VARCHAR(100).")
    kind, bytes_max = casts.type_of(node.args["kind"])
    if kind == VARCHAR and not node.args["kind"].expressions:
        bytes_max = casts.BYTES_DEFAULT
    parts = [name_sql(name), kind.duckdb]
    if bytes_max is not None:
        parts.append(f"CHECK (strlen({name_sql(name)}) <= {bytes_max})")
    for constraint in node.args.get("constraints") or ():
        rule = constraint.args.get("kind")
        if type(rule).__name__ == "NotNullColumnConstraint":
            parts += [] if rule.args.get("allow_null") else ["NOT NULL"]
        elif type(rule).__name__ not in ("EncodeColumnConstraint",):
            raise Refused(
                f"The column {name} has a rule that is not supported.", "NOT NULL is; Redshift does not enforce keys."
            )
    return " ".join(parts)


def _create_as(query: Any, target: str, context: Context, *, exists: bool) -> Statement:
    if target in context.schema and not exists:
        raise Refused(f"There is a table {target} already.", "Drop it first, or take another name.")
    found = Queries(context).query(query)
    _check_names(found.columns)
    create = f"CREATE TABLE {'IF NOT EXISTS ' if exists else ''}{name_sql(target)} AS {found.sql}"
    return _write("CREATE TABLE", create, target, context)


def _create_view(tree: Any, target: str, context: Context) -> Statement:
    if type(tree.this).__name__ == "Schema" or tree.args.get("exists"):
        raise Refused("CREATE VIEW takes a name and a query.", "Write CREATE OR REPLACE VIEW v AS SELECT ….")
    if target in context.schema and not tree.args.get("replace"):
        raise Refused(
            f"There is a table or view {target} already.", "Write CREATE OR REPLACE VIEW, or take another name."
        )
    found = Queries(context).query(tree.expression)
    _check_names(found.columns)
    replace = "OR REPLACE " if tree.args.get("replace") else ""
    return _write("CREATE VIEW", f"CREATE {replace}VIEW {name_sql(target)} AS {found.sql}", target, context)


def _check_names(columns: list[Output]) -> None:
    seen: set[str] = set()
    for column in columns:
        if column.name in seen or column.name == "?column?":
            raise Refused(f"A column of the query has no name of its own: {column.name}.", "Give it one: x AS name.")
        seen.add(column.name)


def _drop(tree: Any, context: Context) -> Statement:
    only(tree, "this", "tables", "kind", "exists", "restrict")
    kind = tree.args["kind"]
    tables = tree.args.get("tables") or ([tree.this] if tree.this is not None else [])
    if kind not in ("TABLE", "VIEW") or len(tables) != 1:
        raise Refused(f"DROP {kind} of that is not supported.", "Drop a table or a view at a time.")
    exists = bool(tree.args.get("exists"))
    target = _new(tables[0], context) if exists else _target(tables[0], context)
    return _write(f"DROP {kind}", f"DROP {kind} {'IF EXISTS ' if exists else ''}{name_sql(target)}", target, context)


def _without_layout(tokens: list[Any]) -> list[Any]:
    """Leave out what says how Redshift lays a table out: DISTSTYLE, DISTKEY, SORTKEY, ENCODE, BACKUP."""
    kept: list[Any] = []
    at = 0
    while at < len(tokens):
        word = tokens[at].text.upper()
        following = tokens[at + 1].text.upper() if at + 1 < len(tokens) else ""
        if at < 3:
            kept.append(tokens[at])
        elif word == "AS" and following in ("SELECT", "WITH", "("):
            return kept + tokens[at:]
        elif (
            (word == "DISTSTYLE" and following in ("AUTO", "EVEN", "KEY", "ALL"))
            or (word == "ENCODE" and following in _ENCODINGS)
            or (word == "BACKUP" and following in ("YES", "NO"))
        ):
            at += 1
        elif word in ("COMPOUND", "INTERLEAVED") and following == "SORTKEY":
            pass
        elif word in ("DISTKEY", "SORTKEY"):
            at += _bracketed(tokens, at + 1)
        else:
            kept.append(tokens[at])
        at += 1
    return kept


def _bracketed(tokens: list[Any], at: int) -> int:
    """Return how many tokens a list in brackets has that begins there; 0 where none does."""
    if at >= len(tokens) or tokens[at].text != "(":
        return 0
    for end in range(at, len(tokens)):
        if tokens[end].text == ")":
            return end - at + 1
    return 0
