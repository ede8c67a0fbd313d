"""Redshift's SQL for DuckDB: right, or refused by name.

`translate` knows what it lets through: statements, clauses, functions, types and conversions that are known to mean the
same on both, after what has to be rewritten. Everything else raises Refused, which says what to write instead. It is
pure, and imports sqlglot, which parses, when it is first called.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from headrace.warehouse.redshift.types import Refused

if TYPE_CHECKING:
    from headrace.warehouse.redshift.names import Schema

Kind = Literal["query", "write", "copy", "unload", "session"]
SQL_BYTES_MAX = 100_000  # of ExecuteStatement

# What a DuckDB connection has to be told before it runs the SQL that `translate` gives.
SETTINGS = ("SET TimeZone = 'UTC'", "SET integer_division = false", "SET ieee_floating_point_ops = true")


@dataclass(frozen=True)
class Column:
    """A column of a result; `type` is Redshift's name, `numeric(38,4)` with its digits."""

    name: str
    type: str


@dataclass(frozen=True)
class Copy:
    """A COPY: into `table`, from objects whose keys begin with what `source` says."""

    table: str
    columns: tuple[str, ...]
    source: str
    format: str
    iam_role: str | None
    options: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Unload:
    """An UNLOAD of a query (Redshift's SQL) to objects whose keys begin with what `destination` says."""

    query: str
    destination: str
    format: str
    iam_role: str | None
    options: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Statement:
    """A statement. `sql` is DuckDB's: a query, a write, or an UNLOAD's query; of the other kinds it is empty."""

    kind: Kind
    action: str
    sql: str = ""
    columns: tuple[Column, ...] = ()
    tables: tuple[str, ...] = ()
    target: str | None = None
    copy: Copy | None = None
    unload: Unload | None = None


def translate(sql: str, schema: "Schema", parameters: Mapping[str, str] | None = None) -> list[Statement]:
    """Return the statements of Redshift's SQL for DuckDB.

    `schema` has the tables and their columns with DuckDB's types. `parameters` are the values of `:name`: each becomes
    a literal. Raises Refused, for all of the statements, if one of them is not known to mean the same here.
    """
    from headrace.warehouse.redshift import statements

    if len(sql.encode()) > SQL_BYTES_MAX:
        raise Refused(f"The SQL has more than {SQL_BYTES_MAX:,} bytes.", "Make it shorter; put lists into a table.")
    return statements.translate(sql, schema, parameters or {})


__all__ = ["SETTINGS", "Column", "Copy", "Kind", "Refused", "Statement", "Unload", "translate"]
