"""The embedded store behind the table: RocksDB, a column family a table. No network, no event loop, no threads.

Writes go to the write-ahead log and the memtable at once and are durable after the next `sync`. Only `sync` may run
in another thread beside the rest (it releases the interpreter while the disk works; `write` does not).
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    Checkpoint,
    ColumnFamily,
    DBCompactionStyle,
    DBCompressionType,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    WriteBatch,
    WriteOptions,
)

from headrace import disk
from headrace.errors import Conflict, DataDirectoryError, NotFound, StorageError
from headrace.table import rows
from headrace.table.writer import NO_SPACE, Stalled

FORMAT = 1  # of the folder: layout, column families, keys; see docs/formats.md
MEMTABLE_BYTES = 4 * 1024 * 1024  # small: insertion is bound by cache misses, and merging files is cheap
CACHE_BYTES = 8 * 1024 * 1024
PAGE_ROWS_MAX = 2000  # looked at in one step: about two milliseconds in which nothing else is served
PAGE_BYTES_MAX = 4 * 1024 * 1024


class Page(NamedTuple):
    """Keys and values in turn; `resume` is where the next page begins (going backwards: ends), None at the end."""

    rows: list[bytes]
    resume: bytes | None


class _Versioned(msgspec.Struct):
    version: Any = 0


class Count(NamedTuple):
    """How many rows there are, and how many of them are events."""

    rows: int = 0
    events: int = 0

    def more(self, other: "Count") -> "Count":
        """Return both together."""
        return Count(self.rows + other.rows, self.events + other.events)


_version_decoder = msgspec.json.Decoder(_Versioned)


class _Family(NamedTuple):
    """A table's column family, to read (`view`) and to write (`handle`)."""

    view: Rdict
    handle: ColumnFamily


