"""Moves objects between storage classes, deletes them by rule, brings restored copies; each step is durable.

A move to the cold folder: the bytes are copied there and proved, the journal's entry says where they are, the object's
file is removed. Until that last step the file is the object, and a move that a crash has cut off is made again.
"""

import contextlib
import os

import msgspec

from headrace import disk
from headrace.archive.base import COLD_CLASSES, ObjectInfo
from headrace.archive.local import LocalBucket
from headrace.errors import NotFound, StorageError


def transition(bucket: LocalBucket, info: ObjectInfo, storage_class: str) -> bool:
    """Move an object to a class; False if it is not the one that was listed any more. Raises StorageError."""
    with contextlib.suppress(NotFound):
        if info.storage_class in COLD_CLASSES or storage_class not in COLD_CLASSES:
            return _rename_class(bucket, info, storage_class)
        return _move_to_cold(bucket, info, storage_class)
    return False


def expire(bucket: LocalBucket, info: ObjectInfo) -> bool:
    """Delete an object; False if it is not the one that was listed any more, or has other tags."""
    with contextlib.suppress(NotFound):
        found = bucket.find(info.key)
        if (found.modified_ms, found.tags) == (info.modified_ms, info.tags):
            bucket.delete(info.key)
            return True
    return False


def _rename_class(bucket: LocalBucket, info: ObjectInfo, storage_class: str) -> bool:
    """Change the class alone: the bytes stay where they are."""
    with bucket.held(info.key) as held:
        entry = bucket.entry(info.key, held)
        if entry.created_ms != info.modified_ms:
            return False
        held.set(entry.name, msgspec.structs.replace(entry, storage_class=storage_class))
    return True


def _move_to_cold(bucket: LocalBucket, info: ObjectInfo, storage_class: str) -> bool:
    path = bucket.path(info.key)
    with bucket.held(info.key):
        pass  # from here on whoever puts an object looks for the journal
    try:
        before = path.stat()
    except FileNotFoundError:
        return False
    try:
        cold = bucket.cold.store(path, bucket.name, info.key)
    except StorageError:
        if not path.exists():  # somebody else was faster
            return False
        raise
    with bucket.held(info.key) as held:
        entry = bucket.entry(info.key, held)
        if entry.created_ms != info.modified_ms or not path.is_file() or not _is_same(before, path.stat()):
            return False
        bucket.restores.end(bucket.name, info.key)  # of an object before, where a crash has kept that from ending
        held.set(entry.name, msgspec.structs.replace(entry, storage_class=storage_class, cold=cold))
        disk.DISK.remove(path)
        disk.DISK.sync_folder(path.parent)
    return True


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_ino, one.st_size, one.st_mtime_ns) == (other.st_ino, other.st_size, other.st_mtime_ns)


def bring_restored(bucket: LocalBucket, now_ms: int) -> list[str]:
    """Make the copies that are due, and remove the ones that have expired; return what went wrong."""
    problems = []
    for key, restore in list(bucket.restores.of(bucket.name).items()):
        try:
            if restore.expires_ms <= now_ms:
                bucket.restores.end(bucket.name, key)
            elif not restore.done and restore.ready_ms <= now_ms:
                _bring(bucket, key)
        except StorageError as error:
            problems.append(f"{error.problem} {error.hint}")
    return problems


def _bring(bucket: LocalBucket, key: str) -> None:
    cold = bucket.cold_of(key)
    if cold is not None:
        path = bucket.restores.path(bucket.name, key)
        disk.remove_unfinished(path.parent)  # of a copy that was cut off
        bucket.cold.fetch(bucket.name, key, cold, path)
        if bucket.restores.mark_done(bucket.name, key):
            return
    bucket.restores.end(bucket.name, key)  # it was deleted meanwhile
