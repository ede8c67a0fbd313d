"""Dates, timestamps and intervals: parts, arithmetic, formats. Pure."""

import re
from typing import Any

from headrace.warehouse.redshift.types import DATE, INTEGER, INTEGERS, INTERVAL, TIMESTAMP, UNKNOWN, Refused
from headrace.warehouse.redshift.values import Value, as_type, cast, literal_as

# Redshift's names of a part -> DuckDB's name of it.
PARTS = {
    name: part
    for part, names in {
        "year": "year years y yr yrs",
        "quarter": "quarter quarters qtr qtrs",
        "month": "month months mon mons",
        "week": "week weeks w",
        "day": "day days d",
        "hour": "hour hours h hr hrs",
        "minute": "minute minutes m min mins",
        "second": "second seconds s sec secs",
        "millisecond": "millisecond milliseconds ms msec msecs msecond mseconds",
        "microsecond": "microsecond microseconds us usec usecs usecond useconds",
    }.items()
    for name in names.split()
}
EXTRACTED = {
    **{name: part for name, part in PARTS.items() if part not in ("second", "millisecond", "microsecond")},
    "dow": "dow", "dayofweek": "dow", "dw": "dow", "weekday": "dow",
    "doy": "doy", "dayofyear": "doy", "yearday": "doy",
}  # fmt: skip
_INTERVAL = re.compile(r" *([+-]?\d{1,9}) *([a-zA-Z]+) *")
_FORMATS = re.compile(
    r"(?P<part>(?i:YYYY|HH24|HH12|HH|IYYY|DDD|MI|MM|DD|SS(?!SS)|MS|US|IW|Q)|AM|PM)"
    r"|(?P<quoted>\"[^\"]*\")|(?P<plain>[-/:., _])"  # no T: DDTH24 is the day with its ending, 05TH, and 24
)
_STRFTIME = {
    "YYYY": "%Y", "HH24": "%H", "HH12": "%I", "HH": "%I", "IYYY": "%G", "DDD": "%j", "MI": "%M",
    "MM": "%m", "DD": "%d", "SS": "%S", "MS": "%g", "US": "%f", "IW": "%V", "AM": "%p", "PM": "%p",
}  # fmt: skip


def part_of(node: Any, known: dict[str, str], what: str) -> str:
    """Return DuckDB's name of the part that a node names, written as a name or as a text."""
    kind = type(node).__name__
    name = node.name.lower() if kind in ("Column", "Var", "Literal", "Identifier") else ""
    if (kind == "Column" and node.args.get("table")) or name not in known:
        instead = {
            "epoch": "DATEDIFF(second, '1970-01-01', t)",
            "second": "DATEDIFF(second, DATE_TRUNC('minute', t), t)",
        }
        raise Refused(
            f"{what} with {name or 'that part'} is not supported.",
            f"Use {instead.get(name, 'one of ' + ', '.join(dict.fromkeys(known.values())))}.",
        )
    return known[name]


def as_timestamp(value: Value, what: str) -> Value:
    """Return a date, timestamp or text literal as a timestamp."""
    return as_type(value, TIMESTAMP, what)


def shifted(value: Value, part: str, count: str) -> str:
    """Return SQL of a timestamp moved by a count of parts; a month's last days stay in the month."""
    months = {"year": 12, "quarter": 3, "month": 1}
    if part in months:
        return f"({value.sql} + to_months(CAST({count} * {months[part]} AS INTEGER)))"
    if part in ("week", "day"):
        return f"({value.sql} + to_days(CAST({count} * {7 if part == 'week' else 1} AS INTEGER)))"
    return f"({value.sql} + to_{part}s(CAST({count} AS BIGINT)))"


def interval(node: Any) -> Value:
    """Return an interval that is written out."""
    amount, unit = node.this, node.args.get("unit")
    written = f"{amount.name} {unit.name if unit is not None else ''}" if type(amount).__name__ == "Literal" else ""
    match = _INTERVAL.fullmatch(written)
    part = PARTS.get(match[2].lower()) if match else None
    if match is None or part is None:
        raise Refused("This INTERVAL is not supported.", "Write one number and one part: INTERVAL '15 minutes'.")
    return Value(f"INTERVAL '{int(match[1])} {part}s'", INTERVAL)


