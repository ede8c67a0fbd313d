"""The columns of compacted files (`docs/formats.md`), in order. Pure.

Between `bytes` and `readings` stands a DOUBLE column for each reading that the template names.
"""

from collections.abc import Iterable

IDENTITY = ("device_id", "time", "id")
_HEAD = {
    "device_id": "VARCHAR",
    "time": "TIMESTAMP",
    "id": "VARCHAR",
    "arrived_at": "TIMESTAMP",
    "device_time": "VARCHAR",
    "flags": "VARCHAR",
    "stream": "VARCHAR",
    "shard": "INTEGER",
    "shard_created": "BIGINT",
    "number": "BIGINT",
    "sequence_number": "VARCHAR",
    "bytes": "INTEGER",
}
READINGS = "readings"
_TAKEN = frozenset((*_HEAD, READINGS, "dt"))  # `dt` is what engines call the day in a file's path


def typed(names: Iterable[str]) -> tuple[str, ...]:
    """Return the readings that get a column of their own.

    Engines tell columns apart whatever their case: of two such names the first has one, and one called like another
    column has none. What has none stays in `readings`.
    """
    taken, found = set(_TAKEN), []
    for name in names:
        if name and name.isprintable() and name.lower() not in taken:
            taken.add(name.lower())
            found.append(name)
    return tuple(found)


def schema(names: Iterable[str]) -> dict[str, str]:
    """Return the columns and their types, for these typed readings."""
    return {**_HEAD, **dict.fromkeys(names, "DOUBLE"), READINGS: "VARCHAR"}


def name_sql(name: str) -> str:
    """Return a column's name as SQL."""
    return '"' + name.replace('"', '""') + '"'


# Columns that rows have on their way only. No reading's column is called so: the name of one is printable.
OBJECT, PART, PLACE, REGULAR, REPEATED = (
    name_sql(f"\t{name}") for name in ("object", "part", "place", "regular", "repeated")
)


def names_sql(names: Iterable[str]) -> str:
    """Return columns' names as SQL."""
    return ", ".join(map(name_sql, names))


def text_sql(text: str) -> str:
    """Return text as an SQL literal, or, as none can hold NUL, as an expression."""
    literal = "'" + text.replace("'", "''") + "'"
    return "(" + literal.replace("\0", "' || chr(0) || '") + ")" if "\0" in text else literal


def texts_sql(texts: Iterable[str]) -> str:
    """Return texts as an SQL list."""
    return "[" + ", ".join(map(text_sql, texts)) + "]"
