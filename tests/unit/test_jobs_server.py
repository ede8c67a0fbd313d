"""The jobs process: runs begin, end, are tried again, cancelled and remembered. Its children are real processes."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import Conflict, NotFound, UsageError
from headrace.jobs.history import KEPT, Folder, History
from headrace.jobs.run import Asked, Run
from headrace.jobs.server import JobsServer
from headrace.settings import Layout
from headrace.system import JobSettings, Schedule, System
from support.loop import in_loop

DAY_MS = 86_400_000
SAY = "import pathlib, sys, os; print('hello'); p = pathlib.Path(sys.argv[1]); "
DONE = SAY + 'p.write_text(\'{"result": {"days": 2}}\')'
REFUSED = SAY + 'p.write_text(\'{"error": ["UsageError", "It is wrong.", "Mend it."]}\'); sys.exit(1)'
BROKEN = SAY + 'p.write_text(\'{"error": ["StorageError", "No space.", "Free some."]}\'); sys.exit(1)'
SILENT = "raise SystemExit(3)"
KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
HANGS = "import time; time.sleep(600)"
SPILLS = SAY + "w = p.parent.parent / 'work' / 'a' / 'tmp'; w.mkdir(parents=True); (w / 'spilled').touch();" + HANGS


class Jobs:
    """A server with a clock of its own, whose children run what `scripts` has for them, one after the other."""

    def __init__(self, folder: Path, *scripts: str, schedules: tuple[Schedule, ...] = ()) -> None:
        (folder / "reports").mkdir(exist_ok=True)
        (folder / "reports" / "hourly.sql").write_text("-- What was.\nSELECT 1 AS one")
        self.layout = Layout(folder / "data")
        self.system = System(template="", parameters={}, reports=str(folder / "reports"), schedules=schedules)
        self.scripts = list(scripts)
        self.now_ms = 1_000 * DAY_MS
        self.believed = True
        self.server = self.made()

    def made(self) -> JobsServer:
        return JobsServer(
            self.layout, self.system,
            now_ms=lambda: self.now_ms, is_believed=lambda: self.believed, command=self.command,
        )  # fmt: skip

    def command(self, run: Run) -> list[str]:
        return [sys.executable, "-c", self.scripts.pop(0), str(Folder(self.layout.jobs, run.job).result(run.id))]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Jobs"]:
        await self.server.listen(turning=False)
        try:
            yield self
        finally:
            await self.server.stop()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.01)

    async def ended(self, run: Run, *states: str) -> Run:
        """Turn until the run is in one of the states: an attempt's end is what is waited for."""
        count = len(run.attempts)
        self.server.turn()
        await self.until(lambda: len(run.attempts) > count and run.attempts[-1].ended_ms is not None)
        await self.until(lambda: self.kept(run).state == run.state)
        assert run.state in states
        return run

    def kept(self, run: Run) -> Run:
        return History(self.layout.jobs).runs[run.id]


@in_loop
async def test_a_run_ends_with_its_result_and_its_log(tmp_path: Path) -> None:
    async with Jobs(tmp_path, DONE).running() as jobs:
        run = jobs.server.run(Asked("hourly", engine="spark", parameters={"gap_s": 5}))
        assert run.state == "waiting" and jobs.kept(run) == run
        await jobs.ended(run, "succeeded")
        assert run.result == {"days": 2} and jobs.kept(run) == run
        assert run.settings.engine == "spark" and run.settings.parameters == {"gap_s": 5}
        assert jobs.server.log(run.id, 0) == ("hello\n", 6)
        assert jobs.server.log("hourly", 6) == ("", 6)
        (hourly,) = [job for job in jobs.server.jobs() if job["job"] == "hourly"]
        assert (hourly["description"], hourly["last"], hourly["next"]) == ("What was.", run, None)


@in_loop
async def test_one_run_of_a_job_at_a_time(tmp_path: Path) -> None:
    async with Jobs(tmp_path, HANGS, DONE).running() as jobs:
        run = jobs.server.run(Asked("hourly"))
        with pytest.raises(Conflict, match=run.id):
            jobs.server.run(Asked("hourly"))
        jobs.server.turn()
        with pytest.raises(Conflict, match="running"):
            jobs.server.run(Asked("hourly"))
        jobs.server.cancel("hourly")
        await jobs.until(lambda: run.state == "cancelled")
        with pytest.raises(Conflict, match="cancelled already"):
            jobs.server.cancel(run.id)
        await jobs.ended(jobs.server.run(Asked("hourly")), "succeeded")


@in_loop
async def test_a_run_that_waits_is_cancelled_at_once(tmp_path: Path) -> None:
    async with Jobs(tmp_path).running() as jobs:
        assert jobs.server.cancel(jobs.server.run(Asked("hourly")).id).state == "cancelled"


@in_loop
async def test_what_a_cancelled_run_has_spilled_is_removed(tmp_path: Path) -> None:
    async with Jobs(tmp_path, SPILLS).running() as jobs:
        run, work = jobs.server.run(Asked("hourly")), Folder(jobs.layout.jobs, "hourly").work
        jobs.server.turn()
        await jobs.until(lambda: list(work.rglob("spilled")))
        jobs.server.cancel(run.id)
        await jobs.until(lambda: run.state == "cancelled")
        assert not list(work.iterdir())


