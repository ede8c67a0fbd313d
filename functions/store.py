"""Stores each event in the table and prints its readings as metrics.

Environment: EVENTS_TABLE; FAILURES_BUCKET; EVENTS_TTL_DAYS, from arrival (none: kept for ever); READINGS, the names of
those that become metrics, separated by commas.

Safe to repeat: an item's key is its event's identity. What will never be an event goes to the failures bucket, a
document each, and is done with. Whatever else goes wrong raises: the batch is then tried again as a whole.
"""

import os
from typing import Any

from headrace import clock, connect, emf, event
from headrace.event import Event, Fault, readings, rejection
from headrace.event.lambda_event import LambdaRecord

DAY_S = 86_400


def handler(batch: dict[str, Any], context: Any) -> None:
    events: list[Event] = []
    rejected: list[tuple[LambdaRecord, Fault]] = []
    for record in batch["Records"]:
        for found in event.decode(record):
            if isinstance(found, Event):
                events.append(found)
            else:
                rejected.append((record, found))
    store(events)
    rejection.reject(connect.bucket(os.environ["FAILURES_BUCKET"]), context.function_name, rejected)
    measure(events, len(rejected))


def store(events: list[Event]) -> None:
    ttl_s = int(os.environ.get("EVENTS_TTL_DAYS") or 0) * DAY_S
    items = [event.item(one, one.arrived_ms // 1000 + ttl_s if ttl_s else None) for one in events]
    connect.table(os.environ["EVENTS_TABLE"]).put(items)


def measure(events: list[Event], rejected: int) -> None:
    names = readings.names_of(os.environ.get("READINGS", ""))
    metrics = readings.columns(names, [one.readings for one in events])
    non_finite = sum(one.non_finite for one in events)
    counts = {"Events": [len(events)], "Rejected": [rejected], "NonFiniteReadings": [non_finite]}
    print("\n".join(emf.lines({**metrics, **counts}, clock.now_ms())))
