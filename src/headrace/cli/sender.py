"""Putting records to a stream, fast and in order.

Records go out in requests of up to 500 over several lanes (threads). All records of one partition key use one lane,
and a lane sends its next request when every record of the last one is acknowledged, so the records of a device keep
their order. PutRecords answers for each record: those that failed are sent again, with every later record of their
key in that request, before anything else of the lane.
"""

import queue
import random
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
from pybase64 import b64encode

from headrace import clock
from headrace.cli.backend import Backend
from headrace.errors import HeadraceError, Throttled, Unavailable

REQUEST_RECORDS_MAX = 500
REQUEST_BYTES_MAX = 4 * 1024 * 1024  # AWS takes 10 MiB; smaller requests keep the lanes even
LANES = 4
QUEUE_REQUESTS_MAX = 3  # that wait for a lane
PATIENCE_S = 60.0  # how long a request may make no progress at all
TELL_AFTER_S = 3.0  # without progress
BACKOFF_S = (0.05, 3.0)  # the longest first and the longest of all waits


class Entry(NamedTuple):
    """A record to put. `first` is the lowest row in it, `rows` how many it holds; `note` is for the caller alone."""

    key: str
    data: bytes
    first: int
    rows: int = 1
    note: str = ""


class Answer(msgspec.Struct):
    """What PutRecords says of one record; without an error code it is acknowledged."""

    ShardId: str = ""
    SequenceNumber: str = ""
    ErrorCode: str | None = None
    ErrorMessage: str | None = None


class _Answers(msgspec.Struct):
    Records: list[Answer]


_answers = msgspec.json.Decoder(_Answers).decode

# PutRecords' `Records` for these entries; raises Unavailable or Throttled where trying again may help.
Put = Callable[[Sequence[Entry]], list[Answer]]
# Told of each acknowledged record, one call at a time: the entry and its answer.
Acknowledged = Callable[[Entry, Answer], None]


def kinesis_put(backend: Backend, stream: str) -> Put:
    """Return the Put that calls PutRecords on a stream."""
    from headrace.cli.signed import SignedCalls

    call = SignedCalls(backend, "kinesis", "Kinesis_20131202.", connections=LANES)
    name = msgspec.json.encode(stream)
    encode_key = msgspec.json.Encoder().encode

    def put(entries: Sequence[Entry]) -> list[Answer]:
        records = b",".join(
            b'{"Data":"%b","PartitionKey":%b}' % (b64encode(entry.data), encode_key(entry.key)) for entry in entries
        )
        return _answers(call("PutRecords", b'{"StreamName":%b,"Records":[%b]}' % (name, records))).Records

    return put


def to_send_again(entries: Sequence[Entry], answers: Sequence[Answer]) -> list[Entry]:
    """Return the records that failed, and with each the later ones of its key, which must not stay before it."""
    failed: set[str] = set()
    again = []
    for entry, answer in zip(entries, answers, strict=True):
        if answer.ErrorCode:
            failed.add(entry.key)
        if entry.key in failed:
            again.append(entry)
    return again


class _Lane:
    def __init__(self) -> None:
        self.buffer: list[Entry] = []
        self.buffer_bytes = 0
        self.requests: queue.Queue[list[Entry] | None] = queue.Queue(QUEUE_REQUESTS_MAX)
        self.thread: threading.Thread


