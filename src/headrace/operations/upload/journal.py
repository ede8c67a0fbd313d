"""How far an upload is: `upload/<digest of the target>.json` in the data directory (`docs/formats.md`).

It is replaced as a whole after every page and group. Losing it costs time: what is on AWS already is found there.
"""

from hashlib import sha256
from pathlib import Path

import msgspec

from headrace import disk
from headrace.errors import DataDirectoryError
from headrace.operations.upload.target import Target

VERSION = 1


class Counts(msgspec.Struct):
    """What became of items or objects. `put` and `there` are verified; `kept` are those that AWS has newer."""

    seen: int = 0
    put: int = 0
    there: int = 0
    kept: int = 0
    gone: int = 0  # deleted here meanwhile
    bytes: int = 0  # of those seen


class State(msgspec.Struct):
    """One run. `step` is under way, everything up to `after` (a key's parts, or an object's key) is done with.

    `catalogue` are the compacted files that were put for each day: in a later run they may have been replaced here.
    """

    target: Target
    version: int = VERSION
    step: str = ""
    after: list[str] | None = None
    done: bool = False
    counts: dict[str, Counts] = {}
    digests: dict[str, str] = {}
    catalogue: dict[str, list[str]] = {}


class Journal:
    """The note about the uploads to one target; `state` is that of the run under way."""

    def __init__(self, folder: Path, target: Target, restart: bool = False) -> None:
        name = sha256(msgspec.json.encode(target)).hexdigest()[:16]
        self._path = folder / f"{name}.json"
        before = self._read()
        self.resumed = before is not None and not before.done and not restart
        if before is None:
            self.state = State(target)
        elif self.resumed:
            self.state = before
        else:
            self.state = State(target, catalogue=before.catalogue)

    def counts(self, step: str) -> Counts:
        """Return the counts of a step, to be added to."""
        return self.state.counts.setdefault(step, Counts())

    def save(self) -> None:
        """Write the state durably."""
        disk.make_folder(self._path.parent)
        disk.write_file(self._path, msgspec.json.encode(self.state))

    def _read(self) -> State | None:
        try:
            state = msgspec.json.decode(self._path.read_bytes(), type=State)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise DataDirectoryError(f"{self._path} can't be read: {error}.", "Remove it: nothing is lost.") from error
        if state.version != VERSION:
            raise DataDirectoryError(
                f"{self._path} has version {state.version}; this Headrace knows {VERSION}.",
                "Use the newer Headrace, or remove the file: nothing is lost.",
            )
        return state
