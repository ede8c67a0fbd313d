"""What jobs on EMR need beside the template: the entry script, Python's environment of a cluster's nodes, the reports.

Content-addressed: the prefix is a digest of everything under it, so that a cluster finds what its template was made
with, however often the project is deployed after.
"""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from headrace.deploy import bundle, lock, wheels
from headrace.deploy.wheels import Target
from headrace.errors import UsageError

NODE = Target("3.11", "arm64", "2_28")  # a node's Python and processor
_LEFT_OUT = ("__pycache__",)


class Artifact(msgspec.Struct, frozen=True):
    """An object of the artifacts' bucket."""

    key: str
    body: bytes


def jobs(reports: Path, entry: Path, requirements: Iterable[str]) -> tuple[str, list[Artifact]]:
    """Return the prefix and the objects under it: `emr/job.py`, `emr/environment.tar.gz`, `reports/…`.

    `entry` is the script that spark-submit runs; `requirements` are distributions of the lock.
    """
    if not reports.is_dir():
        raise UsageError(f"There is no folder {reports}.", "Jobs need the reports beside the template: see reports/.")
    with TemporaryDirectory(prefix="headrace-") as temporary:
        folder = Path(temporary)
        wheels.fetch(NODE, lock.with_requirements(requirements), folder)
        content = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        content |= {f"headrace/{place}": path for place, path in _own().items()}
        digest = bundle.digest({**content, "entry": entry, **_reports(reports)})
        body = bundle.tarred(content)
    prefix = f"jobs/{digest}"
    objects = [
        Artifact(f"{prefix}/emr/environment.tar.gz", body),
        Artifact(f"{prefix}/emr/job.py", entry.read_bytes()),
    ]
    objects += [Artifact(f"{prefix}/{place}", path.read_bytes()) for place, path in _reports(reports).items()]
    return prefix, objects


def _own() -> dict[str, Path]:
    """Return the files of Headrace itself."""
    root = Path(str(files("headrace")))
    found = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    return {place: path for place, path in found.items() if not any(each in place for each in _LEFT_OUT)}


def _reports(folder: Path) -> dict[str, Path]:
    return {f"reports/{path.name}": path for path in sorted(folder.iterdir()) if path.suffix in (".sql", ".csv")}
