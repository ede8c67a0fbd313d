"""Lifecycle rules and restores while the backend runs, and what the command line asks of them.

GET  /_headrace/lifecycle/plan?until_ms=   what goes until then: {"now_ms", "until_ms", "steps": […], "waiting": […],
                                           "prices": …}; `waiting` is what rules leave alone for lack of a tag
POST /_headrace/lifecycle/run              {"clock_is_right": bool} -> {"buckets": […]}: what was done
GET  /_headrace/lifecycle/log?limit=       {"lines": […]}: what was done before, oldest first
POST /_headrace/archive/restore            {"keys": […], "days", "tier"} -> {"restores": […]}

Rules are executed once an hour, restores every second; both in threads, one run at a time.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec

from headrace import clock
from headrace.archive import catalogue, forecast, housekeeping, lifecycle, restores, transitions
from headrace.archive.base import Restore
from headrace.archive.lifecycle_log import LifecycleLog
from headrace.archive.local import LocalBucket
from headrace.errors import Conflict, HeadraceError, NotFound, UsageError
from headrace.settings import Layout
from headrace.system import System
from headrace.timekeeping import Timekeeper
from headrace.wire import Handler, Request, Response, answer, json_body, nothing

RUN_EVERY_S = 3600.0
FIRST_RUN_S = 60.0
RESTORE_EVERY_S = 1.0
RESTORE_PAUSE = 60  # how many times none is brought after a problem
LOG_LINES = 100
LOG_LINES_MAX = 10_000
_log = logging.getLogger(__name__)


class _RunRequest(msgspec.Struct):
    clock_is_right: bool = False


class _RestoreRequest(msgspec.Struct):
    keys: list[str]
    days: int = 1
    tier: str = "Standard"


class Lifecycle:
    """The lifecycle of all buckets of a system. `restore_speed` shortens restores, for trials."""

    def __init__(
        self,
        layout: Layout,
        system: System,
        timekeeper: Timekeeper,
        *,
        restore_speed: float = 1.0,
        now_ms: Callable[[], int] = clock.now_ms,
    ) -> None:
        self._system = system
        self._timekeeper = timekeeper
        self._speed = restore_speed
        self._now_ms = now_ms
        self._buckets = {each.name: LocalBucket(layout.buckets / each.name) for each in system.buckets}
        # A compacted file leaves its day's manifest before it is deleted, so that no reader misses it.
        self._catalogues = {name: catalogue.of(bucket, layout.archive) for name, bucket in self._buckets.items()}
        self._log = LifecycleLog(layout.lifecycle)
        self._running = threading.Lock()
        self._stopped = threading.Event()
        self._told: list[str] = []
        self._pause = 0

    def paths(self) -> list[tuple[str, Handler]]:
        """Return what to register: path prefix and handler."""
        return [("/_headrace/lifecycle", self.lifecycle), ("/_headrace/archive/restore", self.restore)]

    async def forever(self) -> None:
        """Execute rules and bring restored copies, again and again."""
        next_run_s = clock.monotonic_s() + FIRST_RUN_S
        while True:
            await asyncio.sleep(RESTORE_EVERY_S)
            await asyncio.to_thread(_quietly, self.bring)
            if clock.monotonic_s() >= next_run_s:
                next_run_s = clock.monotonic_s() + RUN_EVERY_S
                await asyncio.to_thread(_quietly, self._run_and_tell)

    def stop(self) -> None:
        """Have a run that is under way begin nothing more."""
        self._stopped.set()

    def run(self, *, trust_clock: bool = False) -> list[housekeeping.Outcome]:
        """Do what the rules of all buckets want by now; raises ClockInDoubt."""
        with self._running:
            return [
                housekeeping.run(
                    self._buckets[each.name],
                    lifecycle.rules_of(each.lifecycle),
                    self._now_ms(),
                    lambda: not self._timekeeper.look().paused,
                    self._log,
                    minimum=each.transition_minimum,
                    trust_clock=trust_clock,
                    is_stopped=self._stopped.is_set,
                    before_expiry=self._catalogues[each.name].forget,
                )
                for each in self._system.buckets
            ]

    def plan(self, until_ms: int) -> dict[str, Any]:
        """Return what the rules will do until then with the objects that there are; raises UsageError if it is past."""
        now_ms = self._now_ms()
        if until_ms < now_ms:
            raise UsageError(
                f"{clock.rfc3339_ms(until_ms)} is past.", "Name a time to come. What was done: headrace lifecycle log"
            )
        steps: list[dict[str, Any]] = []
        waiting: list[dict[str, Any]] = []
        for each in self._system.buckets:
            rules, objects = lifecycle.rules_of(each.lifecycle), list(self._buckets[each.name].list(tags=True))
            going = forecast.forecast(rules, objects, now_ms, until_ms, each.transition_minimum)
            staying = forecast.waiting(rules, objects, until_ms)
            steps += ({"bucket": each.name, **msgspec.structs.asdict(step)} for step in going)
            waiting += ({"bucket": each.name, **msgspec.structs.asdict(one)} for one in staying)
        steps.sort(key=lambda step: step["day_ms"])
        prices = forecast.prices()
        return {
            "now_ms": now_ms,
            "until_ms": until_ms,
            "steps": steps,
            "waiting": waiting,
            "prices": {"date": prices.date, "region": prices.region, "currency": prices.currency},
        }

    def bring(self) -> None:
        """Make the restored copies that are due, remove those that have expired; problems are told once.

        After one, so many calls do nothing: to look at a damaged object is to read all of it.
        """
        self._pause = max(0, self._pause - 1)
        if self._pause:
            return
        problems = []
        for bucket in self._buckets.values():
            if bucket.restores.of(bucket.name):
                problems += transitions.bring_restored(bucket, self._now_ms())
        for problem in problems:
            if problem not in self._told:
                _log.warning("A restore has to wait: %s", problem)
        self._told = problems
        self._pause = RESTORE_PAUSE if problems else 0

    def ask_restore(self, keys: list[str], days: int, tier: str) -> list[dict[str, Any]]:
        """Begin restores of objects of the archive, all or none; raises NotFound, UsageError, Conflict.

        One that is restored already is kept for so many days from now on.
        """
        bucket = self._buckets.get(self._system.archive_bucket)
        if bucket is None:
            raise NotFound("The template declares no archive bucket.", "Add an AWS::S3::Bucket.")
        bucket.cold.check()
        now_ms = self._now_ms()
        asked: dict[tuple[str, str], Restore | None] = {}
        for key in keys:
            info = bucket.find(key)
            try:
                restore = restores.new(info.storage_class, days, tier, now_ms, self._speed)
            except UsageError as error:
                raise UsageError(f"{error.problem.rstrip('.')}: {key}.", error.hint) from None
            if info.restore is not None and not info.restore.done:
                raise Conflict(
                    f"RestoreAlreadyInProgress: Object restore is already in progress ({key}).",
                    f"It is readable at {clock.rfc3339_ms(info.restore.ready_ms)}.",
                )
            if info.restore is not None:
                restore = info.restore._replace(expires_ms=restores.expiry_ms(now_ms, days))
            asked[bucket.name, key] = restore
        bucket.restores.change(asked)
        return [
            {
                "key": key,
                "tier": it.tier,
                "ready": clock.rfc3339_ms(it.ready_ms),
                "expires": clock.rfc3339_ms(it.expires_ms),
            }
            for (_, key), it in asked.items()
            if it is not None
        ]

    async def lifecycle(self, request: Request) -> Response:
        """Answer the plan or the log, or run the rules."""
        query = parse_qs(request.query)
        match request.method, request.path.rstrip("/").rpartition("/")[2]:
            case "GET", "plan":
                return await answer(asyncio.to_thread(lambda: self.plan(_number(query, "until_ms", self._now_ms()))))
            case "GET", "log":
                return await answer(asyncio.to_thread(lambda: self._lines(_number(query, "limit", LOG_LINES))))
            case "POST", "run":
                return await answer(asyncio.to_thread(lambda: self._asked_run(json_body(request, _RunRequest))))
        return nothing(request)

    async def restore(self, request: Request) -> Response:
        """Begin restores."""
        if request.method != "POST":
            return nothing(request)
        return await answer(asyncio.to_thread(lambda: self._asked_restore(json_body(request, _RestoreRequest))))

    def _lines(self, limit: int) -> dict[str, Any]:
        return {"lines": self._log.read(max(1, min(limit, LOG_LINES_MAX)))}

    def _asked_run(self, asked: _RunRequest) -> dict[str, Any]:
        return {"buckets": self.run(trust_clock=asked.clock_is_right)}

    def _asked_restore(self, asked: _RestoreRequest) -> dict[str, Any]:
        return {"restores": self.ask_restore(asked.keys, asked.days, asked.tier)}

    def _run_and_tell(self) -> None:
        for outcome in self.run():
            for problem in outcome.problems:
                _log.warning("Lifecycle of %s: %s", outcome.bucket, problem)


def _quietly(work: Callable[[], None]) -> None:
    """Do a part of the keeper's work: what goes wrong is in the process's log, and the next round tries again."""
    try:
        work()
    except HeadraceError as error:
        _log.warning("Lifecycle: %s", error)
    except Exception:
        _log.exception("Lifecycle: this round failed")


def _number(query: dict[str, list[str]], name: str, default: int) -> int:
    text = query.get(name, [str(default)])[-1]
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise UsageError(f"{name} is {text[:50]!r}.", "Write a whole number of 0 or more.")
    return int(text)
