"""What was erased from the archive: `catalogue/erased.json` (`docs/formats.md`), written before anything is removed.

An event of an erased device that arrived before `before_us` is none for any reader, wherever it still stands: in a raw
object that comes late, or in a file that was cold. Nothing ever takes an entry away.
"""

from collections.abc import Iterable, Sequence

import msgspec

from headrace import errors
from headrace.archive.base import Bucket
from headrace.archive.columns import text_sql

KEY = "catalogue/erased.json"
VERSION = 1


class Erasure(msgspec.Struct, frozen=True):
    """A device whose events from before then (microseconds since 1970, by arrival) are erased.

    `cold` are compacted files that may hold some all the same: they could not be read. `finished` once all was done.
    """

    device_id: str
    before_us: int
    cold: tuple[str, ...] = ()
    finished: bool = False


class _File(msgspec.Struct, frozen=True):
    erasures: tuple[Erasure, ...] = ()
    version: int = VERSION


class _Versioned(msgspec.Struct, frozen=True):
    version: int


def read(bucket: Bucket) -> tuple[Erasure, ...]:
    """Return what was erased, a device once; raises DataDirectoryError."""
    try:
        body = bucket.get(KEY)
    except errors.NotFound:
        return ()
    try:
        version = msgspec.json.decode(body, type=_Versioned).version
        if version == VERSION:
            return msgspec.json.decode(body, type=_File).erasures
        problem = f"has version {version}; this Headrace knows {VERSION}"
    except msgspec.DecodeError as error:
        problem = f"can't be read: {error}"
    raise errors.DataDirectoryError(
        f"{KEY} {problem}.", "Use the Headrace that wrote it, or put it back from a backup."
    )


def begin(bucket: Bucket, device_id: str, before_us: int) -> Erasure:
    """Note that a device is being erased, and return that; files that were cold before still count as such."""
    cold = next((each.cold for each in read(bucket) if each.device_id == device_id), ())
    erasure = Erasure(device_id, before_us, cold)
    write(bucket, erasure)
    return erasure


def write(bucket: Bucket, erasure: Erasure) -> None:
    """Note an erasure, in the place of an earlier one of the device. One process does at a time."""
    others = [each for each in read(bucket) if each.device_id != erasure.device_id]
    bucket.put(KEY, msgspec.json.encode(_File((*others, erasure))))


def erased_sql(erasures: Iterable[Erasure]) -> str:
    """Return the condition that an event is one of those erased."""
    return " OR ".join(
        f"(device_id = {text_sql(each.device_id)} AND arrived_at < make_timestamp({each.before_us}))"
        for each in erasures
    )


def kept_sql(erasures: Sequence[Erasure]) -> str:
    """Return the condition that an event is none of those erased; it is never null."""
    return f"NOT ({erased_sql(erasures)})" if erasures else "true"
