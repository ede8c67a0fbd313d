"""An execution environment: a process that imports one function and calls it, one invocation at a time.

    python -m headrace.runtime.worker <function> <slot>

It is started by the pool, which gives it a socket (HEADRACE_WORKER_FD) and Lambda's environment variables. A mapped
batch is only named to it: it reads the records from the log itself. When the socket closes, the runtime is gone or has
no more use for it, and it ends at once, its children too.
"""

import contextlib
import gc
import os
import resource
import select
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from headrace import clock, errors, record
from headrace.runtime import handler, kinesis_event, mapping, strays
from headrace.runtime.context import Context
from headrace.runtime.function_log import FunctionLog, flush
from headrace.runtime.kinesis_event import Source
from headrace.runtime.messages import FD_VARIABLE, LENGTH, LOG_VARIABLE, Batch, Call, Ready, Reply
from headrace.stream.reader import Reader

_RECORD_BYTES_MAX = 64 * 1024 * 1024  # far beyond any batch: the runtime has measured it
_FDS_MAX = 4096
_KILLED_FIRST = "500"  # where memory runs out, a worker goes rather than the log or the table

_calls = msgspec.msgpack.Decoder(Call)


class Channel:
    """The socket to the runtime. A forked child loses it at once: it must not speak for its parent."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pid = os.getpid()
        os.set_inheritable(fd, False)
        os.register_at_fork(after_in_child=self._sever)

    def receive(self) -> bytes | None:
        """Return the next message; None when the runtime has closed the socket."""
        head = self._read(LENGTH.size)
        return self._read(LENGTH.unpack(head)[0]) if head else None

    def send(self, message: object) -> None:
        """Send a message."""
        body = msgspec.msgpack.encode(message)
        view = memoryview(LENGTH.pack(len(body)) + body)
        while view:
            view = view[os.write(self._fd, view) :]

    def leave_if_forked(self) -> None:
        """End this process if it is a child that the handler forked and let run out of the handler."""
        if os.getpid() != self._pid:
            flush()
            os._exit(0)

    def follow(self) -> None:
        """End this process and its children as soon as the socket closes, whatever the handler is doing."""
        poll = select.poll()
        poll.register(self._fd, 0)  # no event but a hang-up
        log_stream = os.environ[strays.VARIABLE]

        def wait() -> None:
            poll.poll()
            try:
                strays.end(log_stream)
            finally:
                os.killpg(0, signal.SIGKILL)

        self._follower = threading.Thread(target=wait, name="runtime", daemon=True)
        self._follower.start()

    def end(self) -> None:
        """End as above; the socket is about to close."""
        flush()
        self._follower.join()

    def _read(self, length: int) -> bytes | None:
        body = os.read(self._fd, length)
        if len(body) == length:
            return body
        if not body:
            return None
        buffer = bytearray(length)
        buffer[: len(body)] = body
        view = memoryview(buffer)[len(body) :]
        while view:
            count = os.readv(self._fd, [view])
            if count == 0:
                return None
            view = view[count:]
        return bytes(buffer)

    def _sever(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._fd)


class Worker:
    """The function and what it needs to be called."""

    def __init__(self, function: str, channel: Channel, log: FunctionLog) -> None:
        self._function = function
        self._channel = channel
        self._log = log
        self._memory_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
        self._readers: dict[str, Reader] = {}
        self._handler: handler.Handler

    def start(self) -> bool:
        """Import the function and tell the runtime; return whether it can be called."""
        try:
            self._handler = handler.load(os.environ["_HANDLER"], os.environ["LAMBDA_TASK_ROOT"])
        except Exception as error:
            document, text = handler.describe(error)
            self._log.write(text)
            flush()
            self._channel.send(Ready(document))
            return False
        self._channel.leave_if_forked()
        gc.collect()
        gc.freeze()
        self._channel.send(Ready())
        return True

    def run(self) -> None:
        """Answer calls until the runtime closes the socket."""
        while (body := self._channel.receive()) is not None:
            call = _calls.decode(body)
            reply = self._answer(call)
            self._channel.leave_if_forked()
            self._channel.send(reply)

    def _answer(self, call: Call) -> Reply:
        began_s = clock.monotonic_s()
        self._log.start(call.request_id)
        _lambda_logging()
        os.environ["_X_AMZN_REQUEST_ID"] = call.request_id
        connect = sys.modules.get("headrace.connect")
        if connect is not None:
            connect.lasts_until(began_s + call.timeout_s - connect.ANSWER_S)
        try:
            reply = self._call_batch(call, call.batch) if call.batch is not None else self._call(call)
        except Exception as error:
            self._channel.leave_if_forked()
            document, text = handler.describe(error, call.request_id)
            self._log.write(text)
            reply = Reply(document, error=True)
        reply.documented = self._rejected(call.batch)
        used_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (10 if sys.platform == "linux" else 20)
        self._log.report(call.request_id, clock.monotonic_s() - began_s, self._memory_mb, used_mb)
        if call.log_tail:
            reply.log = self._log.tail()
        return reply

    def _call(self, call: Call) -> Reply:
        event = handler.parse(call.payload)
        context = Context(call.request_id, call.timeout_s, call.client_context)
        return Reply(handler.marshal(self._handler(event, context)))

    def _call_batch(self, call: Call, batch: Batch) -> Reply:
        source = Source(batch.stream, batch.shard, batch.shard_created_s)
        try:
            records = self._records(batch)
        except errors.HeadraceError as error:
            self._log.write(f"[ERROR] The log can't be read: {error}\n")
            return Reply(b"", not_called=str(error))
        lost = _missing(batch, records)
        if not records:
            return Reply(b"null", lost=lost)
        gc.disable()  # nothing of what is built here is garbage
        try:
            event = kinesis_event.build(records, source)
        finally:
            gc.enable()
        context = Context(call.request_id, call.timeout_s)
        answer = self._handler(event, context)
        reply = Reply(handler.marshal(answer), lost=lost)
        if batch.report_item_failures:
            try:
                reply.reported = mapping.reported(answer, _Numbers(records, source).get)
            except mapping.BadAnswer as bad:
                self._log.write(f"[ERROR] The whole batch counts as failed: {bad}.\n")
                reply.bad_answer = str(bad)
        return reply

    def _records(self, batch: Batch) -> list[record.Record]:
        reader = self._readers.get(batch.folder)
        if reader is None:
            reader = self._readers[batch.folder] = Reader(Path(batch.folder))
        end = batch.first + batch.count
        records, _ = reader.records(batch.position, batch.shard, batch.first, batch.count, _RECORD_BYTES_MAX)
        if records and records[-1].number >= end:  # damage before: later records took the place of lost ones
            records = [each for each in records if each.number < end]
        return records

    def _rejected(self, batch: Batch | None) -> list[int]:
        """Return which of the batch's records the function wrote a failure document for."""
        connect = sys.modules.get("headrace.connect")
        keys: list[str] = connect.written_rejections() if connect is not None else []
        return sorted(set(_rejected_numbers(keys, self._function, batch))) if keys and batch is not None else []


