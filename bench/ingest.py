"""Records a second into the stream, fsync before every answer, beside a raw loop that writes the same frames.

PutRecords of 500 events of 150 bytes, then single puts on 32 connections; the gateway has one core, the load generator
the other. The raw loop writes frames of the same records in groups of the size that the group commit reached, one write
and one fdatasync a group: what the disk and the format allow with nothing in front. The figures count only if the
stream then holds exactly what was acknowledged.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pybase64

from bodies import Bodies, event
from headrace.disk import DISK
from headrace.stream.segment import Part, ShardState, encode_group
from support.backend import Backend
from support.load import send

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Resources:
  Events: {Type: AWS::Kinesis::Stream, Properties: {Name: events, ShardCount: 4}}
"""


def single_body(number: int) -> bytes:
    """Return a PutRecord body."""
    key, data = event(number * 7919 % 10_000, number)
    return b'{"StreamName":"events","PartitionKey":"%b","Data":"%b"}' % (key.encode(), pybase64.b64encode(data))


def load(backend: Backend, per_request: int, seconds: float) -> dict[str, float]:
    """Return the records/s, the CPU of the gateway a record, and the mean group of one run."""
    gateway = psutil.Process(backend.pids("headrace.app gateway")[0])
    gateway.cpu_affinity([0])
    before, cpu = backend.get("/_headrace/streams")["events"], gateway.cpu_times()
    accepted = backend.status()["accepted"]
    began = time.monotonic()
    if per_request > 1:
        ledger = send(backend.url, Bodies("events", per_request), duration_s=seconds, connections=8)
    else:
        ledger = send(
            backend.url, single_body, per_request=1, duration_s=seconds, connections=32, operation="PutRecord"
        )
    elapsed = time.monotonic() - began
    after, used = backend.get("/_headrace/streams")["events"], gateway.cpu_times()
    held = backend.status()["accepted"] - accepted
    assert held == ledger.records and ledger.errors == 0, f"acknowledged {ledger.records}, the stream holds {held}"
    return {
        "rate": ledger.records / elapsed,
        "cpu_us": 1e6 * (used.user + used.system - cpu.user - cpu.system) / ledger.records,
        "group": (after["records"] - before["records"]) / (after["commits"] - before["commits"]),
        "p50_ms": 1000 * statistics.median(ledger.latencies_s),
    }


def raw_loop(folder: Path, group: int, seconds: float) -> float:
    """Return records/s of writing and syncing a group of `group` records of four shards, over and over."""
    records = [event(n * 7919 % 10_000, n) for n in range(group)]
    parts = {
        shard: Part([key.encode() for key, _ in records[shard::4]], [data for _, data in records[shard::4]])
        for shard in range(min(4, group))
    }
    frames, _ = encode_group(parts, 0, 1, {shard: ShardState(0, 0) for shard in parts}, 1_700_000_000_000)
    file = DISK.open(folder / "raw", create=True)
    os.sched_setaffinity(0, [0])
    began, count = time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < seconds:
        file.write_at(count * len(frames), frames)
        file.sync()
        count += 1
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    file.close()
    return count * group / elapsed


def main() -> int:
    """Run both loads in turn with their raw loops; print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    (folder / "template.yaml").write_text(TEMPLATE)
    backend = Backend(folder / "data", folder / "template.yaml").start()
    try:
        for per_request in (500, 1):
            rounds = []
            for _ in range(arguments.rounds):
                run = load(backend, per_request, arguments.seconds)
                run["raw"] = raw_loop(folder, max(1, round(run["group"])), arguments.seconds / 2)
                rounds.append(run)
            middle = {name: statistics.median(run[name] for run in rounds) for name in rounds[0]}
            ratio = statistics.median(run["rate"] / run["raw"] for run in rounds)
            print(
                f"{'batches of 500' if per_request > 1 else 'single puts, 32 connections'}: "
                f"{middle['rate']:,.0f} records/s ({middle['cpu_us']:.1f} us of the gateway a record, "
                f"groups of {middle['group']:,.0f}, p50 {middle['p50_ms']:.1f} ms); "
                f"raw loop {middle['raw']:,.0f} records/s; ratio {ratio:.2f}; verified"
            )
    finally:
        backend.stop()
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
