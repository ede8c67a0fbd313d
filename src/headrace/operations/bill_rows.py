"""What a month's bill is made of: the closed months in the archive's bucket, and the lines of one that is not closed.

    bills/month=<YYYY-MM>/bill.json                 it is there: the month is closed, and this never changes
    bills/month=<YYYY-MM>/lines-<digest>.parquet    its lines, adjustments of other months among them
    bills/month=<YYYY-MM>/usage-<digest>.parquet    the usage that they were computed from
    bills/month=<YYYY-MM>/tariffs-<digest>.csv, tenants-<digest>.csv    the files that they went by

A month that is not closed has what `reports/bill_monthly` says of it today. Of a closed one, what that says today less
all that was billed for it is an adjustment, and goes to the next bill.
"""

from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

from headrace.archive.base import Bucket
from headrace.billing import month as months
from headrace.errors import DataDirectoryError
from headrace.jobs.base import Engine, Relation

VERSION = 1
PREFIX = "bills/"
MANIFEST = "bill.json"
USAGE, MONTHLY = "bill_usage", "bill_monthly"
LINES = {
    "month": "DATE",
    "tenant": "VARCHAR",
    "currency": "VARCHAR",
    "kind": "VARCHAR",
    "adjusts": "DATE",
    "tariff": "VARCHAR",
    "tariff_from": "TIMESTAMP",
    "meter": "VARCHAR",
    "quantity": "BIGINT",
    "allowance": "BIGINT",
    "amount": "DECIMAL(38, 4)",
}
ORDER = ("tenant", "currency", "kind", "adjusts", "tariff", "tariff_from", "meter")
RECOMPUTED = {
    "period_start": "TIMESTAMP",
    "tenant": "VARCHAR",
    "currency": "VARCHAR",
    "tariff": "VARCHAR",
    "tariff_from": "TIMESTAMP",
    "meter": "VARCHAR",
    "quantity": "BIGINT",
    "allowance": "BIGINT",
    "amount": "DECIMAL(38, 4)",
}


class Manifest(msgspec.Struct):
    """A closed month; the others are keys in the bucket. `rows` counts the lines."""

    month: str
    closed_ms: int
    lines: str
    usage: str
    tariffs: str
    tenants: str
    rows: int
    version: int = VERSION


def folder(month: date) -> str:
    """Return what the keys of a closed month begin with."""
    return f"{PREFIX}month={months.text(month)}/"


def closed(bucket: Bucket) -> dict[date, Manifest]:
    """Return the closed months, in order; raises DataDirectoryError for one of a newer version."""
    found = {}
    for info in bucket.list(PREFIX):
        if info.key.endswith(f"/{MANIFEST}"):
            manifest = msgspec.json.decode(bucket.get(info.key), type=Manifest)
            if manifest.version > VERSION:
                raise DataDirectoryError(
                    f"{info.key} is of version {manifest.version}, this is of {VERSION}.", "Install a newer Headrace."
                )
            found[months.parse(manifest.month)] = manifest
    return dict(sorted(found.items()))


def computed(bucket: Bucket, report: str) -> dict[date, str]:
    """Return the keys of a report's objects, by the first day of what they are of."""
    infos = bucket.list(f"reports/{report}/dt=")
    return {date.fromisoformat(info.key.split("/dt=")[1][:10]): info.key for info in infos}


def define(engine: Engine, bucket: Bucket, month: date, frozen: Mapping[date, Manifest]) -> None:
    """Make known to an engine what the bill of a month is computed from."""
    objects = computed(bucket, MONTHLY)

    def located(keys: Sequence[str]) -> list[str]:
        return [bucket.location(key) for key in keys]

    current = [objects[month]] if month in objects else []
    recomputed = [objects[each] for each in frozen if each in objects and each != month]
    engine.relation(Relation("current", RECOMPUTED, located(current)))
    engine.relation(Relation("recomputed", RECOMPUTED, located(recomputed)))
    engine.relation(Relation("billed", LINES, located([each.lines for each in frozen.values()])))


def lines(month: date, *, adjusting: bool) -> str:
    """Return the SQL of a bill's lines over what `define` made known; with `adjusting`, also what corrects others."""
    usage = f"""
        SELECT
            CAST('{month}' AS DATE) AS month, tenant, currency,
            CASE WHEN meter = 'minimum' THEN 'minimum' ELSE 'usage' END AS kind, CAST(NULL AS DATE) AS adjusts,
            tariff, tariff_from, meter, quantity, allowance, amount
        FROM current"""
    if not adjusting:
        return usage
    return f"""{usage}
        UNION ALL
        SELECT
            CAST('{month}' AS DATE) AS month, tenant, currency, 'adjustment' AS kind, adjusts,
            tariff, tariff_from, meter, CAST(sum(quantity) AS BIGINT) AS quantity, max(allowance) AS allowance,
            CAST(sum(amount) AS DECIMAL(38, 4)) AS amount
        FROM (
            SELECT
                CAST(period_start AS DATE) AS adjusts, tenant, currency, tariff, tariff_from, meter,
                quantity, allowance, amount
            FROM recomputed
            UNION ALL
            SELECT
                coalesce(adjusts, month) AS adjusts, tenant, currency, tariff, tariff_from, meter,
                -quantity AS quantity, allowance, -amount AS amount
            FROM billed
        ) AS differences
        GROUP BY adjusts, tenant, currency, tariff, tariff_from, meter
        HAVING sum(amount) <> 0"""


def usage(month: date) -> str:
    """Return the SQL of a month's usage over the relation `bill_usage`."""
    end = months.following(month)
    return (
        f"SELECT * FROM {USAGE} WHERE period_start >= TIMESTAMP '{month} 00:00:00'"
        f" AND period_start < TIMESTAMP '{end} 00:00:00'"
    )
