"""A server in a thread of the test's process, with an event loop of its own, and boto3's clients for it."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

import boto3
import botocore.config
import uvloop

T = TypeVar("T")
_session = boto3.Session()  # reads a service's model once


class ThreadedServer(ABC):
    """Use as a context; `start` and `stop` restart it. What makes it one is `_start` and `_stop`, in its loop."""

    port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=type(self).__name__, daemon=True)
        self._thread.start()
        try:
            self.call(self._start())
        except BaseException:
            self._end()
            raise

    def stop(self) -> None:
        self.call(self._stop())
        self._end()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    @abstractmethod
    async def _start(self) -> None:
        """Begin to serve; sets `port`."""

    @abstractmethod
    async def _stop(self) -> None: ...

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def boto3(self, service: str, **config: Any) -> Any:
        """Return an unmodified client, which does not try again."""
        return _session.client(
            service,
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=botocore.config.Config(retries={"max_attempts": 0}, **config),
        )
