"""Regular lines of raw objects, decoded by SQL. Pure: it reads a line, and makes SQL.

A line of a raw object cut at its commas has six cells of the record (`docs/formats.md`) and then, if its data is a flat
object without a comma in a text, a cell a member. The *shape* of such a line is the text before each value: names,
spaces and quotes. A fleet's lines have few shapes. That a line has a shape is proven by how each of its cells begins: a
raw object is known to be unchanged, and so to hold strict JSON, and where there is no backslash every quote opens or
closes a text; so a cell that begins with a member's name can't begin within a text.

What is not proven to be regular is left to `exact.py`: no shape, unusual values, times that are not plain RFC 3339 in
UTC or whole numbers, clocks ahead, events that are faults.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from headrace.archive.columns import OBJECT, REGULAR, name_sql, schema, text_sql
from headrace.event import AHEAD_MS_MAX
from headrace.record import sequence_base, shard_id

MEMBERS_MAX = 48  # of a shape
HEAD = 6  # cells before the data's
_SEQUENCE, _ARRIVED, _DATA = '"seq":"', '"arrived_us":', '"data":{'
_BEFORE = re.compile(r'([ \t]*"([^"\\]*)"[ \t]*:[ \t]*)("?)')
_TEXT = r'[^"\\]*"'
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_BARE = rf"(?:{_NUMBER}|true|false|null)"
_END = r"([ \t]*\}[ \t]*)\}"
_RFC3339 = r"\d{4}-[01]\d-[0-3]\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?Z"
_BYTES_MAX = 100_000  # what is longer may be too long for an item
_SHORT = 64
_LINE_BYTES_MAX = 256 * 1024  # what is longer is not regular
_BUFFER_BYTES = 1024 * 1024  # DuckDB may hold one or two of each file in a statement
# A number is found from 18 digits of the middle of a sequence number; more would need integers of 192 bits.
_START, _DIGITS = 20, 18
_STEP = 2**80 / 10**18  # from one number to the next, in those digits
NUMBER_MAX = int(0.9 * 10**_DIGITS / _STEP)


class Member(NamedTuple):
    """A member of a shape: `before` is the text before its value, without the quote of a text."""

    name: str
    before: str
    is_text: bool


class Shape(NamedTuple):
    """What lines have in common: the members in order, and what closes the data."""

    members: tuple[Member, ...]
    end: str


class Source(NamedTuple):
    """What the lines of some raw objects have in common."""

    stream: str
    shard: int
    shard_created_s: int


def shape_of(line: str) -> Shape | None:
    """Return a line's shape; None if lines like it can't be regular."""
    cells = line.rstrip("\n").split(",")
    if not HEAD < len(cells) <= HEAD + MEMBERS_MAX or not cells[HEAD].startswith(_DATA):
        return None
    members, end = [], ""
    cells[HEAD] = cells[HEAD][len(_DATA) :]
    for place, cell in enumerate(cells[HEAD:], HEAD + 1):
        found = _BEFORE.match(cell)
        if found is None:
            return None
        value = _TEXT if found[3] else _BARE
        is_last = place == len(cells)
        rest = re.fullmatch(value + (_END if is_last else ""), cell[found.end() :])
        if rest is None:
            return None
        end = rest[1] if is_last else ""
        before = (_DATA if place == HEAD + 1 else "") + found[1]
        members.append(Member(found[2], before, bool(found[3])))
    shape = Shape(tuple(members), end)
    return shape if _is_usable(shape) else None


def _is_usable(shape: Shape) -> bool:
    by_name = {member.name: member for member in shape.members}
    is_long_form = "measure" in by_name and "value" in by_name
    return (
        len(by_name) == len(shape.members)
        and all(by_name[name].is_text for name in ("device_id", "id") if name in by_name)
        and (not is_long_form or by_name["measure"].is_text)
    )


def cells_sql(paths_sql: str, count: int) -> str:
    """Return SQL that cuts the lines of raw objects into `count` cells: c0, c1, …; those it can't read are left out."""
    columns = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(count))
    return (
        f"read_csv({paths_sql}, columns = {{{columns}}}, delim = ',', quote = '', escape = '', header = false, "
        "auto_detect = false, compression = 'zstd', null_padding = true, ignore_errors = true, strict_mode = false, "
        f"hive_partitioning = false, max_line_size = {_LINE_BYTES_MAX}, buffer_size = {_BUFFER_BYTES})"
    )


def rows_sql(cells: str, shape: Shape, sources: Sequence[Source], typed: tuple[str, ...], has_backslash: bool) -> str:
    """Return a SELECT over cells: a row a line that has the shape.

    Its columns are those of compacted files, then `REGULAR`, whether the row counts, and `OBJECT`, the place of its
    file; `sources` has what is known of each file. `has_backslash` says whether the objects may have one.
    """
    return _Select(shape, sources, typed, has_backslash).sql(cells)


