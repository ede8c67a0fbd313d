"""Rows as a sorted Parquet file without repeated identities: what files of the archive have in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.archive import columns
from headrace.archive.columns import names_sql, text_sql

ROW_GROUP = 122_880


def first_of_each_sql(rows: str, names: Sequence[str]) -> str:
    """Return a SELECT of the columns `names` of rows in the order of identities, of each identity the first.

    First is the lowest `part`, a column of `rows` as the others are, then who arrived first.
    """
    listed, identity = names_sql(names), names_sql(columns.IDENTITY)
    ordered = f"SELECT {listed} FROM {rows} ORDER BY {identity}, part, arrived_at, number"
    again = " AND ".join(f"{name} = lag({name}) OVER ()" for name in columns.IDENTITY)
    return f"SELECT {listed} FROM (SELECT *, ({again}) IS TRUE AS again FROM ({ordered})) WHERE NOT again"


def copy(connection: Any, select: str, path: Path) -> None:
    """Write what a SELECT gives to a Parquet file, in its order."""
    connection.execute(
        f"COPY ({select}) TO {text_sql(str(path))} "
        f"(FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE {ROW_GROUP})"
    )
