"""Events a second from PutRecords through both functions into table and archive, load generator on the same cores.

An event a record, 150 bytes, PutRecords of 500. The backlog (the larger of both functions' pending records) is sampled
every second: a rate is carried when the backlog does not grow. Afterwards everything is drained and `status --verify`
compares log, table and archive; a figure counts only if it agrees. Beside it runs what it is compared with: the same
two handlers called in a loop in one process over the same events, without stream, processes or durability.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import psutil

from bodies import Bodies
from support.backend import Backend, wait_until
from support.load import Ledger, send


def cpu_seconds(backend: Backend) -> dict[str, float]:
    """Return the CPU seconds of each process of the backend so far, by role."""
    used: dict[str, float] = defaultdict(float)
    for child in psutil.Process(backend.process.pid).children(recursive=True):
        line = child.cmdline()
        role = " ".join(line[line.index("-m") + 1 :][:2]).removeprefix("headrace.").removeprefix("app ")
        times = child.cpu_times()
        used[role.removeprefix("runtime.")] += times.user + times.system
    return used


def sample_backlog(backend: Backend, samples: list[tuple[float, int]], done: threading.Event) -> None:
    """Append (time, backlog) every second."""
    while not done.wait(1.0):
        functions = backend.status()["functions"].values()
        samples.append((time.monotonic(), max(account["pending"] for account in functions)))


def baseline(seconds: float) -> float:
    """Return events/s of the two handlers in one bare loop (see `handlers.py`)."""
    command = [sys.executable, str(Path(__file__).with_name("handlers.py")), "--seconds", str(seconds)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> int:
    """Run the benchmark; return 0 when the rate was carried and the verifier agrees."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=30_000, help="events offered a second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=None, help="where the data goes (default: a temporary folder)")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    backend = Backend(folder / "data").start()
    try:
        return measure(backend, arguments)
    finally:
        backend.stop()
        if arguments.folder is None:
            shutil.rmtree(folder)


def measure(backend: Backend, arguments: argparse.Namespace) -> int:
    """Load the backend, drain it, verify, print."""
    bodies = Bodies("events")
    send(backend.url, bodies, rate=2_000, duration_s=3)  # every process is up and warm
    wait_until(lambda: max(a["pending"] for a in backend.status()["functions"].values()) < 100_000, 60)
    samples: list[tuple[float, int]] = []
    done = threading.Event()
    sampler = threading.Thread(target=sample_backlog, args=(backend, samples, done))
    sampler.start()
    before, own, began = cpu_seconds(backend), time.process_time(), time.monotonic()
    ledger = send(
        backend.url, bodies, rate=arguments.rate, duration_s=arguments.seconds, connections=arguments.connections
    )
    elapsed = time.monotonic() - began
    after, own = cpu_seconds(backend), time.process_time() - own
    done.set()
    sampler.join()
    drain_began = time.monotonic()
    backend.settled(ledger.records, 600)
    drained = time.monotonic() - drain_began
    report = backend.status(verify=True)
    used = {role: after[role] - before.get(role, 0.0) for role in after} | {"load generator": own}
    show(ledger, elapsed, samples, used, drained)
    print(
        f"verifier: {'agrees' if report['verified'] else report['differences'][:5]}; items {report['table']['items']}"
    )
    bare = baseline(5)
    rate = ledger.records / elapsed
    print(f"the two handlers in one bare loop: {bare:,.0f} events/s; ratio {rate / bare:.2f}")
    steady = is_steady(samples, rate)
    print(f"RESULT {rate:,.0f} events/s, backlog {'steady' if steady else 'GROWING'}, verified {report['verified']}")
    return 0 if steady and report["verified"] else 1


def is_steady(samples: list[tuple[float, int]], rate: float) -> bool:
    """Return whether the backlog's trend over the run is under 2 % of the rate."""
    if len(samples) < 4:
        return False
    times = [at for at, _ in samples]
    slope = statistics.linear_regression(times, [float(backlog) for _, backlog in samples]).slope
    return slope < 0.02 * rate


def show(
    ledger: Ledger, elapsed: float, samples: list[tuple[float, int]], used: dict[str, float], drained: float
) -> None:
    """Print where the time went."""
    events = ledger.records
    latencies = sorted(ledger.latencies_s)
    print(f"{events:,} events in {elapsed:.1f} s, {os.cpu_count()} cores; drained in {drained:.1f} s")
    print(
        f"put latency ms: p50 {1000 * latencies[len(latencies) // 2]:.1f}, "
        f"p99 {1000 * latencies[len(latencies) * 99 // 100]:.1f}; late by at most {ledger.lag_s_max:.1f} s"
    )
    backlogs = [backlog for _, backlog in samples]
    thirds = [backlogs[i * len(backlogs) // 3 : (i + 1) * len(backlogs) // 3] for i in range(3)]
    print("backlog, median of each third:", *(f"{statistics.median(third):,.0f}" for third in thirds if third))
    print(f"{'process':<22}{'CPU us an event':>16}{'share of a core':>17}")
    for role, seconds in sorted(used.items(), key=lambda entry: -entry[1]):
        print(f"{role:<22}{1e6 * seconds / events:>16.2f}{seconds / elapsed:>16.0%}")
    print(f"{'total':<22}{1e6 * sum(used.values()) / events:>16.2f}{sum(used.values()) / elapsed:>16.0%}")


if __name__ == "__main__":
    sys.exit(main())
