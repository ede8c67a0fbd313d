"""Functions that can't be imported: `headrace up` works without them, and says so."""

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from headrace import clock, rpc
from headrace.errors import HeadraceError

LOOK_S = 0.5
WATCH_S_MAX = 120.0


class _Function(msgspec.Struct):
    name: str
    state: str
    error: str | None


def watch(runtime_socket: Path, say: Callable[[str], None]) -> None:
    """Have the runtime try every function, and say once of each what keeps it from being imported."""
    threading.Thread(target=_watch, args=(runtime_socket, say), name="imports", daemon=True).start()


def _watch(runtime_socket: Path, say: Callable[[str], None]) -> None:
    client = rpc.Client(runtime_socket)
    said: set[str] = set()
    deadline_s = clock.monotonic_s() + WATCH_S_MAX
    is_pending = True
    while is_pending and clock.monotonic_s() < deadline_s:
        clock.sleep(LOOK_S)
        try:
            functions = rpc.decode(client.call("try_imports"), type=list[_Function])
        except HeadraceError:  # the runtime restarts, or `up` ends
            continue
        for each in functions:
            if each.error is not None and each.name not in said:
                said.add(each.name)
                say(f"function {each.name} can't be imported: {each.error} (see: headrace logs {each.name})")
        is_pending = any(each.state == "Pending" for each in functions)
    client.close()
