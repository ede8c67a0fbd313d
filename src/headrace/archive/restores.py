"""Restores of cold objects: which were asked for, when their copies are readable, and until when.

One file for all buckets, `.restored/restores.json` beside them (`docs/formats.md`), and the copies under
`.restored/<bucket>/<key>`. Nothing of it is needed to keep what is archived: without it the objects are cold again.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from headrace import disk
from headrace.archive.base import Restore
from headrace.errors import UsageError

FOLDER = ".restored"
FILE = "restores.json"
VERSION = 1
DAY_MS = 86_400_000
DAYS_MAX = 36_500
_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
# The longest that AWS says each tier takes.
TIERS_MS: Mapping[str, Mapping[str, int]] = {
    "GLACIER": {"Expedited": 5 * _MINUTE_MS, "Standard": 5 * _HOUR_MS, "Bulk": 12 * _HOUR_MS},
    "DEEP_ARCHIVE": {"Standard": 12 * _HOUR_MS, "Bulk": 48 * _HOUR_MS},
}

ByKey = dict[str, Restore]


class _File(msgspec.Struct):
    version: int
    buckets: dict[str, ByKey]


def new(storage_class: str, days: int, tier: str, now_ms: int, speed: float = 1.0) -> Restore:
    """Return the restore that a request begins; `speed` shortens the wait (3600: an hour takes a second).

    Raises UsageError, in AWS's words, for what AWS refuses.
    """
    if storage_class not in TIERS_MS:
        raise UsageError(
            f"InvalidObjectState: Restore is not allowed for the object's current storage class ({storage_class}).",
            "It can be read as it is.",
        )
    if not 1 <= days <= DAYS_MAX:
        raise UsageError(f"A restored copy can't be kept for {days} days.", f"Write 1 to {DAYS_MAX}.")
    wait_ms = TIERS_MS[storage_class].get(tier)
    if wait_ms is None:
        tiers = ", ".join(TIERS_MS[storage_class])
        raise UsageError(
            f"InvalidArgument: Retrieval option is not supported by this storage class ({tier}, {storage_class}).",
            f"Write one of {tiers}.",
        )
    ready_ms = now_ms + int(wait_ms / speed)
    return Restore(tier, ready_ms, expiry_ms(ready_ms, days))


def expiry_ms(from_ms: int, days: int) -> int:
    """Return when a copy expires: so many days on, rounded up to the next midnight UTC."""
    return -(-(from_ms + days * DAY_MS) // DAY_MS) * DAY_MS


class Restores:
    """The restores of all buckets in `buckets`, a folder; what was last read is kept while its file is as it was."""

    def __init__(self, buckets: Path) -> None:
        self.folder = buckets / FOLDER
        self._path = self.folder / FILE
        self._last: tuple[tuple[int, ...], dict[str, ByKey]] | None = None

    def path(self, bucket: str, key: str) -> Path:
        """Return the file of a restored copy, whether it is there or not."""
        return self.folder / bucket / key

    def read(self) -> Mapping[str, ByKey]:
        """Return restores by bucket and key; a file that can't be read counts as none."""
        try:
            status = self._path.stat()
            signature = status.st_ino, status.st_size, status.st_mtime_ns
            if self._last is None or self._last[0] != signature:
                found = msgspec.json.decode(self._path.read_bytes(), type=_File)
                self._last = signature, found.buckets if found.version == VERSION else {}
        except (OSError, msgspec.DecodeError):
            return {}
        return self._last[1]

    def of(self, bucket: str) -> Mapping[str, Restore]:
        """Return the restores of a bucket by key."""
        return self.read().get(bucket, {})

    def change(self, changes: Mapping[tuple[str, str], Restore | None]) -> None:
        """Make restores, by bucket and key, stand from now on, durably; None: there is none any more."""
        with self._changing() as buckets:
            for (bucket, key), restore in changes.items():
                by_key = buckets.setdefault(bucket, {})
                by_key.pop(key, None)
                if restore is not None:
                    by_key[key] = restore

    def mark_done(self, bucket: str, key: str) -> bool:
        """Say that a restore's copy is there; False if the restore has gone meanwhile."""
        with self._changing() as buckets:
            restore = buckets.get(bucket, {}).get(key)
            if restore is not None:
                buckets[bucket][key] = restore._replace(done=True)
        return restore is not None

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, ByKey]]:
        """Give all restores to change, alone; they are written at the end."""
        try:
            disk.make_folder(self.folder)
            with disk.held_file(self.folder / "lock"):
                before = self.read()
                buckets = {name: dict(by_key) for name, by_key in before.items()}
                yield buckets
                buckets = {name: by_key for name, by_key in buckets.items() if by_key}
                if buckets != before:
                    disk.write_file(self._path, msgspec.json.encode(_File(VERSION, buckets)))
        except OSError as error:
            raise disk.storage_error(self._path, error) from error

    def end(self, bucket: str, key: str) -> None:
        """Remove a restore and its copy; what cuts this off leaves a restore of which nobody reads, to be ended again.

        A missing one is fine.
        """
        restore = self.of(bucket).get(key)
        if restore is not None:
            self.change({(bucket, key): restore._replace(done=False)})
        self._remove_copy(bucket, key)
        if restore is not None:
            self.change({(bucket, key): None})

    def _remove_copy(self, bucket: str, key: str) -> None:
        path = self.path(bucket, key)
        try:
            disk.DISK.remove(path)
            disk.DISK.sync_folder(path.parent)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise disk.storage_error(path, error) from error
