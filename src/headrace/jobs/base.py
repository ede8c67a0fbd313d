"""The engine of a job: views in, Parquet out. One interface, two implementations: DuckDB and Spark.

Both take the same SQL and give the same rows, value for value, because
- text is compared by its UTF-8 bytes, and times are UTC without a zone, to the microsecond;
- doubles are compared and picked, but never added: what is summed is the DECIMAL `amount` (see `views.py`), so that
  the order in which an engine adds makes no difference;
- columns are written as VARCHAR, BIGINT, DOUBLE, DECIMAL, TIMESTAMP, DATE or BOOLEAN, whatever an engine counts in.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from headrace.errors import UsageError

DUCKDB, SPARK = ENGINES = ("duckdb", "spark")


def quoted(name: str) -> str:
    """Return a column's name as SQL."""
    return '"' + name.replace('"', '""') + '"'


class Relation(NamedTuple):
    """Rows in files, paths or URLs: Parquet, or NDJSON (`.ndjson`, all values text or null), cast to the types.

    `columns` are names and SQL types. A column that a file lacks is null in its rows; columns not named are not read.
    Without them the columns are those of the files, which are Parquet and at least one.
    """

    name: str
    columns: Mapping[str, str] | None
    files: Sequence[str]


class Engine(ABC):
    """One session of an engine. Raises HeadraceError for SQL that it refuses and for memory that is used up."""

    MICROSECONDS: ClassVar[str]
    """Expression of the microseconds since 1970 of the timestamp `{}`."""

    @abstractmethod
    def members(self, typed: Sequence[str]) -> str:
        """Return a SELECT of device_id, time, id, arrived_at, reading, value (DOUBLE), a row a number in `readings`.

        It leaves out what has a value in the event's column of `typed`: there `readings` only spells it exactly.
        """

    @abstractmethod
    def relation(self, relation: Relation) -> None:
        """Make the rows of files known under a name."""

    @abstractmethod
    def view(self, name: str, sql: str) -> None:
        """Make a query known under a name; raises HeadraceError where it can't be."""

    @abstractmethod
    def write(self, sql: str, folder: Path, *, order: Sequence[str], day: str | None = None) -> None:
        """Write a query's rows as Parquet into a new `folder`, each file in the order of the columns `order`.

        Without `day` all rows go to one file. With it, the name of a TIMESTAMP or DATE column, the rows of each day
        go to one file in a folder `dt=<YYYY-MM-DD>`; a day without rows has none.
        """

    @abstractmethod
    def rows(self, files: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield the rows of Parquet files that `write` has written, in no particular order."""

    @abstractmethod
    def close(self) -> None:
        """End the session."""


def no_day(day: str | None) -> UsageError:
    """Return the error for rows that have no day."""
    return UsageError(f"The report has rows whose {day} is null.", "Each row belongs to a day.")


def has_column(member: str, typed: Sequence[str], text: Callable[[str], str]) -> str:
    """Return the condition that the member called `member` of the event `e` has a value in a column of `typed`."""
    whens = "".join(f" WHEN {text(name)} THEN e.{quoted(name)} IS NOT NULL" for name in typed)
    return f"CASE {member}{whens} ELSE false END" if whens else "false"
