"""The registry of devices: what stands in a device's item `info`, and what may. Pure (`docs/formats.md`).

table devices, partition <device id>, sort `info`:
{"version":1,"labels":{"site":"north"},"registered_at":"2026-07-25T17:20:00.123Z","registered_by":"event"}
"""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from headrace.errors import DataDirectoryError, UsageError
from headrace.plural import counted
from headrace.table.base import PARTITION_BYTES_MAX, Item

INFO = "info"
BY_EVENT, BY_COMMAND = "event", "command"
LABELS_MAX = 50
LABEL_NAME_MAX = 128  # characters
LABEL_VALUE_MAX = 256  # characters
FAULTS_MAX = 20  # of an import that are told one by one
DEVICE_ID = "device_id"


class Info(msgspec.Struct, frozen=True, omit_defaults=True):
    """A registered device. `version` counts the writes from 1; times are RFC 3339 with milliseconds."""

    version: int
    registered_at: str
    registered_by: str  # event or command
    labels: dict[str, str] = {}
    retired_at: str | None = None


class Named(NamedTuple):
    """A device and the labels it is to get; an empty value takes the label away."""

    device_id: str
    labels: dict[str, str]


_decode = msgspec.json.Decoder(Info).decode


def decode(item: Item) -> Info:
    """Return what an item `info` says; raises DataDirectoryError."""
    try:
        return _decode(item.attributes)
    except msgspec.DecodeError as error:
        raise DataDirectoryError(
            f"The item `info` of the device {item.partition!r} can't be read: {error}.",
            "A newer Headrace may have written it: use that, or put the table back from a backup.",
        ) from error


def item(device_id: str, info: Info) -> Item:
    """Return the table's item."""
    return Item(device_id, INFO, msgspec.json.encode(info))


def changed(before: Info | None, labels: Mapping[str, str], now: str) -> Info:
    """Return what a device is after `devices add`: registered, not retired, with these labels beside those it had."""
    kept = before.labels if before else {}
    merged = {name: value for name, value in {**kept, **labels}.items() if value}
    check_labels(merged)
    if before is None:
        return Info(1, now, BY_COMMAND, merged)
    if before.labels == merged and before.retired_at is None:
        return before
    return msgspec.structs.replace(before, version=before.version + 1, labels=merged, retired_at=None)


def retired(before: Info, now: str) -> Info:
    """Return what a device is once it is retired; one that is stays as it is."""
    if before.retired_at is not None:
        return before
    return msgspec.structs.replace(before, version=before.version + 1, retired_at=now)


def check_device_id(device_id: str) -> None:
    """Raise UsageError for what no device can be called."""
    try:
        size = len(device_id.encode())
    except UnicodeEncodeError:
        raise UsageError("The device id is not UTF-8.", "Check the terminal's or the file's encoding.") from None
    if not 1 <= size <= PARTITION_BYTES_MAX:
        raise UsageError(
            f"The device id has {size:,} bytes.", f"A device id has 1 to {PARTITION_BYTES_MAX:,} bytes of UTF-8."
        )


def check_labels(labels: Mapping[str, str]) -> None:
    """Raise UsageError for labels that no device can have."""
    if len(labels) > LABELS_MAX:
        raise UsageError(f"{len(labels)} labels are too many.", f"A device has at most {LABELS_MAX}.")
    for name, value in labels.items():
        if (problem := label_problem(name, value)) is not None:
            raise UsageError(problem, f"Names have 1 to {LABEL_NAME_MAX} characters, values up to {LABEL_VALUE_MAX}.")


def label_problem(name: str, value: str) -> str | None:
    """Return what is wrong with a label, if anything is."""
    if not 1 <= len(name) <= LABEL_NAME_MAX:
        return f"The label {name[:40]!r} has a name of {len(name)} characters."
    if not name.isprintable() or "=" in name:
        return f"The label {name!r} has a character in its name that none may have."
    if len(value) > LABEL_VALUE_MAX:
        return f"The value of the label {name!r} has {len(value)} characters."
    return None if _is_utf8(name + value) else f"The label {name!r} is not UTF-8."


def parse_csv(name: str, body: bytes) -> list[Named]:
    """Return the devices of a CSV file: a column `device_id`, each other column a label.

    Raises UsageError with the lines of all faults (the first twenty of them): a file is taken whole or not at all. The
    same device twice is a fault.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{name}:{line}: not UTF-8 (byte {error.start}).", "Save the file as UTF-8. Nothing was imported."
        ) from None
    if "\0" in text:
        raise UsageError(f"{name}: holds NUL, so it is no CSV.", "Save it as CSV in UTF-8. Nothing was imported.")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    faults: list[str] = []
    found: dict[str, Named] = {}
    lines: dict[str, int] = {}
    try:
        heads = next(reader, [])
        _check_heads(name, heads)
        line = reader.line_num + 1
        for row in reader:
            if row:
                problem = _problem(heads, row, lines)
                if problem is None:
                    named = _named(heads, row)
                    found[named.device_id], lines[named.device_id] = named, line
                else:
                    faults.append(f"{name}:{line}: {problem}")
            line = reader.line_num + 1
    except csv.Error as error:
        faults.append(f"{name}:{reader.line_num}: this can't be read as CSV: {error}")
    if faults:
        more = f"\n… and {len(faults) - FAULTS_MAX} more" if len(faults) > FAULTS_MAX else ""
        raise UsageError(
            "\n".join(faults[:FAULTS_MAX]) + more, "Nothing was imported: mend the file, and import again."
        )
    return list(found.values())


def _check_heads(name: str, heads: list[str]) -> None:
    hint = "The first line names the columns: device_id, then a column a label. Nothing was imported."
    if len(heads) == 1 and any(separator in heads[0] for separator in ";\t"):
        raise UsageError(f"{name}:1: values are separated by semicolons or tabs.", f"Separate them by commas. {hint}")
    if DEVICE_ID not in heads:
        raise UsageError(f"{name}:1: there is no column device_id.", hint)
    for head in heads:
        if heads.count(head) > 1:
            raise UsageError(f"{name}:1: the column {head[:40]!r} is there twice.", hint)
        if head != DEVICE_ID and (problem := label_problem(head, "")) is not None:
            raise UsageError(f"{name}:1: {problem}", hint)


def _problem(heads: list[str], row: list[str], lines: Mapping[str, int]) -> str | None:
    if len(row) != len(heads):
        return f"{counted(len(row), 'cell')}, and not the {len(heads)} of the first line"
    named = _named(heads, row)
    if named.device_id in lines:
        return f"{named.device_id!r} is in line {lines[named.device_id]} already"
    try:
        check_device_id(named.device_id)
        check_labels(named.labels)
    except UsageError as error:
        return error.problem
    return None


def _named(heads: Iterable[str], row: Iterable[str]) -> Named:
    cells = dict(zip(heads, row, strict=True))
    return Named(cells.pop(DEVICE_ID), cells)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
