"""A process that works on an archive and kills itself: `-m support.archive_process FOLDER compact|read STEP [GRACE]`.

It is killed before the STEP-th change of the bucket or of a durable file, counted from 1; it ends with 0 if there are
fewer. `read` is killed while it holds a snapshot.
"""

import sys
from pathlib import Path

from headrace.archive import compaction, snapshot
from headrace.archive.local import LocalBucket
from support import death


def main() -> None:
    folder = Path(sys.argv[1])
    bucket = LocalBucket(folder / "s3" / "archive")
    if sys.argv[2] == "read":
        with snapshot.open(bucket, folder / "archive", readings=()):
            death.now()
    death.before_change(int(sys.argv[3]), [bucket])
    grace_ms = int(sys.argv[4]) if len(sys.argv) > 4 else compaction.GRACE_MS
    compaction.compact(bucket, folder / "archive", readings=("temperature",), round_bytes=1500, grace_ms=grace_ms)


if __name__ == "__main__":
    main()
