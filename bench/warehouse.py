"""Twenty dashboard queries over 50 million events in the warehouse, beside 10,000 events/s, and beside plain DuckDB.

The events are of 30 days, four readings each, and lie in the archive as compaction leaves them: the job `load` brings
them into the warehouse. Then each query of `docs/warehouse.md` is asked again and again through boto3's Data API client
(ExecuteStatement that waits, GetStatementResult), while the load is sent; after each answer the same SQL, translated,
is run on a DuckDB file that holds the same rows, in another process with the same limits.

The verifier compares counts and sums in the warehouse with what was generated, both engines' answers, and in the end
log, table, archive and failures (`status --verify`).
"""

import argparse
import json
import multiprocessing
import re
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from bodies import Bodies
from headrace.archive import catalogue
from headrace.archive.catalogue import File, Manifest
from headrace.archive.local import LocalBucket
from headrace.settings import Layout
from headrace.warehouse import dialect
from headrace.warehouse.engine import readings_view
from headrace.warehouse.fields import text
from results import Figure, Result, save, scratch
from support.backend import ROOT, TEMPLATE, Backend
from support.load import send

EVENTS, DAYS, DEVICES = 50_000_000, 30, 2_000
READINGS = ("temperature", "humidity", "battery", "rssi")
RATE = 10_000
PLAIN = "plain DuckDB"
PLACE = {"Database": "headrace", "WorkgroupName": "headrace"}
FIXED = (
    "Events whose clock was ahead, by day",
    "A device's moving mean over a day",
    "Every reading there is, over all time",
)  # whose answer does not depend on the time of day
_QUERY = re.compile(r"^### \d+\. (.*?)\n\n```sql\n(.*?)\n```", re.MULTILINE | re.DOTALL)

