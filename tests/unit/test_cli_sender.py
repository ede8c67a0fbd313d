"""Records are put in order, again where they failed, and never given up silently."""

import threading
from collections.abc import Callable, Sequence

import pytest

from headrace.cli.packing import ROWS_WAITING_MAX, Packer
from headrace.cli.rows import Row
from headrace.cli.sender import REQUEST_BYTES_MAX, Answer, Entry, Sender, to_send_again
from headrace.errors import HeadraceError, Throttled, Unavailable

FAILED = Answer(ErrorCode="InternalFailure", ErrorMessage="no")
DONE = Answer("shardId-000000000000", "1")


def entries(keys: str) -> list[Entry]:
    return [Entry(key, str(place).encode(), place) for place, key in enumerate(keys)]


def last_copies(stream: list[Entry]) -> dict[str, list[int]]:
    """Return for each key the rows in the order of their last copies."""
    order = {entry.first: place for place, entry in enumerate(stream)}
    keys: dict[str, list[int]] = {}
    for entry in sorted(set(stream), key=lambda entry: order[entry.first]):
        keys.setdefault(entry.key, []).append(entry.first)
    return keys


class Stream:
    """Takes records; `refuse` tells which places of which request fail."""

    def __init__(self, refuse: Callable[[int, Sequence[Entry]], set[int]] = lambda request, entries: set()) -> None:
        self.records: list[Entry] = []
        self.requests: list[int] = []
        self._refuse = refuse
        self._lock = threading.Lock()

    def put(self, batch: Sequence[Entry]) -> list[Answer]:
        with self._lock:
            refused = self._refuse(len(self.requests), batch)
            self.requests.append(len(batch))
            self.records += [entry for place, entry in enumerate(batch) if place not in refused]
            return [FAILED if place in refused else DONE for place in range(len(batch))]


def nothing(_seconds: float) -> None:
    """Wait for no time at all."""


@pytest.mark.parametrize(
    ("keys", "failed", "again"),
    [
        ("abc", set(), []),
        ("abc", {1}, [1]),
        ("aabb", {0}, [0, 1]),
        ("abab", {1, 2}, [1, 2, 3]),
        ("aaaa", {3}, [3]),
        ("aaaa", {0, 1, 2, 3}, [0, 1, 2, 3]),
    ],
)
def test_a_failed_record_takes_the_later_ones_of_its_key_along(keys: str, failed: set[int], again: list[int]) -> None:
    batch = entries(keys)
    answers = [FAILED if place in failed else DONE for place in range(len(batch))]
    assert [entry.first for entry in to_send_again(batch, answers)] == again


def test_every_key_keeps_its_order_whatever_fails() -> None:
    stream = Stream(
        lambda request, batch: {p for p in range(len(batch)) if (request * 7 + p) % 5 == 0 and request < 40}
    )
    sender = Sender(stream.put, wait=nothing)
    rows = entries("abcdefghij" * 300)
    for entry in rows:
        sender.add(entry)
    sender.finish()
    assert sender.records == sender.rows == len(rows) and sender.lowest_row() is None
    assert all(order == sorted(order) and len(order) == 300 for order in last_copies(stream.records).values())
    assert max(stream.requests) == 500


def test_a_request_that_is_not_answered_is_sent_again() -> None:
    calls: list[int] = []
    stream = Stream()

    def put(batch: Sequence[Entry]) -> list[Answer]:
        calls.append(len(batch))
        if len(calls) <= 2:
            raise (Unavailable if len(calls) == 1 else Throttled)("not now")
        return stream.put(batch)

    waits: list[float] = []
    sender = Sender(put, lanes=1, wait=waits.append)
    for entry in entries("ab"):
        sender.add(entry)
    sender.finish()
    assert calls == [2, 2, 2] and len(stream.records) == 2
    assert 0.025 <= waits[0] <= 0.05 <= waits[1] <= 0.1


