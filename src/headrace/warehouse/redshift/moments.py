"""The functions of dates and times that are let through."""

import re

from headrace.warehouse.redshift import dates, scalars
from headrace.warehouse.redshift.expressions import Call, Handler
from headrace.warehouse.redshift.types import (
    BIGINT,
    DATE,
    DOUBLE,
    INTEGER,
    TIMESTAMP,
    VARCHAR,
    Refused,
)
from headrace.warehouse.redshift.values import Value, as_integer, as_text, as_type, cast, failing, text_sql

NOW = "timezone('UTC', now())"  # when the transaction began: every statement of it sees the same moment
_ZONE = re.compile(r"UTC|GMT|[A-Z][A-Za-z]+(?:/[A-Z][A-Za-z_+-]+){1,2}")


def _time(call: Call, at: int) -> Value:
    return dates.as_timestamp(call.value(at), call.title)


def _now(call: Call) -> Value:
    sql = f"date_trunc('second', {NOW})" if call.name == "getdate" else NOW
    return Value(sql, TIMESTAMP)


def _today(_: Call) -> Value:
    return Value(f"CAST({NOW} AS DATE)", DATE)


def _dateadd(call: Call) -> Value:
    part = dates.part_of(call.nodes[0], dates.PARTS, call.title)
    count = as_integer(call.value(1), call.title)
    time = _time(call, 2)
    moved = dates.shifted(time, part, count.sql)
    if part == "year":  # from February 29 to March 1, where a month's end stays one with DATEADD of months
        leaps = f"month({time.sql}) = 2 AND day({time.sql}) = 29 AND day({moved}) = 28"
        moved = f"(CASE WHEN {leaps} THEN {moved} + to_days(1) ELSE {moved} END)"
    return Value(moved, TIMESTAMP)


def _datediff(call: Call) -> Value:
    part = dates.part_of(call.nodes[0], dates.PARTS, call.title)
    if part == "week":
        raise Refused(f"{call.title} in weeks: on which day a week begins there is not documented.", "Use days / 7.")
    return Value(f"date_diff('{part}', {_time(call, 1).sql}, {_time(call, 2).sql})", BIGINT)


def _truncated(call: Call) -> Value:
    part = dates.part_of(call.nodes[0], dates.PARTS, call.title)
    return Value(f"date_trunc('{part}', {_time(call, 1).sql})", TIMESTAMP)


def _extract(call: Call) -> Value:
    part = dates.part_of(call.nodes[0], dates.EXTRACTED, call.title)
    return Value(f"CAST(date_part('{part}', {_time(call, 1).sql}) AS INTEGER)", INTEGER)


def _date_part(call: Call) -> Value:
    """DATE_PART: what EXTRACT gives, but as DOUBLE PRECISION."""
    return cast(_extract(call), DOUBLE)._replace(is_whole=True)


def _trunc(call: Call) -> Value:
    """TRUNC: of a timestamp its date, of a number the whole or the decimals that are wanted."""
    value = call.value(0)
    if value.type in (TIMESTAMP, DATE):
        return cast(value, DATE)
    if len(call.nodes) == 1:
        return scalars.whole_of("trunc")(call)
    return scalars.rounded(call)


def _last_day(call: Call) -> Value:
    return Value(f"last_day({_time(call, 0).sql})", DATE)


def _add_months(call: Call) -> Value:
    """ADD_MONTHS: from a month's last day to a month's last day."""
    time, count = _time(call, 0), as_integer(call.value(1), call.title)
    moved = dates.shifted(time, "month", count.sql)
    is_last = f"CAST({time.sql} AS DATE) = last_day({time.sql})"
    last = f"CAST(last_day({moved}) AS TIMESTAMP) + ({time.sql} - date_trunc('day', {time.sql}))"
    return Value(f"(CASE WHEN {is_last} THEN {last} ELSE {moved} END)", TIMESTAMP)


def _to_char(call: Call) -> Value:
    value, pattern = call.value(0), call.value(1).literal
    if value.type not in (TIMESTAMP, DATE):
        raise Refused(
            f"TO_CHAR of {value.type} is not supported.",
            "Use CAST(ROUND(CAST(x AS DECIMAL(18, 6)), 2) AS VARCHAR) for numbers.",
        )
    if pattern is None:
        raise Refused("TO_CHAR takes a format that is written out.", "Write TO_CHAR(t, 'YYYY-MM-DD').")
    return Value(dates.format_sql(cast(value, TIMESTAMP), pattern, call.title), VARCHAR)


def _to_date(call: Call) -> Value:
    pattern = call.value(1).literal
    if pattern is None:
        raise Refused("TO_DATE takes a format that is written out.", "Write TO_DATE(x, 'YYYY-MM-DD').")
    format_, shape = dates.parse_format(pattern, call.title)
    text = as_text(call.value(0), call.title).sql
    checked = failing(f"NOT regexp_full_match({text}, {text_sql(shape)})", f"A text is no date as {pattern}.", text)
    return Value(f"CAST(strptime({checked}, {text_sql(format_)}) AS DATE)", DATE)


def _convert_timezone(call: Call) -> Value:
    zones = [call.value(at).literal for at in range(len(call.nodes) - 1)]
    source, target = zones if len(zones) == 2 else ["UTC", *zones]
    for zone in (source, target):
        if zone is None or not _ZONE.fullmatch(zone):
            raise Refused(f"{call.title}: {zone!r} is no zone that is supported.", "Name one: 'Europe/Berlin', 'UTC'.")
    if source not in ("UTC", "GMT"):
        raise Refused(
            f"{call.title} from {source}: an hour in autumn comes twice there.",
            "Convert from 'UTC', which times are in.",
        )
    time = _time(call, len(call.nodes) - 1)
    return Value(f"timezone({text_sql(str(target))}, timezone('UTC', {time.sql}))", TIMESTAMP)


def _date_cmp(call: Call) -> Value:
    left, right = as_type(call.value(0), DATE, call.title), as_type(call.value(1), DATE, call.title)
    return Value(f"CAST(sign({left.sql} - {right.sql}) AS INTEGER)", INTEGER)


MOMENTS: dict[str, tuple[int, int, Handler]] = {
    "getdate": (0, 0, _now),
    "sysdate": (0, 0, _now),
    "current_date": (0, 0, _today),
    "dateadd": (3, 3, _dateadd),
    "date_add": (3, 3, _dateadd),
    "datediff": (3, 3, _datediff),
    "date_diff": (3, 3, _datediff),
    "date_trunc": (2, 2, _truncated),
    "date_part": (2, 2, _date_part),
    "extract": (2, 2, _extract),
    "trunc": (1, 2, _trunc),
    "last_day": (1, 1, _last_day),
    "add_months": (2, 2, _add_months),
    "to_char": (2, 2, _to_char),
    "to_date": (2, 2, _to_date),
    "convert_timezone": (2, 3, _convert_timezone),
    "date_cmp": (2, 2, _date_cmp),
}
