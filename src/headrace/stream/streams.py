"""All streams of one gateway: made, opened, described, deleted.

A stream is its folder: `stream.json` says what it is (catalog.py), the rest is its log. What the template declares
exists from the start and can't be deleted over the wire; the others come and go over the wire and outlive restarts.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from headrace import clock, system
from headrace.disk import DISK, Disk, make_folder
from headrace.errors import DataDirectoryError
from headrace.record import sequence_base, shard_id
from headrace.stream import catalog
from headrace.stream.limits import ShardLimits
from headrace.stream.log import Log, Removed
from headrace.stream.reader import Reader
from headrace.stream.shards import Router
from headrace.system import ACCOUNT, stream_arn
from headrace.wire import WireError

ON_DEMAND_SHARDS = 4
SHARDS_MAX = 5_000  # of all streams together
_HOUR_MS = 3_600_000

_log = logging.getLogger(__name__)
T = TypeVar("T")


class LiveStream:
    """A stream that takes and gives records."""

    def __init__(self, entry: catalog.Stream, folder: Path, log: Log) -> None:
        self.entry = entry
        self.folder = folder
        self.log = log
        self.reader = Reader(folder)  # only for calls by Streams.read
        self.router = Router(entry.open_ranges)
        self.shard_created_s = {shard.shard: shard.created_s for shard in entry.shards}
        self.shard_ids = {shard.shard: shard_id(shard.shard) for shard in entry.shards}
        self.limits: defaultdict[int, ShardLimits] = defaultdict(ShardLimits)

    @property
    def name(self) -> str:
        """Return its name."""
        return self.entry.name

    def horizon_ms(self, now_ms: int) -> int:
        """Return the arrival before which records are hidden."""
        return max(now_ms - self.entry.retention_hours * _HOUR_MS, self.entry.expired_before_ms)


class Streams:
    """The streams in a folder. Made by `Streams.open`; belongs to one event loop."""

    def __init__(self, folder: Path, disk: Disk, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self.now_s = clock.monotonic_s
        self.enforce_limits = False
        self._folder = folder
        self._disk = disk
        self._entries: dict[str, catalog.Stream] = {}  # every stream, whatever its status
        self._live: dict[str, LiveStream] = {}
        self.find = self._live.get  # the stream of a name; None if there is none that takes and gives records
        self._declared: set[str] = set()
        self._changing = asyncio.Lock()  # one change of what streams there are at a time
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="get-records")

    @classmethod
    def open(
        cls,
        folder: Path,
        declared: Iterable[system.Stream] = (),
        disk: Disk = DISK,
        now_ms: Callable[[], int] = clock.now_ms,
        *,
        enforce_limits: bool = False,
    ) -> "Streams":
        """Open every stream in `folder` and make those `declared` that are missing.

        What a crash interrupted is finished first: a stream that was being made is made, one that was being deleted
        is gone. With `enforce_limits`, shards of provisioned streams take and give no more than AWS's do. Raises
        DataDirectoryError or StorageError.
        """
        make_folder(folder)
        streams = cls(folder, disk, now_ms)
        streams.enforce_limits = enforce_limits
        for path in sorted(path for path in folder.iterdir() if path.is_dir()):
            entry = catalog.load(path)
            if entry is None:
                catalog.check_empty(path)
            elif entry.status == "DELETING":
                _discard(path)
            elif entry.name != path.name:
                raise DataDirectoryError(f"{path} holds the stream {entry.name!r}.", "Give the folder its own name.")
            else:
                streams._open(entry)
        for each in declared:
            streams._declare(each)
        return streams

    # --- looking up ---

    def names(self) -> list[str]:
        """Return the names of all streams, sorted."""
        return sorted(self._entries)

    def entry(self, name: str) -> catalog.Stream:
        """Return a stream's entry, whatever its status; raises ResourceNotFoundException."""
        found = self._entries.get(name)
        if found is None:
            raise not_found(name)
        return found

    def live(self, name: str) -> LiveStream:
        """Return a stream that takes and gives records; raises ResourceNotFoundException."""
        found = self._live.get(name)
        if found is None:
            raise not_found(name)
        return found

    def limits_of(self, stream: LiveStream) -> defaultdict[int, ShardLimits] | None:
        """Return the limits of a stream's shards; None where they are not enforced."""
        return stream.limits if self.enforce_limits and stream.entry.mode == "PROVISIONED" else None

    def all(self) -> list[LiveStream]:
        """Return every stream that takes and gives records."""
        return [self._live[name] for name in sorted(self._live)]

    async def read(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, in the thread that readers belong to: reading does not hold up the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, call)

    # --- changing ---

    async def create(
        self, name: str, shards: int, mode: str = "PROVISIONED", tags: dict[str, str] | None = None
    ) -> LiveStream:
        """Make a stream, durably. While this is under way its status is CREATING."""
        if name in self._entries:
            raise WireError("ResourceInUseException", f"Stream {name} under account {ACCOUNT} already exists.")
        if not name.strip("."):
            raise WireError("InvalidArgumentException", f"{name!r} can't be the name of a stream's folder.")
        self._check_limit(shards)
        entry = catalog.new_stream(name, shards, self.now_ms() // 1000, mode)
        entry = msgspec.structs.replace(entry, status="CREATING", tags=tags or {})
        self._entries[name] = entry
        try:
            async with self._changing:
                return await asyncio.to_thread(self._open, entry)
        except BaseException:
            del self._entries[name]
            raise

    async def delete(self, name: str) -> None:
        """Delete a stream and its records. While this is under way its status is DELETING."""
        entry = self.entry(name)
        if name in self._declared:
            raise WireError(
                "ResourceInUseException",
                f"Stream {name} under account {ACCOUNT} is declared by the template: take it out there, restart, and "
                "then delete it.",
            )
        async with self._changing:
            stream = self._active(name)
            entry = msgspec.structs.replace(entry, status="DELETING")
            await asyncio.to_thread(catalog.save, stream.folder, entry)
            del self._live[name]
            self._entries[name] = entry
            await self.read(stream.reader.close)
            await stream.log.delete()
            await asyncio.to_thread(_discard, stream.folder)
            del self._entries[name]

    async def change(self, name: str, changes: Callable[[LiveStream], dict[str, Any]]) -> None:
        """Give attributes of a stream's entry the values that `changes` returns, durably.

        Raises ResourceNotFoundException, or ResourceInUseException if the stream is not ACTIVE.
        """
        async with self._changing:
            stream = self._active(name)
            entry = msgspec.structs.replace(stream.entry, **changes(stream))
            await asyncio.to_thread(catalog.save, stream.folder, entry)
            stream.entry = self._entries[name] = entry

    def _active(self, name: str) -> LiveStream:
        stream = self._live.get(name)
        if stream is None:
            raise WireError("ResourceInUseException", not_active(self.entry(name)))
        return stream

    async def trim(self, name: str, low_position: int | None) -> list[Removed]:
        """Remove the segments of a stream that are older than its retention and end before `low_position`.

        None: no mapping needs any. Raises StorageError.
        """
        stream = self.live(name)
        now_ms = self.now_ms()
        low = stream.log.durable if low_position is None else low_position
        return await stream.log.trim(now_ms, now_ms - stream.horizon_ms(now_ms), low)

    async def close(self) -> None:
        """Finish what was appended, and close every log."""
        for stream in list(self._live.values()):
            await self.read(stream.reader.close)
            await stream.log.close()
        self._live.clear()
        self._reading.shutdown()

    def _check_limit(self, more: int) -> None:
        count = open_shards(self._entries.values())
        if count + more > SHARDS_MAX:
            raise WireError(
                "LimitExceededException",
                f"This request would exceed the shard limit for the account {ACCOUNT} in {system.REGION}. Current shard"
                f" count for the account: {count}. Limit: {SHARDS_MAX}. Number of additional shards that would have "
                f"resulted from this request: {more}. Refer to the AWS Service Limits page "
                "(http://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) "
                "for current limits and how to request higher limits.",
            )

    def _declare(self, declared: system.Stream) -> None:
        """Make a stream of the template, or give the one that is there the template's mode and retention."""
        name = declared.name
        self._declared.add(name)
        stream = self._live.get(name)
        if stream is None:
            entry = catalog.new_stream(
                name, declared.shards, self.now_ms() // 1000, declared.mode, declared.retention_hours
            )
            self._open(msgspec.structs.replace(entry, status="CREATING"))
            return
        if len(stream.entry.open_ranges) != declared.shards and declared.mode == "PROVISIONED":
            _log.warning(
                "stream %s keeps its %d shards: the template's %d need resharding, which is not built yet",
                name,
                len(stream.entry.open_ranges),
                declared.shards,
            )
        changes = changed_retention(stream, declared.retention_hours, self.now_ms()) | {"mode": declared.mode}
        entry = msgspec.structs.replace(stream.entry, **changes)
        if entry != stream.entry:
            catalog.save(stream.folder, entry)
            stream.entry = self._entries[name] = entry

    def _open(self, entry: catalog.Stream) -> LiveStream:
        folder = self._folder / entry.name
        if entry.status == "CREATING":
            _check_free(folder, entry.name)
            make_folder(folder)
            catalog.save(folder, entry)  # it exists from here on
        log = Log.open(folder, self._disk, stream=entry.name, shards=len(entry.shards), now_ms=self.now_ms)
        if entry.status != "ACTIVE":
            entry = msgspec.structs.replace(entry, status="ACTIVE")
            catalog.save(folder, entry)
        self._entries[entry.name] = entry
        self._live[entry.name] = LiveStream(entry, folder, log)
        return self._live[entry.name]


def _check_free(folder: Path, name: str) -> None:
    """Refuse a folder that is another stream's: some disks take `Events` and `events` for one name."""
    there = catalog.load(folder)
    if there is None:
        catalog.check_empty(folder)
    elif there.name != name:
        raise DataDirectoryError(
            f"{folder} holds the stream {there.name!r}.", "Use a name that differs in its letters."
        )


def _discard(folder: Path) -> None:
    """Remove what a stream left in its folder; its entry goes last, so that an interruption is seen as one."""
    for path in folder.iterdir():
        if path.suffix == ".segment" or path.name in ("durable", "lock") or path.name.startswith(".tmp-"):
            path.unlink()
    catalog.remove(folder)
    with contextlib.suppress(OSError):
        folder.rmdir()


def changed_retention(stream: LiveStream, hours: int, now_ms: int) -> dict[str, int]:
    """Return the attributes to change for a retention of `hours`: a longer one brings nothing back that had expired."""
    expired = stream.horizon_ms(now_ms) if hours > stream.entry.retention_hours else stream.entry.expired_before_ms
    return {"retention_hours": hours, "expired_before_ms": expired}


def open_shards(entries: Iterable[catalog.Stream]) -> int:
    """Return how many shards of these streams take records."""
    return sum(not shard.closed for entry in entries for shard in entry.shards)


def not_found(name: str, account: str = ACCOUNT) -> WireError:
    """Return AWS's error for a stream that does not exist."""
    return WireError("ResourceNotFoundException", f"Stream {name} under account {account} not found.")


def not_active(entry: catalog.Stream) -> str:
    """Return AWS's message for a stream that is being made or deleted."""
    return f"Stream {entry.name} under account {ACCOUNT} not ACTIVE, instead in state {entry.status}"


def start_of(shard: catalog.Shard) -> str:
    """Return a shard's StartingSequenceNumber: below that of its first record, whenever that arrives."""
    return str(sequence_base(shard.created_s, shard.shard, shard.created_s - 1))


def arn_of(entry: catalog.Stream) -> str:
    """Return a stream's ARN."""
    return stream_arn(entry.name)
