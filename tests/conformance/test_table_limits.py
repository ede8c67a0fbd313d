"""A table with a write capacity: what is over is refused and tried again, nothing is lost, nothing is counted twice."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import clock, rpc
from headrace.errors import Conflict, Throttled
from headrace.table import server
from headrace.table.base import Item
from headrace.table.local import LocalTable
from support.rpc import in_thread


class Passing:
    """A clock that goes on by `step_s` whenever it is asked."""

    def __init__(self, step_s: float) -> None:
        self.now_s = 0.0
        self.step_s = step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


@contextlib.contextmanager
def serving(
    folder: Path, units: int, step_s: float, deadline_s: Callable[[], float | None] = lambda: None
) -> Iterator[LocalTable]:
    socket = folder / "t.sock"
    write_units = {"events": units} if units else {}
    settings: dict[str, Any] = {"write_units": write_units, "now_s": Passing(step_s)}
    with in_thread(lambda: server.start(folder / "table", socket, ["events", "devices"], **settings)):
        table = LocalTable.connect("events", socket, deadline_s)
        yield table
        table.close()


def stats(folder: Path, table: str = "events") -> dict[str, int]:
    client = rpc.Client(folder / "t.sock")
    found: dict[str, int] = rpc.decode(client.call("stats"))["tables"][table]
    assert rpc.decode(client.call("usage"))[table]["throttled"] == found["throttled"]
    client.close()
    return found


def items(count: int, size: int = 10) -> list[Item]:
    return [Item("d", f"{number:05}", b'{"a":"%b"}' % (b"x" * size)) for number in range(count)]


def test_all_of_a_put_is_written_at_the_pace_of_the_capacity(tmp_path: Path) -> None:
    with serving(tmp_path, 5, step_s=0.8) as table:
        table.put(items(20))
        assert table.scan(None, 100) == items(20)
        found = stats(tmp_path)
        assert found["write_units"] == 20
        assert 0 < found["throttled"] < 60
        assert stats(tmp_path, "devices")["throttled"] == 0


def test_an_item_counts_a_unit_a_kilobyte_and_a_large_one_is_not_starved(tmp_path: Path) -> None:
    with serving(tmp_path, 50, step_s=0.5) as table:
        table.put(items(3, 100_000))
        table.put(items(1))
        assert stats(tmp_path)["write_units"] == 3 * 98 + 1
        assert len(table.scan(None, 10)) == 3


@pytest.mark.parametrize("units", [200, 300, 400])
def test_the_last_of_a_key_wins_however_its_rows_were_refused(tmp_path: Path, units: int) -> None:
    keys = [f"{number % 800:05}" for number in range(2500)]
    sent = [Item("d", key, b'{"n":%d}' % number) for number, key in enumerate(keys)]
    last = {item.sort: item for item in sent}
    with serving(tmp_path, units, step_s=1.0) as table:
        table.put(sent)
        assert stats(tmp_path)["throttled"] > 0
        assert table.scan(None, 1000) == [last[key] for key in sorted(last)]


def test_what_there_is_no_time_for_raises_and_a_repetition_writes_it(tmp_path: Path) -> None:
    ends_s: list[float | None] = [None]
    with serving(tmp_path, 5, step_s=0.0, deadline_s=lambda: ends_s[0]) as table:
        ends_s[0] = clock.monotonic_s() + 1
        with pytest.raises(Throttled, match="no time left") as raised:
            table.put(items(20))
        assert raised.value.unwritten == {(item.partition, item.sort) for item in items(20)[5:]}
        assert table.scan(None, 100) == items(5)
    ends_s[0] = None
    with serving(tmp_path, 0, step_s=0.0) as table:
        table.put(items(20))
        assert table.scan(None, 100) == items(20)
        assert stats(tmp_path)["throttled"] == 0


def test_conditional_writes_and_deletions_wait_for_their_turn(tmp_path: Path) -> None:
    with serving(tmp_path, 1, step_s=0.25) as table:
        for version in range(4):
            table.put_if_version(Item("d", "config", b'{"version":%d}' % (version + 1)), version)
        with pytest.raises(Conflict):
            table.put_if_version(Item("d", "config", b'{"version":2}'), 1)
        table.delete([("d", "config")])
        assert table.get("d", "config") is None
        found = stats(tmp_path)
        assert found["throttled"] > 0
        assert found["write_units"] == 6