class _Numbers:
    """The sequence numbers of a batch, made when one is first asked for: most answers name none."""

    def __init__(self, records: list[record.Record], source: Source) -> None:
        self._records = records
        self._source = source
        self._numbers: dict[str, int] = {}

    def get(self, identifier: str) -> int | None:
        """Return the number of a sequence number in the batch, or None."""
        if not self._numbers:
            self._numbers = kinesis_event.number_of(self._records, self._source)
        return self._numbers.get(identifier)


def _missing(batch: Batch, records: list[record.Record]) -> list[int]:
    if len(records) == batch.count:
        return []
    found = {each.number for each in records}
    return [number for number in range(batch.first, batch.first + batch.count) if number not in found]


def _rejected_numbers(keys: list[str], function: str, batch: Batch) -> list[int]:
    """Return the numbers of the batch's records among keys `rejected/<function>/<stream>/<shard>/<sequence>.…`."""
    prefix = f"rejected/{function}/{batch.stream}/{record.shard_id(batch.shard)}/"
    numbers = []
    for key in keys:
        if key.startswith(prefix):
            with contextlib.suppress(errors.UsageError):
                number = record.parse_sequence_number(key.removeprefix(prefix).partition(".")[0]).number
                if batch.first <= number < batch.first + batch.count:
                    numbers.append(number)
    return numbers


def _lambda_logging() -> None:
    """Have `logging` print as it does on Lambda, if the function uses it."""
    logging = sys.modules.get("logging")
    if logging is None or logging.root.handlers:
        return
    output: Any = logging.StreamHandler(_CurrentStdout())
    line = "[%(levelname)s]\t%(asctime)s.%(msecs)dZ\t%(aws_request_id)s\t%(message)s"
    formatter = logging.Formatter(line, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = lambda seconds: datetime.fromtimestamp(seconds or 0, UTC).timetuple()
    output.setFormatter(formatter)
    output.addFilter(_add_request_id)
    logging.root.addHandler(output)


def _add_request_id(entry: Any) -> bool:
    entry.aws_request_id = os.environ.get("_X_AMZN_REQUEST_ID", "")
    return True


class _CurrentStdout:
    """Whatever sys.stdout is at the time of writing: a handler may close it, the log opens it again."""

    def write(self, text: str) -> None:
        sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


def main(function: str) -> int:
    """Run the worker; return its exit code."""
    fd = int(os.environ.pop(FD_VARIABLE))
    os.closerange(3, fd)  # whatever else was inherited is none of the function's business
    os.closerange(fd + 1, _FDS_MAX)
    channel = Channel(fd)
    channel.follow()
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_KILLED_FIRST)
    log = FunctionLog(Path(os.environ.pop(LOG_VARIABLE)))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    worker = Worker(function, channel, log)
    if not worker.start():
        return 1
    worker.run()
    channel.end()
    return 0


if __name__ == "__main__":
    code = 1
    try:
        code = main(sys.argv[1])
    except SystemExit as ending:
        # As on Lambda: a handler that calls sys.exit ends its environment, and the pool says Runtime.ExitError.
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    flush()
    os._exit(code)  # threads that the handler has left running do not keep the process alive
