"""What a benchmark found, kept under `.bench/` until `report.py` writes it down; and where it may work.

A result belongs to the code it was measured on: `run.py` measures a section again once that has changed.
"""

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".bench"
CODE = ("src", "functions", "template.yaml", "bench", "tests/support", "uv.lock")
SERVER_CORE, LOAD_CORE = 0, 1
BUSY_PERCENT = 10  # of the processors: more, and a figure is not what it could be
BUSY = "BENCH_BUSY"  # the variable in which run.py tells how busy the machine was before

HEADRACE = "Headrace"
DURABILITY = {
    HEADRACE: "fdatasync before the answer",
    "MiniStack": "kept in memory",
    "kinesalite": "LevelDB file, not synced",
    "raw loop": "fdatasync",
    "bare loop": "nothing kept",
    "bare server": "nothing kept",
}


class Figure(msgspec.Struct, kw_only=True):
    """One figure of ours, and the same of others from the same run; `least` and `most` are what it should reach."""

    name: str
    value: float
    unit: str
    beside: dict[str, float] = {}
    least: float | None = None
    most: float | None = None
    ratio_to: dict[str, float] = {}  # the least ratio to what stands beside it

    def misses(self) -> list[str]:
        """Return what it should reach and does not, in words."""
        missed = [f"at least {show(self.least)}"] if self.least is not None and self.value < self.least else []
        missed += [f"at most {show(self.most)}"] if self.most is not None and self.value > self.most else []
        for name, ratio in self.ratio_to.items():
            if name in self.beside and self.value / self.beside[name] < ratio:
                missed.append(f"{show(ratio)} times {name}")
        return missed

    def aims(self) -> str:
        """Return what it should reach, in words."""
        aims = [f"≥ {show(self.least)}"] if self.least is not None else []
        aims += [f"≤ {show(self.most)}"] if self.most is not None else []
        aims += [f"≥ {show(ratio)} × {name}" for name, ratio in self.ratio_to.items() if name in self.beside]
        return ", ".join(aims)

    def against(self, name: str) -> str:
        """Return what stands beside it, with the ratio to it."""
        value = self.beside[name]
        return f"{name} {show(value)}" + (f", ratio {show(self.value / value)}" if value else "")

    def line(self) -> str:
        """Return it as a line of text, with its ratios."""
        beside = "".join(f"; {self.against(name)}" for name in self.beside)
        aims = self.aims()
        reached = "" if not aims else f"  [{aims}: {'NOT ' if self.misses() else ''}reached]"
        return f"{self.name}: {show(self.value)} {self.unit}{beside}{reached}"


class Result(msgspec.Struct, kw_only=True):
    """What one command found. `verified` says whether the check of the same run agreed; `notes` are lines of text."""

    section: str
    figures: list[Figure]
    verified: bool
    notes: list[str] = []
    series: dict[str, Any] = {}  # what a plot needs
    quick: bool = False
    code: str = ""
    commit: str = ""
    at: str = ""
    busy: float = 0.0  # percent of the processors that other work had just before
    machine: str = ""


def save(result: Result) -> int:
    """Print a result and keep it; return the command's exit code."""
    result.code, result.commit, result.machine = code(), git("rev-parse", "--short=10", "HEAD"), machine()
    result.busy = float(os.environ.get(BUSY, "0"))
    result.at = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    path = _path(result.section, quick=result.quick)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    for note in result.notes:
        print(note)
    for figure in result.figures:
        print(figure.line())
    print(f"{result.section}: {'verified' if result.verified else 'NOT VERIFIED'}", flush=True)
    return 0 if result.verified else 1


def load(section: str, *, quick: bool = False) -> Result | None:
    """Return what a section found last, if anything; quick runs are kept apart."""
    try:
        return msgspec.json.decode(_path(section, quick=quick).read_bytes(), type=Result)
    except (OSError, msgspec.MsgspecError):
        return None


def _path(section: str, *, quick: bool) -> Path:
    return WORK / ("quick" if quick else "results") / f"{section}.json"


def show(value: float) -> str:
    """Return a number with three digits that count, and whole ones whole."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def git(*arguments: str) -> str:
    """Return what git answers; empty where there is no repository."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def code() -> str:
    """Return a hash of the committed code; empty if what is on the disk differs from it."""
    if git("status", "--porcelain", "--", *CODE):
        return ""
    return sha256(git("rev-parse", *(f"HEAD:{path}" for path in CODE)).encode()).hexdigest()[:16]


def machine() -> str:
    """Return what the figures were measured on."""
    return f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {platform.system()}"


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the project's own disk, removed afterwards: `/tmp` may be memory, where a sync costs nothing."""
    WORK.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="data-", dir=WORK))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """This process, and those it starts meanwhile, on one core; on a machine with one core nothing changes."""
    if sys.platform != "linux" or core not in os.sched_getaffinity(0):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [core])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
