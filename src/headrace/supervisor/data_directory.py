"""The data directory: made when missing, refused when it can't be used, held by one `headrace up` at a time."""

import contextlib
import os
import shutil
from collections.abc import Iterator

import msgspec

from headrace import disk, errors
from headrace.settings import DATA_FORMAT, Layout
from headrace.timekeeping import Timekeeper


@contextlib.contextmanager
def held(layout: Layout) -> Iterator[None]:
    """Make the data directory if it is missing, refuse one that can't be used, and hold it."""
    try:
        if layout.version.exists():
            _check_format(layout)  # first of all: in one that is refused nothing is made
        for folder in (layout.data, layout.streams, layout.checkpoints, layout.invokes, layout.table):
            disk.make_folder(folder)
        for folder in (layout.buckets, layout.logs, layout.sockets):
            disk.make_folder(folder)
        if not os.access(layout.data, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise errors.DataDirectoryError(
            f"{layout.data} can't be written: {error.strerror}.",
            "Give this user write permission, mount it for writing, or name another directory with --data.",
        ) from error
    with disk.locked(layout.data / "lock", "headrace up"):
        if not layout.version.exists():
            disk.write_file(layout.version, msgspec.json.encode({"format": DATA_FORMAT}))
            Timekeeper(layout.clock, writer=True).check()  # from now on a clock that jumps is noticed
        yield
    shutil.rmtree(layout.sockets, ignore_errors=True)


def _check_format(layout: Layout) -> None:
    try:
        found = msgspec.json.decode(layout.version.read_bytes(), type=dict[str, int])["format"]
    except (msgspec.DecodeError, KeyError) as error:
        raise errors.DataDirectoryError(
            f"{layout.version} is damaged.", f'Restore it from a backup; it should read {{"format":{DATA_FORMAT}}}.'
        ) from error
    if found > DATA_FORMAT:
        raise errors.DataDirectoryError(
            f"{layout.data} was written by a newer Headrace (format {found}; this one knows {DATA_FORMAT}).",
            "Install that version (pip install -U headrace), or name another directory with --data.",
        )
