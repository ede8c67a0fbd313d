"""A load generator: PutRecords over keep-alive connections at a given rate, keeping a ledger of what was acknowledged.

Used by the crash tests and by the benchmarks; it speaks plain HTTP so that it costs little beside what it measures.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pybase64
import uvloop

HEAD = (
    "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-amz-json-1.1\r\n{target}"
    "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, "
    "Signature=00\r\nX-Amz-Date: 20260101T000000Z\r\nContent-Length: {length}\r\n\r\n"
)


@dataclass
class Ledger:
    """What the client knows: the acknowledged sequence numbers by shard, in the order of their requests."""

    requests: int = 0
    records: int = 0
    errors: int = 0
    latencies_s: list[float] = field(default_factory=list)
    acknowledged: list[tuple[int, str, str]] = field(default_factory=list)  # (body, shard, sequence number)
    lag_s_max: float = 0.0


def request_bytes(url: str, operation: str, body: bytes) -> bytes:
    """Return a POST: an operation of Kinesis, a whole target (`DynamoDB_20120810.GetItem`), or a path of Lambda's."""
    path, service, target = operation, "lambda", ""
    if not operation.startswith("/"):
        name = operation if "." in operation else f"Kinesis_20131202.{operation}"
        path, service, target = "/", name.partition("_")[0].lower(), f"X-Amz-Target: {name}\r\n"
    host = urlsplit(url).netloc
    return HEAD.format(path=path, host=host, service=service, target=target, length=len(body)).encode() + body


def put_records_body(stream: str, records: list[tuple[str, bytes]]) -> bytes:
    """Return a PutRecords body for (partition key, data) pairs; keys must need no JSON escapes."""
    entries = b",".join(
        b'{"Data":"%b","PartitionKey":"%b"}' % (pybase64.b64encode(data), key.encode()) for key, data in records
    )
    return b'{"StreamName":"%b","Records":[%b]}' % (stream.encode(), entries)


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.buffer = bytearray()
        self.waiter: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(ConnectionError("closed"))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head_end = self.buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self.buffer[:head_end]).lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        end = head_end + 4 + length
        if len(self.buffer) < end:
            return
        body = bytes(self.buffer[head_end + 4 : end])
        del self.buffer[:end]
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result((int(head[9:12]), body))

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        if self.transport is None:
            raise ConnectionError("not connected")
        self.waiter = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.waiter


async def _send(
    url: str,
    next_body: Callable[[int], bytes],
    *,
    per_request: int,
    rate: float | None,
    duration_s: float,
    connections: int,
    keep: bool,
    operation: str,
    expect: bytes,
    stop: Callable[[], bool],
) -> Ledger:
    ledger = Ledger()
    loop = asyncio.get_running_loop()
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 80
    began = time.monotonic()
    step = per_request / rate if rate else 0.0
    sequence = 0

    async def one() -> None:
        nonlocal sequence
        connection = _Connection()
        while time.monotonic() - began < duration_s and not stop():
            number, sequence = sequence, sequence + 1
            due = began + number * step
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            else:
                ledger.lag_s_max = max(ledger.lag_s_max, -wait if rate else 0.0)
            request = request_bytes(url, operation, next_body(number))
            while True:  # the same body until it is acknowledged: identities make the repeat harmless
                sent = time.monotonic()
                try:
                    if connection.transport is None:
                        connection = _Connection()
                        await loop.create_connection(lambda: connection, host, port)  # noqa: B023
                    status, answer = await asyncio.wait_for(connection.exchange(request), 30)
                except (OSError, TimeoutError):
                    ledger.errors += 1
                    if connection.transport is not None:
                        connection.transport.abort()
                    connection = _Connection()
                    await asyncio.sleep(0.02)
                    continue
                if status == 200 and expect in answer:
                    break
                ledger.errors += 1
                await asyncio.sleep(0.05)
            ledger.latencies_s.append(time.monotonic() - sent)
            ledger.requests += 1
            ledger.records += per_request
            if keep:
                _keep(ledger, number, answer)
        if connection.transport is not None:
            connection.transport.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return ledger


def _keep(ledger: Ledger, number: int, answer: bytes) -> None:
    decoded = json.loads(answer)
    for entry in decoded.get("Records", [decoded]):
        ledger.acknowledged.append((number, entry["ShardId"], entry["SequenceNumber"]))


def send(
    url: str,
    next_body: Callable[[int], bytes],
    *,
    per_request: int = 500,
    rate: float | None = None,
    duration_s: float,
    connections: int = 4,
    keep: bool = False,
    operation: str = "PutRecords",
    expect: bytes = b"",
    stop: Callable[[], bool] = lambda: False,
) -> Ledger:
    """Send bodies for `duration_s` seconds at `rate` records/s (None: as fast as they are answered).

    `expect` stands in every good answer; any other counts as an error, and its body is sent again.
    """
    with contextlib.closing(uvloop.new_event_loop()) as loop:
        return loop.run_until_complete(
            _send(
                url,
                next_body,
                per_request=per_request,
                rate=rate,
                duration_s=duration_s,
                connections=connections,
                keep=keep,
                operation=operation,
                expect=expect,
                stop=stop,
            )
        )
