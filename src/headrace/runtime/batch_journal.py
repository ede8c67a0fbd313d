"""What became of each call of a batch, for `headrace trace`: a line an attempt, in a file a function that is bounded.

It is no part of the promises: lines are written by a thread, without fsync, and a disk that refuses them loses them.
`<folder>/<function>.ndjson` is renamed to `….ndjson.1` at 16 MiB, over the one before. A line is an `Entry` in JSON.
"""

import contextlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from threading import Lock

import msgspec

from headrace.runtime.kinesis_event import Source
from headrace.runtime.mapping import State
from headrace.runtime.messages import Reply

ROTATE_BYTES = 16 * 1024 * 1024
VERSION = 1
WAITING_MAX = 10_000  # lines while the disk stands still; older ones are dropped
DETAIL_CHARACTERS_MAX = 200
_BLOCK_BYTES = 64 * 1024

SUCCESS, PARTIAL, FAILED = "success", "partial", "failed"


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """A finished call of a batch: `count` records of a shard from number `first` on.

    `attempt` counts the calls of this very batch from 1; `duration_ms` is from asking for a worker to its answer.
    `result` is success, partial (a batch response that reports a part of it) or failed; `detail` says why.
    """

    version: int
    stream: str
    shard: int
    first: int
    count: int
    attempt: int
    started_ms: int
    duration_ms: float
    result: str
    request_id: str
    detail: str = ""


_encode = msgspec.json.Encoder().encode
_decode_lines = msgspec.json.Decoder(Entry).decode_lines
_decode = msgspec.json.Decoder(Entry).decode


class BatchJournal:
    """The journals of all functions; used from one thread. `note` never waits and never fails."""

    def __init__(self, folder: Path, threads: Executor, rotate_bytes: int = ROTATE_BYTES) -> None:
        self._folder = folder
        self._threads = threads
        self._rotate_bytes = rotate_bytes
        self._waiting: deque[tuple[str, Entry]] = deque(maxlen=WAITING_MAX)
        self._writing = Lock()
        self._scheduled = False

    def note(self, function: str, entry: Entry) -> None:
        """Have a line written soon."""
        self._waiting.append((function, entry))
        if not self._scheduled:  # so a disk that stands still takes two threads at most
            self._scheduled = True
            with contextlib.suppress(RuntimeError):  # the threads were shut down
                self._threads.submit(self._flush)

    def _flush(self) -> None:
        with self._writing:
            self._scheduled = False
            lines: dict[str, list[bytes]] = {}
            with contextlib.suppress(IndexError):  # dropped meanwhile, to make room
                for _ in range(len(self._waiting)):
                    function, entry = self._waiting.popleft()
                    lines.setdefault(function, []).append(_encode(entry) + b"\n")
            for function, written in lines.items():
                with contextlib.suppress(OSError):
                    self._append(path_of(self._folder, function), b"".join(written))

    def _append(self, path: Path, lines: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, lines)
            full = os.fstat(fd).st_size >= self._rotate_bytes
        finally:
            os.close(fd)
        if full:
            path.replace(_old(path))


def entry_of(source: Source, state: State, request_id: str, started_ms: int, duration_ms: float, reply: Reply) -> Entry:
    """Return the line about a call of the batch that `state` had under way."""
    result, detail = SUCCESS, ""
    if reply.error:
        result, detail = FAILED, _error_text(reply.payload)
    elif reply.bad_answer is not None:
        result, detail = FAILED, reply.bad_answer
    elif reply.reported is not None:
        result = PARTIAL if reply.reported > state.next else FAILED
        detail = f"reported from place {reply.reported - state.next} of {state.count} on"
    return Entry(
        VERSION,
        source.stream,
        source.shard,
        state.next,
        state.count,
        state.calls + 1,
        started_ms,
        duration_ms,
        result,
        request_id,
        detail[:DETAIL_CHARACTERS_MAX],
    )


class _Error(msgspec.Struct):
    kind: str = msgspec.field(name="errorType", default="")
    message: str = msgspec.field(name="errorMessage", default="")


def _error_text(document: bytes) -> str:
    try:
        error = msgspec.json.decode(document, type=_Error)
    except msgspec.DecodeError:
        return ""
    return f"{error.kind}: {error.message}"


def path_of(folder: Path, function: str) -> Path:
    """Return a function's journal."""
    return folder / f"{function}.ndjson"


def calls_with(folder: Path, function: str, stream: str, shard: int, number: int) -> list[Entry]:
    """Return the calls of batches that held a record, in their order, as far as the journal still tells."""
    path = path_of(folder, function)
    return [
        entry
        for file in (_old(path), path)
        for entry in _entries(file)
        if entry.shard == shard and entry.first <= number < entry.first + entry.count and entry.stream == stream
    ]


def _entries(path: Path) -> Iterator[Entry]:
    """Yield a file's lines block by block: other threads are not held up by a long one."""
    try:
        with path.open("rb") as file:
            while lines := file.readlines(_BLOCK_BYTES):
                yield from _decoded(lines)
    except OSError:
        return


def _decoded(lines: list[bytes]) -> list[Entry]:
    try:
        entries = _decode_lines(b"".join(lines))
    except msgspec.DecodeError:  # a line that a crash or a full disk has cut short
        entries = []
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):
                entries.append(_decode(line))
    return [entry for entry in entries if entry.version == VERSION]


def _old(path: Path) -> Path:
    return path.with_name(path.name + ".1")
