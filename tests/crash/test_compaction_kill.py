"""Compaction, killed before each of its changes: readers see every event once throughout, and the next run ends it."""

import subprocess
import sys
from pathlib import Path

from support.archive import Archive, events, expected

SCRIPT = Path(__file__).parents[1] / "support" / "archive_process.py"


def run(folder: Path, what: str, step: int = 0) -> int:
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), what, str(step)], check=False, timeout=100
    ).returncode


def test_killed_before_every_change(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.put(*events(range(4)), *events(range(4), day=2))
    assert run(tmp_path, "compact") == 0
    archive.put(*events(range(2, 8)), *events(range(4), day=3))
    archive.put(*events(range(6), day=2))
    sent = expected(*events(range(8)), *events(range(6), day=2), *events(range(4), day=3))
    killed = 0
    for step in range(1, 60):
        assert archive.identities() == sent
        code = run(tmp_path, "compact", step)
        if code == 0:
            break
        assert code == -9
        killed += 1
    assert killed > 8 and archive.identities() == sent
    assert run(tmp_path, "compact") == 0
    known = {file.key for day in archive.catalogue.days() for file in archive.catalogue.manifest(day).files}
    assert set(archive.files()) == known and len(known) == 3  # a file a day, and nothing was left behind
    assert all(archive.bucket.tags(key) == {"compacted": "true"} for key in archive.files("raw/"))


def test_what_a_killed_reader_left_is_removed_by_the_next(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.put(*events(range(3)))
    assert run(tmp_path, "read") == -9
    snapshots = archive.folder / "snapshots"
    assert len([left for left in snapshots.iterdir() if left.is_dir()]) == 1
    assert archive.identities() == expected(*events(range(3)))
    assert not [left for left in snapshots.iterdir() if left.is_dir()]
