"""What a stream is: the file `stream.json` in its folder. Without it there is no stream, whatever else is there."""

import contextlib
from pathlib import Path

import msgspec

from headrace.disk import DISK, write_file
from headrace.errors import DataDirectoryError
from headrace.stream.shards import Range, even_ranges

FILE = "stream.json"
VERSION = 1


class Shard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A shard: its index, and the hash keys it takes (decimal, as AWS writes them; both ends belong to it)."""

    shard: int
    start: str
    end: str
    created_s: int
    parents: tuple[int, ...] = ()
    closed: bool = False

    @property
    def range(self) -> Range:
        """Return the hash keys as integers."""
        return int(self.start), int(self.end)


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream's catalogue entry. Change it with `msgspec.structs.replace` and `save`.

    Records that arrived before `expired_before_ms` stay hidden, however long the retention has become since.
    """

    version: int = VERSION
    name: str
    created_s: int
    mode: str = "PROVISIONED"
    retention_hours: int = 24
    expired_before_ms: int = 0
    status: str = "ACTIVE"
    tags: dict[str, str] = {}
    shards: tuple[Shard, ...]

    @property
    def open_ranges(self) -> dict[int, Range]:
        """Return shard -> range of those that take records: what a Router needs."""
        return {shard.shard: shard.range for shard in self.shards if not shard.closed}


class _Version(msgspec.Struct):
    version: int


def new_stream(name: str, shards: int, created_s: int, mode: str = "PROVISIONED", retention_hours: int = 24) -> Stream:
    """Return a stream with `shards` even shards, not saved yet."""
    return Stream(
        name=name,
        created_s=created_s,
        mode=mode,
        retention_hours=retention_hours,
        shards=tuple(
            Shard(shard=index, start=str(start), end=str(end), created_s=created_s)
            for index, (start, end) in enumerate(even_ranges(shards))
        ),
    )


def save(folder: Path, stream: Stream) -> None:
    """Write a stream's entry durably and all at once; raises StorageError."""
    write_file(folder / FILE, msgspec.json.format(msgspec.json.encode(stream), indent=2) + b"\n")


def load(folder: Path) -> Stream | None:
    """Return the stream of a folder; None if there is none. Raises DataDirectoryError if it can't be understood."""
    path = folder / FILE
    try:
        body = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataDirectoryError(
            f"{path} can't be read: {error.strerror}.", "Give this user read permission."
        ) from error
    try:
        version = msgspec.json.decode(body, type=_Version).version
        if version <= VERSION:
            return msgspec.json.decode(body, type=Stream)
    except msgspec.DecodeError as error:
        raise DataDirectoryError(
            f"{path} is damaged: {error}.", "Restore it from a backup of the data directory."
        ) from error
    raise DataDirectoryError(
        f"{path} is of format {version}; this headrace reads format {VERSION}.",
        "Upgrade headrace, or give another --data directory.",
    )


def check_empty(folder: Path) -> None:
    """Refuse records without an entry: whatever took it, they are not to be mistaken for those of a new stream."""
    if any(folder.glob("*.segment")):
        raise DataDirectoryError(
            f"{folder} has records, but {FILE} is missing.",
            "Restore the file from a backup of the data directory, or move the folder away.",
        )


def remove(folder: Path) -> None:
    """Remove a stream's entry durably: from now on the stream is no more, and what else is in the folder is waste."""
    with contextlib.suppress(FileNotFoundError):
        DISK.remove(folder / FILE)
        DISK.sync_folder(folder)
