"""A bucket: objects by key, as S3 keeps them. One interface, two implementations.

`local.py` keeps plain files in a folder; `aws.py` talks to S3. Keys are strings of 1 to 1,024 bytes of UTF-8 and order
by those bytes; `/` is a character like any other, only people see folders in it.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from headrace.errors import InvalidObjectState, NotFound, UsageError

KEY_BYTES_MAX = 1024
TAGS_MAX = 10
TAG_KEY_MAX = 128  # characters
TAG_VALUE_MAX = 256  # characters
STANDARD = "STANDARD"
COLD_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})  # unreadable until they are restored
_TAG = re.compile(r"[\w\s.:/=+@-]*")
NO_TAGS: Mapping[str, str] = MappingProxyType({})


class Restore(NamedTuple):
    """A restore that was asked for: its copy is readable from about `ready_ms` until `expires_ms` since 1970."""

    tier: str
    ready_ms: int
    expires_ms: int
    done: bool = False  # whether the copy is there


class ObjectInfo(NamedTuple):
    """What a listing says of an object.

    `size` in bytes, as it was put; `modified_ms` since 1970, when it was put, whatever class it is in by now. `tags`
    are there only if the listing was asked for them. `readable` is False where `get` raises InvalidObjectState.
    """

    key: str
    size: int
    modified_ms: int
    storage_class: str = STANDARD
    readable: bool = True
    tags: Mapping[str, str] = NO_TAGS
    restore: Restore | None = None


class Bucket(ABC):
    """One bucket. Raises UsageError for a key that it cannot hold, StorageError where the medium refuses."""

    @abstractmethod
    def put(self, key: str, body: bytes) -> None:
        """Write an object durably and all at once; one of the same key is replaced, and its tags and class with it."""

    @abstractmethod
    def put_file(self, key: str, path: Path) -> None:
        """Put a finished file's content like `put`, without reading it into memory; the file is gone afterwards.

        It is cheapest where the file is on the same disk as the bucket: then it is renamed.
        """

    @abstractmethod
    def get(self, key: str) -> bytes:
        """Return an object's content as last put; raises NotFound, or InvalidObjectState where it is cold."""

    @abstractmethod
    def list(self, prefix: str = "", *, tags: bool = False) -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with `prefix`, in key order; it never holds all of them at once.

        Objects put or deleted meanwhile may or may not be seen. Tags are free here, and a request each on AWS.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete an object durably, with its tags; a missing one is fine."""

    @abstractmethod
    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """Replace an object's tags durably; raises NotFound, UsageError for tags that S3 refuses."""

    @abstractmethod
    def tags(self, key: str) -> dict[str, str]:
        """Return an object's tags; raises NotFound."""

    @abstractmethod
    def location(self, key: str) -> str:
        """Return where an engine reads the object itself: a path, or `s3://bucket/key`; raises as `get` does."""


def check_tags(tags: Mapping[str, str]) -> None:
    """Raise UsageError for tags that S3 refuses."""
    if len(tags) > TAGS_MAX:
        raise UsageError(f"{len(tags)} tags are too many.", f"Give an object at most {TAGS_MAX}.")
    for name, value in tags.items():
        if not 1 <= len(name) <= TAG_KEY_MAX or len(value) > TAG_VALUE_MAX:
            raise UsageError(
                f"The tag {name[:50]!r} is too long, or has no name.",
                f"Write a name of 1 to {TAG_KEY_MAX} characters and a value of up to {TAG_VALUE_MAX}.",
            )
        if not _TAG.fullmatch(name + value):
            raise UsageError(
                f"The tag {name[:50]!r} has a character that S3 refuses.",
                "A tag has letters, digits, spaces and _ . : / = + - @",
            )


def not_found(bucket: str, key: str) -> NotFound:
    """Return the error for an object that is not there."""
    return NotFound(f"There is no object {key!r} in {bucket}.", "`headrace archive list` shows what is in the archive.")


def invalid_state(key: str, storage_class: str) -> InvalidObjectState:
    """Return the error for an object that has to be restored before it can be read."""
    return InvalidObjectState(
        f"InvalidObjectState: {key!r} is in {storage_class} and can't be read until it is restored.",
        f"Restore it first: headrace archive restore {key}",
    )
