"""The registry of devices and their erasure, by the command line, on a running backend."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.settings import Layout
from headrace.table.base import Item
from headrace.table.local import LocalTable
from support.backend import ROOT, Backend, backend

ODD = "a/../b'; DROP TABLE events; --\n\"é☃"
LONG = "d" * 2048


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with backend(tmp_path_factory.mktemp("devices")) as running:
        yield running


def put(running: Backend, *events: dict[str, Any], key: str = "k") -> None:
    """Put a record an event, and wait until all that was put is done with."""
    records = [{"Data": json.dumps(event).encode(), "PartitionKey": key} for event in events]
    for start in range(0, len(records), 500):
        answer = running.client("kinesis").put_records(StreamName="events", Records=records[start : start + 500])
        assert answer["FailedRecordCount"] == 0
    running.settled(running.status()["accepted"])


def devices(running: Backend, *arguments: str) -> Any:
    return json.loads(running.cli("devices", *arguments, "--json").stdout)


def refused(running: Backend, *arguments: str) -> str:
    result = running.cli("devices", *arguments, check=False)
    assert result.returncode in (1, 2) and "Traceback" not in result.stderr
    return result.stderr


def test_a_device_is_registered_by_its_first_event_or_by_hand(running: Backend) -> None:
    put(running, {"device_id": "pump-1", "t": 1}, {"device_id": ODD, "t": 2}, {"device_id": LONG, "t": 3})
    assert [each["device_id"] for each in devices(running, "list")] == ["pump-1", ODD, LONG]
    shown = devices(running, "show", ODD)
    assert shown["registered_by"] == "event" and shown["events"] == 1 and shown["last_event"]["readings"] == {"t": 2}
    assert devices(running, "show", LONG)["last_event"]["readings"] == {"t": 3}
    added = devices(running, "add", "pump-2", "--label", "site=north", "--label", "line==2")
    assert added["labels"] == {"site": "north", "line": "=2"} and added["registered_by"] == "command"
    assert devices(running, "add", ODD, "--label", "site=north", "--label", "x=")["labels"] == {"site": "north"}
    assert [each["device_id"] for each in devices(running, "list", "--label", "site=north")] == ["pump-2", ODD]
    text = running.cli("devices", "list").stdout
    assert "pump-2" in text and "\\n" in text and "4 devices" in text


def test_a_retired_device_is_kept_and_its_events_as_well(running: Backend) -> None:
    put(running, {"device_id": "old-1", "t": 1})
    assert devices(running, "retire", "old-1")["retired_at"] is not None
    assert "old-1" not in running.cli("devices", "list").stdout
    assert [each["device_id"] for each in devices(running, "list", "--retired")] == ["old-1"]
    put(running, {"device_id": "old-1", "t": 2})
    assert devices(running, "show", "old-1")["events"] == 2
    assert "it sends although it is retired" in running.cli("devices", "show", "old-1").stdout
    assert devices(running, "add", "old-1")["retired_at"] is None


def test_a_file_is_imported_whole_or_not_at_all(running: Backend, tmp_path: Path) -> None:
    path = tmp_path / "fleet.csv"
    rows = [f"imp-{number},{'north' if number % 2 else ''}" for number in range(5000)]
    path.write_text("\n".join(["device_id,site", *rows, "imp-7,south", ""]))
    assert "fleet.csv:5002: 'imp-7' is in line 9 already" in refused(running, "import", str(path))
    assert not any(each["device_id"].startswith("imp-") for each in devices(running, "list"))
    path.write_text("\n".join(["device_id,site", *rows, ""]))
    assert devices(running, "import", str(path)) == {"added": 5000, "changed": 0, "unchanged": 0}
    assert devices(running, "import", str(path)) == {"added": 0, "changed": 0, "unchanged": 5000}
    listed = [each["device_id"] for each in devices(running, "list") if each["device_id"].startswith("imp-")]
    assert sorted(listed) == sorted(f"imp-{number}" for number in range(5000)) and len(listed) == 5000
    assert len(devices(running, "list", "--limit", "1500")) == 1500
    path.write_text("device_id,site\nimp-7,\nimp-8,south\n")
    assert devices(running, "import", str(path)) == {"added": 0, "changed": 2, "unchanged": 0}
    assert devices(running, "show", "imp-7")["labels"] == {}


def test_what_is_wrong_is_said_and_what_to_do(running: Backend, tmp_path: Path) -> None:
    for arguments, says in (
        (("show", "nobody"), "devices add DEVICE"),
        (("retire", "nobody"), "There is no device 'nobody'"),
        (("show", ""), "1 to 2,048 bytes"),
        (("add", LONG + "x"), "1 to 2,048 bytes"),
        (("add", "a", "--label", "nothing"), "NAME=VALUE"),
        (("add", "a", "--label", "k" * 129 + "=1"), "129 characters"),
        (("import", str(tmp_path / "missing.csv")), "No such file"),
        (("list", "--unregistered", "--retired"), "--unregistered alone"),
        (("show", "'; DROP TABLE devices; --"), "There is no device"),
    ):
        assert says in refused(running, *arguments), arguments
    (tmp_path / "latin.csv").write_bytes(b"device_id\nB\xfchne\n")
    assert "latin.csv:2: not UTF-8" in refused(running, "import", str(tmp_path / "latin.csv"))
    assert running.cli("devices", "list", "--unregistered").stdout == "no devices that are not registered\n"


def test_a_device_s_tenant_is_the_one_of_now(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in ("functions", "reports"):
        shutil.copytree(ROOT / name, project / name)
    (project / "template.yaml").write_text((ROOT / "template.yaml").read_text())
    tariffs, tenants = project / "reports" / "tariffs.csv", project / "reports" / "tenants.csv"
    tariffs.write_text(
        "tariff,valid_from,currency,meter,above,unit_price,free,minimum\nbasic,2020-01-01,EUR,events,0,0.01,0,0\n"
    )
    tenants.write_text(
        "device_id,tenant,tariff,valid_from\na,old,basic,2020-01-01\na,acme,basic,2021-01-01\na,next,basic,2999-01-01\n"
    )
    with backend(tmp_path, project / "template.yaml", "--parameters", "RegisterDevices=false") as running:
        assert running.cli("devices", "import", "-", check=False).returncode == 2
        put(running, {"device_id": "a", "t": 1}, {"device_id": "b", "t": 1}, {"device_id": "c", "t": 1})
        assert devices(running, "list") == []
        assert [each["device_id"] for each in devices(running, "list", "--unregistered")] == ["a", "b", "c"]
        devices(running, "add", "a")
        devices(running, "add", "b")
        with contextlib.closing(LocalTable.connect("events", Layout(running.data).table_socket)) as table:
            table.put([Item("tenant#acme", "bill#2026-10", b"{}")])  # no device
        assert [each["device_id"] for each in devices(running, "list", "--unregistered")] == ["c"]
        shown = devices(running, "show", "a")
        assert (shown["tenant"], shown["tariff"]) == ("acme", "basic")
        assert [each["tenant"] for each in devices(running, "list")] == ["acme", None]
        assert [each["device_id"] for each in devices(running, "list", "--tenant", "acme")] == ["a"]
        assert devices(running, "list", "--tenant", "x' OR 1=1 --") == []
        tenants.write_text("device_id,tenant,tariff,valid_from\nb,b's,none,2020-01-01\n")
        assert "tenants.csv:2" in refused(running, "list", "--tenant", "acme")
        assert [each["tenant"] for each in devices(running, "list")] == [None, None]
