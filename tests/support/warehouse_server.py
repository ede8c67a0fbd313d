"""The warehouse's process and the Data API's wire in a thread of the test's process."""

import threading
import time
from pathlib import Path
from typing import Any

from headrace import rpc
from headrace.archive.local import LocalBucket
from headrace.gateway import http
from headrace.gateway.router import Router
from headrace.settings import Layout
from headrace.supervisor import listener
from headrace.warehouse.api import TARGET, RedshiftDataApi
from headrace.warehouse.server import Settings, Warehouse
from support.threaded_server import ThreadedServer

NOW_MS = 1_785_000_000_000
PLACE = {"Database": "headrace", "WorkgroupName": "headrace"}
ENDED = ("FINISHED", "FAILED", "ABORTED")


class WarehouseServer(ThreadedServer):
    """Use as a context; `start` and `stop` restart it on the same folder."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.layout = Layout(folder)
        self._settings = Settings(**settings)
        self.idle = threading.Event()
        self.now_ms = NOW_MS
        self.warehouse: Warehouse

    def rpc(self, method: str, params: object) -> Any:
        """Call a method of the warehouse's process."""
        return rpc.decode(self.call(self._api.call(method, params)))

    def client(self) -> Any:
        """Return an unmodified boto3 client."""
        return self.boto3("redshift-data", parameter_validation=False)

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
        self.port = self._server.port

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
