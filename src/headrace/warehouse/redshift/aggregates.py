"""Aggregates and window functions that are let through, with the types that Redshift gives them."""

from headrace.warehouse.redshift import types
from headrace.warehouse.redshift.expressions import Call, Handler
from headrace.warehouse.redshift.operators import blank_problem, ends_blank, sorted_by, unblanked
from headrace.warehouse.redshift.types import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    FLOATS,
    INTEGERS,
    UNKNOWN,
    VARCHAR,
    Refused,
    Type,
)
from headrace.warehouse.redshift.values import Value, as_double, as_integer, as_text, as_type, failing, text_sql

OVER = "\0over\0"  # stands where OVER (…) goes; no text of SQL can hold it


def _argument(call: Call, value: Value) -> str:
    return f"DISTINCT {unblanked(value, f'{call.title}(DISTINCT …)').sql}" if call.is_distinct else value.sql


def _number(call: Call) -> Value:
    value = call.value(0)
    if not types.is_number(value.type):
        raise Refused(
            f"{call.title} of {value.type} is not supported.", f"CAST it to a number: {call.title}(CAST(… AS …))."
        )
    return value


def _count(call: Call) -> Value:
    if type(call.nodes[0]).__name__ == "Star":
        if call.is_distinct:
            raise Refused(
                "COUNT(DISTINCT *) is not supported.", "Count a column, or select DISTINCT in a query inside."
            )
        return Value(f"count(*){OVER}", BIGINT)
    value = call.value(0)
    return Value(f"count({_argument(call, value)}){OVER}", BIGINT)


def _approximate(call: Call) -> Value:
    """APPROXIMATE COUNT(DISTINCT x): the exact count is within its tolerance."""
    inner = call.nodes[0]
    arguments = inner.expressions if type(inner).__name__ == "Anonymous" and inner.name.lower() == "count" else []
    if len(arguments) != 1 or type(arguments[0]).__name__ != "Distinct" or len(arguments[0].expressions) != 1:
        raise Refused("APPROXIMATE goes with COUNT(DISTINCT x).", "Write APPROXIMATE COUNT(DISTINCT x).")
    return _count(call._replace(name="count", nodes=list(arguments[0].expressions), is_distinct=True))


def _sum(call: Call) -> Value:
    value = _number(call)
    taken = f"sum({_argument(call, value)}){OVER}"
    if value.type in FLOATS:
        return Value(taken, DOUBLE)
    kind = BIGINT if value.type in INTEGERS else Type("numeric", 38, value.type.scale)
    return Value(f"CAST({taken} AS {kind.duckdb})", kind)


def _avg(call: Call) -> Value:
    """AVG: of integers the whole part; of numerics it is refused, as is their division."""
    value = _number(call)
    argument = _argument(call, value)
    if value.type in FLOATS:
        return Value(f"avg({argument}){OVER}", DOUBLE)
    if value.type not in INTEGERS:
        raise Refused(
            "AVG of a numeric: how Redshift rounds it is not documented.", "Write AVG(CAST(x AS DOUBLE PRECISION))."
        )
    return Value(f"CAST((sum({argument}){OVER} // count({argument}){OVER}) AS BIGINT)", BIGINT)


def _extreme(call: Call) -> Value:
    value = call.value(0)
    if value.type == BOOLEAN:
        raise Refused(f"{call.title} of a boolean is not supported.", "Use BOOL_OR or BOOL_AND.")
    value = as_text(value, call.title) if value.type == UNKNOWN else value
    return Value(f"{call.name}({unblanked(value, call.title).sql}){OVER}", value.type)


def _spread(name: str) -> Handler:
    def handle(call: Call) -> Value:
        return Value(f"{name}({_argument(call, as_double(_number(call), call.title))}){OVER}", DOUBLE)

    return handle


def _bool(call: Call) -> Value:
    return Value(f"{call.name}({_argument(call, as_type(call.value(0), BOOLEAN, call.title))}){OVER}", BOOLEAN)


def _any_value(call: Call) -> Value:
    value = call.value(0)
    value = as_text(value, call.title) if value.type == UNKNOWN else value
    return Value(f"any_value({value.sql}){OVER}", value.type)


def _median(call: Call) -> Value:
    value = _number(call)
    if value.type not in FLOATS or call.is_distinct:
        raise Refused(f"MEDIAN of {value.type} is not supported.", "Write MEDIAN(CAST(x AS DOUBLE PRECISION)).")
    return Value(f"median({as_double(value, call.title).sql}){OVER}", DOUBLE)


def _percentile(call: Call) -> Value:
    """PERCENTILE_CONT and _DISC (p) WITHIN GROUP (ORDER BY x)."""
    share = call.value(0)
    if type(call.nodes[0]).__name__ != "Literal" or len(call.order) != 1:
        raise Refused(
            f"{call.title} takes a share and an order.", f"Write {call.title}(0.95) WITHIN GROUP (ORDER BY x)."
        )
    if not 0 <= float(call.nodes[0].name) <= 1:
        raise Refused(
            f"{call.title} takes a share from 0 to 1.", f"Write {call.title}(0.95) WITHIN GROUP (ORDER BY x)."
        )
    value, direction = call.order[0]
    if direction.startswith("DESC"):
        raise Refused(f"{call.title} in descending order is not supported.", "Order by x, and take 1 - p.")
    if not types.is_number(value.type):
        raise Refused(f"{call.title} of {value.type} is not supported.", "Order by a number.")
    if call.name == "percentile_disc":
        return Value(f"quantile_disc({value.sql}, {share.sql}){OVER}", value.type)
    if value.type not in FLOATS:
        raise Refused(f"PERCENTILE_CONT of {value.type} is not supported.", "Order by CAST(x AS DOUBLE PRECISION).")
    return Value(f"quantile_cont({as_double(value, call.title).sql}, {share.sql}){OVER}", DOUBLE)


