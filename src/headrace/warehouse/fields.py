"""Rows as the Redshift Data API hands them over: typed fields, CSV, and what describes a column. Pure.

Integers are `longValue`, doubles `doubleValue`, booleans `booleanValue`; everything else, decimals and times included,
is `stringValue`, as Redshift spells it.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

# DuckDB's types as Redshift calls them: (typeName, precision, scale, length).
_PLAIN: dict[str, tuple[str, int, int, int]] = {
    "BOOLEAN": ("bool", 1, 0, 0),
    "TINYINT": ("int2", 5, 0, 0),
    "SMALLINT": ("int2", 5, 0, 0),
    "INTEGER": ("int4", 10, 0, 0),
    "BIGINT": ("int8", 19, 0, 0),
    "UTINYINT": ("int2", 5, 0, 0),
    "USMALLINT": ("int4", 10, 0, 0),
    "UINTEGER": ("int8", 19, 0, 0),
    "UBIGINT": ("numeric", 38, 0, 0),
    "HUGEINT": ("numeric", 38, 0, 0),
    "FLOAT": ("float4", 8, 8, 0),
    "DOUBLE": ("float8", 17, 17, 0),
    "VARCHAR": ("varchar", 65535, 0, 65535),
    "DATE": ("date", 13, 0, 0),
    "TIME": ("time", 15, 6, 0),
    "TIMESTAMP": ("timestamp", 29, 6, 0),
    "TIMESTAMP WITH TIME ZONE": ("timestamptz", 35, 6, 0),
    "BLOB": ("varbyte", 1024000, 0, 1024000),
}
# Redshift's long names, which the translation uses, by its short ones, which the Data API answers.
_SHORT = {
    "boolean": "bool",
    "smallint": "int2",
    "integer": "int4",
    "bigint": "int8",
    "real": "float4",
    "double precision": "float8",
    "character varying": "varchar",
    "character": "bpchar",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
    "time without time zone": "time",
    "decimal": "numeric",
    "binary varying": "varbyte",
}
_SIZES = {short: sizes for short, *sizes in reversed(_PLAIN.values())}
_TYPE = re.compile(r"([a-z ]+?)\s*(?:\((\d+)(?:\s*,\s*(\d+))?\))?", re.IGNORECASE)
_SIGNED = frozenset({"int2", "int4", "int8", "float4", "float8", "numeric"})
_LONG = frozenset({"int2", "int4", "int8"})
_DOUBLE = frozenset({"float4", "float8"})


class Column(NamedTuple):
    """A column of a result, its type in Redshift's short name."""

    name: str
    type: str
    precision: int
    scale: int
    length: int

    def metadata(self, table: str = "", *, nullable: int = 1) -> dict[str, Any]:
        """Return it as ColumnMetadata; `nullable` 1: it may be null."""
        return {
            "isCaseSensitive": self.type in ("varchar", "bpchar"),
            "isCurrency": False,
            "isSigned": self.type in _SIGNED,
            "label": self.name,
            "length": self.length,
            "name": self.name,
            "nullable": nullable,
            "precision": self.precision,
            "scale": self.scale,
            "schemaName": "public" if table else "",
            "tableName": table,
            "typeName": self.type,
        }


def column(name: str, kind: str) -> Column:
    """Return the column for a type, in DuckDB's spelling or in Redshift's; an unknown one is text."""
    if kind in _PLAIN:
        return Column(name, *_PLAIN[kind])
    found = _TYPE.fullmatch(kind)
    word = found[1].lower() if found else ""
    short = _SHORT.get(word, word)
    precision, scale, length = _SIZES.get(short, (65535, 0, 65535))
    if found and found[2]:
        if short == "numeric":
            precision, scale = int(found[2]), int(found[3] or 0)
        else:
            precision = length = int(found[2])
    return Column(
        name, short if short in _SIZES or short in ("bpchar", "super") else "varchar", precision, scale, length
    )


def encoder(columns: Sequence[Column]) -> Callable[[Sequence[Any]], list[dict[str, Any]]]:
    """Return what makes the Fields of a row."""
    makes = [_maker(each.type) for each in columns]

    def encode(row: Sequence[Any]) -> list[dict[str, Any]]:
        return [{"isNull": True} if value is None else make(value) for make, value in zip(makes, row, strict=True)]

    return encode


def _maker(kind: str) -> Callable[[Any], dict[str, Any]]:
    if kind in _LONG:
        return lambda value: {"longValue": int(value)}
    if kind in _DOUBLE:
        return _double
    if kind == "bool":
        return lambda value: {"booleanValue": bool(value)}
    return lambda value: {"stringValue": text(value)}


def _double(value: Any) -> dict[str, Any]:
    number = float(value)
    # JSON has no such numbers; AWS's protocol writes them as these texts, which SDKs read as numbers.
    return {"doubleValue": number if math.isfinite(number) else _non_finite(number)}


def _non_finite(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def text(value: Any) -> str:
    """Return a value that is not null as Redshift spells it."""
    match value:
        case str():
            return value
        case bool():
            return "t" if value else "f"
        case datetime():
            return _time(value)
        case Decimal():
            return f"{value:f}"
        case date() | int():
            return str(value)
        case float():
            return repr(value) if math.isfinite(value) else _non_finite(value)
        case bytes() | bytearray():
            return value.hex()
        case time():
            return _fraction(value.isoformat())
        case timedelta():
            return str(value)
        case list() | dict() | tuple():
            return msgspec.json.encode(value, enc_hook=text).decode()
    return str(value)


def _time(value: datetime) -> str:
    plain = _fraction(value.replace(tzinfo=None).isoformat(" "))
    if value.tzinfo is None:
        return plain
    offset = value.strftime("%z")
    return plain + (offset[:3] if offset.endswith("00") else f"{offset[:3]}:{offset[3:]}")


def _fraction(iso: str) -> str:
    return iso.rstrip("0").rstrip(".") if "." in iso else iso


def csv_text(columns: Sequence[Column], rows: Iterable[Sequence[Any]], *, header: bool) -> str:
    """Return rows as CSV, with a header line on the first page; null is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    if header:
        writer.writerow([each.name for each in columns])
    writer.writerows(["" if value is None else text(value) for value in row] for row in rows)
    return out.getvalue()
