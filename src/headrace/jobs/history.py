"""The runs of every job, a file each: written whole before anything else happens, so that a crash forgets none.

`<folder>/<job>/runs/<id>.json`, with the run's log beside it as `<id>.log`; see `docs/formats.md`.
"""

import contextlib
import shutil
from pathlib import Path

import msgspec

from headrace import disk
from headrace.jobs.run import ENDED, RUNNING, VERSION, Run

KEPT = 100  # ended runs of each job, with their logs


class Folder:
    """The files of one job."""

    def __init__(self, root: Path, job: str) -> None:
        self._root = root
        self.path = root / job
        self.runs = self.path / "runs"
        self.work = self.path / "work"
        self.lock = self.path / "lock"
        self.seen = self.path / "seen.json"

    def of(self, job: str) -> "Folder":
        """Return the folder of another job."""
        return Folder(self._root, job)

    def log(self, run: str) -> Path:
        """Return what a run's attempts wrote."""
        return self.runs / f"{run}.log"

    def result(self, run: str) -> Path:
        """Return the last word of a run's attempt; it is there from the attempt's end until it was read."""
        return self.runs / f"{run}.ended"

    def committed(self) -> Path | None:
        """Return the publication of an output that is decided on, but not finished; None where there is none."""
        return next(iter(sorted(self.work.glob("*/publication.json"))), None)

    def clear_work(self) -> None:
        """Remove what attempts have left behind, but for an output that is decided on."""
        for path in self.work.glob("*"):
            if not (path / "publication.json").exists():
                shutil.rmtree(path, ignore_errors=True)


class History:
    """Every run that is kept, by id, in the order of creation."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.runs: dict[str, Run] = {run.id: run for run in _all(root)}

    def of(self, job: str) -> list[Run]:
        """Return a job's runs, the newest last."""
        return [run for run in self.runs.values() if run.job == job]

    def active(self, job: str) -> Run | None:
        """Return the run of a job that has not ended, or None."""
        return next((run for run in self.of(job) if run.state not in ENDED), None)

    def running(self) -> list[Run]:
        """Return the runs that have a process."""
        return [run for run in self.runs.values() if run.state == RUNNING]

    def new_id(self, job: str, now_ms: int) -> str:
        """Return an id for a run: the job and the millisecond, a later one if that is taken."""
        while (found := f"{job}-{now_ms}") in self.runs:
            now_ms += 1
        return found

    def save(self, run: Run) -> None:
        """Keep a run as it is now, durably; raises StorageError."""
        folder = Folder(self._root, run.job)
        disk.write_file(folder.runs / f"{run.id}.json", msgspec.json.encode(run))
        self.runs[run.id] = run
        if run.state in ENDED:
            self._forget_old(run.job)

    def _forget_old(self, job: str) -> None:
        folder = Folder(self._root, job)
        for run in [run for run in self.of(job) if run.state in ENDED][:-KEPT]:
            with contextlib.suppress(OSError):
                disk.DISK.remove(folder.runs / f"{run.id}.json")
                disk.DISK.remove(folder.log(run.id))
                del self.runs[run.id]


def load(root: Path, job: str, run: str) -> Run:
    """Return a run as it is on the disk."""
    return msgspec.json.decode((Folder(root, job).runs / f"{run}.json").read_bytes(), type=Run)


def _all(root: Path) -> list[Run]:
    found = []
    for path in root.glob("*/runs/*.json"):
        # What can't be read, or is of another version, stays where it is and is not shown.
        with contextlib.suppress(msgspec.DecodeError, OSError):
            run = msgspec.json.decode(path.read_bytes(), type=Run)
            if run.version == VERSION:
                found.append(run)
    return sorted(found, key=lambda run: (run.created_ms, run.id))
