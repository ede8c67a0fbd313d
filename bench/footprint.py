"""How long `headrace up` takes until it is ready, and what all its processes hold in memory when idle (PSS).

Compared with an interpreter that does nothing: its start and its memory, measured in the same run.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bodies import Bodies
from support.backend import Backend, wait_until
from support.load import send

BARE = "import sys; print(sum(int(line.split()[1]) for line in open('/proc/self/smaps_rollup') if line[:4] == 'Pss:'))"


def memory_mb(backend: Backend) -> dict[str, float]:
    """Return the proportional set size of each process, in MB."""
    top = psutil.Process(backend.process.pid)
    return {
        "supervisor" if child is top else " ".join(child.cmdline()[-2:]): child.memory_full_info().pss / 1e6
        for child in [top, *top.children(recursive=True)]
    }


def bare() -> tuple[float, float]:
    """Return the seconds that a bare interpreter takes, and its memory in MB."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", BARE], check=True, capture_output=True, text=True)
    return time.monotonic() - began, int(done.stdout) / 1000


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=5)
    arguments = parser.parse_args()
    starts, bares = [], []
    for _ in range(arguments.starts):
        folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
        backend = Backend(folder / "data").start()
        starts.append(backend.start_s)
        bares.append(bare())
        backend.stop()
        shutil.rmtree(folder)
    start, alone = statistics.median(starts), statistics.median(seconds for seconds, _ in bares)
    print(f"ready after {start:.2f} s (median of {len(starts)}, most {max(starts):.2f}); ratio {start / alone:.0f}")
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    backend = Backend(folder / "data").start()
    wait_until(lambda: len(backend.pids("runtime.worker")) >= 3)
    time.sleep(3)  # the workers exist; now they finish their imports
    fresh = memory_mb(backend)
    ledger = send(backend.url, Bodies("events"), rate=10_000, duration_s=10)
    backend.settled(ledger.records, 120)
    time.sleep(40)  # workers beyond the first of a function are ended after 30 s without work
    worked = memory_mb(backend)
    backend.stop()
    shutil.rmtree(folder)
    one = statistics.median(memory for _, memory in bares)
    for when, figures in (("fresh", fresh), ("after 100,000 events", worked)):
        print(f"idle, {when}: {sum(figures.values()):.0f} MB in {len(figures)} processes; ", end="")
        print(f"{sum(figures.values()) / one:.0f} bare interpreters of {one:.1f} MB")
        for name, megabytes in sorted(figures.items(), key=lambda entry: -entry[1]):
            print(f"  {megabytes:6.1f}  {name}")


if __name__ == "__main__":
    main()
