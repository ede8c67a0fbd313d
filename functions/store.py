"""Stores each event in the table and prints its readings as metrics.

Environment: EVENTS_TABLE; FAILURES_BUCKET; EVENTS_TTL_DAYS, from arrival (none: kept for ever); READINGS, the names of
those that become metrics, separated by commas; DEVICES_TABLE (none: no registry); REGISTER_DEVICES, `false` if devices
are not to be registered on their first event; METRICS_NAMESPACE, where two systems share an account.

Safe to repeat: an item's key is its event's identity. What will never be an event goes to the failures bucket, a
document each, and is done with. Where the table has no capacity left in time, the records up to there are done with and
the rest is reported; whatever else goes wrong raises: the batch is then tried again as a whole. Events of a device that
was erased since they arrived are left out.
"""

import os
from typing import Any

from headrace import clock, connect, emf, event
from headrace.errors import Throttled, Unavailable
from headrace.event import Event, Fault, readings, rejection
from headrace.event.lambda_event import LambdaRecord, arrival_ms
from headrace.registration import Registration
from headrace.table.base import Table

DAY_S = 86_400
_registrations: dict[int, Registration] = {}

Decoded = list[tuple[LambdaRecord, list[Event | Fault]]]


def handler(batch: dict[str, Any], context: Any) -> dict[str, Any] | None:
    connect.lasts_as(context)
    registration = registration_of()
    decoded: Decoded = [(record, event.decode(record)) for record in batch["Records"]]
    if registration is not None and registration.has_erased:
        decoded = [(record, kept_of(registration, record, found)) for record, found in decoded]
    stored = store(decoded, registration)
    done = decoded[:stored]
    events = events_of(done)
    rejected = [(record, fault) for record, found in done for fault in found if isinstance(fault, Fault)]
    rejection.reject(connect.bucket(os.environ["FAILURES_BUCKET"]), context.function_name, rejected)
    measure(events, len(rejected))
    if stored == len(decoded):
        return None
    return {"batchItemFailures": [{"itemIdentifier": decoded[stored][0]["kinesis"]["sequenceNumber"]}]}


def store(decoded: Decoded, registration: Registration | None) -> int:
    """Store the records' events; return how many records, from the first, have all of theirs stored."""
    table = connect.table(os.environ["EVENTS_TABLE"])
    ttl_s = int(os.environ.get("EVENTS_TTL_DAYS") or 0) * DAY_S
    events = events_of(decoded)
    stored = len(decoded)
    try:
        table.put([event.item(one, one.arrived_ms // 1000 + ttl_s if ttl_s else None) for one in events])
    except (Throttled, Unavailable) as error:
        stored = before_unwritten(decoded, error)
        if not stored:
            raise
        print(f"[WARNING] Stored {stored} of {len(decoded)} records. {error}")
    if registration is not None and events:  # any of them may be written
        register(events, registration)
        if news := registration.news():
            forget([one for one in events if one.device_id in news], registration, table)
    return stored


def events_of(decoded: Decoded) -> list[Event]:
    return [one for _, found in decoded for one in found if isinstance(one, Event)]


def before_unwritten(decoded: Decoded, error: Throttled | Unavailable) -> int:
    """Return how many records come before the first with an event that was not written."""
    if error.unwritten is not None:
        for place, (_, found) in enumerate(decoded):
            for one in found:
                if isinstance(one, Event) and (one.device_id, event.sort_key(one)) in error.unwritten:
                    return place
    return 0


def register(events: list[Event], registration: Registration) -> None:
    is_wanted = os.environ.get("REGISTER_DEVICES", "true").lower() != "false"
    if is_wanted and not registration.knows({one.device_id for one in events}):
        registration.register({one.device_id: one.arrived_ms for one in reversed(events)})  # the first one's arrival


def forget(events: list[Event], registration: Registration, table: Table) -> None:
    """Take back what was put of devices that are being erased; what arrived after that stays, of a new device."""
    left = kept(registration, events)
    gone = set(map(id, events)) - set(map(id, left))
    table.delete([(one.device_id, event.sort_key(one)) for one in events if id(one) in gone])
    registration.unregister({one.device_id for one in events})
    register(left, registration)


def kept(registration: Registration, events: list[Event]) -> list[Event]:
    return [one for one in events if not registration.is_erased(one.device_id, one.arrived_ms)]


def kept_of(registration: Registration, record: LambdaRecord, found: list[Event | Fault]) -> list[Event | Fault]:
    """Return what a record holds without what is from a device that was erased since."""
    is_from_erased = registration.is_erased(record["kinesis"]["partitionKey"], arrival_ms(record))
    left: list[Event | Fault] = []
    for one in found:
        gone = registration.is_erased(one.device_id, one.arrived_ms) if isinstance(one, Event) else is_from_erased
        if not gone:
            left.append(one)
    return left


def registration_of() -> Registration | None:
    """Return what this process knows of the registry; it is kept as long as the process lives."""
    name = os.environ.get("DEVICES_TABLE")
    if not name:
        return None
    table = connect.table(name)
    found = _registrations.get(id(table))
    if found is None:
        found = Registration(table)
        _registrations.clear()
        _registrations[id(table)] = found
    return found


def measure(events: list[Event], rejected: int) -> None:
    names = readings.names_of(os.environ.get("READINGS", ""))
    metrics = readings.columns(names, [one.readings for one in events])
    non_finite = sum(one.non_finite for one in events)
    namespace = os.environ.get("METRICS_NAMESPACE", emf.NAMESPACE)
    counts = {"Events": [len(events)], "Rejected": [rejected], "NonFiniteReadings": [non_finite]}
    print("\n".join(emf.lines({**metrics, **counts}, clock.now_ms(), namespace)))
