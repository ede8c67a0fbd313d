"""The system's own views, answered from the tables that are known: what tools ask for first. Pure."""

from collections.abc import Mapping

from headrace.warehouse.redshift import types
from headrace.warehouse.redshift.types import INTEGER, VARCHAR, Refused, Type
from headrace.warehouse.redshift.values import text_sql

DATABASE, SCHEMA = "headrace", "public"
Columns = list[tuple[str, Type]]
Rows = list[tuple[str | int | None, ...]]

# Of their columns, those whose values are known: not which table is a view, nor which column may be null.
_TABLES = ["table_catalog", "table_schema", "table_name"]
_SVV_COLUMNS = ["table_catalog", "table_schema", "table_name", "column_name", "ordinal_position", "data_type"]
_VIEWS = {
    ("pg_catalog", "svv_tables"): _TABLES,
    ("information_schema", "tables"): _TABLES,
    ("pg_catalog", "svv_columns"): _SVV_COLUMNS,
    ("information_schema", "columns"): _SVV_COLUMNS,
    ("pg_catalog", "pg_table_def"): ["schemaname", "tablename", "column", "type"],
    ("information_schema", "schemata"): ["catalog_name", "schema_name"],
    ("pg_catalog", "svv_schemas"): ["schema_name"],
}
_SYSTEM = ("pg_", "stl_", "stv_", "svl_", "svv_", "svcs_", "sys_")


def view(schema: str | None, name: str, tables: Mapping[str, Mapping[str, str]]) -> tuple[str, Columns] | None:
    """Return a query and its columns in the place of a system view; None for what is none."""
    if schema in (None, "pg_catalog", "information_schema"):
        for place in (schema,) if schema else ("pg_catalog",):
            if names := _VIEWS.get((place, name)):
                kinds = [(each, INTEGER if each == "ordinal_position" else VARCHAR) for each in names]
                return _values(kinds, _rows(name, tables)), kinds
    if schema in ("pg_catalog", "information_schema") or (name.startswith(_SYSTEM) and name not in tables):
        known = ", ".join(sorted({f"{place}.{each}" if place[0] == "i" else each for place, each in _VIEWS}))
        raise Refused(f"The system's {name} is not served.", f"There are {known}.")
    return None


def _rows(name: str, tables: Mapping[str, Mapping[str, str]]) -> Rows:
    names = sorted(tables)
    if name in ("svv_tables", "tables"):
        return [(DATABASE, SCHEMA, table) for table in names]
    if name == "schemata":
        return [(DATABASE, SCHEMA)]
    if name == "svv_schemas":
        return [(SCHEMA,)]
    found: Rows = []
    for table in names:
        for at, (column, kind) in enumerate(tables[table].items(), 1):
            typed = types.of_column(kind)
            spelled = "unsupported" if typed is None else typed.name
            if name == "pg_table_def":
                found.append((SCHEMA, table, column.lower(), str(typed or spelled)))
            else:
                found.append((DATABASE, SCHEMA, table, column.lower(), at, spelled))
    return found


def _values(columns: Columns, rows: Rows) -> str:
    names = ", ".join(f'"{name}"' for name, _ in columns)
    empty = ", ".join(f"CAST(NULL AS {kind.duckdb})" for _, kind in columns)
    listed = ", ".join(f"({', '.join(map(_cell, row))})" for row in rows)
    if not rows:
        return f"SELECT * FROM (SELECT {empty}) AS v({names}) WHERE false"
    return f"SELECT * FROM (VALUES {listed}) AS v({names})"


def _cell(value: str | int | None) -> str:
    return "NULL" if value is None else str(value) if isinstance(value, int) else text_sql(value)
