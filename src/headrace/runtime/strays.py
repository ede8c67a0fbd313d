"""Processes that have left an execution environment's process group (`setsid`), and end with it all the same.

They are found by a variable that they have inherited: each environment's log stream is its own. One that was started
with other variables is not found. Linux only: elsewhere there is no /proc, and they live on.
"""

import contextlib
import os
import signal
from pathlib import Path

VARIABLE = "AWS_LAMBDA_LOG_STREAM_NAME"
_ROUNDS_MAX = 10  # one may start another while it is looked for


def end(log_stream: str) -> None:
    """Kill every process of the environment that writes this log stream, but for the one that calls."""
    mark = f"\0{VARIABLE}={log_stream}\0".encode()
    with contextlib.suppress(OSError):  # no /proc, no descriptors
        for _ in range(_ROUNDS_MAX):
            found = [pid for pid in _others() if _has(pid, mark)]
            for pid in found:
                _kill(pid, mark)
            if not found:
                return


def _others() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]  # noqa: PTH208


def _has(pid: int, mark: bytes) -> bool:
    try:
        return mark in b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    except (PermissionError, FileNotFoundError, ProcessLookupError):
        return False  # another user's, or it has ended


def _kill(pid: int, mark: bytes) -> None:
    """Kill a process, unless its id is another's by now."""
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        try:
            if _has(pid, mark):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        finally:
            os.close(fd)
