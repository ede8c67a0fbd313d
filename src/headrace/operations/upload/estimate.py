"""How much there is to move, and about what that costs: if AWS has none of it yet."""

import msgspec

from headrace.archive.base import STANDARD
from headrace.archive.local import LocalBucket
from headrace.cost.prices import Prices
from headrace.table.base import UNIT_BYTES, Table

PAGE_ITEMS = 1000
GB = 1024**3
# What S3 asks for a put depends on the class; the price of a transition to it is the same.
_PUT_PRICES = {"GLACIER": "archive_to_glacier", "DEEP_ARCHIVE": "archive_to_deep_archive"}
_KEPT_PRICES = {"GLACIER": "archive_glacier_gb", "DEEP_ARCHIVE": "archive_deep_archive_gb"}


class Part(msgspec.Struct):
    """A table or a bucket: `usd` once for moving it, `usd_month` for keeping it there."""

    count: int = 0
    bytes: int = 0
    usd: float = 0.0
    usd_month: float = 0.0


def of_table(table: Table, prices: Prices) -> Part:
    """Count a table's items: a write each by its size, on demand, and reads before and after it."""
    part = Part()
    after: tuple[str, str] | None = None
    while page := table.scan(after, PAGE_ITEMS):
        after = page[-1].partition, page[-1].sort
        for item in page:
            size = len(item.partition.encode()) + len(item.sort.encode()) + len(item.attributes)
            part.count += 1
            part.bytes += size
            part.usd += -(-size // UNIT_BYTES) * prices.of("table_write")
            part.usd += 2 * max(1, size / (4 * UNIT_BYTES)) * prices.of("table_read")
    part.usd_month = part.bytes / GB * prices.of("table_gb")
    return part


def of_bucket(bucket: LocalBucket, prices: Prices) -> Part:
    """Count a bucket's objects: a put by the class, a look before and one after it."""
    part = Part()
    for info in bucket.list():
        part.count += 1
        part.bytes += info.size
        part.usd += prices.of(_PUT_PRICES.get(info.storage_class, "archive_put")) + 2 * prices.of("archive_get")
        price = prices.of(_KEPT_PRICES.get(info.storage_class, f"archive_{STANDARD.lower()}_gb"))
        part.usd_month += info.size / GB * price
    return part
