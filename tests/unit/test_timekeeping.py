"""Whether what is too old may be deleted, by a clock that jumps."""

from pathlib import Path

import pytest

from headrace.operations.status import ahead_of_clock_ms
from headrace.timekeeping import Decision, Timekeeper, decide

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 1_785_000_000_000


@pytest.mark.parametrize(
    ("since_last", "steady", "expected"),
    [
        (None, 0, Decision(False)),  # the first run
        (0, 0, Decision(False)),
        (30_000, 0, Decision(False)),
        (DAY, 0, Decision(False)),
        (-DAY, 0, Decision(False)),
        (DAY + 1, 0, Decision(True, DAY + 1, HOUR)),
        (-DAY - 1, 0, Decision(True, -DAY - 1, HOUR)),
        (400 * DAY, HOUR - 1, Decision(True, 400 * DAY, 1)),
        (400 * DAY, HOUR, Decision(False)),  # off for a year: the clock is believed after an hour
        (-400 * DAY, HOUR, Decision(False)),
    ],
)
def test_decide(since_last: int | None, steady: int, expected: Decision) -> None:
    assert decide(NOW, None if since_last is None else NOW - since_last, steady) == expected


class Clock:
    """A wall clock that can be set, and a steady one beside it."""

    def __init__(self) -> None:
        self.wall_ms = NOW
        self.steady_s = 1000.0

    def run(self, ms: int) -> None:
        self.wall_ms += ms
        self.steady_s += ms / 1000

    def keeper(self, path: Path, *, writer: bool = True) -> Timekeeper:
        return Timekeeper(path, writer=writer, now_ms=lambda: self.wall_ms, monotonic_s=lambda: self.steady_s)


def test_a_jump_pauses_until_the_clock_is_set_right(tmp_path: Path) -> None:
    clock = Clock()
    keeper = clock.keeper(tmp_path / "clock.json")
    assert not keeper.check().paused
    clock.run(30_000)
    assert not keeper.check().paused
    clock.wall_ms += 3 * DAY
    for _ in range(100):
        clock.run(30_000)
        assert keeper.check().paused
    assert keeper.check().jump_ms == 3 * DAY + 100 * 30_000
    clock.wall_ms -= 3 * DAY
    assert not keeper.check().paused


def test_a_jump_is_believed_after_an_hour(tmp_path: Path) -> None:
    clock = Clock()
    keeper = clock.keeper(tmp_path / "clock.json")
    keeper.check()
    clock.wall_ms += 3 * DAY
    assert keeper.check().paused
    clock.run(HOUR - 1000)
    assert keeper.check() == Decision(True, 3 * DAY + HOUR - 1000, 1000)
    clock.run(1000)
    assert not keeper.check().paused
    clock.run(30_000)
    assert not keeper.check().paused


def test_a_clock_that_is_set_again_and_again_is_not_believed(tmp_path: Path) -> None:
    clock = Clock()
    keeper = clock.keeper(tmp_path / "clock.json")
    keeper.check()
    clock.wall_ms += 3 * DAY
    for _ in range(20):
        assert keeper.check().paused
        clock.run(HOUR // 2)
        assert keeper.check().paused
        clock.wall_ms += HOUR


def test_the_last_run_outlives_the_process(tmp_path: Path) -> None:
    clock = Clock()
    clock.keeper(tmp_path / "clock.json").check()
    clock.wall_ms += 2 * DAY
    again = clock.keeper(tmp_path / "clock.json")
    reader = clock.keeper(tmp_path / "clock.json", writer=False)
    assert again.check().paused
    assert reader.check().paused
    clock.run(HOUR)
    assert not reader.check().paused  # believes for itself, and leaves the file alone
    assert clock.keeper(tmp_path / "clock.json").check().paused
    assert not again.check().paused
    assert not clock.keeper(tmp_path / "clock.json").check().paused


@pytest.mark.parametrize("body", [b"", b"{", b'{"version":1}', b'{"version":99,"last_ms":1}'])
def test_a_file_that_cannot_be_read_counts_as_no_run(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "clock.json").write_bytes(body)
    keeper = Clock().keeper(tmp_path / "clock.json")
    assert not keeper.check().paused


def test_a_look_is_no_run(tmp_path: Path) -> None:
    clock = Clock()
    keeper = clock.keeper(tmp_path / "clock.json")
    assert not keeper.look().paused
    assert not (tmp_path / "clock.json").exists()


@pytest.mark.parametrize(
    ("arrivals", "expected"), [({}, 0), ({0: 0}, 0), ({0: NOW, 1: NOW - 5}, 0), ({0: NOW - 5, 1: NOW + 7}, 7)]
)
def test_by_how_much_a_stream_is_ahead_of_the_clock(arrivals: dict[int, int], expected: int) -> None:
    assert ahead_of_clock_ms(arrivals, NOW) == expected