_EVENTS = """
    SELECT printf('device-%06d', d) AS device_id,
    CAST(TIMESTAMP '{day}' + to_milliseconds(CAST(n * {step} AS BIGINT) + d) AS TIMESTAMP) AS time,
    printf('e-%012d', n * {devices} + d) AS id, time + to_milliseconds(40 + hash(n + d) % 100)
    AS arrived_at, CAST(NULL AS VARCHAR) AS device_time, CAST(NULL AS VARCHAR) AS flags, 'events' AS stream,
    CAST(d % 4 AS INTEGER) AS shard, CAST(1785000000 AS BIGINT) AS shard_created, CAST(n * {devices} + d AS BIGINT)
    AS number, CAST(NULL AS VARCHAR) AS sequence_number, CAST(140 + d % 20 AS INTEGER) AS bytes,
    15 + (hash(d * 7 + n) % 1500) / 100 AS temperature, 30 + (hash(d + n * 3) % 500) / 10 AS humidity,
    3 + (hash(d * 13 + n) % 1000) / 1000 AS battery, CAST(-40 - CAST((hash(d + n) % 60) AS BIGINT) AS DOUBLE) AS rssi,
    CAST(NULL AS VARCHAR) AS readings
    FROM range({devices}) AS devices(d), range({each}) AS numbers(n)
"""
_AGGREGATES = """
    SELECT device_id, reading, CAST(date_trunc('{period}', time) AS TIMESTAMP) AS period_start, count(*) AS count,
    min(value) AS min, max(value) AS max, avg(value) AS mean, CAST(sum(CAST(value AS DECIMAL(28, 9))) AS DECIMAL(38, 9))
    AS sum, min_by(value, time) AS first, max_by(value, time) AS last, CAST(0 AS BIGINT) AS gaps,
    CAST(60 + hash(device_id) % 60 AS DOUBLE) AS longest_gap_s
    FROM (SELECT device_id, time, temperature, humidity, battery, rssi FROM read_parquet({path}))
    UNPIVOT (value FOR reading IN (temperature, humidity, battery, rssi)) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


def queries() -> dict[str, str]:
    """Return the documented queries by name, about devices that there are."""
    return dict(_QUERY.findall((ROOT / "docs" / "warehouse.md").read_text()))


def generate(layout: Layout, folder: Path, events: int) -> tuple[list[Path], int]:
    """Put the events into the archive, a day a file, and their aggregates; return the files and how many events."""
    bucket = LocalBucket(layout.buckets / "archive")
    found = catalogue.of(bucket, layout.archive)
    each = max(24, events // DAYS // DEVICES)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    files = []
    connection = duckdb.connect(config={"threads": 2, "memory_limit": "2GB", "temp_directory": str(folder / "spilled")})
    for back in range(DAYS, 0, -1):
        # The newest day ends now, so that the last hours have events.
        day = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=back)
        name = f"{(today - timedelta(days=back)).date()}"
        path = folder / f"{name}.parquet"
        sql = _EVENTS.format(day=day, step=86_000_000 / each, devices=DEVICES, each=each)
        connection.execute(
            f"COPY ({sql} ORDER BY device_id, time, id) TO {_text(path)} (FORMAT parquet, COMPRESSION zstd)"
        )
        files.append(path)
    _split_by_day(connection, folder, files, bucket, found)
    connection.close()
    return files, each * DEVICES * DAYS


def _split_by_day(
    connection: Any, folder: Path, files: list[Path], bucket: LocalBucket, found: catalogue.Catalogue
) -> None:
    source = f"read_parquet([{', '.join(map(_text, files))}])"
    days = connection.execute(f"SELECT DISTINCT CAST(time AS DATE) FROM {source} ORDER BY 1").fetchall()
    for (day,) in days:
        path = folder / "day.parquet"
        on_day = f"time >= DATE '{day}' AND time < DATE '{day}' + 1"
        connection.execute(
            f"COPY (SELECT * FROM {source} WHERE {on_day} ORDER BY device_id, time, id) TO {_text(path)} "
            "(FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2)"
        )
        for period in ("hour", "day"):
            report = {"hour": "aggregate_hourly", "day": "aggregate_daily"}[period]
            out = folder / f"{report}.parquet"
            aggregated = _AGGREGATES.format(period=period, path=_text(path))
            connection.execute(f"COPY ({aggregated}) TO {_text(out)} (FORMAT parquet, COMPRESSION zstd)")
            bucket.put_file(f"reports/{report}/dt={day}/{report}.parquet", out)
        rows, first, last = connection.execute(
            f"SELECT count(*), epoch_us(min(time)), epoch_us(max(time)) FROM read_parquet({_text(path)})"
        ).fetchone()
        key = catalogue.key_of(str(day), f"20260101T000000-{'0' * 12}")
        file = File(
            key, rows, path.stat().st_size, 0, first, last, first, last, "device-000000", "device-999999", READINGS
        )
        bucket.put_file(key, path)
        found.change(str(day), lambda _, file=file, day=day: Manifest(str(day), (file,)))  # type: ignore[misc]


def _text(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def forget(layout: Layout) -> None:
    """Take the generated events out of the archive: they never were in the log. The warehouse keeps them."""
    bucket = LocalBucket(layout.buckets / "archive")
    keys = [info.key for info in bucket.list("events/")]
    catalogue.of(bucket, layout.archive).forget(keys)
    for key in keys:
        bucket.delete(key)


def plain(path: Path, files: list[Path], layout: Layout) -> dict[str, dict[str, str]]:
    """Make a DuckDB file of the same rows; return its schema."""
    connection = duckdb.connect(config={"threads": 2, "memory_limit": "2GB", "temp_directory": f"{path}.spilled"})
    connection.execute(
        f"ATTACH {_text(path)} AS headrace; CREATE SCHEMA headrace.public; CREATE SCHEMA headrace.internal"
    )
    connection.execute("USE headrace.public")
    connection.execute(f"CREATE TABLE events AS FROM read_parquet([{', '.join(map(_text, files))}])")
    for table, report in (("hourly", "aggregate_hourly"), ("daily", "aggregate_daily")):
        objects = sorted((layout.buckets / "archive" / "reports" / report).glob("*/*.parquet"))
        read = f"read_parquet([{', '.join(map(_text, objects))}], hive_partitioning = false)"
        connection.execute(f"CREATE TABLE {table} AS FROM {read}")
    connection.execute("CREATE TABLE bills (month DATE, tenant VARCHAR, currency VARCHAR, amount DECIMAL(38, 4))")
    connection.execute(
        "CREATE TABLE internal.numbers (device_id VARCHAR, time TIMESTAMP, id VARCHAR, arrived_at TIMESTAMP, "
        "reading VARCHAR, value DOUBLE)"
    )
    connection.execute(readings_view({name: name for name in READINGS}))
    schema: dict[str, dict[str, str]] = {}
    rows = connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE schema_name = 'public'"
    )
    for table, column, kind in rows.fetchall():
        schema.setdefault(table, {})[column] = kind
    connection.close()
    return schema


class Asked:
    """What asking has found: seconds by query, of ours and of plain DuckDB, and where the answers differed."""

    def __init__(self) -> None:
        self.ours: dict[str, list[float]] = {}
        self.theirs: dict[str, list[float]] = {}
        self.different: list[str] = []


def ask(url: str, path: Path, schema: dict[str, dict[str, str]], seconds: float) -> Asked:
    """Ask every query of both in turns until the time is over, and each at least three times."""
    import boto3

    client = boto3.client("redshift-data", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test",
                          aws_secret_access_key="test")  # fmt: skip
    connection = duckdb.connect(config={"threads": 2, "memory_limit": "1GB", "temp_directory": f"{path}.spilled"})
    connection.execute(f"ATTACH {_text(path)} AS headrace (READ_ONLY)")
    for setting in dialect.SETTINGS:
        connection.execute(setting)
    connection.execute("USE headrace.public")
    found = Asked()
    translated = {name: dialect.translate(sql, schema)[0].sql for name, sql in queries().items()}
    deadline_s = time.monotonic() + seconds
    turns = 0
    while time.monotonic() < deadline_s or turns < 3:
        turns += 1
        for name, sql in queries().items():
            began = time.perf_counter()
            asked = client.execute_statement(**PLACE, Sql=sql, WaitTimeSeconds=30)
            if asked["Status"] != "FINISHED":
                raise AssertionError(client.describe_statement(Id=asked["Id"]))
            rows = client.get_statement_result(Id=asked["Id"])["Records"]
            found.ours.setdefault(name, []).append(time.perf_counter() - began)
            began = time.perf_counter()
            theirs = connection.execute(translated[name]).fetchall()
            found.theirs.setdefault(name, []).append(time.perf_counter() - began)
            if name in FIXED and not same(rows, theirs):
                found.different.append(name)
    connection.close()
    return found


def same(ours: list[list[dict[str, Any]]], theirs: list[tuple[Any, ...]]) -> bool:
    """Return whether both answered the same, doubles apart in their last digits."""

    def plain_text(value: Any) -> str:
        return f"{value:.9g}" if isinstance(value, float) else text(value)

    left = [["" if "isNull" in field else plain_text(next(iter(field.values()))) for field in row] for row in ours]
    right = [["" if value is None else plain_text(value) for value in row] for row in theirs[: len(left)]]
    return left == right


def totals(url: str) -> tuple[int, int]:
    """Return the warehouse's count of events, and of readings in `daily`."""
    import boto3

    client = boto3.client("redshift-data", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test",
                          aws_secret_access_key="test")  # fmt: skip
    found = []
    for sql in ("SELECT COUNT(*) FROM events", "SELECT CAST(SUM(count) AS BIGINT) FROM daily"):
        asked = client.execute_statement(**PLACE, Sql=sql, WaitTimeSeconds=30)
        found.append(client.get_statement_result(Id=asked["Id"])["Records"][0][0]["longValue"])
    return found[0], found[1]


