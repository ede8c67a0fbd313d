"""How soon an accepted event can be read, and how long reads take: idle, and beside 60 % of 45,000 events/s.

Events are read where functions read them: from the table's process, an item by its key, and the ten newest of a device.
An event counts as readable when its item is found; looking starts with the answer to its put. The load flows through
both functions meanwhile, and `status --verify` compares everything afterwards. Beside the idle reads stand MiniStack's
GetItem and Query of the same items, and Headrace's own `latest` through HTTP and the function `device_api`.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from typing import Any

import probes
import wire
from bodies import Bodies
from headrace.event import SORT_END, SORT_START
from headrace.settings import Layout
from headrace.table.local import LocalTable
from peers import MINISTACK, installed, running
from results import Figure, Result, save, scratch
from support.backend import Backend
from support.load import Ledger, send

RATE = 27_000  # 60 % of 45,000
PRELOADED = 50_000
COMPARED = 500  # devices whose newest items MiniStack gets
DYNAMODB = "DynamoDB_20120810."
LATEST = "/2015-03-31/functions/device_api/invocations"


def percentile(values: list[float], share: float) -> float:
    """Return a percentile of sorted seconds, in ms."""
    return 1000 * values[min(len(values) - 1, int(share * len(values)))]


def pair(
    name: str,
    values: list[float],
    theirs: list[float] | None = None,
    most: tuple[float | None, float | None] = (None, None),
) -> list[Figure]:
    """Return p50 and p99 of sorted seconds, MiniStack's beside them, with the most that each should take (ms)."""
    return [
        Figure(
            name=f"{name}, p{100 * share:.0f}",
            value=percentile(values, share),
            unit="ms",
            beside={MINISTACK: percentile(theirs, share)} if theirs else {},
            most=bound,
        )
        for share, bound in zip((0.5, 0.99), most, strict=True)
    ]


def quantiles(values: list[float]) -> list[float]:
    """Return 1,000 quantiles of sorted seconds, in ms, for the plot."""
    return [round(percentile(values, place / 1000), 3) for place in range(1000)]


def over_wire(url: str, operation: str, body: Callable[[int], Any], seconds: float) -> list[float]:
    """Return the sorted seconds of requests one after the other on one connection."""
    ledger = send(
        url, lambda n: json.dumps(body(n)).encode(), per_request=1, duration_s=seconds, connections=1,
        operation=operation,
    )  # fmt: skip
    # A server may close a connection after so many requests; the same one is then sent again.
    assert ledger.errors < len(ledger.latencies_s) / 100, f"{ledger.errors} requests failed"
    return sorted(ledger.latencies_s)


def under_load(backend: Backend, layout: Layout, rate: float, seconds: float) -> tuple[Ledger, Any, Any]:
    """Load the backend while both probes run; return what was sent, the reads and the freshness."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(abs, range(64))  # both processes are there
        fresh = pool.apply_async(probes.freshness, (backend.url, layout.table_socket, seconds - 2))
        reads = pool.apply_async(probes.read, (layout.table_socket, seconds - 2, probes.PAUSE_S))
        ledger = send(backend.url, Bodies("events"), rate=rate, duration_s=seconds)
        return ledger, reads.get(120), fresh.get(120)


def ministack(table: LocalTable, seconds: float) -> dict[str, list[float]]:
    """Return the sorted seconds of GetItem and Query on MiniStack, which holds the same items of some devices."""
    names = installed(MINISTACK)
    if not names:
        return {}
    items = [item for device in range(COMPARED) for item in newest(table, f"device-{device:06d}")]
    with scratch() as folder, running(names, folder) as peers:
        url = peers[MINISTACK].url
        keys = [{"AttributeName": name, "KeyType": kind} for name, kind in (("device_id", "HASH"), ("sk", "RANGE"))]
        types = [{"AttributeName": name, "AttributeType": "S"} for name in ("device_id", "sk")]
        table_of = {"TableName": "events", "KeySchema": keys, "AttributeDefinitions": types}
        wire.call(url, DYNAMODB + "CreateTable", {**table_of, "BillingMode": "PAY_PER_REQUEST"})
        for item in items:
            whole = {"device_id": {"S": item.partition}, "sk": {"S": item.sort}, "at": {"S": item.attributes.decode()}}
            wire.call(url, DYNAMODB + "PutItem", {"TableName": "events", "Item": whole})

        def get(number: int) -> dict[str, Any]:
            item = items[number * 7919 % len(items)]
            return {"TableName": "events", "Key": {"device_id": {"S": item.partition}, "sk": {"S": item.sort}}}

        def query(number: int) -> dict[str, Any]:
            return {
                "TableName": "events",
                "KeyConditionExpression": "device_id = :d AND sk BETWEEN :a AND :b",
                "ExpressionAttributeValues": {
                    ":d": {"S": f"device-{number % COMPARED:06d}"}, ":a": {"S": SORT_START}, ":b": {"S": SORT_END}
                },
                "Limit": probes.NEWEST,
                "ScanIndexForward": False,
            }  # fmt: skip

        return {
            "point": over_wire(url, DYNAMODB + "GetItem", get, seconds),
            "newest": over_wire(url, DYNAMODB + "Query", query, seconds),
        }


def newest(table: LocalTable, device: str) -> list[Any]:
    """Return a device's ten newest items."""
    return table.query(device, SORT_START, SORT_END, probes.NEWEST, newest_first=True)


