"""What the embedded store promises beyond the contract: its folder, its process, expiry, capacity units."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace import rpc
from headrace.errors import DataDirectoryError, HeadraceError, NotFound, StorageError, Unavailable
from headrace.event import SORT_START
from headrace.table import rows, server
from headrace.table.base import Item
from headrace.table.local import LocalTable
from headrace.table.server import Sweep
from headrace.table.store import Store
from support.rpc import in_thread, serving

NOW_MS = 1_800_000_000_000
NOW_S = NOW_MS // 1000


def items(count: int, expires_at: int | None = None) -> list[Item]:
    return [Item(f"d{n % 5}", f"{n:06}", b"{}", expires_at) for n in range(count)]


class Backend:
    """A table process in a thread, and its clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "table"
        self.socket = folder / "t.sock"

    @contextlib.contextmanager
    def running(self, *tables: str, **settings: Any) -> Iterator[LocalTable]:
        """Serve these tables; answers the first."""
        tables = tables or ("events",)
        with in_thread(lambda: server.start(self.folder, self.socket, tables, **settings)):
            table = self.table(tables[0])
            yield table
            table.close()

    def table(self, name: str) -> LocalTable:
        return LocalTable.connect(name, self.socket)

    def stats(self, table: str = "events") -> dict[str, int]:
        client = rpc.Client(self.socket)
        found: dict[str, int] = rpc.decode(client.call("stats"))["tables"][table]
        client.close()
        return found

    def peek(self, table: str = "events") -> list[Item]:
        """Return what is stored, expired or not. Nothing may be running."""
        store = Store.open(self.folder, [])
        page = store.page(table, b"", None, 2000, False, 0)
        store.close()
        return [rows.item_of(key, value) for key, value in zip(page.rows[::2], page.rows[1::2], strict=True)]

    def poke(self, key: bytes, value: bytes) -> None:
        store = Store.open(self.folder, ["events"])
        store.put("events", [key, value])
        store.close()


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path)


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_items_survive_a_restart_and_a_put_waits_for_it(backend: Backend) -> None:
    stored = items(3000)
    with backend.running() as table:
        table.put(stored)
    with backend.running():
        assert sorted(table.scan(None, 10_000)) == sorted(stored)  # the client of before connects anew
        table.put([Item("new", "s", b"{}")])
        assert table.get("new", "s") is not None
    table.close()


def test_a_process_that_stays_away_is_unavailable(backend: Backend) -> None:
    with backend.running() as table:
        table.put(items(1))
    away = LocalTable("events", rpc.Client(backend.socket, patience_s=0), patience_s=0)
    with pytest.raises(Unavailable):
        away.put(items(1))
    with pytest.raises(Unavailable):
        away.get("d", "s")


def test_tables_are_separate_and_an_unknown_one_is_named(backend: Backend) -> None:
    with backend.running("events", "devices") as events:
        devices = backend.table("devices")
        events.put([Item("d", "s", b'{"of":"events"}')])
        devices.put([Item("d", "s", b'{"of":"devices"}')])
        devices.delete([("d", "s")])
        assert events.get("d", "s") == Item("d", "s", b'{"of":"events"}')
        assert devices.scan(None, 10) == []
        nobody = backend.table("nobody")
        for call in (lambda: nobody.put(items(1)), lambda: nobody.get("d", "s"), lambda: nobody.scan(None, 1)):
            with pytest.raises(NotFound, match="no table 'nobody'") as raised:
                call()
            assert "devices, events" in raised.value.hint
        devices.close()
        nobody.close()


def test_a_table_that_is_no_longer_declared_keeps_its_items(backend: Backend) -> None:
    with backend.running("old"), contextlib.closing(backend.table("old")) as old:
        old.put(items(3))
    with backend.running("new"), contextlib.closing(backend.table("old")) as old:
        assert len(old.scan(None, 10)) == 3


def test_a_store_has_one_owner(backend: Backend) -> None:
    with backend.running(), pytest.raises(DataDirectoryError, match="in use by table process"):
        Store.open(backend.folder, ["events"])


@pytest.mark.parametrize(
    ("content", "says"),
    [(b'{"format":2}', "holds a table store of format 2"), (b"garbage", "can't be read"), (b"{}", "can't be read")],
)
def test_a_store_of_another_format_is_refused(backend: Backend, content: bytes, says: str) -> None:
    Store.open(backend.folder, ["events"]).close()
    (backend.folder / "format.json").write_bytes(content)
    with pytest.raises(DataDirectoryError, match=says) as raised:
        Store.open(backend.folder, ["events"])
    assert raised.value.hint
    assert (backend.folder / "format.json").read_bytes() == content


def test_a_damaged_store_is_refused_and_left_as_it_is(backend: Backend) -> None:
    Store.open(backend.folder, ["events"]).close()
    current = backend.folder / "db" / "CURRENT"
    current.write_bytes(b"MANIFEST-999999\n")
    with pytest.raises(DataDirectoryError, match="can't be opened"):
        Store.open(backend.folder, ["events"])
    assert current.read_bytes() == b"MANIFEST-999999\n"


def test_a_row_of_a_newer_version_is_an_error_and_no_wrong_answer(backend: Backend) -> None:
    backend.poke(rows.key_of("d", "s"), b"\x02" + b"\xff" * 8 + b"{}")
    with backend.running() as table:
        with pytest.raises(DataDirectoryError, match="format 2"):
            table.get("d", "s")
        with pytest.raises(DataDirectoryError, match="format 2"):
            table.query("d", "a", "z", 10)


