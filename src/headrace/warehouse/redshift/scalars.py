"""The functions of one value each that are let through: of texts, numbers and conditions.

A function is here because what it gives was compared with what Redshift's documentation says; arguments for which that
is open are refused, or are an error when a value turns out to be one.
"""

from headrace.warehouse.redshift import casts, types
from headrace.warehouse.redshift.expressions import Call, Handler
from headrace.warehouse.redshift.operators import number_sql, unblanked
from headrace.warehouse.redshift.patterns import matches_nothing, regular_expression
from headrace.warehouse.redshift.types import (
    BOOLEAN,
    DOUBLE,
    FLOATS,
    INTEGER,
    INTEGERS,
    UNKNOWN,
    VARCHAR,
    Refused,
    Type,
)
from headrace.warehouse.redshift.values import (
    NULL,
    Value,
    as_double,
    as_integer,
    as_text,
    as_type,
    failing,
    text_sql,
)


def _count(call: Call, at: int, least: int, instead: str) -> Value:
    """Return an integer argument that is `least` at least; a smaller one is an error."""
    value = as_integer(call.value(at), call.title)
    if value.number is None:
        guarded = failing(f"{value.sql} < {least}", f"{call.title} needs {least} or more.", value.sql)
        return value._replace(sql=f"({guarded})")
    if value.number < least:
        raise Refused(f"{call.title} with {value.number}: engines differ below {least}.", instead)
    return value


def _texts(template: str, kind: Type = VARCHAR) -> Handler:
    """Return a handler whose arguments are all texts; `{0}` is the first."""

    def handle(call: Call) -> Value:
        sql = template.format(*(call.text(at) for at in range(len(call.nodes))))
        return Value(sql if kind == VARCHAR else f"CAST({sql} AS {kind.duckdb})", kind)

    return handle


def _doubles(template: str) -> Handler:
    """Return a handler whose arguments are all DOUBLE PRECISION, as is its result."""

    def handle(call: Call) -> Value:
        parts = (as_double(call.value(at), call.title).sql for at in range(len(call.nodes)))
        return Value(template.format(*parts), DOUBLE)

    return handle


def _unless(name: str, condition: str, problem: str) -> Handler:
    """Return a handler of a text, which is an error where a condition holds."""

    def handle(call: Call) -> Value:
        text = call.text(0)
        return Value(f"({failing(condition.format(text), problem, f'{name}({text})')})", VARCHAR)

    return handle


def _concatenated(call: Call) -> Value:
    values = [as_text(call.value(at), call.title) for at in (0, 1)]
    if any(value.is_null for value in values):
        return as_type(NULL, VARCHAR, call.title)
    return Value(f"({values[0].sql} || {values[1].sql})", VARCHAR)


def _trimming(name: str) -> Handler:
    def handle(call: Call) -> Value:
        characters = call.text(1) if len(call.nodes) > 1 else "' '"
        return Value(f"{name}({call.text(0)}, {characters})", VARCHAR)

    return handle


def _sub(call: Call) -> Value:
    """SUBSTRING: positions before the first count into the length, as on Redshift (DuckDB counts from the end)."""
    text, start = call.text(0), as_integer(call.value(1), call.title)
    first = _at_least(start.sql, 1) if start.number is None else str(max(start.number, 1))
    if len(call.nodes) < 3:
        return Value(f"substring({text}, {first})", VARCHAR)
    length = _count(call, 2, 0, "Give a length of 0 or more.").sql
    end = f"CAST({start.sql} AS BIGINT) + {length}"  # the first character that is left out
    return Value(f"substring({text}, {first}, {_at_least(f'{end} - {first}', 0)})", VARCHAR)


def _at_least(sql: str, least: int) -> str:
    """Return a number, or the least that it may be; NULL stays NULL (DuckDB's GREATEST would leave it out)."""
    return f"(CASE WHEN {sql} < {least} THEN {least} ELSE {sql} END)"


def _side(call: Call) -> Value:
    count = _count(call, 1, 0, f"Give 0 or more: {call.title}(x, 3).")
    return Value(f"{call.name}({call.text(0)}, {count.sql})", VARCHAR)


