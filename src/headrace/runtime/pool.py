"""The execution environments of each function: started when needed, kept warm, bounded, and reaped.

Every invocation of any kind goes through `Pool.invoke`. A function's reserved concurrency bounds all of its invocations
together; without it, direct ones wait for one of `DIRECT_MAX` turns, and mapped batches for one of as many as there are
processors. A batch that has waited `OVERTAKE_S` goes ahead in any case: a batch that hangs until its timeout must not
hold up the other shards.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator

from headrace import clock
from headrace.errors import NotFound, Throttled, Unavailable
from headrace.runtime import environment, function_log, memory
from headrace.runtime.execution import Execution, NeverStarted
from headrace.runtime.measures import Measures
from headrace.runtime.messages import Call, Reply
from headrace.settings import Layout
from headrace.system import Function, System

PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
DIRECT_MAX = PROCESSORS + 2
WAITING_MAX = 1000  # direct invokes of one function; more are throttled
OVERTAKE_S = 1.0
IDLE_S = 30.0  # then an environment beyond the first is ended
STARTS_MAX = 5  # environments tried for one invocation
IMPORT_ERROR_S = 1.0  # how long an import error answers without a new process

Start = Callable[[Function, int], Awaitable[Execution]]


class Pool:
    """One function's environments."""

    def __init__(self, function: Function, start: Start) -> None:
        self.function = function
        self.invocations = self.errors = self.throttles = 0
        self.measures = Measures()
        self.import_error: bytes | None = None
        self.imported = False
        self._start = start
        self._idle: list[Execution] = []  # the most recently used last
        self._all: dict[int, Execution | None] = {}  # slot -> environment; None while it starts
        self._import_error_until_s = 0.0
        self._reserved = None if function.reserved_concurrency is None else Turns(function.reserved_concurrency)
        self._direct = Turns(DIRECT_MAX)
        self._mapped = Turns(PROCESSORS)
        self._stopping = False
        self._generation = 0  # of the code

    async def invoke(self, call: Call) -> Reply:
        """Call the function for a caller who waits; raises Throttled, or Unavailable while stopping."""
        turns = self._reserved or self._direct
        if not turns.take():
            if turns is self._reserved or turns.waiting >= WAITING_MAX:
                self.throttles += 1
                raise Throttled("Rate Exceeded.", "Try again with backoff, or raise ReservedConcurrentExecutions.")
            await turns.wait()
        try:
            return await self._call(call)
        finally:
            turns.give()

    async def invoke_mapped(self, call: Call) -> Reply:
        """Call the function with a batch, waiting for a turn as long as it takes; raises Unavailable while stopping."""
        in_turn = self._mapped.take() or await self._mapped.wait(OVERTAKE_S)
        try:
            if self._reserved is not None and not self._reserved.take():
                await self._reserved.wait()
            try:
                return await self._call(call)
            finally:
                if self._reserved is not None:
                    self._reserved.give()
        finally:
            if in_turn:
                self._mapped.give()

    async def warm(self, *, keep: bool = True) -> None:
        """Import the function, so that an import error is known; unless `keep`, its environment is ended again."""
        if self._all or not self._mapped.take():
            return
        try:
            execution = await self._started()
            if execution is not None:
                execution.retired = not keep
                self._put_back(execution)
        finally:
            self._mapped.give()

    def retire(self) -> None:
        """End every environment once it is idle: the next call imports the function anew."""
        self.import_error = None
        self._import_error_until_s = 0.0
        self._generation += 1
        for execution in self._all.values():
            if execution is not None:
                execution.retired = True
        while self._idle:
            self._idle.pop().close()

    async def reload(self) -> None:
        """Have the code on disk called from now on; return once it is known whether it can be imported."""
        self.retire()
        execution = await self._started()
        if execution is not None:
            self._put_back(execution)

    def tidy(self, now_s: float) -> None:
        """Reap environments idle for long, keeping one; bound the logs of busy ones."""
        while len(self._idle) > 1 and now_s - self._idle[0].idle_since_s > IDLE_S:
            self._idle.pop(0).close()
        for execution in self._all.values():
            if execution is not None and execution not in self._idle:
                function_log.bound(execution.log)

    def workers(self) -> list[int]:
        """Return the process ids of the environments that live."""
        return [execution.pid for execution in self._all.values() if execution is not None and not execution.dead]

    def watched(self) -> list[Execution]:
        """Return the environments whose memory is to be looked at: those that work, or have worked since the last look.

        An idle one that keeps too much ends too: it would be killed in its next invocation.
        """
        found = []
        for execution in self._all.values():
            if execution is not None and not execution.dead and (execution.worked or execution.is_busy):
                execution.worked = False
                found.append(execution)
        return found

    async def stop(self, grace_s: float) -> None:
        """End all environments; those that are busy have `grace_s` to finish."""
        self._stopping = True
        self.retire()
        deadline_s = clock.monotonic_s() + grace_s
        while self._all and clock.monotonic_s() < deadline_s:
            await asyncio.sleep(0.01)
        for execution in list(self._all.values()):
            if execution is not None:
                execution.kill()
                await execution.ended()

    async def _call(self, call: Call) -> Reply:
        self.invocations += 1
        for _ in range(STARTS_MAX):
            execution = await self._take()
            if execution is None:
                assert self.import_error is not None
                self.errors += 1
                return Reply(self.import_error, error=True)
            began_s = clock.monotonic_s()
            self.measures.begin()
            try:
                reply = await execution.call(call)
                self.measures.took(clock.monotonic_s() - began_s)
                if not execution.retired:
                    self.import_error = None  # another one that could not be started says nothing of the code
            except NeverStarted:
                continue  # it was killed while it was idle
            except asyncio.CancelledError:
                execution.kill()
                raise
            finally:
                self.measures.end()
                self._put_back(execution)
            self.errors += reply.error
            return reply
        raise Unavailable("The function's environments end before they are called.", "See what kills them.")

    async def _take(self) -> Execution | None:
        """Return an environment that is ready; None for an import error."""
        while self._idle:
            execution = self._idle.pop()
            if not execution.dead:
                return execution
        if self.import_error is not None and clock.monotonic_s() < self._import_error_until_s:
            return None
        return await self._started()

    async def _started(self) -> Execution | None:
        if self._stopping:
            raise Unavailable("The runtime is stopping.", "Try again.")
        slot = next(slot for slot in range(len(self._all) + 1) if slot not in self._all)
        self._all[slot] = None
        generation = self._generation
        try:
            execution = await self._start(self.function, slot)
        except BaseException as error:
            del self._all[slot]
            if isinstance(error, OSError):
                raise Unavailable(
                    f"No process can be started: {error}.", "Raise the limits, or free memory."
                ) from error
            raise
        self._all[slot] = execution
        execution.when_ended(lambda: self._forget(slot, execution))
        try:
            self.import_error = await execution.ready()
        except asyncio.CancelledError:
            execution.kill()
            raise
        if generation != self._generation and not self._stopping:  # the code changed while it was imported
            execution.close()
            return await self._started()
        self.imported = self.import_error is None
        if self.import_error is not None:
            self._import_error_until_s = clock.monotonic_s() + IMPORT_ERROR_S
            return None
        return execution

    def _forget(self, slot: int, execution: Execution) -> None:
        if self._all.get(slot) is execution:
            del self._all[slot]
        if execution in self._idle:
            self._idle.remove(execution)

    def _put_back(self, execution: Execution) -> None:
        if execution.dead:
            return
        if execution.retired or self._stopping:
            execution.close()
            return
        execution.idle_since_s = clock.monotonic_s()
        self._idle.append(execution)


