"""SIGKILL of the runtime process: batches come back, no attempt is forgotten, accepted invokes are done."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from support.runtime import SOUND, Runtime, is_alive

ALWAYS_FAILS = """
def handler(event, context):
    note([len(event["Records"]), os.getpid()])
    time.sleep(0.1)
    raise RuntimeError("always")
"""


def run(
    runtime: Runtime, scenario: Callable[[Runtime, list[subprocess.Popen[bytes]]], Coroutine[Any, Any, None]]
) -> None:
    async def main() -> None:
        runtime.open_log()
        processes = [runtime.start_process()]
        try:
            await scenario(runtime, processes)
        finally:
            processes[-1].kill()
            processes[-1].wait()
            await runtime.client.close()
            await runtime.log.close()

    uvloop.run(main())


async def kill_and_start(runtime: Runtime, processes: list[subprocess.Popen[bytes]]) -> None:
    processes[-1].kill()
    processes[-1].wait()
    await runtime.client.close()
    processes.append(runtime.start_process())


async def calls(runtime: Runtime, count: int) -> list[list[int]]:
    """Return the calls noted so far, once there are `count`."""
    deadline = time.monotonic() + 20
    while len(found := runtime.seen("f")) < count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
    return found


def test_five_retries_with_kills_of_runtime_and_worker_are_six_calls_and_one_more_a_kill(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime, processes: list[subprocess.Popen[bytes]]) -> None:
        await runtime.put("a", "b")
        await calls(runtime, 2)
        await kill_and_start(runtime, processes)
        await runtime.put("c", "d")  # the journalled batch must not grow
        worker = (await calls(runtime, 4))[-1][1]
        with contextlib.suppress(ProcessLookupError):  # it may be the former runtime's
            os.kill(worker, signal.SIGKILL)
        await calls(runtime, 5)
        await kill_and_start(runtime, processes)
        await runtime.until("f", failed=4, pending=0)
        sizes = [size for size, _ in runtime.seen("f")]
        first_batch = [document for document in runtime.documents() if len(document["payload"]["Records"]) == 2]
        assert set(sizes) == {2}
        assert len(runtime.documents()) == len(first_batch) == 2
        assert {document["requestContext"]["approximateInvokeCount"] for document in first_batch} == {6}
        assert 12 <= len(sizes) <= 12 + 3

    run(Runtime(tmp_path, {"f": ALWAYS_FAILS}, {"f": {"retries": 5}}), scenario)


def test_workers_end_with_their_runtime_and_every_record_is_processed(tmp_path: Path) -> None:
    source = """
    def handler(event, context):
        time.sleep(0.02)
        note([os.getpid(), *values(event)])
    """

    async def scenario(runtime: Runtime, processes: list[subprocess.Popen[bytes]]) -> None:
        for kill in range(3):
            for number in range(20):
                await runtime.put(kill * 20 + number, shard=number % 2)
                await asyncio.sleep(0.01)
            await calls(runtime, kill + 1)
            await kill_and_start(runtime, processes)
        await runtime.until("f", processed=60, pending=0)
        seen = runtime.seen("f")
        former = {pid for pid, *_ in seen} - set(workers(processes[-1].pid))
        assert {number for _, *numbers in seen for number in numbers} == set(range(60))
        for shard in range(2):
            firsts = list(dict.fromkeys(n for _, *numbers in seen for n in numbers if n % 20 % 2 == shard))
            assert firsts == sorted(firsts)
        deadline = time.monotonic() + 5
        while any(is_alive(pid) for pid in former):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    run(Runtime(tmp_path, {"f": source}, {"f": {"batch_size": 7}}, shards=2), scenario)


def test_what_a_function_has_left_running_ends_with_the_runtime(tmp_path: Path) -> None:
    source = """
    import subprocess
    def handler(event, context):
        return [subprocess.Popen(["sleep", "600"], start_new_session=alone).pid for alone in (False, True)]
    """

    async def scenario(runtime: Runtime, processes: list[subprocess.Popen[bytes]]) -> None:
        left = (await runtime.invoke("f")).payload
        assert all(map(is_alive, left))
        processes[-1].kill()
        deadline = time.monotonic() + 20
        while any(map(is_alive, left)):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    run(Runtime(tmp_path, {"f": source}), scenario)


def workers(runtime_pid: int) -> list[int]:
    """Return the runtime's children."""
    return [int(pid) for pid in Path(f"/proc/{runtime_pid}/task/{runtime_pid}/children").read_text().split()]


def test_accepted_invokes_survive_with_their_request_ids(tmp_path: Path) -> None:
    source = """
    def handler(event, context):
        note([event, context.aws_request_id])
        time.sleep(0.05)
    """

    async def scenario(runtime: Runtime, processes: list[subprocess.Popen[bytes]]) -> None:
        accepted = {}
        for number in range(20):
            answer = await runtime.invoke("f", number, kind="Event")
            assert answer.status == 202
            accepted[number] = answer.request_id
        await calls(runtime, 3)
        await kill_and_start(runtime, processes)
        await calls(runtime, 12)
        await kill_and_start(runtime, processes)
        deadline = time.monotonic() + 20
        while list(runtime.layout.invokes.rglob("*.json")):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        seen = runtime.seen("f")
        assert dict(map(tuple, seen)) == accepted
        assert len(seen) <= 20 + 2 * (os.cpu_count() or 1)

    run(Runtime(tmp_path, {"f": source, "other": SOUND}), scenario)


def test_a_document_is_written_once_however_often_giving_up_is_cut_off(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime, processes: list[subprocess.Popen[bytes]]) -> None:
        # The bucket's folder is a file: the document can't be written, the decision to give up is made.
        runtime.layout.buckets.mkdir(parents=True)
        blocked = runtime.layout.buckets / "failures"
        blocked.write_text("")
        await runtime.put("a", "b")
        await calls(runtime, 1)
        deadline = time.monotonic() + 20
        while not (await runtime.call("functions"))[0]["mapping_errors"]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert (await runtime.account("f"))["pending"] == 2
        await kill_and_start(runtime, processes)
        blocked.unlink()
        await runtime.until("f", failed=2, pending=0)
        assert len(runtime.seen("f")) == 1
        assert [len(document["payload"]["Records"]) for document in runtime.documents()] == [2]
        assert json.dumps(runtime.documents()[0]["requestContext"]["approximateInvokeCount"]) == "1"

    run(Runtime(tmp_path, {"f": ALWAYS_FAILS}, {"f": {"retries": 0}}), scenario)
