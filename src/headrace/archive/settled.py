"""Folders of raw objects that hold nothing but what is compacted: readers pass them by.

Raw objects stay for days after they were compacted, and a reader that looked at each would wait the longer, the more
there are. So a compaction notes the folders (an hour of arrival each) of which every object is compacted, and what
tells whether one has changed since. Only a bucket on this machine has folders; on S3 nothing is noted.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from headrace import disk
from headrace.archive.base import Bucket, ObjectInfo
from headrace.archive.local import LocalBucket

FILE = "settled.json"
VERSION = 1


class _Settled(msgspec.Struct):
    """The folders, by what their objects' keys begin with, and the mark of each (`LocalBucket.mark`)."""

    folders: dict[str, str]
    version: int = VERSION


def read(folder: Path) -> Mapping[str, str]:
    """Return the folders that were noted; none where the file is missing, damaged or newer: it needs no keeping."""
    try:
        found = msgspec.json.decode((folder / FILE).read_bytes(), type=_Settled)
    except (FileNotFoundError, msgspec.DecodeError):
        return {}
    return found.folders if found.version == VERSION else {}


def others(bucket: Bucket, folder: Path, prefix: str) -> Iterator[ObjectInfo]:
    """Yield the objects under `prefix`, with their tags, that are in no folder which was noted and has not changed."""
    if isinstance(bucket, LocalBucket):
        return bucket.list(prefix, tags=True, unchanged=read(folder))
    return bucket.list(prefix, tags=True)


def note(bucket: Bucket, folder: Path, prefix: str, is_done: Callable[[ObjectInfo], bool]) -> None:
    """Note the folders under `prefix` of which every object is done with; the lock of compactions is held."""
    if not isinstance(bucket, LocalBucket):
        return
    before = read(folder)
    changed = {info.key.rpartition("/")[0] + "/" for info in bucket.list(prefix, unchanged=before)}
    settled = {each: mark for each, mark in before.items() if each not in changed and bucket.mark(each) == mark}
    for each in changed:
        mark = bucket.mark(each)  # before the listing: what changes meanwhile has another one
        if mark is not None and all(map(is_done, bucket.list(each, tags=True))):
            settled[each] = mark
    if settled != before:
        disk.write_file(folder / FILE, msgspec.json.encode(_Settled(settled)))
