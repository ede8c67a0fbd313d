"""`headrace send` of Parquet: the rules of the other formats, for typed columns."""

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from support.command_line import run
from support.fake_backend import FakeBackend, Refusal

if not os.environ.get("CI"):  # CI has it, or the tests fail
    pytest.importorskip("duckdb")
import duckdb


@pytest.fixture
def send(fake: FakeBackend, tmp_path: Path) -> Any:
    environment = {"HEADRACE_ENDPOINT": fake.url, "XDG_STATE_HOME": str(tmp_path / "state")}
    return lambda *arguments: run("send", *arguments, env=environment)


def write(path: Path, columns: str, rows: int = 1) -> Path:
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT {columns} FROM range({rows}) r(i)) TO '{path}' (ROW_GROUP_SIZE 2048)")
    return path


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("7::TINYINT", "7"),
        ("9223372036854775807", "9223372036854775807"),
        ("18446744073709551615::UBIGINT", "18446744073709551615"),
        ("1.1::FLOAT", "1.1"),
        ("7e-06::DOUBLE", "7e-06"),
        ("'nan'::DOUBLE", "NaN"),
        ("'-inf'::FLOAT", "-Infinity"),
        ("1.50::DECIMAL(10,2)", "1.50"),
        ("true", "true"),
        ("'000123'", '"000123"'),
        ("'say \"ü\"'", '"say \\"ü\\""'),
        ("'ab'::BLOB", '"YWI="'),
        ("[1, NULL, 3]", "[1,null,3]"),
        ("{'x': 1, 'y': 'z'}", '{"x":1,"y":"z"}'),
        ("DATE '2026-01-31'", '"2026-01-31"'),
        ("TIME '10:11:12'", '"10:11:12"'),
        ("TIMESTAMP '2026-01-31 10:00:00'", '"2026-01-31T10:00:00"'),
        ("TIMESTAMP '2026-01-31 10:00:10.50'", '"2026-01-31T10:00:10.5"'),
        ("TIMESTAMPTZ '2026-01-31 10:00:00+02'", '"2026-01-31T08:00:00Z"'),
        ("make_timestamp_ns(1767225600123456789)", '"2026-01-01T00:00:00.123456789"'),
        ("TIMESTAMP_S '2026-01-31 10:00:00'", '"2026-01-31T10:00:00"'),
        ("NULL::INTEGER", None),
    ],
)
def test_what_a_value_becomes(fake: FakeBackend, send: Any, tmp_path: Path, column: str, text: str | None) -> None:
    result = send(write(tmp_path / "a.parquet", f"'d' AS device_id, 1700000000 AS time, {column} AS v"))
    assert result.exit_code == 0, result.stderr
    digest = sha256((tmp_path / "a.parquet").read_bytes()).hexdigest()[:16]
    value = f'"v":{text},' if text is not None else ""
    expected = f'{{"device_id":"d","time":1700000000,{value}"id":"{digest}-000000000000"}}'
    assert fake.records == [("d", expected.encode())]


def test_devices_and_ids_are_text_and_naive_times_get_the_zone(fake: FakeBackend, send: Any, tmp_path: Path) -> None:
    columns = "7 + i AS device_id, 100 + i AS id, TIMESTAMP '2026-07-01 10:00:00' AS time"
    result = send(write(tmp_path / "a.parquet", columns, 2), "--tz", "Europe/Berlin")
    assert result.exit_code == 0, result.stderr
    assert sorted(fake.events(), key=lambda event: event["id"]) == [
        {"device_id": "7", "id": "100", "time": "2026-07-01T10:00:00+02:00"},
        {"device_id": "8", "id": "101", "time": "2026-07-01T10:00:00+02:00"},
    ]
    send(write(tmp_path / "b.parquet", "'d' AS device_id, DATE '2026-07-01' AS time"))
    assert fake.events()[-1]["time"] == "2026-07-01T00:00:00"


def test_an_interrupted_sending_goes_on_where_it_was(fake: FakeBackend, send: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", "'d' AS device_id, i AS time", 7000)

    def refuse(records: list[tuple[str, bytes]]) -> set[int]:
        if len(fake.requests) == 5:
            raise Refusal("ValidationException", 400)
        return set()

    fake.refuse = refuse
    assert send(path).exit_code == 1 and len(fake.records) == 2000
    fake.refuse = lambda records: set()
    result = send(path, "--json")
    assert json.loads(result.stdout)["resumed_at_row"] == 2000
    assert [event["time"] for event in fake.events()] == list(range(7000))
    assert fake.events()[-1]["id"].endswith("-000000006999")


def test_rows_without_a_device_are_told_by_their_place(fake: FakeBackend, send: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", "CASE WHEN i = 1 THEN NULL ELSE 'd' END AS device_id, i AS time", 3)
    result = send(path)
    assert result.exit_code == 1 and f"{path}, row 2: the device_id is empty" in result.stderr
    assert send(path, "--skip-bad").exit_code == 0 and len(fake.records) == 2
    assert send(write(tmp_path / "b.parquet", "i AS v, i AS time"), "--device-id", "x").exit_code == 0
    assert fake.records[-1][0] == "x"
    result = send(write(tmp_path / "c.parquet", "i AS v"))
    assert result.exit_code == 1 and "no column device_id, only v" in result.stderr


def test_files_that_are_no_parquet(send: Any, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1" * 10)
    result = send(tmp_path / "a.parquet")
    assert result.exit_code == 1 and "can't be read as Parquet" in result.stderr
    whole = write(tmp_path / "b.parquet", "'d' AS device_id, i AS time", 10_000).read_bytes()
    (tmp_path / "c.parquet").write_bytes(whole[: len(whole) // 2])
    assert "can't be read as Parquet" in send(tmp_path / "c.parquet").stderr
    (tmp_path / "d[1].parquet").write_bytes(whole)
    assert "wildcard" in send(tmp_path / "d[1].parquet").stderr
    (tmp_path / "e").write_bytes(whole)
    assert send(tmp_path / "e", "--format", "parquet").exit_code == 0
