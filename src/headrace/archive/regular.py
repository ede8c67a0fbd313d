"""Regular lines of raw objects, decoded by SQL. Pure: it reads a line, and makes SQL.

A line of a raw object cut at its commas has six cells of the record (`docs/formats.md`) and then, if its data is a flat
object without a comma or a backslash in a text, a cell a member. The *shape* of such a line is the text before each
value: names, spaces and quotes. A fleet's lines have few shapes. SQL can check that a line has a shape: each cell
starts with the text before its value, and ends as it should. As a raw object is known to be unchanged, and so to hold
strict JSON, that proves where each value begins and ends: by induction, each cell begins a member of `data`.

What is not proven to be regular is left to `exact.py`: no shape, unusual values, times that are not plain RFC 3339 in
UTC or whole numbers, clocks ahead, events that are faults.
"""

import re
from typing import NamedTuple

from headrace.archive.columns import name_sql, schema, text_sql
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
        "hive_partitioning = false)"
    )


def rows_sql(cells: str, shape: Shape, source: Source, typed: tuple[str, ...]) -> str:
    """Return a SELECT over cells: the rows of the lines that have the shape; `object` is the place of their file."""
    return _Select(shape, source, typed).sql(cells)


class _Value(NamedTuple):
    """A value as SQL: `sql` is its text; of a number that may be anything, `number` is that as a double."""

    name: str
    sql: str
    is_text: bool

    @property
    def json(self) -> str:
        return f"""'"' || {self.sql} || '"'""" if self.is_text else self.sql


