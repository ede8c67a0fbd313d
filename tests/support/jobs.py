"""What tests of jobs need: archived events as Parquet, engines, and whether there is a Java for Spark."""

import json
import os
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest

from headrace.archive import columns
from headrace.jobs.base import Engine, Relation
from headrace.jobs.duckdb import DuckDB
from headrace.jobs.spark import Spark, java

NO_JAVA = "Spark needs Java: apt-get install default-jre-headless"
needs_java = pytest.mark.skipif(java() is None and not os.environ.get("CI"), reason=NO_JAVA)
ENGINES = ["duckdb", pytest.param("spark", marks=needs_java)]


class Event(NamedTuple):
    """An archived event; `readings` are all of its members."""

    device_id: str
    time: datetime
    id: str
    readings: dict[str, Any]
    arrived_at: datetime
    flags: str = ""
    bytes: int = 100


def engine(name: str, temporary: Path, *, memory_mb: int = 1024) -> Engine:
    temporary.mkdir(parents=True, exist_ok=True)
    if name == "duckdb":
        return DuckDB(temporary, memory_mb=memory_mb, spill_mb=1024)
    return Spark(temporary, memory_mb=memory_mb)


def archive(folder: Path, events: Iterable[Event], readings: Sequence[str]) -> list[str]:
    """Write events as the compaction does: a file a day, sorted by device and time; return the files."""
    days: dict[str, list[Event]] = {}
    for event in events:
        days.setdefault(f"{event.time:%Y-%m-%d}", []).append(event)
    return [
        str(_write(folder / f"dt={day}" / "events.parquet", found, readings)) for day, found in sorted(days.items())
    ]


def _write(path: Path, events: list[Event], readings: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    types = columns.schema(readings)
    lines = path.with_suffix(".ndjson")
    with lines.open("w") as file:
        for event in sorted(events, key=lambda each: (each.device_id, each.time, each.id)):
            typed = {name: value for name, value in event.readings.items() if name in readings and _is_number(value)}
            # Beside its column stays what a double does not say exactly: integers beyond 2^53.
            inexact = {name for name, value in typed.items() if Decimal(repr(float(value))) != Decimal(str(value))}
            others = {n: v for n, v in event.readings.items() if n not in typed or n in inexact}
            row = {
                "device_id": event.device_id,
                "time": text_of(event.time),
                "id": event.id,
                "arrived_at": text_of(event.arrived_at),
                "flags": event.flags,
                "stream": "events",
                "bytes": event.bytes,
                **{name: repr(float(value)) for name, value in typed.items()},
                "readings": json.dumps(others),
            }
            file.write(json.dumps(row) + "\n")
    texts = ", ".join(f"'{name}': 'VARCHAR'" for name in types)
    casts = ", ".join(f'CAST("{name}" AS {kind}) AS "{name}"' for name, kind in types.items())
    with duckdb.connect() as connection:
        read = f"read_json('{lines}', format = 'newline_delimited', columns = {{{texts}}})"
        connection.execute(f"COPY (SELECT {casts} FROM {read}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
    lines.unlink()
    return path


def relation(folder: Path, name: str, types: dict[str, str], rows: Iterable[dict[str, Any]] = ()) -> Relation:
    """Return a relation of rows given as texts."""
    path = folder / f"{name}.ndjson"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Relation(name, types, [str(path)])


def amount(value: float) -> Decimal | None:
    """The value to nine decimals in plain Python: what `amount` is defined as."""
    if abs(value) >= 9e18:
        return None
    whole = int(value // 1)
    return whole + Decimal(int((value - whole) * 1e9 + 0.5)) / 10**9


def text_of(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def generated(count: int, *, seed: int = 1, days: int = 3) -> list[Event]:
    """Return events with what makes sums differ: huge and tiny numbers, negative ones, all digits, nulls, text."""
    choice = random.Random(seed)
    begin = datetime(2026, 2, 27, tzinfo=UTC)
    events = []
    for number in range(count):
        time = begin + timedelta(microseconds=choice.randrange(days * 86_400_000_000))
        readings: dict[str, Any] = {
            "temperature": choice.uniform(-50, 150),
            "counter": choice.randrange(2**62),
            "odd one": choice.choice([None, "12", True, {"deep": 1}, choice.gauss(0, 1e6), choice.randrange(1000)]),
            "tiny": choice.random() * 10.0 ** -choice.randrange(18),
            "huge": choice.choice([1e300, -1e19, 9.1e18, 3.0]),
        }
        left = choice.choice(list(readings))
        readings = {name: value for name, value in readings.items() if name != left}
        device = f"dévice-{choice.randrange(7)}"
        flags = choice.choice(["", "clock_ahead", "non_finite,clock_ahead"])
        arrived = time + timedelta(milliseconds=choice.randrange(-300_000, 90_000_000))
        events.append(Event(device, time, f"{number:06d}", readings, arrived, flags))
    return events


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
