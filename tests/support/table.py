"""A table process of its own, to be killed: `TableProcess`. Run as a program, it is that process."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import uvloop

from headrace.table import server
from headrace.table.local import LocalTable


class TableProcess:
    """The table process of one folder, with the tables `events` and `devices`."""

    def __init__(self, folder: Path, socket: Path) -> None:
        self.folder = folder
        self.socket = socket
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self.folder), str(self.socket)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self._end(signal.SIGKILL, -signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM, 0)

    def table(self, name: str = "events") -> LocalTable:
        return LocalTable.connect(name, self.socket)

    def _end(self, number: int, status: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            assert process.wait(20) == status
            assert process.stdout is not None
            process.stdout.close()


@contextlib.contextmanager
def table_process(folder: Path, socket: Path) -> Iterator[TableProcess]:
    """Run a table process for as long as the context lasts; the test may kill and start it meanwhile."""
    process = TableProcess(folder, socket)
    process.start()
    try:
        yield process
    finally:
        process.stop()


async def _main(folder: Path, socket: Path) -> None:
    running = await server.start(folder, socket, ["events", "devices"])
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print("ready", flush=True)
    await ended.wait()
    await running.stop()


if __name__ == "__main__":
    uvloop.run(_main(Path(sys.argv[1]), Path(sys.argv[2])))
