"""A report on a cluster, killed before each of its changes to S3 and DynamoDB: nothing half, nothing twice."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from headrace import aws, clock
from headrace.archive.copies import Copies
from headrace.billing.files import Book
from headrace.emr import archived, lease, report, spread, storage
from headrace.errors import Conflict
from headrace.jobs import report as reports
from headrace.jobs.run import Attempt, Run
from headrace.system import JobSettings
from headrace.table.aws import DynamoTable
from support import moto
from support.archive import events
from support.backend import ROOT
from support.emr import Killed, Near, SharedArchive, rows, shared
from support.emr_step import items

REPORT = reports.load(ROOT / "reports" / "aggregate_hourly.sql")
CHANGES = {"PutObject", "CopyObject", "DeleteObject", "BatchWriteItem"}
DECIDED = f"jobs/{REPORT.name}/publication.json"
TODAY = date(2026, 7, 25)


class Killer:
    """Ends the run before the change to AWS with the number `at`, if it comes so far."""

    def __init__(self) -> None:
        self.at: int | None = None
        self.done = 0

    def __call__(self, model: Any, params: Any, **others: Any) -> None:
        if model.name in CHANGES and not params["url_path"].endswith("lease.json"):
            self.done += 1
            if self.at is not None and self.done >= self.at:
                raise Killed


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[SharedArchive]:
    with shared(tmp_path) as made:
        moto.create_table(aws.client("dynamodb"), "events")
        moto.create_table(aws.client("dynamodb"), "devices")
        yield made


def run(archive: SharedArchive, folder: Path) -> dict[str, Any]:
    """Do the report as the step does, with DuckDB in the place of Spark."""
    folder.mkdir(parents=True, exist_ok=True)
    setting = report.Setting(
        archive.source,
        archived.take(archive.source, archive.catalogue, ("temperature", "humidity")),
        spread.here,
        lambda prefix: Near(archive, folder),
        DynamoTable.connect("devices"),
        DynamoTable.connect("events"),
        [],
        Book,
        512,
    )
    asked = Run("run", REPORT.name, "step", 0, JobSettings(writes_per_s=1_000_000), attempts=[Attempt(0)])
    with lease.held(archive.exchange, REPORT.name, duration_s=2) as mine:
        return report.run(REPORT, setting, mine, asked, TODAY, folder)


def output(archive: SharedArchive, folder: Path) -> tuple[list[tuple[Any, ...]], dict[tuple[str, str], Any]]:
    near = Copies(archive.bucket, folder)
    paths = [near.location(key) for key in archive.keys("reports/")]
    return rows(paths), items(DynamoTable.connect("events"))


def forget_all(archive: SharedArchive) -> None:
    for key in (*archive.keys("reports/"), *archive.keys(f"jobs/{REPORT.name}/")):
        archive.bucket.delete(key)
    table = DynamoTable.connect("events")
    table.delete(list(items(table)))


def test_killed_anywhere_and_run_again(archive: SharedArchive, tmp_path: Path) -> None:
    archive.put(*events(range(20)), *events(range(10), day=2))
    archive.compact()
    run(archive, tmp_path / "whole")
    whole = output(archive, tmp_path / "whole")
    assert whole[0] and whole[1]
    killer = Killer()
    storage.forget()
    aws._session().register("before-call", killer)
    for at in range(1, 100):
        forget_all(archive)
        killer.at, killer.done = at, 0
        try:
            run(archive, tmp_path / f"{at}")
        except Killed:
            killer.at = None
            if not archive.keys(DECIDED) and not archive.keys(f"jobs/{REPORT.name}/seen.json"):
                assert output(archive, tmp_path / f"{at}-killed") == ([], {})
            run(archive, tmp_path / f"{at}-again")
        assert output(archive, tmp_path / f"{at}-after") == whole
        assert not [
            key for key in archive.keys(f"jobs/{REPORT.name}/") if not key.endswith(("lease.json", "seen.json"))
        ]
        if killer.at is not None:
            break
    assert at > 8


def test_two_runs_at_once_are_refused(archive: SharedArchive, tmp_path: Path) -> None:
    with (
        lease.held(archive.exchange, "a", duration_s=0.4),
        pytest.raises(Conflict, match="at work"),
        lease.held(archive.exchange, "a", duration_s=0.4),
    ):
        pass
    with lease.held(archive.exchange, "a", duration_s=0.4):
        pass


def test_a_lease_that_was_taken_by_somebody_else_is_noticed(archive: SharedArchive) -> None:
    with lease.held(archive.exchange, "a", duration_s=2) as mine:
        mine.check()
        archive.bucket.put(lease.key_of("a"), b'{"holder":"somebody else","expires_ms":0}')
        clock.sleep(0.8)
        with pytest.raises(Conflict, match="lost"):
            mine.check()