def test_a_stream_that_takes_nothing_is_given_up_with_its_reason() -> None:
    stream = Stream(lambda request, batch: set(range(len(batch))))
    told: list[str] = []
    sender = Sender(stream.put, patience_s=0, wait=nothing, waits=told.append)
    sender.add(entries("a")[0])
    with pytest.raises(HeadraceError, match=r"takes no record.*InternalFailure: no"):
        sender.finish()
    assert sender.lowest_row() == 0
    assert told == ["InternalFailure: no"], "said while it is waited for, and once"


def test_what_cannot_be_mended_ends_the_sending_at_once() -> None:
    def put(batch: Sequence[Entry]) -> list[Answer]:
        raise HeadraceError("ValidationException: no")

    sender = Sender(put, wait=nothing)
    with pytest.raises(HeadraceError, match="ValidationException"):
        for entry in entries("a" * 10_000):  # more than fits into the lanes: `add` itself must raise
            sender.add(entry)
        pytest.fail("add never raised")


def test_requests_are_bounded_in_bytes() -> None:
    stream = Stream()
    sender = Sender(stream.put, lanes=1)
    for row in range(5):
        sender.add(Entry("a", bytes(REQUEST_BYTES_MAX // 2 - 100), row))
    sender.finish()
    assert stream.requests == [2, 2, 1]


def test_the_lowest_row_is_what_a_resumption_begins_with() -> None:
    go = threading.Event()
    stream = Stream()

    def put(batch: Sequence[Entry]) -> list[Answer]:
        go.wait(10)
        return stream.put(batch)

    sender = Sender(put, lanes=1)
    assert sender.lowest_row() is None
    for entry in entries("a" * 600):
        sender.add(entry)
    assert sender.lowest_row() == 0
    go.set()
    sender.finish()
    assert sender.lowest_row() is None


def test_acknowledged_records_are_told_with_their_answers() -> None:
    told: list[tuple[int, str]] = []
    stream = Stream(lambda request, batch: {1} if request == 0 else set())
    sender = Sender(
        stream.put, lanes=1, wait=nothing, acknowledged=lambda e, a: told.append((e.first, a.SequenceNumber))
    )
    for entry in entries("aab"):
        sender.add(entry)
    sender.finish()
    assert told == [(0, "1"), (2, "1"), (1, "1")] and sender.records == 3


def row(number: int, key: str, size: int = 2) -> Row:
    return Row(number, number + 2, key, b"{" + b" " * (size - 2) + b"}", True)


def test_packs_hold_consecutive_rows_of_one_device() -> None:
    packer = Packer(2, 1000)
    full = [entry for number, key in enumerate("abacb") for entry in packer.add(row(number, key))]
    assert full == [Entry("a", b"[{},{}]", 0, 2), Entry("b", b"[{},{}]", 1, 2)]
    assert packer.lowest_row() == 3
    assert list(packer.flush()) == [Entry("c", b"[{}]", 3, 1)] and packer.lowest_row() is None


def test_what_the_sender_has_not_taken_yet_is_waiting() -> None:
    packer = Packer(2, 1000)
    assert [entry for number, key in enumerate("ab") for entry in packer.add(row(number, key))] == []
    entries = iter(packer.add(row(2, "a")))
    assert next(entries).first == 0 and packer.lowest_row() == 0  # interrupted here, a sending goes on at row 0
    assert list(entries) == [] and packer.lowest_row() == 1


def test_a_pack_of_one_is_the_object_itself() -> None:
    assert Packer(1, 1000).add(row(0, "a")) == [Entry("a", b"{}", 0, 1)]


def test_packs_stay_below_the_size_of_a_record() -> None:
    packer = Packer(100, 1000)
    full = [entry for number in range(10) for entry in packer.add(row(number, "a", 300))] + list(packer.flush())
    assert [entry.rows for entry in full] == [3, 3, 3, 1] and all(len(entry.data) <= 1000 for entry in full)


def test_rows_that_wait_for_their_pack_are_bounded() -> None:
    packer = Packer(10, 1000)
    full = [entry for number in range(ROWS_WAITING_MAX + 3) for entry in packer.add(row(number, str(number)))]
    assert [entry.first for entry in full] == [0, 1, 2] and packer.lowest_row() == 3
