"""An execution environment as the runtime sees it: a worker process, its socket, and whatever can become of it.

However an invocation ends (an answer, an error, the timeout, an exit, a crash), `call` returns a Reply: callers need
not know how functions die. Only where the process was gone before the function was called, it raises NeverStarted.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from headrace import clock, rpc
from headrace.disk import make_folder
from headrace.runtime import function_log, strays
from headrace.runtime.memory import MIB
from headrace.runtime.messages import FD_VARIABLE, LOG_VARIABLE, Call, Ready, Reply, error_document
from headrace.system import Function

INIT_S_MAX = 30
_GRACE_S = 0.2  # between a process's end and that of its socket, which a child of the function may hold

_ready = msgspec.msgpack.Decoder(Ready)
_replies = msgspec.msgpack.Decoder(Reply)


class NeverStarted(Exception):
    """The worker ended before it began the invocation: another one can take it."""


class Execution(rpc.Frames):
    """One worker process. `started` makes it; it is `dead` once it can't be called any more."""

    def __init__(self, function: Function, slot: int, log: Path, log_stream: str) -> None:
        super().__init__()
        self.slot = slot
        self.log = log
        self.dead = False
        self.retired = False  # to be closed after the invocation under way: its code is out of date
        self.idle_since_s = 0.0
        self.worked = True  # since its memory was last looked at
        self.used_mb: int | None = None  # the most that was seen
        self._function = function
        self._log_stream = log_stream
        self._process: asyncio.subprocess.Process
        self._watch: asyncio.Task[None]
        loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._init: asyncio.Future[bytes | None] = loop.create_future()
        self._reply: asyncio.Future[Reply] | None = None
        self._call: Call | None = None
        self._began_s = 0.0

    @classmethod
    async def started(cls, function: Function, slot: int, log: Path, environment: Mapping[str, str]) -> "Execution":
        """Start a worker process. Raises OSError where the system has no process to give."""
        self = cls(function, slot, log, environment[strays.VARIABLE])
        make_folder(log.parent)
        ours, theirs = socket.socketpair()
        with theirs, log.open("ab") as output:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "headrace.runtime.worker", function.name, str(slot)),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=function.code if Path(function.code).is_dir() else "/",
                    env={**environment, FD_VARIABLE: str(theirs.fileno()), LOG_VARIABLE: str(log)},
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # its process group is killed with it, and no terminal reaches it
                )
            except BaseException:
                ours.close()
                raise
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ours)
        self._watch = asyncio.create_task(self._watched())
        return self

    @property
    def pid(self) -> int:
        """Return the worker's process id."""
        return self._process.pid

    async def ready(self) -> bytes | None:
        """Wait until the function is imported; return the error's document if it can't be."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(INIT_S_MAX, self._init_timed_out)
        try:
            return await asyncio.shield(self._init)
        finally:
            timer.cancel()

    async def call(self, call: Call) -> Reply:
        """Invoke the function and wait for what becomes of it; raises NeverStarted. One call at a time."""
        loop = asyncio.get_running_loop()
        self._call, self._began_s = call, clock.monotonic_s()
        self._reply = loop.create_future()
        self.transport.write(rpc.frame(call))
        timer = loop.call_later(call.timeout_s, self._timed_out)
        try:
            return await self._reply
        finally:
            timer.cancel()
            self._reply = None
            self.worked = True

    def close(self) -> None:
        """Let the worker end: it is not busy."""
        self.dead = True
        self.transport.close()

    def kill(self) -> None:
        """End the worker and the children it has left in its process group."""
        self.dead = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def note_memory(self, used_bytes: int) -> None:
        """Note how much memory its processes use; over the function's limit it ends, as on Lambda."""
        used_mb = -(-used_bytes // MIB)
        self.used_mb = max(used_mb, self.used_mb or 0)
        limit_mb = self._function.memory_mb
        if used_mb <= limit_mb or self.dead:
            return
        self.kill()
        text = f"Runtime exited with error: signal: killed ({used_mb} MB used, MemorySize is {limit_mb} MB)"
        if not self._init.done():
            self._init.set_result(error_document("Runtime.OutOfMemory", text))
        self._fail("Runtime.OutOfMemory", text)

    @property
    def is_busy(self) -> bool:
        """Return whether it is being made ready or called."""
        return self._is_waiting() or not self._init.done()

    def when_ended(self, then: Callable[[], None]) -> None:
        """Call `then` once the process is gone."""
        self._watch.add_done_callback(lambda _: then())

    async def ended(self) -> None:
        """Wait until the process is gone."""
        await asyncio.shield(self._watch)

    def frame_received(self, body: bytes) -> None:
        """Take what the worker says: first that it is ready, then replies."""
        if not self._init.done():
            self._init.set_result(_ready.decode(body).error)
        elif self._reply is not None and not self._reply.done():
            self._reply.set_result(_replies.decode(body))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the worker can't answer any more; its process ends or is ended."""
        self.dead = True
        if not self._closed.done():
            self._closed.set_result(None)
        asyncio.get_running_loop().call_later(1.0, self._kill_straggler)

    def _kill_straggler(self) -> None:
        if self._process.returncode is None:
            self.kill()

    async def _watched(self) -> None:
        """Wait for the end of the process; then whoever waits for it learns how it ended."""
        code = await self._process.wait()
        self.dead = True
        with contextlib.suppress(TimeoutError):
            # What it sent before it ended is still to be read.
            await asyncio.wait_for(asyncio.shield(self._closed), _GRACE_S)
        self.kill()  # children that it has left
        self.transport.abort()
        if not self._init.done():
            self._init.set_result(error_document("Runtime.ExitError", _exit_text(code)))
        if self._is_waiting() and self._call is not None:
            if function_log.has_started(self.log, self._call.request_id):
                self._fail("Runtime.ExitError", _exit_text(code))
            elif self._reply is not None:
                self._reply.set_exception(NeverStarted())
        await asyncio.to_thread(strays.end, self._log_stream)

    def _is_waiting(self) -> bool:
        return self._reply is not None and not self._reply.done()

    def _timed_out(self) -> None:
        self.kill()
        self._fail("Sandbox.Timedout", f"Task timed out after {self._function.timeout_s:.2f} seconds")

    def _init_timed_out(self) -> None:
        if not self._init.done():
            text = f"The function was not imported within {INIT_S_MAX} s"
            self._init.set_result(error_document("Sandbox.Timedout", text))
            self.kill()

    def _fail(self, kind: str, text: str) -> None:
        """Answer the call under way in place of the worker, in the log too."""
        if not self._is_waiting() or self._reply is None or self._call is None:
            return
        request_id = self._call.request_id
        took_s = clock.monotonic_s() - self._began_s
        report = function_log.report_lines(request_id, took_s, self._function.memory_mb, self.used_mb)
        function_log.append(self.log, f"{clock.rfc3339_ms(clock.now_ms())} {request_id} {text}\n{report}")
        reply = Reply(error_document(kind, f"RequestId: {request_id} Error: {text}"), error=True)
        if self._call.log_tail:
            reply.log = function_log.tail_of(self.log, request_id)
        self._reply.set_result(reply)


def _exit_text(code: int) -> str:
    if code == 0:
        return "Runtime exited without providing a reason"
    if code < 0:
        return f"Runtime exited with error: signal: {(signal.strsignal(-code) or str(-code)).lower()}"
    return f"Runtime exited with error: exit status {code}"
