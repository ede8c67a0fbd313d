"""Archives whose bytes depend on the files in them alone: no times, no owners, one order. Pure but for reading."""

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can name
_MODE = 0o644
_LEVEL = 6
_UNIX = 3


def digest(files: Mapping[str, Path]) -> str:
    """Return 32 hex digits that tell apart what is in the files and how they are named: an archive's name."""
    total = hashlib.sha256()
    for place in sorted(files):
        total.update(f"{place}\0{hashlib.sha256(files[place].read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:32]


def zipped(files: Mapping[str, Path]) -> bytes:
    """Return a zip of files by their path in it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for place in sorted(files):
            info = zipfile.ZipInfo(place, _TIME)
            info.create_system = _UNIX
            info.external_attr = (0o100000 | (0o755 if place.endswith(".so") else _MODE)) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, files[place].read_bytes(), compresslevel=_LEVEL)
    return made.getvalue()


def tarred(files: Mapping[str, Path]) -> bytes:
    """Return a gzipped tar of files by their path in it."""
    made = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=made, mode="wb", compresslevel=_LEVEL, mtime=0, filename="") as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for place in sorted(files):
            data = files[place].read_bytes()
            info = tarfile.TarInfo(place)
            info.size, info.mode = len(data), 0o755 if place.endswith(".so") else _MODE
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()
