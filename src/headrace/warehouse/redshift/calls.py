"""The allow-list of functions, and how a call is put together with DISTINCT, WITHIN GROUP and OVER."""

from typing import Any

from headrace.warehouse.redshift.aggregates import AGGREGATES, NULLS, OVER, WINDOWS
from headrace.warehouse.redshift.expressions import Call, Expressions, only
from headrace.warehouse.redshift.json_functions import JSON
from headrace.warehouse.redshift.moments import MOMENTS
from headrace.warehouse.redshift.operators import sorted_by
from headrace.warehouse.redshift.scalars import CONDITIONS, NUMBERS, TEXTS
from headrace.warehouse.redshift.types import Refused
from headrace.warehouse.redshift.values import Value

SCALARS = {**TEXTS, **NUMBERS, **CONDITIONS, **JSON, **MOMENTS}
ALLOWED = frozenset((*SCALARS, *AGGREGATES, *WINDOWS, "position"))

# Functions that Redshift has, or that people try -> what to write instead.
_INSTEAD = {
    "now": "GETDATE() or SYSDATE",
    "current_timestamp": "GETDATE() or SYSDATE",
    "current_time": "GETDATE()",
    "localtimestamp": "SYSDATE",
    "timeofday": "GETDATE()",
    "generate_series": "a recursive WITH, or ROW_NUMBER() over a table (it runs on Redshift's leader node alone)",
    "string_agg": "LISTAGG(x, ',')",
    "group_concat": "LISTAGG(x, ',')",
    "ifnull": "NVL(a, b)",
    "isnull": "NVL(a, b)",
    "if": "CASE WHEN … THEN … ELSE … END",
    "iff": "CASE WHEN … THEN … ELSE … END",
    "to_timestamp": "CAST(x AS TIMESTAMP)",
    "to_number": "CAST(x AS DECIMAL(18, 2))",
    "months_between": "DATEDIFF(month, a, b)",
    "next_day": "DATEADD(day, …, t)",
    "date": "CAST(x AS DATE)",
    "age": "DATEDIFF(second, a, b)",
    "initcap": "UPPER(LEFT(x, 1)) || LOWER(SUBSTRING(x, 2))",
    "regexp_count": "LEN(x) - LEN(REPLACE(x, 'a', ''))",
    "regexp_instr": "STRPOS(x, 'a')",
    "time_bucket": "DATE_TRUNC('hour', t)",
    "json_parse": "JSON_EXTRACT_PATH_TEXT(x, 'name')",
    "json_extract": "JSON_EXTRACT_PATH_TEXT(x, 'name')",
    "corr": "sums of products",
    "count_if": "SUM(CASE WHEN … THEN 1 ELSE 0 END)",
    "chr": "the character in a text",
    "ascii": "a comparison of texts",
    **dict.fromkeys(
        ("read_csv", "read_csv_auto", "read_parquet", "read_json", "read_json_auto", "read_text", "read_blob", "glob"),
        "COPY into a table of your own: SQL reads no files",
    ),
    **dict.fromkeys(("getenv", "current_setting", "set_config", "pg_read_file"), "Leave it out: SQL sees no settings."),
}
_HINT = "Use a function that is listed in docs/sql.md."
_RANKS = ("row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead")
_WITHOUT_ORDER = ("ratio_to_report", "median", "percentile_cont", "percentile_disc", "listagg")


def hint(instead: str) -> str:
    """Return what to do instead as a sentence, if it is none yet."""
    return instead if instead.endswith(".") else f"Use {instead}."


def refused(name: str) -> Refused:
    """Return the error for a function that is not on the list."""
    instead = _INSTEAD.get(name)
    return Refused(f"The function {name.upper()} is not supported.", hint(instead) if instead else _HINT)


