"""CAST and `::`: which conversions mean the same on Redshift and DuckDB, and what to write instead of others. Pure."""

import re
from typing import Any

from headrace.warehouse.redshift import types
from headrace.warehouse.redshift.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOATS,
    INTEGER,
    INTEGERS,
    REAL,
    SMALLINT,
    TIMESTAMP,
    UNKNOWN,
    VARCHAR,
    Refused,
    Type,
)
from headrace.warehouse.redshift.values import (
    DATE_TEXT,
    FALSE_TEXTS,
    TIMESTAMP_TEXT,
    TRUE_TEXTS,
    Value,
    as_type,
    failing,
    literal_as,
    text_sql,
)

_NAMES = {
    "SMALLINT": SMALLINT,
    "INT": INTEGER,
    "BIGINT": BIGINT,
    "FLOAT": REAL,
    "DOUBLE": DOUBLE,
    "BOOLEAN": BOOLEAN,
    "DATE": DATE,
    "TIMESTAMP": TIMESTAMP,
}
_INSTEAD = {
    "CHAR": "VARCHAR",
    "NCHAR": "VARCHAR",
    "BPCHAR": "VARCHAR",
    "TEXT": "VARCHAR(256), which TEXT is on Redshift",
    "TIMESTAMPTZ": "TIMESTAMP: times are UTC",
    "TIMETZ": "TIMESTAMP",
    "TIME": "TIMESTAMP, or DATE_PART(hour, …)",
    "SUPER": "VARCHAR, and JSON_EXTRACT_PATH_TEXT",
    "GEOMETRY": "VARCHAR",
    "VARBINARY": "VARCHAR",
}
_VARCHARS = ("VARCHAR", "NVARCHAR")
BYTES_MAX = 65_535
BYTES_DEFAULT = 256  # of a VARCHAR column that says no size
_WHOLE = r" *[+-]?[0-9]+ *"
_CONSTANT = re.compile(r"(?:\(- )?CAST\([0-9.]+ AS DECIMAL\(\d+,\d+\)\)\)?")  # which is rounded
_FLOAT = r" *[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})? *"


def type_of(node: Any) -> tuple[Type, int | None]:
    """Return the type that a node names, and the bytes that a VARCHAR may have (None where it is not limited)."""
    name = str(getattr(node.this, "name", node.this))
    sizes = [part.name for part in node.expressions]
    if name in _VARCHARS:
        if not sizes or sizes[0].upper() == "MAX":  # without a size a CAST cuts nothing off
            return VARCHAR, None
        size = _size(sizes[0])
        if not 1 <= size <= BYTES_MAX:
            raise Refused(f"VARCHAR({size}) is no type.", f"Write 1 to {BYTES_MAX} bytes, or VARCHAR(MAX).")
        return VARCHAR, size if size < BYTES_MAX else None
    if name in ("DECIMAL", "NUMERIC"):
        precision, scale = ([_size(size) for size in sizes] + [0, 0])[:2] if sizes else (18, 0)
        if not 1 <= precision <= types.PRECISION_MAX or scale > precision:
            raise Refused(f"DECIMAL({precision}, {scale}) is no type.", "Write up to 38 digits, DECIMAL(18, 4).")
        return Type("numeric", precision, scale), None
    if name in _NAMES and not sizes:
        return _NAMES[name], None
    if name in ("FLOAT", "DOUBLE") and len(sizes) == 1:  # FLOAT(24); sqlglot takes FLOAT for DOUBLE
        return (REAL if _size(sizes[0]) <= 24 else DOUBLE), None
    raise Refused(f"The type {name} is not supported.", f"Use {_INSTEAD.get(name, 'VARCHAR, or a number type')}.")


