"""Puts the roles together: the only file that does. `python -m headrace.app <process>` is one process of the backend.

gateway    HTTP, the stream's log and its wire, the Lambda wire, and what lies under /_headrace/
table      the embedded store
runtime    event source mappings and the dispatch of every invocation
verify     one comparison of log, table, archive and failures; prints JSON and ends
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from headrace import errors, ledger, process, rpc
from headrace.settings import Layout
from headrace.system import System
from headrace.wire import Request, Response, WireError

Stop = Callable[[], Awaitable[None]]

RETENTION_EVERY_S = 30.0


class Status:
    """`/_headrace/health` and `/_headrace/status`: what is going on, from whoever knows it."""

    def __init__(self, layout: Layout, system: System, accepted: Callable[[], int]) -> None:
        self._layout = layout
        self._system = system
        self._accepted = accepted
        self.runtime = rpc.AsyncClient(layout.runtime_socket, patience_s=0.2)
        self.table = rpc.AsyncClient(layout.table_socket, patience_s=0.2)
        self._verifying = asyncio.Lock()

    async def health(self, request: Request) -> Response:
        """Answer whether every process does its work."""
        processes = {"gateway": True, "runtime": True, "table": True}
        for name, client, method in (("runtime", self.runtime, "ping"), ("table", self.table, "ping")):
            try:
                await asyncio.wait_for(client.call(method), 2)
            except Exception:
                processes[name] = False
        ready = all(processes.values())
        return Response(200, msgspec.json.encode({"ready": ready, "processes": processes}))

    async def status(self, request: Request) -> Response:
        """Answer the ledger (DESIGN of the JSON: docs/status.md); `?verify=1` compares everything first."""
        exact = None
        if "verify=1" in request.query:
            async with self._verifying:
                exact = await self._verify()
        accounts = rpc.decode(await self.runtime.call("ledger"), type=dict[str, ledger.Account])
        stats = rpc.decode(await self.table.call("stats"), type=dict[str, Any])
        files = await asyncio.to_thread(self._files)
        events = next((t.name for t in self._system.tables if t.name == "events"), None)
        table = stats["tables"].get(events, {"items": 0, "bytes": 0})
        answer = ledger.summary(
            ready=True, accepted=self._accepted(), accounts=accounts, items=table["items"], table_bytes=table["bytes"],
            **files,
        )  # fmt: skip
        if exact is not None:
            answer["events"] = {"stored": exact["items"], "rejected": exact["rejected"]}
            answer["table"]["items"] = exact["items"]
            answer["archive"]["records"] = exact["archived"]
            answer["failures"]["records"] = sum(exact["failed"].values())
            answer |= {"verified": exact["verified"] and answer["balanced"], "differences": exact["differences"]}
        return Response(200, msgspec.json.encode(answer))

    async def _verify(self) -> dict[str, Any]:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace.app", "verify", stdout=asyncio.subprocess.PIPE, stderr=None
        )
        output, _ = await child.communicate()
        if child.returncode != 0:
            raise RuntimeError(f"The verification ended with status {child.returncode}")
        result: dict[str, Any] = msgspec.json.decode(output)
        return result

    def _files(self) -> dict[str, Any]:
        """Return what the buckets hold, by their listings."""
        from headrace.archive.local import LocalBucket

        declared = {bucket.name for bucket in self._system.buckets}
        raw, count, size, rejected = [], 0, 0, 0
        if "archive" in declared:
            for info in LocalBucket(self._layout.buckets / "archive").list():
                count, size = count + 1, size + info.size
                if parsed := ledger.parse_raw_key(info.key):
                    raw.append(parsed)
        if "failures" in declared:
            rejected = sum(1 for _ in LocalBucket(self._layout.buckets / "failures").list("rejected/"))
        return {"raw": raw, "archive_objects": count, "archive_bytes": size, "rejected": rejected}


def layout_and_system() -> tuple[Layout, System]:
    """Return where this process works, and the system that the supervisor read from the template."""
    layout = Layout(Path(os.environ["HEADRACE_DATA"]))
    return layout, msgspec.json.decode(layout.system.read_bytes(), type=System)


async def gateway() -> Stop:
    """Start the gateway."""
    from headrace.archive.local import LocalBucket
    from headrace.gateway import http
    from headrace.gateway.admin import Admin
    from headrace.gateway.router import Router
    from headrace.runtime.api import Lambda
    from headrace.stream.api import Kinesis
    from headrace.stream.streams import Streams

    layout, system = layout_and_system()
    streams = Streams.open(layout.streams, system.streams)
    buckets = {bucket.name: LocalBucket(layout.buckets / bucket.name) for bucket in system.buckets}
    runtime = rpc.AsyncClient(layout.runtime_socket)
    functions = Lambda(runtime, system, os.environ["HEADRACE_ENDPOINT"])
    status = Status(layout, system, lambda: accepted(streams, system))

    async def replay(function: str, payload: bytes) -> tuple[bool, str | None]:
        answer = await runtime.call("replay", {"function": function, "payload": payload})
        return rpc.decode(answer, type=tuple[bool, str | None])

    admin = Admin(
        layout,
        [function.name for function in system.functions],
        failures=buckets.get("failures"),
        archive=buckets.get("archive"),
        replay=replay,
    )
    router = Router(
        {"Kinesis_20131202.": Kinesis(streams).handle},
        [
            ("/_headrace/health", status.health),
            ("/_headrace/status", status.status),
            ("/_headrace/streams", partial(stream_stats, streams)),
            *admin.paths(),
            *functions.paths(),
        ],
    )
    listener = socket.socket(fileno=int(os.environ["HEADRACE_LISTEN_FD"]))
    server = await http.start(router, listener)
    keeper = asyncio.create_task(keep_retention(streams, runtime))

    async def stop() -> None:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
        await server.stop(5.0)
        await streams.close()

    return stop


async def stream_stats(streams: Any, request: Request) -> Response:
    """Answer, by stream, what its log took since the gateway started and what of it is damaged."""
    answer = {
        stream.name: {
            "records": stream.log.stats.records,
            "bytes": stream.log.stats.bytes,
            "commits": stream.log.stats.commits,
            "damage": [each._asdict() for each in stream.log.damage],
        }
        for stream in streams.all()
    }
    return Response(200, msgspec.json.encode(answer))


def accepted(streams: Any, system: System) -> int:
    """Return how many records the template's streams have accepted since the data directory was made."""
    return sum(sum(streams.live(stream.name).log.next_number.values()) for stream in system.streams)


