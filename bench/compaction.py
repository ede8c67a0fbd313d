"""The archive: compaction, bytes an event, and what readers wait for, beside plain DuckDB and Polars on the same rows.

Events are shaped as `headrace send` makes them of the sensor file: one reading each in the long form, an identity of a
digest and the row, each device's values in the order of the file. They are of two days; a raw object holds 10,000
records of one shard. They are compacted by one thread, at most two million of them three times over, and what counts is
the CPU of the whole process; beside it, DuckDB alone reads the same raw objects and writes them in the same order,
without any of the checks. Readers come after the next run of the compaction, as they do at most times; they and plain
DuckDB take turns, with two threads. The sensor file itself is compacted as well, sent once: 381 days of 155 events.

The verifier compares count and sum of every device and hour with what was generated.

With --events 50000000 most of the time goes to generating the events, in two processes. DuckDB compacts them within
4 GB of memory, and sorts on the disk, under `.bench/`, what does not fit.
"""

import argparse
import csv
import gzip
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pybase64

import bodies  # noqa: F401  (puts the tests on the path)
from headrace.archive import compaction, native, raw, snapshot
from headrace.archive.catalogue import Range
from headrace.archive.engine import Limits
from headrace.archive.local import LocalBucket
from headrace.record import sequence_number, shard_id
from results import Figure, Result, save, scratch
from support.backend import wait_until

SENSORS = Path(__file__).resolve().parents[1] / "tests" / "data" / "sensors.csv.gz"
READINGS = (
    "ec2_cpu_utilization",
    "elb_request_count",
    "occupancy_pct",
    "rds_cpu_utilization",
    "speed_mph",
    "temperature_f",
    "travel_time_s",
)
START_S = 1_782_864_000  # 2026-07-01
SPAN_S = 2 * 86_400
SHARDS = 4
OBJECT = 10_000
BY_HOUR = (
    "SELECT device_id, date_trunc('hour', time) AS hour, count(*) AS events, sum(temperature_f) AS total "
    "FROM {events} GROUP BY 1, 2"
)


Due = dict[tuple[str, int], tuple[int, float]]  # device and hour -> how many events, and the sum of the temperatures


def series() -> list[tuple[str, str, list[str]]]:
    """Return device, measure and values (as text) of each series of the sensor file."""
    found: dict[tuple[str, str], list[str]] = {}
    with gzip.open(SENSORS, "rt") as file:
        for row in csv.DictReader(file):
            found.setdefault((row["device_id"], row["measure"]), []).append(row["value"])
    return [(device, measure, values) for (device, measure), values in found.items()]


def generate(count: int, folder: Path) -> Due:
    """Put `count` events in raw objects, and return what is due of each device and hour."""
    due: Due = {}
    with ProcessPoolExecutor(2) as pool:
        for found in pool.map(generate_shard, [count] * SHARDS, [folder] * SHARDS, range(SHARDS)):
            due |= found
    return due


