"""Functions that misbehave in every way, in real worker processes: none costs anybody else anything."""

import asyncio
import itertools
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime import memory
from support.runtime import SOUND, Runtime, is_alive, run

FAULTS = {
    "raises": ("raise ValueError('no good')", "ValueError", "no good"),
    "raises a BaseException": ("raise KeyboardInterrupt", "Runtime.ExitError", "exit status 1"),
    "exits": ("sys.exit(3)", "Runtime.ExitError", "exit status 3"),
    "exits as if all were well": ("sys.exit(0)", "Runtime.ExitError", "exited without providing a reason"),
    "exits at once": ("os._exit(4)", "Runtime.ExitError", "exit status 4"),
    "is killed": ("os.kill(os.getpid(), 9)", "Runtime.ExitError", "signal: killed"),
    "crashes": ("os.kill(os.getpid(), 11)", "Runtime.ExitError", "signal: segmentation fault"),
    "hangs": ("time.sleep(60)", "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
    "hangs busily": ("while True: pass", "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
    "closes every descriptor": ("os.closerange(3, 100)", "Runtime.ExitError", "exit status 1"),
    "returns a set": ("return {1, 2}", "Runtime.MarshalError", "set is not JSON serializable"),
    "returns an object": ("return object()", "Runtime.MarshalError", "object is not JSON serializable"),
    "returns bytes": ("return b'x'", "Runtime.MarshalError", "bytes is not JSON serializable"),
    "returns NaN": ("return float('nan')", "Runtime.MarshalError", "not JSON compliant"),
    "returns itself": ("x = []; x.append(x); return x", "Runtime.MarshalError", "Circular reference"),
    "returns too much": ("return 'x' * 7_000_000", "Function.ResponseSizeTooLarge", "exceeded maximum"),
    "recurses": ("return handler(event, context)", "RecursionError", "maximum recursion depth"),
    "raises what has no text": ("raise Odd()", "Odd", "can't be made"),
    "raises a lone surrogate": (r"raise ValueError('\ud800')", "ValueError", "ud800"),
}  # fmt: skip

ODD = """
class Odd(Exception):
    def __str__(self): raise RuntimeError
"""


def patience(fault: str) -> dict[str, int]:
    """Return a timeout that only what hangs reaches, soon."""
    return {"timeout_s": 1 if fault.startswith("hangs") else 10}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_answered_and_the_next_call_is_well(tmp_path: Path, fault: str) -> None:
    body, kind, message = FAULTS[fault]
    source = ODD + f"def handler(event, context):\n    if event['bad']:\n        {body}\n    return 'well'\n"

    async def scenario(runtime: Runtime) -> None:
        answer = await runtime.invoke("f", {"bad": True}, log_tail=True)
        assert (answer.status, answer.error) == (200, "Unhandled"), answer
        assert answer.payload["errorType"] == kind
        assert message in answer.payload["errorMessage"]
        assert answer.log is not None
        assert f"START RequestId: {answer.request_id}" in answer.log
        assert message.replace("ud800", "") in answer.log or kind in answer.log
        assert f"REPORT RequestId: {answer.request_id}" in answer.log
        assert (await runtime.invoke("f", {"bad": False})).payload == "well"

    run(Runtime(tmp_path, {"f": source}, settings={"f": patience(fault)}), scenario)


@pytest.mark.parametrize("fault", ["raises", "exits", "is killed", "hangs", "returns a set"])
def test_a_poison_batch_is_given_up_with_its_payload_and_holds_up_nobody(tmp_path: Path, fault: str) -> None:
    body, _, _ = FAULTS[fault]
    poisoned = (
        f"def handler(event, context):\n    note(values(event))\n    if 'poison' in values(event):\n        {body}\n"
    )
    mappings: dict[str, dict[str, Any]] = {"bad": {"retries": 1, "batch_size": 10}, "good": {"batch_size": 10}}

    async def scenario(runtime: Runtime) -> None:
        await runtime.put("poison", "with it")
        await runtime.put("elsewhere", shard=1)
        await runtime.until("good", processed=3)
        await runtime.until("bad", processed=1, failed=2, pending=0)
        await runtime.put("later")
        await runtime.until("bad", processed=2, failed=2, pending=0)
        await runtime.until("good", processed=4, pending=0)
        (document,) = runtime.documents()
        assert document["requestContext"]["condition"] == "RetryAttemptsExhausted"
        assert document["requestContext"]["approximateInvokeCount"] == 2
        assert document["responseContext"] == {
            "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled",
        }  # fmt: skip
        info = document["KinesisBatchInfo"]
        records = document["payload"]["Records"]
        assert (info["shardId"], info["batchSize"], len(records)) == ("shardId-000000000000", 2, 2)
        assert info["startSequenceNumber"] == records[0]["kinesis"]["sequenceNumber"]
        assert info["endSequenceNumber"] == records[1]["kinesis"]["sequenceNumber"]
        assert runtime.seen("bad").count(["poison", "with it"]) == 2
        key = next(iter(runtime.failures.list())).key
        uuid = runtime.system.mappings[0].uuid
        assert key.startswith(f"aws/lambda/{uuid}/shardId-000000000000/20")

    functions = {"bad": poisoned, "good": SOUND}
    run(Runtime(tmp_path, functions, mappings, shards=2, settings={"bad": patience(fault)}), scenario)


def test_a_hanging_shard_holds_up_no_other_shard(tmp_path: Path) -> None:
    source = "def handler(event, context):\n    note(values(event))\n    if 'hang' in values(event): time.sleep(60)\n"
    shards = (os.cpu_count() or 1) + 2

    async def scenario(runtime: Runtime) -> None:
        for shard in range(shards - 1):
            await runtime.put("hang", shard=shard)
        while len(runtime.seen("f")) < shards - 1:
            await asyncio.sleep(0.02)
        await runtime.put("well", shard=shards - 1)
        await runtime.until("f", processed=1)
        assert runtime.seen("f") == [["hang"]] * (shards - 1) + [["well"]]  # none of them was given up meanwhile

    run(Runtime(tmp_path, {"f": source}, {"f": {}}, shards=shards, settings={"f": {"timeout_s": 50}}), scenario)


ALWAYS_FAILS = """
def handler(event, context):
    note([time.time(), os.getpid()])
    time.sleep(0.15)
    raise RuntimeError("always")
"""


async def next_call(runtime: Runtime, beyond: int) -> int:
    """Return the process id of the call after the `beyond` first."""
    while len(runtime.seen("f")) <= beyond:
        await asyncio.sleep(0.005)
    pid: int = runtime.seen("f")[beyond][1]
    return pid


def test_five_retries_and_two_killed_workers_are_six_calls(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime) -> None:
        await runtime.put("a", "b")
        for call in (1, 3):
            os.kill(await next_call(runtime, call), signal.SIGKILL)
        await runtime.until("f", failed=2, pending=0)
        assert len(runtime.seen("f")) == 6
        (document,) = runtime.documents()
        assert document["requestContext"]["approximateInvokeCount"] == 6
        assert len(document["payload"]["Records"]) == 2

    run(Runtime(tmp_path, {"f": ALWAYS_FAILS}, {"f": {"retries": 5}}), scenario)


def test_an_environment_killed_while_idle_costs_no_invocation(tmp_path: Path) -> None:
    source = "def handler(event, context):\n    return os.getpid()\n"

    async def scenario(runtime: Runtime) -> None:
        pid = (await runtime.invoke("f")).payload
        for _ in range(5):
            os.kill(pid, signal.SIGKILL)
            answer = await runtime.invoke("f")
            assert answer.error is None
            assert answer.payload != pid
            pid = answer.payload

    run(Runtime(tmp_path, {"f": source}), scenario)


IMPORT_FAULTS = {
    "import no_such_module": "Runtime.ImportModuleError",
    "def broken(:": "Runtime.UserCodeSyntaxError",
    "raise OSError('at import')": "OSError",
    "sys.exit(1)": "Runtime.ExitError",
    "": "Runtime.HandlerNotFound",
}


@pytest.mark.parametrize("source", IMPORT_FAULTS)
def test_a_function_that_cannot_be_imported_is_told_and_works_once_mended(tmp_path: Path, source: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        await runtime.put("a")
        answer = await runtime.invoke("f", {})
        assert answer.error == "Unhandled"
        assert answer.payload["errorType"] == IMPORT_FAULTS[source]
        await runtime.until("good", processed=1)
        (bad, _) = await runtime.call("functions")
        assert (bad["state"], bad["workers"]) == ("Failed", 0) or bad["state"] == "Failed"
        assert IMPORT_FAULTS[source] in bad["error"]
        assert (await runtime.account("f"))["pending"] == 1
        runtime.write("f", SOUND)
        await runtime.until("f", processed=1)
        assert runtime.seen("f") == [["a"]]
        assert (await runtime.call("functions"))[0]["state"] == "Active"

    run(Runtime(tmp_path, {"f": source, "good": SOUND}, {"f": {}, "good": {}}), scenario)


def test_what_a_handler_does_to_its_output_is_mended(tmp_path: Path) -> None:
    source = """
    def handler(event, context):
        print("before", event)
        if event == "close": sys.stdout.close(); sys.stderr.close()
        if event == "os close": os.close(1); os.close(2)
        if event == "none": sys.stdout = None
        if event == "native": os.system("echo from a shell; echo and its errors >&2")
        if event == "bad text": print("\\ud800")
        return os.getpid()
    """

    async def scenario(runtime: Runtime) -> None:
        pids = set()
        for event in ("close", "os close", "none", "native", "bad text", "last"):
            answer = await runtime.invoke("f", event, log_tail=True)
            assert answer.error is None
            assert f"before {event}" in (answer.log or "")
            pids.add(answer.payload)
        assert len(pids) == 1
        log = runtime.function_log("f")
        assert "from a shell\nand its errors\n" in log
        assert "\\ud800" in log

    run(Runtime(tmp_path, {"f": source}), scenario)


def test_forked_children_do_not_speak_for_their_worker_and_end_with_it(tmp_path: Path) -> None:
    source = """
    import subprocess
    def handler(event, context):
        if event == "return in the child":
            return "child" if os.fork() == 0 else "parent"
        if event == "raise in the child":
            if os.fork() == 0: raise ValueError
            return "parent"
        if event == "leave a child":
            return subprocess.Popen(["sleep", "600"]).pid
        if event == "leave a daemon":
            pid = os.fork()
            if pid == 0:
                os.setsid()
                time.sleep(600)
            return pid
        if event == "hang with a child and a daemon":
            note([subprocess.Popen(["sleep", "600"], start_new_session=alone).pid for alone in (False, True)])
            time.sleep(600)
        if event == "exit with a child":
            note([subprocess.Popen(["sleep", "600"]).pid])
            os._exit(1)
        return "well"
    """

    async def scenario(runtime: Runtime) -> None:
        for event in ("return in the child", "raise in the child"):
            assert (await runtime.invoke("f", event)).payload == "parent"
            assert (await runtime.invoke("f", "")).payload == "well"
        children = [(await runtime.invoke("f", event)).payload for event in ("leave a child", "leave a daemon")]
        for event in ("hang with a child and a daemon", "exit with a child"):
            assert (await runtime.invoke("f", event)).error == "Unhandled"
        children += itertools.chain(*runtime.seen("f"))
        deadline = time.monotonic() + 20
        while any(is_alive(pid) for pid in children):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    run(Runtime(tmp_path, {"f": source}, settings={"f": {"timeout_s": 3}}), scenario)


def test_a_flood_of_output_is_bounded(tmp_path: Path) -> None:
    source = """
    def handler(event, context):
        line = "x" * 1_000_000
        for _ in range(event["lines"]): print(line)
        time.sleep(event["sleep"])
        print("the end")
    """

    async def scenario(runtime: Runtime) -> None:
        folder = runtime.layout.logs / "functions" / "f"
        answer = await runtime.invoke("f", {"lines": 60, "sleep": 2}, log_tail=True)
        assert answer.log is not None
        assert "the end\n" in answer.log
        assert sum(path.stat().st_size for path in folder.iterdir()) < 20_000_000
        for _ in range(4):
            await runtime.invoke("f", {"lines": 11, "sleep": 0})
        assert sorted(path.name for path in folder.iterdir()) == ["0.log", "0.log.1"]
        assert sum(path.stat().st_size for path in folder.iterdir()) < 45_000_000

    run(Runtime(tmp_path, {"f": source}, settings={"f": {"timeout_s": 20}}), scenario)


def test_reported_items_split_a_batch_and_a_bad_identifier_fails_it_whole(tmp_path: Path) -> None:
    source = """
    def handler(event, context):
        found = values(event)
        note(found)
        failures = [
            {"itemIdentifier": record["kinesis"]["sequenceNumber"]}
            for record, value in zip(event["Records"], found) if value == "bad"
        ]
        if "nonsense" in found:
            failures = [{"itemIdentifier": "nonsense"}]
        return {"batchItemFailures": failures}
    """

    async def scenario(runtime: Runtime) -> None:
        await runtime.put("a", "b", "bad", "c")
        await runtime.until("f", processed=2, failed=2, pending=0)
        assert runtime.seen("f") == [["a", "b", "bad", "c"], ["bad", "c"], ["bad", "c"]]
        await runtime.put("d", "nonsense")
        await runtime.until("f", processed=2, failed=4, pending=0)
        for document in runtime.documents():
            assert document["responseContext"]["functionError"] is None
            assert document["requestContext"]["approximateInvokeCount"] == 2

    run(Runtime(tmp_path, {"f": source}, {"f": {"retries": 1, "report_item_failures": True}}), scenario)


def test_documents_that_a_function_writes_itself_count_as_failed(tmp_path: Path) -> None:
    source = """
    from headrace import connect
    calls = 0
    def handler(event, context):
        global calls
        calls += 1
        for record, value in zip(event["Records"], values(event)):
            if value == "bad":
                shard, sequence = record["eventID"].split(":")
                key = f"rejected/f/readings/{shard}/{sequence}.000000.000000"
                connect.bucket("failures").put(key, b"{}")
        if calls == 1: raise RuntimeError("once")
    """

    async def scenario(runtime: Runtime) -> None:
        await runtime.put("a", "bad", "b", "bad")
        await runtime.until("f", processed=2, failed=2, pending=0)
        assert len(runtime.documents("rejected/")) == 2

    run(Runtime(tmp_path, {"f": source}, {"f": {}}), scenario)


MEMORY_HOGS = {
    "in the handler": "kept = bytearray(600_000_000); time.sleep(20)",
    "little by little": "kept = []\n        while True: kept.append(bytearray(1_000_000)); time.sleep(0.0005)",
    "in a child": "os.fork(); kept = bytearray(100_000_000); time.sleep(20)",
}


@pytest.mark.skipif(not memory.CAN_TELL, reason="memory is watched through /proc")
@pytest.mark.parametrize("hog", MEMORY_HOGS)
def test_eating_memory_ends_one_invocation_and_nothing_else(tmp_path: Path, hog: str) -> None:
    source = f"def handler(event, context):\n    if event['bad']:\n        {MEMORY_HOGS[hog]}\n    return 'well'\n"
    settings: dict[str, Any] = {"f": {"memory_mb": 128, "timeout_s": 15}}

    async def scenario(runtime: Runtime) -> None:
        await runtime.put("a")
        answer = await runtime.invoke("f", {"bad": True}, log_tail=True)
        assert answer.payload["errorType"] == "Runtime.OutOfMemory"
        assert "signal: killed" in answer.payload["errorMessage"]
        assert "MemorySize is 128 MB" in answer.payload["errorMessage"]
        assert answer.log is not None
        used = int(answer.log.partition("Memory Size: 128 MB\tMax Memory Used: ")[2].partition(" MB")[0])
        assert 128 < used < 2000
        assert (await runtime.invoke("f", {"bad": False})).payload == "well"
        await runtime.until("good", processed=1)

    run(Runtime(tmp_path, {"f": source, "good": SOUND}, {"good": {}}, settings=settings), scenario)


@pytest.mark.skipif(not memory.CAN_TELL, reason="memory is watched through /proc")
def test_children_that_share_their_memory_count_it_once_and_a_leak_ends_between_invocations(tmp_path: Path) -> None:
    source = """
    kept = []
    def handler(event, context):
        if event == "share":
            shared = bytearray(60_000_000)
            is_child = os.fork() == 0 or os.fork() == 0
            time.sleep(1)
            if is_child:
                os._exit(0)
        if event == "leak":
            kept.append(bytearray(200_000_000))
        return os.getpid()
    """

    async def scenario(runtime: Runtime) -> None:
        answer = await runtime.invoke("f", "share")
        assert answer.error is None
        answer = await runtime.invoke("f", "leak")
        if answer.error is None:  # quicker than the watch: then it ends while it is idle
            deadline = time.monotonic() + 5
            while is_alive(answer.payload):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
        assert (await runtime.invoke("f")).error is None

    run(Runtime(tmp_path, {"f": source}, settings={"f": {"memory_mb": 128, "timeout_s": 10}}), scenario)


@pytest.mark.skipif(not memory.CAN_TELL, reason="memory is watched through /proc")
def test_a_handler_that_does_everything_wrong_loses_one_record_and_costs_its_neighbour_nothing(tmp_path: Path) -> None:
    source = """
    def handler(event, context):
        (value,) = values(event)
        note([value, os.getpid()])
        if value == "gigabyte":
            line = b"x" * 999_999 + b"\\n"
            for _ in range(1000): os.write(1, line)
        if value == "fork":
            for _ in range(20):
                if os.fork() == 0: time.sleep(600)
        if value == "memory":
            kept = bytearray(2_000_000_000)
            time.sleep(20)
        if value == "close":
            sys.stdout.close(); os.close(1); os.close(2)
    """
    values = ["gigabyte", "fork", "close", "memory", "well"]
    rules = {"retries": 0, "batch_size": 1}
    settings: dict[str, Any] = {"bad": {"memory_mb": 256, "timeout_s": 20}}

    async def scenario(runtime: Runtime) -> None:
        await runtime.put(*values)
        await runtime.until("good", processed=5)
        await runtime.until("bad", processed=4, failed=1, timeout_s=60)
        assert [value for value, _ in runtime.seen("bad")] == values
        (document,) = runtime.documents()
        assert len(document["payload"]["Records"]) == 1
        folder = runtime.layout.logs / "functions" / "bad"
        assert sum(path.stat().st_size for path in folder.iterdir()) < 60_000_000
        children = {pid for _, pid in runtime.seen("bad")}
        assert len(children) == 2  # one environment for all before it was killed, one for what is after

    run(Runtime(tmp_path, {"bad": source, "good": SOUND}, {"bad": rules, "good": {}}, settings=settings), scenario)


@pytest.mark.skipif(not memory.CAN_TELL, reason="memory is watched through /proc")
def test_memory_eaten_while_a_function_is_imported_is_told_and_mended_by_a_reload(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime) -> None:
        answer = await runtime.invoke("f", {})
        assert (answer.error, answer.payload["errorType"]) == ("Unhandled", "Runtime.OutOfMemory")
        runtime.write("f", SOUND)
        assert await runtime.call("reload", "f") == {"f": None}
        assert (await runtime.invoke("f", {})).error is None

    run(Runtime(tmp_path, {"f": "kept = bytearray(600_000_000); time.sleep(20)\n"}), scenario)


def test_an_import_that_fails_beside_a_sound_one_is_not_told_for_ever(tmp_path: Path) -> None:
    source = """
    if os.path.exists(os.environ["SEEN"]): raise RuntimeError("only one of us")
    note("imported")
    def handler(event, context):
        time.sleep(event)
        return "well"
    """

    async def scenario(runtime: Runtime) -> None:
        async def error() -> Any:
            (state,) = await runtime.call("functions")
            return state["error"]

        assert (await runtime.invoke("f", 0)).payload == "well"
        busy = asyncio.create_task(runtime.invoke("f", 1))
        await asyncio.sleep(0.1)
        assert (await runtime.invoke("f", 0)).error == "Unhandled"
        assert "only one of us" in await error()
        assert (await busy).payload == "well"
        assert await error() is None

    run(Runtime(tmp_path, {"f": source}), scenario)