class Turns:
    """At most `limit` at once, first come, first served."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._queue: list[asyncio.Future[None]] = []

    @property
    def waiting(self) -> int:
        """Return how many wait."""
        return len(self._queue)

    def take(self) -> bool:
        """Take a turn if there is one at once."""
        if self._free > 0 and not self._queue:
            self._free -= 1
            return True
        return False

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for a turn; return whether one was taken within the time."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException as error:
            if turn in self._queue:
                self._queue.remove(turn)
            elif turn.done() and not turn.cancelled():
                if isinstance(error, TimeoutError):
                    return True  # it came at the last moment
                self.give()
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def give(self) -> None:
        """Give a turn back."""
        while self._queue:
            turn = self._queue.pop(0)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Pools:
    """All functions' environments."""

    def __init__(self, system: System, layout: Layout, inherited: dict[str, str]) -> None:
        self._layout = layout
        self._inherited = inherited
        self._by_name = {function.name: Pool(function, self._start) for function in system.functions}

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Pool:
        """Return a function's pool; raises NotFound."""
        pool = self._by_name.get(name)
        if pool is None:
            raise NotFound(f"There is no function {name!r}.", f"The template has: {', '.join(sorted(self._by_name))}.")
        return pool

    async def tidied(self) -> None:
        """Keep the pools tidy, for ever."""
        while True:
            await asyncio.sleep(1.0)
            now_s = clock.monotonic_s()
            for pool in self._by_name.values():
                pool.tidy(now_s)

    async def memory_watched(self) -> None:
        """End environments that use more memory than their function may, for ever."""
        groups = memory.Groups()
        while memory.CAN_TELL:
            await asyncio.sleep(memory.LOOK_S)
            watched = {each.pid: (each, pool) for pool in self._by_name.values() for each in pool.watched()}
            with contextlib.suppress(OSError):  # no descriptors are left, say: the next look is soon
                for leader, pids in groups.of(watched).items() if watched else ():
                    execution, pool = watched[leader]
                    function_log.bound(execution.log)
                    execution.note_memory(memory.used_bytes(pids, pool.function.memory_mb * memory.MIB))

    async def stop(self, grace_s: float) -> None:
        """End all environments; busy ones have `grace_s` to finish."""
        await asyncio.gather(*(pool.stop(grace_s) for pool in self._by_name.values()))

    async def _start(self, function: Function, slot: int) -> Execution:
        log = self._layout.logs / "functions" / function.name / f"{slot}.log"
        return await Execution.started(
            function, slot, log, environment.variables(function, self._layout, self._inherited)
        )
