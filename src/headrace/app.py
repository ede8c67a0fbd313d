"""Puts the roles together: the only file that does. `python -m headrace.app <process>` is one process of the backend.

gateway    HTTP, the stream's log and its wire, the Lambda wire, and what lies under /_headrace/
table      the embedded store
runtime    event source mappings and the dispatch of every invocation
metrics    the metric store and the alarms
console    the page for people; started with the first request for it, ends when nobody looks
warehouse  the DuckDB file and the Redshift Data API over it; started with the first request, ends when idle
jobs       the schedules, and the runs of jobs
job        one attempt of a run; ends
archive-sql  one query over the archive; writes its result to a file and ends
bills, erase, export, verify   one request: reads it, answers it as JSON and ends (`operations/child.py`)
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headrace import errors, process, rpc
from headrace.settings import Layout
from headrace.system import System
from headrace.timekeeping import Timekeeper

if TYPE_CHECKING:
    from headrace.gateway.admin import Admin

BOOKS_S_MAX = 3.0  # at a start, for the gateway to open the streams

Stop = Callable[[], Awaitable[None]]


def layout_and_system() -> tuple[Layout, System]:
    """Return where this process works, and the system that the supervisor read from the template."""
    layout = Layout(Path(os.environ["HEADRACE_DATA"]))
    return layout, msgspec.json.decode(layout.system.read_bytes(), type=System)


def enforce_limits() -> bool:
    """Return whether AWS's limits are to be enforced (`up --enforce-limits`)."""
    return bool(os.environ.get("HEADRACE_ENFORCE_LIMITS"))


def restore_speed() -> float:
    """Return how much faster than on AWS cold objects are restored (`up --restore-speed`)."""
    return float(os.environ.get("HEADRACE_RESTORE_SPEED") or 1)


def listening() -> socket.socket:
    """Return the socket that the supervisor opened for this process to accept on."""
    return socket.socket(fileno=int(os.environ["HEADRACE_LISTEN_FD"]))


async def gateway() -> Stop:
    """Start the gateway."""
    from headrace.gateway import http
    from headrace.gateway.console import Console
    from headrace.gateway.origin import Guard, is_loopback
    from headrace.gateway.router import Router
    from headrace.jobs.api import JobsApi
    from headrace.metrics import api as cloudwatch
    from headrace.operations.archive_sql import ArchiveSql
    from headrace.operations.bills import Bills
    from headrace.operations.devices import Devices
    from headrace.operations.export import Exports
    from headrace.operations.keeper import StreamMeter, keep_retention
    from headrace.operations.lifecycle import Lifecycle
    from headrace.operations.status import Status
    from headrace.runtime.api import Lambda
    from headrace.stream import api as kinesis
    from headrace.stream.streams import Streams
    from headrace.warehouse import api as redshift_data

    process.raise_file_limit()
    layout, system = layout_and_system()
    streams = Streams.open(layout.streams, system.streams, enforce_limits=enforce_limits())
    runtime = rpc.AsyncClient(layout.runtime_socket)
    functions = Lambda(runtime, system, os.environ["HEADRACE_ENDPOINT"])
    timekeeper = Timekeeper(layout.clock, writer=True)
    status = Status(layout, system, streams, timekeeper)
    lifecycle = Lifecycle(layout, system, timekeeper, restore_speed=restore_speed())
    metrics = cloudwatch.CloudWatchApi(rpc.AsyncClient(layout.metrics_socket))
    archive_sql = ArchiveSql(layout)
    warehouse = redshift_data.RedshiftDataApi(rpc.AsyncClient(layout.warehouse_socket))
    stream_api = kinesis.Kinesis(streams)
    router = Router(
        {
            kinesis.TARGET: stream_api.handle,
            cloudwatch.TARGET: metrics.handle,
            redshift_data.TARGET: warehouse.handle,
        },
        [
            *status.paths(),
            *Exports(layout).paths(),
            *Devices(layout, system).paths(),
            *archive_sql.paths(),
            *Bills(layout).paths(),
            *_admin(layout, system, runtime).paths(),
            *lifecycle.paths(),
            *metrics.paths(),
            *JobsApi(rpc.AsyncClient(layout.jobs_socket)).paths(),
            *functions.paths(),
            *Console(layout.console_socket, layout.logs / "console.log").paths(),
        ],
        Guard(loopback=is_loopback(os.environ["HEADRACE_ENDPOINT"]), name=os.environ.get("HEADRACE_HOST", "")),
        in_cbor={kinesis.TARGET: stream_api.handle_cbor},
    )
    server = await http.start(router, listening())
    keeper = asyncio.create_task(keep_retention(streams, runtime, timekeeper))
    aging = asyncio.create_task(lifecycle.forever())
    meter = StreamMeter(streams, rpc.AsyncClient(layout.metrics_socket, patience_s=0.5))
    metering = asyncio.create_task(meter.forever())

    async def stop() -> None:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
        archive_sql.stop()
        aging.cancel()
        lifecycle.stop()
        metering.cancel()
        await server.stop(5.0)
        with contextlib.suppress(errors.HeadraceError, TimeoutError):
            await asyncio.wait_for(meter.tell(), 1)
        await streams.close()

    return stop


