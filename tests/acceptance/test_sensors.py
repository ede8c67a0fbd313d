"""Real sensor series through the whole path: sent with the command line, stored, archived, read back by devices."""

import csv
import gzip
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support.backend import ROOT, Backend, backend

SENSORS = ROOT / "tests" / "data" / "sensors.csv.gz"
ROWS = 59_259


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with backend(tmp_path_factory.mktemp("sensors")) as running:
        running.cli("send", str(SENSORS))
        running.settled(ROWS)
        yield running


@pytest.fixture(scope="module")
def expected() -> dict[str, list[dict[str, Any]]]:
    """The events of each device, computed from the file alone, in the order of (time, id)."""
    digest = hashlib.sha256(SENSORS.read_bytes()).hexdigest()[:16]
    events: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with gzip.open(SENSORS, "rt") as file:
        for row, line in enumerate(csv.DictReader(file)):
            time = datetime.fromisoformat(line["time"]).astimezone(UTC)
            event = {"time": time, "id": f"{digest}-{row:012d}", "readings": {line["measure"]: float(line["value"])}}
            events[line["device_id"]].append(event)
    for series in events.values():
        series.sort(key=lambda event: (event["time"], event["id"]))
    return events


def comparable(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "time": datetime.fromisoformat(event["time"]),
        "id": event["id"],
        "readings": {name: float(value) for name, value in event["readings"].items()},
    }


def test_the_ledger_agrees(sent: Backend, expected: dict[str, list[dict[str, Any]]]) -> None:
    result = sent.cli("status", "--verify", "--json")
    status = json.loads(result.stdout)
    assert status["verified"], status["differences"]
    assert status["balanced"] and status["accepted"] % ROWS == 0
    for name in ("store", "archive"):
        account = status["functions"][name]
        assert account["processed"] == status["accepted"] and account["failed"] == 0
    assert status["table"]["items"] == sum(len(series) for series in expected.values()) == ROWS
    assert status["archive"]["records"] == status["accepted"]


def test_latest_and_history_equal_the_file(sent: Backend, expected: dict[str, list[dict[str, Any]]]) -> None:
    client = sent.client("lambda")

    def ask(**payload: Any) -> Any:
        return json.load(client.invoke(FunctionName="device_api", Payload=json.dumps(payload))["Payload"])

    for device, series in expected.items():
        assert comparable(ask(operation="latest", device_id=device)) == series[-1]
        got: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = ask(operation="history", device_id=device, limit=1000, cursor=cursor)
            got += map(comparable, page["events"])
            cursor = page["cursor"]
            if cursor is None:
                break
        assert got == series


def test_a_second_sending_adds_records_but_no_item(sent: Backend) -> None:
    before = sent.status(verify=True)
    sent.cli("send", str(SENSORS))
    sent.settled(before["accepted"] + ROWS)
    after = sent.status(verify=True)
    assert after["accepted"] == before["accepted"] + ROWS
    assert after["table"]["items"] == before["table"]["items"] == ROWS
    assert after["verified"], after["differences"]


def test_devices_ask_by_http_and_command_line(sent: Backend, expected: dict[str, list[dict[str, Any]]]) -> None:
    device, series = next(iter(expected.items()))
    by_http = sent.get(f"/_headrace/url/device_api/devices/{device}/latest")
    by_command = json.loads(sent.cli("latest", device, "--json").stdout)
    assert by_http == by_command and comparable(by_http) == series[-1]
    newest = json.loads(sent.cli("history", device, "--newest", "--limit", "3", "--json").stdout)
    assert [comparable(event) for event in newest["events"]] == series[:-4:-1]
    assert newest["cursor"]


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    few = tmp_path / "few.csv"
    with gzip.open(SENSORS, "rt") as file:
        few.write_text("".join(next(file) for _ in range(2001)))
    with backend(tmp_path) as running:
        running.cli("send", str(few))
        running.settled(2000)
        assert running.stop() == 0
    with backend(tmp_path) as running:
        status = running.status(verify=True)
        assert status["verified"] and status["accepted"] == 2000 == status["table"]["items"], status
