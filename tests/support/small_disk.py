"""A small disk of its own for a test: an ext4 file system in a file, mounted for as long as the test lasts.

It takes root and a kernel that lets loop devices be mounted; where that is refused, in CI too, the test is skipped and
the reason says so.
"""

import contextlib
import itertools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

MB = 1024 * 1024


class SmallDisk:
    """A mounted disk; `ballast` takes most of its space, `fail` has the kernel remount it read-only."""

    def __init__(self, image: Path, folder: Path) -> None:
        self.image = image
        self.folder = folder
        self.device = ""

    def mount(self) -> None:
        """Mount it for reading and writing; an error of the file system makes it read-only, as Debian mounts disks."""
        _run("mount", "-o", "loop,errors=remount-ro", str(self.image), str(self.folder))
        found = _run("findmnt", "--noheadings", "--output", "SOURCE", str(self.folder))
        self.device = Path(found.strip()).name

    def unmount(self) -> None:
        """Unmount it."""
        _run("umount", str(self.folder))

    def repair(self) -> None:
        """Check and mend the unmounted file system, as an operator does after an error."""
        done = subprocess.run(["e2fsck", "-y", "-f", str(self.image)], capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stdout + done.stderr

    def fail(self) -> None:
        """Have the file system meet an error: the kernel makes it read-only under the feet of its writers."""
        Path(f"/sys/fs/ext4/{self.device}/trigger_fs_error").write_text("1")

    @property
    def can_fail(self) -> bool:
        """Return whether this kernel lets a test trigger an error."""
        return Path(f"/sys/fs/ext4/{self.device}/trigger_fs_error").exists()

    @contextlib.contextmanager
    def ballast(self, leave_bytes: int) -> Iterator[None]:
        """Take all but `leave_bytes` of the free space for as long as the context lasts."""
        path = self.folder / "ballast"
        _run("fallocate", "-l", str(max(1, shutil.disk_usage(self.folder).free - leave_bytes)), str(path))
        try:
            yield
        finally:
            path.unlink()

    @contextlib.contextmanager
    def no_more_files(self) -> Iterator[None]:
        """Make so many empty files that the disk takes no more, for as long as the context lasts."""
        folder = self.folder / "many"
        folder.mkdir()
        try:
            with contextlib.suppress(OSError):
                for number in itertools.count():
                    (folder / str(number)).touch()
            yield
        finally:
            shutil.rmtree(folder)


@contextlib.contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[SmallDisk]:
    """Make and mount a disk of that size on `folder / "disk"`, unmounted at the end."""
    disk = SmallDisk(folder / "disk.ext4", folder / "disk")
    disk.folder.mkdir()
    try:
        _run("truncate", "-s", f"{size_mb}M", str(disk.image))
        _run("mkfs.ext4", "-q", "-m", "0", str(disk.image))
        disk.mount()
    except (OSError, AssertionError) as error:
        pytest.skip(f"a small disk can't be mounted here: {error}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk.folder)], capture_output=True)
        disk.image.unlink()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
    return done.stdout
