"""Which folder a data directory's cold objects are in: chosen by `up --cold-dir`, and known for good from then on.

It is written down beside the buckets, `.cold.json`, with an id that the cold folder has in a file of its own: so a
mount that is missing is told from an empty cold folder and never written to, and one folder never serves two data
directories.
"""

import uuid
from pathlib import Path
from typing import TypeVar

import msgspec

from headrace import disk
from headrace.errors import DataDirectoryError, StorageError, UsageError

FILE = ".cold.json"  # beside the buckets
MARKER = "headrace-cold.json"  # in the cold folder
DEFAULT = "cold"  # in the data directory
VERSION = 1

_T = TypeVar("_T")


class Place(msgspec.Struct):
    """`.cold.json`: the folder, relative to the data directory where it is inside, and its id."""

    version: int
    folder: str
    id: str


class Marker(msgspec.Struct):
    """What the cold folder says of itself."""

    version: int
    id: str


def choose(buckets: Path, folder: Path | None) -> Path:
    """Make `folder` the cold folder (None: the one there was, else `cold` in the data directory); return it.

    Raises UsageError if it can't be, so that nothing that is cold is lost sight of. One that lies in the data directory
    is known to be its own; where it was written down which it is, but can't be read any more, whoever names one knows.
    """
    data = buckets.parent
    is_own = folder is None or folder.absolute().is_relative_to(data)
    try:
        place = _place(buckets)
    except DataDirectoryError:
        if folder is None:
            raise
        place, is_own = None, True
    if place is not None and (folder is None or folder.absolute() == data / place.folder):
        return data / place.folder
    folder = (folder or data / DEFAULT).absolute()
    if folder == data or folder.is_relative_to(buckets):
        where = "is the data directory" if folder == data else "lies among the buckets"
        raise UsageError(f"The cold folder {folder} {where}.", "Name one of its own, best on another disk.")
    marker = _read(folder / MARKER, Marker)
    if place is not None and (marker is None or marker.id != place.id) and not _is_unused(data / place.folder):
        raise UsageError(
            f"Cold objects are in {data / place.folder}, and {folder} does not have them.",
            f"Move that folder there with all that is in it, or go on with --cold-dir {data / place.folder}",
        )
    if marker is not None and not (is_own if place is None else marker.id == place.id):
        raise UsageError(
            f"{folder} is the cold folder of another data directory.", "Name one of its own: --cold-dir DIR"
        )
    if marker is None:
        marker = Marker(VERSION, uuid.uuid4().hex)
        _mark(folder, marker)
    inside = folder.relative_to(data) if folder.is_relative_to(data) else folder
    disk.write_file(buckets / FILE, msgspec.json.encode(Place(VERSION, str(inside), marker.id)))
    return folder


def place(buckets: Path) -> Path:
    """Return where the cold folder is, or would be; raises DataDirectoryError where that can't be read any more."""
    found = _place(buckets)
    return buckets.parent / (found.folder if found is not None else DEFAULT)


def check(buckets: Path) -> None:
    """Raise StorageError unless the cold folder is there and is the one it should be; the default one is made."""
    found = _place(buckets)
    if found is None:
        choose(buckets, None)
        return
    folder = buckets.parent / found.folder
    marker = _read(folder / MARKER, Marker)
    if marker is None:
        raise StorageError(
            f"The cold folder {folder} is not there: it has no {MARKER} that can be read.",
            "Mount its disk: nothing is moved, restored or deleted there before. "
            "If it has another place now: headrace up --cold-dir DIR",
        )
    if marker.id != found.id:
        raise StorageError(
            f"{folder} is not the cold folder of this data directory: its id is another.",
            "Mount the right disk there, or name the right folder: headrace up --cold-dir DIR",
        )


def _place(buckets: Path) -> Place | None:
    """Return what is written down; None if nothing is. Raises DataDirectoryError if it can't be read."""
    found = _read(buckets / FILE, Place)
    if found is None and (buckets / FILE).exists():
        raise DataDirectoryError(
            f"{buckets / FILE} is damaged: it says where the cold folder is.",
            f"Name it once more: headrace up --cold-dir DIR; unless one was named before: {buckets.parent / DEFAULT}",
        )
    return found


def _mark(folder: Path, marker: Marker) -> None:
    try:
        disk.write_file(folder / MARKER, msgspec.json.encode(marker))
    except StorageError as error:
        raise UsageError(
            f"The cold folder can't be used: {error.problem}",
            "Mount it for writing, or name another: --cold-dir DIR (HEADRACE_COLD_DIR)",
        ) from error


def _is_unused(folder: Path) -> bool:
    """Return whether a cold folder is there and holds nothing."""
    try:
        return disk.DISK.list(folder) == [MARKER]
    except OSError:
        return False


def _read(path: Path, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None
