"""Erasing a device on a running backend, while it sends: nothing of it is left or comes back."""

import json
import shutil
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest
import zstandard

from support import templates
from support.backend import ROOT, Backend, backend, wait_until

GONE = "pümp/1'"
SECRET = "whereabouts-of-pump-1"


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return templates.archiving_at_once(tmp_path / "project")


def events(device: str, numbers: range, day: int = 1) -> list[dict[str, Any]]:
    return [
        {
            "device_id": device,
            "time": f"2026-07-{day:02d}T{number // 60 % 24:02d}:{number % 60:02d}:00Z",
            "id": f"e-{number}",
            "temperature_f": number,
            "where": SECRET if device == GONE else "known",
        }
        for number in numbers
    ]


class Site:
    """A backend, and what was sent to it of other devices."""

    def __init__(self, running: Backend) -> None:
        self.running = running
        self.client = running.client("kinesis")
        self.others: list[dict[str, Any]] = []

    def put(self, *records: Any, key: str = "k") -> None:
        """Put records: an event, an array of them, or text."""
        for record in records:
            for event in record if isinstance(record, list) else [record]:
                if isinstance(event, dict) and event["device_id"] != GONE:
                    self.others.append(event)
        bodies = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
        for start in range(0, len(bodies), 500):
            some = [{"Data": body, "PartitionKey": key} for body in bodies[start : start + 500]]
            assert self.client.put_records(StreamName="events", Records=some)["FailedRecordCount"] == 0

    def settled(self) -> None:
        self.running.settled(self.running.status()["accepted"])

    def job(self, name: str) -> None:
        self.running.cli("jobs", "run", name, "--wait")

    def exported(self, path: Path) -> list[dict[str, Any]]:
        self.running.cli("export", "--output", str(path))
        return [json.loads(line) for line in path.read_text().splitlines()]

    def loaded(self) -> int:
        """Return how many events of the device the warehouse has."""
        client = self.running.client("redshift-data")
        sql = "SELECT count(*) FROM events WHERE device_id = :device"
        parameters = [{"name": "device", "value": GONE}]
        asked = client.execute_statement(WorkgroupName="headrace", Database="headrace", Sql=sql, Parameters=parameters)

        def ended() -> bool:
            status: str = client.describe_statement(Id=asked["Id"])["Status"]
            return status in ("FINISHED", "FAILED", "ABORTED")

        wait_until(ended)
        answer = client.get_statement_result(Id=asked["Id"])
        return int(answer["Records"][0][0]["longValue"])

    def check_others(self, folder: Path) -> list[dict[str, Any]]:
        """Check that every other device's event is in archive and table, once; return the archive's of the one."""
        found = self.exported(folder / "all.ndjson")
        mine = [each for each in found if each["device_id"] == GONE]
        expected = Counter((each["device_id"], each["time"], each["id"]) for each in self.others)
        assert Counter((e["device_id"], e["time"], e["id"]) for e in found if e["device_id"] != GONE) == expected
        answer = json.loads(self.running.cli("history", "pump-2", "--limit", "1000", "--json").stdout)
        assert len(answer["events"]) == sum(each["device_id"] == "pump-2" for each in self.others)
        verified = self.running.status(verify=True)
        assert verified["verified"], verified["differences"][:5]
        return mine


