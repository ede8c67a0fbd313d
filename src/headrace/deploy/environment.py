"""What jobs on EMR need beside the template: the entry script, Python's environment of a cluster's nodes, the reports.

Content-addressed: the prefix is a digest of everything under it, so that a cluster finds what its template was made
with, however often the project is deployed after.
"""

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path

import msgspec

from headrace.deploy import bundle, lock, wheels
from headrace.deploy.wheels import Target
from headrace.errors import UsageError

NODE = Target("3.11", "arm64", "2_28")  # a node's Python and processor
_LEFT_OUT = (".pyc", ".pyx", ".so")  # compiled for this machine, which a node need not be like


class Artifact(msgspec.Struct, frozen=True):
    """An object of the artifacts' bucket; `read` returns its bytes, and is called only where it has to be uploaded."""

    key: str
    read: Callable[[], bytes]

    @classmethod
    def of(cls, key: str, body: bytes) -> "Artifact":
        """Return an artifact of bytes."""
        return cls(key, lambda: body)


class _Tree:
    """Files in a temporary folder of their own, packed when asked for; the folder goes when nobody holds this."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-"))
        self.files: dict[str, Path] = {}
        weakref.finalize(self, shutil.rmtree, self.folder, True)

    def packed(self) -> bytes:
        """Return the files as a gzipped tar."""
        return bundle.tarred(self.files)


def jobs(reports: Path, entry: Path, requirements: Iterable[str]) -> tuple[str, list[Artifact]]:
    """Return the prefix and the objects under it: `emr/job.py`, `emr/environment.tar.gz`, `reports/…`.

    `entry` is the script that spark-submit runs; `requirements` are distributions of the lock.
    """
    if not reports.is_dir():
        raise UsageError(f"There is no folder {reports}.", "Jobs need the reports beside the template: see reports/.")
    tree = _Tree()
    wheels.fetch(NODE, lock.with_requirements(requirements), tree.folder)
    found = (path for path in tree.folder.rglob("*") if path.is_file())
    tree.files = {path.relative_to(tree.folder).as_posix(): path for path in found}
    tree.files |= {f"headrace/{place}": path for place, path in _own().items()}
    prefix = f"jobs/{bundle.digest({**tree.files, 'entry': entry, **_reports(reports)})}"
    objects = [
        Artifact(f"{prefix}/emr/environment.tar.gz", tree.packed),
        Artifact(f"{prefix}/emr/job.py", entry.read_bytes),
    ]
    objects += [Artifact(f"{prefix}/{place}", path.read_bytes) for place, path in _reports(reports).items()]
    return prefix, objects


def _own() -> dict[str, Path]:
    """Return the files of Headrace itself."""
    root = Path(str(files("headrace")))
    found = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    return {place: path for place, path in found.items() if path.suffix not in _LEFT_OUT}


def _reports(folder: Path) -> dict[str, Path]:
    return {f"reports/{path.name}": path for path in sorted(folder.iterdir()) if path.suffix in (".sql", ".csv")}
