"""Results of statements: pages in a file each, so that a page is answered without looking at the others.

A file is its pages' bytes one after another: the JSON array that GetStatementResult answers as Records. Where they lie
is kept with the statement. Files are removed with their statements; where all of them take too much room, the oldest
first.
"""

import contextlib
import threading
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

import msgspec

from headrace import disk
from headrace.errors import Conflict, NotFound, StorageError, UsageError
from headrace.warehouse.fields import Column, csv_text, encoder

PAGE_BYTES = 1_000_000
PAGE_ROWS_MAX = 5_000
RESULT_BYTES_MAX = 100 * 1024 * 1024
ALL_BYTES_MAX = 2 * 1024**3
_FETCH_ROWS = 1_000
JSON, CSV = "JSON", "CSV"


class Result(msgspec.Struct):
    """What is known of a result: its columns, its rows, and the length of each page in bytes."""

    columns: list[Column]
    rows: int
    bytes: int
    pages: list[int]
    format: str = JSON


class Results:
    """The results in a folder, by statement."""

    def __init__(self, folder: Path, result_bytes_max: int = RESULT_BYTES_MAX, all_bytes_max: int = ALL_BYTES_MAX):
        disk.make_folder(folder)
        self._folder = folder
        self._result_bytes_max = result_bytes_max
        self._all_bytes_max = all_bytes_max
        self._all_bytes = all_bytes_max  # as far as known; found out when it seems to be too much
        self._lock = threading.Lock()  # for making room
        self.cleared = 0  # how often `clear` was called

    def write(
        self, statement: str, columns: list[Column], fetch: Callable[[int], list[tuple[Any, ...]]], form: str
    ) -> Result:
        """Write the rows that `fetch` gives until it gives none.

        Raises UsageError for too much of them, Conflict if the result was removed while it was written.
        """
        path = self._path(statement)
        result, cleared = Result(columns, 0, 0, [], form), self.cleared
        try:
            with path.open("wb") as file:
                for page, rows in self._pages(columns, fetch, form):
                    result.rows += rows
                    result.bytes += len(page)
                    result.pages.append(len(page))
                    if result.bytes > self._result_bytes_max:
                        raise UsageError(
                            f"The result is larger than {self._result_bytes_max / 1024**2:,.0f} MB.",
                            "Select less (LIMIT, GROUP BY), or write it to files: UNLOAD ('select …') TO 's3://archive/…'.",
                        )
                    file.write(page)
            if self.cleared != cleared:
                raise Conflict("The result was removed while it was written.", "Run the statement again.")
            disk.sync_file(path)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise disk.storage_error(path, error) from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        with self._lock:
            self._all_bytes += result.bytes
            if self._all_bytes > self._all_bytes_max:
                self._make_room(path)
        return result

    def _pages(
        self, columns: list[Column], fetch: Callable[[int], list[tuple[Any, ...]]], form: str
    ) -> Iterator[tuple[bytes, int]]:
        if form == CSV:
            yield from _csv_pages(columns, fetch)
            return
        encode = encoder(columns)
        parts: list[bytes] = []
        size = 0
        while rows := fetch(_FETCH_ROWS):
            for row in rows:
                part = msgspec.json.encode(encode(row))
                parts.append(part)
                size += len(part) + 1
                if size >= PAGE_BYTES or len(parts) == PAGE_ROWS_MAX:
                    yield b"[" + b",".join(parts) + b"]", len(parts)
                    parts, size = [], 0
        if parts:
            yield b"[" + b",".join(parts) + b"]", len(parts)

    def page(self, statement: str, result: Result, number: int) -> bytes:
        """Return a page, from 0; an empty array where there are no rows. Raises NotFound once it was removed."""
        if not result.pages and number == 0:
            return b"[]"
        try:
            with self._path(statement).open("rb") as file:
                file.seek(sum(result.pages[:number]))
                found = file.read(result.pages[number])
        except FileNotFoundError:
            raise NotFound(
                f"The result of {statement} was removed to make room for newer ones.", "Run the statement again."
            ) from None
        if len(found) != result.pages[number]:
            raise StorageError(f"The result of {statement} is damaged.", "Run the statement again.")
        return found

    def remove(self, statement: str) -> None:
        """Remove the result of a statement, or the one of a batch's part; a missing one is fine."""
        self._path(statement).unlink(missing_ok=True)

    def forget(self, statements: Container[str]) -> None:
        """Remove the results of statements, and those of batches' parts."""
        for path in self._folder.iterdir():
            if path.name.partition(".")[0] in statements:
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all results; what is written now is not kept either."""
        self.cleared += 1
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)

    def _make_room(self, newest: Path) -> None:
        """Remove the oldest results until the others have room; others may be removed, or written, meanwhile."""
        files = []
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                files.append((found.st_mtime_ns, found.st_size, path))
        self._all_bytes = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if self._all_bytes <= self._all_bytes_max:
                return
            if path != newest:
                path.unlink(missing_ok=True)
                self._all_bytes -= size

    def _path(self, statement: str) -> Path:
        return self._folder / statement.replace(":", ".")


def _csv_pages(columns: list[Column], fetch: Callable[[int], list[tuple[Any, ...]]]) -> Iterator[tuple[bytes, int]]:
    header = True
    while rows := fetch(_FETCH_ROWS):
        yield msgspec.json.encode([{"CSVRecords": csv_text(columns, rows, header=header)}]), len(rows)
        header = False
    if header:
        yield msgspec.json.encode([{"CSVRecords": csv_text(columns, (), header=True)}]), 0