def function(node: Any, expressions: Expressions) -> Value:
    """Compile a call, with OVER (…) or without."""
    over, call_node, ignores_nulls = "", node, False
    if type(call_node).__name__ == "Window":
        only(call_node, "this", "partition_by", "order", "spec", "over")
        call_node = call_node.this
    call_node, ignores_nulls = _nulls(call_node)
    call = _call(call_node, expressions)
    if type(node).__name__ == "Window":
        over = _over(node, call, expressions)
    if call.nodes and type(call.nodes[0]).__name__ in ("IgnoreNulls", "RespectNulls"):
        first, ignores_nulls = _nulls(call.nodes[0])
        call = call._replace(nodes=[first, *call.nodes[1:]])
    if ignores_nulls and call.name not in ("lag", "lead", "first_value", "last_value", "nth_value"):
        raise Refused(f"{call.title} with IGNORE NULLS is not supported.", "Leave IGNORE NULLS out.")
    value = _handled(call, bool(over))
    sql = value.sql.replace(OVER, over).replace(NULLS, " IGNORE NULLS" if ignores_nulls else "")
    return value._replace(sql=sql)


def _nulls(node: Any) -> tuple[Any, bool]:
    kind = type(node).__name__
    return (node.this, kind == "IgnoreNulls") if kind in ("IgnoreNulls", "RespectNulls") else (node, False)


def _handled(call: Call, is_windowed: bool) -> Value:
    table = SCALARS if call.name in SCALARS else AGGREGATES if call.name in AGGREGATES else WINDOWS
    if call.name not in table:
        raise refused(call.name)
    least, most, handler = table[call.name]
    if not least <= len(call.nodes) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise Refused(
            f"{call.title} takes {wanted} arguments, not {len(call.nodes)}.", "See Redshift's manual of functions."
        )
    if table is SCALARS and (is_windowed or call.is_distinct or call.order):
        raise Refused(f"{call.title} takes no DISTINCT, ORDER BY or OVER.", "Leave that out.")
    if table is WINDOWS and not is_windowed:
        raise Refused(f"{call.title} needs OVER (…).", f"Write {call.title}(…) OVER (PARTITION BY … ORDER BY …).")
    if call.is_distinct and is_windowed:
        raise Refused(f"{call.title}(DISTINCT …) OVER (…) is not supported.", "Count in a query inside.")
    if call.order and call.name not in ("listagg", "percentile_cont", "percentile_disc"):
        raise Refused(f"{call.title} takes no WITHIN GROUP.", "Leave that out.")
    call.expressions.is_aggregated |= table is AGGREGATES and not is_windowed
    return handler(call)


def _call(node: Any, expressions: Expressions) -> Call:
    """Return a call in its plain form: name, arguments, DISTINCT and the order of WITHIN GROUP."""
    kind = type(node).__name__
    if kind == "WithinGroup":
        inner = _call(node.this, expressions)
        return inner._replace(order=tuple(ordered(each, expressions) for each in node.expression.expressions))
    if kind == "Anonymous":
        name = node.this if isinstance(node.this, str) else node.this.name
        nodes = list(node.expressions)
        if len(nodes) == 1 and type(nodes[0]).__name__ == "Distinct":
            only(nodes[0], "expressions")
            return Call(name.lower(), list(nodes[0].expressions), expressions, is_distinct=True)
        return Call(name.lower(), nodes, expressions)
    if kind == "Extract":
        return Call("extract", [node.this, node.expression], expressions)
    if kind == "StrPosition":
        only(node, "this", "substr")
        return Call("strpos", [node.this, node.args["substr"]], expressions)
    if kind == "Substring":
        return Call(
            "substring", [part for name in ("this", "start", "length") if (part := node.args.get(name))], expressions
        )
    if kind == "Trim":
        only(node, "this", "expression", "position")
        name = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(str(node.args.get("position") or "").upper(), "trim")
        return Call(name, [part for part in (node.this, node.expression) if part], expressions)
    raise Refused(f"{kind.upper()} is not supported here.", _HINT)


def ordered(node: Any, expressions: Expressions) -> tuple[Value, str]:
    """Return what an ORDER BY's part sorts by, and how: nulls are the greatest, as on Redshift."""
    if type(node).__name__ != "Ordered":
        return expressions.value(node), "ASC NULLS LAST"
    only(node, "this", "desc", "nulls_first")
    return expressions.value(node.this), direction(node)


