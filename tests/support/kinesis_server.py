"""Kinesis on a real socket, in a thread of the test's process: a folder, a clock the test may set, any disk."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cbor2

from headrace import clock, system
from headrace.disk import DISK, Disk
from headrace.gateway import http
from headrace.gateway.router import Router
from headrace.stream.api import TARGET, Kinesis
from headrace.stream.streams import Streams
from headrace.supervisor import listener
from support import kinesis_cbor
from support.threaded_server import ThreadedServer


class Clock:
    """The wall clock, moved on by `ahead_ms`."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def __call__(self) -> int:
        return clock.now_ms() + self.ahead_ms


class KinesisServer(ThreadedServer):
    """Use as a context; `start` and `stop` restart it on the same folder."""

    def __init__(
        self, folder: Path, declared: Iterable[system.Stream] = (), disk: Disk = DISK, *, in_cbor: bool = False
    ) -> None:
        self.clock = Clock()
        self.in_cbor = in_cbor
        self._folder = folder
        self._declared = tuple(declared)
        self._disk = disk
        self.streams: Streams

    def client(self, **config: Any) -> Any:
        """Return an unmodified boto3 client, which speaks CBOR if the server is said to be asked so."""
        client = self.boto3("kinesis", **config)
        if self.in_cbor:
            kinesis_cbor.speak(client)
        return client

    def raw(self, operation: str, body: object) -> tuple[int, Any]:
        """Return the status and the answer to a body that no client would send; bytes go as they are."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, text = self.post(operation, data, "application/x-amz-json-1.1")
        return status, json.loads(text) if text else None

    def raw_cbor(self, operation: str, body: bytes) -> tuple[int, Any]:
        """Return the same of a body in CBOR."""
        status, text = self.post(operation, body, kinesis_cbor.TYPE)
        return status, cbor2.loads(text) if text else None

    def post(self, operation: str, body: bytes, kind: str) -> tuple[int, bytes]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/", body, {"X-Amz-Target": TARGET + operation, "Content-Type": kind}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert answer.headers["Content-Type"] == kind
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                assert error.headers["Content-Type"] == kind
                return error.code, error.read()

    async def _start(self) -> None:
        self.streams = Streams.open(self._folder, self._declared, self._disk, self.clock)
        kinesis = Kinesis(self.streams)
        router = Router({TARGET: kinesis.handle}, [], in_cbor={TARGET: kinesis.handle_cbor})
        self._server = await http.start(router, listener.listen("127.0.0.1", 0))
        self.port = self._server.port

    async def _stop(self) -> None:
        await self._server.stop(5.0)
        await self.streams.close()
