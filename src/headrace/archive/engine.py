"""DuckDB as the archive uses it: bounded in memory, alone in its folder, silent. It is imported when first needed."""

import contextlib
from collections.abc import Iterator, Sequence
from hashlib import file_digest
from pathlib import Path
from typing import Any, NamedTuple

from headrace.archive.catalogue import File
from headrace.archive.columns import text_sql
from headrace.errors import HeadraceError, StorageError


class Limits(NamedTuple):
    """What a piece of work may take; what does not fit in memory goes to the disk."""

    memory_mb: int = 1024  # of which DuckDB has three quarters
    threads: int = 2

    @property
    def batch_bytes(self) -> int:
        """Return how much rows may take before DuckDB has them; they are handed over in as much again."""
        return self.memory_mb * 1024 * 1024 // 8


DEFAULT = Limits()


@contextlib.contextmanager
def connected(folder: Path, limits: Limits) -> Iterator[Any]:
    """Yield a DuckDB connection that spills into `folder`; its errors become ones that say what to do."""
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": limits.threads,
        "memory_limit": f"{limits.memory_mb * 3 // 4}MB",
        "temp_directory": str(folder / "spilled"),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    connection = duckdb.connect(config=config)
    try:
        connection.execute("SET enable_progress_bar = false")  # it would go to standard output
        yield connection
    except duckdb.OutOfMemoryException as error:
        raise StorageError(
            f"The archive's work needs more room than there is: {_first_line(error)}",
            f"Free space on the disk of {folder}, or stop what else takes this machine's memory; then run it again.",
        ) from error
    except duckdb.IOException as error:
        raise StorageError(
            f"The archive's files can't be read or written: {_first_line(error)}",
            f"Is the disk of {folder} full, or was a file removed meanwhile? Then run it again.",
        ) from error
    except duckdb.Error as error:
        raise HeadraceError(
            f"DuckDB refused: {_first_line(error)}",
            "Is a file of the archive damaged? headrace doctor tells. If it finds nothing, report it.",
        ) from error
    finally:
        connection.close()


def parquet_sql(paths: Sequence[str], *, by_name: bool = True) -> str:
    """Return SQL that reads Parquet files as one relation; by name where their columns may differ."""
    names = ", ".join(map(text_sql, paths))
    return f"read_parquet([{names}], union_by_name = {str(by_name).lower()}, hive_partitioning = false)"


def digest(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hex; raises OSError."""
    with Path(path).open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def is_damaged(connection: Any, path: str, file: File) -> bool:
    """Return whether a compacted file, which is at `path`, is not what was written.

    Its digest tells. One that has none is read from end to end, which takes its time, and has to have its rows.
    """
    if file.sha256 is not None:
        try:
            return digest(path) != file.sha256
        except OSError:  # a part of the disk can't be read
            return True
    import duckdb

    try:
        found = connection.execute(f"SELECT count(*), bit_xor(hash(COLUMNS(*))) FROM {parquet_sql([path])}").fetchone()
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:
        return True
    return bool(found[0] != file.rows)


def may_be_damage(error: BaseException | None) -> bool:
    """Return whether an error, or what it came of, is one that DuckDB or Spark has of files that are damaged."""
    import duckdb

    while error is not None:
        if type(error) is duckdb.Error or "FAILED_READ_FILE" in str(error):
            return True
        if isinstance(error, duckdb.InvalidInputException) and "file" in str(error):
            return True
        error = error.__cause__
    return False


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
