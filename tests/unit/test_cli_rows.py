"""Rows of CSV and NDJSON files as records."""

import json
from datetime import UTC, timedelta, timezone
from hashlib import sha256
from io import BytesIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from headrace.cli.rows import Bad, Reading, Row, csv_rows, ndjson_rows, partition_key, with_offset
from headrace.errors import HeadraceError

READING = Reading("file", "0123456789abcdef")


def lines(text: str | bytes) -> list[bytes]:
    body = text if isinstance(text, bytes) else text.encode()
    return BytesIO(body).readlines()


def only(rows: Any) -> Row:
    (row,) = rows
    assert isinstance(row, Row), row
    return row


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("69.88083514", "69.88083514"),
        ("-0", "-0"),
        ("7e-06", "7e-06"),
        ("1E+400", "1E+400"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("0.10", "0.10"),
        ("000123", '"000123"'),
        ("+1", '"+1"'),
        ("1.", '"1."'),
        (".5", '".5"'),
        (" 1", '" 1"'),
        ("0x10", '"0x10"'),
        ("1_000", '"1_000"'),
        ("NaN", '"NaN"'),
        ("true", '"true"'),
        ("null", '"null"'),
        ("٣", '"٣"'),
        ("grün", '"grün"'),
    ],
)
def test_a_cell_is_a_number_only_if_it_is_a_json_number(cell: str, value: str) -> None:
    row = only(csv_rows(lines(f"device_id,value\nd,{cell}\n"), READING))
    assert row.data.decode() == f'{{"device_id":"d","value":{value},"id":"0123456789abcdef-000000000000"}}'


def test_device_time_and_id_stay_text_and_empty_cells_are_left_out() -> None:
    row = only(csv_rows(lines("time,device_id,id,a,b\n1700000000,007,42,,x\n"), READING))
    assert row == Row(0, 2, "007", b'{"time":"1700000000","device_id":"007","id":"42","b":"x"}', True)


def test_quotes_newlines_and_marks_in_csv() -> None:
    text = b'\xef\xbb\xbfdevice_id,"a ""b"""\r\n"d,1","x\ny"\r\n\r\nd2,"say ""hi"""\r\n'
    first, second = csv_rows(lines(text), READING)
    assert json.loads(first.data)['a "b"'] == "x\ny" and first.key == "d,1" and first.line == 2  # type: ignore[union-attr]
    assert json.loads(second.data)['a "b"'] == 'say "hi"' and second.number == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"d,1,2\n", "3 cells instead of 2"),
        (b"d,1\r2,3\n", "a carriage return stands alone, where a line ends with a line feed"),
        (b"d\n", "1 cell instead of 2"),
        (b"d,\xff\n", "not UTF-8: byte 0xff at place 3 of the line"),
        (b'd,"x"y\n', "',' expected after '\"'"),
        (b",1\n", "the device_id is empty"),
    ],
)
def test_a_bad_csv_row_is_told_with_its_line_and_the_next_are_read(body: bytes, problem: str) -> None:
    rows = list(csv_rows(lines(b"device_id,value\na,1\n" + body + b"b,2\n"), READING))
    assert rows[1] == Bad(1, 3, problem)
    assert [row.number for row in rows] == [0, 1, 2] and isinstance(rows[2], Row) and rows[2].key == "b"


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("", "the file is empty"),
        ("device_id,,b\n", "column 2 has no name"),
        ("device_id,b,b\n", "two columns are named 'b'"),
        ("time,value\n", "has no column device_id, only time, value"),
    ],
)
def test_a_useless_header_is_refused(header: str, problem: str) -> None:
    with pytest.raises(HeadraceError, match=problem):
        list(csv_rows(lines(header), READING))


@pytest.mark.parametrize("body", [b"device\xff_id\n", b'device_id,"x"y\n'])
def test_a_broken_header_is_refused(body: bytes) -> None:
    with pytest.raises(HeadraceError, match="the header line"):
        list(csv_rows(lines(body), READING))


def test_rows_without_device_get_the_one_that_was_given() -> None:
    reading = Reading("file", "d" * 16, device_id="pump")
    assert only(csv_rows(lines("value\n1\n"), reading)).key == "pump"
    assert only(ndjson_rows(lines('{"value": 1}'), reading)).key == "pump"


def test_rows_before_the_start_are_passed_over_and_keep_their_numbers() -> None:
    reading = Reading("file", "d" * 16, start=1)
    row = only(csv_rows(lines("device_id\na\nb\n"), reading))
    assert row.number == 1 and json.loads(row.data) == {"device_id": "b", "id": f"{'d' * 16}-000000000001"}
    assert only(ndjson_rows(lines('{"device_id":"a"}\n\n{"device_id":"b"}\n'), reading)).number == 1


@pytest.mark.parametrize("bad", [b"b\xff\n", b'"b"x\n', b"b,c\n"])
def test_a_bad_row_before_the_start_is_not_the_fault_of_a_later_one(bad: bytes) -> None:
    reading = Reading("file", "d" * 16, start=2)
    row = only(csv_rows(lines(b"device_id\na\n" + bad + b"c\n"), reading))
    assert (row.number, row.key) == (2, "c")