def arithmetic(left: Value, operator: str, right: Value) -> Value:
    """Return a sum or difference in which a date, a timestamp or an interval takes part."""
    if left.literal is not None and left.type == UNKNOWN and right.type in (DATE, TIMESTAMP):
        left = literal_as(left.literal, right.type, operator)
    if right.literal is not None and right.type == UNKNOWN and left.type in (DATE, TIMESTAMP):
        right = literal_as(right.literal, left.type, operator)
    if operator == "+" and right.type in (DATE, TIMESTAMP):
        left, right = right, left
    if left.type in (DATE, TIMESTAMP) and operator in "+-":
        if right.type == INTERVAL:
            return Value(f"({cast(left, TIMESTAMP).sql} {operator} {right.sql})", TIMESTAMP)
        if left.type == DATE and right.type in INTEGERS:
            return Value(f"CAST({left.sql} {operator} CAST({right.sql} AS INTEGER) AS DATE)", DATE)
        if left.type == right.type == DATE and operator == "-":
            return Value(f"CAST({left.sql} - {right.sql} AS INTEGER)", INTEGER)
    raise Refused(
        f"{left.type} {operator} {right.type} is not supported.",
        "Use DATEDIFF(second, a, b) for a difference, DATEADD(day, 1, t) or + INTERVAL '1 day' for a sum.",
    )


def format_sql(value: Value, pattern: str, what: str) -> str:
    """Return SQL that writes a timestamp in a format of TO_CHAR."""
    parts, at, pieces = pattern, 0, [""]
    while at < len(parts):
        match = _FORMATS.match(parts, at)
        if match is None:
            raise Refused(f"{what}: {parts[at:]!r} in a format is not supported.", _format_hint())
        at = match.end()
        part = (match["part"] or "").upper()
        if part == "Q":
            pieces += [f"CAST(quarter({value.sql}) AS VARCHAR)", ""]
        elif part:
            pieces[-1] += _STRFTIME[part]
        else:
            pieces[-1] += (match["plain"] or match["quoted"][1:-1]).replace("%", "%%")
    written = [f"strftime({value.sql}, '{_escaped(p)}')" if i % 2 == 0 else p for i, p in enumerate(pieces) if p]
    return f"({' || '.join(written)})" if written else "''"


def parse_format(pattern: str, what: str) -> tuple[str, str]:
    """Return strptime's format, and a regular expression of what it reads, for a format of TO_DATE or TO_TIMESTAMP."""
    shapes = {"YYYY": r"\d{4}", "HH24": r"\d{2}", "MI": r"\d{2}", "MM": r"\d{2}", "DD": r"\d{2}", "SS": r"\d{2}"}
    format_, shape, at = "", "", 0
    while at < len(pattern):
        match = _FORMATS.match(pattern, at)
        part = (match["part"] or "").upper() if match else ""
        if match is None or (part and part not in shapes) or match["quoted"]:
            raise Refused(f"{what}: {pattern[at:]!r} in a format is not supported.", "Use YYYY, MM, DD, HH24, MI, SS.")
        at = match.end()
        format_ += _STRFTIME[part] if part else match["plain"]
        shape += shapes[part] if part else re.escape(match["plain"]).replace(r"\-", "-")
    if any(format_.count(part) != 1 for part in ("%Y", "%m", "%d")):
        raise Refused(f"{what} takes a year, a month and a day.", "Write all three: 'YYYY-MM-DD'.")
    return format_, shape


def _escaped(text: str) -> str:
    return text.replace("'", "''")


def _format_hint() -> str:
    return 'Use YYYY, MM, DD, DDD, Q, IYYY, IW, HH24, HH12, MI, SS, MS, US, AM and punctuation; other letters in "…".'
