"""A process that erases a device and kills itself: `python erase_process.py FOLDER SOCKET DEVICE STEP`.

It is killed before the STEP-th change of a bucket, a table or a durable file, counted from 1; it ends with 0 if there
are fewer. With 0 it is not killed. What it says of itself goes to standard output as JSON.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from headrace import disk
from headrace.archive.local import LocalBucket
from headrace.operations import erase
from headrace.table.local import LocalTable

left = int(sys.argv[4])


def killed_before(change: Callable[..., Any]) -> Callable[..., Any]:
    def changed(*arguments: Any, **named: Any) -> Any:
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return change(*arguments, **named)

    return changed


def main() -> None:
    folder, socket = Path(sys.argv[1]), Path(sys.argv[2])
    buckets = {name: LocalBucket(folder / "s3" / name) for name in ("archive", "failures")}
    tables = {name: LocalTable.connect(name, socket) for name in ("events", "devices")}
    for found in (*buckets.values(), *tables.values()):
        for name in ("put", "put_file", "tag", "delete", "put_if_version"):
            if hasattr(found, name):
                setattr(found, name, killed_before(getattr(found, name)))
    disk.write_file = killed_before(disk.write_file)
    places = erase.Places(
        archive=buckets["archive"],
        folder=folder / "archive",
        failures=[buckets["failures"]],
        events=tables["events"],
        devices=tables["devices"],
        jobs=folder / "jobs",
        reports=["device_daily"],
        warehouse=lambda device_id: 0,
        arriving=lambda: lambda: 0,
    )
    sys.stdout.buffer.write(msgspec.json.encode(erase.erase(places, sys.argv[3])))


if __name__ == "__main__":
    main()