def direction(node: Any) -> str:
    """Return ASC or DESC with the place of the nulls: last, but first where it is descending, unless it says."""
    descending = bool(node.args.get("desc"))
    first = bool(node.args.get("nulls_first"))
    return f"{'DESC' if descending else 'ASC'} NULLS {'FIRST' if first else 'LAST'}"


def _over(node: Any, call: Call, expressions: Expressions) -> str:
    parts = []
    if call.name in ("lag", "lead") and node.args.get("order") is None:
        raise Refused(f"{call.title} needs an order.", f"Write {call.title}(x) OVER (PARTITION BY … ORDER BY …).")
    if partition := node.args.get("partition_by"):
        values = [expressions.value(each) for each in partition]
        parts.append("PARTITION BY " + ", ".join(value.sql for value in values))
        expressions.partitions += values
    order = node.args.get("order")
    if order is not None:
        sorting = [ordered(each, expressions) for each in order.expressions]
        if any(value.number is not None or value.literal is not None for value, _ in sorting):
            raise Refused("OVER (ORDER BY …) with a constant is not supported.", "Order by a column.")
        parts.append("ORDER BY " + ", ".join(f"{sorted_by(value)} {how}" for value, how in sorting))
    if str(node.args.get("over") or "").upper() != "OVER" or node.args.get("alias"):
        raise Refused("Named windows are not supported.", "Write OVER (PARTITION BY … ORDER BY …).")
    return f" OVER ({' '.join([*parts, *_frame(node, call, order is not None)])})"


def _frame(node: Any, call: Call, is_ordered: bool) -> list[str]:
    spec = node.args.get("spec")
    if call.name in _RANKS or call.name in _WITHOUT_ORDER:
        if spec is not None:
            raise Refused(f"{call.title} takes no frame.", "Leave ROWS … out.")
        if call.name in _WITHOUT_ORDER and is_ordered:
            raise Refused(f"{call.title} takes no ORDER BY in OVER.", "Leave it out.")
        return []
    if spec is None:
        if is_ordered:
            raise Refused(
                f"{call.title} OVER (ORDER BY …) needs a frame, on Redshift as well.",
                "Add ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW.",
            )
        return []
    only(spec, "kind", "start", "start_side", "end", "end_side")
    if str(spec.args.get("kind")).upper() != "ROWS":
        raise Refused("Frames of RANGE and GROUPS are not supported.", "Write ROWS BETWEEN … AND ….")
    if not is_ordered:
        raise Refused("A frame needs an ORDER BY.", "Write OVER (ORDER BY … ROWS …).")
    start = _bound(spec.args.get("start"), spec.args.get("start_side"))
    end = _bound(spec.args.get("end") or "CURRENT ROW", spec.args.get("end_side"))
    if spec.args.get("end") is None and start.endswith("FOLLOWING"):  # from the row on
        start, end = end, start
    return [f"ROWS BETWEEN {start} AND {end}"]


def _bound(value: Any, side: Any) -> str:
    if isinstance(value, str):
        if value.upper() not in ("UNBOUNDED", "CURRENT ROW"):
            raise Refused(f"The frame {value} is not supported.", "Write ROWS BETWEEN 3 PRECEDING AND CURRENT ROW.")
        if value.upper() == "UNBOUNDED" and not side:
            raise Refused("A frame's UNBOUNDED lacks PRECEDING or FOLLOWING.", "Write UNBOUNDED PRECEDING.")
        return f"{value.upper()} {str(side or '').upper()}".strip()
    number = value.name if type(value).__name__ == "Literal" and not value.is_string else ""
    if not (number.isascii() and number.isdigit()) or not side:
        raise Refused(
            "A frame's bounds are numbers that are written out.", "Write ROWS BETWEEN 3 PRECEDING AND CURRENT ROW."
        )
    return f"{int(number)} {str(side).upper()}"
