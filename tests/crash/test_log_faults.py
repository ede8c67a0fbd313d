"""Faults in any order: whatever a disk does, the log holds what it acknowledged, each record once, in order."""

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.errors import StorageError
from headrace.stream import board
from headrace.stream.log import Entry, Log
from support.faulty_disk import FaultyDisk, Tear, drop_pages, keep, lose, tear_at
from support.logs import SHARDS, Held, batch, by_shard, open_log, plain, read

tears = st.one_of(
    st.sampled_from([lose, keep]),
    st.integers(0, 3000).map(tear_at),
    st.sets(st.integers(0, 8)).map(drop_pages),
)
steps = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 9), st.sampled_from([10, 100, 700])),
    st.tuples(st.just("space"), st.integers(0, 3000)),
    st.tuples(st.just("failing"), st.integers(0, 2), st.integers(0, 2)),
    st.tuples(st.just("healed")),
    st.tuples(st.just("kill"), st.integers(0, 4)),
    st.tuples(st.just("power"), st.integers(0, 6), tears, st.booleans(), st.booleans()),
)


class Trial:
    """A log under faults. `sure` was acknowledged, or found at an opening; each of `failed` may have come through."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lives = 0
        self.folder = root / "0"
        self.disk = FaultyDisk()
        self.sure: Held = by_shard([])
        self.failed: list[list[Entry]] = []
        self.sent = 0
        self.log: Log | None = open_log(self.folder, self.disk, segment_bytes=2000)

    async def append(self, count: int, size: int) -> None:
        if self.log is None:
            return
        self.sent += 1
        entries = batch(str(self.sent), count, size)
        numbers = {shard: len(held) for shard, held in self.sure.items()}
        try:
            appended = await self.log.append(entries)
        except StorageError:
            self.failed.append(entries)
        else:
            assert appended.first_number == {shard: numbers[shard] for shard, _, _ in entries}
            for shard, held in by_shard([entries]).items():
                self.sure[shard] += held
            self.failed = []
        assert plain(read(self.folder)) == self.sure, "a reader sees what is acknowledged, no less and no more"

    async def space(self, free: int) -> None:
        self.disk.space = free

    async def failing(self, syncs: int, truncates: int) -> None:
        self.disk.failing_syncs, self.disk.failing_truncates = syncs, truncates

    async def healed(self) -> None:
        self.disk.space, self.disk.failing_syncs, self.disk.failing_truncates = None, 0, 0

    async def kill(self, operations: int) -> None:
        """The process dies after some more operations; the system and its cache live on."""
        await self._stop_after(operations)
        self.disk.restart_process()
        await self._open()

    async def power(self, operations: int, tear: Tear, entries: bool, with_board: bool) -> None:
        """Power is cut after some more operations."""
        await self._stop_after(operations)
        self.lives += 1
        after = self.root / str(self.lives)
        self.disk.leave(after, tear, entries=entries)
        if with_board and (self.folder / board.FILE).exists():
            shutil.copy(self.folder / board.FILE, after / board.FILE)
        self.folder, self.disk = after, FaultyDisk()
        await self._open()

    async def finish(self) -> None:
        await self.healed()
        if self.log is None:
            await self._open()
        await self.append(3, 50)
        assert self.log is not None
        await self.log.close()

    async def _stop_after(self, operations: int) -> None:
        self.disk.cut_after = self.disk.operations + operations
        await self.append(6, 300)
        if self.log is not None:
            await self.log.close()
            self.log = None

    async def _open(self) -> None:
        with contextlib.suppress(StorageError):
            self.log = open_log(self.folder, self.disk, segment_bytes=2000)
            assert self.log.damage == [], "nothing but a torn tail was lost"
            found = plain(read(self.folder))
            assert any(self._is(found, came_through) for came_through in [[], *self.failed])
            self.sure, self.failed = found, []
            assert self.log.next_number == {shard: len(held) for shard, held in found.items()}

    def _is(self, found: Held, came_through: list[Entry]) -> bool:
        """Whether what was found is all that is sure and, per shard, a first part of one failed append."""
        more = by_shard([came_through])
        return all(
            found[shard] == (self.sure[shard] + more[shard])[: max(len(found[shard]), len(self.sure[shard]))]
            for shard in range(SHARDS)
        )


@settings(max_examples=80, deadline=None)
@given(st.lists(steps, max_size=14))
@example([("append", 6, 100), ("failing", 1, 1), ("append", 6, 700), ("kill", 2), ("power", 0, lose, False, False)])
def test_faults_in_any_order(plan: list[tuple[object, ...]]) -> None:
    async def run(root: Path) -> None:
        trial = Trial(root)
        for name, *arguments in plan:
            await getattr(trial, str(name))(*arguments)
        await trial.finish()

    with tempfile.TemporaryDirectory() as root:
        asyncio.run(run(Path(root)))
