"""SIGKILL of the table process under load: what was acknowledged is there after the restart."""

import random
import threading
import time
from pathlib import Path

import msgspec

from headrace.errors import Conflict, Unavailable
from headrace.table.base import Item
from headrace.table.local import LocalTable
from support.table import table_process

KILLS = 6
BATCH = 1200


class Load:
    """One client: puts new rows and rewrites one item, and keeps what was acknowledged. `put` waits out a restart."""

    def __init__(self, table: LocalTable, name: str) -> None:
        self.table = table
        self.name = name
        self.acknowledged = 0  # rows 0 to this one, and the counter in the item "latest"
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            numbers = range(self.acknowledged, self.acknowledged + BATCH)
            latest = Item(self.name, "latest", b"%d" % numbers.stop)
            self.table.put([*(Item(self.name, f"{n:09}", b"%d" % n) for n in numbers), latest])
            self.acknowledged = numbers.stop


class Counter:
    """One client that counts an item's version up; an outcome that is not known is read."""

    def __init__(self, table: LocalTable) -> None:
        self.table = table
        self.acknowledged = 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                new = msgspec.json.encode({"version": self.acknowledged + 1})
                self.table.put_if_version(Item("counter", "config", new), self.acknowledged)
                self.acknowledged += 1
            except (Unavailable, Conflict):
                self.acknowledged = self.stored()

    def stored(self) -> int:
        item = self.table.get("counter", "config")
        found = 0 if item is None else int(msgspec.json.decode(item.attributes)["version"])
        assert self.acknowledged <= found <= self.acknowledged + 1
        return found


def test_acknowledged_writes_survive_kills(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    pause = random.Random(seed)
    with table_process(tmp_path / "table", tmp_path / "t.sock") as process:
        loads = [Load(process.table(), f"writer-{n}") for n in range(3)]
        counter = Counter(process.table())
        clients: list[Load | Counter] = [*loads, counter]
        threads = [threading.Thread(target=one.run) for one in clients]
        for thread in threads:
            thread.start()
        for _ in range(KILLS):
            time.sleep(pause.uniform(0.1, 0.6))
            process.kill()
            process.start()
        time.sleep(0.2)
        for one in clients:
            one.ended.set()
        for thread in threads:
            thread.join(20)
        process.kill()
        process.start()
        check(loads, counter)
        for one in clients:
            one.table.close()


def check(loads: list[Load], counter: Counter) -> None:
    for load in loads:
        table = load.table
        assert load.acknowledged >= BATCH
        rows = table.query(load.name, "0", "9", 10**9)
        assert [int(row.attributes) for row in rows[: load.acknowledged]] == list(range(load.acknowledged))
        latest = table.get(load.name, "latest")
        assert latest is not None
        assert int(latest.attributes) >= load.acknowledged
    assert counter.acknowledged > 0
    assert counter.stored() == counter.acknowledged
