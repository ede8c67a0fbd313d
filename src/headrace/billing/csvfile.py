"""A CSV file that people write, read with the line of every value, and everything that is wrong with it told. Pure.

UTF-8, with or without a byte order mark; commas; the first line names the columns, in any order. Lines are counted
from 1, as editors do; blank ones are passed over.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple, TypeVar

from headrace.errors import UsageError

SHOWN = 20  # faults in a message; the rest are counted
NAME_BYTES_MAX = 256
_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?)?", re.ASCII | re.IGNORECASE
)
_DECIMAL = re.compile(r"\d+(?:\.\d+)?", re.ASCII)

T = TypeVar("T")


class Fault(NamedTuple):
    """Something wrong at `line` (from 1; 0 for the whole file), and what to write instead."""

    file: str
    line: int
    problem: str
    hint: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.problem} {self.hint}"


class FaultyFile(UsageError):
    """A file is wrong in one or more places."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        lines = [str(fault) for fault in faults[:SHOWN]]
        if len(faults) > SHOWN:
            lines.append(f"… and {len(faults) - SHOWN:,} more.")
        super().__init__("\n".join(lines), "Mend the file; nothing is billed by it until then.")
        self.faults = tuple(faults)


class Faults:
    """Collects what is wrong with a file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Fault] = []

    def add(self, line: int, problem: str, hint: str) -> None:
        """Take a fault down."""
        self.found.append(Fault(self.file, line, problem, hint))

    def check(self) -> None:
        """Raise FaultyFile if there were any."""
        if self.found:
            raise FaultyFile(sorted(self.found, key=lambda fault: fault.line))


class Row(NamedTuple):
    """A line's values by column; `line` is where it begins."""

    line: int
    values: dict[str, str]


class Wrong(ValueError):
    """A value that can't stand where it does."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint


@contextmanager
def told(faults: Faults, line: int) -> Iterator[None]:
    """Take down what is `Wrong` inside, at a line."""
    try:
        yield
    except Wrong as wrong:
        faults.add(line, wrong.problem, wrong.hint)


def rows(data: bytes, columns: Sequence[str], faults: Faults) -> list[Row]:
    """Return the rows of a file; of a row with faults there is none. A file without any byte has no rows."""
    text = _decoded(data, faults)
    if text is None or not text:
        return []
    found: list[Row] = []
    names: list[str] | None = None
    for line, values in _records(text, faults):
        if names is None:
            names = _header(line, values, columns, faults)
            if names is None:
                return []
        elif len(values) != len(names):
            problem = f"there are {len(values)} values, not {len(names)}."
            faults.add(line, problem, f"Write one for each of {','.join(names)}; nothing stands for an empty one.")
        else:
            found.append(Row(line, dict(zip(names, values, strict=True))))
    if names is None:
        faults.add(1, "there is no header.", f"Begin with the line {','.join(columns)}.")
    return found


def instant(column: str, value: str) -> datetime:
    """Return the moment that a value means, in UTC; raises Wrong."""
    hint = "Write a day or a moment (UTC, unless an offset says otherwise), such as 2026-11-01 or 2026-11-01T12:00:00Z."
    if not _INSTANT.fullmatch(value):
        raise Wrong(f"{column} is {value!r}, no day and no moment.", hint)
    try:
        found = datetime.fromisoformat(value.upper())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Wrong(f"{column} is {value!r}, which no calendar has.", hint) from None


def decimal(column: str, value: str, whole: int, decimals: int) -> Decimal:
    """Return a number of 0 or more with at most so many digits before and behind the point; raises Wrong."""
    hint = "Write a number of 0 or more with a decimal point, such as 12 or 0.002."
    if not decimals:
        hint = "Write a whole number of 0 or more, such as 1000."
    if not _DECIMAL.fullmatch(value):
        negative = value.startswith("-") and _DECIMAL.fullmatch(value[1:])
        raise Wrong(f"{column} is {value!r}, {'a negative' if negative else 'no decimal'} number.", hint)
    before, _, behind = value.partition(".")
    if behind.rstrip("0") and not decimals:
        raise Wrong(f"{column} is {value!r}, no whole number.", hint)
    if len(before.lstrip("0")) > whole or len(behind.rstrip("0")) > decimals:
        limit = f"{whole} digits before the point and {decimals} behind it" if decimals else f"{whole} digits"
        shown = value if len(value) <= 60 else f"{value[:57]}..."
        raise Wrong(f"{column} is {shown!r}, which has too many digits.", f"Write at most {limit}.")
    return Decimal(before + ("." + behind.rstrip("0") if behind.rstrip("0") else ""))


def name(column: str, value: str, bytes_max: int = NAME_BYTES_MAX) -> str:
    """Return a value that names something; raises Wrong."""
    if not value:
        raise Wrong(f"{column} is empty.", f"Write the name of the {column}.")
    if len(value.encode()) > bytes_max:
        raise Wrong(f"{column} has {len(value.encode()):,} bytes.", f"Write a name of at most {bytes_max:,}.")
    if not value.isprintable():
        raise Wrong(f"{column} is {value!r}, with a control character in it.", "Write it without.")
    if value != value.strip():
        raise Wrong(f"{column} is {value!r}, with space around it.", f"Write {value.strip()}.")
    return value


def one_of(column: str, value: str, allowed: Sequence[str]) -> str:
    """Return a value that is one of some; raises Wrong."""
    if value not in allowed:
        said = f"{value!r}" if value else "empty"
        raise Wrong(f"{column} is {said}.", f"Write one of: {', '.join(allowed)}.")
    return value


def attempt(faults: Faults, line: int, read: Callable[[], T]) -> T | None:
    """Return what `read` returns, or None with a fault at the line."""
    with told(faults, line):
        return read()
    return None


def _decoded(data: bytes, faults: Faults) -> str | None:
    if (encoding := _BOMS.get(data[:2])) is not None or b"\0" in data:
        faults.add(1, f"the file is not UTF-8, but {encoding or 'binary, or UTF-16'}.", "Save it as CSV in UTF-8.")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        faults.add(line, f"byte {data[error.start]:#04x} is not UTF-8.", "Save the file as CSV in UTF-8.")
        return None


def _records(text: str, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for values in reader:
            if values and values != [""]:
                yield line, values
            line = reader.line_num + 1
    except csv.Error as error:
        hint = 'A quote inside a value is written twice, and a value with one stands in quotes: "say ""hi""".'
        faults.add(line, f"this can't be read as CSV: {error}.", hint)


def _header(line: int, values: list[str], columns: Sequence[str], faults: Faults) -> list[str] | None:
    names = [value.strip() for value in values]
    expected = ",".join(columns)
    if sorted(names) == sorted(columns):
        return names
    if len(names) == 1 and any(separator in names[0] for separator in ";\t"):
        faults.add(line, "values are separated by semicolons or tabs.", f"Separate them by commas: {expected}")
    elif not set(names) & set(columns):
        faults.add(line, "there is no header.", f"Begin with the line {expected}")
    else:
        missing = [each for each in columns if each not in names]
        wrong = [each for each in names if each not in columns or names.count(each) > 1]
        parts = [f"lacks {', '.join(missing)}"] if missing else []
        parts += [f"has {', '.join(dict.fromkeys(wrong))!r} where it should not"] if wrong else []
        faults.add(line, f"the header {' and '.join(parts)}.", f"Write {expected}")
    return None