@pytest.mark.parametrize(
    ("line", "data"),
    [
        ('{"device_id":"d","v":1.50}', '{"id":"0123456789abcdef-000000000000","device_id":"d","v":1.50}'),
        ('{"device_id":"d","id":"own","v":[1, 2]}', '{"device_id":"d","id":"own","v":[1, 2]}'),
        ('{"device_id":"d","id":null,"v":1.50}', '{"device_id":"d","id":"0123456789abcdef-000000000000","v":1.50}'),
        ('{"device_id":"d","v":NaN}', '{"id":"0123456789abcdef-000000000000","device_id":"d","v":NaN}'),
        (
            '{"device_id":"d","id":null,"v":NaN}',
            '{"device_id": "d", "id": "0123456789abcdef-000000000000", "v": NaN}',
        ),
    ],
)
def test_a_line_is_sent_as_it_is_but_for_its_id(line: str, data: str) -> None:
    assert only(ndjson_rows(lines(line), READING)).data.decode() == data


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"device_id":"\xff"}', "not UTF-8: byte 0xff at place 15"),
        (b'{"v":1}', "there is no device_id"),
        (b'{"device_id":null}', "there is no device_id"),
        (b'{"device_id":7}', "the device_id is not a text"),
        (b'{"device_id":""}', "the device_id is not a text"),
        (b'{"device_id":"\\ud800"}', "half of a surrogate pair"),
        (b"[" * 100_000, "not JSON"),
    ],
    ids=str,
)
def test_a_bad_line_is_told(line: bytes, problem: str) -> None:
    first, bad, last = ndjson_rows([b'{"device_id":"a"}\n', line + b"\n", b'{"device_id":"b"}\n'], READING)
    assert isinstance(bad, Bad) and bad.line == 2 and problem in bad.problem
    assert isinstance(first, Row) and isinstance(last, Row)


def test_400_nested_levels_are_sent() -> None:
    line = '{"device_id":"d","v":' + "[" * 400 + "]" * 400 + "}"
    assert only(ndjson_rows(lines(line), READING)).key == "d"


def test_a_time_without_offset_gets_the_zones() -> None:
    reading = Reading("file", "d" * 16, zone=ZoneInfo("Europe/Berlin"))
    row = only(csv_rows(lines("device_id,time\nd,2013-07-04 00:00:00\n"), reading))
    assert json.loads(row.data)["time"] == "2013-07-04 00:00:00+02:00"
    row = only(ndjson_rows(lines('{"time":"2013-01-04T00:00:00.5","device_id":"d","v":1.0}'), reading))
    expected = '{"time":"2013-01-04T00:00:00.5+01:00","device_id":"d","v":1.0,"id":"' + "d" * 16 + '-000000000000"}'
    assert row.data.decode() == expected


@pytest.mark.parametrize(
    ("time", "zone", "expected"),
    [
        ("2026-03-01T12:00:00", UTC, "2026-03-01T12:00:00+00:00"),
        ("2026-03-01t12:00:00.123456789", timezone(timedelta(hours=-3, minutes=-30)), "{}-03:30"),
        ("2026-07-01 12:00", ZoneInfo("America/New_York"), "{}-04:00"),
        ("1800-01-01T00:00:00.25", timezone(timedelta(minutes=17, seconds=30)), "1799-12-31T23:42:30.25Z"),
        ("2026-03-01T12:00:00Z", ZoneInfo("Asia/Tokyo"), "{}"),
        ("2026-03-01T12:00:00+05:00", ZoneInfo("Asia/Tokyo"), "{}"),
        ("1700000000", ZoneInfo("Asia/Tokyo"), "{}"),
        ("2026-02-30T12:00:00", ZoneInfo("Asia/Tokyo"), "{}"),
        ("yesterday", ZoneInfo("Asia/Tokyo"), "{}"),
        ("", ZoneInfo("Asia/Tokyo"), ""),
    ],
)
def test_offsets(time: str, zone: Any, expected: str) -> None:
    assert with_offset(time, zone) == expected.format(time)


def test_a_long_device_id_has_a_digest_for_its_partition_key() -> None:
    assert partition_key("d" * 256) == "d" * 256
    assert partition_key("d" * 257) == sha256(b"d" * 257).hexdigest()
    row = only(csv_rows(lines(f"device_id\n{'ä' * 300}\n"), READING))
    assert len(row.key) == 64 and json.loads(row.data)["device_id"] == "ä" * 300


def test_untimed_rows_are_known() -> None:
    timed, untimed = csv_rows(lines("device_id,time\na,1\nb,\n"), READING)
    assert (timed.timed, untimed.timed) == (True, False)  # type: ignore[union-attr]
    timed, untimed = ndjson_rows(lines('{"device_id":"a","time":1}\n{"device_id":"a","time":null}\n'), READING)
    assert (timed.timed, untimed.timed) == (True, False)  # type: ignore[union-attr]