def _admin(layout: Layout, system: System, runtime: rpc.AsyncClient) -> "Admin":
    """Return the gateway's handlers over buckets and logs."""
    from headrace.archive.local import LocalBucket
    from headrace.archive.union import UnionBucket
    from headrace.gateway.admin import Admin

    async def replay(function: str, payload: bytes) -> tuple[bool, str | None]:
        answer = await runtime.call("replay", {"function": function, "payload": payload})
        return rpc.decode(answer, type=tuple[bool, str | None])

    archives = [bucket.name for bucket in system.buckets if bucket.name == system.archive_bucket]
    return Admin(
        layout,
        [function.name for function in system.functions],
        failures=UnionBucket([LocalBucket(layout.buckets / name) for name in system.failures_buckets]),
        archive=LocalBucket(layout.buckets / archives[0]) if archives else None,
        replay=replay,
    )


async def console() -> Stop:
    """Start the console."""
    from headrace.console import server

    idle_s = server.parse_idle_s(os.environ.get("HEADRACE_CONSOLE_IDLE_S", ""))
    running = await server.start(listening(), os.environ["HEADRACE_ENDPOINT"], idle_s)
    return running.stop


async def warehouse() -> Stop:
    """Start the warehouse."""
    from headrace.archive.local import LocalBucket
    from headrace.warehouse import server

    layout, system = layout_and_system()
    settings = server.settings_of(os.environ)
    server.yield_to_ingest(settings.memory_mb)
    buckets = {bucket.name: LocalBucket(layout.buckets / bucket.name) for bucket in system.buckets}
    running = server.Warehouse(layout, buckets, system.failures_buckets, system.readings, settings)
    await running.listen(listening())
    return running.stop


async def metrics() -> Stop:
    """Start the metrics process."""
    from headrace.metrics import server

    layout, system = layout_and_system()
    timekeeper = Timekeeper(layout.clock)
    webhook = os.environ.get("HEADRACE_WEBHOOK", "")
    running = await server.start(layout, system, webhook=webhook, may_remove=lambda: not timekeeper.check().paused)
    return running.stop


async def table() -> Stop:
    """Start the table process."""
    from headrace.table import server

    layout, system = layout_and_system()
    timekeeper = Timekeeper(layout.clock)
    running = await server.start(
        layout.table,
        layout.table_socket,
        [table.name for table in system.tables],
        may_remove=lambda: not timekeeper.check().paused,
        write_units={table.name: table.write_units for table in system.tables if table.write_units}
        if enforce_limits()
        else {},
    )
    return running.stop


async def runtime() -> Stop:
    """Start the runtime process."""
    from headrace.runtime import server

    layout, system = layout_and_system()
    running = await server.start(layout, system)
    await running.wait_for_books(BOOKS_S_MAX)
    return running.stop


async def jobs() -> Stop:
    """Start the jobs process."""
    from headrace.jobs import server

    layout, system = layout_and_system()
    timekeeper = Timekeeper(layout.clock)
    running = await server.start(layout, system, is_believed=lambda: not timekeeper.check().paused)
    return running.stop


def job(name: str) -> int:
    """Do one attempt of the run HEADRACE_RUN of a job."""
    from headrace.operations.job import attempt

    process.follow_supervisor()
    layout, system = layout_and_system()
    return attempt(layout, system, name, os.environ["HEADRACE_RUN"])


def archive_sql(name: str) -> int:
    """Answer a query over the archive; what is wanted is on standard input, the result goes to files."""
    from headrace.operations.archive_query import run

    process.follow_supervisor()
    layout, system = layout_and_system()
    return run(layout, system, name, sys.stdin.buffer.read())


def bills(layout: Layout, system: System, body: bytes) -> object:
    """Look at the bills."""
    from headrace.operations.bills import read

    return read(layout, system, body)


def erase(layout: Layout, system: System, body: bytes) -> object:
    """Erase a device."""
    from headrace.operations.erase import run

    return run(layout, system, body)


def export(layout: Layout, system: System, body: bytes) -> object:
    """Write an export of the archive."""
    from headrace.operations.export import write

    return write(layout, system, body)


def verify(layout: Layout, system: System, _: bytes) -> object:
    """Compare everything."""
    from headrace.operations.verify import Verification

    return Verification(layout, system).run()


def answer(work: Callable[[Layout, System, bytes], object]) -> int:
    """Do the one request that is on standard input, and answer on standard output (`operations/child.py`)."""
    from headrace.operations import child

    process.follow_supervisor()
    layout, system = layout_and_system()
    body = sys.stdin.buffer.read()
    sys.stdout.buffer.write(child.answered(lambda: work(layout, system, body)))
    return 0


def main() -> int:
    """Run the process that the command line names."""
    match sys.argv[1:]:
        case ["job", name]:
            return job(name)
        case ["archive-sql", name]:
            return archive_sql(name)
        case [name] if name in ANSWERING:
            return answer(ANSWERING[name])
    return process.run(LASTING[sys.argv[1]])


LASTING = {
    "gateway": gateway,
    "table": table,
    "runtime": runtime,
    "metrics": metrics,
    "jobs": jobs,
    "console": console,
    "warehouse": warehouse,
}
ANSWERING = {"bills": bills, "erase": erase, "export": export, "verify": verify}


if __name__ == "__main__":
    sys.exit(main())
