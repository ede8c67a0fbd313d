"""The table process alone: cost of a row, reads when idle and beside writes, memory, bytes a row.

Rows of about 150 bytes from 100,000 devices in the order of time, as events come. Every put is fsynced before its
answer; CPU is that of the whole process, flushes and compactions included.
"""

import argparse
import json
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

import bodies  # noqa: F401  (puts the tests on the path)
from headrace import rpc
from headrace.table.base import Item
from headrace.table.local import LocalTable
from support.table import table_process

DEVICES = 100_000
ATTRIBUTES = '{"arrived_at":"2026-11-23T14:53:55.123Z","readings":{"temperature":%d.%02d,"humidity":%d.%d}}'


def rows(start: int) -> Iterator[Item]:
    """Yield events from the `start`-th on."""
    device = random.Random(start)
    number = start
    while True:
        clock = f"{number // 3_600_000 % 24:02}:{number // 60_000 % 60:02}:{number // 1000 % 60:02}.{number % 1000:03}"
        yield Item(
            f"device-{device.randrange(DEVICES):05}",
            f"event#2026-11-23T{clock}000Z#49580{number:012}",
            (ATTRIBUTES % (number % 40, number % 100, number % 90, number % 10)).encode(),
            1_900_000_000 + number // 1000,
        )
        number += 1


def cpu_s(pid: int) -> float:
    """Return the CPU seconds a process has used, all threads."""
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


def pss_mb(pid: int) -> float:
    """Return the memory of a process, with its part of what is shared."""
    return float(psutil.Process(pid).memory_full_info().pss) / 2**20


def write(table: LocalTable, pid: int, count: int, batch: int, rate: float | None = None) -> dict[str, float]:
    """Put `count` rows in batches, at `rate` a second or as fast as it goes."""
    source = rows(count)
    used, client_s, began, took = cpu_s(pid), 0.0, time.monotonic(), []
    for done in range(0, count, batch):
        items = [next(source) for _ in range(batch)]
        if rate:
            time.sleep(max(0.0, done / rate - (time.monotonic() - began)))
        started, started_cpu = time.monotonic(), time.thread_time()
        table.put(items)
        client_s += time.thread_time() - started_cpu
        took.append(time.monotonic() - started)
    return {
        "rows_s": count / (sum(took) if rate is None else time.monotonic() - began),
        "server_us_row": 1e6 * (cpu_s(pid) - used) / count,
        "client_us_row": 1e6 * client_s / count,
        "put_p50_ms": 1000 * statistics.median(took),
    }


def read(socket: Path, seconds: float, pause_s: float) -> dict[str, float]:
    """Read for a while: half of it items by key, half the ten newest of a device."""
    table = LocalTable.connect("events", socket)
    device = random.Random(7)
    took: dict[str, list[float]] = {"get": [], "newest10": []}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        partition = f"device-{device.randrange(DEVICES):05}"
        started = time.monotonic()
        table.get(partition, "event#2026")
        between = time.monotonic()
        table.query(partition, "event#", "event$", 10, newest_first=True)
        took["newest10"].append(time.monotonic() - between)
        took["get"].append(between - started)
        time.sleep(pause_s)
    table.close()
    figures = {}
    for name, times in took.items():
        times.sort()
        figures[f"{name}_p50_ms"] = 1000 * times[len(times) // 2]
        figures[f"{name}_p99_ms"] = 1000 * times[int(len(times) * 0.99)]
    return figures


def rounded(figures: Any) -> Any:
    """Return figures with two decimals."""
    if isinstance(figures, dict):
        return {name: rounded(value) for name, value in figures.items()}
    return round(figures, 2)


def main() -> None:
    """Measure and print a JSON object."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rate", type=float, default=30_000)
    options.add_argument("--seconds", type=float, default=15)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name, table_process(Path(name, "table"), Path(name, "s")) as process:
        table = process.table()
        figures: dict[str, Any] = {"idle_mb": pss_mb(process.pid)}
        for batch in (500, 5000):
            figures[f"put_{batch}"] = write(table, process.pid, chosen.rows // 2 // batch * batch, batch)
        time.sleep(2)
        figures["after_writes_mb"] = pss_mb(process.pid)
        client = rpc.Client(process.socket)
        stats = rpc.decode(client.call("stats"))["tables"]["events"]
        figures["bytes_row"] = stats["bytes"] / stats["items"]
        figures["reads_idle"] = read(process.socket, 3, 0)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            beside = pool.apply_async(read, (process.socket, chosen.seconds, 0.005))
            count = int(chosen.rate * chosen.seconds) // 500 * 500
            figures["put_500_paced"] = write(table, process.pid, count, 500, chosen.rate)
            figures["reads_beside_writes"] = beside.get()
        table.close()
    print(json.dumps(rounded(figures), indent=2))


if __name__ == "__main__":
    main()