class _Select:
    """Collects the columns and conditions of one shape."""

    def __init__(self, shape: Shape, source: Source, typed: tuple[str, ...]) -> None:
        self._typed = typed
        self._aliases: list[str] = []
        self._cheap: list[str] = []  # conditions on cells
        self._dear: list[str] = []  # conditions on what was made of them
        self._columns = dict.fromkeys(schema(typed), "NULL")
        self._residual: list[str] = []  # members that stay JSON, as SQL that is null where there is none
        self._record(source)
        self._members(shape, source)

    def sql(self, cells: str) -> str:
        columns = ", ".join(f"{sql} AS {name_sql(name)}" for name, sql in self._columns.items())
        inner = f"SELECT file_index AS object, {', '.join(self._aliases)} FROM {cells} WHERE {_all(self._cheap)}"
        return f"SELECT {columns}, object FROM ({inner}) WHERE {_all(self._dear)}"

    def _alias(self, name: str, sql: str) -> str:
        self._aliases.append(f"{sql} AS {name}")
        return name

    def _record(self, source: Source) -> None:
        stream, shard = f'"stream":"{source.stream}"', f'"shard":"{shard_id(source.shard)}"'
        self._cheap += [
            "c0 = '{\"v\":1'",
            f"c1 = {text_sql(stream)} AND c2 = {text_sql(shard)}",
            f"starts_with(c3, '{_SEQUENCE}') AND strlen(c3) = {len(_SEQUENCE) + 57}",
            "starts_with(c4, '\"key\":\"') AND ends_with(c4, '\"') AND strlen(c4) > 8 AND NOT contains(c4, '\\')",
            f"starts_with(c5, '{_ARRIVED}') AND ends_with(c5, '000')",
        ]
        base = sequence_base(source.shard_created_s, source.shard, 0)
        middle = int(str(base)[_START : _START + _DIGITS])
        digits = f"TRY_CAST(substring(c3, {len(_SEQUENCE) + _START + 1}, {_DIGITS}) AS BIGINT)"
        number = f"CAST((({digits} - {middle} + {10**_DIGITS}) % {10**_DIGITS}) / {_STEP!r} AS BIGINT)"
        arrived = self._alias("arrived", f"make_timestamp(TRY_CAST(substring(c5, {len(_ARRIVED) + 1}) AS BIGINT))")
        self._dear.append(f"{arrived} IS NOT NULL")
        self._columns |= {
            "arrived_at": arrived,
            "stream": text_sql(source.stream),
            "shard": str(source.shard),
            "shard_created": str(source.shard_created_s),
            "number": self._alias("place", number),
        }

    def _members(self, shape: Shape, source: Source) -> None:
        values = [self._value(place, member, shape) for place, member in enumerate(shape.members)]
        last = HEAD + len(values)
        sizes = " + ".join(f"strlen(c{place})" for place in range(HEAD, last))
        around = len(_DATA[:-1]) + len(shape.end) - len(shape.end.rstrip()) + 1
        size = self._alias("size", f"{sizes} + {len(values) - 1 - around}")
        self._cheap.append(f"c{last} IS NULL")
        self._dear.append(f"{size} < {_BYTES_MAX}")
        by_name = {value.name: value for value in values}
        device, identity, time = (by_name.pop(name, None) for name in ("device_id", "id", "time"))
        self._columns |= {
            "device_id": self._short(device.sql) if device else "substring(c4, 8, length(c4) - 8)",
            "id": self._short(identity.sql) if identity else "substring(c3, 8, 56) || '.000000.000000'",
            "time": self._time(time) if time else "arrived",
            "bytes": size,
        }
        if device is None:
            self._columns["device_id"] = self._alias("key", self._columns["device_id"])
        if identity is None:
            self._columns["id"] = self._alias("sequence", self._columns["id"])
        if "measure" in by_name and "value" in by_name:
            measure, value = by_name.pop("measure"), by_name.pop("value")
            for other in by_name.values():
                self._reading(other)
            self._long_form(measure, value, tuple(by_name))
        else:
            for other in by_name.values():
                self._reading(other)
        if self._residual:
            joined = f"concat_ws(',', {', '.join(self._residual)})"
            self._columns["readings"] = f"'{{' || nullif({joined}, '') || '}}'"

    def _value(self, place: int, member: Member, shape: Shape) -> _Value:
        """Add the conditions on a member's cell, and return its value."""
        cell = f"c{HEAD + place}"
        end = shape.end + "}" if place == len(shape.members) - 1 else ""
        quote = '"' if member.is_text else ""
        before, after = member.before + quote, quote + end
        self._cheap.append(f"starts_with({cell}, {text_sql(before)})")
        if after:
            self._cheap.append(f"ends_with({cell}, {text_sql(after)})")
        if member.is_text:
            self._cheap.append(f"length({cell}) >= {len(before) + len(after)} AND NOT contains({cell}, '\\')")
        text = f"substring({cell}, {len(before) + 1}, length({cell}) - {len(before) + len(after)})"
        return _Value(member.name, self._alias(f"v{place}", text), member.is_text)

    def _short(self, sql: str) -> str:
        self._dear.append(f"strlen({sql}) BETWEEN 1 AND {_SHORT}")
        return sql

    def _time(self, value: _Value) -> str:
        """Return the time as a TIMESTAMP that is not ahead of arrival, nor outside the years."""
        if value.is_text:
            self._dear.append(f"regexp_full_match({value.sql}, '{_RFC3339}')")
            time = f"TRY_CAST({value.sql} AS TIMESTAMP)"
        else:
            self._dear.append(f"regexp_full_match({value.sql}, '[0-9]{{1,17}}')")
            length = f"strlen({value.sql})"
            unit = f"CASE WHEN {length} <= 11 THEN 1000000 WHEN {length} <= 14 THEN 1000 ELSE 1 END"
            time = f"make_timestamp(TRY_CAST({value.sql} AS BIGINT) * {unit})"
        ahead = f"INTERVAL {AHEAD_MS_MAX} MILLISECONDS"
        self._dear.append(f"{time} >= TIMESTAMP '0001-01-01' AND {time} <= arrived + {ahead}")
        return time

    def _reading(self, value: _Value) -> None:
        """Add what a member gives: a typed column where it is a number with one, else a member of `readings`."""
        name = text_sql(f'"{value.name}":')
        if value.name in self._typed and not value.is_text:
            self._columns[value.name] = self._number(value.sql)
            self._residual.append(f"CASE WHEN {value.sql} = 'null' THEN {name} || 'null' END")
        else:
            self._check_bare(value)
            self._residual.append(f"{name} || {value.json}")

    def _long_form(self, measure: _Value, value: _Value, others: tuple[str, ...]) -> None:
        self._dear.append(f"{measure.sql} <> ''")
        if others:
            names = ", ".join(map(text_sql, others))
            self._dear.append(f"{measure.sql} NOT IN ({names})")
        if value.is_text:
            self._residual.append(f"""'"' || {measure.sql} || '":' || {value.json}""")
            return
        names = ", ".join(text_sql(name) for name in self._typed if name not in others)
        is_typed = f"{measure.sql} IN ({names})" if names else "false"
        # A null is a number in no column: it stays JSON. Any other value must be one, or be regular JSON.
        is_number = self._number_or_null(value.sql)
        self._dear.append(f"(({is_typed} AND {is_number}) OR (NOT {is_typed} AND {self._is_bare(value.sql)}))")
        number = f"TRY_CAST({value.sql} AS DOUBLE)"
        for name in self._typed:
            if name not in others:
                self._columns[name] = f"CASE WHEN {measure.sql} = {text_sql(name)} THEN {number} END"
        member = f"""'"' || {measure.sql} || '":' || {value.sql}"""
        self._residual.append(f"CASE WHEN NOT {is_typed} OR {value.sql} = 'null' THEN {member} END")

    def _number(self, sql: str) -> str:
        self._dear.append(self._number_or_null(sql))
        return f"TRY_CAST({sql} AS DOUBLE)"

    def _number_or_null(self, sql: str) -> str:
        """Return the condition that a bare value is null, or a number that a double says as it was sent."""
        number = f"TRY_CAST({sql} AS DOUBLE)"
        short = f"strlen({sql}) <= 15 AND NOT contains({sql}, 'e') AND NOT contains({sql}, 'E')"
        exact = f"({short} OR CAST({number} AS VARCHAR) = {sql})"
        return f"({sql} = 'null' OR ({sql} >= '-' AND {sql} < ':' AND isfinite({number}) AND {exact}))"

    def _check_bare(self, value: _Value) -> None:
        if not value.is_text:
            self._dear.append(self._is_bare(value.sql))

    def _is_bare(self, sql: str) -> str:
        return f"regexp_full_match({sql}, '{_BARE}')"


def _all(conditions: list[str]) -> str:
    return " AND ".join(conditions)