def generate_shard(count: int, folder: Path, shard: int) -> Due:
    """Put a shard's events in raw objects, in the order of time, as a fleet sends."""
    bucket, known = LocalBucket(folder), series()
    devices = max(SHARDS, count // 4000)
    each = -(-count // devices)
    step_s = SPAN_S / each
    due: dict[tuple[str, int], list[float]] = {}
    group: list[dict[str, Any]] = []
    number = 0
    for row in range(each):
        at_s = START_S + int(row * step_s)
        arrived_ms, hour = (at_s + 1) * 1000, at_s // 3600
        text = datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for device in range(shard, min(devices, count - row * devices), SHARDS):
            name, measure, values = known[device % len(known)]
            name = f"{name}-{device:05d}"
            value = values[row % len(values)]
            data = (
                f'{{"time":"{text}","device_id":"{name}","measure":"{measure}","value":{value},'
                f'"id":"{device:016x}-{row:012d}"}}'
            )
            group.append(record(name, data, shard, number, arrived_ms))
            number += 1
            if len(group) == OBJECT:
                put(bucket, group)
            found = due.setdefault((name, hour), [0, 0.0])
            found[0] += 1
            found[1] += float(value) if measure == "temperature_f" else 0.0
    put(bucket, group)
    return {place: (int(n), total) for place, (n, total) in due.items()}


def record(key: str, data: str, shard: int, place: int, arrived_ms: int) -> dict[str, Any]:
    """Return a record as Lambda hands it over."""
    number = sequence_number(START_S, shard, place, arrived_ms)
    return {
        "kinesis": {
            "partitionKey": key,
            "sequenceNumber": number,
            "data": pybase64.b64encode(data.encode()).decode(),
            "approximateArrivalTimestamp": arrived_ms / 1000,
        },
        "eventID": f"{shard_id(shard)}:{number}",
        "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/events",
    }


def put(bucket: LocalBucket, group: list[dict[str, Any]]) -> None:
    """Put records in raw objects, and forget them."""
    for key, body in raw.objects(group):
        bucket.put(key, body)
    group.clear()


def send_sensors(bucket: LocalBucket) -> int:
    """Put the sensor file's events in raw objects, as one sending of it leaves them; return how many there are."""
    group: list[dict[str, Any]] = []
    rows = 0
    with gzip.open(SENSORS, "rt") as file:
        for row in csv.DictReader(file):
            data = (
                f'{{"time":"{row["time"]}","device_id":"{row["device_id"]}","measure":"{row["measure"]}",'
                f'"value":{row["value"]},"id":"{0:016x}-{rows:012d}"}}'
            )
            group.append(record(row["device_id"], data, 0, rows, START_S * 1000))
            rows += 1
            if len(group) == OBJECT:
                put(bucket, group)
    put(bucket, group)
    return rows


def medians_ms(*works: Callable[[], object], times: int = 5) -> list[float]:
    """Return the median duration of each work in milliseconds, the first ones not counted; they take turns."""
    took: list[list[float]] = [[] for _ in works]
    for _ in range(times + 1):
        for found, work in zip(took, works, strict=True):
            began = time.perf_counter()
            work()
            found.append(1000 * (time.perf_counter() - began))
    return [statistics.median(found[1:]) for found in took]


def main() -> int:
    """Measure; print and keep the figures. The exit code is 1 if the verifier differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--quick", action="store_true", help="fewer events, to see that it works")
    options = parser.parse_args()
    count = 200_000 if options.quick else options.events
    with scratch() as folder:
        found, verified = measure(count, folder)
    figures = [
        Figure(
            name="compaction",
            value=found["events_s_core"],
            unit="events/s a core",
            beside={"DuckDB": found["duckdb_events_s_core"]},
            least=1_000_000,
        ),
        Figure(name="compacted files", value=found["bytes_event"], unit="bytes an event", most=14),
        Figure(name="the sensor file, sent once", value=found["bytes_sensors"], unit="bytes an event", most=14),
        Figure(
            name=f"device x hour over {count:,} events",
            value=found["by_hour_ms"],
            unit="ms",
            beside={"DuckDB": found["by_hour_duckdb_ms"], "Polars": found["by_hour_polars_ms"]},
            most=min(2_000, 1.3 * found["by_hour_duckdb_ms"]),
        ),
        Figure(name="one device's day", value=found["device_day_ms"], unit="ms", most=50),
    ]
    notes = [
        f"{count:,} events in {found['raw_objects']:,.0f} raw objects, {found['raw_bytes_event']:.1f} bytes each; "
        f"{found['exact']:,.0f} were decoded one by one. By the clock it was {found['events_s']:,.0f} events/s, into "
        f"{found['files']:,.0f} files; native code is {'' if native.IS_COMPILED else 'NOT '}compiled."
    ]
    return save(Result(section="compaction", figures=figures, verified=verified, notes=notes, quick=options.quick))


def compacted(count: int, folder: Path) -> tuple[dict[str, float], int]:
    """Compact a bucket, copies of it first, and have DuckDB do the like; return figures, and how many events it has."""
    bucket = LocalBucket(folder / "s3" / "archive")
    sizes = [info.size for info in bucket.list("raw/")]
    taken: list[tuple[float, float]] = []
    for place in [*(f"copy-{number}" for number in range(2 if count <= 2_000_000 else 0)), ""]:
        if place:
            shutil.copytree(folder / "s3", folder / place / "s3", copy_function=shutil.copy2)
        of, work = LocalBucket(folder / place / "s3" / "archive"), folder / place / "archive"
        cpu, began = time.process_time(), time.perf_counter()
        summary = compaction.compact(of, work, readings=READINGS, limits=Limits(4096, 1))
        taken.append((time.process_time() - cpu, time.perf_counter() - began))
    cpu, took = (statistics.median(found) for found in zip(*taken, strict=True))
    figures: dict[str, float] = {
        "raw_objects": len(sizes),
        "raw_bytes_event": sum(sizes) / count,
        "events_s": count / took,
        "events_s_core": count / cpu,
        "duckdb_events_s_core": count / statistics.median(duckdb_cpu_s(bucket, folder) for _ in taken),
        "exact": summary.exact,
        "files": summary.files,
        "bytes_event": summary.bytes / count,
    }
    return figures, summary.events


def duckdb_cpu_s(bucket: LocalBucket, folder: Path) -> float:
    """Return the CPU seconds of DuckDB alone for the same: JSON as it reads it, sorted, and written as Parquet."""
    files = [bucket.location(info.key) for info in bucket.list("raw/")]
    config: dict[str, Any] = {"threads": 1, "memory_limit": "4GB", "temp_directory": str(folder / "duckdb")}
    with duckdb.connect(config=config) as connection:
        began = time.process_time()
        connection.execute(
            "COPY (SELECT data.device_id, data.time, data.id, make_timestamp(arrived_us) AS arrived_at, stream, shard, "
            f"seq, data.measure, data.value FROM read_json({files!r}, format = 'newline_delimited', columns = "
            "{stream: 'VARCHAR', shard: 'VARCHAR', seq: 'VARCHAR', arrived_us: 'BIGINT', data: 'STRUCT(time TIMESTAMP, "
            'device_id VARCHAR, measure VARCHAR, "value" DOUBLE, id VARCHAR)\'}) ORDER BY ALL) '
            f"TO '{folder}/duckdb.parquet' (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2)"
        )
        return time.process_time() - began


def measure(count: int, folder: Path) -> tuple[dict[str, float], bool]:
    """Return the figures of one run, and whether what was read is what was generated."""
    bucket, work = LocalBucket(folder / "s3" / "archive"), folder / "archive"
    due = generate(count, folder / "s3" / "archive")
    figures, events = compacted(count, folder)
    folders = {info.key.rpartition("/")[0] + "/" for info in bucket.list("raw/")}
    wait_until(lambda: all(bucket.mark(each) for each in folders), 30)  # one that has just changed is not settled
    compaction.compact(bucket, work, readings=READINGS)
    sent = send_sensors(LocalBucket(folder / "s3" / "sensors"))
    sensors = compaction.compact(LocalBucket(folder / "s3" / "sensors"), folder / "sensors", readings=READINGS)
    figures["bytes_sensors"] = sensors.bytes / sensors.events
    with duckdb.connect(config={"threads": 2}) as connection:
        files = [bucket.location(info.key) for info in bucket.list("events/")]
        plain = BY_HOUR.format(events=f"read_parquet({files!r})")

        def by_hour() -> list[tuple[Any, ...]]:
            with snapshot.open(bucket, work, readings=READINGS) as taken:
                asked = BY_HOUR.format(events=f"({taken.sql()})")
                found: list[tuple[Any, ...]] = connection.execute(asked).fetchall()
                return found

        figures["by_hour_duckdb_ms"], figures["by_hour_ms"] = medians_ms(
            lambda: connection.execute(plain).fetchall(), by_hour
        )
        rows = by_hour()
        device = rows[len(rows) // 2][0]

        def one_day() -> None:
            wanted = Range(START_S * 1_000_000, (START_S + 86_400) * 1_000_000, device)
            with snapshot.open(bucket, work, readings=READINGS, wanted=wanted) as taken:
                connection.execute(f"SELECT time, temperature_f FROM ({taken.sql()}) ORDER BY time").fetchall()

        (figures["device_day_ms"],) = medians_ms(one_day)
    lazy = (
        pl.scan_parquet(files)
        .group_by("device_id", pl.col("time").dt.truncate("1h").alias("hour"))
        .agg(pl.len(), pl.col("temperature_f").sum())
    )
    (figures["by_hour_polars_ms"],) = medians_ms(lazy.collect)
    seen = {
        (name, int(hour.replace(tzinfo=UTC).timestamp()) // 3600): (n, total or 0.0) for name, hour, n, total in rows
    }
    agrees = seen.keys() == due.keys() and all(
        seen[place][0] == n and abs(seen[place][1] - total) <= 1e-6 * max(1.0, abs(total))
        for place, (n, total) in due.items()
    )
    return figures, agrees and events == count and sensors.events == sent


if __name__ == "__main__":
    sys.exit(main())
