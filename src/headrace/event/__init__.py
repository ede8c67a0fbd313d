"""Events: what a stream record's data says, and how an event stands in the table.

    for found in event.decode(record):      # a record of the Lambda event, base64 and all
        if isinstance(found, Event):
            items.append(event.item(found, expires_at))
        else:
            ...                             # a Fault: this will never be an event

A record holds a JSON object, an array of them, or a KPL aggregate of either. An event's identity is (device, time, id):
decoding the same record again gives the same identities, always. `docs/formats.md` has the item and its sort key.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import msgspec
import pybase64
from msgspec import Raw

from headrace.event import aggregate, jsontext, times
from headrace.event.jsontext import Malformed
from headrace.event.lambda_event import LambdaRecord, arrival_ms
from headrace.table.base import ITEM_BYTES_MAX, PARTITION_BYTES_MAX, Item

AHEAD_MS_MAX = 5 * 60 * 1000  # a time further ahead of arrival is replaced by arrival
ID_BYTES_MAX = 256
FAULTS_MAX = 100  # named one by one in a record, or more while the record is small: see `_bounded`
FAULT_PAYLOAD_BYTES_MAX = 64 * 1024 * 1024
SORT_START, SORT_END = "event#", "event$"  # the sort keys of events, and no others, lie between

_TIME_END = len("event#YYYY-MM-DDTHH:MM:SS.ffffffZ")
_ONLY = ".000000.000000"  # the place of a record's only event
_SHORT = 64  # characters of UTF-8 that are within every limit
_SMALL = ITEM_BYTES_MAX // 2
_tuple = tuple.__new__
_string = msgspec.json.Decoder(str).decode


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event. `readings` and `device_time` are JSON as sent: no number is respelled."""

    device_id: str
    time: str  # canonical: times.py
    id: str
    arrived_ms: int
    readings: bytes  # an object: every member but device_id, time and id
    device_time: bytes | None = None  # what was sent as the time, where arrival replaced it
    flags: tuple[str, ...] = ()  # clock_ahead, non_finite
    non_finite: int = 0  # how many NaN and Infinity became null
    bytes_sent: int = 0  # of its own JSON as it came, without spaces around it


class Fault(msgspec.Struct, frozen=True):
    """Why something in a record will never be an event, and where: its place in the aggregate and in the array."""

    reason: str  # json, encoding, device_id, time, id or size
    message: str
    subsequence: int = 0
    index: int = 0


class _Arrival(NamedTuple):
    ms: int
    time: str
    latest: str  # the latest time that is believed


def decode(record: LambdaRecord) -> list[Event | Fault]:
    """Return the events of a record of the Lambda event, in order, with a fault in the place of each that is none."""
    kinesis = record["kinesis"]
    data = pybase64.b64decode(kinesis["data"])
    return decode_data(data, kinesis["partitionKey"], kinesis["sequenceNumber"], arrival_ms(record))


def decode_data(data: bytes, key: str, sequence: str, arrived_ms: int) -> list[Event | Fault]:
    """Return the events of a record as `decode` does, from its parts."""
    arrival = _arrival(arrived_ms)
    if data[:1] == b"{":
        try:
            return [_event(jsontext.members(data), len(data.rstrip()), key, sequence + _ONLY, arrival)]
        except Malformed:
            pass  # the long way finds out what is wrong
    return _bounded(_found(data, key, sequence, arrival), len(data))


@lru_cache(maxsize=1024)
def _arrival(ms: int) -> _Arrival:
    return _Arrival(ms, times.from_us(ms * 1000), times.from_us((ms + AHEAD_MS_MAX) * 1000))


def _found(data: bytes, key: str, sequence: str, arrival: _Arrival) -> Iterator[Event | Fault]:
    if not data.startswith(aggregate.MAGIC):
        yield from _documents(data, key, f"{sequence}.000000", arrival, 0)
        return
    try:
        user_records = aggregate.user_records(data)
    except aggregate.Broken as error:
        yield Fault("json", f"a broken KPL aggregate: {error}")
        return
    for subsequence, (user_key, user_data) in enumerate(user_records):
        yield from _documents(user_data, user_key, f"{sequence}.{subsequence:06d}", arrival, subsequence)


def _documents(text: bytes, key: str, place: str, arrival: _Arrival, subsequence: int) -> Iterator[Event | Fault]:
    """Yield what one text holds: an object's event, or those of an array."""
    nulls = jsontext.Nulls()
    try:
        try:
            elements = _elements_of(text)
        except Malformed:
            text, nulls = jsontext.without_non_finite(text)
            if not nulls:
                raise
            elements = _elements_of(text)
    except Malformed as refused:
        yield Fault(refused.reason, refused.message, subsequence)
        return
    for index, (start, end) in enumerate(jsontext.spans(text, elements)):
        element = text[start:end]
        size = len(element.strip()) - len(element) + nulls.sent_at(end) - nulls.sent_at(start)
        non_finite = nulls.count(start, end)
        try:
            yield _event(jsontext.members(element), size, key, f"{place}.{index:06d}", arrival, non_finite)
        except Malformed as fault:
            yield Fault(fault.reason, fault.message, subsequence, index)


def _elements_of(text: bytes) -> list[bytes]:
    """Return an array's elements, or the text itself if it is anything else that is strict JSON."""
    if text.lstrip()[:1] == b"[":
        return jsontext.elements(text)
    jsontext.check(text)
    return [text]


