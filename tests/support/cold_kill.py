"""Moves an object to the cold folder, killed before its nth touch of the disk, for every n: prints what was left.

Run as a program: FOLDER. A line of JSON for each n: what `get` gave (`body`, `cold` or an error), what is listed,
and the same after the move was made again.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from headrace import cold_folder
from headrace.archive import transitions
from headrace.archive.local import LocalBucket
from headrace.errors import HeadraceError, InvalidObjectState

BODY = b"a line of text, again and again\n" * 5000
KEY = "events/dt=1/a"
TOUCHES = ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "os.utime", "os.listdir")


def look(folder: Path) -> dict[str, Any]:
    bucket = LocalBucket(folder / "s3" / "archive")
    try:
        read = "body" if bucket.get(KEY) == BODY else "another body"
    except InvalidObjectState:
        read = "cold"
    except HeadraceError as error:
        read = repr(error)
    listed = [
        (info.key, info.size, info.storage_class, info.readable, dict(info.tags)) for info in bucket.list(tags=True)
    ]
    return {"read": read, "listed": listed}


def move(folder: Path) -> None:
    bucket = LocalBucket(folder / "s3" / "archive")
    transitions.transition(bucket, bucket.find(KEY), "GLACIER")


def attempt(folder: Path, die_at: int) -> bool:
    """Move in a child that dies at a touch of the disk; return whether it died."""
    child = os.fork()
    if child == 0:
        touches = 0

        def count(event: str, _: object) -> None:
            nonlocal touches
            if event in TOUCHES:
                touches += 1
                if touches == die_at:
                    os._exit(9)

        sys.addaudithook(count)
        move(folder)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def main() -> None:
    root, died, number = Path(sys.argv[1]), True, 0
    while died:
        number += 1
        folder = root / str(number)
        (folder / "s3").mkdir(parents=True)
        cold_folder.choose(folder / "s3", None)
        bucket = LocalBucket(folder / "s3" / "archive")
        bucket.put(KEY, BODY)
        bucket.tag(KEY, {"a": "b"})
        died = attempt(folder, number)
        after = look(folder)
        if after["read"] == "body":
            move(folder)
        print(json.dumps({"died": died, "after": after, "again": look(folder)}))


if __name__ == "__main__":
    main()
