"""A runtime in a process of its own, to be killed: `python -m support.runtime_process <data directory>`."""

import asyncio
import sys
from pathlib import Path

import msgspec
import uvloop

from headrace.archive.local import LocalBucket
from headrace.runtime import server
from headrace.settings import Layout
from headrace.system import System


async def main(layout: Layout) -> None:
    system = msgspec.json.decode(layout.system.read_bytes(), type=System)
    running = await server.start(layout, system, lambda name: LocalBucket(layout.buckets / name))
    await asyncio.Event().wait()
    await running.stop()  # never: what nobody holds is collected, and its socket closed


if __name__ == "__main__":
    uvloop.run(main(Layout(Path(sys.argv[1]))))