def _padded(call: Call) -> Value:
    count = _count(call, 1, 0, "Give a length of 0 or more.")
    fill = call.text(2) if len(call.nodes) > 2 else "' '"
    return Value(f"{call.name}({call.text(0)}, CAST({count.sql} AS INTEGER), {fill})", VARCHAR)


def _repeated(call: Call) -> Value:
    return Value(f"repeat({call.text(0)}, {_count(call, 1, 0, 'Give 0 or more.').sql})", VARCHAR)


def _position(text_at: int, part_at: int) -> Handler:
    def handle(call: Call) -> Value:
        part = call.literal(part_at)
        if part == "":
            raise Refused(f"{call.title} of an empty text is not supported.", "Give the text to look for.")
        sql = f"CAST(strpos({call.text(text_at)}, {call.text(part_at)}) AS INTEGER)"
        return Value(_unless_empty(call, part_at, sql), INTEGER)

    return handle


def _unless_empty(call: Call, at: int, sql: str) -> str:
    """Return SQL that is an error where an argument turns out to be an empty text."""
    if call.literal(at) is not None:
        return sql
    fails = failing(f"{call.text(at)} = ''", f"{call.title} of an empty text.", sql)
    return f"({fails})"


def _split_part(call: Call) -> Value:
    if not call.literal(1):
        raise Refused("SPLIT_PART takes a delimiter that is written out.", "Write SPLIT_PART(x, '-', 1).")
    return Value(f"split_part({call.text(0)}, {call.text(1)}, {_count(call, 2, 1, 'Count from 1.').sql})", VARCHAR)


def _replaced(call: Call) -> Value:
    if call.literal(1) == "":
        raise Refused("REPLACE of an empty text is not supported.", "Give the text to replace.")
    sql = f"replace({call.text(0)}, {call.text(1)}, {call.text(2)})"
    return Value(_unless_empty(call, 1, sql), VARCHAR)


def _regexp_replace(call: Call) -> Value:
    pattern = regular_expression(call.literal(1), call.title, finds=True)
    if matches_nothing(pattern):
        raise Refused(f"{call.title}: {pattern!r} finds an empty text as well.", "Write + for *, or {1,3} for {0,3}.")
    replacement = call.literal(2) if len(call.nodes) > 2 else ""
    if replacement is None or "$" in replacement or "\\" in replacement:
        raise Refused(f"{call.title} takes a replacement that is written out, without $ and \\.", "Use REPLACE.")
    return Value(f"regexp_replace({call.text(0)}, {text_sql(pattern)}, {text_sql(replacement)}, 'gs')", VARCHAR)


def _regexp_substr(call: Call) -> Value:
    pattern = regular_expression(call.literal(1), call.title, finds=True)
    return Value(f"regexp_extract({call.text(0)}, {text_sql(pattern)}, 0, 's')", VARCHAR)


def _sha2(call: Call) -> Value:
    if call.value(1).number != 256:
        raise Refused("SHA2 is supported with 256 bits.", "Write SHA2(x, 256).")
    return Value(f"sha256({call.text(0)})", VARCHAR)


def _absolute(call: Call) -> Value:
    value = _number(call, 0)
    return Value(f"abs({value.sql})", value.type, is_whole=value.is_whole)


def _number(call: Call, at: int) -> Value:
    value = call.value(at)
    if value.is_null:
        return as_type(NULL, DOUBLE, call.title)
    if not types.is_number(value.type):
        raise Refused(f"{call.title} takes numbers, not {value.type}.", "CAST it to a number.")
    return value


def _whole(name: str) -> Handler:
    """FLOOR, CEIL, and TRUNC of one argument: the type stays, without decimals."""

    def handle(call: Call) -> Value:
        value = _number(call, 0)
        if value.type in INTEGERS:
            return value
        if value.type in FLOATS:
            return Value(f"{name}({value.sql})", value.type, is_whole=True)
        kind = Type("numeric", value.type.precision, 0)
        return Value(f"CAST({name}({value.sql}) AS {kind.duckdb})", kind, is_whole=True)

    return handle


