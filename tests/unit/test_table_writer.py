"""Group commit: nothing is answered before the fsync that covers it, in order, whatever goes wrong."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from headrace.errors import Conflict, HeadraceError, StorageError, Unavailable
from headrace.table import writer
from headrace.table.writer import Stalled, Writer
from support.loop import in_loop

FULL = StorageError(f"/data: IO error: {writer.NO_SPACE}")
BROKEN = StorageError("/data: IO error: Input/output error")


class Memory:
    """A store of numbers whose fsync waits until the test lets it go on."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.durable: list[int] = []
        self.syncs = threading.Semaphore(0)
        self.failure: StorageError | None = None
        self.reopened = 0
        self.space = 2**40

    def write(self, number: int, error: Exception | None = None) -> Callable[[], None]:
        def apply() -> None:
            if error is not None:
                raise error
            self.written.append(number)

        return apply

    def sync(self) -> None:
        covered = list(self.written)
        assert self.syncs.acquire(timeout=5)
        if self.failure is not None:
            raise self.failure
        self.durable = covered

    def space_left(self) -> int:
        return self.space

    def reopen(self) -> None:
        self.reopened += 1


async def turns(count: int = 20) -> None:
    """Let the loop and the fsync's thread get on."""
    for _ in range(count):
        await asyncio.sleep(0.001)


@in_loop
async def test_a_write_is_answered_after_the_fsync_that_covers_it() -> None:
    store = Memory()
    commit = Writer(store)
    first = [commit.submit(store.write(n)) for n in range(3)]
    await turns()
    later = [commit.submit(store.write(n)) for n in range(3, 6)]
    await turns()
    assert store.written == list(range(6))
    assert not any(one.done() for one in first + later)
    store.syncs.release()
    await first[0]
    assert [one.done() for one in first] == [True, False, False]  # the first fsync began with the first write
    assert store.durable == [0]
    store.syncs.release()
    await asyncio.gather(*first, *later)
    assert store.durable == list(range(6))
    assert commit.groups == 2
    await commit.close()


@in_loop
async def test_one_write_a_turn_leaves_room_for_reads() -> None:
    store = Memory()
    commit = Writer(store)
    writes = [commit.submit(store.write(n)) for n in range(10)]
    seen = []
    for _ in range(10):
        await asyncio.sleep(0)
        seen.append(len(store.written))
    assert seen == list(range(1, 11))
    store.syncs.release(2)
    await asyncio.gather(*writes)
    await commit.close()


@in_loop
async def test_a_refused_condition_waits_for_the_write_it_saw() -> None:
    store = Memory()
    commit = Writer(store)
    write = commit.submit(store.write(1))
    refused = commit.submit(store.write(2, Conflict("It has version 1.")))
    await turns()
    assert not refused.done()
    store.syncs.release(2)
    await write
    with pytest.raises(Conflict):
        await refused
    await commit.close()


@in_loop
async def test_a_failed_fsync_fails_all_that_it_covers_and_no_more() -> None:
    store = Memory()
    commit = Writer(store)
    store.failure = BROKEN
    first = commit.submit(store.write(1))
    await turns()
    second = commit.submit(store.write(2))
    store.syncs.release()
    with pytest.raises(StorageError):
        await first
    store.failure = None
    store.syncs.release()
    await second
    await commit.close()


@in_loop
async def test_a_refused_write_is_answered_at_once_and_the_others_go_on() -> None:
    store = Memory()
    commit = Writer(store)
    store.syncs.release(3)
    results = await asyncio.gather(
        commit.submit(store.write(1)),
        commit.submit(store.write(2, FULL)),
        commit.submit(store.write(3, ValueError("a bug"))),
        commit.submit(store.write(4)),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), StorageError, ValueError, type(None)]
    assert store.durable == [1, 4]
    await commit.close()


@in_loop
async def test_a_stalled_store_is_asked_again_in_the_same_order() -> None:
    store = Memory()
    commit = Writer(store)
    stalls = 3

    def stalled() -> None:
        nonlocal stalls
        stalls -= 1
        if stalls >= 0:
            raise Stalled
        store.write(1)()

    writes = [commit.submit(stalled), commit.submit(store.write(2))]
    store.syncs.release(3)
    await asyncio.gather(*writes)
    assert store.written == [1, 2]
    await commit.close()


@in_loop
async def test_closing_answers_what_was_submitted_and_refuses_more() -> None:
    store = Memory()
    commit = Writer(store)
    writes = [commit.submit(store.write(n)) for n in range(5)]
    store.syncs.release(5)
    await commit.close()
    assert all(one.done() for one in writes)
    with pytest.raises(Unavailable):
        commit.submit(store.write(9))


@pytest.mark.parametrize(
    ("failure", "space", "waited_s", "reopened"),
    [
        (BROKEN, 2**40, 0.9, 0),
        (BROKEN, 2**40, 1.1, 1),
        (BROKEN, 0, 1.1, 1),
        (FULL, 2**40, 1.1, 1),
        (FULL, 2**20, 1000, 0),
    ],
    ids=["soon", "broken", "broken and full", "was full", "still full"],
)
def test_a_store_that_keeps_refusing_is_opened_again(
    failure: StorageError, space: int, waited_s: float, reopened: int
) -> None:
    async def run() -> None:
        now_s = 50.0
        store = Memory()
        store.space = space
        commit = Writer(store, lambda: now_s)
        with pytest.raises(StorageError):
            await commit.submit(store.write(1, failure))
        commit.mend()
        now_s += waited_s
        commit.mend()
        assert store.reopened == reopened
        commit.mend()
        assert store.reopened == reopened
        await commit.close()

    asyncio.run(run())


@in_loop
async def test_a_store_that_works_again_is_left_alone() -> None:
    now_s = 50.0
    store = Memory()
    commit = Writer(store, lambda: now_s)
    with pytest.raises(StorageError):
        await commit.submit(store.write(1, BROKEN))
    store.syncs.release()
    await commit.submit(store.write(2))
    now_s += 100
    commit.mend()
    assert store.reopened == 0
    await commit.close()


@in_loop
async def test_an_fsync_under_way_is_not_disturbed_and_a_failed_reopening_is_repeated() -> None:
    now_s = 50.0

    class Closed(Memory):
        def reopen(self) -> None:
            super().reopen()
            if self.reopened == 1:
                raise HeadraceError("still broken")

    store = Closed()
    commit = Writer(store, lambda: now_s)
    with pytest.raises(StorageError):
        await commit.submit(store.write(1, BROKEN))
    under_way = commit.submit(store.write(2))
    await turns()
    now_s += 5
    commit.mend()
    assert store.reopened == 0
    store.failure = BROKEN
    store.syncs.release()
    with pytest.raises(StorageError):
        await under_way
    for expected in (1, 2, 2):
        commit.mend()
        now_s += 2
        assert store.reopened == expected
    await commit.close()
