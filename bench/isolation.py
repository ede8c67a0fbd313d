"""What others' faults cost: throughput and freshness of good devices beside poison, a bad device and a broken function.

    python bench/isolation.py

Phases take turns, several rounds of them, on the same load: nothing else; one poison record in 100,000; a device that
sends nothing but permanent faults, 100 a second; a third function that always fails (in a backend of its own, which is
idle otherwise). Throughput is what `store` was done with in a phase, freshness the time from a put's answer until the
event can be read in the table. A figure counts only if `status --verify` agrees in both backends afterwards.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from bodies import Bodies
from headrace.settings import Layout
from headrace.table.local import LocalTable
from support.backend import ROOT, Backend, backend
from support.load import send

BROKEN = """\
  Broken:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: broken
      Handler: broken.handler
      Events:
        Stream:
          Type: Kinesis
          Properties: {Stream: !GetAtt Events.Arn, StartingPosition: LATEST, BatchSize: 1000}

Outputs:
"""


class Phase(NamedTuple):
    """What a phase showed: events a second that `store` was done with, and the freshness of its probes in ms."""

    rate: float
    freshness_ms: list[float]


class Prober(threading.Thread):
    """Puts single events and looks for each in the table until it is there."""

    def __init__(self, running: Backend) -> None:
        super().__init__()
        self._kinesis = running.client("kinesis")
        self._table = LocalTable.connect("events", Layout(running.data.resolve()).table_socket)
        self._ended = threading.Event()
        self.freshness_ms: list[float] = []

    def run(self) -> None:
        with closing(self._table):
            while not self._ended.wait(0.02):
                self.freshness_ms.append(1000 * self._probe())

    def _probe(self) -> float:
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        device = f"probe-{time.perf_counter_ns()}"
        data = f'{{"device_id":"{device}","time":"{at}","id":"probe"}}'.encode()
        self._kinesis.put_record(StreamName="events", PartitionKey=device, Data=data)
        accepted_s = time.monotonic()
        while self._table.get(device, f"event#{at}#probe") is None:
            time.sleep(0.002)
        return time.monotonic() - accepted_s

    def end(self) -> list[float]:
        self._ended.set()
        self.join()
        return self.freshness_ms


class Nuisance(threading.Thread):
    """Puts records that are no events, `count` of them every `every_s` seconds; every device has its own key."""

    def __init__(self, running: Backend, count: int, every_s: float) -> None:
        super().__init__()
        self._kinesis = running.client("kinesis")
        self._records = [{"PartitionKey": "bad device", "Data": b"\xff no JSON %d" % n} for n in range(count)]
        self._every_s = every_s
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(self._every_s):
            self._kinesis.put_records(StreamName="events", Records=self._records)

    def end(self) -> None:
        self._ended.set()
        self.join()


def phase(running: Backend, bodies: Bodies, rate: float, seconds: float, nuisance: Nuisance | None) -> Phase:
    """Load the backend for a while, with a nuisance or without, and measure."""
    prober = Prober(running)
    for thread in (prober, nuisance):
        if thread is not None:
            thread.start()
    before, began_s = done(running), time.monotonic()
    send(running.url, bodies, rate=rate, duration_s=seconds)
    after, elapsed_s = done(running), time.monotonic() - began_s
    if nuisance is not None:
        nuisance.end()
    return Phase((after - before) / elapsed_s, prober.end())


def done(running: Backend) -> int:
    account: dict[str, Any] = running.status()["functions"]["store"]
    return int(account["processed"] + account["failed"])


def project(folder: Path) -> Path:
    """Return the template of a project with a third function, which always fails."""
    shutil.copytree(ROOT / "functions", folder / "functions")
    (folder / "functions/broken.py").write_text('def handler(event, context):\n    raise RuntimeError("always")\n')
    text = (ROOT / "template.yaml").read_text()
    template = folder / "template.yaml"
    template.write_text(text.replace("Outputs:\n", BROKEN, 1))
    return template


def p(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=20_000)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headrace-isolation-"))
    bodies = Bodies("events")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        plain = stack.enter_context(backend(folder / "plain"))
        third = stack.enter_context(backend(folder / "third", project(folder)))
        phases: dict[str, Callable[[], tuple[Backend, Nuisance | None]]] = {
            "nothing else": lambda: (plain, None),
            "one poison record in 100,000": lambda: (plain, Nuisance(plain, 1, 100_000 / options.rate)),
            "a device of faults alone": lambda: (plain, Nuisance(plain, 10, 0.1)),
            "a function that always fails": lambda: (third, None),
        }
        for running in (plain, third):
            send(running.url, bodies, rate=options.rate / 2, duration_s=3)  # every process is up and warm
        found: dict[str, list[Phase]] = {name: [] for name in phases}
        for _ in range(options.rounds):
            for name, make in phases.items():
                running, nuisance = make()
                found[name].append(phase(running, bodies, options.rate, options.seconds, nuisance))
        plain.settled(0, 120)
        verified = plain.status(verify=True)["verified"] and third.status(verify=True)["verified"]
    return report(found, verified)


def report(found: dict[str, list[Phase]], verified: bool) -> int:
    """Print each kind of phase beside the first; return 0 if none moved by more than 10 %."""
    rates = {name: statistics.median(each.rate for each in phases) for name, phases in found.items()}
    fresh = {name: statistics.median(p(each.freshness_ms, 0.5) for each in phases) for name, phases in found.items()}
    late = {name: statistics.median(p(each.freshness_ms, 0.99) for each in phases) for name, phases in found.items()}
    base, *_ = found
    print(f"{'beside':<32}{'events/s':>10}{'ratio':>7}{'p50 ms':>8}{'ratio':>7}{'p99 ms':>8}")
    for name in found:
        print(
            f"{name:<32}{rates[name]:>10,.0f}{rates[name] / rates[base]:>7.2f}"
            f"{fresh[name]:>8.1f}{fresh[name] / fresh[base]:>7.2f}{late[name]:>8.1f}"
        )
    held = all(rates[name] > 0.9 * rates[base] and fresh[name] < 1.1 * fresh[base] for name in found)
    print(f"RESULT {'nobody else is moved by 10 %' if held else 'MOVED by more than 10 %'}, verified {verified}")
    return 0 if held and verified else 1


if __name__ == "__main__":
    sys.exit(main())
