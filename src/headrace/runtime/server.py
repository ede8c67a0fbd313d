"""The runtime process: event source mappings, the dispatch of every invocation, and what it tells the others.

ping         nothing
invoke       a function: waits for the answer, or journals the event, or only says whether it could be called
replay       a function with a stored event: (True, None), or (False, why)
ledger       function -> its books, for functions with a mapping
positions    of a stream: the log position from which on an enabled mapping needs records; nil if none does
functions    each function's state
try_imports  the same, once every function was imported that was not yet; one that is being imported is still Pending
measures     function -> what is new since the last call, for the metrics
checkpoints  function -> stream -> shard id -> the state that a restart would find
reload       has one function, or every one, imported anew; answers function -> why it can't be, or nil
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import msgspec

from headrace import clock, connect, disk, rpc
from headrace.archive.base import Bucket
from headrace.errors import Unavailable, UsageError
from headrace.ledger import Account
from headrace.record import shard_id
from headrace.runtime import mapping
from headrace.runtime.batch_journal import BatchJournal
from headrace.runtime.invokes import AsyncInvokes
from headrace.runtime.mapping import UNHANDLED
from headrace.runtime.mappings import MappingRunner
from headrace.runtime.messages import Call, Reply
from headrace.runtime.poller import Services
from headrace.runtime.pool import Pool, Pools
from headrace.runtime.streams import WatchedStream
from headrace.settings import Layout
from headrace.system import Function, Mapping, System

GRACE_S = 5.0  # for invocations under way when the runtime stops
_DISK_THREADS = 8


class Invoke(msgspec.Struct):
    """Params of `invoke`."""

    function: str
    payload: bytes
    request_id: str
    kind: str = "RequestResponse"
    log_tail: bool = False
    client_context: str | None = None


class Invoked(msgspec.Struct):
    """Result of `invoke`: `error` is "Unhandled" for a function error, whose document is then the payload."""

    status: int
    request_id: str
    payload: bytes = b""
    error: str | None = None
    log: bytes | None = None


class Replay(msgspec.Struct):
    """Params of `replay`."""

    function: str
    payload: bytes


class FunctionState(msgspec.Struct):
    """A function as `functions` tells it: Pending until it was imported once, Failed while it can't be."""

    name: str
    state: str
    error: str | None
    workers: int
    url: bool
    mapping_errors: list[str]
    invocations: int
    errors: int
    throttles: int


class _Positions(msgspec.Struct):
    stream: str