@in_loop
async def test_failures_are_tried_again_when_it_is_time(tmp_path: Path) -> None:
    async with Jobs(tmp_path, BROKEN, SILENT, DONE).running() as jobs:
        run = jobs.server.run(Asked("hourly"))
        await jobs.ended(run, "waiting")
        assert run.attempts[0].error == ("No space.", "Free some.")
        jobs.server.turn()
        assert len(run.attempts) == 1, "it is not time yet"
        jobs.now_ms = run.due_ms
        await jobs.ended(run, "waiting")
        error = run.attempts[1].error
        assert error is not None and "status 3" in error[0] and run.id in error[1]
        jobs.now_ms = run.due_ms
        await jobs.ended(run, "succeeded")


@in_loop
async def test_what_is_wrong_is_not_tried_again(tmp_path: Path) -> None:
    async with Jobs(tmp_path, REFUSED).running() as jobs:
        run = await jobs.ended(jobs.server.run(Asked("hourly")), "failed")
        assert run.attempts[-1].error == ("It is wrong.", "Mend it.")


@in_loop
async def test_a_child_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path)
    jobs.server = JobsServer(
        jobs.layout, jobs.system, now_ms=lambda: jobs.now_ms, command=lambda _: [str(tmp_path / "no such program")]
    )
    async with jobs.running():
        run = await jobs.ended(jobs.server.run(Asked("hourly")), "waiting")
        assert run.attempts[0].error is not None and "could not be started" in run.attempts[0].error[0]


@in_loop
async def test_a_killed_child_is_tried_again_at_once(tmp_path: Path) -> None:
    async with Jobs(tmp_path, KILLED, DONE).running() as jobs:
        run = await jobs.ended(jobs.server.run(Asked("hourly")), "waiting")
        assert run.attempts[-1].outcome == "interrupted" and run.due_ms == jobs.now_ms
        await jobs.ended(run, "succeeded")


@in_loop
async def test_a_run_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    slow = Schedule(
        logical_id="S", job="hourly", expression="rate(1 day)", settings=JobSettings(timeout_s=1, retries=0)
    )
    async with Jobs(tmp_path, HANGS, schedules=(slow,)).running() as jobs:
        run = await jobs.ended(jobs.server.run(Asked("hourly")), "failed")
        assert run.attempts[-1].outcome == "timed_out"


@in_loop
async def test_a_stop_ends_children_and_the_next_start_tries_again(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path, HANGS, DONE)
    async with jobs.running():
        run = jobs.server.run(Asked("hourly"))
        jobs.server.turn()
        await jobs.until(lambda: jobs.server._children)
    assert jobs.kept(run).state == "running"
    jobs.server = jobs.made()
    async with jobs.running():
        again = jobs.server.show(run.id)
        assert (again.state, again.attempts[0].outcome) == ("waiting", "interrupted")
        await jobs.ended(again, "succeeded")


@in_loop
async def test_schedules_are_due_once_however_many_moments_were_missed(tmp_path: Path) -> None:
    hourly = Schedule(logical_id="S", job="hourly", expression="rate(1 hour)")
    off = Schedule(logical_id="Off", job="compact", expression="rate(1 hour)", enabled=False)
    jobs = Jobs(tmp_path, DONE, DONE, schedules=(hourly, off))
    async with jobs.running():
        jobs.server.turn()
        assert jobs.server.runs(None, 10) == []
        jobs.now_ms += 3_600_000
        jobs.believed = False
        jobs.server.turn()
        assert jobs.server.runs(None, 10) == [], "the clock is in doubt"
        jobs.believed = True
        jobs.server.turn()
        (first,) = jobs.server.runs(None, 10)
        assert (first.job, first.trigger) == ("hourly", "schedule")
        await jobs.until(lambda: jobs.kept(first).state == "succeeded")
    jobs.now_ms += 5 * 3_600_000 + 1
    jobs.server = jobs.made()
    async with jobs.running():
        jobs.server.turn()
        second, _ = jobs.server.runs("hourly", 10)
        await jobs.until(lambda: jobs.kept(second).state == "succeeded")
        jobs.server.turn()
        assert len(jobs.server.runs(None, 10)) == 2
        described = {job["job"]: job for job in jobs.server.jobs()}
        assert described["hourly"]["schedules"] == ["rate(1 hour)"] and described["hourly"]["next"]
        assert described["compact"]["next"] is None


@in_loop
async def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    async with Jobs(tmp_path).running() as jobs:
        with pytest.raises(NotFound, match="no job 'huorly'"):
            jobs.server.run(Asked("huorly"))
        with pytest.raises(UsageError, match="no engine 'hive'"):
            jobs.server.run(Asked("hourly", engine="hive"))
        with pytest.raises(NotFound):
            jobs.server.show("hourly-1")


def test_old_runs_are_forgotten_with_their_logs(tmp_path: Path) -> None:
    history = History(tmp_path)
    for number in range(KEPT + 5):
        run = Run(f"j-{number:05d}", "j", "request", number, JobSettings(), state="succeeded")
        Folder(tmp_path, "j").runs.mkdir(parents=True, exist_ok=True)
        Folder(tmp_path, "j").log(run.id).touch()
        history.save(run)
    assert [run.created_ms for run in History(tmp_path).of("j")] == list(range(5, KEPT + 5))
    assert len(list(tmp_path.rglob("*.log"))) == KEPT
    (tmp_path / "j" / "runs" / "j-00007.json").write_text("{")
    assert len(History(tmp_path).runs) == KEPT - 1
