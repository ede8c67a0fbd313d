"""Keeps the snapshot: asks the backend at a steady pace, once for all open pages, and not at all while none is open.

What is cheap to answer is asked every two seconds; what reads files or many minutes of metrics, seldom.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any

import msgspec

from headrace import clock
from headrace.console.backend import CLOUDWATCH, READING_S_MAX, Backend
from headrace.console.snapshot import Alarm, Failure, Function, Snapshot
from headrace.console.tip import Tip
from headrace.errors import HeadraceError

TICK_S = 2.0
MINUTES = 60  # shown of the rate
ERRORS_MINUTES = 15
EVENTS_MAX = 12
DEVICES_MAX = 200
FAILURES_MAX = 50
ABSENT_S = 60.0  # after a pause of this length the stream's end is looked for anew

_log = logging.getLogger(__name__)


class Watcher:
    """Fills `snapshot` while `is_watched()`. `version` rises with each change of it."""

    def __init__(self, backend: Backend, is_watched: Callable[[], bool], pace_s: float = TICK_S) -> None:
        self.snapshot = Snapshot()
        self.version = 0
        self._backend = backend
        self._is_watched = is_watched
        self._pace_s = pace_s
        self._tip = Tip(backend)
        self._totals: deque[tuple[float, int]] = deque(maxlen=4)  # (monotonic s, accepted)
        self._failed: int | None = None
        self._steps = (
            Step(pace_s, self._status),
            Step(pace_s, self._events),
            Step(10, self._health),
            Step(10, self._alarms),
            Step(15, self._metrics),
            Step(60, self._archive),
            Step(60, self._failures),
        )

    async def run(self) -> None:
        """Go on for ever."""
        looked_s = 0.0
        while True:
            if self._is_watched():
                if clock.monotonic_s() - looked_s > ABSENT_S:
                    self._tip.forget()
                    self._totals.clear()
                await self.look()
                looked_s = clock.monotonic_s()
            await asyncio.sleep(self._pace_s if self.version and self._is_watched() else 0.2)

    def soon(self) -> None:
        """Read the failures with the next look: something was done about them."""
        self._failed = None

    async def look(self) -> None:
        """Ask for what is due; what goes wrong is told in the snapshot."""
        problem = None
        for step in self._steps:
            try:
                if await step.take():
                    self.snapshot.at_ms = clock.now_ms()
            except HeadraceError as error:
                problem = error.problem
            except Exception as error:  # an answer of another shape: the page stands, and says so
                _log.exception("A look at the backend failed")
                problem = f"{type(error).__name__}: {error}"
        self.snapshot.problem = problem
        self.version += 1

    async def _status(self) -> None:
        status, snapshot = await self._backend.get("status", brief="1"), self.snapshot
        self._totals.append((clock.monotonic_s(), status["accepted"]))
        snapshot.accepted, snapshot.per_s = status["accepted"], _rate(self._totals)
        snapshot.table, snapshot.clock, snapshot.balanced = status["table"], status["clock"], status["balanced"]
        snapshot.disk = status["disk"]
        await self._take_functions(status)
        failed = status["failures"]["records"]
        if failed != self._failed:
            await self._failures()
            self._failed = failed

    async def _take_functions(self, status: dict[str, Any]) -> None:
        known = {function.name: function for function in self.snapshot.functions}
        if not known:
            known = {name: Function(name) for name in (await self._backend.get("logs"))["functions"]}
        for name, function in known.items():
            function.account = status["functions"].get(name)
            function.import_error = status["import_errors"].get(name)
            function.trouble = next(iter(status["mapping_errors"].get(name, ())), None)
        self.snapshot.functions = list(known.values())

    async def _events(self) -> None:
        seen, snapshot = await self._tip.look(), self.snapshot
        known = {each.place for each in snapshot.events}
        new = [each for each in seen if each.place not in known]
        snapshot.events = (new + snapshot.events)[:EVENTS_MAX]
        devices = dict.fromkeys([*(each.device for each in new if each.fault is None), *snapshot.devices])
        snapshot.devices = list(islice(devices, DEVICES_MAX))

    async def _health(self) -> None:
        self.snapshot.processes = (await self._backend.get("health"))["processes"]

    async def _alarms(self) -> None:
        answer = await self._backend.call(CLOUDWATCH, "DescribeAlarms", MaxRecords=100)
        self.snapshot.alarms = [
            Alarm(
                each["AlarmName"],
                each["StateValue"],
                each["StateTransitionedTimestamp"] * 1000,
                each["StateReason"],
                each.get("AlarmDescription", ""),
            )
            for each in answer["MetricAlarms"]
        ]

    async def _metrics(self) -> None:
        """Ask for the rate of the last hour, and for each function's errors of the last minutes."""
        minute_s = clock.now_ms() // 60_000 * 60
        streams, functions = await self._backend.get("streams"), self.snapshot.functions
        records = await self._sums("AWS/Kinesis", "IncomingRecords", "StreamName", list(streams), minute_s, MINUTES)
        totals = dict.fromkeys(range(minute_s - MINUTES * 60, minute_s, 60), 0.0)
        for each in records:
            for start_s, value in each.items():
                totals[start_s] = totals.get(start_s, 0.0) + value
        self.snapshot.rates = [(start_s * 1000, value / 60) for start_s, value in sorted(totals.items())]
        names = [function.name for function in functions]
        errors = await self._sums("AWS/Lambda", "Errors", "FunctionName", names, minute_s + 60, ERRORS_MINUTES)
        for function, each in zip(functions, errors, strict=True):
            function.errors = round(sum(each.values()))

    async def _sums(
        self, namespace: str, metric: str, dimension: str, values: list[str], end_s: int, minutes: int
    ) -> list[dict[int, float]]:
        """Return a metric's sums by the start of each minute (epoch seconds), for each value of a dimension."""
        queries = [
            {
                "Id": f"q{at}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": namespace,
                        "MetricName": metric,
                        "Dimensions": [{"Name": dimension, "Value": value}],
                    },
                    "Period": 60,
                    "Stat": "Sum",
                },
            }
            for at, value in enumerate(values)
        ]
        if not queries:
            return []
        answer = await self._backend.call(
            CLOUDWATCH, "GetMetricData", MetricDataQueries=queries, StartTime=end_s - minutes * 60, EndTime=end_s
        )
        found = {each["Id"]: each for each in answer["MetricDataResults"]}
        return [
            dict(zip(found[query["Id"]]["Timestamps"], found[query["Id"]]["Values"], strict=True)) for query in queries
        ]

    async def _archive(self) -> None:
        self.snapshot.archive = (await self._backend.get("status", timeout_s=READING_S_MAX))["archive"]

    async def _failures(self) -> None:
        answer = await self._backend.get("failures/newest", timeout_s=READING_S_MAX, limit=str(FAILURES_MAX))
        failures = msgspec.convert(answer["failures"], list[Failure])
        self.snapshot.failures = sorted(failures, key=lambda each: each.time or "", reverse=True)
        self.snapshot.failure_documents = answer["documents"]


class Step:
    """Something to ask, and how often."""

    def __init__(self, every_s: float, ask: Callable[[], Awaitable[None]]) -> None:
        self._every_s = every_s
        self._ask = ask
        self._due_s = 0.0

    async def take(self) -> bool:
        """Ask if it is time to, and return whether it was; what fails is asked again the next time."""
        now_s = clock.monotonic_s()
        if now_s < self._due_s:
            return False
        await self._ask()
        self._due_s = now_s + self._every_s - 0.1  # the pace is the caller's, which is never quite on time
        return True


def _rate(totals: deque[tuple[float, int]]) -> float | None:
    """Return events a second over the last looks; None before the second one."""
    if len(totals) < 2:
        return None
    (start_s, before), (end_s, after) = totals[0], totals[-1]
    return max(0.0, (after - before) / (end_s - start_s))
