"""How long a start takes until requests are answered, and what all processes hold in memory when idle (PSS).

`headrace up` runs the project's template: stream, three functions, tables, buckets. Beside it MiniStack and kinesalite,
started the same way in the same run, and an interpreter that does nothing.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from bodies import Bodies
from peers import KINESALITE, MINISTACK, Peer, installed
from results import HEADRACE, Figure, Result, save, scratch
from support.backend import Backend, memory_mb, wait_until
from support.load import send

BARE = "import sys; print(sum(int(line.split()[1]) for line in open('/proc/self/smaps_rollup') if line[:4] == 'Pss:'))"
INTERPRETER = "bare Python"
WORKERS_END_S = 40  # those beyond a function's first end after 30 s without work
EVENTS_S, RATE = 10, 10_000


def bare() -> tuple[float, float]:
    """Return the seconds that a bare interpreter takes, and its memory in MB."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", BARE], check=True, capture_output=True, text=True)
    return time.monotonic() - began, int(done.stdout) / 1000


def starts(folder: Path, peers: list[str], count: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Start everyone in turn; return the seconds each start took, and the memory (MB) of the others once started."""
    took: dict[str, list[float]] = defaultdict(list)
    memory: dict[str, list[float]] = defaultdict(list)
    for number in range(count):
        backend = Backend(folder / f"data{number}").start()
        took[HEADRACE].append(backend.start_s)
        backend.stop()
        for name in peers:
            peer = Peer(name, folder)
            took[name].append(peer.start_s)
            memory[name].append(peer.memory_mb())
            peer.stop()
        seconds, megabytes = bare()
        took[INTERPRETER].append(seconds)
        memory[INTERPRETER].append(megabytes)
    return took, memory


def idle(folder: Path, *, quick: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Return the memory (MB) of each process, fresh and after events."""
    backend = Backend(folder / "data").start()
    try:
        wait_until(lambda: len(backend.pids("runtime.worker")) >= 3)
        time.sleep(3)  # the workers exist; now they finish their imports
        fresh = memory_mb(backend)
        ledger = send(backend.url, Bodies("events"), rate=RATE, duration_s=1 if quick else EVENTS_S)
        backend.settled(ledger.records, 120)
        time.sleep(1 if quick else WORKERS_END_S)
        return fresh, memory_mb(backend)
    finally:
        backend.stop()


def main() -> int:
    """Measure; print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one start, no waiting")
    arguments = parser.parse_args()
    with scratch() as folder:
        took, memory = starts(folder, installed(MINISTACK, KINESALITE), 1 if arguments.quick else arguments.starts)
        fresh, worked = idle(folder, quick=arguments.quick)
    seconds = {name: statistics.median(found) for name, found in took.items()}
    others = {name: statistics.median(found) for name, found in memory.items()}
    events = f"{EVENTS_S * RATE:,} events"
    figures = [
        Figure(name="start until ready", value=seconds.pop(HEADRACE), unit="s", beside=seconds),
        Figure(name="idle memory, fresh", value=sum(fresh.values()), unit="MB", beside=others),
        Figure(name=f"idle memory, after {events}", value=sum(worked.values()), unit="MB"),
    ]
    notes = [
        f"{when}: " + ", ".join(f"{name} {mb:.1f}" for name, mb in sorted(each.items(), key=lambda one: -one[1]))
        for when, each in (("fresh", fresh), (f"after {events}", worked))
    ]
    series = {"fresh": fresh, "after events": worked, "others": others}
    return save(
        Result(section="footprint", figures=figures, verified=True, notes=notes, series=series, quick=arguments.quick)
    )


if __name__ == "__main__":
    sys.exit(main())
