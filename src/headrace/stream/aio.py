"""Syncs that the kernel carries out while an event loop goes on: Linux's AIO.

A thread that syncs is dearer than its sync: for each it takes the interpreter's lock from the busy loop several times.
The calls have no name in libc, so they go by number (asm/unistd.h); the structs are those of linux/aio_abi.h.
"""

import asyncio
import contextlib
import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Callable
from typing import NamedTuple


class _Calls(NamedTuple):
    setup: int
    destroy: int
    submit: int
    getevents: int


_CALLS = {"x86_64": _Calls(206, 207, 209, 208), "aarch64": _Calls(0, 1, 2, 4)}.get(platform.machine())
_IOCB = struct.Struct("<QIiHhIQQqQII")  # data, key, flags, operation, priority, file, …, flags, eventfd
_EVENT = struct.Struct("<QQqq")  # data, iocb, result, …
_FDSYNC, _WITH_EVENTFD = 3, 1
_UNKNOWN = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # what a kernel or a file system says that has no such sync


class KernelSync:
    """Syncs for one event loop, one at a time. Raises OSError where the system has no such thing."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        if not sys.platform.startswith("linux") or _CALLS is None or sys.byteorder != "little":
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self.loop = loop
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._context = ctypes.c_ulong(0)
        self._checked(self._call(_CALLS.setup, 1, ctypes.byref(self._context)))
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._iocb = ctypes.create_string_buffer(_IOCB.size)
        self._fd = -1  # that it says
        self._iocbs = ctypes.pointer(ctypes.c_void_p(ctypes.addressof(self._iocb)))
        self._event = ctypes.create_string_buffer(_EVENT.size)
        self._done: Callable[[OSError | None], None] | None = None
        loop.add_reader(self._eventfd, self._ready)

    def start(self, fd: int, done: Callable[[OSError | None], None]) -> None:
        """Begin to sync a file's data and length (fdatasync); the loop calls `done` when that is done, or failed.

        Raises OSError if it can't be begun; `done` is not called then.
        """
        assert _CALLS is not None and self._done is None
        if fd != self._fd:
            _IOCB.pack_into(self._iocb, 0, 0, 0, 0, _FDSYNC, 0, fd, 0, 0, 0, 0, _WITH_EVENTFD, self._eventfd)
            self._fd = fd
        self._checked(self._call(_CALLS.submit, self._context, 1, self._iocbs))
        self._done = done

    def close(self) -> None:
        """Give everything back; a sync under way is waited for, and nobody is told of it."""
        assert _CALLS is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.remove_reader(self._eventfd)
        self._call(_CALLS.destroy, self._context)
        os.close(self._eventfd)

    def _ready(self) -> None:
        assert _CALLS is not None
        os.eventfd_read(self._eventfd)
        if self._checked(self._call(_CALLS.getevents, self._context, 0, 1, self._event, None)) == 0:
            return
        result = _EVENT.unpack(self._event)[2]
        done, self._done = self._done, None
        if done is not None:
            done(None if result == 0 else OSError(-result, os.strerror(-result)))

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


def is_unknown(error: OSError) -> bool:
    """Return whether a sync failed because it can't be done in this way, and not because of the medium."""
    return error.errno in _UNKNOWN
