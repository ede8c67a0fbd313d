"""The rules of an event source mapping for one shard: values and the time in, the next state out. No I/O.

A shard's records are a line of numbers. `next` is the checkpoint; the batch under way starts there:

    done with | next ── count ──▶ | later[0] ▶ | later[1] ▶ | … the log

    outcome of a call              what follows
    ─────────────────              ────────────
    success                        `next` moves past the batch
    reported from k, k > next      `next` moves to k; the rest of the batch is a new batch without calls
    reported from `next`, failed   nothing moves, the call counts as failed:
      bisect, 2 records or more      the batch is halved; the halves are new batches without calls
      calls left                     the same batch again, after a pause
      none left                      the batch is given up: RetryAttemptsExhausted
    leading records too old        they are given up before the next call: RecordAgeExceeded

`calls` counts the calls that are known to have failed. A call whose outcome a crash has swallowed is repeated under its
old number: a batch is never given up on a guess, and one crash costs at most one call more.

Giving up takes two steps, so that a crash between them neither loses nor doubles a document: the state first says what
the document will be (`ending`), then the document is written, then `settled` moves on.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from headrace.system import Mapping

RETRIES_EXHAUSTED = "RetryAttemptsExhausted"
AGE_EXCEEDED = "RecordAgeExceeded"
UNHANDLED = "Unhandled"

PAUSE_MS_FIRST = 100
PAUSE_MS_MAX = 30_000
PAYLOAD_BYTES_MAX = 6 * 1024 * 1024
EVENT_BYTES = len('{"Records":[]}')


class Ending(msgspec.Struct, frozen=True):
    """The document that the first `count` records of a batch are about to get, decided but not yet settled."""

    condition: str
    count: int
    calls: int
    at_ms: int
    request_id: str
    function_error: str | None = None


class State(msgspec.Struct, frozen=True):
    """What a mapping knows about one shard; this is what a checkpoint holds.

    `processed + failed + filtered + expired == next - start` always. `documented` is a bit map, least significant bit
    first: bit i says that record `next + i` has a failure document already. `position` is a place in the log at or
    before the record `next`.
    """

    start: int
    next: int
    position: int = 0
    processed: int = 0
    failed: int = 0
    filtered: int = 0
    expired: int = 0
    count: int = 0
    calls: int = 0
    later: tuple[int, ...] = ()
    documented: bytes = b""
    ending: Ending | None = None


class Outcome(NamedTuple):
    """What became of a call.

    `reported` is the lowest number that the function reported as failed. `documented` are the numbers of the batch
    that the function itself wrote a failure document for, `lost` those that the log could not deliver (damaged).
    """

    failed: bool = False
    function_error: str | None = None
    reported: int | None = None
    documented: Collection[int] = ()
    lost: Collection[int] = ()


class Span(NamedTuple):
    """Records that arrived together: how many, and when."""

    records: int
    arrival_ms: int


class BadAnswer(Exception):
    """An answer that is no batch response: the whole batch counts as failed."""


def reported(answer: Any, number_of: Callable[[str], int | None]) -> int | None:
    """Return the lowest number that a batch response reports; None if everything succeeded.

    `number_of` gives the number of a sequence number in the batch, or None. Raises BadAnswer.
    """
    if answer is None or answer == "" or answer == {} or answer == []:
        return None
    if not isinstance(answer, dict) or "batchItemFailures" not in answer:
        raise BadAnswer("the answer has no batchItemFailures")
    items = answer["batchItemFailures"]
    if items is None or items == []:
        return None
    if not isinstance(items, list):
        raise BadAnswer("batchItemFailures is no list")
    return min(_reported_number(item, number_of) for item in items)


def _reported_number(item: Any, number_of: Callable[[str], int | None]) -> int:
    if not isinstance(item, dict) or "itemIdentifier" not in item:
        raise BadAnswer("an entry of batchItemFailures has no itemIdentifier")
    identifier = item["itemIdentifier"]
    if not isinstance(identifier, str) or not identifier:
        raise BadAnswer("an itemIdentifier is empty")
    number = number_of(identifier)
    if number is None:
        raise BadAnswer(f"the itemIdentifier {identifier[:80]!r} is not in the batch")
    return number


def begin(state: State, count: int) -> State:
    """Return the state with a new batch of the next `count` records."""
    assert state.count == 0 and state.ending is None and count > 0
    return msgspec.structs.replace(state, count=count, calls=0)


def skip(state: State, first: int) -> State:
    """Return the state when the log's oldest record is `first`: what was trimmed unread is expired.

    A batch that has lost its head that way is put together anew from what is left.
    """
    gap = first - state.next
    if gap <= 0:
        return state
    bits = int.from_bytes(state.documented, "little")
    failed = (bits & (1 << gap) - 1).bit_count()
    return msgspec.structs.replace(
        state,
        next=first,
        failed=state.failed + failed,
        expired=state.expired + gap - failed,
        count=0,
        calls=0,
        later=(),
        documented=_to_bytes(bits >> gap),
    )


def after(mapping: Mapping, state: State, outcome: Outcome, now_ms: int, request_id: str) -> State:
    """Return the state after a call of the batch under way; its `ending` is set if the batch is to be given up."""
    state = _noted(state, outcome.documented)
    if not outcome.failed and outcome.reported is None:
        return _moved(state, state.count, outcome.lost)
    if not outcome.failed and outcome.reported is not None and outcome.reported > state.next:
        return _moved(state, outcome.reported - state.next, outcome.lost)
    return _failed(mapping, state, outcome, now_ms, request_id)


def _failed(mapping: Mapping, state: State, outcome: Outcome, now_ms: int, request_id: str) -> State:
    if mapping.bisect and state.count > 1:
        half = state.count // 2
        return msgspec.structs.replace(state, count=half, calls=0, later=(state.count - half, *state.later))
    calls = state.calls + 1
    ending = None
    if mapping.retries >= 0 and calls > mapping.retries:
        error = outcome.function_error
        ending = Ending(RETRIES_EXHAUSTED, state.count, calls, now_ms, request_id, error)
    return msgspec.structs.replace(state, calls=calls, ending=ending)


def too_old(mapping: Mapping, spans: Iterable[Span], now_ms: int) -> int:
    """Return how many leading records of a batch are older than the mapping allows; arrivals never fall in a shard."""
    if mapping.record_age_s_max < 0:
        return 0
    limit_ms = now_ms - mapping.record_age_s_max * 1000
    count = 0
    for span in spans:
        if span.arrival_ms >= limit_ms:
            break
        count += span.records
    return count


def aged(state: State, count: int, now_ms: int, request_id: str) -> State:
    """Return the state in which the batch's first `count` records are to be given up for their age."""
    ending = Ending(AGE_EXCEEDED, min(count, state.count), max(1, state.calls), now_ms, request_id)
    return msgspec.structs.replace(state, ending=ending)


