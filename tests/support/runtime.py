"""A runtime on a folder of its own: handlers are written as text, records go straight into the log."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid4, uuid5

import msgspec
import uvloop

from headrace import clock, disk, rpc
from headrace.archive.local import LocalBucket
from headrace.runtime import server
from headrace.settings import Layout
from headrace.stream import catalog
from headrace.stream.log import Log
from headrace.system import Function, Mapping, Stream, System

STREAM = "readings"

PREAMBLE = """
import base64, json, os, sys, time

def note(value):
    with open(os.environ["SEEN"], "a") as file:
        file.write(json.dumps(value) + "\\n")

def values(event):
    return [json.loads(base64.b64decode(record["kinesis"]["data"])) for record in event["Records"]]

"""

SOUND = """
def handler(event, context):
    note(values(event) if "Records" in event else event)
"""


class Answer(NamedTuple):
    status: int
    payload: Any
    error: str | None
    log: str | None
    request_id: str


class Runtime:
    """One runtime: `functions` are handler sources by name, `mappings` the settings of those that have one."""

    def __init__(
        self,
        folder: Path,
        functions: dict[str, str],
        mappings: dict[str, dict[str, Any]] | None = None,
        *,
        shards: int = 1,
        settings: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self.folder = folder
        self.code = folder / "code"
        self.code.mkdir(parents=True, exist_ok=True)
        self.layout = Layout(folder / "data")
        self.shards = shards
        for name, source in functions.items():
            self.write(name, source)
        self.system = System(
            template="template.yaml",
            parameters={},
            streams=(Stream(logical_id="Readings", name=STREAM, shards=shards),),
            functions=tuple(self._function(name, (settings or {}).get(name, {})) for name in functions),
            mappings=tuple(
                Mapping(
                    logical_id=f"{name}Mapping", uuid=str(uuid5(NAMESPACE_URL, name)),
                    function=name, stream=STREAM, **rules,
                )
                for name, rules in (mappings or {}).items()
            ),
        )  # fmt: skip
        self.failures = LocalBucket(self.layout.buckets / "failures")
        self.log: Log
        self.server: server.RuntimeServer
        self.client: rpc.AsyncClient

    def _function(self, name: str, settings: dict[str, Any]) -> Function:
        variables = {"SEEN": str(self.folder / f"{name}.seen"), "FOLDER": str(self.folder)}
        return Function(
            logical_id=name, name=name, handler=f"{name}.handler", code=str(self.code),
            **{"timeout_s": 10, "environment": variables, **settings},
        )  # fmt: skip

    def write(self, name: str, source: str) -> None:
        (self.code / f"{name}.py").write_text(PREAMBLE + textwrap.dedent(source))

    async def start(self) -> "Runtime":
        os.environ["HEADRACE_DATA"] = str(self.layout.data)
        self.server = await server.start(self.layout, self.system, lambda name: LocalBucket(self.layout.buckets / name))
        self.client = rpc.AsyncClient(self.layout.runtime_socket)
        return self

    async def stop(self, grace_s: float = 0.5) -> None:
        await self.client.close()
        await self.server.stop(grace_s)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def start_process(self) -> subprocess.Popen[bytes]:
        """Start the runtime in a process that can be killed; `client` finds it."""
        disk.write_file(self.layout.system, msgspec.json.encode(self.system))
        tests = str(Path(__file__).resolve().parents[1])
        environment = {**os.environ, "HEADRACE_DATA": str(self.layout.data), "PYTHONPATH": tests}
        command = [sys.executable, "-m", "support.runtime_process", str(self.layout.data)]
        self.client = rpc.AsyncClient(self.layout.runtime_socket, patience_s=20)
        return subprocess.Popen(command, env=environment)

    def open_log(self) -> None:
        folder = self.layout.streams / STREAM
        folder.mkdir(parents=True, exist_ok=True)
        if catalog.load(folder) is None:
            catalog.save(folder, catalog.new_stream(STREAM, self.shards, clock.now_ms() // 1000))
        self.log = Log.open(folder, stream=STREAM, shards=self.shards)

    async def put(self, *data: object, shard: int = 0) -> None:
        """Append records, one commit."""
        entries = [(shard, f"key-{shard}".encode(), item if isinstance(item, bytes) else json.dumps(item).encode())
                   for item in data]  # fmt: skip
        await self.log.append(entries)

    async def call(self, method: str, params: object = None) -> Any:
        return rpc.decode(await self.client.call(method, params))

    async def invoke(self, function: str, event: object = None, **params: Any) -> Answer:
        payload = event if isinstance(event, bytes) else json.dumps(event).encode()
        asked = {"function": function, "payload": payload, "request_id": str(uuid4()), **params}
        found = await self.call("invoke", asked)
        log = found["log"]
        return Answer(
            found["status"], json.loads(found["payload"] or b"null"), found["error"],
            log.decode() if log is not None else None, found["request_id"],
        )  # fmt: skip

    async def account(self, function: str) -> dict[str, int]:
        ledger: dict[str, dict[str, int]] = await self.call("ledger")
        account = ledger[function]
        parts = ("processed", "failed", "filtered", "expired", "pending")
        assert account["eligible"] == sum(account[part] for part in parts), account
        return account

    async def until(self, function: str, timeout_s: float = 30, **expected: int) -> dict[str, int]:
        """Wait until the function's books say so; they must balance all the while."""
        deadline = time.monotonic() + timeout_s
        while True:
            account = await self.account(function)
            if all(account[name] == value for name, value in expected.items()):
                return account
            assert time.monotonic() < deadline, (
                f"{function}: {account}, expected {expected}\n{self.function_log(function)}"
            )
            await asyncio.sleep(0.02)

    async def settled(self, function: str, timeout_s: float = 30) -> dict[str, int]:
        return await self.until(function, timeout_s, pending=0)

    def seen(self, function: str) -> list[Any]:
        """Return what the handler noted with `note(value)`: one JSON value a line."""
        path = self.folder / f"{function}.seen"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def documents(self, prefix: str = "") -> list[dict[str, Any]]:
        return [json.loads(self.failures.get(info.key)) for info in self.failures.list(prefix)]

    def function_log(self, function: str) -> str:
        folder = self.layout.logs / "functions" / function
        return (
            "".join(path.read_text(errors="replace") for path in sorted(folder.glob("*.log")))
            if folder.exists()
            else ""
        )


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextlib.asynccontextmanager
async def running(runtime: Runtime) -> AsyncIterator[Runtime]:
    runtime.open_log()
    try:
        await runtime.start()
        try:
            yield runtime
        finally:
            await runtime.stop()
    finally:
        await runtime.log.close()


def run(runtime: Runtime, scenario: Callable[[Runtime], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario against a started runtime."""

    async def main() -> None:
        async with running(runtime):
            await scenario(runtime)

    uvloop.run(main())
