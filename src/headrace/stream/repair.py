"""Looks for damage in a log that need not be open, and sets it aside in one that is not.

Nothing is thrown away: the damaged bytes are copied to a file first. In the log, a frame whose header is unreadable
becomes a filler, which readers hop over; a frame with unreadable records is marked, so that readers take the others
and go on without a word. Positions stay as they are. The segment is written anew and renamed into place: a backup
that shares the old file is not touched.
"""

from pathlib import Path

from headrace import disk
from headrace.disk import Disk, ReadingDisk
from headrace.stream import segment
from headrace.stream.reader import Reader
from headrace.stream.recovery import Walk, load_header, walk_file
from headrace.stream.segment import FRAME_HEADER_BYTES, Damage, Frame
from headrace.stream.writer import segment_bases, segment_path

_CRC = "CRC of records"


def scan(folder: Path) -> list[Damage]:
    """Return what can't be read of the acknowledged records in a stream's folder; reads everything once.

    A torn end that was never acknowledged is no damage: the next start cuts it off.
    """
    reader = Reader(folder)
    durable = reader.durable()
    reader.close()
    looking: Disk = ReadingDisk()
    bases = segment_bases(looking.list(folder))
    walk = Walk(durable)
    if bases and (header := load_header(folder, looking, bases[0])) is not None:
        walk.commit = header.commit
    for at, base in enumerate(bases):
        walk_file(folder, looking, base, bases[at + 1] if at + 1 < len(bases) else None, walk, settle=False)
    if walk.end < durable and bases:
        walk.damage.append(Damage(walk.end, durable, "missing"))
    return walk.damage


def lost(folder: Path, damage: Damage) -> list[int]:
    """Return the numbers of the records that a damaged body has lost, as far as its frame can be read."""
    data = _read(_segment_of(folder, damage.position), damage)
    frame = segment.decode_frame(data, 0, damage.position)
    return segment.decode_damaged(frame, data[FRAME_HEADER_BYTES:])[1] if frame is not None else []


def can_set_aside(damage: Damage) -> bool:
    """Return whether `set_aside` knows what to put in its place."""
    room = damage.end - damage.position
    return damage.reason == _CRC or (damage.reason in ("no frame", "missing") and room >= FRAME_HEADER_BYTES)


def set_aside(folder: Path, damage: Damage, aside: Path) -> Path:
    """Copy damaged bytes to a file in the folder `aside`, then make the log readable over them; return the file.

    The log must not be open anywhere. Raises StorageError; the segment is then as it was.
    """
    path = _segment_of(folder, damage.position)
    data = _read(path, damage)
    kept = aside / f"{damage.position:020d}-{damage.end - damage.position}.bytes"
    disk.write_file(kept, data)
    commit = _commit_before(folder, path, damage.position)
    _write_over(path, damage.position, _mended(damage, data, commit))
    return kept


def _mended(damage: Damage, data: bytes, commit: int) -> bytes:
    """Return what stands at the damage's place from now on; of the same length."""
    data = data.ljust(damage.end - damage.position, b"\0")
    body = data[FRAME_HEADER_BYTES:]
    frame = segment.decode_frame(data, 0, damage.position) if damage.reason == _CRC else None
    if frame is not None:
        return segment.encode_frame(frame._replace(flags=frame.flags | segment.LOSSY), damage.position, body)
    filler = Frame(0, 0, segment.FILLER, 1, 0, 0, commit, 0, 0)
    return segment.encode_frame(filler, damage.position, body)


def _commit_before(folder: Path, path: Path, position: int) -> int:
    """Return the commit of the last readable frame before a position."""
    looking = ReadingDisk()
    base = int(path.stem)
    header = load_header(folder, looking, base)
    walk = Walk(position)
    walk.commit = header.commit if header is not None else 0
    walk_file(folder, looking, base, position, walk, settle=False)
    return walk.commit


def _write_over(path: Path, position: int, data: bytes) -> None:
    copy = path.with_name(f".tmp-{path.name}")
    try:
        copy.unlink(missing_ok=True)
        disk.copy_file(path, copy)
        file = disk.DISK.open(copy)
        try:
            file.write_at(position - int(path.stem), data)
            file.sync()
        finally:
            file.close()
        copy.replace(path)
        disk.DISK.sync_folder(path.parent)
    except OSError as error:
        copy.unlink(missing_ok=True)
        raise disk.storage_error(path, error) from error


def _segment_of(folder: Path, position: int) -> Path:
    return segment_path(folder, max(base for base in segment_bases(disk.DISK.list(folder)) if base <= position))


def _read(path: Path, damage: Damage) -> bytes:
    file = ReadingDisk().open(path)
    try:
        return file.read_at(damage.position - int(path.stem), damage.end - damage.position)
    finally:
        file.close()