class Store:
    """The tables of one folder. `open` it, and `close` it; a folder has one owner at a time."""

    def __init__(self, folder: Path, lock: contextlib.ExitStack, tables: Sequence[str]) -> None:
        self._folder = folder
        self._lock = lock
        self._tables = list(tables)
        self._pausing = WriteOptions()
        self._pausing.no_slowdown = True  # refuse rather than block: a blocked write would hold up every read
        self._db: Rdict | None = None
        self._families: dict[str, _Family] = {}

    @classmethod
    def open(cls, folder: Path, tables: Sequence[str]) -> "Store":
        """Open or create the store in `folder` with these tables; ones it already has are kept and served too.

        Raises DataDirectoryError if the folder is in use, damaged, or of a newer format.
        """
        disk.make_folder(folder)
        with contextlib.ExitStack() as lock:
            lock.enter_context(disk.locked(folder / "lock", "table process"))
            _check_format(folder / "format.json")
            store = cls(folder, lock.pop_all(), tables)
        try:
            store._connect()
        except BaseException:
            store._lock.close()
            raise
        return store

    @property
    def tables(self) -> list[str]:
        """Return the names of all tables, also of those no longer declared."""
        return sorted(self._families)

    def put(self, table: str, pairs: Sequence[bytes]) -> None:
        """Write keys and values (in turn) in one atomic batch."""
        batch = self._batch(table)
        put = batch.put
        pair = iter(pairs)
        for key, value in zip(pair, pair, strict=True):
            put(key, value)
        self._write(batch)

    def delete(self, table: str, keys: Sequence[bytes]) -> None:
        """Delete keys in one atomic batch."""
        batch = self._batch(table)
        for key in keys:
            batch.delete(key)
        self._write(batch)

    def put_if_version(self, table: str, key: bytes, value: bytes, expected: int, now_ms: int) -> None:
        """Write one row if the stored one's attribute "version" is `expected`; raises Conflict."""
        stored = self.get(table, key, now_ms)
        version = 0 if stored is None else _version_decoder.decode(stored[rows.HEAD_BYTES :]).version
        if version != expected:
            raise Conflict(
                f"The item has version {version}, not {expected}.", "Read it again and repeat the change on that."
            )
        self.put(table, (key, value))

    def put_absent(self, table: str, pairs: Sequence[bytes], now_ms: int) -> None:
        """Write, in one atomic batch, those keys and values (in turn) of whose key there is no row."""
        absent = [
            part
            for key, value in zip(pairs[::2], pairs[1::2], strict=True)
            if self.get(table, key, now_ms) is None
            for part in (key, value)
        ]
        if absent:
            self.put(table, absent)

    def get(self, table: str, key: bytes, now_ms: int) -> bytes | None:
        """Return the value of a key unless it has expired."""
        view = self._family(table).view
        try:
            value: bytes | None = view.get(key)
        except Exception as error:
            raise self._storage_error(error) from error
        return None if value is None or rows.expired(value, rows.expired_at(now_ms)) else value

    def page(self, table: str, low: bytes, high: bytes | None, limit: int, newest_first: bool, now_ms: int) -> Page:
        """Return the first rows of low <= key < high (None: no end) that have not expired, or the last, backwards.

        One page looks at a bounded number of rows; `resume` says where to go on.
        """
        bound = rows.expired_at(now_ms)
        found: list[bytes] = []
        room = PAGE_BYTES_MAX

        def take(key: bytes, value: bytes) -> bool:
            nonlocal room
            if not rows.expired(value, bound):
                found.append(key)
                found.append(value)
                room -= len(key) + len(value)
            return room > 0 and len(found) < 2 * limit

        return Page(found, self._walk(table, low, high, newest_first, take))

    def sweep(self, table: str, low: bytes, now_ms: int, deletes_max: int) -> tuple[int, Count, bytes | None]:
        """Delete expired rows among the next ones from `low`.

        Returns how many, what the other ones are, and where to go on, None at the end.
        """
        gone: list[bytes] = []
        count, resume = self._count(table, low, now_ms, gone, deletes_max)
        if gone:
            self.delete(table, gone)
        return len(gone), count, resume

    def count(self, table: str, low: bytes, now_ms: int) -> tuple[Count, bytes | None]:
        """Return how many of the next rows from `low` have not expired, and where to go on, None at the end."""
        return self._count(table, low, now_ms, [], PAGE_ROWS_MAX)

    def _count(
        self, table: str, low: bytes, now_ms: int, gone: list[bytes], gone_max: int
    ) -> tuple[Count, bytes | None]:
        """Count the next rows that have not expired, and add the keys of up to `gone_max` that have to `gone`."""
        bound = rows.expired_at(now_ms)
        count = events = 0

        def take(key: bytes, value: bytes) -> bool:
            nonlocal count, events
            if rows.expired(value, bound):
                gone.append(key)
                return len(gone) < gone_max
            count += 1
            events += rows.is_event(key)
            return True

        resume = self._walk(table, low, None, False, take)
        return Count(count, events), resume

    def sync(self) -> None:
        """Return once everything written before this call is on the medium."""
        try:
            self._open_db().flush_wal(True)
        except Exception as error:
            raise self._storage_error(error) from error

    def flush(self) -> None:
        """Begin to move what is in memory to files, which frees the memory and shortens the next start."""
        for family in self._families.values():
            with contextlib.suppress(Exception):  # a full disk shows in the next write
                family.view.flush(False)

    def sequence(self) -> int:
        """Return a number that changes with every write."""
        return int(self._open_db().latest_sequence_number())

    def items_estimate(self, table: str) -> int:
        """Return about how many rows a table has; rewritten ones count more than once until they are compacted."""
        return self._property(table, "rocksdb.estimate-num-keys")

    def bytes_used(self, table: str) -> int:
        """Return the bytes of a table's files, and of what is still in memory."""
        return self._property(table, "rocksdb.total-sst-files-size") + self._property(
            table, "rocksdb.cur-size-all-mem-tables"
        )

    def space_left(self) -> int:
        """Return the free bytes of the disk."""
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize

    def reopen(self) -> None:
        """Close and open again: the way out of an error after which RocksDB refuses every write.

        A disk that takes no write (full, read-only) raises StorageError, and the store stays open: reads go on.
        """
        probe = self._folder / ".probe"
        disk.write_file(probe, b"")
        disk.DISK.remove(probe)
        self._disconnect()
        self._connect()

    def snapshot(self, folder: Path) -> None:
        """Make a copy of the whole store as it is now in `folder`, which must not exist yet; its parent must.

        Files are linked where that is the same disk. May run in another thread beside the rest, as `sync` may.
        """
        folder.mkdir()
        disk.write_file(folder / "format.json", msgspec.json.encode({"format": FORMAT}))
        try:
            Checkpoint(self._open_db()).create_checkpoint(str(folder / "db"))
        except Exception as error:
            raise self._storage_error(error) from error

    def close(self) -> None:
        """Close; what was written is flushed if the disk allows it."""
        self._disconnect()
        self._lock.close()

    def _connect(self) -> None:
        path = str(self._folder / "db")
        try:
            kept = [name for name in _families_in(path) if name != "default"]
            names = sorted({*self._tables, *kept})
            try:
                self._db = _opened(path, names)
            except Exception as error:
                if NO_SPACE not in str(error) or not _remove_orphans(path, names):
                    raise
                self._db = _opened(path, names)
            self._families = {
                name: _Family(self._db.get_column_family(name), self._db.get_column_family_handle(name))
                for name in names
            }
        except Exception as error:
            self._disconnect()
            if NO_SPACE in str(error):
                raise self._storage_error(error) from error
            raise _damaged(self._folder, str(error)) from error

    def _disconnect(self) -> None:
        for family in self._families.values():  # a view left open would keep the database locked
            with contextlib.suppress(Exception):
                family.view.close()
        self._families = {}
        if self._db is not None:
            with contextlib.suppress(Exception):
                self._db.close()
        self._db = None

    def _open_db(self) -> Rdict:
        if self._db is None:
            raise StorageError(
                f"{self._folder}: the table store is closed after an error of the disk.", "It is retried."
            )
        return self._db

    def _family(self, table: str) -> _Family:
        self._open_db()
        family = self._families.get(table)
        if family is None:
            raise NotFound(
                f"There is no table {table!r}.", f"The template declares: {', '.join(self.tables) or 'none'}."
            )
        return family

    def _batch(self, table: str) -> WriteBatch:
        batch = WriteBatch(raw_mode=True)
        batch.set_default_column_family(self._family(table).handle)
        return batch

    def _write(self, batch: WriteBatch) -> None:
        try:
            self._open_db().write(batch, self._pausing)
        except Exception as error:
            if "Result incomplete" in str(error):
                raise Stalled from error
            raise self._storage_error(error) from error

    def _walk(
        self, table: str, low: bytes, high: bytes | None, backwards: bool, take: Callable[[bytes, bytes], bool]
    ) -> bytes | None:
        """Hand rows to `take` until it says no or the page is full; return where to go on, None at the end."""
        options = ReadOptions()
        if high is not None:
            options.set_iterate_upper_bound(high)
        view = self._family(table).view
        try:
            return _walk(view.iter(options), low, backwards, take)
        except Exception as error:
            raise self._storage_error(error) from error

    def _property(self, table: str, name: str) -> int:
        return self._family(table).view.property_int_value(name) or 0

    def _storage_error(self, error: Exception) -> StorageError:
        hint = (
            "Free space on this disk; writing resumes by itself."
            if NO_SPACE in str(error)
            else "Check the disk (dmesg, SMART); writing resumes by itself once it works."
        )
        return StorageError(f"{self._folder}: {error}", hint)