def latest(number: int) -> dict[str, str]:
    """Return a request for a device's newest event."""
    return {"operation": "latest", "device_id": f"device-{number * 7919 % probes.DEVICES:06d}"}


def main() -> int:
    """Measure; print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=RATE, help="events a second beside the reads")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--quick", action="store_true", help="for ten seconds, to see that it works")
    arguments = parser.parse_args()
    seconds, idle_s = (10.0, 1.0) if arguments.quick else (arguments.seconds, 4.0)
    with scratch() as folder:
        backend = Backend(folder / "data").start()
        layout = Layout(folder / "data")
        try:
            sent = send(backend.url, Bodies("events"), rate=10_000, duration_s=PRELOADED / 10_000).records
            backend.settled(sent, 120)
            time.sleep(2)  # RocksDB compacts in the background for a while, and does not tell when it has ended
            idle = probes.read(layout.table_socket, idle_s, 0.001)
            by_http = over_wire(backend.url, LATEST, latest, idle_s)
            ledger, busy, fresh = under_load(backend, layout, arguments.rate, seconds)
            backend.settled(sent + ledger.records, 300)
            report = backend.status(verify=True)
            table = LocalTable.connect("events", layout.table_socket)
            theirs = ministack(table, idle_s)
            table.close()
        finally:
            backend.stop()
    carried = ledger.records / seconds > 0.98 * arguments.rate
    load = f"beside {arguments.rate:,.0f} events/s"
    figures = [
        *pair(f"accepted to readable, {load}", fresh.took, most=(None, 300)),
        *pair("point read, idle", idle.point, theirs.get("point"), most=(None, 1)),
        *pair(f"point read, {load}", busy.point, most=(0.6, 6)),
        *pair("ten newest, idle", idle.newest, theirs.get("newest")),
        *pair(f"ten newest, {load}", busy.newest),
        *pair("latest by HTTP and device_api, idle", by_http),
    ]
    notes = [
        f"{len(fresh.took):,} events looked for, {len(idle.point):,} idle and {len(busy.point):,} reads beside load"
    ]
    if fresh.missing:
        notes.append(f"{fresh.missing} events never became readable")
    if not carried:
        notes.append(f"the load was not carried: {ledger.records / seconds:,.0f} events/s")
    if not report["verified"]:
        notes.append(f"status --verify: {report['differences'][:5]}")
    series = {
        "accepted to readable": quantiles(fresh.took),
        "point read": quantiles(busy.point),
        "ten newest": quantiles(busy.newest),
    }
    verified = bool(report["verified"]) and not fresh.missing and carried
    return save(
        Result(section="reads", figures=figures, verified=verified, notes=notes, series=series, quick=arguments.quick)
    )


if __name__ == "__main__":
    sys.exit(main())
