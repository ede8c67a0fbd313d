"""What an acknowledged put survives: how many syncs 100 puts cost, and whether they are there after a SIGKILL.

Syncs are counted by strace (fsync, fdatasync, msync, sync_file_range, syncfs, and those that the kernel is asked for by
io_submit, of all threads and processes); without it that figure is left out. A record that was not synced may survive
the end of its process, not that of the machine.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil

import wire
from ingest import TEMPLATE, single_body
from peers import KINESALITE, MINISTACK, Peer, installed
from results import HEADRACE, Figure, Result, save, scratch
from support.backend import Backend, wait_until

PUTS = 100
SYNCS = "fsync,fdatasync,msync,sync_file_range,syncfs,sync,io_submit"
_SYNC = re.compile(r"sync\w*\(|IOCB_CMD_FD?SYNC")


def puts(url: str) -> None:
    """Put records, one after the other: each is acknowledged before the next is sent."""
    for number in range(PUTS):
        wire.call(url, "PutRecord", single_body(number))


def syncs(pid: int, url: str, folder: Path) -> int | None:
    """Return how many times the processes under `pid` sync while records are put; None where strace can't look."""
    if shutil.which("strace") is None:
        return None
    top = psutil.Process(pid)
    found = folder / "syncs"
    command = ["strace", "-f", "-qq", "-e", f"trace={SYNCS}", "-e", "signal=none", "-o", str(found)]
    for process in [top, *top.children(recursive=True)]:
        command += ["-p", str(process.pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: tracer.poll() is not None or _traced([top, *top.children(recursive=True)]), 10, 0.02)
        if tracer.poll() is not None:
            return None
        before = _count(found)
        puts(url)
        return _count(found) - before
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait()


def _traced(processes: list[psutil.Process]) -> bool:
    """Return whether strace has all threads of the processes: it attaches to one after the other."""
    threads = [path for each in processes for path in Path(f"/proc/{each.pid}/task").glob("*/status")]
    return all("TracerPid:\t0\n" not in path.read_text() for path in threads)


def _count(found: Path) -> int:
    return len(_SYNC.findall(found.read_text())) if found.exists() else 0


def headrace(folder: Path) -> tuple[int | None, int]:
    """Return the syncs of 100 puts, and how many of 100 puts are there after a SIGKILL and a new start."""
    (folder / "template.yaml").write_text(TEMPLATE)
    backend = Backend(folder / "data", folder / "template.yaml").start()
    wire.create_stream(backend.url)
    counted = syncs(backend.process.pid, backend.url, folder)
    before = wire.held(backend.url)
    puts(backend.url)
    backend.kill_all()
    backend = Backend(folder / "data", folder / "template.yaml").start()
    try:
        return counted, wire.held(backend.url) - before
    finally:
        backend.stop()


def other(name: str, folder: Path) -> tuple[int | None, int]:
    """Return the same of a peer."""
    peer = Peer(name, folder)
    wire.create_stream(peer.url)
    counted = syncs(peer.process.pid, peer.url, folder)
    before = wire.held(peer.url)
    puts(peer.url)
    os.kill(peer.process.pid, signal.SIGKILL)
    peer.stop()
    peer = Peer(name, folder)
    try:
        with contextlib.suppress(OSError):  # where there is no such stream any more
            return counted, wire.held(peer.url) - before
        return counted, 0
    finally:
        peer.stop()


def main() -> int:
    """Measure; print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same: it is quick")
    arguments = parser.parse_args()
    found = {}
    with scratch() as folder:
        found[HEADRACE] = headrace(folder)
        for name in installed(MINISTACK, KINESALITE):
            found[name] = other(name, folder)
    counts = {name: float(counted) for name, (counted, _) in found.items() if counted is not None}
    survived = {name: float(there) for name, (_, there) in found.items()}
    figures = [
        Figure(name="of 100 puts, there after SIGKILL", value=survived.pop(HEADRACE), unit="records", least=PUTS)
    ]
    figures[0].beside = survived
    notes = []
    if HEADRACE in counts:
        own = counts.pop(HEADRACE)
        figures.insert(0, Figure(name="syncs of 100 puts", value=own, unit="syncs", beside=counts, least=PUTS))
    else:
        notes.append("syncs were not counted: strace is missing, or may not look at processes here")
    verified = not any(figure.misses() for figure in figures)
    return save(Result(section="durability", figures=figures, verified=verified, notes=notes, quick=arguments.quick))


if __name__ == "__main__":
    sys.exit(main())
