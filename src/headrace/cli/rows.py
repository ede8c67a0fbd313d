"""Rows of a file as records: CSV and NDJSON lines in, a JSON object each out. Pure but for the lines it is handed.

A CSV column becomes a member of the same name. A cell is a number only if it is a JSON number, and then keeps its
digits; `device_id`, `time` and `id` always stay text; an empty cell is left out. A row without an id gets
`<first 16 hex of the file's SHA-256>-<row, 12 digits>`, so that sending a file twice adds nothing.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from hashlib import sha256
from json.encoder import encode_basestring
from typing import Any, NamedTuple

import msgspec

from headrace.errors import HeadraceError
from headrace.plural import counted

KEY_CHARACTERS_MAX = 256  # of a partition key
TEXT_COLUMNS = ("device_id", "time", "id")
CELL_BYTES_MAX = 16 * 1024 * 1024
_is_number = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
_naive_time = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?", re.ASCII).fullmatch
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """A row as it is sent. `number` counts rows from 0, `line` lines from 1; `timed`: it says its time."""

    number: int
    line: int
    key: str
    data: bytes
    timed: bool


class Bad(NamedTuple):
    """A row that cannot be sent: `lines` lines of the file from `line` on, which counts from 1."""

    number: int
    line: int
    problem: str
    lines: int = 1


@dataclass(frozen=True)
class Reading:
    """How to read a file, which messages call `file`.

    `digest` begins the ids, `zone` is for times without an offset, rows before `start` are passed over, and
    `device_id` is the device of rows that name none.
    """

    file: str
    digest: str
    zone: tzinfo | None = None
    device_id: str | None = None
    start: int = 0

    def row_id(self, number: int) -> str:
        """Return the id of a row that has none."""
        return f"{self.digest}-{number:012d}"


def csv_rows(lines: Iterable[bytes], reading: Reading) -> Iterator[Row | Bad]:
    """Yield a Row or a Bad for each row after the header; raises HeadraceError if the header is no use."""
    csv.field_size_limit(CELL_BYTES_MAX)
    text = _Text(lines)
    reader = csv.reader(text, strict=True)
    columns = _header(reader, text, reading.file)
    check_columns(columns, reading)
    encode = _csv_encoder(columns, reading)
    number = -1
    while True:
        line = reader.line_num + 1
        try:
            cells, problem = next(reader), ""
        except StopIteration:
            return
        except csv.Error as error:
            cells, problem = [], _not_csv(error, line, reader.line_num)
        if not cells and not problem:
            continue
        number += 1
        if text.problem:  # also of a row that is passed over, or the next one would be taken for it
            problem = text.take_problem()
        if number < reading.start:
            continue
        if not problem and len(cells) != len(columns):
            problem = f"{counted(len(cells), 'cell')} instead of {len(columns)}"
        yield Bad(number, line, problem, reader.line_num + 1 - line) if problem else encode(number, line, cells)


def ndjson_rows(lines: Iterable[bytes], reading: Reading) -> Iterator[Row | Bad]:
    """Yield a Row or a Bad for each line that is not blank."""
    number = -1
    for index, raw in enumerate(lines):
        body = (raw.removeprefix(_BOM) if index == 0 else raw).strip()
        if body:
            number += 1
            if number >= reading.start:
                yield _ndjson_row(number, index + 1, body, reading)


def check_columns(columns: list[str], reading: Reading) -> None:
    """Raise HeadraceError unless the columns, or the reading, name the device."""
    if "device_id" not in columns and reading.device_id is None:
        raise HeadraceError(
            f"{reading.file} has no column device_id, only {', '.join(columns)}.",
            "Rename the column with the device's name to device_id, or give --device-id for all rows.",
        )


def partition_key(device_id: str) -> str:
    """Return the device's partition key: its id, or a digest of it where a key may not be that long."""
    if len(device_id) <= KEY_CHARACTERS_MAX:
        return device_id
    return sha256(device_id.encode()).hexdigest()