def test_items_expire_as_time_passes_and_are_removed_in_the_background(backend: Backend) -> None:
    now_ms = NOW_MS
    quickly = Sweep(deletes_max=100, pause_s=0.005, rest_s=0.005)
    with backend.running(sweep=quickly, now_ms=lambda: now_ms) as table:
        table.put([*items(900, NOW_S + 1), Item("keep", "later", b"{}", NOW_S + 2), Item("keep", "s", b"{}")])
        assert len(table.scan(None, 2000)) == 902
        now_ms += 1000
        assert [item.partition for item in table.scan(None, 2000)] == ["keep", "keep"]
        until(lambda: backend.stats()["removed"] == 900)
    assert [item.partition for item in backend.peek()] == ["keep", "keep"]


def test_nothing_is_removed_while_the_clock_is_in_doubt(backend: Backend) -> None:
    asked, may_remove = 0, False

    def ask() -> bool:
        nonlocal asked
        asked += 1
        return may_remove

    quickly = Sweep(deletes_max=100, pause_s=0.005, rest_s=0.005)
    with backend.running(sweep=quickly, now_ms=lambda: NOW_MS, may_remove=ask) as table:
        table.put(items(50, NOW_S - 5))
        until(lambda: asked > 5)
        assert backend.stats()["removed"] == 0
        may_remove = True
        until(lambda: backend.stats()["removed"] == 50)


def test_what_is_written_again_while_it_is_swept_stays(backend: Backend) -> None:
    quickly = Sweep(deletes_max=10, pause_s=0.0, rest_s=0.0)
    with backend.running(sweep=quickly, now_ms=lambda: NOW_MS) as table:
        for _ in range(20):
            table.put(items(50, NOW_S - 5))
            table.put(items(50, NOW_S + 5))
            assert len(table.scan(None, 100)) == 50


def test_items_are_counted_and_capacity_is_metered(backend: Backend) -> None:
    with backend.running(now_ms=lambda: NOW_MS) as table:
        table.put(items(1500) + items(1500))
        table.put(items(10, NOW_S - 5))
        assert backend.stats()["items"] == 1490
        table.put([Item("d", "large", b"x" * 5000)])
        table.delete([("d0", "000000")])
        table.get("d", "large")
        table.get("d", "missing")
        found = backend.stats()
        assert found["items"] == 1490 + 1  # the deleted one had expired
        assert found["write_units"] == 3010 + 5 + 1
        assert found["read_units"] == 2 + 1
        assert found["bytes"] > 0


def test_events_are_told_from_aggregates(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    quickly = Sweep(pause_s=0.0, rest_s=0.0)
    with backend.running(sweep=quickly, now_ms=lambda: NOW_MS) as table:
        table.put([Item(f"d{at % 7}", f"{SORT_START}{at:03d}", b"{}") for at in range(300)])
        table.put([Item(f"d{at % 7}", f"aggregate#hour#{at:03d}", b"{}") for at in range(100)])
        assert (backend.stats()["items"], backend.stats()["events"]) == (400, 300)
        monkeypatch.setattr(server, "EXACT_ITEMS_MAX", 10)  # now it is estimated
        until(lambda: backend.stats()["events"] == 300)


def test_callers_share_commits(backend: Backend) -> None:
    with backend.running() as table:
        client = rpc.Client(backend.socket)
        sent = [client.send("put", ("events", 1, rows.row_of(Item("d", f"{n:03}", b"{}")).rows)) for n in range(1000)]
        for one in sent:
            client.wait(one)
        groups = rpc.decode(client.call("stats"))["groups"]
        client.close()
        assert len(table.query("d", "0", ":", 2000)) == 1000
        assert groups < 500


def test_a_condition_sees_what_was_written_before_it_in_its_group(backend: Backend) -> None:
    def row(version: int) -> list[bytes]:
        return rows.row_of(Item("d", "config", msgspec.json.encode({"version": version}))).rows

    with backend.running() as table:
        client = rpc.Client(backend.socket)
        sent = [client.send("put", ("events", 1, row(5)))]
        sent += [client.send("put_if_version", ("events", 1, *row(n + 1), n)) for n in range(5, 200)]
        for one in sent:
            client.wait(one)
        client.close()
        assert table.get("d", "config") == Item("d", "config", b'{"version":200}')


@pytest.mark.parametrize("resume", [b"", b"\x00\x01d", b"\xff"])
@pytest.mark.parametrize("newest_first", [False, True])
def test_a_page_that_leads_nowhere_is_an_error_and_no_endless_loop(
    tmp_path: Path, resume: bytes, newest_first: bool
) -> None:
    """A table process of another version may answer so."""
    asked = 0

    def query(_: msgspec.Raw) -> tuple[list[bytes], bytes]:
        nonlocal asked
        asked += 1
        return [], resume

    with serving(tmp_path / "t.sock", {"query": query}):
        table = LocalTable.connect("events", tmp_path / "t.sock")
        with pytest.raises(HeadraceError, match="does not lead on"):
            table.query("d", "a", "z", 10, newest_first)
        table.close()
    assert asked <= 2


def test_a_snapshot_is_a_store_of_its_own(backend: Backend, tmp_path: Path) -> None:
    with backend.running() as table:
        table.put(items(700))
        client = rpc.Client(backend.socket)
        client.call("snapshot", str(tmp_path / "copy"))
        table.put([Item("later", "s", b"{}")])
        with pytest.raises(StorageError, match="File exists"):
            client.call("snapshot", str(tmp_path / "copy"))
        client.close()
    store = Store.open(tmp_path / "copy", ["events"])
    page = store.page("events", b"", None, 2000, False, 0)
    store.close()
    assert len(page.rows) == 2 * 700