def _walk(at: RdictIter, low: bytes, backwards: bool, take: Callable[[bytes, bytes], bool]) -> bytes | None:
    """Walk from `low` to the iterator's upper bound, or backwards; see `Store._walk`."""
    valid, key, value = at.valid, at.key, at.value
    if backwards:
        at.seek_to_last()
        step = at.prev
    else:
        at.seek(low)
        step = at.next
    last = low
    for _ in range(PAGE_ROWS_MAX):
        # The lower bound is checked here: rocksdict's set_iterate_lower_bound sets the upper one.
        if not valid() or (last := key()) < low:
            at.status()  # an error of the disk ends a walk, too
            return None
        more = take(last, value())
        step()
        if not more:
            break
    return last if backwards else last + b"\0"


def check(folder: Path) -> None:
    """Raise DataDirectoryError if the store in `folder` can't be opened; changes nothing. Not beside its owner."""
    _check_format(folder / "format.json")
    options = Options(raw_mode=True)
    with tempfile.TemporaryDirectory() as links:  # opening it to read, too, writes beside it
        path = str(folder / "db")
        for file in Path(path).iterdir():
            if not file.name.startswith(("LOG", "LOCK", "rocksdict")):
                Path(links, file.name).symlink_to(file)
        try:
            Rdict(links, options, dict.fromkeys(_families_in(links), options), AccessType.read_only()).close()
        except Exception as error:
            raise _damaged(folder, str(error).replace(links, path)) from error


