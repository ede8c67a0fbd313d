"""Several buckets seen as one: what was given up is listed together, whichever bucket a mapping names for it."""

import contextlib
import heapq
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from headrace.archive.base import Bucket, ObjectInfo
from headrace.errors import NotFound


class UnionBucket(Bucket):
    """The objects of all `buckets`, at least one; a key is taken to be that of the first which has it."""

    def __init__(self, buckets: Sequence[Bucket]) -> None:
        self._buckets = buckets

    def put(self, key: str, body: bytes) -> None:
        """Replace an object where it is; a new one goes to the first bucket."""
        self._holder(key).put(key, body)

    def put_file(self, key: str, path: Path) -> None:
        """Replace an object where it is; a new one goes to the first bucket."""
        self._holder(key).put_file(key, path)

    def get(self, key: str) -> bytes:
        """Return an object's content."""
        return self._holder(key).get(key)

    def list(self, prefix: str = "", *, tags: bool = False) -> Iterator[ObjectInfo]:
        """Yield the objects of all buckets in key order."""
        listings = (bucket.list(prefix, tags=tags) for bucket in self._buckets)
        return heapq.merge(*listings, key=lambda info: info.key.encode())

    def delete(self, key: str) -> None:
        """Delete an object from every bucket."""
        for bucket in self._buckets:
            bucket.delete(key)

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """Replace an object's tags."""
        self._holder(key).tag(key, tags)

    def tags(self, key: str) -> dict[str, str]:
        """Return an object's tags."""
        return self._holder(key).tags(key)

    def location(self, key: str) -> str:
        """Return where an object can be read."""
        return self._holder(key).location(key)

    def _holder(self, key: str) -> Bucket:
        for bucket in self._buckets:
            with contextlib.suppress(NotFound):
                bucket.tags(key)
                return bucket
        return self._buckets[0]
