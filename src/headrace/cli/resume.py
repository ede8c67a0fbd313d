"""How far a file was sent, kept on this machine so that an interrupted `headrace send` goes on where it was.

Losing it costs nothing but time: rows that are sent again have the same identity. It is removed when the file is sent.
"""

import contextlib
import os
from hashlib import sha256
from pathlib import Path

import msgspec

from headrace import disk
from headrace.errors import StorageError


class _State(msgspec.Struct):
    version: int
    file: str
    rows: int  # every row before this one is acknowledged


class Resume:
    """The note about one sending: the same file, to the same stream, with the same options."""

    def __init__(self, folder: Path, file: Path, *what: object) -> None:
        self._path = folder / f"{sha256(repr(what).encode()).hexdigest()[:32]}.json"
        self._file = str(file)

    def rows(self) -> int:
        """Return how many rows were acknowledged before, from the first on."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_State).rows
        except (OSError, msgspec.DecodeError):
            return 0

    def save(self, rows: int) -> None:
        """Note that every row before `rows` is acknowledged; where that is impossible a resumption sends more."""
        with contextlib.suppress(StorageError):
            disk.write_file(self._path, msgspec.json.encode(_State(1, self._file, rows)))

    def remove(self) -> None:
        """Forget it."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def state_folder() -> Path:
    """Return the folder for such notes, as the XDG base directories say."""
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not base.is_absolute():
        base = Path("~/.local/state").expanduser()
    return base / "headrace" / "send"
