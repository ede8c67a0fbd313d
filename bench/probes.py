"""What a reader of the table sees while the backend is at work; each probe runs in a process of its own."""

import http.client
import random
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import bodies  # noqa: F401  (puts the tests on the path)
from headrace.event import SORT_END, SORT_START
from headrace.table.local import LocalTable
from support.load import put_records_body, request_bytes

DEVICES = 10_000
NEWEST = 10
PAUSE_S = 0.005  # between two reads beside a load
LOOK_S = 0.005  # between two looks for events that can't be read yet
_EVERY_S = 0.05
_GIVE_UP_S = 60.0


class Reads(NamedTuple):
    """Seconds that reads took, sorted: items by their key, and the ten newest of a device."""

    point: list[float]
    newest: list[float]


class Freshness(NamedTuple):
    """Seconds from an event's acknowledgement until it could be read, sorted; and how many never could."""

    took: list[float]
    missing: int


def some_device() -> str:
    """Return one of the devices of `bodies.py`."""
    return f"device-{random.randrange(DEVICES):06d}"


def read(socket: Path, seconds: float, pause_s: float) -> Reads:
    """Read for a while: ten newest of a device, then one of those by its key, each found."""
    table = LocalTable.connect("events", socket)
    keys: list[tuple[str, str]] = []
    point, newest = [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        device = some_device()
        began = time.monotonic()
        items = table.query(device, SORT_START, SORT_END, NEWEST, newest_first=True)
        newest.append(time.monotonic() - began)
        keys += [(item.partition, item.sort) for item in items]
        key = keys[random.randrange(len(keys))]
        began = time.monotonic()
        found = table.get(*key)
        point.append(time.monotonic() - began)
        assert found is not None, f"{key} is gone"
        time.sleep(pause_s)
    table.close()
    return Reads(sorted(point), sorted(newest))


def freshness(url: str, socket: Path, seconds: float) -> Freshness:
    """Send an event every 50 ms by PutRecords of one, and look for each until it can be read."""
    waiting: dict[tuple[str, str], float] = {}
    sender = threading.Thread(target=_send, args=(url, seconds, waiting))
    sender.start()
    table = LocalTable.connect("events", socket)
    took: list[float] = []
    give_up = time.monotonic() + seconds + _GIVE_UP_S
    while (sender.is_alive() or waiting) and time.monotonic() < give_up:
        for key, accepted in list(waiting.items()):
            if table.get(*key) is not None:
                took.append(time.monotonic() - accepted)
                del waiting[key]
        time.sleep(LOOK_S)
    sender.join()
    table.close()
    return Freshness(sorted(took), len(waiting))


def _send(url: str, seconds: float, waiting: dict[tuple[str, str], float]) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    began, number = time.monotonic(), 0
    while (due := began + number * _EVERY_S) < began + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        device, name = f"probe-{number % 64}", f"probe-{number}"
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        event = b'{"device_id":"%b","time":"%b","id":"%b","n":1}' % (device.encode(), at.encode(), name.encode())
        head, _, body = request_bytes(url, "PutRecords", put_records_body("events", [(device, event)])).partition(
            b"\r\n\r\n"
        )
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        assert answer.status == 200 and b'"FailedRecordCount":0' in answer.read(), answer.status
        waiting[device, f"{SORT_START}{at}#{name}"] = time.monotonic()
        number += 1
    connection.close()
