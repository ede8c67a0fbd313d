"""Several buckets seen as one: what was given up is listed together, whichever bucket a mapping names for it."""

import contextlib
import heapq
from collections.abc import Iterator, Sequence

from headrace.archive.base import Bucket, ObjectInfo
from headrace.errors import NotFound


class UnionBucket(Bucket):
    """The objects of all `buckets`, at least one; a key is taken to be that of the first which has it."""

    def __init__(self, buckets: Sequence[Bucket]) -> None:
        self._buckets = buckets

    def put(self, key: str, body: bytes) -> None:
        """Replace an object where it is; a new one goes to the first bucket."""
        self._holder(key).put(key, body)

    def get(self, key: str) -> bytes:
        """Return an object's content."""
        return self._holder(key).get(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects of all buckets in key order."""
        return heapq.merge(*(bucket.list(prefix) for bucket in self._buckets), key=lambda info: info.key.encode())

    def delete(self, key: str) -> None:
        """Delete an object from every bucket."""
        for bucket in self._buckets:
            bucket.delete(key)

    def _holder(self, key: str) -> Bucket:
        for bucket in self._buckets:
            with contextlib.suppress(NotFound):
                bucket.get(key)
                return bucket
        return self._buckets[0]
