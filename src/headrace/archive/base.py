"""A bucket: objects by key, as S3 keeps them. One interface, two implementations.

`local.py` keeps plain files in a folder; on AWS it is S3. Keys are strings of 1 to 1,024 bytes of UTF-8 and order by
those bytes; `/` is a character like any other, only people see folders in it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

KEY_BYTES_MAX = 1024


class ObjectInfo(NamedTuple):
    """What a listing says of an object; `size` in bytes, `modified_ms` since 1970."""

    key: str
    size: int
    modified_ms: int


class Bucket(ABC):
    """One bucket. Raises UsageError for a key that it cannot hold, StorageError where the medium refuses."""

    @abstractmethod
    def put(self, key: str, body: bytes) -> None:
        """Write an object durably and all at once; one of the same key is replaced."""

    @abstractmethod
    def get(self, key: str) -> bytes:
        """Return an object's content as last put; raises NotFound."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with `prefix`, in key order; it never holds all of them at once.

        Objects put or deleted meanwhile may or may not be seen.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete an object durably; a missing one is fine."""
