"""Runs statements, some at a time, in the order they came; what became of each is on the disk before it is told.

    SUBMITTED -> STARTED -> FINISHED, FAILED or ABORTED

A statement is one transaction, a batch as well unless it says AUTO_COMMIT. Before a write is committed the statement's
id goes into the same transaction: so the next process knows what a crash has left undone.
"""

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from headrace import clock
from headrace.errors import Conflict, HeadraceError, StorageError, UsageError
from headrace.warehouse import fields, tables
from headrace.warehouse.engine import Engine, Interrupted, Session
from headrace.warehouse.results import JSON, Results
from headrace.warehouse.statements import (
    ABORTED,
    FAILED,
    FINISHED,
    PICKED,
    STARTED,
    SUBMITTED,
    Part,
    Statement,
    Statements,
)
from headrace.warehouse.transfer import Transfer, types_of

WORKERS = 2
STUCK_STATUS = 70  # of a process that had to end because a statement could not be interrupted
_AUTO_COMMIT = "AUTO_COMMIT"

_ROWS_ONLY = ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "MERGE", "COPY")  # leave tables' columns as they are

Schema = Mapping[str, Mapping[str, str]]
# (SQL, the tables' columns, parameters) -> statements: `dialect.translate`.
Translate = Callable[[str, Schema, Mapping[str, str] | None], list[Any]]

_log = logging.getLogger(__name__)


