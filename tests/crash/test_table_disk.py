"""A disk that is full or fails: writes are refused, reads go on, and writes work again by themselves."""

import contextlib
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.errors import StorageError
from headrace.table.base import Item
from headrace.table.local import LocalTable
from support.table import table_process

MB = 1024 * 1024


class Filler:
    """Writes batches of random bytes and keeps the number of acknowledged rows."""

    def __init__(self, table: LocalTable) -> None:
        self.table = table
        self.acknowledged = 0

    def put(self) -> None:
        numbers = range(self.acknowledged, self.acknowledged + 200)
        self.table.put([Item("d", f"{n:09}", os.urandom(2000)) for n in numbers])
        self.acknowledged = numbers.stop

    def until_refused(self) -> StorageError:
        with pytest.raises(StorageError) as raised:
            for _ in range(1000):
                self.put()
        return raised.value

    def until_accepted(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.put()
            except StorageError:
                assert time.monotonic() < deadline, "writes did not work again"
                time.sleep(0.1)

    def check(self) -> None:
        found = 0
        for at in range(0, self.acknowledged, 1000):
            found += len(self.table.query("d", f"{at:09}", f"{min(at + 1000, self.acknowledged):09}", 1000))
        assert found == self.acknowledged


def test_an_error_of_the_disk_passes(tmp_path: Path) -> None:
    """A limit on the size of files stands for a disk that fails: RocksDB does not resume by itself from that."""
    with table_process(tmp_path / "table", tmp_path / "t.sock") as process:
        filler = Filler(process.table())
        filler.put()
        for _ in range(2):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (3 * MB, resource.RLIM_INFINITY))
            refused = filler.until_refused()
            assert "File too large" in refused.problem
            assert refused.hint
            filler.check()  # reads go on
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            filler.until_accepted(10)
            filler.check()
        process.kill()
        process.start()
        filler.check()
        filler.table.close()


@contextlib.contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[None]:
    """Mount a small file system in memory on `folder`; it takes root."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0 and not os.environ.get("CI"):
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.strip()}")
    assert mounted.returncode == 0, mounted.stderr
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_refuses_writes_until_there_is_space(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with (
        small_disk(disk, 240),
        table_process(disk / "table", tmp_path / "t.sock") as process,
        contextlib.closing(process.table()) as table,
    ):
        filler = Filler(table)
        ballast = [disk / f"ballast-{n}" for n in range(3)]
        for one in ballast:
            one.write_bytes(bytes(75 * MB))
        for one in ballast:
            refused = filler.until_refused()
            assert "No space left on device" in refused.problem
            assert "Free space" in refused.hint
            filler.check()  # reads go on
            if one is ballast[-1]:  # killed while it can't write: the log ends within a row
                process.kill()
                one.unlink()
                process.start()
                filler.check()
            one.unlink(missing_ok=True)
            filler.until_accepted(20)
            filler.check()
        process.kill()
        process.start()
        filler.check()


def test_a_disk_full_of_what_a_killed_merge_left_does_not_stop_the_start(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with (
        small_disk(disk, 60),
        table_process(disk / "table", tmp_path / "t.sock") as process,
        contextlib.closing(process.table()) as table,
    ):
        filler = Filler(table)
        for _ in range(30):
            filler.put()
        process.kill()
        fill(disk / "table/db/999999.sst")
        process.start()
        filler.check()
        filler.until_accepted(20)


def fill(path: Path) -> None:
    """Write to a file until the disk takes no more."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