def settled(state: State) -> State:
    """Return the state once the document of its `ending` is durable: those records are failed and done with."""
    assert state.ending is not None
    count = state.ending.count
    noted = _noted(state, range(state.next, state.next + count))
    return msgspec.structs.replace(_moved(noted, count), ending=None)


def pause_ms(state: State, random: float) -> int:
    """Return how long to wait before the batch is called again: 0.1 s doubled with each failed call, at most 30 s.

    `random` (0 to 1) spreads it over the upper half, so that shards do not retry in step.
    """
    full = min(PAUSE_MS_MAX, PAUSE_MS_FIRST << min(max(0, state.calls - 1), 20))
    return int(full * (0.5 + random / 2))


def _noted(state: State, numbers: Collection[int]) -> State:
    """Add the numbers, all within the batch, to the documented ones."""
    if not numbers:
        return state
    bits = int.from_bytes(state.documented, "little")
    for number in numbers:
        if 0 <= number - state.next < state.count:
            bits |= 1 << (number - state.next)
    return msgspec.structs.replace(state, documented=_to_bytes(bits))


def _moved(state: State, done: int, lost: Collection[int] = ()) -> State:
    """Move the checkpoint past the batch's first `done` records, each counted once."""
    bits = int.from_bytes(state.documented, "little")
    failed = (bits & (1 << done) - 1).bit_count()
    gone = [number - state.next for number in lost]
    expired = sum(1 for place in gone if 0 <= place < done and not bits >> place & 1)
    count, later = state.count - done, state.later
    if count == 0 and later:
        count, later = later[0], later[1:]
    return msgspec.structs.replace(
        state,
        next=state.next + done,
        processed=state.processed + done - failed - expired,
        failed=state.failed + failed,
        expired=state.expired + expired,
        count=count,
        calls=0,
        later=later,
        documented=_to_bytes(bits >> done),
    )


def _to_bytes(bits: int) -> bytes:
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


class Gathering:
    """A batch of new records being put together: ends at the batch size or before the payload limit."""

    def __init__(self, mapping: Mapping, record_bytes: int) -> None:
        """`record_bytes`: what a record of this shard costs in the payload beside its key and its data in base64."""
        self._batch_size = mapping.batch_size
        self._record_bytes = record_bytes
        self.count = 0
        self.payload_bytes = EVENT_BYTES
        self.spans: list[Span] = []
        self.full = False

    def fits(self, count: int, content_bytes: int) -> bool:
        """Return whether `count` records of `content_bytes` (keys and data) surely fit the payload as well."""
        return self.payload_bytes + self._bound(count, content_bytes) <= PAYLOAD_BYTES_MAX

    def add(self, count: int, arrival_ms: int, content_bytes: int) -> int:
        """Take records that fit the payload; return how many the batch size leaves of them."""
        taken = min(count, self._batch_size - self.count)
        self._take(taken, arrival_ms, self._bound(count, content_bytes) * taken // count)
        return taken

    def add_each(self, sizes: Sequence[int], arrival_ms: int) -> int:
        """Take as many of records of the given content sizes as fit, at least one in a batch; return how many."""
        taken = payload = 0
        for size in sizes[: self._batch_size - self.count]:
            bound = self._bound(1, size)
            if self.count + taken and self.payload_bytes + payload + bound > PAYLOAD_BYTES_MAX:
                break
            taken += 1
            payload += bound
        self._take(taken, arrival_ms, payload)
        self.full = self.full or taken < len(sizes)
        return taken

    def _bound(self, count: int, content_bytes: int) -> int:
        return count * (self._record_bytes + 4) + content_bytes * 4 // 3

    def _take(self, count: int, arrival_ms: int, payload_bytes: int) -> None:
        if count:
            self.count += count
            self.payload_bytes += payload_bytes
            self.spans.append(Span(count, arrival_ms))
        self.full = self.count >= self._batch_size
