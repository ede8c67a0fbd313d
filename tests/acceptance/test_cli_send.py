"""`headrace send` against a fake stream."""

import gzip
import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from support.command_line import run
from support.fake_backend import FakeBackend, Refusal

CSV = b"time,device_id,measure,value\n" + b"".join(
    b"2026-01-01T00:00:%02dZ,device-%d,temperature,%d.50\n" % (row % 60, row % 3, row) for row in range(2000)
)


@pytest.fixture
def send(fake: FakeBackend, tmp_path: Path) -> Any:
    environment = {"HEADRACE_ENDPOINT": fake.url, "XDG_STATE_HOME": str(tmp_path / "state")}
    return lambda *arguments: run("send", *arguments, env=environment)


def write(path: Path, body: bytes) -> Path:
    path.write_bytes(gzip.compress(body) if path.suffix == ".gz" else body)
    return path


def state_files(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "state").rglob("*.json"))


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_csv_is_sent_in_order_with_the_identity_of_the_stored_file(
    fake: FakeBackend, send: Any, tmp_path: Path, name: str
) -> None:
    path = write(tmp_path / name, CSV)
    result = send(path, "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["rows"] == summary["accepted"] == 2000 == len(fake.records)
    assert summary["stream"] == "events" and summary["skipped"] == 0
    digest = sha256(path.read_bytes()).hexdigest()[:16]
    event = fake.events()[0]
    row = int(event["id"].rpartition("-")[2])
    assert event == {
        "time": f"2026-01-01T00:00:{row % 60:02d}Z",
        "device_id": f"device-{row % 3}",
        "measure": "temperature",
        "value": row + 0.5,
        "id": f"{digest}-{row:012d}",
    }
    assert b'.50,"id"' in fake.records[0][1]
    for device in ("device-0", "device-1", "device-2"):
        ids = [json.loads(data)["id"] for key, data in fake.records if key == device]
        assert len(ids) in (666, 667) and ids == sorted(ids)
    assert state_files(tmp_path) == []


def test_the_summary_for_people(send: Any, tmp_path: Path) -> None:
    result = send(write(tmp_path / "a.csv", CSV))
    assert result.stdout.startswith("2,000 rows accepted by stream events in ") and result.stderr == ""
    result = send(write(tmp_path / "b.csv", CSV + b"\n"), "--pack", "100")
    assert result.stdout.startswith("2,000 rows accepted as 21 records by stream events in ")


def test_ndjson_and_packs(fake: FakeBackend, send: Any, tmp_path: Path) -> None:
    lines = "".join(f'{{"device_id":"d{row % 2}","time":{row},"v":{row}}}\n' for row in range(10))
    result = send(write(tmp_path / "a.ndjson.gz", lines.encode()), "--pack", 3, "--json")
    assert json.loads(result.stdout)["rows"] == 10 and json.loads(result.stdout)["accepted"] == 4
    for device in ("d0", "d1"):
        times = [event["time"] for key, data in fake.records if key == device for event in json.loads(data)]
        assert times == sorted(times) and len(times) == 5


def test_failed_records_are_sent_again_and_the_order_holds(fake: FakeBackend, send: Any, tmp_path: Path) -> None:
    def refuse(records: list[tuple[str, bytes]]) -> set[int]:
        if len(fake.requests) == 3:
            raise Refusal("InternalFailure", 500)
        if len(fake.requests) == 4:
            raise Refusal("ProvisionedThroughputExceededException", 400)
        return set(range(300, len(records))) if len(fake.requests) < 6 else set()

    fake.refuse = refuse
    result = send(write(tmp_path / "a.csv", CSV), "--json")
    assert json.loads(result.stdout)["accepted"] == 2000 == len(fake.records)
    for device in ("device-0", "device-1", "device-2"):
        ids = [json.loads(data)["id"] for key, data in fake.records if key == device]
        assert ids == sorted(ids)


@pytest.mark.parametrize(
    ("name", "body", "line", "problem"),
    [
        ("a.csv", b"device_id,time\na,1\nb,2,3\nc,3\n", 3, "3 cells instead of 2"),
        ("a.csv", b"device_id,time\na,1\nb\xff,2\nc,3\n", 3, "not UTF-8"),
        ("a.ndjson", b'{"device_id":"a","time":1}\n{"device_id":\n{"device_id":"c","time":3}\n', 2, "not JSON"),
        (
            "a.csv",
            b"device_id,time,v\na,1,\nb,2," + b"x" * (1 << 20) + b"\nc,3,\n",
            3,
            "1,048,.* bytes, the stream takes",
        ),
    ],
)
def test_a_bad_line_ends_the_sending_unless_it_is_passed_over(
    fake: FakeBackend, send: Any, tmp_path: Path, name: str, body: bytes, line: int, problem: str
) -> None:
    path = write(tmp_path / name, body)
    result = send(path)
    assert result.exit_code == 1 and f"headrace: {path}, line {line}: " in result.stderr
    assert re.search(problem, result.stderr) and "--skip-bad" in result.stderr
    assert [event["device_id"] for event in fake.events()] == ["a"]
    result = send(path, "--skip-bad", "--json")
    assert result.exit_code == 0 and f"line {line}" in result.stderr
    assert json.loads(result.stdout)["skipped"] == 1 and json.loads(result.stdout)["resumed_at_row"] == 1
    assert [event["device_id"] for event in fake.events()] == ["a", "c"]
    assert fake.events()[1]["id"].endswith("-000000000002")


def test_a_quote_that_is_never_closed_counts_all_that_it_takes(fake: FakeBackend, send: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b'device_id,v\na,1\nb,"2\nc,3\nd,4\n')
    result = send(path, "--skip-bad", "--json")
    assert "line 3: a quote is opened and never closed, up to line 5" in result.stderr
    assert json.loads(result.stdout)["skipped"] == 3 and [event["device_id"] for event in fake.events()] == ["a"]


def test_an_interrupted_sending_goes_on_where_it_was(fake: FakeBackend, send: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b"device_id,time\n" + b"".join(b"d,%d\n" % row for row in range(5000)))

    def refuse(records: list[tuple[str, bytes]]) -> set[int]:
        if len(fake.requests) == 5:
            raise Refusal("ValidationException", 400)
        return set()

    fake.refuse = refuse
    result = send(path)
    assert result.exit_code == 1 and "ValidationException" in result.stderr
    assert len(fake.records) == 2000 and len(state_files(tmp_path)) == 1
    fake.refuse = lambda records: set()
    result = send(path, "--json")
    assert json.loads(result.stdout)["resumed_at_row"] == 2000 and "going on at row 2,000" in result.stderr
    assert [event["time"] for event in fake.events()] == [str(row) for row in range(5000)]
    assert state_files(tmp_path) == []


@pytest.mark.parametrize("change", ["--restart", "new stream", "other options"])
def test_a_resumption_is_only_of_the_same_sending(fake: FakeBackend, send: Any, tmp_path: Path, change: str) -> None:
    path = write(tmp_path / "a.csv", b"device_id,time\nd,1\nd,2\nd\n")
    assert send(path).exit_code == 1 and len(fake.records) == 2
    if change == "new stream":  # an empty data directory at the same address
        fake.streams["events"] += 1
    options = {"--restart": ["--restart"], "other options": ["--tz", "+01:00"]}.get(change, [])
    assert send(path, "--skip-bad", *options).exit_code == 0 and len(fake.records) == 4


def test_a_file_without_time_is_warned_of(send: Any, tmp_path: Path) -> None:
    result = send(write(tmp_path / "a.csv", b"device_id,v\nd,1\nd,2\n"), "--json")
    assert result.exit_code == 0 and result.stderr.count("warning") == 1 and "has no time" in result.stderr
    assert json.loads(result.stdout)["without_time"] == 2


def test_devices_and_zones_from_the_command_line(fake: FakeBackend, send: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b"time,v\n2026-01-01 00:00:00,1\n")
    result = send(path)
    assert result.exit_code == 1 and "no column device_id" in result.stderr and "--device-id" in result.stderr
    assert send(path, "--device-id", "pump", "--tz", "+02:00").exit_code == 0
    assert fake.records[0][0] == "pump" and fake.events()[0]["time"] == "2026-01-01 00:00:00+02:00"


@pytest.mark.parametrize(
    ("name", "body", "arguments", "code", "message"),
    [
        ("a.parquet.gz", b"PAR1", [], 2, "Parquet is compressed inside"),
        ("a.txt", b"", [], 2, "--format"),
        ("a.csv", b"", [], 1, "the file is empty"),
        ("a.csv", b"device_id\nd\n", ["--tz", "Mars/Olympus"], 2, "no time zone 'Mars/Olympus'"),
        ("a.csv", b"device_id\nd\n", ["--tz", "+25:00"], 2, "no time zone"),
        ("a.csv", b"device_id\nd\n", ["--device-id", "x" * 257], 2, "1 to 256 characters"),
        ("a.csv", b"device_id\nd\n", ["--pack", "0"], 2, "--pack"),
        ("a.csv", b"device_id\nd\n", ["--stream", "other"], 1, "Stream other under account"),
    ],
)
def test_what_cannot_be_sent_is_said(
    fake: FakeBackend, send: Any, tmp_path: Path, name: str, body: bytes, arguments: list[str], code: int, message: str
) -> None:
    result = send(write(tmp_path / name, body), *arguments)
    assert result.exit_code == code and message in result.stderr, result.stderr
    assert fake.records == []


def test_files_that_are_missing_or_damaged(fake: FakeBackend, send: Any, tmp_path: Path) -> None:
    assert send(tmp_path / "missing.csv").exit_code == 2
    whole = gzip.compress(b"device_id,time\n" + b"".join(b"d,%d\n" % row for row in range(5_000)))
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    result = send(tmp_path / "cut.csv.gz")
    assert result.exit_code == 1 and "cut.csv.gz is damaged" in result.stderr and "Nothing of it" in result.stderr
    assert fake.records == []  # a whole copy is another file, whose rows would have other identities
    assert (
        write(tmp_path / "a.data", b"device_id,time\nd,1\n")
        and send(tmp_path / "a.data", "--format", "csv").exit_code == 0
    )


def test_which_stream(fake: FakeBackend, send: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b"device_id,time\nd,1\n")
    fake.streams = {"events": 1, "other": 2}
    assert json.loads(send(path, "--json").stdout)["stream"] == "events"
    fake.streams = {"one": 1, "two": 2}
    result = send(path)
    assert result.exit_code == 2 and "--stream one | two" in result.stderr
    fake.streams = {}
    result = send(path)
    assert result.exit_code == 1 and "has no stream" in result.stderr
