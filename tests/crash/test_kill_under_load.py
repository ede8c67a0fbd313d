"""SIGKILL of every process, again and again, under load: nothing acknowledged is lost, nothing is counted twice."""

import json
import random
import threading
import time
from collections import defaultdict
from pathlib import Path

import pytest
import zstandard

from support.backend import backend, wait_until
from support.load import Ledger, put_records_body, send

RATE = 5_000
KILLS = 10
PROCESSES = ("gateway", "table", "runtime", "worker store", "worker archive")


def body(number: int) -> bytes:
    """Return 500 events with identities of their own: a body that is sent again is the same events."""
    records = []
    for place in range(500):
        row = number * 500 + place
        device = f"device-{row % 97:03d}"
        event = {"device_id": device, "time": 1_700_000_000 + row // 97, "id": f"row-{row:09d}", "value": row}
        records.append((device, json.dumps(event).encode()))
    return put_records_body("events", records)


@pytest.mark.timeout(400)
def test_kills_lose_nothing(tmp_path: Path) -> None:
    """Each process dies ten times, in random order."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    victims = list(PROCESSES) * KILLS
    random.Random(seed).shuffle(victims)
    with backend(tmp_path) as running:
        ended = threading.Event()
        ledgers: list[Ledger] = []

        def load() -> None:
            ledgers.append(
                send(running.url, body, rate=RATE, duration_s=380, connections=4, keep=True, stop=ended.is_set)
            )

        loader = threading.Thread(target=load)
        loader.start()
        try:
            for name in victims:
                time.sleep(0.2)
                running.kill(name)
            # There was load, however slow the machine is.
            wait_until(lambda: running.status()["accepted"] >= RATE * KILLS, 100)
        finally:
            ended.set()
            loader.join()
        ledger = ledgers[0]
        wait_until(lambda: running.get("/_headrace/health")["ready"], 30)
        running.settled(ledger.records, 120)
        status = running.status(verify=True)
        assert status["verified"], status["differences"]
        assert status["table"]["items"] == ledger.records
        archived = archived_numbers(tmp_path / "data")
        for _, shard, sequence in ledger.acknowledged:
            assert sequence in archived[shard]


def archived_numbers(data: Path) -> dict[str, set[str]]:
    """Return the sequence numbers in the raw objects, by shard; in each object they rise."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in (data / "s3/archive/raw").rglob("*.zst"):
        with zstandard.open(path, "rt") as lines:
            numbers = [(line["shard"], line["seq"]) for line in map(json.loads, lines)]
        assert numbers == sorted(numbers, key=lambda entry: int(entry[1]))
        for shard, sequence in numbers:
            found[shard].add(sequence)
    return found


def test_children_end_with_a_killed_supervisor_and_the_next_start_recovers(tmp_path: Path) -> None:
    with backend(tmp_path) as running:
        send(running.url, body, rate=RATE, duration_s=1, connections=2)
        pids = [pid for name in PROCESSES for pid in running.pids(name)]
        running.kill_all()
        wait_until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids), 10)
    with backend(tmp_path) as running:
        accepted = running.status()["accepted"]
        running.settled(accepted)
        assert running.status(verify=True)["verified"]
