"""What every process of the backend does alike: report that it is ready, end with the supervisor, stop on a signal."""

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
import threading
from collections.abc import Awaitable, Callable

import msgspec

from headrace import errors, rpc

_PR_SET_PDEATHSIG = 1
_FILES = 1_048_576  # Linux allows no more unless told to


def follow_supervisor() -> None:
    """End this process when the supervisor ends, however it ended."""
    end_with_parent()  # even a process that is stuck in native code, which the thread below could not end
    lifeline = int(os.environ["HEADRACE_LIFELINE_FD"])

    def wait() -> None:
        os.read(lifeline, 1)  # returns only at the end of the pipe: nobody ever writes
        os._exit(1)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def lifeline() -> tuple[int, ...]:
    """Return what a child has to inherit so that it, too, can follow the supervisor: no file where there is none."""
    fd = os.environ.get("HEADRACE_LIFELINE_FD")
    return (int(fd),) if fd else ()


def end_with_parent() -> None:
    """Have the system end this process when the one that started it ends (on Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def raise_file_limit() -> None:
    """Allow this process as many open files as it may have: each connection is one, and many systems begin at 1,024."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES if most == resource.RLIM_INFINITY else most, most))


def report_ready() -> None:
    """Tell the supervisor that this process does its work now."""
    _report(b"ready\n")


def run(serve: Callable[[], Awaitable[Callable[[], Awaitable[None]]]]) -> int:
    """Run a process: `serve` starts it and returns what stops it. Returns the exit code.

    An error that a user can mend goes to the supervisor, which shows it.
    """
    import uvloop

    async def life() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        stop = await serve()
        gc.collect()
        gc.freeze()  # what is there now stays: no later collection has to walk it
        report_ready()
        await stopping.wait()
        await stop()

    follow_supervisor()
    try:
        uvloop.run(life())
    except errors.HeadraceError as error:
        with contextlib.suppress(OSError):  # its log may be on the disk that is full
            print(error, file=sys.stderr, flush=True)  # noqa: T201
        _report(msgspec.json.encode(rpc.describe(error)))
        return error.exit_code
    return 0


def _report(line: bytes) -> None:
    ready = int(os.environ["HEADRACE_READY_FD"])
    try:
        os.write(ready, line)
        os.close(ready)
    except OSError:
        # The supervisor has stopped listening (a restart, or it is ending): the lifeline decides.
        return
