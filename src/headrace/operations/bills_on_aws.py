"""Bills of a system on AWS: what its jobs computed and what was closed, read from the archive's bucket.

The objects that a question needs are copied to a temporary folder, of usage a month at most, and read there as on
one machine. Nothing is written on AWS.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from headrace.billing import month as months
from headrace.operations import bill_rows
from headrace.operations.bills import MEMORY_MB, SPILL_MB, Reader, Wanted

CSV = ("tariffs.csv", "tenants.csv")


class Place(NamedTuple):
    """Where bills are: an S3 client, the archive's bucket, and where reports were put (bucket, prefix), if known."""

    client: Any
    bucket: str
    reports: tuple[str, str] | None


def answer(place: Place, wanted: Wanted, now_ms: int | None = None) -> dict[str, Any]:
    """Return what is wanted, as a backend does (`bills.py`); raises what it raises, and botocore's errors."""
    from headrace.archive.local import LocalBucket
    from headrace.jobs.duckdb import DuckDB

    with TemporaryDirectory(prefix="headrace-bills-") as temporary:
        folder = Path(temporary)
        mirror = LocalBucket(folder / "bucket")
        for key in _keys(place, wanted):
            mirror.put(key, place.client.get_object(Bucket=place.bucket, Key=key)["Body"].read())
        reports = folder / "reports"
        reports.mkdir()
        _copy_files(place, reports)
        work = folder / "work"
        work.mkdir()
        with closing(DuckDB(work, memory_mb=MEMORY_MB, spill_mb=SPILL_MB)) as engine:
            return Reader(mirror, reports, engine, work, now_ms).answer(wanted)


def _keys(place: Place, wanted: Wanted) -> Iterator[str]:
    """Yield the keys of the objects that an answer is made from."""
    usage = f"reports/{bill_rows.USAGE}/dt="
    if wanted.month is not None:
        usage += months.text(months.parse(wanted.month))
    prefixes = [bill_rows.PREFIX, f"reports/{bill_rows.MONTHLY}/", *([usage] if wanted.month is not None else [])]
    for prefix in prefixes:
        for page in place.client.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=prefix):
            yield from (each["Key"] for each in page.get("Contents", ()))


def _copy_files(place: Place, folder: Path) -> None:
    """Copy the tariffs and tenants that lie beside the reports; there may be none."""
    if place.reports is None:
        return
    bucket, prefix = place.reports
    found = place.client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/reports/").get("Contents", ())
    for each in found:
        name = each["Key"].rpartition("/")[2]
        if name in CSV:
            (folder / name).write_bytes(place.client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read())
