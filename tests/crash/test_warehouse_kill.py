"""SIGKILL of the warehouse and of a load at any point: nothing is doubled, nothing lost, whatever is merged."""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace import rpc
from headrace.settings import Layout
from headrace.supervisor import listener
from headrace.system import Bucket, System
from headrace.warehouse.api import Answered, Asked
from support import load_child
from support.archive import Archive, event

DAYS, EVENTS = 12, 150  # a day, each time something is added
PLACE = {"Database": "headrace", "WorkgroupName": "headrace", "WaitTimeSeconds": 20}


class Site:
    """A data directory with an archive, and the real processes over it."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder)
        self.layout.sockets.mkdir(parents=True)
        names = ("archive", "failures")
        buckets = tuple(Bucket(logical_id=name.title(), name=name) for name in names)
        system = System(template="template.yaml", parameters={"Readings": "temperature,humidity"}, buckets=buckets)
        self.layout.system.write_bytes(msgspec.json.encode(system))
        self.archive = Archive(folder)
        self.sent: set[tuple[str, str, str]] = set()
        self._listening = listener.listen_unix(self.layout.warehouse_socket)
        self._lifeline = os.pipe()
        self._rpc = rpc.Client(self.layout.warehouse_socket, 30)
        self.warehouse: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        ready, ready_end = os.pipe()
        fds = (self._listening.fileno(), self._lifeline[0], ready_end)
        names = ("HEADRACE_LISTEN_FD", "HEADRACE_LIFELINE_FD", "HEADRACE_READY_FD")
        environment = {
            **os.environ,
            "HEADRACE_DATA": str(self.layout.data),
            **dict(zip(names, map(str, fds), strict=True)),
        }
        command = [sys.executable, "-m", "headrace.app", "warehouse"]
        with (self.layout.data / "warehouse.log").open("ab") as log:
            self.warehouse = subprocess.Popen(command, stdout=log, stderr=log, env=environment, pass_fds=fds)
        os.close(ready_end)
        with os.fdopen(ready, "rb") as told:
            assert told.readline() == b"ready\n", (self.layout.data / "warehouse.log").read_text()

    def kill(self, process: "subprocess.Popen[bytes]") -> None:
        process.kill()
        process.wait()

    def load(self) -> "subprocess.Popen[bytes]":
        with (self.layout.data / "load.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, load_child.__file__, str(self.layout.data)], stdout=log, stderr=log
            )

    def finish(self) -> None:
        assert self.load().wait(60) == 0, (self.layout.data / "load.log").read_text()[-3000:]

    def add(self, first: int) -> None:
        """Add events to every day, some of them twice, and compact: the days' files are merged with the new ones."""
        for day in range(1, DAYS + 1):
            events = [event(number, day, extra=number) for number in range(first, first + EVENTS)]
            self.archive.put(*events, *events[:20])
            self.sent |= {(each["device_id"], each["time"], each["id"]) for each in events}
        self.archive.compact()

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        asked = self._data("ExecuteStatement", Sql=sql, **PLACE)
        assert asked["Status"] == "FINISHED", self._data("DescribeStatement", Id=asked["Id"])
        records = self._data("GetStatementResult", Id=asked["Id"])["Records"]
        return [tuple(next(iter(field.values())) for field in row) for row in records]

    def stop(self) -> None:
        self._rpc.close()
        self.warehouse.terminate()
        assert self.warehouse.wait(20) == 0
        self._listening.close()

    def _data(self, operation: str, **asked: Any) -> Any:
        raw = self._rpc.call("data", Asked(operation, msgspec.json.encode(asked), False))
        answered = rpc.decode(raw, type=Answered)
        assert answered.status == 200, answered.body
        return msgspec.json.decode(answered.body)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.stop()


def test_a_load_that_is_killed_anywhere_is_finished_by_the_next(site: Site) -> None:
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    site.add(0)
    began = time.monotonic()
    site.finish()
    took_s = time.monotonic() - began
    for round_ in range(1, 5):
        site.add(round_ * EVENTS)
        loading = site.load()
        time.sleep(chance.uniform(0.3, 1.1) * took_s)
        if round_ % 3:
            site.kill(site.warehouse)
            site.start()
        if round_ % 2:
            site.kill(loading)
        else:
            loading.wait(60)
    site.finish()
    per_day = Counter(time_[:10] for _, time_, _ in site.sent)
    assert dict(site.ask("SELECT TO_CHAR(time, 'YYYY-MM-DD'), COUNT(*) FROM events GROUP BY 1")) == per_day
    distinct = "SELECT COUNT(*) FROM (SELECT DISTINCT device_id, time, id FROM events) AS identities"
    assert site.ask(distinct) == site.ask("SELECT COUNT(*) FROM events") == [(len(site.sent),)]
    (site.layout.data / "load.log").unlink()
    site.finish()
    assert "nothing new" in (site.layout.data / "load.log").read_text()
    readings = dict(site.ask("SELECT reading, COUNT(*) FROM readings GROUP BY 1"))
    assert readings == {"temperature": len(site.sent), "extra": len(site.sent)}


def test_a_warehouse_that_was_removed_is_loaded_anew(site: Site) -> None:
    site.add(0)
    site.finish()
    site.kill(site.warehouse)
    for path in site.layout.warehouse.glob("warehouse.duckdb*"):
        path.unlink()
    site.start()
    assert site.ask("SELECT COUNT(*) FROM events") == [(0,)]
    site.finish()
    assert site.ask("SELECT COUNT(*) FROM events") == [(len(site.sent),)]


def test_a_write_that_was_committed_is_finished_and_one_that_was_not_has_failed(site: Site) -> None:
    assert site.ask("SELECT 1") == [(1,)]
    site._data("ExecuteStatement", Sql="CREATE TABLE mine (n BIGINT)", **PLACE)
    for number in range(4):
        asked = site._data(
            "ExecuteStatement", Sql=f"INSERT INTO mine VALUES ({number})", **{**PLACE, "WaitTimeSeconds": 1}
        )
        late = site._data(
            "ExecuteStatement",
            Sql=f"INSERT INTO mine VALUES ({number + 100})",
            Database="headrace",
            WorkgroupName="headrace",
        )
        time.sleep(0.002 * number)
        site.kill(site.warehouse)
        site.start()
        assert site._data("DescribeStatement", Id=asked["Id"])["Status"] == "FINISHED"
        told = site._data("DescribeStatement", Id=late["Id"], WaitTimeSeconds=20)
        there = site.ask(f"SELECT COUNT(*) FROM mine WHERE n = {number + 100}")
        assert (told["Status"], there) in (("FINISHED", [(1,)]), ("FAILED", [(0,)])), told
    assert site.ask("SELECT COUNT(*) FROM mine WHERE n < 100") == [(4,)]
