"""One request done by a process of its own: what is wanted on its standard input, the answer on its standard output.

What takes long, or much memory, is done so: the gateway goes on meanwhile, and what goes wrong ends that process alone.
"""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path

import msgspec

from headrace import disk, process, rpc
from headrace.errors import HeadraceError


class _Outcome(msgspec.Struct):
    error: tuple[str, str, str] | None = None


async def start(*words: str, stdout: int = PIPE) -> Process:
    """Start `python -m headrace.app WORDS…`, which ends with the supervisor; what it complains of is in our log."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headrace.app", *words, stdin=PIPE, stdout=stdout, pass_fds=process.lifeline()
    )


async def tell(child: Process, wanted: object) -> None:
    """Hand over what is wanted; a process that was ended already takes nothing."""
    assert child.stdin is not None
    with contextlib.suppress(ConnectionError, RuntimeError):  # the second is uvloop's word for a closed pipe
        child.stdin.write(msgspec.json.encode(wanted))
        await child.stdin.drain()
    child.stdin.close()


async def ask(name: str, wanted: object, ended: HeadraceError) -> bytes:
    """Have a process do what is wanted; return its answer, a JSON object. If this is cancelled, it is killed.

    Raises the HeadraceError that it answers, or `ended` where it was ended before it answered.
    """
    child = await start(name)
    assert child.stdout is not None
    try:
        await tell(child, wanted)
        answer = await child.stdout.read()
        status = await child.wait()
    except asyncio.CancelledError:
        child.kill()
        raise
    if status != 0:
        raise ended
    error = msgspec.json.decode(answer, type=_Outcome).error
    if error is not None:
        raise rpc.error_of(error)
    return answer


def answered(work: Callable[[], object]) -> bytes:
    """Return what `work` returns, or the HeadraceError that it raises, as `ask` reads it; in the process itself.

    So with what the operating system refuses: on a disk that takes no writes, the log would not have it either.
    """
    try:
        return msgspec.json.encode(work())
    except HeadraceError as error:
        return msgspec.json.encode({"error": rpc.describe(error)})
    except OSError as error:
        return msgspec.json.encode({"error": rpc.describe(disk.storage_error(Path(str(error.filename)), error))})
