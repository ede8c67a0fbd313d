"""What is going on, from whoever knows it: health, the ledger, streams and their clock, one record's story.

GET /_headrace/health    whether every process does its work
GET /_headrace/status    the ledger; ?verify=1 compares log, table, archive and failures first, ?brief=1 leaves out
                         what takes a listing of the buckets: `archive` and `events`
GET /_headrace/streams   what each log took and holds, and what of it is damaged
GET /_headrace/trace/…   one record's story (trace.py)
"""

import asyncio
from typing import Any

import msgspec

from headrace import disk, errors, ledger, rpc
from headrace.archive import catalogue
from headrace.archive.base import COLD_CLASSES
from headrace.archive.local import LocalBucket
from headrace.operations import child
from headrace.record import parse_shard_id, shard_id
from headrace.settings import Layout
from headrace.stream.streams import Streams
from headrace.system import System
from headrace.timekeeping import Timekeeper
from headrace.wire import Handler, Request, Response

_NO_FILES: dict[str, Any] = {"raw": [], "archive_objects": 0, "archive_bytes": 0, "rejected": 0}


class Status:
    """Handlers for `paths()`."""

    def __init__(self, layout: Layout, system: System, streams: Streams, timekeeper: Timekeeper) -> None:
        self._layout = layout
        self._system = system
        self._streams = streams
        self._timekeeper = timekeeper
        self.runtime = rpc.AsyncClient(layout.runtime_socket, patience_s=0.2)
        self.table = rpc.AsyncClient(layout.table_socket, patience_s=0.2)
        self.metrics = rpc.AsyncClient(layout.metrics_socket, patience_s=0.2)
        self._verifying = asyncio.Lock()

    def paths(self) -> list[tuple[str, Handler]]:
        """Return what to register: path prefix and handler."""
        return [
            ("/_headrace/health", self.health),
            ("/_headrace/status", self.status),
            ("/_headrace/streams", self.streams),
            ("/_headrace/trace", self.trace),
        ]

    async def health(self, request: Request) -> Response:
        """Answer whether every process does its work."""
        processes = {"gateway": True, "runtime": True, "table": True, "metrics": True}
        for name, client in (("runtime", self.runtime), ("table", self.table), ("metrics", self.metrics)):
            try:
                await asyncio.wait_for(client.call("ping"), 2)
            except Exception:
                processes[name] = False
        ready = all(answers for name, answers in processes.items() if name != "metrics")  # events do without
        return Response(200, msgspec.json.encode({"ready": ready, "processes": processes}))

    async def status(self, request: Request) -> Response:
        """Answer the ledger; `?verify=1` compares everything first, `?brief=1` lists no bucket."""
        exact, brief = None, "brief=1" in request.query
        if "verify=1" in request.query:
            async with self._verifying:
                exact = await self._verify()
        taken_in = accepted(self._streams, self._system)  # before the books, which then know all of them
        accounts = rpc.decode(await self.runtime.call("ledger"), type=dict[str, ledger.Account])
        stats = rpc.decode(await self.table.call("stats"), type=dict[str, Any])
        files, cold, damage = (_NO_FILES, {}, None) if brief else await asyncio.to_thread(self._files)
        events = next((t.name for t in self._system.tables if t.name == "events"), None)
        table = stats["tables"].get(events, {"events": 0, "bytes": 0})
        answer = ledger.summary(
            ready=True,
            accepted=taken_in,
            accounts=accounts,
            items=table["events"],
            table_bytes=table["bytes"],
            **files,
        )
        answer["archive"]["cold"] = cold
        if brief:
            del answer["archive"], answer["events"]
        answer["table"]["throttled"] = table.get("throttled", 0)
        answer["clock"] = clock_state(self._timekeeper, self._streams)
        answer |= await self._troubles() | {"archive_error": damage}
        if exact is not None and not brief:
            answer["events"] = {"stored": exact["items"], "rejected": exact["rejected"]}
            answer["table"]["items"] = exact["items"]
            answer["archive"]["records"] = exact["archived"]
            answer["failures"]["records"] = sum(exact["failed"].values())
            answer |= {"verified": exact["verified"] and answer["balanced"], "differences": exact["differences"]}
        return Response(200, msgspec.json.encode(answer))

    async def _troubles(self) -> dict[str, Any]:
        """Return what keeps the system from its work: as functions, the disk and the alarms tell it."""
        functions = rpc.decode(await self.runtime.call("functions"), type=list[dict[str, Any]])
        return {
            "import_errors": {each["name"]: each["error"] for each in functions if each["error"] is not None},
            "mapping_errors": {each["name"]: each["mapping_errors"] for each in functions if each["mapping_errors"]},
            "disk": disk.room(self._layout.data)._asdict(),
            "alarms_on": await self._alarms_on(),
        }

    async def _alarms_on(self) -> dict[str, str] | None:
        """Return the alarms that are on; None while nobody knows: events do without the metrics process."""
        try:
            return rpc.decode(await asyncio.wait_for(self.metrics.call("alarms_on"), 2), type=dict[str, str])
        except (TimeoutError, errors.HeadraceError):
            return None

    async def streams(self, request: Request) -> Response:
        """Answer, by stream, what its log took since the gateway started and what of it is damaged."""
        answer = {
            stream.name: {
                "records": stream.log.stats.records,
                "bytes": stream.log.stats.bytes,
                "commits": stream.log.stats.commits,
                "throttled": stream.log.stats.throttled,
                "damage": [each._asdict() for each in stream.log.damage],
                "shards": {
                    shard_id(shard): {
                        "first": stream.log.first_number.get(shard, 0),
                        "next": following,
                        "last_arrival_ms": stream.log.last_arrival_ms.get(shard, 0),
                    }
                    for shard, following in sorted(stream.log.next_number.items())
                },
                "ahead_of_clock_ms": ahead_of_clock_ms(stream.log.last_arrival_ms, self._streams.now_ms()),
            }
            for stream in self._streams.all()
        }
        return Response(200, msgspec.json.encode(answer))

    async def trace(self, request: Request) -> Response:
        """Answer one record's story (`trace.py`); what it takes is imported with the first request."""

        def answer() -> Response:
            from headrace.operations.trace import Tracer

            return Tracer(self._layout, self._system).answer(request.path)

        return await asyncio.to_thread(answer)

    async def _verify(self) -> dict[str, Any]:
        hint = f"See {self._layout.logs / 'gateway.log'}, and ask again; `headrace doctor` may know more."
        ended = errors.Unavailable("The verification was ended before it was done.", hint)
        result: dict[str, Any] = msgspec.json.decode(await child.ask("verify", {}, ended))
        return result

    def _files(self) -> tuple[dict[str, Any], dict[str, int], str | None]:
        """Return what the buckets hold, by their listings; what of the archive is cold; what can't be read of it."""
        raw, count, size, rejected = [], 0, 0, 0
        cold = {"objects": 0, "bytes": 0}
        for info in LocalBucket(self._layout.buckets / self._system.archive_bucket).list():
            count, size = count + 1, size + info.size
            if info.storage_class in COLD_CLASSES:
                cold = {"objects": cold["objects"] + 1, "bytes": cold["bytes"] + info.size}
            if parsed := ledger.parse_raw_key(info.key):
                raw.append(parsed)
        damage = None
        try:
            raw += compacted(self._layout, self._system)
        except errors.DataDirectoryError as error:
            damage = str(error)
        for name in self._system.failures_buckets:
            rejected += sum(1 for _ in LocalBucket(self._layout.buckets / name).list("rejected/"))
        return {"raw": raw, "archive_objects": count, "archive_bytes": size, "rejected": rejected}, cold, damage


