"""Events of a snapshot as one file: Parquet with the archive's columns, CSV, or NDJSON of events as they are shown."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from headrace.archive.columns import READINGS, name_sql, names_sql, schema, text_sql
from headrace.archive.snapshot import Snapshot

FORMATS = ("parquet", "csv", "ndjson")
_COPY = {
    "parquet": "FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2",
    "csv": "FORMAT csv, HEADER true",
    "ndjson": "FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '\x01'",  # a column of lines, as they are
}


class Exported(NamedTuple):
    """What was written."""

    events: int
    bytes: int


def export(connection: Any, taken: Snapshot, kind: str, path: Path) -> Exported:
    """Write a snapshot's events to a file, in the order of device, time and id; `kind` is one of FORMATS."""
    taken.relation(connection)
    order = "ORDER BY device_id, time, id"
    select = f"{_select(taken.typed, kind)} FROM events {order}"
    found = connection.execute(f"COPY ({select}) TO {text_sql(str(path))} ({_COPY[kind]})")
    (events,) = found.fetchone()
    return Exported(events, path.stat().st_size)


def _select(typed: tuple[str, ...], kind: str) -> str:
    if kind == "parquet":
        return f"SELECT {names_sql(schema(typed))}"
    if kind == "ndjson":
        return f"SELECT {_event_sql(typed)}"
    names = ", ".join(
        f"{_time_sql(name)} AS {name}" if type_ == "TIMESTAMP" else name_sql(name)
        for name, type_ in schema(typed).items()
    )
    return f"SELECT {names}"


def _time_sql(name: str) -> str:
    """Return a time as RFC 3339 in UTC, with no more decimals than it has."""
    return f"regexp_replace(strftime({name}, '%Y-%m-%dT%H:%M:%S.%fZ'), '\\.?0+Z$', 'Z')"


def _event_sql(typed: tuple[str, ...]) -> str:
    """Return a row as the JSON object that `headrace history` shows of an event."""
    members = [
        "'\"device_id\":' || CAST(to_json(device_id) AS VARCHAR)",
        f"'\"time\":\"' || {_time_sql('time')} || '\"'",
        "'\"id\":' || CAST(to_json(id) AS VARCHAR)",
        f"'\"arrived_at\":\"' || {_time_sql('arrived_at')} || '\"'",
        f"'\"readings\":' || {_readings_sql(typed)}",
        "'\"device_time\":' || device_time",
        "'\"flags\":[\"' || replace(flags, ',', '\",\"') || '\"]'",
    ]
    return f"'{{' || concat_ws(',', {', '.join(members)}) || '}}'"


def _readings_sql(typed: tuple[str, ...]) -> str:
    """Return all readings as a JSON object; of one that is in both, a column and `readings`, the latter is exact."""
    members = []
    for name in typed:
        member = f"{text_sql(_json_name(name) + ':')} || CAST({name_sql(name)} AS VARCHAR)"
        is_kept = f"coalesce(list_contains(json_keys({READINGS}), {text_sql(name)}), false)"
        members.append(f"CASE WHEN {READINGS} IS NULL OR NOT {is_kept} THEN {member} END")
    members.append(f"substring({READINGS}, 2, length({READINGS}) - 2)")
    return f"'{{' || concat_ws(',', {', '.join(members)}) || '}}'"


def _json_name(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
