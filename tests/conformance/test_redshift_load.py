"""The batches that load Redshift, unchanged, on Headrace's own Data API: one transaction each, done twice done once."""

from collections.abc import Iterator
from typing import Any

import duckdb
import msgspec
import pytest

from headrace.archive.local import LocalBucket
from headrace.emr import statements
from headrace.emr.statements import Copied, Noted
from support.warehouse_server import PLACE, WarehouseServer, rows, run, wait

COLUMNS = {"device_id": "VARCHAR(2048)", "time": "TIMESTAMP", "id": "VARCHAR(256)", "value": "DOUBLE PRECISION"}
KEYS = statements.KEYS["events"]
FIRST_US, LAST_US = 1_767_225_600_000_000, 1_767_225_700_000_000  # from 2026-01-01T00:00:00Z


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarehouseServer]:
    with WarehouseServer(tmp_path_factory.mktemp("warehouse"), memory_mb=200) as running:
        client = running.client()
        # The loaded tables are Headrace's own here: tables of other names take their part.
        declared = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
        for sql in (
            statements.CREATE_HISTORY,
            f"CREATE TABLE loaded ({declared})",
            f"CREATE TABLE daily_sums ({declared})",
        ):
            assert run(client, sql)["Status"] == "FINISHED"
        yield running


def put(server: WarehouseServer, load: str, numbers: range, *, name: str = "0") -> Copied:
    """Put a load file with events of these numbers, and its manifest."""
    bucket = LocalBucket(server.layout.buckets / "archive")
    path = server.layout.data / "load.parquet"
    select = (
        f"SELECT 'd' AS device_id, make_timestamp({FIRST_US} + n * 1000000) AS time, 'e-' || n AS id, "
        f"n :: DOUBLE AS value FROM range({numbers.start}, {numbers.stop}) AS numbers (n)"
    )
    duckdb.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet, COMPRESSION snappy)")
    key, size = f"load/files/{load}/{name}.parquet", path.stat().st_size
    bucket.put_file(key, path)
    manifest = f"load/files/{load}/{name}.manifest"
    bucket.put(manifest, statements.manifest({f"s3://archive/{key}": size}))
    return Copied("loaded", COLUMNS, f"s3://archive/{manifest}", KEYS)


def batch(client: Any, load: str, sqls: list[str]) -> Any:
    return wait(client, client.batch_execute_statement(**PLACE, Sqls=sqls, ClientToken=load)["Id"])


def count(client: Any, table: str) -> int:
    found: int = rows(client, f"SELECT COUNT(*) FROM {table}")[0][0]
    return found


def test_loaded_twice_is_loaded_once(server: WarehouseServer) -> None:
    client = server.client()
    sqls = statements.added("l1", [put(server, "l1", range(20))], [Noted("events", "a", 20)], FIRST_US, LAST_US)
    for token in ("l1", "again"):  # the same token would not even be executed again
        told = batch(client, token, sqls)
        assert told["Status"] == "FINISHED", told
        assert count(client, "loaded") == 20 and count(client, "load_history") == 1
    overlapping = statements.added(
        "l2", [put(server, "l2", range(10, 30))], [Noted("events", "b", 20)], FIRST_US, LAST_US
    )
    assert batch(client, "l2", overlapping)["Status"] == "FINISHED"
    assert rows(client, "SELECT COUNT(*), COUNT(DISTINCT id) FROM loaded") == [(30, 30)]


def test_what_fails_leaves_nothing(server: WarehouseServer) -> None:
    client = server.client()
    before = count(client, "loaded"), count(client, "load_history")
    sqls = statements.added("l3", [put(server, "l3", range(100, 110))], [Noted("events", "c", 10)], FIRST_US, LAST_US)
    told = batch(client, "l3-broken", [*sqls, "SELECT nothing FROM loaded"])
    assert told["Status"] == "FAILED" and (count(client, "loaded"), count(client, "load_history")) == before
    assert batch(client, "l3", sqls)["Status"] == "FINISHED"
    assert count(client, "loaded") == before[0] + 10


def test_rows_are_replaced(server: WarehouseServer) -> None:
    client = server.client()
    for load, numbers in (("r1", range(5)), ("r2", range(3)), ("r2", range(3))):
        copied = put(server, load, numbers)._replace(table="daily_sums", keys=())
        sqls = statements.replaced(load, copied, [Noted("daily_sums", load, 0)], "\"device_id\" = 'd'")
        assert batch(client, f"{load}-{numbers.stop}", sqls)["Status"] == "FINISHED"
        assert count(client, "daily_sums") == len(numbers)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"entries": [{"url": "s3://archive/load/nothing.parquet", "mandatory": True}]}, "no object"),
        ({"entries": [{"url": "s3://archive/load/nothing.parquet"}]}, "names no object"),
        ({"entries": [{"url": "s3://elsewhere/x", "mandatory": True}]}, "no bucket"),
        ({"files": []}, "no manifest"),
        ({"entries": [{"url": "s3://archive/../../../etc/passwd", "mandatory": True}]}, "can't be the key"),
    ],
)
def test_a_wrong_manifest_says_what_is_wrong(server: WarehouseServer, content: dict[str, Any], says: str) -> None:
    client = server.client()
    LocalBucket(server.layout.buckets / "archive").put("load/wrong.manifest", msgspec.json.encode(content))
    told = run(client, "COPY loaded FROM 's3://archive/load/wrong.manifest' IAM_ROLE default FORMAT PARQUET MANIFEST")
    assert told["Status"] == "FAILED" and says in told["Error"], told
