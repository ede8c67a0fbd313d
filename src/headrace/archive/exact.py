"""Archived records to rows of compacted files, by `headrace.event`: exact for whatever a device sent. Pure.

`native/` does the same for ordinary lines many times faster; the two agree row by row.
"""

import math
from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
import pybase64

from headrace import event
from headrace.archive.raw import Line
from headrace.errors import UsageError
from headrace.event import Event, jsontext
from headrace.record import parse_sequence_number, parse_shard_id, sequence_number

_NUMBER_START = frozenset(b"-0123456789")


class Rows:
    """Makes rows; `faults` counts what was no event: that is in the failures bucket, if a function has seen it."""

    def __init__(self, typed: Collection[str]) -> None:
        self._typed = frozenset(typed)
        self.faults = 0

    def of(self, lines: Iterable[Line]) -> Iterator[dict[str, Any]]:
        """Yield a row an event, by column; what is null is left out. Raises UsageError for what is no shard."""
        for line in lines:
            data = bytes(line.data) if line.data_b64 is None else pybase64.b64decode(line.data_b64)
            record: dict[str, Any] | None = None
            for found in event.decode_data(data, line.key, line.seq, line.arrived_us // 1000):
                if isinstance(found, Event):
                    record = record or _record(line)
                    yield record | self._event(found)
                else:
                    self.faults += 1

    def _event(self, found: Event) -> dict[str, Any]:
        row: dict[str, Any] = {
            "device_id": found.device_id,
            "time": found.time,
            "id": found.id,
            "bytes": found.bytes_sent,
        }
        if found.device_time is not None:
            row["device_time"] = found.device_time.decode()
        if found.flags:
            row["flags"] = ",".join(found.flags)
        if found.readings != b"{}":
            members = jsontext.members(found.readings)
            for name in self._typed & members.keys():
                number, is_exact = number_of(bytes(members[name]))
                if number is not None:
                    row[name] = number
                    if is_exact:
                        del members[name]
            if members:
                row["readings"] = jsontext.encode(members).decode()
        return row


def number_of(text: bytes) -> tuple[float | None, bool]:
    """Return a JSON value as a double, None if no double is near it, and whether that is just the number sent.

    Exact is what its shortest spelling says: 70.50 is 70.5, but 9007199254740993 is not 9007199254740992.
    """
    if text[0] not in _NUMBER_START:
        return None, False
    number = float(text)
    if not math.isfinite(number):
        return None, False
    if len(text) <= 15 and b"e" not in text and b"E" not in text:
        return number, True
    try:
        return number, Decimal(text.decode()) == Decimal(repr(number))
    except InvalidOperation:  # an exponent of twenty digits
        return number, False


def _record(line: Line) -> dict[str, Any]:
    """Return what all events of a record share."""
    at_us = line.arrived_us // 1000 * 1000
    row = {"stream": line.stream, "shard": parse_shard_id(line.shard), "arrived_at": event.times.from_us(at_us)}
    try:
        parsed = parse_sequence_number(line.seq)
    except UsageError:
        return row | {"sequence_number": line.seq}
    row |= {"shard_created": parsed.shard_created_s, "number": parsed.number}
    if sequence_number(parsed.shard_created_s, parsed.shard, parsed.number, at_us // 1000) != line.seq:
        row["sequence_number"] = line.seq
    return row


def encode(row: dict[str, Any]) -> bytes:
    """Return a row as a line of JSON."""
    return msgspec.json.encode(row) + b"\n"
