"""The statements of the last 24 hours, kept in SQLite: an answer that names one is given after it is on the disk.

A statement that was submitted is run, also by the next process; what was running when a process ended has failed,
unless the warehouse itself says that its writes were committed (`executor.py`).
"""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from headrace import disk
from headrace.errors import DataDirectoryError, NotFound, StorageError
from headrace.warehouse.results import Result

FILE = "statements.sqlite"
VERSION = 1
KEPT_MS = 24 * 3_600_000
SUBMITTED, PICKED, STARTED = "SUBMITTED", "PICKED", "STARTED"
FINISHED, FAILED, ABORTED = "FINISHED", "FAILED", "ABORTED"
ACTIVE = (SUBMITTED, PICKED, STARTED)
_TABLES = (
    "CREATE TABLE IF NOT EXISTS statements (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, "
    "created_ms INTEGER NOT NULL, status TEXT NOT NULL, name TEXT NOT NULL, database TEXT NOT NULL, "
    "place TEXT NOT NULL, token TEXT UNIQUE, body BLOB NOT NULL)",
    "CREATE INDEX IF NOT EXISTS by_status ON statements (status, number)",
    "CREATE INDEX IF NOT EXISTS by_age ON statements (created_ms)",
)


class Part(msgspec.Struct):
    """One SQL statement of a statement: all of it, or one of a batch. Times in milliseconds or, `_ns`, nanoseconds."""

    sql: str
    status: str = SUBMITTED
    created_ms: int = 0
    updated_ms: int = 0
    duration_ns: int = 0
    error: str = ""
    rows: int = -1
    result: Result | None = None


class Statement(msgspec.Struct):
    """What ExecuteStatement or BatchExecuteStatement was asked for, and what became of it."""

    id: str
    created_ms: int
    updated_ms: int
    parts: list[Part]
    batch: bool = False
    status: str = SUBMITTED
    name: str = ""
    database: str = ""
    workgroup: str = ""
    cluster: str = ""
    user: str = ""
    secret: str = ""
    parameters: dict[str, str] = {}
    format: str = ""
    mode: str = ""
    token: str | None = None
    read_only: bool = False
    error: str = ""
    duration_ns: int = 0
    number: int = 0

    @property
    def place(self) -> str:
        """Return the cluster or workgroup that it was sent to."""
        return f"cluster:{self.cluster}" if self.cluster else f"workgroup:{self.workgroup}"


class Wanted(NamedTuple):
    """Which statements a listing is of; empty texts mean all."""

    name: str = ""
    status: str = ""
    database: str = ""
    place: str = ""


class Statements:
    """All statements that are kept. Safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        """Open the file, or make it; raises DataDirectoryError."""
        disk.make_folder(folder)
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(folder / FILE, check_same_thread=False, isolation_level=None)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise DataDirectoryError(
                    f"{folder / FILE} was written by a newer Headrace.", "Install that version: pip install -U headrace"
                )
            for sql in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", *_TABLES):
                self._db.execute(sql)
            self._db.execute(f"PRAGMA user_version = {VERSION}")
        except sqlite3.DatabaseError as error:
            raise DataDirectoryError(
                f"{folder / FILE} can't be read: {error}.", "Remove it: it holds the statements of the last 24 hours."
            ) from error

    def add(self, statement: Statement) -> Statement:
        """Keep a new statement; if one of its token is there already, return that one instead."""
        with self._lock, _durable():
            if statement.token is not None:
                row = self._one("SELECT number, body FROM statements WHERE token = ?", statement.token)
                if row is not None:
                    return _statement(row)
            columns = (statement.id, statement.created_ms, statement.status, statement.name, statement.database)
            done = self._db.execute(
                "INSERT INTO statements (id, created_ms, status, name, database, place, token, body) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*columns, statement.place, statement.token, msgspec.json.encode(statement)),
            )
            statement.number = done.lastrowid or 0
            return statement

    def save(self, statement: Statement) -> None:
        """Keep what became of a statement."""
        with self._lock, _durable():
            sql = "UPDATE statements SET status = ?, body = ? WHERE id = ?"
            self._db.execute(sql, (statement.status, msgspec.json.encode(statement), statement.id))

    def get(self, statement_id: str) -> Statement:
        """Return a statement; raises NotFound."""
        with self._lock:
            row = self._one("SELECT number, body FROM statements WHERE id = ?", statement_id)
        if row is None:
            raise NotFound(f"There is no statement {statement_id}.", "Statements are kept for 24 hours.")
        return _statement(row)

    def listed(self, wanted: Wanted, before: int | None, limit: int) -> list[Statement]:
        """Return statements that are wanted, the newest first, from the one before number `before`."""
        sql = "SELECT number, body FROM statements WHERE number < ?"
        values: list[object] = [before if before is not None else 2**62]
        if wanted.name:
            sql += " AND substr(name, 1, ?) = ?"
            values += [len(wanted.name), wanted.name]
        for column in ("status", "database", "place"):
            if value := getattr(wanted, column):
                sql += f" AND {column} = ?"
                values.append(value)
        with self._lock:
            rows = self._db.execute(f"{sql} ORDER BY number DESC LIMIT ?", (*values, limit)).fetchall()
        return [_statement(row) for row in rows]

    def active(self) -> list[Statement]:
        """Return the statements that have not ended, the oldest first."""
        marks = ", ".join("?" * len(ACTIVE))
        with self._lock:
            sql = f"SELECT number, body FROM statements WHERE status IN ({marks}) ORDER BY number"
            return [_statement(row) for row in self._db.execute(sql, ACTIVE).fetchall()]

    def forget(self, before_ms: int) -> set[str]:
        """Forget statements that ended and are older; return their ids. Raises StorageError."""
        marks = ", ".join("?" * len(ACTIVE))
        with self._lock, _durable():
            sql = f"DELETE FROM statements WHERE created_ms < ? AND status NOT IN ({marks}) RETURNING id"
            return {row[0] for row in self._db.execute(sql, (before_ms, *ACTIVE)).fetchall()}

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _one(self, sql: str, value: str) -> tuple[int, bytes] | None:
        row: tuple[int, bytes] | None = self._db.execute(sql, (value,)).fetchone()
        return row


@contextlib.contextmanager
def _durable() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(
            f"The statement can't be kept: {error}.", "Is the disk full? Free space on it, then run it again."
        ) from error


def _statement(row: tuple[Any, ...]) -> Statement:
    found = msgspec.json.decode(row[1], type=Statement)
    found.number = row[0]
    return found
