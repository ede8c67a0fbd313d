"""A real backend for tests and benchmarks: `headrace up` in a process of its own, on a free port, with its data."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def free_port() -> int:
    """Return a port that is free, and stays so: it lies below those that the system gives to connections."""
    while True:
        port = random.randrange(10_000, 30_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(condition: Callable[[], Any], timeout_s: float = 30.0, every_s: float = 0.05) -> Any:
    """Return the first true value of `condition`; fail when the time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError):
            if value := condition():
                return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {timeout_s} s")
        time.sleep(every_s)


class Backend:
    """`headrace up`, seen from outside."""

    def __init__(self, data: Path, template: Path = TEMPLATE, *arguments: str) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {**os.environ, **CREDENTIALS, "HEADRACE_ENDPOINT": self.url, "AWS_ENDPOINT_URL": self.url}
        self.command = [sys.executable, "-m", "headrace", "up", "--template", str(template), "--data", str(data)]
        self.command += ["--port", str(self.port), *arguments]
        self.process: subprocess.Popen[str]
        self.start_s = 0.0

    def spawn(self, output: IO[str] | None = None) -> subprocess.Popen[str]:
        """Start it without waiting until it is ready; it prints to `output`, else to what `output()` reads."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self._output = output or (self.data.parent / f"{self.data.name}.up.log").open("a+")
        self.process = subprocess.Popen(
            self.command,
            stdout=self._output,
            stderr=self._output,
            env=self.environment,
            cwd=self.data.parent,
            text=True,
        )
        return self.process

    def start(self) -> "Backend":
        began = time.monotonic()
        self.spawn()
        try:
            wait_until(self._healthy, 40, 0.01)
        except AssertionError:
            self.kill_all()
            raise AssertionError(f"not ready:\n{self.output()}") from None
        self.start_s = time.monotonic() - began
        return self

    def _healthy(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"up ended with {self.process.returncode}:\n{self.output()}")
        return bool(self.get("/_headrace/health")["ready"])

    def output(self) -> str:
        return (self.data.parent / f"{self.data.name}.up.log").read_text()

    def get(self, path: str, timeout_s: float = 300) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=timeout_s) as answer:
            return json.load(answer)

    def status(self, *, verify: bool = False) -> Any:
        return self.get("/_headrace/status" + ("?verify=1" if verify else ""))

    def settled(self, accepted: int, timeout_s: float = 60) -> Any:
        """Return the status once `accepted` records came in and every function is done with them."""

        def done() -> Any:
            status = self.status()
            pending = sum(account["pending"] for account in status["functions"].values())
            return status if status["accepted"] >= accepted and pending == 0 else None

        return wait_until(done, timeout_s, 0.2)

    def pids(self, name: str) -> list[int]:
        """Return the processes of that name: gateway, table, runtime, `worker <function>`."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
            return [child.pid for child in children if name in command_line(child)]
        return []

    def kill(self, name: str) -> int:
        """SIGKILL the processes of that name as soon as there is one; return how many."""
        pids: list[int] = wait_until(lambda: self.pids(name), 20, 0.02)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(30)
        self._output.close()
        return code

    def kill_all(self) -> None:
        """SIGKILL the supervisor; its children must follow by themselves."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        self._output.close()

    def cli(self, *arguments: str, check: bool = True, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run the command line against this backend."""
        result = subprocess.run(
            [sys.executable, "-m", "headrace", *arguments],
            env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        if check:
            assert result.returncode == 0, f"{arguments}: {result.stdout}\n{result.stderr}"
        return result

    def client(self, service: str) -> Any:
        """Return an unmodified boto3 client."""
        import boto3

        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


def memory_mb(backend: Backend) -> dict[str, float]:
    """Return the proportional set size of each process, in MB."""
    top = psutil.Process(backend.process.pid)
    found = {}
    for process in [top, *top.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # a worker that has just ended
            name = "supervisor" if process is top else " ".join(process.cmdline()[-2:])
            found[name] = process.memory_full_info().pss / 1e6
    return found


def command_line(process: psutil.Process) -> str:
    """Return a process's command line; nothing once it has ended."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


@contextlib.contextmanager
def backend(folder: Path, template: Path = TEMPLATE, *arguments: str) -> Iterator[Backend]:
    """A running backend with its data in `folder/data`, stopped at the end."""
    running = Backend(folder / "data", template, *arguments).start()
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()
