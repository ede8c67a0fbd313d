"""What can go wrong, as one tree.

HeadraceError                   something a user can act on; the command line exits with 1
├── UsageError                  the command or a setting is wrong; the command line exits with 2
│   └── TemplateError           the template is wrong: file, line, and what to write instead
├── DataDirectoryError          the data directory is in use, read-only, damaged or of a newer version
├── StorageError                the disk refused a durable write (full, read-only, failing)
├── Unavailable                 a process of the backend does not answer (it may be restarting)
├── NotFound                    no such item, object, function, document
├── InvalidObjectState          the object is cold: it has to be restored before it can be read
├── ClockInDoubt                the clock may be wrong: nothing is removed for its age until that is settled
├── Conflict                    a conditional write met another version
└── Throttled                   a capacity limit was reached; try again with backoff
"""

from collections.abc import Collection


class HeadraceError(Exception):
    """Something a user can act on. `problem` says what is wrong, `hint` what to do next.

    `unwritten` are the (partition, sort) keys of what a table's `put` has not, or not surely, written, where it knows.
    """

    exit_code = 1
    unwritten: Collection[tuple[str, str]] | None = None

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.problem}\n  {self.hint}" if self.hint else self.problem


class UsageError(HeadraceError):
    """The command or a setting is wrong."""

    exit_code = 2


class TemplateError(UsageError):
    """The template is wrong at `file`, `line` (from 1; 0 where no line applies)."""

    def __init__(self, file: str, line: int, problem: str, hint: str = "") -> None:
        super().__init__(f"{file}:{line}: {problem}" if line else f"{file}: {problem}", hint)
        self.file = file
        self.line = line


class DataDirectoryError(HeadraceError):
    """The data directory can't be used: in use, read-only, damaged, or of a newer version."""


class StorageError(HeadraceError):
    """The disk refused a durable write; nothing was acknowledged."""


class Unavailable(HeadraceError):
    """A process of the backend does not answer; it may be restarting."""


class NotFound(HeadraceError):
    """There is no such item, object, function or document."""


class InvalidObjectState(HeadraceError):
    """The object is in a cold storage class: it has to be restored before it can be read."""


class ClockInDoubt(HeadraceError):
    """The clock may be wrong: nothing is moved or removed for its age until that is settled."""


class Conflict(HeadraceError):
    """A conditional write met another version than the expected one."""


class Throttled(HeadraceError):
    """A capacity limit was reached; try again with backoff and jitter."""


BY_NAME = {
    kind.__name__: kind
    for kind in (
        HeadraceError,
        UsageError,
        DataDirectoryError,
        StorageError,
        Unavailable,
        NotFound,
        InvalidObjectState,
        ClockInDoubt,
        Conflict,
        Throttled,
    )
}
