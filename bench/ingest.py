"""Records a second into a stream: Headrace with fdatasync before every answer, MiniStack, kinesalite, and a raw loop.

PutRecords of 500 events of 150 bytes with 1, 2, 4 and 8 requests under way, and single puts on 32 connections: the same
bodies for everyone, in turn, round after round; servers on one core, the load generator on another. The raw loop writes
frames that were made beforehand, of the same records, in groups of the size that Headrace's group commit had just
reached: one write and one fdatasync a group. It is what disk and format allow with nothing in front, and it grows with
the group, so its ratio depends on how many requests are under way. Beside the single puts stands a bare server, which
reads and keeps nothing: what sockets and event loop leave to any. A figure counts only if every acknowledged record is
then found in the stream: in the log's frames on the disk for Headrace, by GetRecords for the others.
"""

import argparse
import contextlib
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import psutil
import pybase64

import wire
from bare import bare_server
from bodies import Bodies, event
from flood import flood
from headrace.disk import DISK
from headrace.stream.reader import Reader
from headrace.stream.segment import Part, ShardState, encode_group
from peers import KINESALITE, MINISTACK, Peer, installed, running
from results import HEADRACE, LOAD_CORE, SERVER_CORE, Figure, Result, on_core, save, scratch
from support.backend import Backend
from support.load import request_bytes, send

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Resources:
  Unused: {Type: AWS::Kinesis::Stream, Properties: {Name: unused, ShardCount: 1}}