async def keep_retention(streams: Any, runtime: rpc.AsyncClient) -> None:
    """Delete segments that are past retention and that every enabled mapping has passed, for ever."""
    while True:
        await asyncio.sleep(RETENTION_EVERY_S)
        for name in streams.names():
            # A stream that is being deleted, a runtime that restarts, a disk in trouble: the next round tries again.
            with contextlib.suppress(errors.HeadraceError, WireError, OSError):
                low = rpc.decode(await runtime.call("positions", {"stream": name}), type=int | None)
                await streams.trim(name, low)


async def table() -> Stop:
    """Start the table process."""
    from headrace.table import server

    layout, system = layout_and_system()
    running = await server.start(layout.table, layout.table_socket, [table.name for table in system.tables])
    return running.stop


async def runtime() -> Stop:
    """Start the runtime process."""
    from headrace.runtime import server

    layout, system = layout_and_system()
    running = await server.start(layout, system)
    return running.stop


def verify() -> int:
    """Compare everything, print the outcome as JSON."""
    from headrace.verify import Verification

    layout, system = layout_and_system()
    sys.stdout.buffer.write(msgspec.json.encode(Verification(layout, system).run()))
    return 0


def main() -> int:
    """Run the process that the command line names."""
    name = sys.argv[1]
    if name == "verify":
        return verify()
    return process.run({"gateway": gateway, "table": table, "runtime": runtime}[name])


if __name__ == "__main__":
    sys.exit(main())
