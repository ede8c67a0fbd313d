"""The warehouse's process and the Data API's wire in a thread of the test's process."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import boto3
import botocore.config
import uvloop

from headrace import listener, rpc
from headrace.archive.local import LocalBucket
from headrace.gateway import http
from headrace.gateway.router import Router
from headrace.settings import Layout
from headrace.warehouse.api import TARGET, RedshiftDataApi
from headrace.warehouse.server import Settings, Warehouse

T = TypeVar("T")
_session = boto3.Session()  # reads the service's model once
NOW_MS = 1_785_000_000_000
PLACE = {"Database": "headrace", "WorkgroupName": "headrace"}
ENDED = ("FINISHED", "FAILED", "ABORTED")


class WarehouseServer:
    """Use as a context; `start` and `stop` restart it on the same folder."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.layout = Layout(folder)
        self._settings = Settings(**settings)
        self.idle = threading.Event()
        self.now_ms = NOW_MS
        self.warehouse: Warehouse

    def __enter__(self) -> "WarehouseServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="warehouse server", daemon=True)
        self._thread.start()
        self.call(self._start())

    def stop(self) -> None:
        self.call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def rpc(self, method: str, params: object) -> Any:
        """Call a method of the warehouse's process."""
        return rpc.decode(self.call(self._api.call(method, params)))

    def client(self) -> Any:
        """Return an unmodified boto3 client."""
        return _session.client(
            "redshift-data",
            endpoint_url=f"http://127.0.0.1:{self._server.port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=botocore.config.Config(retries={"max_attempts": 0}, parameter_validation=False),
        )

    async def _start(self) -> None:
        self.layout.sockets.mkdir(parents=True, exist_ok=True)
        buckets = {name: LocalBucket(self.layout.buckets / name) for name in ("archive", "failures")}
        self.warehouse = Warehouse(
            self.layout, buckets, ["failures"], ["temperature"], self._settings,
            idle=self.idle.set, now_ms=lambda: self.now_ms,
        )  # fmt: skip
        await self.warehouse.listen(listener.listen_unix(self.layout.warehouse_socket))
        self._api = rpc.AsyncClient(self.layout.warehouse_socket)
        handler = RedshiftDataApi(self._api).handle
        self._server = await http.start(Router({TARGET: handler}, []), listener.listen("127.0.0.1", 0))

    async def _stop(self) -> None:
        await self._server.stop(1.0)
        await self._api.close()
        await self.warehouse.stop()


def run(client: Any, sql: str, *, timeout_s: float = 90, **more: Any) -> Any:
    """Run a statement to its end; return what DescribeStatement says."""
    return wait(client, client.execute_statement(**PLACE, Sql=sql, **more)["Id"], timeout_s)


def wait(client: Any, statement: str, timeout_s: float = 90) -> Any:
    """Return what DescribeStatement says once the statement has ended."""
    deadline_s = time.monotonic() + timeout_s
    while (told := client.describe_statement(Id=statement))["Status"] not in ENDED:
        assert time.monotonic() < deadline_s, told
        time.sleep(0.01)
    return told


def rows(client: Any, sql: str, **more: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a query that succeeds."""
    told = run(client, sql, **more)
    assert told["Status"] == "FINISHED", told
    pages = client.get_paginator("get_statement_result").paginate(Id=told["Id"])
    return [tuple(map(value, row)) for page in pages for row in page["Records"]]


def value(field: dict[str, Any]) -> Any:
    """Return what a Field holds."""
    return None if "isNull" in field else next(iter(field.values()))
