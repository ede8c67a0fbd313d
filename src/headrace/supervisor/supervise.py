"""`headrace up`: starts the processes, watches them, restarts what dies, stops cleanly.

The supervisor opens the listening socket and hands it to the gateway, so that clients which connect while the gateway
is being restarted wait instead of being refused. Every child holds one end of a pipe whose other end only the
supervisor has: when the supervisor dies, however it dies, its children end too.

Console and warehouse are started when somebody asks for them: the supervisor listens in their place until then, and
again when they have ended, which they do when nobody asks any more.
"""

import contextlib
import ipaddress
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO

import msgspec

from headrace import clock, cold_folder, disk, errors, template
from headrace.plural import counted
from headrace.settings import CONSOLE_PATH, Layout
from headrace.supervisor import code_watch, data_directory, import_errors, plan
from headrace.supervisor.listener import hang_up, listen, listen_unix
from headrace.system import System

PROCESSES = ("table", "gateway", "runtime", "metrics", "jobs")  # in the order they start; they stop in `STOP_ORDER`
CONSOLE, WAREHOUSE = ON_DEMAND = ("console", "warehouse")
STOP_ORDER = (CONSOLE, "jobs", "gateway", WAREHOUSE, "runtime", "table", "metrics")
START_S_MAX = 30.0
STOP_S_MAX = 10.0
BACKOFF_S = (0.05, 10.0)  # first and longest wait before a restart
SPAWN_AGAIN_S = 1.0  # after the system had no process or descriptor to give
HEALTHY_S = 20.0  # a process that lived this long starts from the shortest wait again


@dataclass
class Child:
    """A process of the backend as the supervisor knows it."""

    name: str
    popen: subprocess.Popen[bytes]
    ready: IO[bytes]
    started_s: float
    is_ready: bool = False