def _bounded(found: Iterable[Event | Fault], record_bytes: int) -> list[Event | Fault]:
    """Return all events, and faults until their documents, each with the whole record, come to a lot of bytes.

    The last fault then counts the rest: the record is in its document all the same.
    """
    faults_max = max(FAULTS_MAX, FAULT_PAYLOAD_BYTES_MAX // max(record_bytes, 1))
    kept: list[Event | Fault] = []
    faults = 0
    last = 0
    for one in found:
        if isinstance(one, Fault):
            faults += 1
            if faults > faults_max:
                continue
            last = len(kept)
        kept.append(one)
    if faults > faults_max:
        fault = kept[last]
        assert isinstance(fault, Fault)
        more = f"{fault.message} (and {faults - faults_max} more faults in this record)"
        kept[last] = msgspec.structs.replace(fault, message=more)
    return kept


def _event(
    members: dict[str, Raw], size: int, key: str, default_id: str, arrival: _Arrival, non_finite: int = 0
) -> Event:
    """Return the event of a JSON object's members; raises Malformed with the reason of the fault."""
    sent_device, sent_time, sent_id = members.pop("device_id", None), members.pop("time", None), members.pop("id", None)
    try:  # three plain strings: nearly every event
        device_id = key if sent_device is None else _string(sent_device)
        time = arrival.time if sent_time is None else times.from_text(_string(sent_time))
        identity = default_id if sent_id is None else _string(sent_id)
    except (msgspec.ValidationError, ValueError):
        device_id = _device_id(sent_device, key)
        time = _time(sent_time) or arrival.time
        identity = _id(sent_id, default_id)
    if not 0 < len(device_id) <= _SHORT:
        _check_length("device_id", device_id, PARTITION_BYTES_MAX)
    if sent_id is not None and not 0 < len(identity) <= _SHORT:
        _check_length("id", identity, ID_BYTES_MAX)
    device_time = None
    flags: tuple[str, ...] = ()
    if time > arrival.latest:
        time, device_time, flags = arrival.time, bytes(sent_time or b""), ("clock_ahead",)
    if non_finite:
        flags += ("non_finite",)
    if "measure" in members and "value" in members:
        _unfold(members)
    readings = jsontext.encode(members)
    event = Event(device_id, time, identity, arrival.ms, readings, device_time, flags, non_finite, size)
    if len(readings) > _SMALL or device_time:
        _check_size(event)
    return event


def _device_id(sent: Raw | None, key: str) -> str:
    try:
        return key if sent is None or bytes(sent) == b"null" else _string(sent)
    except msgspec.ValidationError:
        raise Malformed("device_id", f"device_id is {_shown(sent)}: send a string, or none") from None


def _id(sent: Raw | None, default: str) -> str:
    try:
        return default if sent is None else _string(sent)
    except msgspec.ValidationError:
        raise Malformed("id", f"id is {_shown(sent)}: send a string, or none") from None


def _check_length(name: str, text: str, bytes_max: int) -> None:
    size = len(text.encode())
    if not 1 <= size <= bytes_max:
        raise Malformed(name, f"{name} has {size:,} bytes: send 1 to {bytes_max:,} bytes of UTF-8")


def _time(sent: Raw | None) -> str | None:
    """Return the canonical time, or None where none was sent."""
    if sent is None:
        return None
    text = bytes(sent).decode()
    try:
        if text.startswith('"'):
            return times.from_text(_string(sent))
        return None if text == "null" else times.from_number(text)
    except ValueError as error:
        raise Malformed(
            "time", f"time is {_shown(sent)}, {error}: send RFC 3339 text or a number since 1970 in s, ms or us"
        ) from None


def _unfold(members: dict[str, Raw]) -> None:
    """Make the long form `"measure": m, "value": v` the member `m: v`, if m is a string that is not empty."""
    try:
        measure = _string(members["measure"])
    except msgspec.ValidationError:
        return
    if measure:
        del members["measure"]
        members[measure] = members.pop("value")


def _check_size(event: Event) -> None:
    made = item(event)
    size = len(made.partition.encode()) + len(made.sort.encode()) + len(made.attributes)
    if size > ITEM_BYTES_MAX:
        raise Malformed("size", f"an item of {size:,} bytes: an event may have {ITEM_BYTES_MAX:,} with its key")


def _shown(sent: Raw | None) -> str:
    text = bytes(sent or b"")
    return text.decode() if len(text) <= 60 else text[:60].decode(errors="ignore") + "…"


def sort_key(event: Event) -> str:
    """Return the sort key: one device's events order by (time, id), by UTF-8 bytes."""
    return f"event#{event.time}#{event.id}"


def item(event: Event, expires_at: int | None = None) -> Item:
    """Return the table's item; `expires_at` in epoch seconds."""
    attributes = b'{"arrived_at":"%b","readings":%b}' % (_arrived_at(event.arrived_ms), event.readings)
    if event.flags:
        device_time = b"" if event.device_time is None else b',"device_time":' + event.device_time
        attributes = b'%b%b,"flags":%b}' % (attributes[:-1], device_time, jsontext.encode(event.flags))
    # NamedTuple's own constructor takes twice the time of a tuple's.
    return _tuple(Item, (event.device_id, f"event#{event.time}#{event.id}", attributes, expires_at))


@lru_cache(maxsize=1024)
def _arrived_at(ms: int) -> bytes:
    return times.short(times.from_us(ms * 1000)).encode()


def public(item: Item) -> bytes:
    """Return the event of an item as it is shown: a JSON object, numbers as the device sent them."""
    time = times.short(item.sort[len(SORT_START) : _TIME_END])
    identity = item.sort[_TIME_END + 1 :]  # whatever it holds: the time before it has a fixed length
    return b'{"device_id":%b,"time":"%b","id":%b,%b' % (
        jsontext.encode(item.partition),
        time.encode(),
        jsontext.encode(identity),
        item.attributes[1:],
    )
