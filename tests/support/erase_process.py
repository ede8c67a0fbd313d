"""A process that erases a device and kills itself: `-m support.erase_process FOLDER SOCKET DEVICE STEP`.

It is killed before the STEP-th change of a bucket, a table or a durable file, counted from 1; it ends with 0 if there
are fewer. With 0 it is not killed. What it says of itself goes to standard output as JSON.
"""

import sys
from pathlib import Path

import msgspec

from headrace.archive.local import LocalBucket
from headrace.operations import erase
from headrace.table.local import LocalTable
from support import death


def main() -> None:
    folder, socket = Path(sys.argv[1]), Path(sys.argv[2])
    buckets = {name: LocalBucket(folder / "s3" / name) for name in ("archive", "failures")}
    tables = {name: LocalTable.connect(name, socket) for name in ("events", "devices")}
    death.before_change(int(sys.argv[4]), [*buckets.values(), *tables.values()])
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
