"""An erase, killed before each of its changes: others' events are there once throughout, and the next erase ends it."""

import contextlib
import json
import random
from pathlib import Path

import duckdb

from headrace import event as events_of
from headrace.archive import erasures
from headrace.device_registry import Info, item
from headrace.event.rejection import document_of, key_of
from headrace.table.base import Item
from support import death
from support.archive import Archive, event, events, expected
from support.memory import ARRIVAL_MS, lambda_record, sequence
from support.table import TableProcess, table_process

GONE = "pump-1"


class Site:
    """An archive, failures, reports and tables that hold two devices' data, and one's that is to be erased."""

    def __init__(self, folder: Path, tables: TableProcess) -> None:
        self.folder = folder
        self.archive = Archive(folder)
        self.events, self.devices = tables.table("events"), tables.table("devices")
        self.socket = tables.socket
        self.sent = [*events(range(9)), *events(range(6), day=2)]

    def fill(self) -> None:
        archive = self.archive
        archive.put(*self.sent[:9])
        archive.compact()
        archive.put(*self.sent[9:])
        archive.put(json.dumps([event(1), event(2)]).encode())
        self.events.put(
            [*map(item_of, self.sent), Item(GONE, "aggregate#hour#x#t", b"{}"), Item(GONE, "bill#2026-07", b"{}")]
        )
        for device in (GONE, "pump-2"):
            info = Info(1, "2026-07-25T17:20:00.123Z", "event", {"a": "b"})
            self.devices.put([item(device, info), Item(device, "config", b'{"version":1,"config":{}}')])
        failures = archive.bucket.path("x").parent.parent / "failures"
        for number, device in enumerate((GONE, "pump-2")):
            record = lambda_record('{"time":"noon"}', device, number=number)
            (fault,) = events_of.decode(record)
            assert isinstance(fault, events_of.Fault)
            path = failures / key_of("store", record, fault)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(document_of("store", record, fault)))
        duckdb.sql(f"COPY (SELECT unnest(['{GONE}', 'pump-2']) AS device_id) TO '{self.folder}/r' (FORMAT parquet)")
        archive.bucket.put_file("reports/device_daily/dt=2026-07-01/device_daily.parquet", self.folder / "r")

    def erase(self, step: int) -> tuple[int, str]:
        ended = death.run("erase_process", self.folder, self.socket, GONE, step)
        return ended.returncode, ended.stdout

    def close(self) -> None:
        self.events.close()
        self.devices.close()

    def check_others(self) -> None:
        others = expected(*[each for each in self.sent if each["device_id"] != GONE])
        assert [found for found in self.archive.identities() if found[0] != GONE] == others
        stored = {(each.partition, each.sort) for each in self.events.scan(None, 1000) if each.partition != GONE}
        assert stored == {(each.partition, each.sort) for each in map(item_of, self.sent) if each.partition != GONE}
        assert self.devices.get("pump-2", "info") and self.devices.get("pump-2", "config")

    def check_gone(self) -> None:
        assert all(found[0] != GONE for found in self.archive.identities())
        found = [each for table in (self.events, self.devices) for each in table.scan(None, 1000)]
        assert [each.sort for each in found if each.partition == GONE] == ["bill#2026-07"], "no device's"
        rows = duckdb.sql(f"SELECT device_id FROM '{self.folder}/s3/archive/reports/*/*/*.parquet'").fetchall()
        assert rows == [("pump-2",)]
        documents = [json.loads(path.read_text()) for path in (self.folder / "s3" / "failures").rglob("*.000000")]
        assert sorted(each["partition_key"] for each in documents) == ["-", "pump-2"]
        assert all(GONE not in json.dumps(each["payload"]) for each in documents)
        assert [each.finished for each in erasures.read(self.archive.bucket)] == [True]


def item_of(sent: dict[str, str]) -> Item:
    (found,) = events_of.decode_data(json.dumps(sent).encode(), "k", sequence(1), ARRIVAL_MS)
    assert isinstance(found, events_of.Event)
    return events_of.item(found)


def test_killed_before_every_change(tmp_path: Path) -> None:
    with (
        table_process(tmp_path / "table", tmp_path / "table.sock") as tables,
        contextlib.closing(Site(tmp_path, tables)) as site,
    ):
        site.fill()
        site.check_others()
        seed = random.randrange(2**32)
        print(f"seed {seed}")
        chance = random.Random(seed)
        killed = 0
        for run in range(1, 25):  # each goes on where the one before has been
            code, _ = site.erase(run if run < 7 else chance.randrange(6, 14))
            site.check_others()
            if code == 0:
                break
            killed += 1
        assert killed > 8
        code, said = site.erase(0)
        assert code == 0 and json.loads(said)["left"] == []
        site.check_gone()
        site.archive.compact(grace_ms=0)
        site.check_others()
        site.check_gone()
        known = {
            file.key for day in site.archive.catalogue.days() for file in site.archive.catalogue.manifest(day).files
        }
        assert set(site.archive.files()) == known, "nothing was left behind"
        assert not list(site.archive.folder.glob("erase-*")) and not list(site.archive.folder.glob("run-*"))