def _damaged(folder: Path, why: str) -> DataDirectoryError:
    return DataDirectoryError(
        f"{folder}: the table store can't be opened: {why}",
        "Restore this folder from a backup, or move it away to start with an empty table.",
    )


def _check_format(path: Path) -> None:
    """Write the format of a new store, or raise DataDirectoryError if the one on disk is newer."""
    if not path.exists():
        disk.write_file(path, msgspec.json.encode({"format": FORMAT}))
        return
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, int])["format"]
    except (OSError, msgspec.DecodeError, KeyError) as error:
        raise DataDirectoryError(
            f"{path} can't be read: {error!r}", 'Restore it from a backup; it holds {"format": 1} in this version.'
        ) from error
    if found > FORMAT:
        raise DataDirectoryError(
            f"{path.parent} holds a table store of format {found}; this version knows formats up to {FORMAT}.",
            "Install the version of headrace that wrote it, or a newer one, or give another --data directory.",
        )


def _families_in(path: str) -> list[str]:
    return list(Rdict.list_cf(path)) if Path(path, "CURRENT").exists() else []


def _opened(path: str, names: Sequence[str]) -> Rdict:
    cache = Cache(CACHE_BYTES)
    return Rdict(path, _options(cache), {name: _options(cache) for name in names})


def _remove_orphans(path: str, names: Sequence[str]) -> bool:
    """Remove what a killed process left half merged; return whether there was any.

    RocksDB does so itself as soon as it is open. But to open it must write, which a disk does not take that is full of
    just these files.
    """
    options = Options(raw_mode=True)
    with contextlib.closing(Rdict(path, options, dict.fromkeys(names, options), AccessType.read_only())) as database:
        live = {each["name"].lstrip("/") for each in database.live_files()}
    orphans = [file for file in Path(path).glob("*.sst") if file.name not in live]
    for file in orphans:
        disk.DISK.remove(file)
    return bool(orphans)


def _options(cache: Cache) -> Options:
    """Return the options of the database and of each table; what was measured is in docs/adr/0002-table-store.md."""
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_write_buffer_size(MEMTABLE_BYTES)
    options.set_max_write_buffer_number(6)
    options.set_max_total_wal_size(16 * MEMTABLE_BYTES)  # a table that is rarely written must not keep every log alive
    options.set_max_background_jobs(4)
    options.set_compaction_style(DBCompactionStyle.universal())  # rewrites a row half as often as levels do
    options.set_level_zero_file_num_compaction_trigger(8)
    options.set_level_zero_slowdown_writes_trigger(40)
    options.set_level_zero_stop_writes_trigger(60)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_bottommost_compression_type(DBCompressionType.zstd())
    options.add_compact_on_deletion_collector_factory(10_000, 5_000, 0.5)  # expired ranges must not slow down reads
    options.set_max_open_files(512)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(1024 * 1024)
    options.set_stats_dump_period_sec(0)
    blocks = BlockBasedOptions()
    blocks.set_block_cache(cache)
    blocks.set_block_size(16 * 1024)
    blocks.set_bloom_filter(10, False)
    blocks.set_format_version(5)
    blocks.set_cache_index_and_filter_blocks(True)  # so that the cache bounds their memory
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options.set_block_based_table_factory(blocks)
    return options