def _of_file_sql(values: Sequence[str]) -> str:
    """Return SQL of a value that each file has; `values` are SQL themselves."""
    return values[0] if len(set(values)) == 1 else f"[{', '.join(values)}][CAST(file_index AS BIGINT) + 1]"


class _Value(NamedTuple):
    """A member's value: `text` is SQL of its text, `number` of what that is as a double (null if none)."""

    name: str
    text: str
    number: str
    is_text: bool

    @property
    def json(self) -> str:
        return f"""'"' || {self.text} || '"'""" if self.is_text else self.text


class _Select:
    """Collects the columns and conditions of one shape, in three steps: texts are cut out, read, and made columns.

    Each step is a subquery, so that nothing is computed twice; conditions on what was read are a column, as a filter
    would be moved into the steps before, and all they compute with it.
    """

    def __init__(self, shape: Shape, sources: Sequence[Source], typed: tuple[str, ...], has_backslash: bool) -> None:
        self._typed = typed
        self._has_backslash = has_backslash
        self._on_cells: list[str] = []
        self._cut: list[str] = [f"file_index AS {OBJECT}"]
        self._read: list[str] = []
        self._conditions: list[str] = []
        self._columns = dict.fromkeys(schema(typed), "NULL")
        self._residual: list[str] = []  # members that stay JSON, as SQL that is null where there is none
        self._record(sources)
        self._event(shape)

    def sql(self, cells: str) -> str:
        """Return the SELECT."""
        cut = f"SELECT {', '.join(self._cut)} FROM {cells} WHERE {' AND '.join(self._on_cells)}"
        read = f"SELECT *, {', '.join(self._read)} FROM ({cut})"
        columns = ", ".join(f"{sql} AS {name_sql(name)}" for name, sql in self._columns.items())
        regular = " AND ".join(self._conditions)
        return f"SELECT {columns}, ({regular}) IS TRUE AS {REGULAR}, {OBJECT} FROM ({read})"

    def _add(self, step: list[str], name: str, sql: str) -> str:
        step.append(f"{sql} AS {name}")
        return name

    def _record(self, sources: Sequence[Source]) -> None:
        streams = [text_sql(f'"stream":"{source.stream}"') for source in sources]
        shards = [text_sql(f'"shard":"{shard_id(source.shard)}"') for source in sources]
        self._on_cells += [
            "c0 = '{\"v\":1'",
            f"c1 = {_of_file_sql(streams)} AND c2 = {_of_file_sql(shards)}",
            f"starts_with(c5, '{_ARRIVED}') AND ends_with(c5, '000')",
        ]
        if self._has_backslash:
            self._on_cells.append("NOT contains(c4, '\\')")
        cut = self._add(self._cut, "digits", f"substring(c3, {len(_SEQUENCE) + _START + 1}, {_DIGITS})")
        before = self._add(self._cut, "before", _of_file_sql([str(_digits_before(source)) for source in sources]))
        number = f"CAST(((TRY_CAST({cut} AS BIGINT) - {before}) % {10**_DIGITS}) / {_STEP!r} AS BIGINT)"
        cut = self._add(self._cut, "us", f"substring(c5, {len(_ARRIVED) + 1})")
        arrived = self._add(self._read, "arrived", f"make_timestamp(TRY_CAST({cut} AS BIGINT))")
        self._conditions.append(f"{arrived} IS NOT NULL")
        of_file = {
            "stream": [text_sql(source.stream) for source in sources],
            "shard": [str(source.shard) for source in sources],
            "shard_created": [str(source.shard_created_s) for source in sources],
        }
        told = {name: self._add(self._cut, f"its_{name}", _of_file_sql(values)) for name, values in of_file.items()}
        self._columns |= {"arrived_at": arrived, "number": number, **told}

    def _event(self, shape: Shape) -> None:
        values = [self._value(place, member, shape) for place, member in enumerate(shape.members)]
        last = HEAD + len(values)
        self._on_cells.append(f"c{last} IS NULL")
        sizes = " + ".join(f"strlen(c{place})" for place in range(HEAD, last))
        around = len(_DATA[:-1]) + len(shape.end) - len(shape.end.rstrip()) + 1
        size = self._add(self._cut, "size", f"{sizes} + {len(values) - 1 - around}")
        self._conditions.append(f"{size} < {_BYTES_MAX}")
        by_name = {value.name: value for value in values}
        device, identity, time = (by_name.pop(name, None) for name in ("device_id", "id", "time"))
        self._columns |= {
            "device_id": self._short(device) if device else self._add(self._cut, "key", _KEY),
            "id": self._short(identity) if identity else self._add(self._cut, "default_id", _DEFAULT_ID),
            "time": self._time(time) if time else "arrived",
            "bytes": size,
        }
        measure = by_name.pop("measure", None) if "value" in by_name else None
        value = by_name.pop("value") if measure else None
        for other in by_name.values():
            self._reading(other)
        if measure and value:
            self._long_form(measure, value, tuple(by_name))
        if self._residual:
            joined = f"concat_ws(',', {', '.join(self._residual)})"
            self._columns["readings"] = f"'{{' || nullif({joined}, '') || '}}'"

    def _value(self, place: int, member: Member, shape: Shape) -> _Value:
        """Add the conditions on a member's cell, and return its value."""
        cell = f"c{HEAD + place}"
        quote = '"' if member.is_text else ""
        before = member.before + quote
        after = quote + (shape.end + "}" if place == len(shape.members) - 1 else "")
        self._on_cells.append(f"starts_with({cell}, {text_sql(before)})")
        if after:
            self._on_cells.append(f"ends_with({cell}, {text_sql(after)})")
        if member.is_text and self._has_backslash:
            self._on_cells.append(f"NOT contains({cell}, '\\')")
        text = f"substring({cell}, {len(before) + 1}, length({cell}) - {len(before) + len(after)})"
        name = self._add(self._cut, f"v{place}", text)
        number = "NULL" if member.is_text else self._add(self._read, f"n{place}", f"TRY_CAST({name} AS DOUBLE)")
        return _Value(member.name, name, number, member.is_text)

    def _short(self, value: _Value) -> str:
        self._conditions.append(f"strlen({value.text}) BETWEEN 1 AND {_SHORT}")
        return value.text

    def _time(self, value: _Value) -> str:
        """Return the time as a TIMESTAMP that is not ahead of arrival, nor outside the years."""
        if value.is_text:
            self._conditions.append(f"regexp_full_match({value.text}, '{_RFC3339}')")
            sql = f"TRY_CAST({value.text} AS TIMESTAMP)"
        else:
            self._conditions.append(f"regexp_full_match({value.text}, '[0-9]{{1,17}}')")
            length = f"strlen({value.text})"
            unit = f"CASE WHEN {length} <= 11 THEN 1000000 WHEN {length} <= 14 THEN 1000 ELSE 1 END"
            sql = f"make_timestamp(TRY_CAST({value.text} AS BIGINT) * {unit})"
        time = self._add(self._read, "told", sql)
        self._conditions.append(f"{time} >= TIMESTAMP '0001-01-01'")
        self._conditions.append(f"epoch_us({time}) <= epoch_us(arrived) + {AHEAD_MS_MAX * 1000}")
        return time

    def _reading(self, value: _Value) -> None:
        """Add what a member gives: a typed column where it is a number with one, else a member of `readings`."""
        name = text_sql(f'"{value.name}":')
        if value.name in self._typed and not value.is_text:
            self._conditions.append(_is_exact_or_null(value))
            self._columns[value.name] = value.number
            self._residual.append(f"CASE WHEN {value.number} IS NULL THEN {name} || 'null' END")
            return
        if not value.is_text:
            self._conditions.append(_is_bare(value))
        self._residual.append(f"{name} || {value.json}")

    def _long_form(self, measure: _Value, value: _Value, others: tuple[str, ...]) -> None:
        """Add what `measure` and `value` give; a measure that is called like another member is not regular."""
        self._conditions.append(f"{measure.text} <> ''")
        if others:
            self._conditions.append(f"{measure.text} NOT IN ({', '.join(map(text_sql, others))})")
        member = f"""'"' || {measure.text} || '":' || {value.json}"""
        typed = [name for name in self._typed if name not in others]
        if value.is_text or not typed:
            if not value.is_text:
                self._conditions.append(_is_bare(value))
            self._residual.append(member)
            return
        is_typed = self._add(self._read, "is_typed", f"{measure.text} IN ({', '.join(map(text_sql, typed))})")
        self._conditions.append(f"CASE WHEN {is_typed} THEN {_is_exact_or_null(value)} ELSE {_is_bare(value)} END")
        for name in typed:
            self._columns[name] = f"CASE WHEN {measure.text} = {text_sql(name)} THEN {value.number} END"
        self._residual.append(f"CASE WHEN NOT {is_typed} OR {value.number} IS NULL THEN {member} END")


def _digits_before(source: Source) -> int:
    """Return what is taken from the middle digits of sequence numbers; negative, so that none falls below 0."""
    base = str(sequence_base(source.shard_created_s, source.shard, 0))
    digits = int(base[_START : _START + _DIGITS])
    return digits - int(10**_DIGITS)


_KEY = "substring(c4, 8, length(c4) - 8)"
_DEFAULT_ID = "substring(c3, 8, 56) || '.000000.000000'"


def _is_exact_or_null(value: _Value) -> str:
    """Return the condition that a bare value is null, or a number that a double says as it was sent.

    15 digits are always kept, but by doubles at the ends of their range.
    """
    usual = f"strlen({value.text}) <= 15 AND abs({value.number}) BETWEEN 1e-290 AND 1e290"
    other = f"isfinite({value.number}) AND CAST({value.number} AS VARCHAR) = {value.text}"
    return f"(CASE WHEN {usual} THEN true WHEN {value.text} IN ('0', '0.0', 'null') THEN true ELSE {other} END)"


def _is_bare(value: _Value) -> str:
    return f"regexp_full_match({value.text}, '{_BARE}')"