class RuntimeServer:
    """Everything that the runtime process runs. Made by `start`."""

    def __init__(self, layout: Layout, system: System, bucket: Callable[[str], Bucket]) -> None:
        self._layout = layout
        self._system = system
        self._held = contextlib.ExitStack()
        self._threads = ThreadPoolExecutor(_DISK_THREADS, "disk")
        self._pools = Pools(system, layout, dict(os.environ))
        self._streams: dict[str, WatchedStream] = {}
        self._invokes = AsyncInvokes(layout.invokes, self._pools, bucket)
        services = Services(self._threads, bucket, journal=BatchJournal(layout.batches, self._threads))
        self._runners = [self._runner(each, services) for each in system.mappings]
        self._tasks: list[asyncio.Task[Any]] = []
        self._starting = False
        self._server = rpc.Server(
            {
                "ping": self._on_ping,
                "invoke": self._on_invoke,
                "replay": self._on_replay,
                "ledger": self._on_ledger,
                "positions": self._on_positions,
                "functions": self._on_functions,
                "mapping_results": self._on_mapping_results,
                "try_imports": self._on_try_imports,
                "measures": self._on_measures,
                "checkpoints": self._on_checkpoints,
                "reload": self._on_reload,
            }
        )

    def _runner(self, each: Mapping, services: Services) -> MappingRunner:
        stream = self._streams.get(each.stream)
        if stream is None:
            stream = self._streams[each.stream] = WatchedStream(self._layout.streams / each.stream)
        folder = self._layout.checkpoints / each.function / each.stream
        return MappingRunner(each, stream, folder, self._pools.get(each.function), services)

    async def start(self) -> None:
        """Start everything; raises DataDirectoryError if another runtime works on this data."""
        disk.make_folder(self._layout.checkpoints)
        self._held.enter_context(disk.locked(self._layout.checkpoints / ".lock", "the runtime"))
        self._layout.sockets.mkdir(parents=True, exist_ok=True)
        for pool in self._pools:
            if pool.function.url or any(each.function == pool.function.name for each in self._system.mappings):
                self._tasks.append(asyncio.create_task(_warm(pool)))
        self._tasks.append(asyncio.create_task(self._pools.tidied()))
        self._tasks.append(asyncio.create_task(self._pools.memory_watched()))
        self._tasks += [asyncio.create_task(runner.run()) for runner in self._runners]
        self._invokes.start()
        await self._server.start(self._layout.runtime_socket)

    async def wait_for_books(self, seconds: float) -> None:
        """Wait until every mapping knows its shards, so that the first status asked for is right; not for ever."""
        deadline_s = clock.monotonic_s() + seconds
        self._starting = True
        while not all(runner.ready() for runner in self._runners) and clock.monotonic_s() < deadline_s:
            await asyncio.sleep(0.01)
        self._starting = False

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Stop: what is under way has `grace_s` to finish; what is cut off is repeated by the next start."""
        deadline_s = clock.monotonic_s() + grace_s
        for runner in self._runners:
            runner.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # A batch is cut off before its worker is killed: what the stop has done to it is no failure of the function.
        await asyncio.gather(*(runner.stopped(grace_s) for runner in self._runners), self._invokes.stop(grace_s))
        await self._pools.stop(max(0.0, deadline_s - clock.monotonic_s()))
        await self._server.stop()
        self._threads.shutdown()
        for runner in self._runners:
            runner.close()
        for stream in self._streams.values():
            stream.close()
        self._held.close()

    async def _on_invoke(self, params: msgspec.Raw) -> Invoked:
        asked = _invokes.decode(params)
        pool = self._pools.get(asked.function)
        if asked.kind == "DryRun":
            return Invoked(204, asked.request_id)
        if asked.kind == "Event":
            await self._invokes.accept(asked.function, asked.request_id, asked.payload, asked.client_context)
            return Invoked(202, asked.request_id)
        if asked.kind != "RequestResponse":
            raise UsageError(f"There is no invocation type {asked.kind!r}.", "RequestResponse, Event or DryRun.")
        reply = await pool.invoke(
            Call(
                asked.request_id,
                pool.function.timeout_s,
                asked.payload,
                client_context=asked.client_context,
                log_tail=asked.log_tail,
            )
        )
        return Invoked(200, asked.request_id, reply.payload, UNHANDLED if reply.error else None, reply.log)

    async def _on_replay(self, params: msgspec.Raw) -> tuple[bool, str | None]:
        asked = rpc.decode(params, type=Replay)
        pool = self._pools.get(asked.function)
        reports = any(each.function == asked.function and each.report_item_failures for each in self._system.mappings)
        reply = await pool.invoke(Call(str(uuid4()), pool.function.timeout_s, asked.payload))
        problem = _problem(reply, is_judged=reports and _is_batch(asked.payload))
        return problem is None, problem

    def _on_ping(self, _: msgspec.Raw) -> None:
        if self._starting:
            raise Unavailable("The runtime is starting.", "Ask again.")

    def _on_ledger(self, _: msgspec.Raw) -> dict[str, Account]:
        accounts: dict[str, Account] = {}
        for runner in self._runners:
            runner.add_to(accounts.setdefault(runner.mapping.function, Account()))
        return accounts

    def _on_positions(self, params: msgspec.Raw) -> int | None:
        stream = rpc.decode(params, type=_Positions).stream
        needed = [
            runner.low_position()
            for runner in self._runners
            if runner.mapping.stream == stream and runner.mapping.enabled
        ]
        return min(needed, default=None)

    def _on_functions(self, _: msgspec.Raw) -> list[FunctionState]:
        return [self._function_state(pool) for pool in self._pools]

    def _on_mapping_results(self, _: msgspec.Raw) -> dict[str, str]:
        return {runner.mapping.uuid: runner.last_result() for runner in self._runners}

    async def _on_try_imports(self, params: msgspec.Raw) -> list[FunctionState]:
        for pool in self._pools:
            if not pool.imported and pool.import_error is None:
                await _warm(pool, keep=False)
        return self._on_functions(params)

    def _function_state(self, pool: Pool) -> FunctionState:
        function, error = pool.function, pool.import_error
        return FunctionState(
            name=function.name,
            state="Failed" if error is not None else "Active" if pool.imported else "Pending",
            error=_error_text(error) if error is not None else None,
            workers=len(pool.workers()),
            url=function.url,
            mapping_errors=self._mapping_errors(function),
            invocations=pool.invocations,
            errors=pool.errors,
            throttles=pool.throttles,
        )

    def _mapping_errors(self, function: Function) -> list[str]:
        runners = [each for each in self._runners if each.mapping.function == function.name]
        if function.reserved_concurrency == 0 and any(each.mapping.enabled for each in runners):
            return ["its ReservedConcurrentExecutions is 0, so it is never called: raise it or leave it out"]
        pollers = [poller for each in runners for poller in each.pollers.values()]
        return [poller.trouble for poller in pollers if poller.trouble is not None]

    def _on_measures(self, _: msgspec.Raw) -> dict[str, dict[str, Any]]:
        accounts: dict[str, Account] = {}
        for runner in self._runners:
            if runner.mapping.enabled:
                runner.add_to(accounts.setdefault(runner.mapping.function, Account()))
        found = {}
        for pool in self._pools:
            totals = {"invocations": pool.invocations, "errors": pool.errors, "throttles": pool.throttles}
            found[pool.function.name] = pool.measures.told(totals)
            if (account := accounts.get(pool.function.name)) is not None:
                found[pool.function.name] |= {
                    "iterator_age_ms": account.iterator_age_ms,
                    "records": {"pending": account.pending, "failed": account.failed, "expired": account.expired},
                }
        return found

    def _on_checkpoints(self, _: msgspec.Raw) -> dict[str, dict[str, dict[str, object]]]:
        found: dict[str, dict[str, dict[str, object]]] = {}
        for runner in self._runners:
            shards = found.setdefault(runner.mapping.function, {}).setdefault(runner.mapping.stream, {})
            for shard, poller in runner.pollers.items():
                if poller.durable is not None:
                    shards[shard_id(shard)] = poller.durable
        return found

    async def _on_reload(self, params: msgspec.Raw) -> dict[str, str | None]:
        name = rpc.decode(params, type=str | None)
        pools = list(self._pools) if name is None else [self._pools.get(name)]
        await asyncio.gather(*(pool.reload() for pool in pools))
        for runner in self._runners:
            if name in (None, runner.mapping.function):
                for poller in runner.pollers.values():
                    poller.hurry()
        return {pool.function.name: _error_text(pool.import_error) if pool.import_error else None for pool in pools}


_invokes = msgspec.msgpack.Decoder(Invoke)


async def start(layout: Layout, system: System, bucket: Callable[[str], Bucket] = connect.bucket) -> RuntimeServer:
    """Start the runtime on a data directory; `bucket` finds the failures buckets."""
    server = RuntimeServer(layout, system, bucket)
    try:
        await server.start()
    except BaseException:
        await server.stop()
        raise
    return server


async def _warm(pool: Pool, *, keep: bool = True) -> None:
    with contextlib.suppress(Exception):  # whoever calls the function is told
        await pool.warm(keep=keep)


def _is_batch(payload: bytes) -> bool:
    event = json.loads(payload)
    return isinstance(event, dict) and "Records" in event


def _problem(reply: Reply, *, is_judged: bool) -> str | None:
    """Return why a replay did not succeed: an error, or a batch response that reports a failure.

    `is_judged`: of a batch whose mapping counts an answer that is no batch response as a failure, too.
    """
    if reply.error:
        return _error_text(reply.payload)
    answer = json.loads(reply.payload)
    if isinstance(answer, dict) and answer.get("batchItemFailures"):
        return "The function reported the record as failed again."
    try:
        if is_judged:
            mapping.reported(answer, lambda _: None)
    except mapping.BadAnswer as bad:
        return f"It counts as failed again: {bad}."
    return None


def _error_text(document: bytes) -> str:
    error = json.loads(document)
    return f"{error.get('errorType')}: {error.get('errorMessage')}"
