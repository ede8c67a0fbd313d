"""The step of a cluster, under real spark-submit: the sensor file gives what one machine makes of it, row by row."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from headrace.archive.base import Bucket
from headrace.archive.copies import Copies
from headrace.emr.main import main
from support.emr_step import ARCHIVE, CLOSED, Both, Step, arguments, cloud, items, jobs
from support.jobs import needs_java
from support.redshift import Redshift

pytestmark = [needs_java, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with cloud():
        made = Both(tmp_path_factory.mktemp("data"))
        made.fill()
        made.run_here()
        yield made


def rows(bucket: Bucket, prefix: str, folder: Path) -> list[tuple[Any, ...]]:
    near = Copies(bucket, folder)
    paths = [near.location(info.key) for info in bucket.list(prefix)]
    assert paths, prefix
    return duckdb.execute(f"FROM read_parquet({paths}, union_by_name = true) ORDER BY ALL").fetchall()


def test_killed_and_run_again_it_gives_the_rows_of_one_machine(both: Both, tmp_path: Path) -> None:
    step = Step([*arguments(jobs()), "--lease-s", "4"], tmp_path)
    step.kill_when(lambda: any(both.archive.list("jobs/aggregate_hourly/attempts/")))
    assert not any(both.archive.list("reports/")) and not items(both.events)

    step = Step([*arguments([*jobs(), "bills"]), "--parameter", f"close={CLOSED}"], tmp_path)
    assert step.wait() == 0, step.log.read_text()
    for prefix in ("events/", *(f"reports/{name}/" for name in both.reports)):
        keys = [info.key for info in both.archive.list(prefix)]
        if prefix != "events/":
            assert keys == [info.key for info in both.near_archive.list(prefix)]
        assert rows(both.archive, prefix, tmp_path / "a") == rows(both.near_archive, prefix, tmp_path / "b"), prefix
    assert without_moments(items(both.events)) == without_moments(items(both.near_events))
    lines = f"bills/month={CLOSED}/lines-"
    assert rows(both.archive, lines, tmp_path / "a") == rows(both.near_archive, lines, tmp_path / "b")
    assert all(both.archive.tags(info.key) == {"compacted": "true"} for info in both.archive.list("raw/"))
    left = [info.key for info in both.archive.list("jobs/")]
    assert not any("/attempts/" in key or "publication" in key for key in left), left

    redshift = Redshift(both.archive, ARCHIVE, tmp_path / "redshift")
    for batch in json.loads(both.archive.get("load/next.json"))["batches"]:
        redshift.batch(batch["sqls"])
    for table, prefix in (("events", "events/"), ("hourly", "reports/aggregate_hourly/")):
        loaded = redshift.rows(f"SELECT count(*) FROM {table}")
        assert loaded == [(len(rows(both.near_archive, prefix, tmp_path / "b")),)]

    before = unchanged(both)
    assert main(arguments(["compact", "aggregate_hourly", "device_daily"])) == 0  # Spark isn't even started
    assert before == unchanged(both)


def without_moments(found: dict[tuple[str, str], dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return items without when a bill was closed."""
    assert any(sort == f"bill#{CLOSED}" for _, sort in found)
    return {key: {name: value for name, value in item.items() if name != "closed_at"} for key, item in found.items()}


def unchanged(both: Both) -> dict[str, int]:
    """Return when every object was put that a run without news does not put."""
    return {info.key: info.modified_ms for info in both.archive.list() if not info.key.startswith("jobs/")}