@dataclass
class Supervisor:
    """Keeps the processes of one data directory running."""

    layout: Layout
    listener: socket.socket
    environment: dict[str, str]
    children: dict[str, Child] = field(default_factory=dict)
    restart_at_s: dict[str, float] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    stopping: bool = False

    def __post_init__(self) -> None:
        self._lifeline, self._lifeline_end = os.pipe()
        os.set_inheritable(self._lifeline, True)
        self._wake, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        sockets = {CONSOLE: self.layout.console_socket, WAREHOUSE: self.layout.warehouse_socket}
        self._on_demand = {name: listen_unix(path) for name, path in sockets.items()}

    def start(self) -> bool:
        """Start every process and wait until all are ready; return False if a signal asked to stop meanwhile.

        Raises what a process gave as its reason to fail.
        """
        # Before the first process starts: a signal that ended this one at once would leave the others to end after it.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for name in PROCESSES:
            self._spawn(name)
        deadline = clock.monotonic_s() + START_S_MAX
        while (waiting := [child for child in self.children.values() if not child.is_ready]) and not self.stopping:
            select.select([self._wake.fileno(), *(child.ready.fileno() for child in waiting)], [], [], 0.5)
            self._drain_wake()
            for child in waiting:
                self._check_start(child)
            if clock.monotonic_s() > deadline:
                names = ", ".join(child.name for child in waiting)
                raise errors.Unavailable(f"Not ready after {START_S_MAX:.0f} s: {names}.", f"See {self.layout.logs}.")
        return not self.stopping

    def watch(self) -> None:
        """Restart whatever ends, until a signal asks to stop."""
        while not self.stopping:
            self._reap()
            self._restart_due()
            waits = [at - clock.monotonic_s() for at in self.restart_at_s.values()]
            cared_for = {*self.children, *self.restart_at_s}
            asked = {each: name for name, each in self._on_demand.items() if name not in cared_for}
            ready, _, _ = select.select([self._wake, *asked], [], [], max(0.0, min([1.0, *waits])))
            self._drain_wake()
            for each in ready:
                if each in asked and not self.stopping:
                    self._respawn(asked[each])

    def stop(self) -> None:
        """Stop the processes in order: no new events, then no new batches, then the table."""
        for name in STOP_ORDER:
            child = self.children.pop(name, None)
            if child is None:
                continue
            child.popen.terminate()
            try:
                child.popen.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                child.popen.kill()
                child.popen.wait()
        os.close(self._lifeline_end)

    def _spawn(self, name: str) -> None:
        """Start a process; raises Unavailable where the system has none to give."""
        try:
            self._open(name)
        except OSError as error:
            raise errors.Unavailable(
                f"{name} can't be started: {error}.", "Raise the limits (ulimit -n, ulimit -u), or free memory."
            ) from error

    def _open(self, name: str) -> None:
        ready, ready_end = os.pipe()
        listeners = {"gateway": self.listener, **self._on_demand}
        listen_fds = [listeners[name].fileno()] if name in listeners else []
        environment = {
            **self.environment,
            "HEADRACE_LIFELINE_FD": str(self._lifeline),
            "HEADRACE_READY_FD": str(ready_end),
            "HEADRACE_LISTEN_FD": "".join(map(str, listen_fds)),
        }
        try:
            with _log_of(self.layout.logs / f"{name}.log") as log:
                popen = subprocess.Popen(
                    [sys.executable, "-m", "headrace.app", name],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    pass_fds=(self._lifeline, ready_end, *listen_fds),
                    start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops the rest in order
                )
        except OSError:
            os.close(ready)
            raise
        finally:
            os.close(ready_end)
        self.children[name] = Child(name, popen, os.fdopen(ready, "rb", buffering=0), clock.monotonic_s())

    def _check_start(self, child: Child) -> None:
        """Read what a starting process reports: `ready`, or an error as JSON."""
        if not select.select([child.ready], [], [], 0)[0]:
            return
        line = child.ready.read(65536) or b""
        if line == b"ready\n":
            child.is_ready = True
            return
        if line:
            name, problem, hint = msgspec.json.decode(line, type=tuple[str, str, str])
            raise errors.BY_NAME.get(name, errors.HeadraceError)(problem, hint)
        child.popen.wait()
        raise errors.HeadraceError(
            f"The {child.name} process ended with status {child.popen.returncode} before it was ready.",
            f"See {self.layout.logs / child.name}.log",
        )

    def _reap(self) -> None:
        for child in list(self.children.values()):
            status = child.popen.poll()
            if status is None:
                continue
            child.ready.close()
            del self.children[child.name]
            if child.name in ON_DEMAND:
                self._on_demand_ended(child.name, status)
                continue
            lived_s = clock.monotonic_s() - child.started_s
            count = 0 if lived_s > HEALTHY_S else self.failures.get(child.name, 0) + 1
            self.failures[child.name] = count
            wait_s = min(BACKOFF_S[1], BACKOFF_S[0] * 2 ** max(0, count - 1))
            self.restart_at_s[child.name] = clock.monotonic_s() + wait_s
            self.say(f"{child.name} ended ({_status_text(status)}) after {lived_s:.1f} s; restart in {wait_s:.2f} s")

    def _on_demand_ended(self, name: str, status: int) -> None:
        """Leave it ended until it is asked for again; where it failed, those who wait are told at once."""
        if status != 0:
            hang_up(self._on_demand[name])
            self.say(f"{name} ended ({_status_text(status)}); see {self.layout.logs / name}.log")

    def _restart_due(self) -> None:
        for name, at in list(self.restart_at_s.items()):
            if clock.monotonic_s() >= at:
                del self.restart_at_s[name]
                self._respawn(name)

    def _respawn(self, name: str) -> None:
        """Start a process while others are at work, which go on where the system has none to give."""
        try:
            self._spawn(name)
        except errors.Unavailable as error:
            self.restart_at_s[name] = clock.monotonic_s() + SPAWN_AGAIN_S
            self.say(f"{error.problem} {error.hint} It is tried again in {SPAWN_AGAIN_S:.0f} s.")

    def _drain_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(4096, socket.MSG_DONTWAIT)

    def _on_stop(self, *_: object) -> None:
        self.stopping = True

    def say(self, text: str) -> None:
        """Print a line with the time, and keep it in the supervisor's log."""
        line = f"{clock.rfc3339_ms(clock.now_ms())} {text}"
        _print(line, file=sys.stderr)
        with contextlib.suppress(OSError), (self.layout.logs / "supervisor.log").open("a") as log:
            log.write(line + "\n")


def run(
    *,
    template_file: Path | None,
    data: Path,
    host: str,
    port: int,
    parameters: list[str],
    enforce_limits: bool,
    insecure: bool,
    watch: bool = False,
    cold: Path | None = None,
    restore_speed: float = 1.0,
) -> int:
    """Run the template until a signal; return the exit code. Raises HeadraceError for whatever a user can mend."""
    began_s = clock.monotonic_s()
    _keep_standard_descriptors()
    _check_host(host, insecure)
    path = template_file or _default_template()
    system = template.read(path, template.parse_parameters(parameters))
    layout = Layout(data.resolve())
    with data_directory.held(layout), listen(host, port) as listener:
        cold = cold_folder.choose(layout.buckets, cold)
        _print(*_plan(layout, system), *_cold_problem(layout))
        disk.write_file(layout.system, msgspec.json.encode(system))
        environment = {**_environment(layout, listener, enforce_limits, watch), "HEADRACE_HOST": host}
        supervisor = Supervisor(layout, listener, environment)
        supervisor.environment["HEADRACE_RESTORE_SPEED"] = str(restore_speed)
        try:
            if not supervisor.start():
                return 0
            url = _url(listener)
            _print(_banner(system, data, cold, path, url), f"ready in {clock.monotonic_s() - began_s:.1f} s at {url}")
            import_errors.watch(layout.runtime_socket, supervisor.say)
            if watch:
                code_watch.watch(system, path.resolve(), layout.runtime_socket, supervisor.say)
            supervisor.watch()
        finally:
            supervisor.stop()
    return 0


