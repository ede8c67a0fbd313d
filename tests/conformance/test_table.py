"""What every table promises, whatever is behind it."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from headrace import aws
from headrace.errors import Conflict, UsageError
from headrace.table import base, server
from headrace.table.aws import DynamoTable
from headrace.table.base import Item, Table
from headrace.table.local import LocalTable
from support import moto
from support.rpc import in_thread

PAST = int(time.time()) - 10
FUTURE = int(time.time()) + 86_400
LONG_PARTITION = "é" * (base.PARTITION_BYTES_MAX // 2)
LONG_SORT = "s" * base.SORT_BYTES_MAX


def item(partition: str, sort: str, attributes: str = "{}", expires_at: int | None = None) -> Item:
    return Item(partition, sort, attributes.encode(), expires_at)


def json(attributes: dict[str, int]) -> str:
    return msgspec.json.encode(attributes).decode()


def filled(size: int) -> str:
    """Return attributes of that many bytes."""
    return '{"a":"' + "x" * (size - 8) + '"}'


class TableContract:
    """Subclass it and give a fixture `table`: an empty table."""

    part = 1  # of the number of items: a slow or dear implementation is tried with fewer

    @pytest.mark.parametrize(
        "stored",
        [
            item("d", "s"),
            item("d", "s", '{"readings":{"t":21.50,"x":1e400},"list":[1,null]}'),
            item("d", "s", "{}", FUTURE),
            item("gerät/7 \x00 ☃", "event#2026-11-23T14:53:55.000001Z#\U0001f600", '{"é":"\\u00e9"}', FUTURE),
            item(LONG_PARTITION, LONG_SORT),
            item("d", "s", filled(base.ITEM_BYTES_MAX - 2)),
        ],
        ids=["small", "numbers as sent", "expires later", "unicode", "longest keys", "largest item"],
    )
    def test_get_returns_what_was_put(self, table: Table, stored: Item) -> None:
        table.put([stored])
        assert table.get(stored.partition, stored.sort) == stored

    def test_a_missing_item_is_none(self, table: Table) -> None:
        table.put([item("d", "s")])
        assert table.get("d", "t") is None
        assert table.get("e", "s") is None

    def test_the_last_written_of_a_key_wins(self, table: Table) -> None:
        table.put([item("d", "s", json({"n": n})) for n in range(5)])
        assert table.get("d", "s") == item("d", "s", '{"n":4}')
        table.put([item("d", "s", '{"n":9}')])
        assert table.get("d", "s") == item("d", "s", '{"n":9}')

    def test_only_what_is_absent_is_put(self, table: Table) -> None:
        table.put_absent([])
        table.put([item(f"d{n}", "info", json({"version": 7})) for n in range(0, 60, 2)])
        many = [item(f"d{n}", "info", json({"version": 1})) for n in range(60)]
        for _ in range(2):
            table.put_absent(many)
            found = {each.partition: each.attributes for each in table.scan(None, 2000)}
            assert found == {f"d{n}": json({"version": 1 if n % 2 else 7}).encode() for n in range(60)}
        with pytest.raises(UsageError):
            table.put_absent([item("", "info", json({"version": 1}))])

    def test_any_number_may_be_put(self, table: Table) -> None:
        table.put([])
        many = [item(f"d{n % 7}", f"{n:06}", json({"n": n})) for n in range(6001 // self.part)]
        table.put(many)
        assert sorted(table.scan(None, 10_000)) == sorted(many)

    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            (item("", "s"), "partition key has 0 bytes"),
            (item("d", ""), "sort key has 0 bytes"),
            (item(LONG_PARTITION + "x", "s"), "partition key has 2049 bytes"),
            (item("d", LONG_SORT + "x"), "sort key has 1025 bytes"),
            (item("d", "s", filled(base.ITEM_BYTES_MAX - 1)), "over the limit"),
            (item("d", "\ud800"), "not valid Unicode"),
        ],
        ids=["no partition", "no sort", "long partition", "long sort", "large", "surrogate"],
    )
    def test_an_item_over_a_limit_is_refused_and_nothing_of_the_call_written(
        self, table: Table, wrong: Item, says: str
    ) -> None:
        good = [item("good", f"{n:04}") for n in range(1200 // self.part)]
        with pytest.raises(UsageError, match=says):
            table.put([*good, wrong])
        with pytest.raises(UsageError, match=says):
            table.put_if_version(wrong, 0)
        assert table.scan(None, 10) == []

    def test_deleted_items_are_gone_and_missing_ones_are_fine(self, table: Table) -> None:
        table.put([item("d", f"{n:04}") for n in range(1200 // self.part)])
        table.delete([])
        table.delete([("d", f"{n:04}") for n in range(1, 1300 // self.part)] + [("e", "0")])
        assert table.scan(None, 10) == [item("d", "0000")]
        assert table.get("d", "0001") is None

    @pytest.mark.parametrize(
        ("start", "end", "limit", "newest_first", "expected"),
        [
            ("a", "z", 10, False, "b bb c ca d"),
            ("a", "z", 10, True, "d ca c bb b"),
            ("", "\U0010ffff", 10, False, "! b bb c ca d ~ é 漢 \U0001f600"),
            ("b", "d", 10, False, "b bb c ca"),
            ("b", "d", 10, True, "ca c bb b"),
            ("ba", "cb", 10, False, "bb c ca"),
            ("a", "z", 2, False, "b bb"),
            ("a", "z", 2, True, "d ca"),
            ("b", "b", 10, False, ""),
            ("d", "b", 10, False, ""),
            ("d", "b", 10, True, ""),
            ("x", "y", 10, True, ""),
            ("a", "z", 0, False, ""),
        ],
    )
    def test_a_query_is_a_range_in_order_of_utf8(
        self, table: Table, start: str, end: str, limit: int, newest_first: bool, expected: str
    ) -> None:
        table.put([item("d", sort) for sort in ["~", "d", "b", "!", "c", "😀", "bb", "é", "ca", "漢"]])
        found = table.query("d", start, end, limit, newest_first)
        assert [one.sort for one in found] == expected.split()

    def test_partitions_do_not_mix(self, table: Table) -> None:
        partitions = ["a", "ab", "a\x00", "b", "aé", "é"]
        table.put([item(partition, sort) for partition in partitions for sort in ("a", "b", "\x00")])
        for partition in partitions:
            found = table.query(partition, "", "\U0010ffff", 100)
            assert found == [item(partition, sort) for sort in ("\x00", "a", "b")]
            assert table.query(partition, "", "\U0010ffff", 100, newest_first=True) == found[::-1]
        assert table.query("c", "", "\U0010ffff", 100) == []

    @pytest.mark.parametrize("newest_first", [False, True])
    def test_a_query_may_be_long_in_items_and_in_bytes(self, table: Table, newest_first: bool) -> None:
        many = [item("d", f"{n:05}") for n in range(5000 // self.part)]
        large = [item("e", f"{n:05}", filled(300_000)) for n in range(40 // self.part)]
        table.put([*many, *large])
        for partition, stored in (("d", many), ("e", large)):
            expected = stored[::-1] if newest_first else stored
            assert table.query(partition, "0", "9", 10_000, newest_first) == expected
            assert table.query(partition, "0", "9", 30 // self.part, newest_first) == expected[: 30 // self.part]

    def test_expired_items_are_never_returned(self, table: Table) -> None:
        stored = [
            item("d", f"{n:05}", "{}", PAST if n % 3 else (FUTURE if n % 2 else None)) for n in range(4000 // self.part)
        ]
        alive = [one for one in stored if one.expires_at != PAST]
        table.put(stored)
        assert table.get("d", "00001") is None
        assert table.get("d", "00003") == alive[1]
        assert table.query("d", "0", "9", 1000) == alive[:1000]
        assert table.query("d", "0", "9", 7, newest_first=True) == alive[:-8:-1]
        assert table.scan(None, 10_000) == alive

    def test_an_item_written_again_lives_again(self, table: Table) -> None:
        table.put([item("d", "s", "{}", PAST)])
        table.put([item("d", "s", '{"n":2}', FUTURE)])
        assert table.get("d", "s") == item("d", "s", '{"n":2}', FUTURE)

    def test_scan_pages_give_every_item_once(self, table: Table) -> None:
        stored = [item(f"d{n % 11}", f"{n:04}") for n in range(2500 // self.part)]
        table.put(stored)
        seen: list[Item] = []
        while page := table.scan((seen[-1].partition, seen[-1].sort) if seen else None, 700 // self.part):
            seen += page
        assert sorted(seen) == sorted(stored)
        partitions = list(dict.fromkeys(one.partition for one in seen))
        assert seen == sorted(seen, key=lambda one: (partitions.index(one.partition), one.sort.encode()))

    @pytest.mark.parametrize(
        ("stored", "expected", "written"),
        [
            (None, 0, True),
            (None, 1, False),
            ('{"version":1}', 1, True),
            ('{"version":1}', 0, False),
            ('{"version":1}', 2, False),
            ('{"a":{"version":1},"version":12}', 12, True),
            ("{}", 0, True),
            ("{}", 1, False),
        ],
    )
    def test_put_if_version(self, table: Table, stored: str | None, expected: int, written: bool) -> None:
        if stored:
            table.put([item("d", "config", stored)])
        new = item("d", "config", '{"version":99}')
        if written:
            table.put_if_version(new, expected)
            assert table.get("d", "config") == new
        else:
            with pytest.raises(Conflict):
                table.put_if_version(new, expected)
            assert table.get("d", "config") == (item("d", "config", stored) if stored else None)

    def test_an_expired_item_has_version_0(self, table: Table) -> None:
        table.put([item("d", "config", '{"version":7}', PAST)])
        table.put_if_version(item("d", "config", '{"version":1}'), 0)
        assert table.get("d", "config") == item("d", "config", '{"version":1}')

    def test_of_writers_with_one_version_exactly_one_wins(self, table: Table) -> None:
        won: list[int] = []

        def write(writer: int) -> None:
            for version in range(20):
                try:
                    table.put_if_version(item("d", "config", json({"version": version + 1, "by": writer})), version)
                    won.append(version)
                except Conflict:
                    pass

        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == len(set(won))


class TestLocalTable(TableContract):
    @pytest.fixture
    def table(self, tmp_path: Path) -> Iterator[Table]:
        socket = tmp_path / "t.sock"
        with in_thread(lambda: server.start(tmp_path / "table", socket, ["events"])):
            table = LocalTable.connect("events", socket)
            yield table
            table.close()


class TestDynamoTable(TableContract):
    """Against moto, or with REMOTE=1 against DynamoDB."""

    part = 10

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def account(cls) -> Iterator[None]:
        with moto.account():
            yield

    @pytest.fixture
    def table(self) -> Iterator[Table]:
        with moto.empty_table() as name:
            client = aws.client("dynamodb", retries={"total_max_attempts": 1}, parameter_validation=False)
            yield DynamoTable(name, client if moto.IS_REMOTE else moto.OneAtATime(client))

    @pytest.mark.parametrize(
        ("stored", "new", "written"),
        [
            (None, '{"version":1}', True),
            (None, "{}", True),
            ('{"version":1}', '{"version":2}', True),
            ('{"version":2}', '{"version":2,"a":1}', False),
            ('{"version":10}', '{"version":9}', False),
            ("{}", '{"version":9}', False),
            ('{"version":1}', "{}", False),
        ],
    )
    def test_put_if_newer(self, table: DynamoTable, stored: str | None, new: str, written: bool) -> None:
        if stored:
            table.put([item("d", "config", stored)])
        if written:
            table.put_if_newer(item("d", "config", new))
        else:
            with pytest.raises(Conflict):
                table.put_if_newer(item("d", "config", new))
        assert table.get("d", "config") == item("d", "config", new if written else stored or "")

    def test_get_many(self, table: DynamoTable) -> None:
        stored = [item("d", f"{n:04}", json({"n": n})) for n in range(230)]
        table.put([*stored, item("e", "s", "{}", PAST)])
        keys = [(one.partition, one.sort) for one in stored]
        assert sorted(table.get_many([*keys, ("d", "x"), ("e", "s"), *keys[:3]])) == stored
        assert table.get_many([]) == []
