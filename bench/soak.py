"""The whole backend killed again and again under load, its disk full twice, and every promise checked at the end.

    python bench/soak.py --kills 50

Each process dies that many times, at random moments, in random order. The client keeps its own list of what was
acknowledged: each of these records must be in the archive and in the table, no identity twice, each shard in order, and
`status --verify` clean. It takes root, for a small disk of its own; about six minutes at 50 kills.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import zstandard

import bodies  # noqa: F401  (puts the tests' folder on the path)
from support.backend import Backend, backend, wait_until
from support.load import Ledger, put_records_body, send
from support.small_disk import MB, SmallDisk, small_disk

PROCESSES = ("headrace.app gateway", "headrace.app table", "headrace.app runtime", "headrace.app metrics")
WORKERS = ("worker store", "worker archive")
PER_REQUEST = 500


def body(number: int) -> bytes:
    """Return events with identities of their own: a body that is sent again is the same events."""
    records = []
    for row in range(number * PER_REQUEST, (number + 1) * PER_REQUEST):
        device = f"device-{row % 997:04d}"
        event = {"device_id": device, "time": 1_700_000_000 + row // 997, "id": f"row-{row:09d}", "value": row}
        records.append((device, json.dumps(event).encode()))
    return put_records_body("events", records)


class Load(threading.Thread):
    """Sends until it is told to stop; `ledger` then holds what was acknowledged."""

    def __init__(self, url: str, rate: float) -> None:
        super().__init__()
        self._url, self._rate = url, rate
        self._ended = threading.Event()
        self.ledger = Ledger()

    def run(self) -> None:
        self.ledger = send(
            self._url, body, rate=self._rate, duration_s=86_400, connections=4, keep=True, stop=self._ended.is_set,
            expect=b'"FailedRecordCount":0',
        )  # fmt: skip

    def end(self) -> Ledger:
        self._ended.set()
        self.join()
        return self.ledger


def torment(running: Backend, disk: SmallDisk, kills: int, chance: random.Random) -> None:
    """Kill every process `kills` times, and fill the disk after a third and two thirds of that."""
    victims = [name for name in (*PROCESSES, *WORKERS) for _ in range(kills)]
    chance.shuffle(victims)
    for count, name in enumerate(victims):
        if count in (len(victims) // 3, 2 * len(victims) // 3):
            with disk.ballast(leave_bytes=3 * MB):
                print(f"{count} kills; the disk is full", flush=True)
                time.sleep(4)
            print("the disk has room again", flush=True)
        time.sleep(chance.uniform(0.05, 1.2))
        running.kill(name)


def archived(data: Path) -> dict[str, list[int]]:
    """Return the sequence numbers in the raw objects, by shard; asserts that they rise within each object."""
    found: dict[str, list[int]] = defaultdict(list)
    for path in (data / "s3/archive/raw").rglob("*.zst"):
        with zstandard.open(path, "rt") as lines:
            numbers = [(line["shard"], int(line["seq"])) for line in map(json.loads, lines)]
        assert numbers == sorted(numbers), f"{path} is not in order"
        for shard, sequence in numbers:
            found[shard].append(sequence)
    return found


def problems(running: Backend, data: Path, ledger: Ledger) -> list[str]:
    """Return what is not as promised."""
    wait_until(lambda: running.get("/_headrace/health")["ready"], 60)
    running.settled(ledger.records, 300)
    status = running.status(verify=True)
    found = [] if status["verified"] else [f"differences: {status['differences']}"]
    if status["table"]["items"] != ledger.records:
        found.append(f"{status['table']['items']} items in the table, {ledger.records} identities acknowledged")
    kept = {shard: set(numbers) for shard, numbers in archived(data).items()}
    lost = sum(int(sequence) not in kept.get(shard, ()) for _, shard, sequence in ledger.acknowledged)
    if lost:
        found.append(f"{lost} acknowledged records are not in the archive")
    print(
        f"{ledger.records:,} identities acknowledged, {ledger.errors:,} requests tried again, "
        f"{status['accepted']:,} records accepted, {status['table']['items']:,} items, "
        f"{status['archive']['records']:,} records archived, {status['failures']['records']} failed"
    )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of each process")
    parser.add_argument("--rate", type=float, default=5_000, help="events a second")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--disk-mb", type=int, default=4_000)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    print(f"seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="headrace-soak-"))
    try:
        with small_disk(folder, options.disk_mb) as disk, backend(disk.folder) as running:
            load = Load(running.url, options.rate)
            load.start()
            torment(running, disk, options.kills, random.Random(seed))
            ledger = load.end()
            found = problems(running, disk.folder / "data", ledger)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(
        "\n".join(found) or f"RESULT every promise kept after {options.kills} kills of each process and two full disks"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
