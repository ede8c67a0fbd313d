"""Answers devices directly: their latest event, history, aggregates and configuration, and takes the state they report.

Environment: EVENTS_TABLE, DEVICES_TABLE.

Called by direct invoke or through the function URL; `headrace.device_request` reads both and lists the operations.
Config is what a device is wanted to be, state is what it says it is; each has a version that counts its writes. The
answers are made as JSON text: what goes out by HTTP has every number as it was sent.
"""

import os
from collections.abc import Callable
from typing import Any

import msgspec

from headrace import clock, connect, event
from headrace.device_request import Refused, Request, by_http, by_invoke, cursor_of, is_by_http
from headrace.errors import Conflict, UsageError
from headrace.event import SORT_END, SORT_START, jsontext, times
from headrace.table.base import Item, Table

PAGE = 100  # events read at a time
ANSWER_BYTES_MAX = 1024 * 1024  # of events in one answer, which may grow fourfold on its way; Lambda lets 6 MB out
TRIES_MAX = 100  # of a write without an expected version, among others at the same item


def handler(payload: Any, context: Any) -> Any:
    connect.lasts_as(context)
    is_http = is_by_http(payload)
    try:
        request = by_http(payload) if is_http else by_invoke(payload)
        answer = answer_of(request)
    except Refused as refused:
        error = {"error": refused.word, "message": refused.message}
        return http(refused.status, jsontext.encode(error)) if is_http else {"statusCode": refused.status, **error}
    return http(200, answer) if is_http else jsontext.parse(answer)


def http(status: int, body: bytes) -> dict[str, Any]:
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": body.decode()}


def answer_of(request: Request) -> bytes:
    operation = OPERATIONS.get(request.operation)
    if operation is None:
        raise Refused(400, f"operation {request.operation!r}: send one of {', '.join(sorted(OPERATIONS))}")
    return operation(request)


def latest(request: Request) -> bytes:
    device_id = request.device_id()
    found = events_table().query(device_id, SORT_START, SORT_END, 1, newest_first=True)
    if not found:
        raise Refused(404, f"there is no event of {device_id!r}")
    return event.public(found[0])


def history(request: Request) -> bytes:
    device_id, newest, limit = request.device_id(), request.newest(), request.limit()
    start_time, end_time, cursor = request.time("from"), request.time("to"), request.cursor()
    start = SORT_START + start_time if start_time else SORT_START
    end = SORT_START + end_time if end_time else SORT_END
    if cursor and newest:
        end = min(end, SORT_START + cursor)
    elif cursor:
        start = max(start, SORT_START + cursor + "\0")
    found = read(device_id, start, end, limit + 1, newest)
    shown = fitting(found[:limit])
    more = len(found) > len(shown)
    following = jsontext.encode(cursor_of(shown[-1].sort.removeprefix(SORT_START), newest) if more else None)
    return b'{"events":[%b],"cursor":%b}' % (b",".join(map(event.public, shown)), following)


def aggregates(request: Request) -> bytes:
    """Answer the aggregates of a period that jobs have written, in the order of their start, then of their reading."""
    device_id, newest, limit = request.device_id(), request.newest(), request.limit()
    prefix, reading = f"aggregate#{request.period()}#", request.reading()
    start_time, end_time, cursor = request.time("from"), request.time("to"), request.cursor()
    start, end = prefix + (start_time or ""), prefix + end_time if end_time else prefix[:-1] + "$"
    if cursor and newest:
        end = min(end, prefix + cursor)
    elif cursor:
        start = max(start, prefix + cursor + "\0")
    found: list[Item] = []
    while start < end and len(found) <= limit:
        page = events_table().query(device_id, start, end, PAGE, newest)
        found += [item for item in page if reading in (None, place_of(item)[1])]
        if len(page) < PAGE:
            break
        start, end = (start, page[-1].sort) if newest else (page[-1].sort + "\0", end)
    shown = found[:limit]
    following = jsontext.encode(cursor_of("#".join(place_of(shown[-1])), newest) if len(found) > limit else None)
    return b'{"aggregates":[%b],"cursor":%b}' % (b",".join(map(aggregate, shown)), following)