def main() -> int:
    """Measure; print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help="in the warehouse")
    parser.add_argument("--rate", type=float, default=RATE, help="events a second beside the queries")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--quick", action="store_true", help="over a million events, to see that it works")
    arguments = parser.parse_args()
    events, seconds = (1_000_000, 10.0) if arguments.quick else (arguments.events, arguments.seconds)
    with scratch() as folder:
        backend = Backend(folder / "data", TEMPLATE, "--parameters", f"Readings={','.join(READINGS)}").start()
        layout = Layout(folder / "data")
        try:
            (folder / "made").mkdir()
            files, made = generate(layout, folder / "made", events)
            began = time.monotonic()
            told = json.loads(backend.cli("jobs", "run", "load", "--wait", "--json", timeout_s=3600).stdout)
            load_s = time.monotonic() - began
            assert told["result"]["events"] == made, told
            schema = plain(folder / "plain.duckdb", files, layout)
            forget(layout)
            counted = totals(backend.url)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                asking = pool.apply_async(ask, (backend.url, folder / "plain.duckdb", schema, seconds))
                ledger = send(backend.url, Bodies("events", devices=DEVICES), rate=arguments.rate, duration_s=seconds)
                behind = backend.status()
                found = asking.get(1800)
            backend.settled(ledger.records, 120)
            report = backend.status(verify=True)
            size = sum(path.stat().st_size for path in layout.warehouse.iterdir() if path.is_file())
        finally:
            backend.stop()
    carried = ledger.records / seconds > 0.98 * arguments.rate
    age_ms = max(account["iterator_age_ms"] for account in behind["functions"].values())
    figures = [
        Figure(
            name=f"{name}, p50", value=1000 * statistics.median(found.ours[name]), unit="ms", most=1000,
            beside={PLAIN: 1000 * statistics.median(found.theirs[name])},
        )
        for name in queries()
    ]  # fmt: skip
    figures += [
        Figure(name="loading", value=made / load_s, unit="events/s"),
        Figure(name="bytes an event in the warehouse, with its aggregates", value=size / made, unit="bytes"),
        Figure(
            name="iterator age of the slowest function at the end of the load", value=age_ms, unit="ms", most=60_000
        ),
    ]
    notes = [f"{made:,} events of {DEVICES:,} devices in {DAYS} days, {len(READINGS)} readings each"]
    notes += [f"both differ: {name}" for name in sorted(set(found.different))]
    if not carried:
        notes.append(f"the load was not carried: {ledger.records / seconds:,.0f} events/s")
    if counted != (made, made * len(READINGS)):
        notes.append(f"the warehouse has {counted}, not {made:,} events")
    if not report["verified"]:
        notes.append(f"status --verify: {report['differences'][:5]}")
    verified = bool(report["verified"]) and carried and not found.different and counted == (made, made * len(READINGS))
    return save(Result(section="warehouse", figures=figures, verified=verified, notes=notes, quick=arguments.quick))


if __name__ == "__main__":
    sys.exit(main())
