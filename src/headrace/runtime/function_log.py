"""A worker's log file: whatever its function and the function's children write, between Lambda's START and REPORT.

Output goes to the file at the level of descriptors, so that native code and child processes are kept too and a
flood costs the runtime nothing. The file is rotated between invocations; one that grows beyond `FLOOD_BYTES` within an
invocation loses its older part (`bound`, called by the runtime ten times a second), so no handler can fill the disk.
"""

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import Any

ROTATE_BYTES = 10 * 1024 * 1024
FLOOD_BYTES = 4 * ROTATE_BYTES
TAIL_BYTES = 4096
_FLOODED = f"(more than {FLOOD_BYTES >> 20} MB within one invocation: what was before is dropped)\n".encode()


class _Forgiving(io.FileIO):
    """A descriptor whose disk may be full: what it refuses is lost, and no `print` of a function fails for it."""

    def write(self, data: Any) -> int:
        """Write what the disk takes; say that all of it was."""
        with contextlib.suppress(OSError):
            return super().write(data) or 0
        return len(data)


def _output(fd: int) -> io.TextIOWrapper:
    raw = _Forgiving(fd, "wb", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True)


class FunctionLog:
    """The log of this process: descriptors 1 and 2 write to it. Made once, by the worker."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._start = 0
        self._open()
        sys.stdout, sys.stderr = _output(1), _output(2)

    def start(self, request_id: str) -> None:
        """Begin an invocation's part: rotates a long file, and mends an output that the handler closed."""
        bound(self._path)
        if os.fstat(self._fd).st_size > ROTATE_BYTES:
            with contextlib.suppress(OSError):  # a disk that refuses: the file goes on for now
                self._path.replace(old_path(self._path))
                self._open()
        for fd, name in ((1, "stdout"), (2, "stderr")):
            self._mend(fd, name)
        self._start = os.fstat(self._fd).st_size
        self.write(_start_line(request_id))

    def report(self, request_id: str, duration_s: float, memory_mb: str, used_mb: int) -> None:
        """End an invocation's part."""
        flush()
        self.write(report_lines(request_id, duration_s, memory_mb, used_mb))

    def write(self, text: str) -> None:
        """Append a text; a full disk loses it, never the invocation."""
        with contextlib.suppress(OSError):
            os.write(self._fd, text.encode(errors="backslashreplace"))

    def tail(self) -> bytes:
        """Return the last 4 KB of what this invocation wrote."""
        size = os.fstat(self._fd).st_size
        start = self._start if self._start <= size else 0  # cut short meanwhile
        at = max(start, size - TAIL_BYTES)
        return os.pread(self._fd, size - at, at)

    def _open(self) -> None:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        if self._fd >= 0:
            os.close(self._fd)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        self._fd = fd

    def _mend(self, fd: int, name: str) -> None:
        stream = getattr(sys, name)
        try:
            usable = not stream.closed and os.fstat(fd).st_dev >= 0
        except (AttributeError, OSError):
            usable = False
        if not usable:
            os.dup2(self._fd, fd)
            setattr(sys, name, _output(fd))


def flush() -> None:
    """Flush stdout and stderr as far as the handler has left them in order."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def old_path(path: Path) -> Path:
    """Return where a rotated log goes."""
    return path.with_name(path.name + ".1")


def report_lines(request_id: str, duration_s: float, memory_mb: object, used_mb: int | None = None) -> str:
    """Return the END and REPORT lines of an invocation."""
    ms = duration_s * 1000
    used = f"\tMax Memory Used: {used_mb} MB" if used_mb is not None else ""
    return (
        f"END RequestId: {request_id}\n"
        f"REPORT RequestId: {request_id}\tDuration: {ms:.2f} ms\tBilled Duration: {int(ms) + 1} ms\t"
        f"Memory Size: {memory_mb} MB{used}\n"
    )


def _start_line(request_id: str) -> str:
    return f"START RequestId: {request_id} Version: $LATEST\n"


def has_started(path: Path, request_id: str) -> bool:
    """Return whether the worker of this log has begun an invocation."""
    try:
        log = path.read_bytes()
    except OSError:
        return True
    return _start_line(request_id).encode() in log or log.startswith(_FLOODED)


def append(path: Path, text: str) -> None:
    """Append a text to a log from outside its worker."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, text.encode(errors="backslashreplace"))
        finally:
            os.close(fd)


def tail_of(path: Path, request_id: str) -> bytes:
    """Return the last 4 KB of what an invocation wrote, from outside its worker."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            tail = file.read()
    except OSError:
        return b""
    at = tail.find(f"START RequestId: {request_id}".encode())
    return tail[at:] if at > 0 else tail


def bound(path: Path) -> None:
    """Empty a log that has grown beyond all measure within one invocation, and say so in it."""
    with contextlib.suppress(OSError):
        if path.stat().st_size > FLOOD_BYTES:
            os.truncate(path, 0)
            append(path, _FLOODED.decode())
