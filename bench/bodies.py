"""PutRecords bodies of 150-byte events whose time is the moment they are sent, at almost no cost to the sender.

The time sits at a multiple of three bytes, so in base64 it is a text of its own: a body is the time's base64 joined
through parts that were made once.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import pybase64

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

EVENT_BYTES = 150
_MARK = b"2000-01-01T00:00:00.000Z"


def event(device: int, salt: int) -> tuple[str, bytes]:
    """Return (partition key, event of 150 bytes) with the marker for its time."""
    key = f"device-{device:06d}"
    body = b'{"time":"%b","device_id":"%b","temperature":%.2f,"humidity":%.1f,"battery":%.3f,"rssi":%d,"note":"' % (
        _MARK,
        key.encode(),
        15 + (device * 7 + salt) % 1500 / 100,
        30 + (device + salt * 3) % 500 / 10,
        3 + (device * 13 + salt) % 1000 / 1000,
        -40 - (device + salt) % 60,
    )
    return key, body + b"x" * (EVENT_BYTES - len(body) - 2) + b'"}'


class Bodies:
    """Makes the body of the n-th request: `per_request` events of as many devices, all of the present moment."""

    def __init__(self, stream: str, per_request: int = 500, devices: int = 10_000, kinds: int = 64) -> None:
        mark = pybase64.b64encode(_MARK)
        self._kinds: list[list[bytes]] = []
        for kind in range(kinds):
            entries = []
            for place in range(per_request):
                key, data = event((kind * per_request + place) * 7919 % devices, kind)
                entries.append(b'{"Data":"%b","PartitionKey":"%b"}' % (pybase64.b64encode(data), key.encode()))
            body = b'{"StreamName":"%b","Records":[%b]}' % (stream.encode(), b",".join(entries))
            self._kinds.append(body.split(mark))

    def __call__(self, number: int) -> bytes:
        """Return the body of request `number`."""
        now = datetime.now(UTC)
        text = f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z".encode()
        return pybase64.b64encode(text).join(self._kinds[number % len(self._kinds)])
