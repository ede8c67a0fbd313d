"""The jobs process: starts the runs that schedules and people ask for, a child process each, and keeps their history.

list     every job, with its schedule and last run
run      ask for a run; raises Conflict while one of that job has not ended
runs     the runs of a job, or of all
show     one run
cancel   end a run, or keep one that waits from beginning
log      what a run's attempts wrote
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headrace import clock, disk, process, rpc, schedule
from headrace.errors import Conflict, HeadraceError, NotFound, UsageError
from headrace.jobs import report
from headrace.jobs import run as transitions
from headrace.jobs.base import ENGINES
from headrace.jobs.history import Folder, History
from headrace.jobs.run import ENDED, RUNNING, WAITING, Asked, Ended, Run
from headrace.settings import Layout
from headrace.system import BUILT_IN_JOBS, Schedule, System

TURN_S = 0.5
SAVE_AGAIN_S = 1.0  # after the disk has refused to keep how a run ended
RUNNING_MAX = 2  # children at once: each may take a core and its memory_mb
LOG_BYTES_MAX = 1024 * 1024  # in one answer
SCHEDULES_VERSION = 1

_log = logging.getLogger(__name__)


class _Since(msgspec.Struct):
    """Since when a schedule counts, and when it last was due."""

    expression: str
    since_ms: int
    due_ms: int


class _Schedules(msgspec.Struct):
    schedules: dict[str, _Since] = {}
    version: int = SCHEDULES_VERSION


def command(run: Run) -> list[str]:
    """Return the command line of a run's child; HEADRACE_RUN is the run's id."""
    return [sys.executable, "-m", "headrace.app", "job", run.job]


class JobsServer:
    """Everything that the jobs process does. `turn` is what it does each half second."""

    def __init__(
        self,
        layout: Layout,
        system: System,
        *,
        now_ms: Callable[[], int] = clock.now_ms,
        is_believed: Callable[[], bool] = lambda: True,
        command: Callable[[Run], Sequence[str]] = command,
    ) -> None:
        """`is_believed` says whether the clock is believed enough to start what is due by it."""
        self._layout = layout
        self._system = system
        self._now_ms = now_ms
        self._is_believed = is_believed
        self._command = command
        self._history = History(layout.jobs)
        self._schedules_file = layout.schedules
        self._since = self._read_schedules()
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        self._cancelled: set[str] = set()
        self._timed_out: set[str] = set()
        self._wake = asyncio.Event()
        self._turning: asyncio.Task[None] | None = None
        self._stopping = False
        self._server = rpc.Server(
            {
                "list": lambda _: self.jobs(),
                "run": lambda params: self.run(rpc.decode(params, type=Asked)),
                "runs": lambda params: self.runs(*rpc.decode(params, type=tuple[str | None, int])),
                "show": lambda params: self.show(rpc.decode(params, type=str)),
                "cancel": lambda params: self.cancel(rpc.decode(params, type=str)),
                "log": lambda params: self.log(*rpc.decode(params, type=tuple[str, int])),
            }
        )

    async def listen(self, *, turning: bool = True) -> None:
        """Begin to serve; what the last process left running is taken for interrupted."""
        for run in self._history.running():
            self._fail(run, "interrupted", ("The backend stopped.", "It is tried again."))
            self._history.save(run)
            self._folder(run).clear_work()
        self._layout.sockets.mkdir(parents=True, exist_ok=True)
        await self._server.start(self._layout.jobs_socket)
        if turning:
            self._turning = asyncio.create_task(self._turn_forever())

    async def stop(self) -> None:
        """End the children; the next start tries their runs again."""
        self._stopping = True
        if self._turning is not None:
            self._turning.cancel()
            await asyncio.gather(self._turning, return_exceptions=True)
        await self._server.stop()
        for child in self._children.values():
            _kill(child)
        await asyncio.gather(*self._watchers, return_exceptions=True)

    def jobs(self) -> list[dict[str, Any]]:
        """Return every job: built in, or a report."""
        return [self._described(job) for job in self._jobs()]

    def run(self, asked: Asked) -> Run:
        """Ask for a run of a job; it begins at once unless others are running."""
        if asked.job not in self._jobs():
            raise NotFound(f"There is no job {asked.job!r}.", f"Jobs are: {', '.join(self._jobs())}.")
        if asked.engine is not None and asked.engine not in ENGINES:
            raise UsageError(f"There is no engine {asked.engine!r}.", f"Choose one of: {', '.join(ENGINES)}.")
        if (active := self._history.active(asked.job)) is not None:
            raise Conflict(
                f"{asked.job} is {active.state} already: {active.id}.",
                f"Wait for it, or end it with `headrace jobs cancel {active.id}`.",
            )
        return self._create(asked, "request")

    def runs(self, job: str | None, limit: int) -> list[Run]:
        """Return the newest runs, the newest first."""
        found = self._history.of(job) if job else list(self._history.runs.values())
        return found[: -limit - 1 : -1] if limit else []

    def show(self, name: str) -> Run:
        """Return a run by its id, or the last one of a job."""
        if (found := self._history.runs.get(name)) is not None:
            return found
        if runs := self._history.of(name):
            return runs[-1]
        raise NotFound(f"There is no run {name!r}.", "See `headrace jobs list`, and `headrace jobs show JOB`.")

    def cancel(self, name: str) -> Run:
        """End a run by its id, or the one of a job that has not ended."""
        run = self.show(name)
        if run.state in ENDED:
            raise Conflict(f"{run.id} has {run.state} already.", "There is nothing to cancel.")
        if run.state == RUNNING:
            self._cancelled.add(run.id)
            if run.id in self._children:
                _kill(self._children[run.id])
        else:
            transitions.cancel(run, self._now_ms(), committed=self._committed(run))
            self._history.save(run)
        return run

    def log(self, name: str, offset: int) -> tuple[str, int]:
        """Return what a run's attempts wrote from a byte on, and the byte behind it."""
        run = self.show(name)
        try:
            with self._folder(run).log(run.id).open("rb") as file:
                file.seek(offset)
                text = file.read(LOG_BYTES_MAX)
        except FileNotFoundError:
            return "", 0
        return text.decode(errors="replace"), offset + len(text)

    def turn(self) -> None:
        """Create the runs that schedules are due for, and begin those that wait; raises StorageError."""
        if self._is_believed():
            for each in self._system.schedules:
                if each.enabled:
                    self._check(each)
        now_ms = self._now_ms()
        for run in list(self._history.runs.values()):
            if run.state == WAITING and run.due_ms <= now_ms and len(self._history.running()) < RUNNING_MAX:
                self._begin(run)

    async def _turn_forever(self) -> None:
        while True:
            try:
                self.turn()
            except (HeadraceError, OSError) as error:
                _log.warning("Jobs: %s", error)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TURN_S)

    def _check(self, due: Schedule) -> None:
        """Create a run if a schedule is due; moments that were missed count as one."""
        now_ms = self._now_ms()
        since = self._since.schedules.get(due.logical_id)
        if since is None or since.expression != due.expression or since.since_ms > now_ms:
            self._since.schedules[due.logical_id] = _Since(due.expression, now_ms, now_ms)
            self._write_schedules()
            return
        following = schedule.following(schedule.parse(due.expression), since.due_ms, since.since_ms)
        if following is None or following > now_ms or self._history.active(due.job) is not None:
            return
        since.due_ms = now_ms
        self._write_schedules()
        self._create(Asked(due.job), "schedule", due)

    def _create(self, asked: Asked, trigger: str, due: Schedule | None = None) -> Run:
        settings = due.settings if due else self._system.job_settings(asked.job)
        settings = msgspec.structs.replace(
            settings,
            engine=asked.engine or settings.engine,
            parameters={**settings.parameters, **asked.parameters},
        )
        now_ms = self._now_ms()
        run = Run(
            id=self._history.new_id(asked.job, now_ms),
            job=asked.job,
            trigger=trigger,
            created_ms=now_ms,
            settings=settings,
            first=asked.first,
            last=asked.last,
            due_ms=now_ms,
        )
        self._history.save(run)
        self._wake.set()
        return run

    def _begin(self, run: Run) -> None:
        transitions.begin(run, self._now_ms())
        try:
            self._history.save(run)
        except HeadraceError:
            run.attempts.pop()
            run.state = WAITING
            raise
        watcher = asyncio.create_task(self._attempt(run))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _attempt(self, run: Run) -> None:
        """Run the child to its end, and keep what became of it."""
        try:
            status = await self._child(run)
        except OSError as error:  # no process or file could be had
            self._fail(run, "failed", (f"It could not be started: {error}.", "See the machine's limits and memory."))
        else:
            if self._stopping and status != 0:
                return  # stays as it is: the next start takes it for interrupted
            self._ended(run, status)
        while True:
            try:
                self._history.save(run)
                break
            except HeadraceError as error:
                _log.warning("The run %s: %s", run.id, error)
                await asyncio.sleep(SAVE_AGAIN_S)
        self._wake.set()

    async def _child(self, run: Run) -> int:
        """Start the child, wait for its end, which comes in time, and return its status."""
        folder = self._folder(run)
        folder.result(run.id).unlink(missing_ok=True)
        with folder.log(run.id).open("ab") as log:
            child = await asyncio.create_subprocess_exec(
                *self._command(run),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "HEADRACE_RUN": run.id},
                pass_fds=process.lifeline(),
                start_new_session=True,  # so that whatever it starts can be ended with it
            )
        self._children[run.id] = child
        if run.id in self._cancelled:
            _kill(child)
        try:
            await asyncio.wait_for(child.wait(), run.settings.timeout_s)
        except TimeoutError:
            self._timed_out.add(run.id)
            _kill(child)
            await child.wait()
        _kill(child)  # what it has left behind: processes, and what it spilled, which may be gigabytes
        await asyncio.to_thread(folder.clear_work)
        del self._children[run.id]
        return child.returncode or 0

    def _ended(self, run: Run, status: int) -> None:
        """Take down how an attempt ended."""
        ended = _last_word(self._folder(run).result(run.id))
        now_ms = self._now_ms()
        if status == 0:
            transitions.succeed(run, ended.result, now_ms)
        elif run.id in self._cancelled:
            transitions.cancel(run, now_ms, committed=self._committed(run))
        elif run.id in self._timed_out:
            hint = "Give it more time (timeout_s), or less to do (--from, --to)."
            self._fail(run, "timed_out", (f"It did not end within {run.settings.timeout_s:,} s.", hint))
        elif ended.error is not None:
            kind, problem, hint = ended.error
            self._fail(run, "failed", (problem, hint), for_good=kind in ("UsageError", "NotFound"))
        elif status < 0:
            name = signal.Signals(-status).name
            self._fail(run, "interrupted", (f"Its process was ended by {name}.", "It is tried again."))
        else:
            problem = f"Its process ended with status {status}."
            self._fail(run, "failed", (problem, f"See `headrace jobs logs {run.id}`."))
        self._cancelled.discard(run.id)
        self._timed_out.discard(run.id)

    def _fail(self, run: Run, outcome: str, error: tuple[str, str], *, for_good: bool = False) -> None:
        committed = self._committed(run)
        transitions.fail(run, outcome, error, self._now_ms(), for_good=for_good, committed=committed)

    def _committed(self, run: Run) -> bool:
        return self._folder(run).committed() is not None

    def _folder(self, run: Run) -> Folder:
        return Folder(self._layout.jobs, run.job)

    def _jobs(self) -> list[str]:
        return [*BUILT_IN_JOBS, *report.files(Path(self._system.reports))]

    def _described(self, job: str) -> dict[str, Any]:
        runs = self._history.of(job)
        schedules = [each for each in self._system.schedules if each.job == job and each.enabled]
        due = [at for each in schedules if (at := self._next(each)) is not None]
        return {
            "job": job,
            "description": self._description(job),
            "schedules": [each.expression for each in schedules],
            "next": clock.rfc3339_ms(min(due)) if due else None,
            "last": runs[-1] if runs else None,
        }

    def _next(self, each: Schedule) -> int | None:
        since = self._since.schedules.get(each.logical_id)
        if since is None or since.expression != each.expression:
            return None
        return schedule.following(schedule.parse(each.expression), since.due_ms, since.since_ms)

    def _description(self, job: str) -> str:
        path = report.files(Path(self._system.reports)).get(job)
        if path is None:
            return ""
        try:
            return report.load(path).description
        except HeadraceError as error:
            return error.problem

    def _read_schedules(self) -> _Schedules:
        try:
            return msgspec.json.decode(self._schedules_file.read_bytes(), type=_Schedules)
        except (FileNotFoundError, msgspec.DecodeError):
            return _Schedules()

    def _write_schedules(self) -> None:
        disk.write_file(self._schedules_file, msgspec.json.encode(self._since))


def _kill(child: asyncio.subprocess.Process) -> None:
    """Kill a child and everything it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _last_word(path: Path) -> Ended:
    try:
        ended = msgspec.json.decode(path.read_bytes(), type=Ended)
        path.unlink()
    except (OSError, msgspec.DecodeError):
        return Ended()
    return ended


async def start(layout: Layout, system: System, *, is_believed: Callable[[], bool] = lambda: True) -> JobsServer:
    """Start the jobs process on a data directory."""
    server = JobsServer(layout, system, is_believed=is_believed)
    await server.listen()
    return server