def place_of(item: Item) -> tuple[str, str]:
    """Return the start and the reading of an aggregate, from `aggregate#<period>#<start>#<reading>`."""
    _, _, start, reading = item.sort.split("#", 3)
    return start, reading


def aggregate(item: Item) -> bytes:
    start, reading = place_of(item)
    own = {"device_id": item.partition, "period": item.sort.split("#", 2)[1], "start": times.short(start)}
    return jsontext.encode(
        {**own, "reading": reading, **msgspec.json.decode(item.attributes, type=dict[str, msgspec.Raw])}
    )


def read(device_id: str, start: str, end: str, count: int, newest: bool) -> list[Item]:
    """Return up to `count` events, or fewer once they are more than one answer can hold."""
    found: list[Item] = []
    while start < end:
        wanted = min(count - len(found), PAGE)
        page = events_table().query(device_id, start, end, wanted, newest)
        found += page
        if len(page) < wanted or len(found) == count or len(fitting(found)) < len(found):
            break
        start, end = (start, page[-1].sort) if newest else (page[-1].sort + "\0", end)
    return found


def fitting(items: list[Item]) -> list[Item]:
    """Return the first of the items that fit into one answer: at least one, if there is one."""
    size = 0
    for count, one in enumerate(items):
        size += len(one.attributes)
        if count and size > ANSWER_BYTES_MAX:
            return items[:count]
    return items


def config_get(request: Request) -> bytes:
    return stored(request.device_id(), "config")


def config_set(request: Request) -> bytes:
    return write(request, "config")


def state_get(request: Request) -> bytes:
    return stored(request.device_id(), "state")


def state_report(request: Request) -> bytes:
    return write(request, "state")


def stored(device_id: str, noun: str) -> bytes:
    version, content = current(device_id, noun)
    return b'{"device_id":%b,"version":%d,"%b":%b}' % (jsontext.encode(device_id), version, noun.encode(), content)


def current(device_id: str, noun: str) -> tuple[int, bytes]:
    """Return the version and the object of a device's config or state: 0 and {} where there is none."""
    found = devices_table().get(device_id, noun)
    if found is None:
        return 0, b"{}"
    attributes = msgspec.json.decode(found.attributes, type=dict[str, msgspec.Raw])
    return int(bytes(attributes["version"])), bytes(attributes[noun])


def write(request: Request, noun: str) -> bytes:
    """Write a device's config or state as its next version; without an expected one, whatever the present one is."""
    device_id, content, expected = request.device_id(), request.object(noun), request.expected_version()
    for _ in range(1 if expected is not None else TRIES_MAX):
        version = current(device_id, noun)[0] if expected is None else expected
        attributes = b'{"version":%d,"%b":%b,"updated_at":"%b"}' % (
            version + 1, noun.encode(), content, clock.rfc3339_ms(clock.now_ms()).encode()
        )  # fmt: skip
        try:
            devices_table().put_if_version(Item(device_id, noun, attributes), version)
        except Conflict:
            continue
        except UsageError as error:
            raise Refused(400, f"{noun}: {error.problem}") from error
        return b'{"device_id":%b,"version":%d,"%b":%b}' % (
            jsontext.encode(device_id), version + 1, noun.encode(), content
        )  # fmt: skip
    present, _ = current(device_id, noun)
    raise Refused(409, f"the version of {noun} is {present}, not {expected}: get it, and send that as expected_version")


def events_table() -> Table:
    return connect.table(os.environ["EVENTS_TABLE"])


def devices_table() -> Table:
    return connect.table(os.environ["DEVICES_TABLE"])


OPERATIONS: dict[str, Callable[[Request], bytes]] = {
    "latest": latest,
    "history": history,
    "aggregates": aggregates,
    "config_get": config_get,
    "config_set": config_set,
    "state_get": state_get,
    "state_report": state_report,
}
