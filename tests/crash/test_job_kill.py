"""SIGKILL of a job at any point: what it puts out is there whole or not at all, and the next attempt ends it."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest

from headrace.table.local import LocalTable
from support import job_child
from support.backend import ROOT, wait_until
from support.jobs import ENGINES, archive, generated, needs_java
from support.table import TableProcess

READINGS = ("temperature", "counter")
FIRST, LATE = generated(600, seed=1), generated(200, seed=2)
Rows = list[tuple[Any, ...]]


class Site:
    """A folder with a report, an archive, a table process and attempts of the job."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.folder, self.engine = folder, engine
        (folder / "reports").mkdir(parents=True)
        shutil.copy(ROOT / "reports" / "aggregate_hourly.sql", folder / "reports" / "warm.sql")
        self.work = folder / "jobs" / "warm" / "work"
        self.objects = folder / "archive" / "reports" / "warm"
        self.table = TableProcess(folder / "table", folder / "table.sock")
        self.table.start()
        self._attempts = 0

    def archived(self, name: str, events: list[Any]) -> None:
        """Add a file a day to the archive."""
        for path in map(Path, archive(self.folder / name, events, READINGS)):
            target = self.folder / "archive" / "events" / path.parent.name / f"{name}.parquet"
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)

    def attempt(self, engine: str | None = None) -> subprocess.Popen[bytes]:
        self._attempts += 1
        command = [sys.executable, job_child.__file__, str(self.folder), engine or self.engine, str(self._attempts)]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=_environment())

    def finish(self, engine: str | None = None) -> None:
        assert self.attempt(engine).wait() == 0, (self.folder / "log").read_text()[-3000:]

    def committed(self) -> bool:
        return any(self.work.glob("*/publication.json"))

    def days(self) -> dict[str, Rows]:
        """Return the rows of every object, each of which must be readable."""
        with duckdb.connect() as connection:
            return {
                path.parent.name: connection.execute(f"SELECT * FROM read_parquet('{path}') ORDER BY ALL").fetchall()
                for path in sorted(self.objects.rglob("*.parquet"))
            }

    def items(self) -> dict[tuple[str, str], bytes]:
        with contextlib.closing(LocalTable.connect("events", self.folder / "table.sock")) as table:
            items = table.scan(None, 100_000)
        return {(item.partition, item.sort): item.attributes for item in items}


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT / "src")])}


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "s", request.param)
    yield made
    made.table.kill()


@pytest.fixture
def outcomes(tmp_path: Path) -> tuple[dict[str, Rows], dict[str, Rows], dict[tuple[str, str], bytes]]:
    """What comes out when nothing is killed: the objects before the late events, and objects and items after them."""
    calm = Site(tmp_path / "calm", "duckdb")
    calm.archived("first", FIRST)
    calm.finish()
    before = calm.days()
    calm.archived("late", LATE)
    calm.finish()
    after, items = calm.days(), calm.items()
    calm.table.kill()
    return before, after, items


def moments(site: Site) -> list[Callable[[], bool]]:
    """Conditions on the disk that mark how far an attempt has come, from its beginning to its end."""
    if site.engine == "spark":  # each takes half a minute
        return [lambda: any(site.work.glob("*/out/_temporary/**/*.parquet")), site.committed]
    objects = sorted(site.objects.rglob("*.parquet"))
    unchanged = {path: path.stat().st_ino for path in objects}
    return [
        lambda: any(site.work.glob("*/tmp/*")),
        lambda: any(site.work.glob("*/out/**/*.parquet")),
        site.committed,
        lambda: any(path.stat().st_ino != inode for path, inode in unchanged.items()),
    ]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("site", ENGINES, indirect=True)
def test_a_killed_job_leaves_no_half_output(
    site: Site, outcomes: tuple[dict[str, Rows], dict[str, Rows], dict[tuple[str, str], bytes]]
) -> None:
    before, after, items = outcomes
    site.archived("first", FIRST)
    site.finish("duckdb")
    assert site.days() == before != after
    site.archived("late", LATE)
    killed = 0
    for moment in moments(site):
        child = site.attempt()
        while not moment() and child.poll() is None:
            time.sleep(0.001)
        killed += end(child)
        check(site, before, after)
    for _ in range(8 if site.engine == "duckdb" else 0):
        child = site.attempt()
        try:
            child.wait(random.uniform(0, 1.5))
        except subprocess.TimeoutExpired:
            killed += end(child)
        check(site, before, after)
    assert killed >= 2
    site.finish()
    assert site.days() == after
    assert site.items() == items
    assert not any(site.work.glob("*"))


def check(site: Site, before: dict[str, Rows], after: dict[str, Rows]) -> None:
    """Every object is an old one or a new one; as long as nothing was decided on, all are old, or all are new."""
    found = site.days()
    assert found.keys() == before.keys() == after.keys()
    for day, rows in found.items():
        assert rows in (before[day], after[day])
    if not site.committed():
        assert found in (before, after)


def end(child: subprocess.Popen[bytes]) -> bool:
    """SIGKILL an attempt; return whether it was still at work. What it has started must end by itself."""
    try:
        started = psutil.Process(child.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        started = []
    child.send_signal(signal.SIGKILL)
    status = child.wait()
    wait_until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in started), 60)
    return status == -signal.SIGKILL


@needs_java
@pytest.mark.timeout(300)
@pytest.mark.parametrize("site", ["spark"], indirect=True)
def test_an_attempt_says_that_sparks_java_process_was_ended(site: Site) -> None:
    site.archived("first", FIRST)
    child = site.attempt()
    wait_until(lambda: any(site.work.glob("*/out/_temporary")), 120)
    for started in psutil.Process(child.pid).children(recursive=True):
        started.kill()
    assert child.wait() == 1
    told = (site.folder / "log").read_text().splitlines()[-2:]
    assert told[0].endswith("HeadraceError: Spark's Java process was ended.") and "dmesg" in told[1]
    assert not any(site.work.glob("*"))


@pytest.mark.parametrize("site", ["duckdb"], indirect=True)
def test_two_attempts_do_not_work_side_by_side(site: Site) -> None:
    site.archived("first", FIRST)
    children = [site.attempt() for _ in range(2)]
    statuses = sorted(child.wait() for child in children)
    assert statuses[0] == 0
    assert statuses[1] == 0 or " is at work." in (site.folder / "log").read_text()
    assert len(site.days()) == 3
