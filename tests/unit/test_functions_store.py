import csv
import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import store
from headrace import connect, event
from headrace.errors import Conflict, HeadraceError, StorageError, Throttled, Unavailable
from headrace.registration import Erasure, add_erasure
from headrace.table.base import Item
from support.memory import ARRIVAL_MS, Context, MemoryBucket, MemoryTable, lambda_record, sequence

SENSORS = Path(__file__).resolve().parents[1] / "data" / "sensors.csv.gz"


class Store:
    """The handler with its storage at hand."""

    def __init__(self) -> None:
        self.table = MemoryTable()
        self.failures = MemoryBucket()
        connect.use(tables={"events": self.table}, buckets={"failures": self.failures})

    def __call__(self, *records: dict[str, Any]) -> None:
        assert store.handler({"Records": list(records)}, Context("store")) is None

    @property
    def events(self) -> list[Any]:
        return [json.loads(event.public(item)) for item in self.table.scan(None, 10**6)]


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("EVENTS_TABLE", "events")
    monkeypatch.setenv("FAILURES_BUCKET", "failures")
    monkeypatch.setenv("READINGS", "t, h")
    monkeypatch.setenv("EVENTS_TTL_DAYS", "2")
    yield Store()
    connect.reset()


def printed(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_events_become_items(stores: Store) -> None:
    stores(lambda_record('{"time":5,"t":1.0}', "a"), lambda_record('[{"time":6,"id":"i"},{"time":7}]', "b", number=1))
    assert [(one["device_id"], one["time"][18:], one["id"], one["readings"]) for one in stores.events] == [
        ("a", "5Z", f"{sequence(0)}.000000.000000", {"t": 1.0}),
        ("b", "6Z", "i", {}),
        ("b", "7Z", f"{sequence(1)}.000000.000001", {}),
    ]
    assert {item.expires_at for item in stores.table.items.values()} == {ARRIVAL_MS // 1000 + 2 * 86_400}
    assert stores.failures.objects == {}


def test_without_a_ttl_events_stay(stores: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVENTS_TTL_DAYS")
    stores(lambda_record("{}"))
    assert [item.expires_at for item in stores.table.items.values()] == [None]


def test_repeating_adds_nothing(stores: Store) -> None:
    record = lambda_record('[{"t":1},{"id":"i"},{"id":""}]')
    stores(record)
    before = dict(stores.table.items), set(stores.failures.objects)
    stores(record, record)
    stores(record)
    assert (stores.table.items, set(stores.failures.objects)) == before


def test_the_last_of_an_identity_is_kept(stores: Store) -> None:
    stores(
        lambda_record('{"time":5,"id":"i","x":1}'),
        lambda_record('{"time":5,"id":"i","x":2}', number=1),
        lambda_record('{"time":5,"id":"j","x":3}', number=2),
    )
    assert [one["readings"]["x"] for one in stores.events] == [2, 3]


def test_a_fault_has_a_document_and_holds_up_nothing(stores: Store) -> None:
    bad = lambda_record('[{"t":1},{"id":7},NaN]', "dév", number=5, shard=2)
    stores(lambda_record('{"t":1}'), bad, lambda_record(b"\xff", number=6), lambda_record('{"t":2}', number=7))
    assert len(stores.events) == 3
    folder = "rejected/store/events"
    assert sorted(stores.failures.objects) == [
        f"{folder}/shardId-000000000000/{sequence(6)}.000000.000000",
        f"{folder}/shardId-000000000002/{sequence(5, 2)}.000000.000001",
        f"{folder}/shardId-000000000002/{sequence(5, 2)}.000000.000002",
    ]
    document = json.loads(stores.failures.objects[f"{folder}/shardId-000000000002/{sequence(5, 2)}.000000.000001"])
    timestamp = document.pop("timestamp")
    assert timestamp.endswith("Z") and len(timestamp) == 24
    assert document == {
        "version": "1.0",
        "function": "store",
        "stream": "events",
        "shard": "shardId-000000000002",
        "sequence_number": sequence(5, 2),
        "subsequence": 0,
        "index": 1,
        "reason": "id",
        "message": "id is 7: send a string, or none",
        "partition_key": "dév",
        "arrived_at": "2026-07-25T17:20:00.123Z",
        "payload": {"Records": [bad]},
    }
    assert connect.written_rejections() == list(stores.failures.objects)
    assert connect.written_rejections() == []


def test_a_rejected_record_can_be_replayed(stores: Store) -> None:
    stores(lambda_record('[{"t":1},7]'))
    (key,) = stores.failures.objects
    payload = json.loads(stores.failures.objects[key])["payload"]
    before = dict(stores.table.items)
    stores(*payload["Records"])
    assert stores.table.items == before and list(stores.failures.objects) == [key]


def test_what_is_not_the_event_s_fault_raises(stores: Store) -> None:
    class Full(MemoryTable):
        def put(self, items: Any) -> None:
            raise StorageError("disk full")

    connect.use(tables={"events": Full()})
    with pytest.raises(StorageError):
        stores(lambda_record('{"t":1}'), lambda_record("bad", number=1))


def test_metrics_are_lines_of_emf(stores: Store, capsys: pytest.CaptureFixture[str]) -> None:
    sent = ("1.5", "7e-06", "true", "null", '"5"', "1e400", "-3")
    texts = ['{"t":' + value + ',"h":"7","other":3}' for value in sent]
    stores(*[lambda_record(text, "secret-device", number=n) for n, text in enumerate([*texts, '{"h":NaN,"t":4}', "x"])])
    (line,) = printed(capsys)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Headrace" and directive["Dimensions"] == [[]]
    names = [metric["Name"] for metric in directive["Metrics"]]
    assert names == ["t", "Events", "Rejected", "NonFiniteReadings"]
    assert {name: line[name] for name in names} == {
        "t": [1.5, 7e-06, -3, 4],
        "Events": [8],
        "Rejected": [1],
        "NonFiniteReadings": [1],
    }
    assert set(line) == {*names, "_aws"}
    assert line["_aws"]["Timestamp"] > 1_700_000_000_000
    assert "secret-device" not in json.dumps(line)


def test_a_line_holds_a_hundred_values_of_a_metric(stores: Store, capsys: pytest.CaptureFixture[str]) -> None:
    sent = [{"t": n, "h": 1} if n < 150 else {"t": n} for n in range(250)]
    stores(*[lambda_record(json.dumps(one), number=n) for n, one in enumerate(sent)])
    lines = printed(capsys)
    assert [(len(line["t"]), len(line.get("h", []))) for line in lines] == [(100, 100), (100, 50), (50, 0)]
    assert [value for line in lines for value in line["t"]] == list(range(250))
    assert [line.get("Events") for line in lines] == [[250], None, None]
    for line in lines:
        named = {metric["Name"] for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
        assert named == set(line) - {"_aws"}


class FullTable(MemoryTable):
    """Has room for `room` items of a call, and says so as tables do."""

    def __init__(self, room: int, error: type[HeadraceError] = Throttled) -> None:
        super().__init__()
        self.room = room
        self.error = error

    def put(self, items: Sequence[Item]) -> None:
        super().put(items[: self.room])
        if len(items) > self.room:
            error = self.error("full")
            error.unwritten = {item[:2] for item in items[self.room :]}
            raise error


@pytest.mark.parametrize("error", [Throttled, Unavailable])
def test_what_the_table_has_no_room_for_is_reported(
    stores: Store, error: type[HeadraceError], capsys: pytest.CaptureFixture[str]
) -> None:
    table = FullTable(3, error)
    connect.use(tables={"events": table})
    sent = ['{"t":1}', '[{"id":""},{"t":2}]', "{", '[{"t":3},{"t":4}]', "[", '{"t":5}']
    records = [lambda_record(data, number=n) for n, data in enumerate(sent)]
    answer = store.handler({"Records": records}, Context("store"))
    assert answer == {"batchItemFailures": [{"itemIdentifier": sequence(3)}]}
    assert len(stores.failures.objects) == 2  # of the records before; the others come again
    warning, line = capsys.readouterr().out.splitlines()
    assert warning.startswith("[WARNING] Stored 3 of 6 records. full")
    assert json.loads(line)["t"] == [1, 2] and json.loads(line)["Events"] == [2]
    table.room = 10
    assert store.handler({"Records": records[3:]}, Context("store")) is None
    assert len(table.items) == 5 and len(stores.failures.objects) == 3


def test_a_table_that_takes_nothing_fails_the_batch(stores: Store) -> None:
    connect.use(tables={"events": FullTable(0)})
    with pytest.raises(Throttled, match="full"):
        store.handler({"Records": [lambda_record("{}")]}, Context("store"))
    connect.use(tables={"events": FullTable(1, Conflict)})
    with pytest.raises(Conflict):
        store.handler({"Records": [lambda_record("{}"), lambda_record("{}", number=1)]}, Context("store"))


def test_no_readings_need_be_named(
    stores: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("READINGS")
    stores(lambda_record('{"t":1,"":2}'))
    (line,) = printed(capsys)
    assert set(line) == {"_aws", "Events", "Rejected", "NonFiniteReadings"}


def test_a_real_file_keeps_each_row_once(stores: Store, capsys: pytest.CaptureFixture[str]) -> None:
    digest = hashlib.sha256(SENSORS.read_bytes()).hexdigest()[:16]
    with gzip.open(SENSORS, "rt") as file:
        rows = [{**row, "id": f"{digest}-{place:012d}"} for place, row in enumerate(csv.DictReader(file))]
    records = [lambda_record(json.dumps(row), row["device_id"], number=place) for place, row in enumerate(rows)]
    for _ in range(2):
        for start in range(0, len(records), 1000):
            stores(*records[start : start + 1000])
        capsys.readouterr()
        assert len(stores.table.items) == len(rows) == 59_259
    assert stores.failures.objects == {}
    newest = {row["device_id"]: row for row in sorted(rows, key=lambda row: (row["time"], row["id"]))}
    for device, row in newest.items():
        (item,) = stores.table.query(device, event.SORT_START, event.SORT_END, 1, newest_first=True)
        shown = json.loads(event.public(item))
        assert (shown["time"], shown["id"]) == (row["time"], row["id"])
        assert shown["readings"] == {row["measure"]: row["value"]}  # the value of a CSV sent as text stays text
    assert isinstance(item, Item)


class CountingTable(MemoryTable):
    """A table that counts the items it was asked to put if they are absent."""

    def __init__(self) -> None:
        super().__init__()
        self.offered = 0
        self.broken = False

    def put_absent(self, items: Any) -> None:
        if self.broken:
            raise StorageError("disk full")
        self.offered += len(items)
        super().put_absent(items)


@pytest.fixture
def registry(stores: Store, monkeypatch: pytest.MonkeyPatch) -> CountingTable:
    monkeypatch.setenv("DEVICES_TABLE", "devices")
    table = CountingTable()
    connect.use(tables={"devices": table})
    return table


def infos(table: MemoryTable) -> dict[str, Any]:
    return {item.partition: json.loads(item.attributes) for item in table.scan(None, 10**6) if item.sort == "info"}


def test_a_device_is_registered_on_its_first_event_and_costs_nothing_then(
    stores: Store, registry: CountingTable
) -> None:
    many = [{"device_id": f"d\n'{n}", "t": n} for n in range(1000)]
    stores(lambda_record(json.dumps(many)), lambda_record(json.dumps(many[:3]), arrival_ms=ARRIVAL_MS + 5, number=1))
    assert registry.offered == 1000 and len(infos(registry)) == 1000
    assert infos(registry)["d\n'0"] == {
        "version": 1, "registered_at": "2026-07-25T17:20:00.123Z", "registered_by": "event"
    }  # fmt: skip
    stores(lambda_record(json.dumps(many), number=2))
    assert registry.offered == 1000


def test_what_a_device_was_registered_with_stays(stores: Store, registry: CountingTable) -> None:
    kept = Item("a", "info", b'{"version":4,"registered_at":"2020","registered_by":"command","labels":{"x":"y"}}')
    registry.put([kept])
    stores(lambda_record('{"t":1}', "a"))
    assert registry.get("a", "info") == kept


def test_the_template_may_say_that_devices_are_not_registered(
    stores: Store, registry: CountingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTER_DEVICES", "false")
    stores(lambda_record('{"t":1}', "a"))
    assert infos(registry) == {} and len(stores.events) == 1


def test_a_registration_that_fails_is_tried_again_with_its_batch(stores: Store, registry: CountingTable) -> None:
    registry.broken = True
    with pytest.raises(StorageError):
        stores(lambda_record('{"t":1}', "a"))
    registry.broken = False
    stores(lambda_record('{"t":1}', "a"))
    assert list(infos(registry)) == ["a"] and len(stores.events) == 1


def test_what_arrived_before_its_device_was_erased_is_left_out(stores: Store, registry: CountingTable) -> None:
    old = [lambda_record('[{"time":1},{"time":2,"device_id":"b"}]', "a"), lambda_record("no event", "a", number=1)]
    new = lambda_record('{"time":3}', "a", number=2, arrival_ms=ARRIVAL_MS + 10)
    stores(*old[:1])
    add_erasure(registry, Erasure("a", ARRIVAL_MS + 10))
    stores.table.delete([("a", item.sort) for item in stores.table.scan(None, 100) if item.partition == "a"])
    registry.delete([("a", "info")])
    for _ in range(2):  # redelivered to a process that did not know of it, then to one that does
        stores(*old)
        assert [one["device_id"] for one in stores.events] == ["b"] and list(infos(registry)) == ["b"]
    stores(*old, new)
    assert [(one["device_id"], one["time"][18:]) for one in stores.events] == [("a", "3Z"), ("b", "2Z")]
    assert infos(registry)["a"]["registered_at"] == "2026-07-25T17:20:00.133Z", "a device of the same name, but new"


def test_an_erasure_in_the_middle_of_a_batch_is_obeyed(stores: Store, registry: CountingTable) -> None:
    stores(lambda_record('{"time":1}', "a"))

    class ErasedMeanwhile(MemoryTable):
        def put(self, items: Any) -> None:
            super().put(items)
            if not registry.query("headrace", "erasure#", "erasure$", 1):
                add_erasure(registry, Erasure("a", ARRIVAL_MS + 10))

    stores.table = ErasedMeanwhile()
    connect.use(tables={"events": stores.table})
    new = lambda_record('{"time":3}', "a", number=2, arrival_ms=ARRIVAL_MS + 10)
    stores(lambda_record('{"time":2}', "a", number=1), new)
    assert [one["time"][18:] for one in stores.events] == ["3Z"]
    assert infos(registry)["a"]["registered_at"] == "2026-07-25T17:20:00.133Z"


def test_rejected_documents_of_an_erased_device_are_not_written_again(stores: Store, registry: CountingTable) -> None:
    add_erasure(registry, Erasure("a", ARRIVAL_MS + 10))
    stores(lambda_record('{"time":2}', "b"))
    stores(lambda_record("no event", "a", number=1), lambda_record("no event", "b", number=2))
    assert [json.loads(body)["partition_key"] for body in stores.failures.objects.values()] == ["b"]