"""
SHARDS = 4
RAW, BARE = "raw loop", "bare server"
SINGLES = 4096  # different single puts
LOADS = [(500, 1), (500, 2), (500, 4), (500, 8), (1, 32)]

Load = tuple[int, int]  # records a request, requests under way


def single_body(number: int) -> bytes:
    """Return a PutRecord body."""
    key, data = event(number * 7919 % 10_000, number)
    return b'{"StreamName":"events","PartitionKey":"%b","Data":"%b"}' % (key.encode(), pybase64.b64encode(data))


def single(url: str, number: int) -> bytes:
    """Return a PutRecord request; as an SDK's, each has a signature of its own."""
    request = request_bytes(url, "PutRecord", single_body(number))
    return request.replace(b"Signature=00", b"Signature=%064x" % (number * 2**240 // 7))


def put(url: str, load: Load, seconds: float) -> tuple[int, float]:
    """Load the stream; return how many records were acknowledged, and how many a second."""
    per_request, connections = load
    with on_core(LOAD_CORE):
        if per_request == 1:
            requests = [single(url, number) for number in range(SINGLES)]
            records, elapsed = flood(url, requests, connections=connections, seconds=seconds)
            return records, records / elapsed
        began = time.monotonic()
        ledger = send(url, Bodies("events"), per_request=per_request, duration_s=seconds, connections=connections)
    assert ledger.errors == 0, f"{ledger.errors} requests failed"
    return ledger.records, ledger.records / (time.monotonic() - began)


def headrace(backend: Backend, load: Load, seconds: float) -> dict[str, float]:
    """Return one run's records/s, the gateway's CPU a record, and the mean group; on a stream of its own."""
    wire.create_stream(backend.url, SHARDS)
    gateway = backend.pids("headrace.app gateway")[0]
    cpu = cpu_s(gateway)
    records, rate = put(backend.url, load, seconds)
    used, stats = cpu_s(gateway) - cpu, backend.get("/_headrace/streams")[wire.STREAM]
    reader = Reader(backend.data / "streams" / wire.STREAM)
    held = sum(frame.count for shard in range(SHARDS) for frame in reader.next_frames(0, shard, sys.maxsize))
    reader.close()
    wire.delete_stream(backend.url)
    return {
        "rate": rate,
        "cpu_us": 1e6 * used / records,
        "group": stats["records"] / stats["commits"],
        "lost": records - held,
    }


def other(peer: Peer, load: Load, seconds: float) -> dict[str, float]:
    """Return one run's records/s and CPU a record, on a stream of its own."""
    wire.create_stream(peer.url, SHARDS)
    cpu = cpu_s(peer.process.pid)
    records, rate = put(peer.url, load, seconds)
    used = cpu_s(peer.process.pid) - cpu
    held = wire.held(peer.url)
    wire.delete_stream(peer.url)
    return {"rate": rate, "cpu_us": 1e6 * used / records, "lost": records - held}


def bare(load: Load, seconds: float) -> float:
    """Return the answers a second of a server that does nothing (`bare.py`)."""
    with contextlib.ExitStack() as stack:
        with on_core(SERVER_CORE):
            url = stack.enter_context(bare_server())
        return put(url, load, seconds)[1]


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def raw_loop(folder: Path, group: int, seconds: float) -> float:
    """Return records/s of writing and syncing a group of `group` records of four shards, over and over."""
    records = [event(n * 7919 % 10_000, n) for n in range(group)]
    parts = {
        shard: Part([key.encode() for key, _ in records[shard::SHARDS]], [data for _, data in records[shard::SHARDS]])
        for shard in range(min(SHARDS, group))
    }
    frames, _ = encode_group(parts, 0, 1, {shard: ShardState(0, 0) for shard in parts}, 1_700_000_000_000)
    path = folder / "raw"
    file = DISK.open(path, create=True)
    with on_core(SERVER_CORE):
        began, count = time.monotonic(), 0
        while (elapsed := time.monotonic() - began) < seconds:
            file.write_at(count * len(frames), frames)
            file.sync()
            count += 1
    file.close()
    path.unlink()
    return count * group / elapsed


Runs = dict[tuple[str, Load], list[dict[str, float]]]


def measure(rounds: int, seconds: float) -> Runs:
    """Run everyone in turn, `rounds` times."""
    runs: Runs = defaultdict(list)
    with scratch() as folder, running(installed(MINISTACK, KINESALITE), folder) as peers:
        (folder / "template.yaml").write_text(TEMPLATE)
        with on_core(SERVER_CORE):
            backend = Backend(folder / "data", folder / "template.yaml").start()
        for peer in peers.values():
            peer.pin(SERVER_CORE)
        try:
            for _ in range(rounds):
                for load in LOADS:
                    run = headrace(backend, load, seconds)
                    run[RAW] = raw_loop(folder, max(1, round(run["group"])), seconds / 2)
                    if load[0] == 1:
                        run[BARE] = bare(load, seconds / 2)
                    runs[HEADRACE, load].append(run)
                    for name, peer in peers.items():
                        runs[name, load].append(other(peer, load, seconds))
        finally:
            backend.stop()
    return runs


def middle(runs: list[dict[str, float]], name: str) -> float:
    """Return the median of one figure."""
    return statistics.median(run[name] for run in runs)


def figure(runs: Runs, load: Load) -> Figure:
    """Return one load's figure."""
    own = runs[HEADRACE, load]
    others = {name: middle(found, "rate") for (name, each), found in runs.items() if each == load and name != HEADRACE}
    batches = load[0] > 1
    return Figure(
        name=f"batches of 500, {load[1]} under way" if batches else "single puts on 32 connections",
        value=middle(own, "rate"),
        unit="records/s",
        beside={**others, RAW: middle(own, RAW)} | ({} if batches else {BARE: middle(own, BARE)}),
        ratio_to={MINISTACK: 10, RAW: 0.25} if batches else {MINISTACK: 20},
    )


def main() -> int:
    """Measure; print and keep medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it works")
    arguments = parser.parse_args()
    rounds, seconds = (1, 1.0) if arguments.quick else (arguments.rounds, arguments.seconds)
    runs = measure(rounds, seconds)
    figures = [figure(runs, load) for load in LOADS]
    notes = [
        f"{each.name}: groups of {middle(runs[HEADRACE, load], 'group'):,.0f} records; CPU a record in us: "
        + ", ".join(f"{name} {middle(found, 'cpu_us'):.3g}" for (name, those), found in runs.items() if those == load)
        for each, load in zip(figures, LOADS, strict=True)
    ]
    lost = {name: sum(run["lost"] for run in found) for (name, _), found in runs.items()}
    notes += [f"{name}: {count:+,.0f} records are not there" for name, count in lost.items() if count]
    verified = not any(lost.values())
    return save(Result(section="ingest", figures=figures, verified=verified, notes=notes, quick=arguments.quick))


if __name__ == "__main__":
    sys.exit(main())