def with_offset(time: str, zone: tzinfo) -> str:
    """Return a time with the zone's offset at that moment; a time that has one, or is none, as it is."""
    match = _naive_time(time)
    if match is None:
        return time
    try:
        moment = datetime(*(int(part or 0) for part in match.groups()), tzinfo=zone)  # type: ignore[misc,arg-type]
        offset = moment.utcoffset() or timedelta()
        if offset % timedelta(minutes=1):  # before standard time: RFC 3339 has no seconds in an offset
            fraction = time.partition(".")[2]
            return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}{'.' if fraction else ''}{fraction}Z"
    except (ValueError, OverflowError):
        return time
    sign, minutes = ("-", -offset) if offset < timedelta() else ("+", offset)
    hours, rest = divmod(minutes // timedelta(minutes=1), 60)
    return f"{time}{sign}{hours:02d}:{rest:02d}"


class _Text:
    """Lines as text for the csv module; remembers the last line that is not UTF-8."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._first = True
        self.problem = ""

    def __iter__(self) -> "_Text":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        if self._first:
            line, self._first = line.removeprefix(_BOM), False
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            self.problem = _not_utf8(error)
            return line.decode(errors="replace")

    def take_problem(self) -> str:
        """Return the problem and forget it."""
        problem, self.problem = self.problem, ""
        return problem


def _not_csv(error: csv.Error, first: int, last: int) -> str:
    """Return what is wrong with a row, and to which line it goes: a quote that nothing closes takes all that follow."""
    problem = str(error)
    if problem.startswith("unexpected end of data"):
        problem = "a quote is opened and never closed"
    elif problem.startswith("new-line character"):
        problem = "a carriage return stands alone, where a line ends with a line feed"
    return f"{problem}, up to line {last:,}" if last > first else problem


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8: byte 0x{error.object[error.start]:02x} at place {error.start + 1} of the line"


def _header(reader: Any, text: _Text, file: str) -> list[str]:
    try:
        columns: list[str] = next((cells for cells in reader if cells), [])
    except csv.Error as error:
        raise HeadraceError(
            f"{file}: the header line is no CSV: {_not_csv(error, 1, reader.line_num)}.",
            "The first line names the columns; lines end with a line feed.",
        ) from error
    problem = text.take_problem()
    if not problem and not columns:
        problem = "the file is empty"
    if not problem and "" in columns:
        problem = f"column {columns.index('') + 1} has no name"
    if not problem and len(set(columns)) < len(columns):
        problem = f"two columns are named {next(c for c in columns if columns.count(c) > 1)!r}"
    if problem:
        raise HeadraceError(
            f"{file}: the header line is no use: {problem}.", "The first line names the columns, each once."
        )
    return columns


def _csv_encoder(columns: list[str], reading: Reading) -> Callable[[int, int, list[str]], Row | Bad]:
    prefixes = [(f"{encode_basestring(name)}:", name in TEXT_COLUMNS) for name in columns]
    device_at, time_at, id_at = (columns.index(name) if name in columns else None for name in TEXT_COLUMNS)
    zone, default_key, id_head = reading.zone, reading.device_id, f'"id":"{reading.digest}-'

    def encode(number: int, line: int, cells: list[str]) -> Row | Bad:
        device = cells[device_at] if device_at is not None else ""
        if not device and default_key is None:
            return Bad(number, line, "the device_id is empty")
        if time_at is not None and zone is not None:
            cells[time_at] = with_offset(cells[time_at], zone)
        parts = []
        for cell, (prefix, is_text) in zip(cells, prefixes, strict=True):
            if cell:
                parts.append(prefix + (cell if not is_text and _is_number(cell) else encode_basestring(cell)))
        if id_at is None or not cells[id_at]:
            parts.append(f'{id_head}{number:012d}"')
        key = device if device and len(device) <= KEY_CHARACTERS_MAX else partition_key(device or default_key or "")
        return Row(number, line, key, f"{{{','.join(parts)}}}".encode(), time_at is not None and cells[time_at] != "")

    return encode


def _ndjson_row(number: int, line: int, body: bytes, reading: Reading) -> Row | Bad:
    try:
        event = json.loads(body.decode())
    except UnicodeDecodeError as error:
        return Bad(number, line, _not_utf8(error))
    except (ValueError, RecursionError) as error:
        return Bad(number, line, f"not JSON: {error}")
    if not isinstance(event, dict):
        return Bad(number, line, "not a JSON object")
    device, time = event.get("device_id"), event.get("time")
    if device is None and reading.device_id is None:
        return Bad(number, line, "there is no device_id")
    if device is not None and (not isinstance(device, str) or not device):
        return Bad(number, line, "the device_id is not a text of at least one character")
    if device is not None and not device.isascii() and _SURROGATE.search(device):
        return Bad(number, line, "the device_id has half of a surrogate pair, which is no character")
    changes = {}
    if isinstance(time, str) and reading.zone is not None and (shifted := with_offset(time, reading.zone)) != time:
        changes["time"] = shifted
    if event.get("id") is None:
        changes["id"] = reading.row_id(number)
    key = partition_key(device or reading.device_id or "")
    return Row(number, line, key, _changed(body, event, changes), time is not None)


def _changed(body: bytes, event: dict[str, Any], changes: dict[str, str]) -> bytes:
    """Return the object with these members set and everything else as it was written."""
    if not changes:
        return body
    if not changes.keys() & event.keys():  # nothing to replace: put them in front
        head = msgspec.json.encode(changes)[:-1]
        return head + b"," + body[1:] if event else head + b"}"
    try:
        raw: dict[str, Any] = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:  # NaN and Infinity, which are let through here for the functions to judge
        return json.dumps(event | changes).encode()
    return msgspec.json.encode(raw | changes)
