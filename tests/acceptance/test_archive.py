"""The archive of a running backend: sent twice, killed in between, compacted, read, exported; each event once."""

import csv
import gzip
import json
import math
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from headrace.archive import catalogue, compaction, snapshot
from headrace.archive.local import LocalBucket
from support import death, templates
from support.backend import ROOT, backend

SENSORS = ROOT / "tests" / "data" / "sensors.csv.gz"
ROWS = 1000
READINGS = ("temperature_f", "speed_mph")
Hours = dict[tuple[str, str, str], tuple[int, float]]


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A part of the sensor file: some devices, in few days."""
    path = tmp_path / "few.csv"
    with gzip.open(SENSORS, "rt") as file:
        head, *lines = file.readlines()
    path.write_text("".join([head, *[line for line in lines if line.startswith(("2014-02-20", "2014-02-21"))][:ROWS]]))
    return path


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return templates.archiving_at_once(tmp_path / "project")


def hours_of(path: Path) -> Hours:
    """Return count and sum by device, reading and hour, computed from the file alone."""
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    with path.open() as file:
        for row in csv.DictReader(file):
            hour = datetime.fromisoformat(row["time"]).astimezone(UTC).strftime("%Y-%m-%d %H")
            found[row["device_id"], row["measure"], hour].append(float(row["value"]))
    return {place: (len(values), math.fsum(values)) for place, values in found.items()}


def hours(archive: Path) -> Hours:
    bucket = LocalBucket(archive / "s3" / "archive")
    with snapshot.open(bucket, archive / "archive", readings=READINGS) as taken, duckdb.connect() as connection:
        taken.relation(connection)
        rows = connection.execute(
            "SELECT device_id, reading, strftime(time, '%Y-%m-%d %H'), list(value) FROM readings GROUP BY ALL"
        ).fetchall()
    return {(device, reading, hour): (len(values), math.fsum(values)) for device, reading, hour, values in rows}


def test_sent_twice_with_kills_every_hour_is_as_in_one_sending(few: Path, tmp_path: Path, template: Path) -> None:
    due = hours_of(few)
    with backend(tmp_path, template) as running:
        for kill in ("worker archive", "gateway"):
            running.cli("send", "--restart", str(few))
            running.kill(kill)
            for step in (3, 9):
                death.run("archive_process", running.data, "compact", step)
        running.settled(2 * ROWS)
        assert hours(running.data) == due
        bucket = LocalBucket(running.data / "s3" / "archive")
        summary = compaction.compact(bucket, running.data / "archive", readings=READINGS)
        assert not summary.problems and hours(running.data) == due

        # The books agree, also once a rule has deleted the raw objects, and tell a file that is gone.
        for info in list(bucket.list("raw/", tags=True)):
            assert info.tags == {"compacted": "true"}
            bucket.delete(info.key)
        status = running.status(verify=True)
        assert status["verified"], status["differences"]
        assert status["archive"]["records"] == status["accepted"] >= 2 * ROWS

        # Exports hold each event once, in every format.
        for kind in ("parquet", "csv", "ndjson"):
            running.cli("export", "--output", str(tmp_path / f"all.{kind}"))
        source = {
            "parquet": f"read_parquet('{tmp_path}/all.parquet')",
            "csv": f"read_csv('{tmp_path}/all.csv')",
            "ndjson": f"read_json('{tmp_path}/all.ndjson')",
        }
        for name in source.values():
            (counted,) = duckdb.execute(
                f"SELECT count(*), count(DISTINCT (device_id, time, id)) FROM {name}"
            ).fetchall()
            assert counted == (ROWS, ROWS)
        device = next(iter(due))[0]
        lines = running.cli("export", "--format", "ndjson", "--device", device).stdout.splitlines()
        shown = json.loads(running.cli("history", device, "--limit", "1000", "--json").stdout)["events"]
        assert len(lines) == sum(count for (name, _, _), (count, _) in due.items() if name == device)
        for line, event in zip(lines, shown, strict=False):
            exported = json.loads(line)
            assert exported.pop("arrived_at") and event.pop("arrived_at") and exported == event

        day = catalogue.of(bucket, running.data / "archive").days()[0]
        manifest = bucket.path(f"catalogue/dt={day}.json")
        manifest.rename(manifest.with_suffix(".away"))
        status = running.status(verify=True)
        assert {each["kind"] for each in status["differences"]} == {"in no manifest"}  # replaced ones, too
        manifest.with_suffix(".away").rename(manifest)
        (gone,) = catalogue.of(bucket, running.data / "archive").manifest(day).files
        bucket.path(gone.key).unlink()
        status = running.status(verify=True)
        assert not status["verified"] and status["differences"][0]["key"] == gone.key
        refused = running.cli("export", "--output", str(tmp_path / "no.csv"), check=False)
        assert refused.returncode == 1 and gone.key in refused.stderr and not (tmp_path / "no.csv").exists()
