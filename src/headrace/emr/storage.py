"""S3 and DynamoDB as the driver and every executor reach them: each process makes its own clients, once."""

import os
from functools import lru_cache
from typing import NamedTuple

from headrace import aws, clock
from headrace.archive.aws import S3Bucket
from headrace.archive.exchange import Exchange
from headrace.table.aws import DynamoTable
from headrace.table.base import Item

THREADS = aws.CONNECTIONS_MAX
READ_S_MAX = 120.0  # a large object's part may take that long


class Source(NamedTuple):
    """A bucket as a task is told it. Endpoints and credentials are botocore's own business."""

    bucket: str
    region: str

    def url(self, key: str) -> str:
        """Return the URL of an object."""
        return f"s3://{self.bucket}/{key}"


class SlowTable(DynamoTable):
    """A table that is scanned at `per_s` items a second at most, on the average."""

    def __init__(self, name: str, per_s: int) -> None:
        super().__init__(name, aws.client("dynamodb", retries={"total_max_attempts": 1}))
        self._per_s = per_s
        self._free_s = 0.0

    def scan(self, after: tuple[str, str] | None, limit: int) -> list[Item]:
        """Return the items that follow a key, once it may be read."""
        clock.sleep(max(0.0, self._free_s - clock.monotonic_s()))
        items = super().scan(after, min(limit, self._per_s))
        self._free_s = max(self._free_s, clock.monotonic_s()) + len(items) / self._per_s
        return items


def bucket(source: Source) -> S3Bucket:
    """Return a bucket."""
    return _bucket(source)


def exchange(source: Source) -> Exchange:
    """Return the objects of a bucket for changes that may meet others'."""
    set_region(source.region)
    return Exchange(source.bucket, aws.client("s3"))


def set_region(region: str) -> None:
    """Have every client of this process reach a region: containers of YARN know none."""
    os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = region


def forget() -> None:
    """Make every client anew when it is next needed."""
    aws.forget()
    _bucket.cache_clear()


@lru_cache
def _bucket(source: Source) -> S3Bucket:
    set_region(source.region)
    return S3Bucket(source.bucket, aws.client("s3", read_timeout=READ_S_MAX))
