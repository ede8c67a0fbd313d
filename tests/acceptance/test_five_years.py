"""Five years of an archive by moving the clock: what is there at each month's end is what the rules add up to."""

import calendar
import json
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace import cold_folder, template
from headrace.archive import housekeeping, lifecycle
from headrace.archive.lifecycle_log import LifecycleLog
from headrace.archive.local import LocalBucket

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"
GLACIER, DEEP, EXPIRY, RAW = 90, 365, 1200, 7  # days
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
MONTHS = 60
SMALL, LARGE = 100_000, 140_000  # bytes: below and above the 128 KB that make a transition


def month_ends() -> list[datetime]:
    """Return the first moments of the months after the beginning."""
    ends = []
    year, month = BEGIN.year, BEGIN.month
    for _ in range(MONTHS):
        at = datetime(year, month, calendar.monthrange(year, month)[1], tzinfo=UTC) + timedelta(days=1)
        ends.append(at)
        year, month = at.year, at.month
    return ends


def midnight_after(at: datetime) -> datetime:
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return at if day == at else day + timedelta(days=1)


def expected(key: str, size: int, created: datetime, compacted: bool, now: datetime) -> str | None:
    """Return the class that an object is in now by the template's rules, None if it is gone: plain dates alone."""

    def is_over(days: int) -> bool:
        return midnight_after(created + timedelta(days=days)) <= now

    if key.startswith("raw/"):
        return None if compacted and is_over(RAW) else "STANDARD"
    if is_over(EXPIRY):
        return None
    if size < 131_072 or not is_over(GLACIER):
        return "STANDARD"
    return "DEEP_ARCHIVE" if is_over(DEEP) else "GLACIER"


@pytest.mark.timeout(300)
def test_objects_classes_and_bytes_at_each_months_end(tmp_path: Path) -> None:
    parameters = {
        "RawExpirationDays": str(RAW), "ArchiveGlacierDays": str(GLACIER), "ArchiveDeepArchiveDays": str(DEEP),
        "ArchiveExpirationDays": str(EXPIRY),
    }  # fmt: skip
    declared = next(each for each in template.read(TEMPLATE, parameters).buckets if each.name == "archive")
    rules = lifecycle.rules_of(declared.lifecycle)
    buckets = tmp_path / "data" / "s3"
    buckets.mkdir(parents=True)
    cold = cold_folder.choose(buckets, tmp_path / "cold")
    bucket, log = LocalBucket(buckets / "archive"), LifecycleLog(tmp_path / "data" / "lifecycle")
    objects: dict[str, tuple[int, datetime, bool]] = {}  # size, creation, whether compacted

    def put(key: str, size: int, created: datetime, *, compacted: bool = False) -> None:
        bucket.put(key, bytes(size))
        os.utime(buckets / "archive" / key, ns=(0, int(created.timestamp() * 1000) * 1_000_000))
        if compacted:
            bucket.tag(key, {"compacted": "true"})
        objects[key] = size, created, compacted

    at, month, number = BEGIN, 0, 0
    ends = month_ends()
    while month < MONTHS:
        # Every twelfth day a compacted file, each ninth a small one, and a raw object; some of these stay untagged.
        created = at + timedelta(hours=(number * 7) % 24, minutes=number % 60, milliseconds=number % 3)
        put(f"events/dt={at:%Y-%m-%d}/part-0.parquet", SMALL if number % 9 == 8 else LARGE, created)
        put(f"raw/dt={at:%Y-%m-%d}/hour=00/{number}.zst", 500, created, compacted=number % 11 != 10)
        number, at = number + 1, at + timedelta(days=12)
        while month < MONTHS and ends[month] <= at:
            now = ends[month]
            housekeeping.run(bucket, rules, int(now.timestamp() * 1000), lambda: True, log)
            found = Counter[str]()
            for info in bucket.list():
                found[info.storage_class] += 1
                found[f"{info.storage_class} bytes"] += info.size
            wanted = Counter[str]()
            for key, (size, made, compacted) in objects.items():
                storage_class = expected(key, size, made, compacted, now)
                if storage_class is not None:
                    wanted[storage_class] += 1
                    wanted[f"{storage_class} bytes"] += size
            assert found == wanted, now
            month += 1

    assert {"STANDARD", "GLACIER", "DEEP_ARCHIVE"} <= found.keys()
    in_cold = sum(path.is_file() for path in (cold / "archive").rglob("*"))
    assert in_cold == found["GLACIER"] + found["DEEP_ARCHIVE"]
    gone = {line.key for line in log.read(100_000) if line.action == "expire"}
    assert gone == objects.keys() - {info.key for info in bucket.list()}
    assert len(list((tmp_path / "data" / "lifecycle").iterdir())) >= MONTHS - 4
    assert json.loads((cold / "headrace-cold.json").read_bytes())["version"] == 1