@pytest.mark.timeout(300)
def test_a_device_is_erased_while_it_sends(tmp_path: Path, template: Path) -> None:
    with backend(tmp_path, template) as running:
        site = Site(running)
        site.put(*events(GONE, range(50)), *events("pump-2", range(50)), *events("pump-3", range(9), day=2))
        site.put([*events(GONE, range(50, 53)), *events("pump-2", range(60, 63)), *events(GONE, range(53, 55))])
        site.put(json.dumps({"device_id": GONE, "time": "noon", "where": SECRET}).encode(), b"{", key=GONE)
        site.put(*events(GONE, range(100, 110), day=3))
        site.settled()
        running.cli("config", GONE, "set", '{"interval_s": 5}')
        for job in ("compact", "aggregate_hourly", "device_daily", "load"):
            site.job(job)
        assert site.loaded() == 65
        site.put([*events("pump-2", range(70, 73)), *events(GONE, range(60, 64))], *events(GONE, range(70, 75), day=2))
        site.settled()
        assert len(site.check_others(tmp_path)) == 50 + 5 + 10 + 4 + 5

        ended = threading.Event()

        def send() -> None:
            number = 1000
            client = running.client("kinesis")
            while not ended.wait(0.01):
                some = events(GONE, range(number, number + 20), day=4)
                records = [{"Data": json.dumps(one).encode(), "PartitionKey": GONE} for one in some]
                client.put_records(StreamName="events", Records=records)
                number += 20

        said: list[str] = []

        def erase_another() -> None:
            said.append(running.cli("devices", "erase", "pump-3", "--yes", "--json").stdout)

        sending, other = threading.Thread(target=send), threading.Thread(target=erase_another)
        sending.start()
        other.start()
        running.cli("jobs", "run", "compact")
        try:
            done = json.loads(running.cli("devices", "erase", GONE, "--yes", "--json").stdout)
        finally:
            ended.set()
            sending.join()
            other.join()
        assert '"table_events": 9,' in said[0]
        site.others = [each for each in site.others if each["device_id"] != "pump-3"]
        assert done["left"] == done["cold"] == []
        assert done["table_events"] >= 74 and done["table_aggregates"] > 0 and done["registry_items"] >= 1
        assert done["file_events"] >= 65 and done["files"] >= 2 and done["raw_records"] >= 20
        assert done["report_rows"] >= 2 and done["failures"] == 2 and done["warehouse_rows"] >= 65
        assert site.loaded() == 0
        site.settled()
        for again in (False, True):
            mine = site.check_others(tmp_path)
            assert mine and all(each["arrived_at"] >= done["before"] for each in mine)
            history = running.cli("history", GONE, "--limit", "1000", "--json").stdout
            assert all(each["arrived_at"] >= done["before"] for each in json.loads(history)["events"])
            if not again:
                site.job("compact")
                site.job("device_daily")
                site.job("load")
                assert site.loaded() == len(mine)
        shown = json.loads(running.cli("devices", "show", GONE, "--json").stdout)
        assert shown["registered_at"] >= done["before"] and shown["config_version"] == 0
        days = tmp_path / "data" / "s3" / "archive" / "reports" / "device_daily" / "*" / "*.parquet"
        rows = duckdb.execute("SELECT count(*) FROM read_parquet(?) WHERE device_id = ?", [str(days), GONE]).fetchall()
        assert rows == [(1,)], "the day on which it has sent since, and no other"

        done = json.loads(running.cli("devices", "erase", GONE, "--yes", "--json").stdout)
        assert done["left"] == [] and done["table_events"] > 0
        assert site.check_others(tmp_path) == []
        assert "There is no device" in running.cli("devices", "show", GONE, check=False).stderr
        assert nowhere(tmp_path / "data" / "s3")
        text = running.cli("devices", "erase", GONE, "--yes").stdout
        assert "nothing of it was found" in text and "bills that are closed" in text
        refused = running.cli("devices", "erase", GONE, check=False)
        assert refused.returncode == 2 and "--yes" in refused.stderr


@pytest.mark.timeout(180)
def test_what_arrives_until_a_device_is_erased_is_billed(tmp_path: Path, template: Path) -> None:
    reports = template.parent / "reports"
    reports.unlink()
    shutil.copytree(ROOT / "reports", reports)
    with (reports / "tariffs.csv").open("a") as file:
        file.write("basic,2026-01-01,EUR,events,0,0.10,,\n")
    with (reports / "tenants.csv").open("a") as file:
        file.write(f"{GONE},acme,basic,2026-01-01\n")

    def used() -> int:
        (one,) = json.loads(running.cli("bills", "usage", "--month", "2026-07", "--json").stdout)["devices"]
        return int(one["events"])

    with backend(tmp_path, template) as running:
        site = Site(running)
        site.put(*events(GONE, range(10)))
        site.settled()
        site.job("bill_usage")
        site.put(*events(GONE, range(10, 15)), *events(GONE, range(15, 18), day=2))  # not yet in the archive
        running.cli("devices", "erase", GONE, "--yes")
        assert used() == 18
        site.put(*events(GONE, range(50, 54), day=2), *events(GONE, range(2)))
        running.cli("devices", "erase", GONE, "--yes")
        assert used() == 24
        site.put(*events(GONE, range(60, 61)))
        site.settled()
        assert used() == 25


def nowhere(buckets: Path) -> bool:
    """Return whether no object that counts says anything of the device."""
    for path in buckets.rglob("*"):
        if path.suffix == ".zst":
            text = zstandard.ZstdDecompressor().decompress(path.read_bytes()).decode()
            assert SECRET not in text and GONE not in text and json.dumps(GONE)[1:-1] not in text, path
        elif path.is_file() and path.suffix not in (".parquet",) and "erased.json" not in path.name:
            assert SECRET.encode() not in path.read_bytes(), path
    for path in (buckets / "archive" / "catalogue").glob("dt=*.json"):
        for file in json.loads(path.read_bytes())["files"]:
            path = buckets / "archive" / file["key"]
            rows = duckdb.execute(
                "SELECT count(*) FROM read_parquet(?) WHERE device_id = ?", [str(path), GONE]
            ).fetchall()
            assert rows == [(0,)]
    return True
