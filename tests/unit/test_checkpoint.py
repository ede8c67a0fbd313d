"""The checkpoint file: what a torn or damaged slot leaves."""

from pathlib import Path

import pytest

from headrace.errors import DataDirectoryError
from headrace.runtime.checkpoint import SLOT_BYTES, Checkpoint
from headrace.runtime.mapping import Ending, State

FIRST = State(start=5, next=5)
BATCH = State(
    start=5, next=105, position=2**40, processed=97, failed=2, expired=1, count=50, calls=3, later=(25, 25),
    documented=b"\x01\x80", ending=Ending("RetryAttemptsExhausted", 50, 4, 1_700_000_000_000, "id", "Unhandled"),
)  # fmt: skip
FULL = State(start=0, next=10**18, count=10_000, documented=b"\xff" * 1250, later=(10_000,) * 14)


def read(path: Path) -> State:
    checkpoint = Checkpoint.open(path)
    assert checkpoint is not None
    checkpoint.close()
    return checkpoint.state


def test_every_state_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "f" / "s" / "shardId-000000000000"
    assert Checkpoint.open(path) is None
    checkpoint = Checkpoint.create(path, FIRST)
    for state in (BATCH, FULL, FIRST, BATCH):
        checkpoint.save(state)
        assert checkpoint.state == state == read(path)
        assert path.stat().st_size == 2 * SLOT_BYTES
    checkpoint.close()


@pytest.mark.parametrize("saves", [1, 2, 3])
def test_a_save_torn_at_any_byte_leaves_the_state_before_or_the_new_one(tmp_path: Path, saves: int) -> None:
    path = tmp_path / "checkpoint"
    states = [State(start=0, next=10 * number, processed=10 * number) for number in range(saves + 1)]
    checkpoint = Checkpoint.create(path, states[0])
    for state in states[1:]:
        checkpoint.save(state)
    before = path.read_bytes()
    new = State(start=0, next=999, processed=999)
    checkpoint.save(new)
    checkpoint.close()
    after = path.read_bytes()
    changed = [at for at in range(len(after)) if after[at] != before[at]]
    seen = set()
    for cut in range(changed[0], changed[-1] + 2):
        path.write_bytes(after[:cut] + before[cut:])
        found = read(path)
        assert found in (states[-1], new)
        assert found == new or cut <= changed[-1]
        seen.add(found.next)
    assert seen == {states[-1].next, 999}


def test_work_goes_on_after_a_torn_save(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    checkpoint = Checkpoint.create(path, FIRST)
    checkpoint.save(BATCH)
    checkpoint.close()
    body = bytearray(path.read_bytes())
    body[SLOT_BYTES + 40] ^= 1  # the second slot, which held the newer state
    path.write_bytes(body)
    reopened = Checkpoint.open(path)
    assert reopened is not None
    assert reopened.state == FIRST
    reopened.save(FULL)
    reopened.close()
    assert read(path) == FULL


def test_damage_in_both_slots_is_told_and_nothing_is_guessed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    Checkpoint.create(path, FIRST).close()
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(DataDirectoryError, match="damaged in both"):
        Checkpoint.open(path)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    from zlib import crc32

    path = tmp_path / "checkpoint"
    Checkpoint.create(path, FIRST).close()
    body = bytearray(path.read_bytes())
    length = int.from_bytes(body[16:20], "little")
    body[4] = 2
    body[20:24] = crc32(body[24 : 24 + length], crc32(body[:20])).to_bytes(4, "little")
    path.write_bytes(body)
    with pytest.raises(DataDirectoryError, match="format 2"):
        Checkpoint.open(path)