def compacted(layout: Layout, system: System) -> list[ledger.RawObject]:
    """Return which records are compacted, whether their raw objects are there or not."""
    found = catalogue.of(LocalBucket(layout.buckets / system.archive_bucket), layout.archive).compacted()
    return [
        ledger.RawObject(stream, parse_shard_id(shard), first, last, last - first + 1)
        for place, runs in found.items()
        for stream, _, shard in [place.rpartition("/")]
        for first, last in runs
    ]


def accepted(streams: Streams, system: System) -> int:
    """Return how many records the template's streams have accepted since the data directory was made."""
    return sum(sum(streams.live(stream.name).log.next_number.values()) for stream in system.streams)


def ahead_of_clock_ms(last_arrival_ms: dict[int, int], now_ms: int) -> int:
    """Return by how much a stream's last arrival is ahead of the clock, which went back if this is not 0."""
    return max(0, max(last_arrival_ms.values(), default=0) - now_ms)


def clock_state(timekeeper: Timekeeper, streams: Streams) -> dict[str, Any]:
    """Return what `status` says of the clock; times in milliseconds."""
    decision = timekeeper.look()
    ahead = (ahead_of_clock_ms(stream.log.last_arrival_ms, streams.now_ms()) for stream in streams.all())
    return {
        "streams_ahead_ms": max(ahead, default=0),
        "removal_paused": decision.paused,
        "jump_ms": decision.jump_ms,
        "resume_ms": decision.resume_ms,
    }
