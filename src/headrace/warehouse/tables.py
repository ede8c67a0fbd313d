"""The tables of the warehouse, as `tables.sql` defines them for this machine and for Redshift. Pure, but for that file.

The readings that the template names get a DOUBLE PRECISION column each at the end of `events`; `columns.typed` of the
archive says which names can have one. Redshift folds names to small letters, so a column's name is in small letters.
"""

import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import NamedTuple

_TABLE = re.compile(r"((?:^--[^\n]*\n)*)^CREATE TABLE (\w+) \((.*?)^\);", re.MULTILINE | re.DOTALL)
_COLUMN = re.compile(r"^\s*-- (.*)\n\s*(\w+) ([A-Z][A-Z ]*?(?:\([\d, ]+\))?)( NOT NULL)?,?$", re.MULTILINE)
_REDSHIFT = "-- redshift: "
PERIOD_START = "period_start"
DATABASE, SCHEMA, WORKGROUP = "headrace", "public", "headrace"
EVENTS, READINGS, DEVICES, HOURLY, DAILY, BILLS = "events", "readings", "devices", "hourly", "daily", "bills"


class Column(NamedTuple):
    """A column: `type` as `tables.sql` has it, without NOT NULL."""

    name: str
    type: str
    description: str
    required: bool = False


class Table(NamedTuple):
    """A table; `redshift` is what Redshift's CREATE TABLE gets at its end: how rows are distributed and sorted."""

    name: str
    description: str
    columns: tuple[Column, ...]
    redshift: str
    body: str

    @property
    def names(self) -> tuple[str, ...]:
        """Return the columns' names, in order."""
        return tuple(column.name for column in self.columns)


@cache
def tables() -> dict[str, Table]:
    """Return the tables by name, in the order of the file."""
    text = resources.files(__package__).joinpath("tables.sql").read_text(encoding="utf-8")
    return {found[2]: _table(*found.groups()) for found in _TABLE.finditer(text)}


def _table(comments: str, name: str, body: str) -> Table:
    lines = comments.splitlines()
    description = " ".join(line.removeprefix("--").strip() for line in lines if not line.startswith(_REDSHIFT))
    redshift = "".join(line.removeprefix(_REDSHIFT) for line in lines if line.startswith(_REDSHIFT))
    columns = tuple(Column(found[2], found[3].strip(), found[1], bool(found[4])) for found in _COLUMN.finditer(body))
    return Table(name, description, columns, redshift, body)


def create_sql(table: str, *, redshift: bool = False) -> str:
    """Return the CREATE TABLE IF NOT EXISTS of a table, with Redshift's distribution and order where asked."""
    found = tables()[table]
    end = f" {found.redshift}" if redshift and found.redshift else ""
    return f"CREATE TABLE IF NOT EXISTS {table} ({found.body}){end}"


def add_column_sql(reading: str) -> str:
    """Return the ALTER TABLE that gives a reading its column in `events`."""
    return f"ALTER TABLE {EVENTS} ADD COLUMN {quoted(column_of(reading))} DOUBLE PRECISION"


def column_of(reading: str) -> str:
    """Return the name of a reading's column in `events`."""
    return reading.lower()


def with_columns(readings: Iterable[str]) -> dict[str, str]:
    """Return column -> reading for the readings that get a column in `events`: of two that agree, the first."""
    taken = set(tables()[EVENTS].names)
    found: dict[str, str] = {}
    for reading in readings:
        column = column_of(reading)
        if reading and reading.isprintable() and column not in taken:
            taken.add(column)
            found[column] = reading
    return found


def quoted(name: str) -> str:
    """Return a name as SQL."""
    return '"' + name.replace('"', '""') + '"'