class Sender:
    """Takes records from one thread; `add` blocks while the lanes are full and raises what a lane failed with."""

    def __init__(
        self,
        put: Put,
        *,
        lanes: int = LANES,
        acknowledged: Acknowledged | None = None,
        patience_s: float = PATIENCE_S,
        wait: Callable[[float], object] | None = None,
        waits: Callable[[str], object] = lambda problem: None,
    ) -> None:
        """`waits` is told once, and after progress anew, why nothing gets through for a while."""
        self._put = put
        self._acknowledged = acknowledged
        self._patience_s = patience_s
        self._stop = threading.Event()
        self._wait = wait or self._stop.wait
        self._waits = waits
        self._told = False
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._under_way: dict[int, int] = {}  # a request -> its lowest row
        self._requests = 0
        self.rows = 0  # acknowledged
        self.records = 0
        self._lanes = [_Lane() for _ in range(lanes)]
        for lane in self._lanes:
            lane.thread = threading.Thread(target=self._run, args=(lane,), daemon=True)
            lane.thread.start()

    def add(self, entry: Entry) -> None:
        """Send a record, sooner or later (see `flush`)."""
        lane = self._lanes[zlib.crc32(entry.key.encode()) % len(self._lanes)]
        if lane.buffer_bytes + len(entry.data) > REQUEST_BYTES_MAX and lane.buffer:
            self._hand_over(lane)
        lane.buffer.append(entry)
        lane.buffer_bytes += len(entry.data) + len(entry.key)
        if len(lane.buffer) == REQUEST_RECORDS_MAX:
            self._hand_over(lane)

    def flush(self) -> None:
        """Send what waits for its request to fill up."""
        for lane in self._lanes:
            if lane.buffer:
                self._hand_over(lane)

    def lowest_row(self) -> int | None:
        """Return the lowest row not acknowledged yet of those added, None if there is none."""
        with self._lock:
            rows = list(self._under_way.values())
        rows += [entry.first for lane in self._lanes for entry in lane.buffer]
        return min(rows, default=None)

    def finish(self) -> None:
        """Return once every record is acknowledged; raises what a lane failed with."""
        self.flush()
        for lane in self._lanes:
            self._enqueue(lane, None)
        for lane in self._lanes:
            while lane.thread.is_alive():
                lane.thread.join(0.1)
                self._check()
        self._check()

    def stop(self) -> None:
        """Give up: nothing more is sent than what is under way."""
        self._stop.set()

    def _hand_over(self, lane: _Lane) -> None:
        entries = lane.buffer
        with self._lock:
            self._under_way[id(entries)] = min(entry.first for entry in entries)
        lane.buffer, lane.buffer_bytes = [], 0
        self._enqueue(lane, entries)

    def _enqueue(self, lane: _Lane, entries: list[Entry] | None) -> None:
        while True:
            self._check()
            try:
                lane.requests.put(entries, timeout=0.1)
            except queue.Full:
                continue
            return

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self, lane: _Lane) -> None:
        try:
            while (entries := lane.requests.get()) is not None and not self._stop.is_set():
                self._send(entries)
                with self._lock:
                    del self._under_way[id(entries)]
        except BaseException as error:
            self._error = self._error or error
            self._stop.set()

    def _send(self, entries: Sequence[Entry]) -> None:
        """Send until every record is acknowledged, with growing random waits while nothing gets through."""
        failures, since_s = 0, clock.monotonic_s()
        while entries:
            again, problem = self._try(entries)
            if len(again) < len(entries):
                failures, since_s, self._told = 0, clock.monotonic_s(), False
            if again:
                waited_s = clock.monotonic_s() - since_s
                if waited_s > min(TELL_AFTER_S, self._patience_s) and not self._told:
                    self._told = True
                    self._waits(problem)
                if waited_s > self._patience_s:
                    raise HeadraceError(
                        f"The stream takes no record for {self._patience_s:.0f} s: {problem}",
                        "Mend that and send again: what was accepted is not sent twice.",
                    )
                longest_s = min(BACKOFF_S[1], BACKOFF_S[0] * 2**failures)
                self._wait(longest_s * (0.5 + random.random() / 2))  # noqa: S311 - jitter
                if self._stop.is_set():
                    raise Unavailable("stopped")
                failures += 1
            entries = again

    def _try(self, entries: Sequence[Entry]) -> tuple[list[Entry], str]:
        """Put once; return what must be sent again, and why."""
        try:
            answers = self._put(entries)
        except (Unavailable, Throttled) as error:
            return list(entries), error.problem
        again = to_send_again(entries, answers)
        with self._lock:
            self.records += len(entries) - len(again)
            self.rows += sum(e.rows for e in entries) - sum(e.rows for e in again)
            if self._acknowledged is not None:
                for entry, answer in zip(entries, answers, strict=True):
                    if not answer.ErrorCode:
                        self._acknowledged(entry, answer)
        problem = next((f"{a.ErrorCode}: {a.ErrorMessage or ''}" for a in answers if a.ErrorCode), "")
        return again, problem
