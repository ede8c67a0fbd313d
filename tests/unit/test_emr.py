"""The cluster's pure decisions: arguments, how days are divided among tasks, and what its environment needs."""

import json
import re
import subprocess
import sys
from datetime import date

import pytest

from headrace.archive.merging import Plan
from headrace.emr import REQUIREMENTS, arguments, tasks
from headrace.emr.storage import Source
from headrace.emr.tasks import Merge, StagedFile
from headrace.errors import UsageError

GIVEN = {
    "--job": "compact,aggregate_hourly",
    "--region": "eu-west-1",
    "--archive": "s3://a",
    "--failures": "s3://f",
    "--events-table": "events",
    "--devices-table": "devices",
    "--reports": "s3://c/jobs/1/reports/",
    "--readings": "t,h",
    "--warm-days": "90",
    "--writes-per-s": "500",
}


def words(given: dict[str, str]) -> list[str]:
    return [word for pair in given.items() for word in pair]


def test_arguments() -> None:
    found = arguments.parse(
        [*words(GIVEN), "--failures", "s3://g", "--from", "2026-07-01", "--to", "2026-08-01", "--parameter", "gap_s=60"]
    )
    assert found.jobs == ("compact", "aggregate_hourly") and found.failures == ("f", "g")
    assert found.archive == "a" and found.reports == ("c", "jobs/1/reports") and found.readings == ("t", "h")
    assert (found.first, found.last, found.parameters) == (date(2026, 7, 1), date(2026, 7, 31), {"gap_s": 60})
    assert (found.warm_days, found.writes_per_s) == (90, 500)
    assert arguments.parse(words(GIVEN)).first is None


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"--job": "compact,../../etc"}, "no name of a job"),
        ({"--archive": "archive"}, "s3://NAME"),
        ({"--archive": "s3://a/b"}, "a bucket alone"),
        ({"--writes-per-s": "0"}, "above 0"),
        ({"--warm-days": "ninety"}, "above 0"),
        ({"--from": "yesterday"}, "--from"),
        ({"--from": "2026-07-02", "--to": "2026-07-02"}, "not after"),
        ({"--parameter": "gap_s"}, "gap_s=900"),
        ({"--arhive": "s3://a"}, "--arhive"),
    ],
)
def test_wrong_arguments_say_what_to_write(changed: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        arguments.parse(words(GIVEN | changed))
    assert says in str(raised.value) and raised.value.hint


def staged(size: int, *devices: str) -> StagedFile:
    return StagedFile("key", 10, size, devices)


@pytest.mark.parametrize(
    ("files", "merged", "parts"),
    [
        ([staged(100, "a", "b")], 0, [""]),
        ([staged(150, "a", "b", "c", "d")], 0, ["device_id < 'c'", "device_id >= 'c'"]),
        ([staged(50, "a", "d'"), staged(50, "b", "c")], 200, ["device_id < 'b'", "device_id >= 'b' AND device_id < 'c'", "device_id >= 'c'"]),  # noqa: E501
        ([staged(100, "a", "d'")], 100, ["device_id < 'd'''", "device_id >= 'd'''"]),
        ([staged(1000, "one", "one", "one")], 0, ["device_id < 'one'", "device_id >= 'one'"]),
        ([staged(1000)], 0, [""]),
    ],
)  # fmt: skip
def test_a_day_is_divided_by_devices(files: list[StagedFile], merged: int, parts: list[str]) -> None:
    assert tasks.parts(files, merged, 100) == parts


def test_small_days_share_a_task() -> None:
    def merge(size: int) -> Merge:
        return Merge(Source("b", "r"), "2026-07-01", (), Plan(), (), "", "", 1, size)

    sizes = [
        [each.bytes for each in group] for group in tasks.grouped([merge(n) for n in (5, 5, 90, 20, 1, 1)], 100, 3)
    ]
    assert sizes == [[5, 5, 90], [20, 1, 1]]
    assert tasks.grouped([], 100, 3) == []


LOADED = """
import importlib, json, pkgutil, sys
import headrace.emr, duckdb, s3transfer.manager, zstandard
for module in pkgutil.iter_modules(headrace.emr.__path__):
    if module.name != "job":
        importlib.import_module(f"headrace.emr.{module.name}")
from importlib import metadata
names = metadata.packages_distributions()
print(json.dumps(sorted({each for name in list(sys.modules) for each in names.get(name.partition(".")[0], ())})))
"""


def test_the_environment_s_requirements_are_all_that_is_imported() -> None:
    from importlib import metadata

    def closure(name: str, found: set[str]) -> set[str]:
        if (key := _plain(name)) not in found:
            found.add(key)
            for each in metadata.requires(name) or ():
                if "extra ==" not in each:
                    closure(_head(each), found)
        return found

    allowed = {"headrace", "certifi", "typing-extensions"}  # the last two are used where they are there
    for requirement in REQUIREMENTS:
        closure(requirement, allowed)
    loaded: list[str] = json.loads(
        subprocess.run([sys.executable, "-c", LOADED], capture_output=True, check=True).stdout
    )
    assert {_plain(name) for name in loaded} <= allowed


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _head(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return found[0]