def _print(*lines: str, file: IO[str] | None = None) -> None:
    # A full disk or a closed terminal must not end the one process that keeps the others running.
    with contextlib.suppress(OSError):
        for line in lines:
            print(line, file=file, flush=True)


def _keep_standard_descriptors() -> None:
    """Open what was closed of 0, 1 and 2 (`up >&- 2>&-`): a listener there would be taken for the output of a child."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def _default_template() -> Path:
    here = Path("template.yaml")
    if here.exists():
        return here
    raise errors.UsageError(
        f"There is no template.yaml in {Path.cwd()}.",
        "Make a project with `headrace init NAME`, or name a template with --template FILE.",
    )


def _check_host(host: str, insecure: bool) -> None:
    if not insecure and not _is_loopback(host):
        raise errors.UsageError(
            f"{host} is reachable by others, and the backend has no authentication yet.",
            "Listen on 127.0.0.1, or say --insecure if your network protects it.",
        )


def _is_loopback(host: str) -> bool:
    """Return whether a host leads to this machine alone; what can't be resolved is told when it is opened."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)  # as it is opened
    except OSError:
        return True
    return all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _environment(layout: Layout, listener: socket.socket, enforce_limits: bool, watch: bool) -> dict[str, str]:
    return {
        **os.environ,
        "HEADRACE_DATA": str(layout.data),
        "HEADRACE_ENDPOINT": _url(listener),
        "HEADRACE_ENFORCE_LIMITS": "1" if enforce_limits else "",
        "PYTHONUNBUFFERED": "1",
        # Each process is mostly one thread: fewer malloc arenas keep it small.
        "MALLOC_ARENA_MAX": "2",
        # Compiled code is taken for current if the source's size and second are: too coarse for what is saved now.
        **({"PYTHONDONTWRITEBYTECODE": "1"} if watch else {}),
    }


def _plan(layout: Layout, system: System) -> list[str]:
    """Return what changes against the system that this data directory was started with before."""
    if not layout.system.exists():
        return []
    try:
        before = msgspec.json.decode(layout.system.read_bytes(), type=System)
    except msgspec.DecodeError:
        return ["The record of the last start can't be read; starting with the template as it is."]
    lines = plan.difference(before, system)
    return ["The template changed since the last start:", *(f"  {line}" for line in lines)] if lines else []


def _cold_problem(layout: Layout) -> list[str]:
    """Return what is wrong with the cold folder, which is no reason not to take in events."""
    try:
        cold_folder.check(layout.buckets)
    except errors.StorageError as error:
        return [f"headrace: {error.problem}", f"  {error.hint}"]
    return []


def _banner(system: System, data: Path, cold: Path, path: Path, url: str) -> str:
    def names(items: tuple[str, ...]) -> str:
        return ", ".join(items) or "none"

    streams = tuple(f"{s.name} ({counted(s.shards, 'shard')}, {s.retention_hours} h)" for s in system.streams)
    lines = [
        f"headrace {version('headrace')}  template {path}  data {data}",
        f"  streams    {names(streams)}",
        f"  functions  {names(tuple(f.name for f in system.functions))}",
        f"  tables     {names(tuple(t.name for t in system.tables))}",
        f"  buckets    {names(tuple(b.name for b in system.buckets))}",
        f"  cold       {cold}",
        f"  console    {url}{CONSOLE_PATH}",
    ]
    return "\n".join(lines + _left_out(system))


def _left_out(system: System) -> list[str]:
    """Return what is left out, a paragraph a reason."""
    found: dict[str, dict[str, list[str]]] = {}
    for each in system.ignored:
        found.setdefault(each.reason, {}).setdefault(each.type.removeprefix("AWS::"), []).append(each.logical_id)
    width = max(60, shutil.get_terminal_size((100, 24)).columns)
    lines = []
    for reason, kinds in found.items():
        text = f"{reason}: " + "; ".join(f"{kind} {', '.join(ids)}" for kind, ids in kinds.items())
        lines += textwrap.wrap(
            text, width, initial_indent="  left out   ", subsequent_indent=" " * 13, break_on_hyphens=False
        )
    return lines


def _log_of(path: Path, size_max: int = 10_000_000) -> IO[bytes]:
    """Open a process's log, rotated when it is long; where the disk refuses, the process runs without one."""
    try:
        if path.exists() and path.stat().st_size > size_max:
            path.replace(path.with_suffix(".log.1"))
        return path.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")


def _status_text(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    name = {number.value: number.name for number in signal.Signals}.get(-status, -status)
    return f"signal {name}"