def _listagg(call: Call) -> Value:
    value = call.value(0)
    value = as_text(value, call.title)
    separator = call.value(1).literal if len(call.nodes) > 1 else ""
    if separator is None:
        raise Refused("LISTAGG takes a separator that is written out.", "Write LISTAGG(x, ', ').")
    if call.is_distinct and any(ordered.sql != value.sql for ordered, _ in call.order):
        raise Refused("LISTAGG(DISTINCT x) is ordered by x alone.", "Write WITHIN GROUP (ORDER BY x).")
    taken = f"nullif({value.sql}, '')"  # empty texts are left out, as NULL is
    if call.is_distinct:
        order = f" ORDER BY {taken} {call.order[0][1]}" if call.order else ""
        listed = f"string_agg(DISTINCT {taken}, {text_sql(separator)}{order}){OVER}"
        doubtful, problem = ends_blank(value.sql), blank_problem("LISTAGG(DISTINCT …)")
    else:
        keys = ", ".join(f"{sorted_by(ordered)} {direction}" for ordered, direction in call.order)
        order = f" ORDER BY {keys}" if keys else ""
        listed = f"string_agg({taken}, {text_sql(separator)}{order}){OVER}"
        doubtful = f"trim({value.sql}, ' ') = '' AND {value.sql} <> ''"
        problem = "LISTAGG of a text of blanks: whether it is left out, as an empty one is, is open. Use RTRIM(x)."
    return Value(f"({failing(f'bool_or({doubtful}){OVER}', problem, listed)})", VARCHAR)


def _ranking(kind: Type, sql: str = "") -> Handler:
    def handle(call: Call) -> Value:
        taken = f"{sql or call.name + '()'}{OVER}"
        return Value(taken if kind == DOUBLE else f"CAST({taken} AS {kind.duckdb})", kind)

    return handle


def _ntile(call: Call) -> Value:
    count = as_integer(call.value(0), call.title)
    if count.number is None or count.number < 1:
        raise Refused("NTILE takes a number that is written out, from 1.", "Write NTILE(4).")
    return Value(f"CAST(ntile({count.sql}){OVER} AS BIGINT)", BIGINT)


def _shifted(call: Call) -> Value:
    value = call.value(0)
    value = as_text(value, call.title) if value.type == UNKNOWN else value
    offset = as_integer(call.value(1), call.title) if len(call.nodes) > 1 else None
    if offset is not None and (offset.number is None or offset.number < 0):
        raise Refused(f"{call.title} takes an offset that is written out, from 0.", f"Write {call.title}(x, 1).")
    rows = f", {offset.sql}" if offset is not None else ""
    return Value(f"{call.name}({value.sql}{rows}{NULLS}){OVER}", value.type)


def _placed(call: Call) -> Value:
    value = call.value(0)
    value = as_text(value, call.title) if value.type == UNKNOWN else value
    place = ""
    if call.name == "nth_value":
        number = as_integer(call.value(1), call.title).number
        if number is None or number < 1:
            raise Refused("NTH_VALUE takes a place that is written out, from 1.", "Write NTH_VALUE(x, 2).")
        place = f", {number}"
    return Value(f"{call.name}({value.sql}{place}{NULLS}){OVER}", value.type)


def _ratio_to_report(call: Call) -> Value:
    value = as_double(_number(call), call.title).sql
    total = f"sum({value}){OVER}"
    return Value(f"({failing(f'{total} = 0', 'Division by zero.', f'{value} / {total}')})", DOUBLE)


NULLS = "\0nulls\0"  # stands where IGNORE NULLS goes

AGGREGATES: dict[str, tuple[int, int, Handler]] = {
    "count": (1, 1, _count),
    "approximate": (1, 1, _approximate),
    "sum": (1, 1, _sum),
    "avg": (1, 1, _avg),
    "min": (1, 1, _extreme),
    "max": (1, 1, _extreme),
    "stddev": (1, 1, _spread("stddev_samp")),
    "stddev_samp": (1, 1, _spread("stddev_samp")),
    "stddev_pop": (1, 1, _spread("stddev_pop")),
    "variance": (1, 1, _spread("var_samp")),
    "var_samp": (1, 1, _spread("var_samp")),
    "var_pop": (1, 1, _spread("var_pop")),
    "bool_and": (1, 1, _bool),
    "bool_or": (1, 1, _bool),
    "any_value": (1, 1, _any_value),
    "median": (1, 1, _median),
    "percentile_cont": (1, 1, _percentile),
    "percentile_disc": (1, 1, _percentile),
    "listagg": (1, 2, _listagg),
}
WINDOWS: dict[str, tuple[int, int, Handler]] = {
    "row_number": (0, 0, _ranking(BIGINT)),
    "rank": (0, 0, _ranking(BIGINT)),
    "dense_rank": (0, 0, _ranking(BIGINT)),
    "percent_rank": (0, 0, _ranking(DOUBLE)),
    "cume_dist": (0, 0, _ranking(DOUBLE)),
    "ntile": (1, 1, _ntile),
    "lag": (1, 2, _shifted),
    "lead": (1, 2, _shifted),
    "first_value": (1, 1, _placed),
    "last_value": (1, 1, _placed),
    "nth_value": (2, 2, _placed),
    "ratio_to_report": (1, 1, _ratio_to_report),
}