def _rounded(call: Call) -> Value:
    """ROUND and TRUNC to decimals: of numerics, whose halves go away from zero."""
    value = _number(call, 0)
    places = call.value(1).number if len(call.nodes) > 1 else 0
    name = "round" if call.name == "round" else "trunc"
    cast, double = call.nodes[0], None
    if type(cast).__name__ == "Cast" and value.type.name == "numeric":
        double = call.expressions.value(cast.this)
    if places is None:
        raise Refused(f"{call.title} takes a number of decimals that is written out.", f"Write {call.title}(x, 2).")
    if value.type in INTEGERS and places >= 0:
        return value
    if value.type.name != "numeric" or not 0 <= places <= 38:
        raise Refused(
            f"{call.title} of {value.type} to {places} decimals: engines round it differently.",
            f"Write {call.title}(CAST(x AS DECIMAL(18, 6)), {max(places, 0)}).",
        )
    if places >= value.type.scale:
        return value
    digits = value.type.precision - value.type.scale + places + (1 if name == "round" else 0)
    kind = types.numeric(max(digits, 1), places, call.title)
    sql = f"{name}({value.sql}, {places})"
    if double is not None and double.type == DOUBLE:
        sql = casts.rounded(double, value.type, name, places)
    return Value(f"CAST({sql} AS {kind.duckdb})", kind, is_whole=places == 0)


def _sign(call: Call) -> Value:
    """SIGN: of the argument's type, so that what is divided by it is divided as there."""
    value = _number(call, 0)
    kind = Type("numeric", 1, 0) if value.type.name == "numeric" else value.type
    return Value(f"CAST(sign({value.sql}) AS {kind.duckdb})", kind, is_whole=True)


def _modulo(call: Call) -> Value:
    return number_sql(_number(call, 0), "%", _number(call, 1))


def _checked_double(template: str, condition: str, message: str) -> Handler:
    def handle(call: Call) -> Value:
        values = [as_double(call.value(at), call.title).sql for at in range(len(call.nodes))]
        return Value(f"({failing(condition.format(*values), message, template.format(*values))})", DOUBLE)

    return handle


def _same(name: str) -> Handler:
    """COALESCE and such: arguments of one type, which is that of the result."""

    def handle(call: Call) -> Value:
        values, kind = call.expressions.common([call.value(at) for at in range(len(call.nodes))], call.title)
        if kind in (BOOLEAN,) and name != "coalesce":
            raise Refused(f"{call.title} of booleans is not supported.", "Use AND, OR.")
        if name != "coalesce":
            values = [unblanked(value, call.title) for value in values]
        return Value(f"{name}({', '.join(value.sql for value in values)})", kind)

    return handle


def _nullif(call: Call) -> Value:
    left, right = call.value(0), call.value(1)
    left = as_text(left, call.title) if left.type == UNKNOWN else left
    condition = call.expressions.compare(left, "=", right)
    return Value(f"(CASE WHEN {condition.sql} THEN NULL ELSE {left.sql} END)", left.type)


def _nvl2(call: Call) -> Value:
    values, kind = call.expressions.common([call.value(1), call.value(2)], call.title)
    return Value(f"(CASE WHEN {call.value(0).sql} IS NOT NULL THEN {values[0].sql} ELSE {values[1].sql} END)", kind)


def _decode(call: Call) -> Value:
    """DECODE: NULL equals NULL here, and here only."""
    subject, rest = call.value(0), call.nodes[1:]
    pairs = [
        (call.expressions.value(rest[at]), call.expressions.value(rest[at + 1])) for at in range(0, len(rest) - 1, 2)
    ]
    default = call.expressions.value(rest[-1]) if len(rest) % 2 else NULL
    results, kind = call.expressions.common([*(result for _, result in pairs), default], call.title)
    whens = []
    for (wanted, _), result in zip(pairs, results, strict=False):
        equal = f"{subject.sql} IS NULL" if wanted.is_null else call.expressions.compare(subject, "=", wanted).sql
        both = "" if wanted.is_null or wanted.literal is not None or wanted.number is not None else (
            f" OR ({subject.sql} IS NULL AND {wanted.sql} IS NULL)"
        )  # fmt: skip
        whens.append(f"WHEN {equal}{both} THEN {result.sql}")
    return Value(f"(CASE {' '.join(whens)} ELSE {results[-1].sql} END)", kind)


def _pi(_: Call) -> Value:
    return Value("pi()", DOUBLE)


