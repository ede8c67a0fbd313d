"""The warehouse's process: the one that opens the DuckDB file. Started by the first request, ends when idle.

data       an operation of the Redshift Data API
loaded     what is loaded; makes columns for readings
events     load a day's new files of events
rows       replace a period's rows of a report
devices    replace all devices
erase      delete a device's rows
copy       copy everything to a file, for a backup
"""

import asyncio
import contextlib
import logging
import math
import os
import resource
import shutil
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headrace import clock, rpc
from headrace.archive.base import Bucket
from headrace.errors import HeadraceError, UsageError
from headrace.settings import Layout
from headrace.warehouse import dialect, loading
from headrace.warehouse.answers import Missing
from headrace.warehouse.api import Answered, Asked
from headrace.warehouse.data_api import DataApi
from headrace.warehouse.engine import INCOMING, Engine, Limits
from headrace.warehouse.executor import Executor
from headrace.warehouse.results import Results
from headrace.warehouse.statements import KEPT_MS, Statements
from headrace.warehouse.transfer import Transfer
from headrace.wire import WireError

IDLE_S = 300.0
FORGET_S = 600.0
NICE = 10  # what devices wait for goes first
_OTHER_MB = 1024  # of the process, beside twice what DuckDB may have
_OOM_SCORE = "900"  # of -1000 to 1000: if memory is short, the system ends this process and not the gateway

_log = logging.getLogger(__name__)


class Settings(msgspec.Struct):
    """What `HEADRACE_WAREHOUSE_*` may set."""

    memory_mb: int = 1024
    timeout_s: float = 600.0
    result_mb: int = 100
    idle_s: float = IDLE_S


class Warehouse:
    """Everything that the process does."""

    def __init__(
        self,
        layout: Layout,
        buckets: Mapping[str, Bucket],
        closed: Sequence[str],
        readings: Sequence[str],
        settings: Settings,
        *,
        idle: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGTERM),
        now_ms: Callable[[], int] = clock.now_ms,
    ) -> None:
        """Open everything; `closed` are buckets that UNLOAD does not write to. Raises DataDirectoryError."""
        _clear(layout.warehouse / INCOMING)
        limits = Limits(memory_mb=settings.memory_mb, timeout_s=settings.timeout_s)
        self._engine = Engine(layout.warehouse, limits, dialect.SETTINGS)
        self._statements = Statements(layout.warehouse)
        self._results = Results(layout.warehouse / "results", settings.result_mb * 1024**2)
        self._loading = loading.Loading(self._engine)
        self._loading.loaded(readings)
        transfer = Transfer(buckets, self._engine.incoming, closed)
        self._executor = Executor(
            self._engine, self._statements, self._results, transfer, dialect.translate, now_ms=now_ms
        )
        self._api = DataApi(self._engine, self._executor, self._statements, self._results, now_ms)
        self._settings = settings
        self._idle = idle
        self._now_ms = now_ms
        self._calls = 0
        self._used_s = clock.monotonic_s()
        self._tasks: list[asyncio.Task[None]] = []
        work = self._loading
        self._server = rpc.Server(
            {
                "data": self._counted(self._on_data),
                "loaded": self._threaded(work.loaded, list[str]),
                "events": self._threaded(work.events, loading.EventsLoad),
                "rows": self._threaded(work.rows, loading.RowsLoad),
                "devices": self._threaded(work.devices, loading.DevicesLoad),
                "copy": self._threaded(work.copy, str),
                "erase": self._threaded(self._erase, str),
            }
        )

    async def listen(self, listening: socket.socket) -> None:
        """Begin to work and to serve."""
        await asyncio.to_thread(self._forget)
        await asyncio.to_thread(self._executor.start)
        await self._server.serve(listening)
        self._tasks = [asyncio.create_task(self._end_when_idle()), asyncio.create_task(self._forget_forever())]

    async def stop(self) -> None:
        """Answer no more; what runs has failed, what is not begun waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.stop()
        await asyncio.to_thread(self._executor.stop)
        self._statements.close()
        self._engine.close()

    async def _on_data(self, params: msgspec.Raw) -> Answered:
        asked = rpc.decode(params, type=Asked)
        try:
            return Answered(200, await self._api.answer(asked.operation, asked.body, read_only=asked.read_only))
        except WireError as error:
            body = {"__type": error.code, "Message": error.message, "message": error.message}
            if isinstance(error, Missing):
                body["ResourceId"] = error.resource
            return Answered(error.status, msgspec.json.encode(body))

    def _erase(self, device: str) -> dict[str, int]:
        deleted = self._loading.erase(device)
        self._results.clear()  # they may show the device
        return deleted

    def _threaded(self, work: Callable[[Any], Any], kind: Any) -> Callable[[msgspec.Raw], Awaitable[Any]]:
        async def run(params: msgspec.Raw) -> Any:
            return await asyncio.to_thread(work, rpc.decode(params, type=kind))

        return self._counted(run)

    def _counted(self, run: Callable[[msgspec.Raw], Awaitable[Any]]) -> Callable[[msgspec.Raw], Awaitable[Any]]:
        async def counted(params: msgspec.Raw) -> Any:
            self._calls += 1
            try:
                return await run(params)
            finally:
                self._calls -= 1
                self._used_s = clock.monotonic_s()

        return counted

    async def _end_when_idle(self) -> None:
        idle_s = self._settings.idle_s
        while self._is_busy() or clock.monotonic_s() - self._used_s < idle_s:
            await asyncio.sleep(min(1.0, idle_s / 4))
            if self._engine.is_broken:
                _log.error("DuckDB takes nothing more: ending, to open the file anew with the next request")
                break
        self._idle()

    def _is_busy(self) -> bool:
        return bool(self._calls or self._executor.active())

    async def _forget_forever(self) -> None:
        while True:
            await asyncio.sleep(FORGET_S)
            await asyncio.to_thread(self._forget)

    def _forget(self) -> None:
        try:
            self._results.forget(self._statements.forget(self._now_ms() - KEPT_MS))
        except HeadraceError as error:  # the disk is full, perhaps: they are kept until it is not
            _log.warning("Statements that are over can't be forgotten: %s", error)


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Return what `HEADRACE_WAREHOUSE_*` say; raises UsageError."""
    found = Settings()
    for name, least in (("memory_mb", 64), ("timeout_s", 1), ("result_mb", 1), ("idle_s", 1)):
        variable = f"HEADRACE_WAREHOUSE_{name.upper()}"
        if not (given := environment.get(variable, "")):
            continue
        try:
            value = float(given)
            if not least <= value < math.inf:
                raise ValueError
        except ValueError:
            raise UsageError(f"{variable} is {given!r}.", f"Set it to a number, {least} or more.") from None
        setattr(found, name, int(value) if name.endswith("_mb") else value)
    return found


def _clear(incoming: Path) -> None:
    """Remove what statements and backups of a process before have left; files of loads are the loads' own."""
    for path in incoming.glob("statement-*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in incoming.glob("backup-*"):
        path.unlink(missing_ok=True)


def yield_to_ingest(memory_mb: int) -> None:
    """Let what devices wait for go first, and be the first to end where memory is short.

    Beyond what DuckDB counts, and may have, a value of a result may be large: that has an end as well.
    """
    os.nice(NICE)
    most = (2 * memory_mb + _OTHER_MB) * 1024**2
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
