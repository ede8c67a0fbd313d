"""Names: the tables, columns and queries that a statement's names may stand for. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from headrace.warehouse.redshift.types import Refused, Type
from headrace.warehouse.redshift.values import name_sql

Schema = Mapping[str, Mapping[str, str]]
COLUMNS_MAX = 1600
SCHEMAS = ("public",)
DATABASES = ("headrace", "dev")
# What a column of a function is called, where it isn't the function's name.
_TITLES = {
    "nvl": "coalesce", "decode": "case", "dateadd": "date_add", "datediff": "date_diff", "date_part": "pgdate_part",
    "sysdate": "timestamp", "getdate": "timestamp", "current_date": "date", "log": "dlog10",
}  # fmt: skip
# And what a column is called that is a conversion of what has no name.
_TYPES = {
    "SMALLINT": "int2", "INT": "int4", "BIGINT": "int8", "DECIMAL": "numeric", "FLOAT": "float4", "DOUBLE": "float8",
    "BOOLEAN": "bool", "VARCHAR": "varchar", "NVARCHAR": "varchar", "DATE": "date", "TIMESTAMP": "timestamp",
}  # fmt: skip


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
    if type(identifier).__name__ == "Placeholder":
        raise Refused(f":{identifier.name} stands where a name belongs.", "Write :: for a conversion, AS for a name.")
    name = identifier if isinstance(identifier, str) else identifier.name
    if not name:
        raise Refused("A name is empty.", "Write a name.")
    return "".join(c.lower() if c.isascii() else c for c in name)


def check_place(node: Any) -> None:
    """Refuse a table of another schema or database."""
    schema = folded(node.args["db"]) if node.args.get("db") else "public"
    database = folded(node.args["catalog"]) if node.args.get("catalog") else DATABASES[0]
    if schema not in SCHEMAS or database not in DATABASES:
        raise Refused(
            f"There is no schema {schema}." if schema not in SCHEMAS else f"There is no database {database}.",
            "Tables are in headrace.public.",
        )


def named(sql: str, name: str, columns: list[Output]) -> Source:
    """Return a source under its name; its columns are referred to with that before them."""
    listed = [column._replace(sql=f"{name_sql(name)}.{name_sql(column.name)}") for column in columns]
    names = ", ".join(name_sql(column.name) for column in columns)
    return Source(name, f"{sql} AS {name_sql(name)}({names})", listed)


def renamed(columns: Sequence[Output], names: Sequence[str], what: str) -> list[Output]:
    """Return columns under the names that are given, if any are; none may be there twice."""
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


def only_one(name: str, sources: list[Source]) -> Output:
    """Return the one column of a name in some sources."""
    found = [column for source in sources for column in source.columns if column.name == name]
    if len(found) != 1:
        raise Refused(f"USING ({name}): not one column is called so on each side.", "Write ON a.x = b.y.")
    return found[0]


def number_of(node: Any, most: int, what: str) -> int:
    """Return a column's number, from 1, that is written out."""
    text = node.name
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= most:
        raise Refused(f"{what} {text}: there is no such column.", f"Count from 1 to {most}.")
    return int(text)


def place_of(node: Any, columns: Sequence[Output]) -> int | None:
    """Return which of the columns ORDER BY means by a number or a bare name, from 1; None for an expression."""
    kind = type(node).__name__
    if kind == "Literal" and not node.is_string:
        return number_of(node, len(columns), "ORDER BY")
    if kind == "Column" and not node.args.get("table") and type(node.this).__name__ == "Identifier":
        name = folded(node.this)
        places = [at for at, column in enumerate(columns, 1) if column.name == name]
        if len(places) > 1:
            raise Refused(f"ORDER BY {name}: several columns are called so.", "Write the column's number.")
        return places[0] if places else None
    return None


def name_of(node: Any) -> str:
    """Return the name that a column has without an alias."""
    kind = type(node).__name__
    if kind == "Column":
        return folded(node.this)
    if kind in ("Paren", "WithinGroup", "Window", "IgnoreNulls"):
        return name_of(node.this)
    if kind == "Cast":
        inner = name_of(node.this)
        return _TYPES.get(getattr(node.args["to"].this, "name", ""), inner) if inner in ("?column?", "case") else inner
    if kind == "Anonymous":
        name = folded(node.this if isinstance(node.this, str) else node.this.name)
        return name_of(node.expressions[0]) if name in ("approximate", "nullif") else _TITLES.get(name, name)
    if kind == "Trim":
        return {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(str(node.args.get("position") or "").upper(), "btrim")
    return {
        "Case": "case",
        "Extract": "date_part",
        "Substring": "substring",
        "StrPosition": "position",
    }.get(kind, "?column?")