def _random(_: Call) -> Value:
    return Value("random()", DOUBLE)


def _logarithm(name: str) -> Handler:
    return _checked_double(f"{name}({{0}})", "{0} <= 0", "A logarithm takes numbers above zero.")


_LENGTH = _texts("length({0})", INTEGER)
_HASHES: dict[str, tuple[int, int, Handler]] = {
    "md5": (1, 1, _texts("md5({0})")),
    "sha1": (1, 1, _texts("sha1({0})")),
    "sha": (1, 1, _texts("sha1({0})")),
    "func_sha1": (1, 1, _texts("sha1({0})")),
    "sha2": (2, 2, _sha2),
}
# Name -> the least and the most arguments, and what compiles it.
TEXTS: dict[str, tuple[int, int, Handler]] = {
    **dict.fromkeys(("len", "length", "char_length", "character_length", "textlen"), (1, 1, _LENGTH)),
    "octet_length": (1, 1, _texts("strlen({0})", INTEGER)),
    "upper": (1, 1, _unless("upper", "contains({0}, 'ß')", "UPPER of ß: engines differ in its capital.")),
    "lower": (1, 1, _texts("lower({0})")),
    "btrim": (1, 2, _trimming("trim")),
    "trim": (1, 2, _trimming("trim")),
    "ltrim": (1, 2, _trimming("ltrim")),
    "rtrim": (1, 2, _trimming("rtrim")),
    "substring": (2, 3, _sub),
    "substr": (2, 3, _sub),
    "left": (2, 2, _side),
    "right": (2, 2, _side),
    "lpad": (2, 3, _padded),
    "rpad": (2, 3, _padded),
    "repeat": (2, 2, _repeated),
    "replicate": (2, 2, _repeated),
    "reverse": (
        1,
        1,
        _unless("reverse", "length({0}) <> length_grapheme({0})", "REVERSE of characters that are composed."),
    ),
    "concat": (2, 2, _concatenated),
    "strpos": (2, 2, _position(0, 1)),
    "charindex": (2, 2, _position(1, 0)),
    "split_part": (3, 3, _split_part),
    "replace": (3, 3, _replaced),
    "translate": (3, 3, _texts("translate({0}, {1}, {2})")),
    "regexp_replace": (2, 3, _regexp_replace),
    "regexp_substr": (2, 2, _regexp_substr),
    **_HASHES,
}
NUMBERS: dict[str, tuple[int, int, Handler]] = {
    "abs": (1, 1, _absolute),
    "sign": (1, 1, _sign),
    "floor": (1, 1, _whole("floor")),
    "ceil": (1, 1, _whole("ceil")),
    "ceiling": (1, 1, _whole("ceil")),
    "round": (1, 2, _rounded),
    "mod": (2, 2, _modulo),
    **dict.fromkeys(
        ("power", "pow"),
        (2, 2, _checked_double("pow({0}, {1})", "NOT isfinite(pow({0}, {1}))", "POWER gives no finite number.")),
    ),
    "sqrt": (1, 1, _checked_double("sqrt({0})", "{0} < 0", "SQRT takes no number below zero.")),
    "exp": (1, 1, _checked_double("exp({0})", "NOT isfinite(exp({0}))", "EXP gives no finite number.")),
    "ln": (1, 1, _logarithm("ln")),
    "dlog1": (1, 1, _logarithm("ln")),
    "log": (1, 1, _logarithm("log10")),
    "dlog10": (1, 1, _logarithm("log10")),
    **{name: (1, 1, _doubles(f"{name}({{0}})")) for name in ("sin", "cos", "tan", "atan", "degrees", "radians")},
    "atan2": (2, 2, _doubles("atan2({0}, {1})")),
    "pi": (0, 0, _pi),
    "random": (0, 0, _random),
}
CONDITIONS: dict[str, tuple[int, int, Handler]] = {
    "coalesce": (1, 99, _same("coalesce")),
    "nvl": (1, 99, _same("coalesce")),
    "greatest": (1, 99, _same("greatest")),
    "least": (1, 99, _same("least")),
    "nullif": (2, 2, _nullif),
    "nvl2": (3, 3, _nvl2),
    "decode": (3, 99, _decode),
}
rounded = _rounded
whole_of = _whole