class Executor:
    """Runs the statements that are submitted to it, in threads of its own."""

    def __init__(
        self,
        engine: Engine,
        statements: Statements,
        results: Results,
        transfer: Transfer,
        translate: Translate,
        *,
        now_ms: Callable[[], int] = clock.now_ms,
        stuck: Callable[[], None] = lambda: os._exit(STUCK_STATUS),
    ) -> None:
        self._engine = engine
        self._statements = statements
        self._results = results
        self._transfer = transfer
        self._translate = translate
        self._now_ms = now_ms
        self._stuck = stuck
        self._queue: queue.SimpleQueue[Statement | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._active: dict[str, Statement] = {}
        self._interrupts: dict[str, Callable[[], None]] = {}
        self._cancelled: set[str] = set()
        self._unsaved: dict[str, Statement] = {}  # ended, while the disk refuses to keep it
        self._threads: list[threading.Thread] = []
        self._stopping = False

    def start(self) -> None:
        """Settle what the process before has left, and begin to work."""
        committed = self._committed()
        for statement in self._statements.active():
            if statement.status == SUBMITTED:
                self._enqueue(statement)
            else:
                self._settle(statement, committed)
        with self._engine.session() as session:
            session.run("DELETE FROM internal.committed")
        for number in range(WORKERS):
            thread = threading.Thread(target=self._work, name=f"statements-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Interrupt what runs, which then has failed, and end; what was not begun waits for the next process."""
        self._stopping = True
        with self._lock:
            interrupts = list(self._interrupts.values())
        for _ in self._threads:
            self._queue.put(None)
        for interrupt in interrupts:
            interrupt()
        for thread in self._threads:
            thread.join(5)

    def submit(self, statement: Statement) -> Statement:
        """Keep a statement and have it run; one of the same token is not run again. Returns the one that is kept."""
        kept = self._statements.add(statement)
        if kept is statement:
            self._enqueue(statement)
        return self.get(kept.id)

    def get(self, statement_id: str) -> Statement:
        """Return a statement as it is now; raises NotFound."""
        held = self._active.get(statement_id) or self._unsaved.get(statement_id)
        return held or self._statements.get(statement_id)

    def is_active(self, statement_id: str) -> bool:
        """Return whether a statement has not ended."""
        return statement_id in self._active

    def active(self) -> int:
        """Return how many statements have not ended."""
        return len(self._active)

    def cancel(self, statement_id: str) -> bool:
        """Have a statement ended; return False if it has ended by itself."""
        with self._lock:
            statement = self._active.get(statement_id)
            if statement is None:
                return False
            if statement.status == SUBMITTED:
                self._active.pop(statement_id)
                interrupt: Callable[[], None] = lambda: self._abort(statement)  # noqa: E731
            else:
                self._cancelled.add(statement_id)
                interrupt = self._interrupts.get(statement_id, lambda: None)
        interrupt()
        return True

    def _abort(self, statement: Statement) -> None:
        for part in statement.parts:
            part.status, part.updated_ms = ABORTED, self._now_ms()
        self._ended(statement)
        self._statements.save(statement)

    def _enqueue(self, statement: Statement) -> None:
        with self._lock:
            self._active[statement.id] = statement
        self._queue.put(statement)

    def _committed(self) -> set[str]:
        with self._engine.session() as session:
            return {row[0] for row in session.run("SELECT id FROM internal.committed").fetchall()}

    def _settle(self, statement: Statement, committed: set[str]) -> None:
        for number, part in enumerate(statement.parts, 1):
            if part.status in (FINISHED, FAILED, ABORTED):
                continue
            if statement.id in committed or f"{statement.id}:{number}" in committed:
                part.status = FINISHED
            else:
                part.status = FAILED
                part.error = "The warehouse ended while the statement ran; nothing of it was kept. Run it again."
        self._ended(statement)
        self._statements.save(statement)

    def _work(self) -> None:
        while (statement := self._queue.get()) is not None and not self._stopping:
            with self._lock:
                if statement.id not in self._active:
                    continue  # it was cancelled
                statement.status = PICKED
            try:
                self._run(statement)
            except HeadraceError as error:  # the next process takes it for interrupted
                _log.error("Statement %s: %s", statement.id, error)
                self._unsaved[statement.id] = statement
                self._fail_unsaved(statement, error)
            finally:
                with self._lock:
                    self._active.pop(statement.id, None)
                    self._interrupts.pop(statement.id, None)
                    self._cancelled.discard(statement.id)

    def _run(self, statement: Statement) -> None:
        statement.status = STARTED
        statement.updated_ms = self._now_ms()
        self._statements.save(statement)
        parts = list(enumerate(statement.parts, 1))
        if statement.batch and statement.mode == _AUTO_COMMIT:
            for number, part in parts:
                self._transaction(statement, [(number, part)], f"{statement.id}:{number}")
        else:
            self._transaction(statement, parts, statement.id)
        self._ended(statement)
        self._statements.save(statement)

    def _fail_unsaved(self, statement: Statement, error: HeadraceError) -> None:
        """Tell of a statement that could not be begun because its state can't be kept."""
        if statement.status in (PICKED, STARTED):
            for part in statement.parts:
                part.status, part.error = FAILED, str(error).replace("\n  ", " ")
            self._ended(statement)

    def _transaction(self, statement: Statement, parts: list[tuple[int, Part]], mark: str) -> None:
        """Run parts as one transaction; whatever goes wrong ends it, and is told in the part where it did."""
        current = parts[0][1]
        began_ns = _now_ns()
        try:
            one = self._translated(statement, current, self._engine.schema())
            read_only = statement.read_only or (len(parts) == 1 and one.kind == "query")
            with self._session(statement) as session, self._transfer.folder() as folder:
                run = _Transaction(statement, session, folder)
                cleared = self._results.cleared
                with session.transaction(read_only=read_only):
                    for number, part in parts:
                        if part is not current:
                            began_ns, current = _now_ns(), part
                            schema = self._engine.schema_of(session) if run.altered else self._engine.schema()
                            one = self._translated(statement, part, schema)
                        part.status, part.updated_ms = STARTED, self._now_ms()
                        self._part(run, number, part, one)
                        part.duration_ns = _now_ns() - began_ns
                    if self._results.cleared != cleared:
                        raise Conflict("A device was erased while the statement ran.", "Run it again.")
                    if run.wrote:
                        session.run("INSERT INTO internal.committed VALUES (?)", [mark])
                if run.altered:
                    self._engine.schema_changed()
                for each in run.afterwards:
                    each()
            for _, part in parts:
                part.status, part.updated_ms = FINISHED, self._now_ms()
        except Exception as error:
            self._failed(statement, parts, current, error)
            current.duration_ns = _now_ns() - began_ns

    def _translated(self, statement: Statement, part: Part, schema: Schema) -> Any:
        """Return the one statement that a part's SQL is; raises UsageError."""
        self._check(statement)
        found = self._translate(part.sql, schema, _named(part.sql, statement))
        if len(found) != 1:
            raise UsageError(
                f"There are {len(found)} statements where one is expected.",
                "Send several with BatchExecuteStatement: they are one transaction.",
            )
        if statement.read_only and found[0].kind not in ("query", "session"):
            raise UsageError(
                f"{found[0].action} writes, and this was to be read only.",
                "Allow it (headrace sql --write), or SELECT.",
            )
        return found[0]

    def _failed(self, statement: Statement, parts: list[tuple[int, Part]], current: Part, error: Exception) -> None:
        aborted = statement.id in self._cancelled
        if not isinstance(error, HeadraceError):
            _log.error("Statement %s", statement.id, exc_info=error)
        problem = (
            str(error).replace("\n  ", " ") if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"
        )
        for number, part in parts:
            part.updated_ms, part.rows = self._now_ms(), -1
            if part.result is not None:
                self._results.remove(f"{statement.id}:{number}" if statement.batch else statement.id)
                part.result = None
            part.status = ABORTED if aborted or part is not current else FAILED
            if part is current and not aborted:
                part.error = problem
        if isinstance(error, StorageError):
            _log.error("Statement %s: %s", statement.id, error)

    @contextlib.contextmanager
    def _session(self, statement: Statement) -> Iterator[Session]:
        with (
            self._engine.session() as session,
            session.limited(self._engine.limits.timeout_s, self._stuck) as interrupt,
        ):
            with self._lock:
                self._interrupts[statement.id] = interrupt
            yield session

    def _part(self, run: "_Transaction", number: int, part: Part, one: Any) -> None:
        """Run one translated statement."""
        if one.kind == "session":
            part.rows = 0
        elif one.kind == "query":
            self._query(run.session, run.statement, number, part, one)
        elif one.kind == "unload":
            part.rows, put = self._transfer.unload(run.session, one.unload, one.sql, run.own(number))
            run.afterwards.append(put)
        else:
            _refuse_loaded(one)
            run.wrote = True
            run.altered |= one.action not in _ROWS_ONLY
            if one.kind == "copy":
                types = types_of(self._engine.schema_of(run.session), one.copy.table, one.copy.columns)
                part.rows = self._transfer.copy(run.session, one.copy, types, run.own(number))
            else:
                run.session.run(one.sql)
                part.rows = _affected(run.session, one.action)

    def _query(self, session: Session, statement: Statement, number: int, part: Part, one: Any) -> None:
        session.run(one.sql)
        described = session.columns()
        named = [(each.name, each.type) for each in one.columns]
        if len(named) != len(described):
            named = described
        columns = [fields.column(name, kind) for name, kind in named]

        def fetch(rows: int) -> list[tuple[Any, ...]]:
            self._check(statement)
            return session.fetch(rows)

        name = f"{statement.id}:{number}" if statement.batch else statement.id
        part.result = self._results.write(name, columns, fetch, statement.format or JSON)
        part.rows = part.result.rows

    def _check(self, statement: Statement) -> None:
        if statement.id in self._cancelled or self._stopping:
            raise Interrupted("The warehouse was stopped while the statement ran.", "Run it again.")

    def _ended(self, statement: Statement) -> None:
        """Take a statement's end from its parts'."""
        statuses = [part.status for part in statement.parts]
        failed = next((part for part in statement.parts if part.status == FAILED), None)
        statement.status = FAILED if failed else ABORTED if ABORTED in statuses else FINISHED
        if failed is not None:
            number = statement.parts.index(failed) + 1
            statement.error = f"Query #{number} failed: {failed.error}" if statement.batch else failed.error
        statement.duration_ns = sum(part.duration_ns for part in statement.parts)
        statement.updated_ms = self._now_ms()


class _Transaction:
    """What statements of one transaction share. `altered`: tables were made, changed or dropped."""

    def __init__(self, statement: Statement, session: Session, folder: Path) -> None:
        self.statement = statement
        self.session = session
        self.wrote = False
        self.altered = False
        self.afterwards: list[Callable[[], None]] = []
        self._folder = folder

    def own(self, number: int) -> Path:
        """Return a new folder for one of the statements."""
        folder = self._folder / str(number)
        folder.mkdir()
        return folder


def _refuse_loaded(one: Any) -> None:
    if one.target is None or one.target.lower().rpartition(".")[2] in tables.tables():
        raise UsageError(
            f"{one.action} can't change {one.target or 'this'}: it is loaded by Headrace.",
            "Write to a table of your own: CREATE TABLE mine AS SELECT …",
        )


def _affected(session: Session, action: str) -> int:
    rows = session.fetch(1)
    counts = action in ("INSERT", "UPDATE", "DELETE", "MERGE", "CREATE TABLE")
    return int(rows[0][0]) if counts and rows and isinstance(rows[0][0], int) else 0


def _named(sql: str, statement: Statement) -> Mapping[str, str] | None:
    """Return the parameters for one SQL: of a batch, each may use some of them."""
    if not statement.parameters:
        return None
    if not statement.batch:
        return statement.parameters
    return {name: value for name, value in statement.parameters.items() if f":{name}" in sql} or None


def _now_ns() -> int:
    return round(clock.monotonic_s() * 1e9)
