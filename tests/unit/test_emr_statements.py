"""The SQL that loads Redshift: valid for the Data API, within its limits, and harmless whatever a key holds."""

from datetime import date

import boto3
import pytest
from botocore.validate import ParamValidator

from headrace.emr import statements
from headrace.emr.load import NEXT_BYTES_MAX, Batch, _fitting
from headrace.emr.statements import Copied, Noted
from headrace.warehouse import dialect, tables

EVENTS, READINGS = statements.columns_of("events", ("temperature",)), statements.columns_of("readings")
COPIED = [
    Copied("events", EVENTS, "s3://a/load/e.manifest", statements.KEYS["events"]),
    Copied("readings", READINGS, "s3://a/load/r.manifest", statements.KEYS["readings"]),
]
NOTED = [Noted("events", "events/dt=2026-07-01/x.parquet", 3)]
HOURLY = Copied("hourly", statements.columns_of("hourly"), "s3://a/load/h.manifest")
BATCHES = {
    "setup": statements.setup(),
    "added": statements.added("l1", COPIED, NOTED, 0, 1_785_000_000_123_456),
    "replaced": statements.replaced("l2", HOURLY, NOTED, statements.on_day("period_start", [date(2026, 7, 1)])),
    "removed": statements.replaced("l3", HOURLY._replace(manifest=None), NOTED, statements.in_month("month", [])),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_is_what_the_data_api_takes(name: str) -> None:
    shape = boto3.client("redshift-data", "us-east-1").meta.service_model.operation_model("BatchExecuteStatement")
    batch = BATCHES[name]
    asked = {"Database": "headrace", "WorkgroupName": "headrace", "Sqls": batch, "ClientToken": "l1"}
    assert not ParamValidator().validate(asked, shape.input_shape).has_errors()
    assert len(batch) <= statements.STATEMENTS_MAX and all(len(sql) < dialect.SQL_BYTES_MAX for sql in batch)


def test_a_key_can_t_end_a_statement() -> None:
    evil = Noted("events", "events/dt=2026-07-01/x'); DROP TABLE events; --\\.parquet", 3)
    (note,) = [sql for sql in statements.added("l1", COPIED, [evil], 0, 1) if "load_history (" in sql]
    assert "'events/dt=2026-07-01/x?)? DROP TABLE events? --?.parquet'".replace(")", "?") in note


def test_times_bound_what_is_compared() -> None:
    sql = BATCHES["added"][4]
    assert "old.time >= '1970-01-01 00:00:00.000000' AND old.time <= '2026-07-25 17:20:00.123456'" in sql


def test_the_file_for_the_state_machine_stays_small() -> None:
    batches = [Batch(f"l{number}", ["x" * 9_000]) for number in range(100)]
    found = _fitting(batches)
    assert found == batches[: len(found)] and 1 < len(found) * 9_000 < NEXT_BYTES_MAX
    assert _fitting([Batch("large", ["x" * 300_000])]) != []


def test_every_table_is_made() -> None:
    made = " ".join(statements.setup())
    assert all(f"CREATE TABLE IF NOT EXISTS {name} " in made for name in (*tables.tables(), statements.HISTORY))