def _size(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise Refused(f"{text!r} is no size of a type.", "Write a number: VARCHAR(100).")
    return int(text)


def cast(value: Value, kind: Type, bytes_max: int | None) -> Value:
    """Return an explicit conversion."""
    what = f"CAST to {kind}"
    if value.is_null:
        return as_type(value, kind, what)
    if kind == VARCHAR:
        return _to_text(value, bytes_max)
    if value.literal is not None and value.type == UNKNOWN:
        return literal_as(value.literal, kind, what)
    if value.type in (VARCHAR, UNKNOWN):
        return _from_text(value, kind)
    if value.type == kind:
        return value
    if value.type in FLOATS and kind.name == "numeric":
        return _to_numeric(value, kind)
    plain = Value(f"CAST({value.sql} AS {kind.duckdb})", kind)
    if types.is_number(value.type) and types.is_number(kind):
        if kind.name == "numeric" and _loses_decimals(value, kind):
            raise Refused(
                f"CAST of {value.type} to {kind}: that explicit casts round or cut is not documented.",
                f"Say which: ROUND(x, {kind.scale}) or TRUNC(x, {kind.scale}).",
            )
        if kind in INTEGERS and not _is_whole(value):
            raise Refused(
                f"CAST of {value.type} to {kind}: whether halves are rounded or cut is not documented.",
                "Say which: CAST(TRUNC(x) AS …), CAST(FLOOR(x) AS …), or ROUND of a DECIMAL.",
            )
        return plain._replace(is_whole=_is_whole(value))
    if (value.type, kind) in {(DATE, TIMESTAMP), (TIMESTAMP, DATE), (BOOLEAN, INTEGER), (BOOLEAN, BIGINT)}:
        return plain
    if value.type in INTEGERS and kind == BOOLEAN:
        return Value(f"({value.sql} <> 0)", BOOLEAN)
    raise Refused(f"CAST of {value.type} to {kind} is not supported.", "Write a CASE that says what you mean.")


def _to_numeric(value: Value, kind: Type) -> Value:
    """Convert a double that has no more decimals: Redshift says that explicit casts don't round, not that they cut."""
    if value.type == REAL:
        raise Refused(f"CAST of real to {kind}: engines differ in the digits.", "CAST it to DOUBLE PRECISION first.")
    problem = f"CAST of a double precision to {kind}: it has more decimals. Write ROUND(CAST(x AS {kind}), n), n below."
    sql = failing(
        f"{_has_more(value, kind)} OR {_is_long(value, kind)}", problem, f"CAST({value.sql} AS {kind.duckdb})"
    )
    return Value(f"({sql})", kind, is_whole=_is_whole(value))


def _loses_decimals(value: Value, kind: Type) -> bool:
    """Tell whether a numeric type keeps fewer decimals than a value may have; written numbers are rounded."""
    return types.as_numeric(value.type).scale > kind.scale and not _CONSTANT.fullmatch(value.sql)


def _is_long(value: Value, kind: Type) -> str:
    """Return whether a double has more digits than are sure: 15, but for whole numbers' zeros."""
    return f"(abs({value.sql}) >= 1e{15 - kind.scale} AND ({value.sql} % 1 <> 0 OR abs({value.sql}) >= 1e15))"


def _has_more(value: Value, kind: Type) -> str:
    """Return whether a double has more decimals than a numeric type, but for what its own digits are worth."""
    scaled = f"({value.sql} * 1e{kind.scale})"
    return f"abs({scaled} - round({scaled})) > abs({scaled}) * 1e-15"


def rounded(value: Value, kind: Type, name: str, places: int) -> str:
    """Return ROUND or TRUNC of a double cast to numeric: an error where it matters whether the cast rounds or cuts."""
    fraction = f"abs(abs(({value.sql} * 1e{places}) % 1) - 0.5)"
    near = (
        f"{fraction} <= 1e{places - kind.scale}" if name == "round" else f"0.5 - {fraction} <= 1e{places - kind.scale}"
    )
    problem = f"{name.upper()} of a double precision as {kind}: it is too close to call. Cast it to more decimals."
    plain = f"{name}(CAST({value.sql} AS {kind.duckdb}), {places})"
    return f"({failing(f'({_has_more(value, kind)} AND {near}) OR {_is_long(value, kind)}', problem, plain)})"


def _is_whole(value: Value) -> bool:
    return value.type in INTEGERS or value.is_whole or (value.type.name == "numeric" and value.type.scale == 0)


def _to_text(value: Value, bytes_max: int | None) -> Value:
    if value.type in FLOATS:
        raise Refused(
            f"CAST of {value.type} to VARCHAR: engines spell such numbers differently.",
            "Say how many decimals: CAST(ROUND(CAST(x AS DECIMAL(18, 6)), 3) AS VARCHAR).",
        )
    if value.type == TIMESTAMP:
        raise Refused(
            "CAST of a timestamp to VARCHAR: how many decimals of a second it shows depends on the engine.",
            "Write TO_CHAR(t, 'YYYY-MM-DD HH24:MI:SS').",
        )
    if value.type == BOOLEAN:
        raise Refused(
            "CAST of a boolean to VARCHAR is not supported.", "Write CASE WHEN x THEN 'true' ELSE 'false' END."
        )
    if value.type in (VARCHAR, UNKNOWN):
        literal = value.literal
        if literal is not None and (bytes_max is None or len(literal.encode()) <= bytes_max):
            return Value(text_sql(literal), VARCHAR, literal=literal)
        return Value(_cut(value.sql, bytes_max), VARCHAR)
    sql = f"CAST({value.sql} AS VARCHAR)"
    if value.type.name == "numeric" and value.type.scale == value.type.precision:  # DuckDB leaves out the 0 of 0.5
        if value.type.precision == types.PRECISION_MAX:
            raise Refused(f"CAST of {value.type} to VARCHAR is not supported.", "Cast it to fewer decimals first.")
        wider = types.numeric(value.type.precision + 1, value.type.scale, "A text")
        sql = f"CAST(CAST({value.sql} AS {wider.duckdb}) AS VARCHAR)"
    if bytes_max is not None and bytes_max < 40:
        sql = f"({failing(f'strlen({sql}) > {bytes_max}', f'A value is too long for VARCHAR({bytes_max}).', sql)})"
    return Value(sql, VARCHAR)


def _cut(sql: str, bytes_max: int | None) -> str:
    """Cut a text to bytes, as Redshift does; where that would part a character it is an error."""
    if bytes_max is None:
        return sql
    wide = failing(
        f"strlen({sql}) <> length({sql})",
        f"A text with characters of several bytes is too long for VARCHAR({bytes_max}): cut it with LEFT.",
        f"left({sql}, {bytes_max})",
    )
    return f"(CASE WHEN strlen({sql}) <= {bytes_max} THEN {sql} ELSE {wide} END)"


def _from_text(value: Value, kind: Type) -> Value:
    """Convert text at run time: only spellings that every engine reads alike, an error for the rest."""
    trimmed = f"trim({value.sql}, ' ')"
    if kind == BOOLEAN:
        known = [f"lower({trimmed}) IN ({', '.join(map(text_sql, texts))})" for texts in (TRUE_TEXTS, FALSE_TEXTS)]
        fails = "error('A text is no boolean.')"
        return Value(
            f"(CASE WHEN {value.sql} IS NULL THEN CAST(NULL AS BOOLEAN) WHEN {known[0]} THEN TRUE"
            f" WHEN {known[1]} THEN FALSE ELSE {fails} END)",
            BOOLEAN,
        )
    patterns = {DATE: DATE_TEXT, TIMESTAMP: TIMESTAMP_TEXT, REAL: _FLOAT, DOUBLE: _FLOAT}
    decimals = rf" *[+-]?([0-9]+(\.[0-9]{{0,{kind.scale}}}0*)?|\.[0-9]{{1,{max(kind.scale, 1)}}}0*) *"
    pattern = patterns.get(kind, _WHOLE if kind in INTEGERS else decimals)
    text = trimmed if types.is_number(kind) else value.sql
    message = f"A text is no {kind}."
    checked = failing(f"NOT regexp_full_match({value.sql}, {text_sql(pattern)})", message, text)
    return Value(f"CAST({checked} AS {kind.duckdb})", kind)
