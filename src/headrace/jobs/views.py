"""The views that reports are written over, defined once for both engines.

| view | a row is | columns |
|---|---|---|
| `events` | an event, each identity once | device_id, time, id, arrived_at, device_time, flags, stream, shard (its number), shard_created, number (in the shard), sequence_number, bytes, a DOUBLE each reading that the template names, readings (JSON of the other members), time_us, lag_us |
| `readings` | a number in an event | device_id, time, id, arrived_at, reading, value (DOUBLE), amount (DECIMAL(28, 9)), time_us |
| `devices` | a device that is registered, or has config or state | device_id, config (JSON), config_version, config_updated_at, state (JSON), state_version, state_updated_at, registered_at, registered_by (`event`, `command`), retired_at, labels (JSON); the last four are null where it isn't registered |
| `properties` | a member of a device's config or state | device_id, source (`config`, `state`), name, value (a string's text, else its JSON) |
| `rejected` | a rejected document | function, reason, partition_key, stream, shard, sequence_number, arrived_at |
| `period` | a day, or month, that is computed | begins, ends |
| `parameters` | the report's parameters | one row, a column each |
| `tariffs` | a tier of a meter in a tariff's version (`reports/tariffs.csv`) | tariff, valid_from, valid_to, currency, digits (of its minor unit), minimum, meter, free, above, up_to, unit_price |
| `tenants` | whose a device is for a time (`reports/tenants.csv`) | device_id, tenant, tariff, valid_from, valid_to |
| `kept_usage` | usage on a day of a device that was erased: its events that arrived before are counted by it alone | as `bill_usage`, arrived_before |

`amount` is the value to nine decimals, the half rounded up, and null beyond ±9e18: what is added up. `time_us` is the
time in microseconds since 1970, and `lag_us` how much later than its time the event arrived. JSON, flags (separated by
commas) and whatever else is text is VARCHAR; times are TIMESTAMP, UTC. What is valid is so before `valid_to`, which is
9999-12-31 where there is no end; the last tier's `up_to` is 999,999,999,999,999,999.
"""  # noqa: E501

from collections.abc import Sequence
from datetime import date, timedelta

from headrace.jobs.base import Engine, quoted

DEVICES = {
    "device_id": "VARCHAR",
    "config": "VARCHAR",
    "config_version": "BIGINT",
    "config_updated_at": "TIMESTAMP",
    "state": "VARCHAR",
    "state_version": "BIGINT",
    "state_updated_at": "TIMESTAMP",
    "registered_at": "TIMESTAMP",
    "registered_by": "VARCHAR",
    "retired_at": "TIMESTAMP",
    "labels": "VARCHAR",
}
PROPERTIES = dict.fromkeys(("device_id", "source", "name", "value"), "VARCHAR")
REJECTED = {
    "function": "VARCHAR",
    "reason": "VARCHAR",
    "partition_key": "VARCHAR",
    "stream": "VARCHAR",
    "shard": "VARCHAR",
    "sequence_number": "VARCHAR",
    "arrived_at": "TIMESTAMP",
}
PERIOD = {"begins": "TIMESTAMP", "ends": "TIMESTAMP"}
TARIFFS = {
    "tariff": "VARCHAR",
    "valid_from": "TIMESTAMP",
    "valid_to": "TIMESTAMP",
    "currency": "VARCHAR",
    "digits": "INTEGER",
    "minimum": "DECIMAL(18, 4)",
    "meter": "VARCHAR",
    "free": "DECIMAL(18, 0)",
    "above": "DECIMAL(18, 0)",
    "up_to": "DECIMAL(18, 0)",
    "unit_price": "DECIMAL(19, 12)",
}
TENANTS = {
    "device_id": "VARCHAR",
    "tenant": "VARCHAR",
    "tariff": "VARCHAR",
    "valid_from": "TIMESTAMP",
    "valid_to": "TIMESTAMP",
}
# Columns of reports that others use even while they have no rows.
USED: dict[str, dict[str, str]] = {
    "bill_usage": {
        "period_start": "TIMESTAMP",
        "device_id": "VARCHAR",
        "tenant": "VARCHAR",
        "tariff": "VARCHAR",
        "tariff_from": "TIMESTAMP",
        "events": "BIGINT",
        "bytes": "BIGINT",
        "first_time": "TIMESTAMP",
    }
}
KEPT_USAGE = USED["bill_usage"] | {"arrived_before": "TIMESTAMP"}

ARCHIVED = "archived"  # the relation behind `events`: all that was opened, of the computed days or not

# Whole and rest apart: both are exact in a double, and the rest's billionths, as an integer, are the same everywhere.
_AMOUNT = """CASE WHEN abs(value) < 9.0E18 THEN CAST(
    CAST(CAST(floor(value) AS BIGINT) AS DECIMAL(28, 9))
    + CAST(floor((value - floor(value)) * 1.0E9 + 0.5) AS BIGINT) * CAST(0.000000001 AS DECIMAL(9, 9))
    AS DECIMAL(28, 9)) END"""


def define(
    engine: Engine, columns: Sequence[str], typed: Sequence[str], days: Sequence[date] | None, unit: str = "day"
) -> None:
    """Define `events` and `readings` over the relations `archived` and `period`: of these days, or (None) of all.

    `columns` are those of `archived`, `typed` those of them that are readings; `unit` is what `period` counts in.
    """
    names = ", ".join(map(quoted, columns))
    time_us, arrived_us = engine.MICROSECONDS.format("time"), engine.MICROSECONDS.format("arrived_at")
    source = f"{ARCHIVED}{_within(days, unit)}"
    engine.view("events", f"SELECT {names}, {time_us} AS time_us, {arrived_us} - {time_us} AS lag_us FROM {source}")
    engine.view("readings", _readings(engine, typed))


def _within(days: Sequence[date] | None, unit: str) -> str:
    """Return the condition for the days: their range, which lets files be skipped, and the days where it has holes."""
    if days is None:
        return ""
    first, end = min(days), max(days) + timedelta(days=1)
    range_ = f" WHERE time >= TIMESTAMP '{first} 00:00:00' AND time < TIMESTAMP '{end} 00:00:00'"
    if (end - first).days == len(set(days)):
        return range_
    return f"{range_} AND CAST(date_trunc('{unit}', time) AS TIMESTAMP) IN (SELECT begins FROM period)"


def _readings(engine: Engine, typed: Sequence[str]) -> str:
    parts = [engine.members(typed)]
    if typed:
        names = ", ".join(map(quoted, typed))
        wide = f"SELECT device_id, time, id, arrived_at, {names} FROM events"
        long = f"({wide}) UNPIVOT (value FOR reading IN ({names}))"
        parts.insert(0, f"SELECT device_id, time, id, arrived_at, reading, value FROM {long}")
    time_us = engine.MICROSECONDS.format("time")
    union = " UNION ALL ".join(parts)
    return (
        f"SELECT device_id, time, id, arrived_at, reading, value, {_AMOUNT} AS amount, {time_us} AS time_us"
        f" FROM ({union}) AS numbers WHERE abs(value) <= 1.7976931348623157E308"  # what no double holds is no reading
    )
