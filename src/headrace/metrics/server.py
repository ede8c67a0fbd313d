"""The metrics process: collects what functions print and what the platform does, keeps it, and evaluates the alarms.

A process of its own, so that counting 45,000 readings a second, or a question about two weeks, holds up neither the
gateway nor the dispatch of invocations, and so that its death costs nothing but a moment without metrics.

ping         nothing
streams      what streams took since it was last told (from the gateway)
cloudwatch   an operation of CloudWatch's wire
prometheus   everything as text
alarms_on    alarms in the state ALARM -> what they are about, or why they are
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from headrace import cbor, clock, rpc
from headrace.errors import HeadraceError
from headrace.metrics import prometheus
from headrace.metrics.api import Answered, Asked
from headrace.metrics.cloudwatch import CloudWatch
from headrace.metrics.lines import Logs, Values
from headrace.metrics.platform import FunctionMeasures, Platform, StreamMeasures
from headrace.metrics.series import MINUTE_MS
from headrace.metrics.store import SERIES_MAX, Store
from headrace.metrics.watch import Change, Watch
from headrace.metrics.webhook import TRIES_AFTER_S, Webhook
from headrace.settings import Layout
from headrace.system import System
from headrace.wire import WireError

TURN_S = 1.0
SAMPLE_MS = 10_000  # between two looks at the platform, and two saves
EVALUATE_AFTER_MS = 5_000  # after a minute's end: what functions printed in it has been read by then
RPC_S_MAX = 5.0

_log = logging.getLogger(__name__)
_asked = msgspec.msgpack.Decoder(Asked)


class MetricsServer:
    """Everything that the metrics process runs. Made by `start`; `turn` is what it does each second."""

    def __init__(
        self,
        layout: Layout,
        system: System,
        *,
        webhook: str = "",
        webhook_waits_s: Sequence[float] = TRIES_AFTER_S,
        now_ms: Callable[[], int] = clock.now_ms,
        may_remove: Callable[[], bool] = lambda: True,
    ) -> None:
        """`may_remove` says whether the clock is believed enough to remove what is old by it."""
        self._layout = layout
        self._now_ms = now_ms
        self._may_remove = may_remove
        now = now_ms()
        self.store = Store(layout.metrics, now)
        self._logs = Logs(layout.logs / "functions", self.store.state.cursors)
        self._platform = Platform(self.store, self.store.state.counters)
        self._webhook = Webhook(webhook, webhook_waits_s) if webhook else None
        self.watch = Watch(system.alarms, self.store, layout.metrics / "alarms.json", now, self._tell)
        self._cloudwatch = CloudWatch(self.store, self.watch, now_ms)
        self._runtime = rpc.AsyncClient(layout.runtime_socket, patience_s=0.2)
        self._table = rpc.AsyncClient(layout.table_socket, patience_s=0.2)
        self._sampled_ms = 0
        self._evaluated_ms = (now - EVALUATE_AFTER_MS) // MINUTE_MS * MINUTE_MS
        self._problem = ""
        self._refusals: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None
        self._server = rpc.Server(
            {
                "ping": lambda _: None,
                "streams": self._on_streams,
                "cloudwatch": self._on_cloudwatch,
                "alarms_on": lambda _: self.watch.on(),
                "prometheus": lambda _: prometheus.exposition(self.store, self._now_ms()),
            }
        )

    async def listen(self, *, turning: bool = True) -> None:
        """Begin to serve, and to take a turn each second unless a test does."""
        self._layout.sockets.mkdir(parents=True, exist_ok=True)
        for definition in self.watch.definitions.values():
            if definition.problem:
                _say(f"alarm {definition.name} is not evaluated: {definition.problem}")
        await self._server.start(self._layout.metrics_socket)
        if turning:
            self._task = asyncio.create_task(self._turn_forever())

    async def stop(self) -> None:
        """Read what was printed to the end, save, and stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._server.stop()
        await self._collect(self._now_ms())
        with contextlib.suppress(HeadraceError):
            self._save()
        if self._webhook is not None:
            await self._webhook.stop()
        await self._runtime.close()
        await self._table.close()

    async def turn(self) -> None:
        """Collect; evaluate the alarms once after each minute; raises StorageError where the disk refuses."""
        now_ms = self._now_ms()
        steps: list[Callable[[], object]] = []
        await self._collect(now_ms)
        if now_ms - self._sampled_ms >= SAMPLE_MS or now_ms < self._sampled_ms:
            self._sampled_ms = now_ms
            await self._sample(now_ms)
            steps.append(self._save)
        end_ms = (now_ms - EVALUATE_AFTER_MS) // MINUTE_MS * MINUTE_MS
        if end_ms != self._evaluated_ms:
            self._evaluated_ms = end_ms
            steps = [lambda: self.watch.evaluate(end_ms, now_ms), lambda: self._seal(now_ms), *steps]
        problem: HeadraceError | None = None
        for step in steps:
            try:
                step()
            except HeadraceError as error:  # the other steps do not wait for the disk
                problem = problem or error
        if problem is not None:
            raise problem

    async def _turn_forever(self) -> None:
        while True:
            await asyncio.sleep(TURN_S)
            problem = ""
            try:
                await self.turn()
            except Exception as error:
                expected = isinstance(error, (HeadraceError, OSError))
                problem = str(error) if expected else f"{type(error).__name__}: {error}"
                if problem != self._problem:
                    _log.warning("Metrics: %s", problem, exc_info=not expected)
            self._problem = problem

    async def _collect(self, now_ms: int) -> None:
        """Read what functions printed since the last time."""
        values = Values(now_ms)
        for function, block in self._logs.read():
            values.take(function, block)
            await asyncio.sleep(0)
        told = self.store.dropped
        values.into(self.store)
        if self.store.dropped and not told:
            _log.warning(
                "Functions print more than %d metrics, dimensions counted: the newest are left out", SERIES_MAX
            )
        self._platform.refused(values.refused, now_ms)
        for function, why in values.why.items():
            if self._refusals.get(function) != why:
                _log.warning("%s printed metrics that are left out: %s", function, why)
        self._refusals |= values.why

    async def _sample(self, now_ms: int) -> None:
        """Ask the other processes; one that does not answer is asked again next time."""
        self._platform.disk(self._layout.data, now_ms)
        with contextlib.suppress(HeadraceError, TimeoutError):
            told = await asyncio.wait_for(self._runtime.call("measures"), RPC_S_MAX)
            self._platform.functions(rpc.decode(told, type=dict[str, FunctionMeasures]), now_ms)
        with contextlib.suppress(HeadraceError, TimeoutError):
            totals = await asyncio.wait_for(self._table.call("usage"), RPC_S_MAX)
            self._platform.tables(rpc.decode(totals, type=dict[str, dict[str, float]]), now_ms)

    def _seal(self, now_ms: int) -> None:
        self.store.seal(now_ms, may_remove=self._may_remove())

    def _save(self) -> None:
        self.store.save(self._logs.cursors, self._platform.counters)

    def _on_streams(self, params: msgspec.Raw) -> None:
        self._platform.streams(rpc.decode(params, type=dict[str, StreamMeasures]), self._now_ms())

    def _on_cloudwatch(self, params: msgspec.Raw) -> Answered:
        asked = _asked.decode(params)
        try:
            return Answered(200, self._cloudwatch.answer(asked.operation, asked.body, asked.packed, in_cbor=asked.cbor))
        except WireError as error:
            body = (cbor.encode if asked.cbor else msgspec.json.encode)(
                {"__type": error.code, "message": error.message}
            )
            return Answered(error.status, body, [("x-amzn-query-error", f"{_query_code(error.code)};Sender")])

    def _tell(self, change: Change) -> None:
        _say(f"alarm {change.definition.name}: {change.before} -> {change.after.state}: {change.after.reason}")
        if self._webhook is not None and change.definition.properties.get("ActionsEnabled", True):
            self._webhook.send(change.notice())


def _query_code(code: str) -> str:
    """Return the error code as the older query protocol writes it: SDKs show that one."""
    return "ValidationError" if code == "ValidationException" else code.removesuffix("Exception")


def _say(text: str) -> None:
    print(f"{clock.rfc3339_ms(clock.now_ms())} {text}", flush=True)  # noqa: T201


async def start(layout: Layout, system: System, *, webhook: str = "", **more: Any) -> MetricsServer:
    """Start the metrics process on a data directory; raises UsageError for a webhook that is no URL."""
    server = MetricsServer(layout, system, webhook=webhook, **more)
    await server.listen()
    return server
