"""A process that works on an archive and kills itself: `python archive_process.py FOLDER compact|read STEP [GRACE_MS]`.

It is killed before the STEP-th change of the bucket or of a durable file, counted from 1; it ends with 0 if there are
fewer. `read` is killed while it holds a snapshot.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace import disk
from headrace.archive import compaction, snapshot
from headrace.archive.local import LocalBucket

left = int(sys.argv[3])


def killed_before(change: Callable[..., Any]) -> Callable[..., Any]:
    def changed(*arguments: Any, **named: Any) -> Any:
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return change(*arguments, **named)

    return changed


def main() -> None:
    folder = Path(sys.argv[1])
    bucket = LocalBucket(folder / "s3" / "archive")
    if sys.argv[2] == "read":
        with snapshot.open(bucket, folder / "archive", readings=()):
            os.kill(os.getpid(), signal.SIGKILL)
    for name in ("put_file", "tag", "delete"):
        setattr(bucket, name, killed_before(getattr(bucket, name)))
    disk.write_file = killed_before(disk.write_file)
    grace_ms = int(sys.argv[4]) if len(sys.argv) > 4 else compaction.GRACE_MS
    compaction.compact(bucket, folder / "archive", readings=("temperature",), round_bytes=1500, grace_ms=grace_ms)


if __name__ == "__main__":
    main()
