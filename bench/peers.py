"""What Headrace is compared with: MiniStack (PyPI) and kinesalite (npm).

Each is installed once, into a folder of its own under `.bench/`; where that fails, a line says so and what is compared
with it is left out. They run as their documentation has it, kinesalite with a LevelDB store on the disk.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

import wire
from results import WORK
from support.backend import free_port, wait_until

MINISTACK, KINESALITE = "MiniStack", "kinesalite"
_VERSIONS = {MINISTACK: "1.5.33", KINESALITE: "3.3.3"}
_KINESALITE = """
require('kinesalite')({path: process.argv[1], createStreamMs: 0, deleteStreamMs: 0})
  .listen(Number(process.argv[2]), '127.0.0.1')
"""


def installed(*names: str) -> list[str]:
    """Return those of the peers that can be run here; installs them first where they are missing."""
    return [name for name in names if _install(name)]


def label(name: str) -> str:
    """Return a peer's name and version."""
    return f"{name} {_VERSIONS[name]}"


def _install(name: str) -> bool:
    folder, version = WORK / name.lower(), _VERSIONS[name]
    mark = folder / f"installed-{version}"
    if mark.exists():
        return True
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    steps = {
        MINISTACK: [
            [sys.executable, "-m", "venv", str(folder)],
            [str(folder / "bin" / "pip"), "install", "--quiet", f"ministack=={version}"],
        ],
        KINESALITE: [["npm", "install", "--silent", "--prefix", str(folder), f"kinesalite@{version}"]],
    }
    for step in steps[name]:
        try:
            done = subprocess.run(step, capture_output=True, text=True, check=False, timeout=300, cwd=folder)
        except (OSError, subprocess.TimeoutExpired) as error:
            return _left_out(name, str(error))
        if done.returncode != 0:
            return _left_out(name, (done.stderr.strip() or done.stdout.strip()).split("\n")[-1])
    mark.touch()
    return True


def _left_out(name: str, why: str) -> bool:
    print(f"{label(name)} can't be installed: what is compared with it is left out ({why})", flush=True)
    return False


class Peer:
    """A server that is running."""

    def __init__(self, name: str, folder: Path) -> None:
        """Start it; what it writes goes under `folder`."""
        self.name = name
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        home, folder = WORK / name.lower(), folder / name.lower()
        folder.mkdir(exist_ok=True)
        command = {
            MINISTACK: [str(home / "bin" / "ministack")],
            KINESALITE: ["node", "-e", _KINESALITE, str(folder / "db"), str(port)],
        }[name]
        environment = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "ERROR", "TMPDIR": str(folder)}
        began = time.monotonic()
        with (folder / "output").open("w") as output:
            self.process = subprocess.Popen(
                command, env={**os.environ, **environment}, cwd=home, stdout=output, stderr=output
            )
        try:
            wait_until(lambda: wire.call(self.url, "ListStreams", {}), 30, 0.01)
        except BaseException:
            self.stop()
            raise
        self.start_s = time.monotonic() - began

    def pin(self, core: int) -> None:
        """Have all its threads on one core, where there are several."""
        if sys.platform == "linux" and core in os.sched_getaffinity(0):
            for thread in psutil.Process(self.process.pid).threads():
                os.sched_setaffinity(thread.id, [core])

    def memory_mb(self) -> float:
        """Return the proportional set size of its processes, in MB."""
        top = psutil.Process(self.process.pid)
        return sum(child.memory_full_info().pss for child in [top, *top.children(recursive=True)]) / 1e6

    def stop(self) -> None:
        """Stop it, and what it started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def running(names: list[str], folder: Path) -> Iterator[dict[str, Peer]]:
    """These peers, started here and stopped afterwards."""
    with contextlib.ExitStack() as stack:
        peers = {}
        for name in names:
            peers[name] = Peer(name, folder)
            stack.callback(peers[name].stop)
        yield peers
