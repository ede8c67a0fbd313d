"""Events a second from PutRecords through both functions into table and archive, load generator on the same cores.

An event a record, 150 bytes, PutRecords of 500. The backlog (the larger of both functions' pending records) is sampled
every second: a rate is carried when the backlog does not grow. Afterwards everything is drained and `status --verify`
compares log, table and archive; a figure counts only if it agrees. Beside it runs what it is compared with: the same
two handlers called in a loop in one process over the same events, without stream, processes or durability.
"""

import argparse
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

import psutil

from bodies import Bodies
from results import Figure, Result, save, scratch
from support.backend import Backend, memory_mb, wait_until
from support.load import send

RATES = [46_000.0, 38_000.0]
MEMORY_EVERY = 5  # seconds: looking at memory costs some milliseconds


def cpu_seconds(backend: Backend) -> dict[str, float]:
    """Return the CPU seconds of each process of the backend so far, by role."""
    used: dict[str, float] = defaultdict(float)
    for child in psutil.Process(backend.process.pid).children(recursive=True):
        line = child.cmdline()
        role = " ".join(line[line.index("-m") + 1 :][:2]).removeprefix("headrace.").removeprefix("app ")
        times = child.cpu_times()
        used[role.removeprefix("runtime.")] += times.user + times.system
    return used


class Sampler(threading.Thread):
    """Looks every second at the backlog, and now and then at the memory (MB, PSS) of all processes together."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backlogs: list[tuple[float, int]] = []
        self.memory_mb = 0.0
        self._backend = backend
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(1.0):
            functions = self._backend.status()["functions"].values()
            self.backlogs.append((time.monotonic(), max(account["pending"] for account in functions)))
            if len(self.backlogs) % MEMORY_EVERY == 0:
                self.memory_mb = max(self.memory_mb, sum(memory_mb(self._backend).values()))

    def stop(self) -> None:
        """End it."""
        self._done.set()
        self.join()


def baseline(seconds: float) -> float:
    """Return events/s of the two handlers in one bare loop (see `handlers.py`)."""
    command = [sys.executable, str(Path(__file__).with_name("handlers.py")), "--seconds", str(seconds)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> int:
    """Run the benchmark; print and keep. A figure counts when the rate was carried and the verifier agrees."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rate", type=float, nargs="+", default=RATES, help="events offered a second; the first that is carried counts"
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="for ten seconds, to see that it works")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds = 10
    code = 1
    for rate in arguments.rate:
        with scratch() as folder:
            backend = Backend(folder / "data").start()
            try:
                code = measure(backend, arguments, rate)
            finally:
                backend.stop()
        if code == 0:
            break
    return code


def measure(backend: Backend, arguments: argparse.Namespace, rate: float) -> int:
    """Load the backend at a rate, drain it, verify; return 0 if it was carried."""
    bodies = Bodies("events")
    send(backend.url, bodies, rate=2_000, duration_s=3)  # every process is up and warm
    wait_until(lambda: max(a["pending"] for a in backend.status()["functions"].values()) < 100_000, 60)
    sampler = Sampler(backend)
    sampler.start()
    before, own, began = cpu_seconds(backend), time.process_time(), time.monotonic()
    ledger = send(backend.url, bodies, rate=rate, duration_s=arguments.seconds, connections=arguments.connections)
    elapsed = time.monotonic() - began
    after, own = cpu_seconds(backend), time.process_time() - own
    sampler.stop()
    drain_began = time.monotonic()
    backend.settled(ledger.records, 600)
    drained = time.monotonic() - drain_began
    report = backend.status(verify=True)
    steady = is_steady(sampler.backlogs, ledger.records / elapsed)
    used = {role: after[role] - before.get(role, 0.0) for role in after} | {"load generator": own}
    cpu_us = {role: 1e6 * seconds / ledger.records for role, seconds in used.items()}
    latencies = sorted(ledger.latencies_s)
    notes = [
        f"{ledger.records:,} events in {elapsed:.1f} s, at most {ledger.lag_s_max:.1f} s late; "
        f"backlog {'steady' if steady else 'GROWING'}, drained in {drained:.1f} s",
        *in_thirds(sampler.backlogs),
        f"CPU: {sum(used.values()) / elapsed:.0%} of a core, {sum(cpu_us.values()):.1f} us an event: "
        + ", ".join(f"{role} {each:.2f}" for role, each in sorted(cpu_us.items(), key=lambda one: -one[1])),
        f"verifier: {'agrees' if report['verified'] else report['differences'][:5]}",
    ]
    figures = [
        Figure(
            name="events through both functions",
            value=ledger.records / elapsed,
            unit="events/s",
            beside={"bare loop": baseline(2 if arguments.quick else 5)},
            least=45_000,
        ),
        Figure(name="latency of a put of 500, p50", value=1000 * latencies[len(latencies) // 2], unit="ms"),
        Figure(name="latency of a put of 500, p99", value=1000 * latencies[len(latencies) * 99 // 100], unit="ms"),
        Figure(name="peak memory of all processes", value=sampler.memory_mb, unit="MB"),
    ]
    return save(
        Result(
            section="end_to_end",
            figures=figures,
            verified=bool(report["verified"]) and (steady or arguments.quick),  # too short to tell
            notes=notes,
            series={"backlog": [(round(at - began, 1), backlog) for at, backlog in sampler.backlogs], "cpu_us": cpu_us},
            quick=arguments.quick,
        )
    )


def is_steady(samples: list[tuple[float, int]], rate: float) -> bool:
    """Return whether the backlog's trend over the run is under 2 % of the rate."""
    if len(samples) < 4:
        return False
    times = [at for at, _ in samples]
    slope = statistics.linear_regression(times, [float(backlog) for _, backlog in samples]).slope
    return slope < 0.02 * rate


def in_thirds(samples: list[tuple[float, int]]) -> list[str]:
    """Return a line with the backlog's median in each third of the run."""
    backlogs = [backlog for _, backlog in samples]
    thirds = [backlogs[i * len(backlogs) // 3 : (i + 1) * len(backlogs) // 3] for i in range(3)]
    return [
        "backlog, median of each third: " + " ".join(f"{statistics.median(third):,.0f}" for third in thirds if third)
    ]


if __name__ == "__main__":
    sys.exit(main())
