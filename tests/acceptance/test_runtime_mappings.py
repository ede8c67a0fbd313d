"""Event source mappings on a real log and real workers: where they start, how they batch, what they count."""

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace import clock
from headrace.stream.log import Log
from support.runtime import SOUND, STREAM, Runtime, run

SIZES = """
def handler(event, context):
    note(len(event["Records"]))
"""

EVENTS = """
def handler(event, context):
    note(event)
"""


def test_records_come_in_order_once_and_in_the_documented_shape(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime) -> None:
        for number in range(10):
            await runtime.put(*range(number * 10, number * 10 + 10), shard=number % 2)
        await runtime.until("f", processed=100, pending=0)
        records = [record for event in runtime.seen("f") for record in event["Records"]]
        for shard in range(2):
            mine = [record for record in records if record["eventID"].startswith(f"shardId-00000000000{shard}:")]
            assert len(mine) == 50
            sequences = [record["kinesis"]["sequenceNumber"] for record in mine]
            assert sequences == sorted(sequences)
            values = [json.loads(base64.b64decode(record["kinesis"]["data"])) for record in mine]
            assert values == sorted(values)
            assert {record["kinesis"]["partitionKey"] for record in mine} == {f"key-{shard}"}
            assert {record["eventSourceARN"] for record in mine} == {
                f"arn:aws:kinesis:us-east-1:000000000000:stream/{STREAM}"
            }

    run(Runtime(tmp_path, {"f": EVENTS}, {"f": {"batch_size": 7}}, shards=2), scenario)


def test_batches_are_bounded_by_size_window_and_payload(tmp_path: Path) -> None:
    mappings: dict[str, dict[str, Any]] = {
        "sized": {"batch_size": 30},
        "windowed": {"batch_size": 1000, "window_s": 3},
        "heavy": {"batch_size": 1000, "starting_position": "LATEST"},
    }

    async def scenario(runtime: Runtime) -> None:
        await runtime.until("heavy", pending=0, eligible=0)
        began = time.monotonic()
        for _ in range(10):
            await runtime.put(*range(10))
        await runtime.until("sized", processed=100)
        assert max(runtime.seen("sized")) <= 30
        await runtime.until("windowed", processed=100)
        assert time.monotonic() - began > 2.9
        assert runtime.seen("windowed") == [100]
        await runtime.put(*["x" * 1_000_000] * 9)
        await runtime.until("heavy", pending=0, processed=109)
        assert runtime.seen("heavy")[-3:] == [4, 4, 1]

    functions = dict.fromkeys(mappings, SIZES)
    run(Runtime(tmp_path, functions, mappings), scenario)


def test_starting_positions_are_resolved_once(tmp_path: Path) -> None:
    middle_ms = 0

    async def before() -> None:
        nonlocal middle_ms
        runtime.open_log()
        await runtime.put(1, 2)
        await asyncio.sleep(0.01)
        middle_ms = clock.now_ms()
        await runtime.put(3)
        await runtime.log.close()

    mappings: dict[str, dict[str, Any]] = {
        "oldest": {"starting_position": "TRIM_HORIZON"},
        "newest": {"starting_position": "LATEST"},
        "timed": {"starting_position": "AT_TIMESTAMP", "starting_timestamp_ms": 0},
    }
    runtime = Runtime(tmp_path, dict.fromkeys(mappings, SOUND), mappings)
    asyncio.run(before())
    timed = msgspec.structs.replace(runtime.system.mappings[2], starting_timestamp_ms=middle_ms)
    runtime.system = msgspec.structs.replace(runtime.system, mappings=(*runtime.system.mappings[:2], timed))

    async def scenario(runtime: Runtime) -> None:
        await runtime.until("oldest", eligible=3, processed=3)
        await runtime.until("timed", eligible=1, processed=1)
        await runtime.until("newest", eligible=0)
        await runtime.stop()
        await runtime.put(4)
        await runtime.start()
        await runtime.until("newest", eligible=1, processed=1)
        await runtime.until("oldest", eligible=4, processed=4)
        await runtime.until("timed", eligible=2, processed=2)
        flat = {name: [value for batch in runtime.seen(name) for value in batch] for name in mappings}
        assert flat == {"oldest": [1, 2, 3, 4], "newest": [4], "timed": [3, 4]}

    run(runtime, scenario)


def test_a_stream_that_comes_later_is_read_from_its_first_record(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path, {"f": SOUND}, {"f": {"starting_position": "LATEST"}})

    async def main() -> None:
        await runtime.start()
        await asyncio.sleep(0.2)
        assert (await runtime.account("f"))["eligible"] == 0
        assert await runtime.call("positions", {"stream": STREAM}) == 0
        runtime.open_log()
        await runtime.put(1)
        await runtime.until("f", processed=1)
        await runtime.stop()
        await runtime.log.close()

    asyncio.run(main())


def test_a_disabled_mapping_is_not_polled_but_keeps_its_books(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime) -> None:
        await runtime.put(1, 2)
        await runtime.until("f", processed=2)
        enabled = runtime.system
        await runtime.stop()
        disabled = msgspec.structs.replace(enabled.mappings[0], enabled=False)
        runtime.system = msgspec.structs.replace(enabled, mappings=(disabled,))
        await runtime.start()
        await runtime.put(3)
        await runtime.until("f", processed=2, pending=1)
        assert await runtime.call("positions", {"stream": STREAM}) is None
        runtime.system = enabled
        await runtime.restart()
        await runtime.until("f", processed=3, pending=0)

    run(Runtime(tmp_path, {"f": SOUND}, {"f": {}}), scenario)


def test_what_the_log_has_lost_unread_is_expired(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime) -> None:
        await runtime.log.close()
        folder = runtime.layout.streams / STREAM
        runtime.log = Log.open(folder, stream=STREAM, shards=1, segment_bytes=2000)
        await runtime.put(*range(5))
        await runtime.until("f", processed=5)
        await runtime.stop()
        for _ in range(20):
            await runtime.put(*range(10))
        removed = await runtime.log.trim(clock.now_ms() + 10**9, 0, 2**62)
        assert removed
        first = runtime.log.first_number[0]
        assert 5 < first < 205
        await runtime.start()
        await runtime.until("f", eligible=205, expired=first - 5, processed=205 - first + 5, pending=0)

    run(Runtime(tmp_path, {"f": SOUND}, {"f": {}}), scenario)


def test_a_log_that_was_replaced_is_told_and_not_read_as_the_old_one(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime) -> None:
        await runtime.put(1, 2, 3)
        await runtime.until("f", processed=3)
        await runtime.stop()
        await runtime.log.delete()
        runtime.open_log()
        await runtime.put(4)
        await runtime.start()
        deadline = time.monotonic() + 5
        while not (told := (await runtime.call("functions"))[0]["mapping_errors"]):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert "at record 3 of a log that ends at 1" in told[0]
        assert runtime.seen("f") == [[1, 2, 3]]

    run(Runtime(tmp_path, {"f": SOUND}, {"f": {}}), scenario)


FAILING = """
import os
def handler(event, context):
    if not os.path.exists(MENDED):
        raise ValueError("not yet")
"""


def test_what_a_function_fails_on_is_told_until_it_is_mended(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime) -> None:
        await runtime.put(1, 2)
        while not (told := (await runtime.call("functions"))[0]["mapping_errors"]):
            await asyncio.sleep(0.01)
        assert told[0].startswith("shardId-000000000000, 2 records from number 0, call ")
        assert told[0].endswith(": ValueError: not yet")
        (tmp_path / "mended").touch()
        await runtime.until("f", processed=2)
        assert (await runtime.call("functions"))[0]["mapping_errors"] == []

    run(Runtime(tmp_path, {"f": FAILING.replace("MENDED", repr(str(tmp_path / "mended")))}, {"f": {}}), scenario)


def test_trimming_waits_for_the_slowest_mapping(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime) -> None:
        await runtime.put(*range(10))
        await runtime.until("quick", processed=10)
        await runtime.until("slow", pending=10)
        position = await runtime.call("positions", {"stream": STREAM})
        assert position < runtime.log.durable
        account = await runtime.account("slow")
        assert account["iterator_age_ms"] > 0
        assert (await runtime.account("quick"))["iterator_age_ms"] == 0
        uuids = {mapping.function: mapping.uuid for mapping in runtime.system.mappings}
        while (results := await runtime.call("mapping_results"))[uuids["slow"]] != "PROBLEM: Function call failed":
            await asyncio.sleep(0.02)
        assert results[uuids["quick"]] == "OK"
        runtime.write("slow", SOUND)
        await runtime.until("slow", processed=10)
        assert await runtime.call("positions", {"stream": STREAM}) == runtime.log.durable
        assert set((await runtime.call("mapping_results")).values()) == {"OK"}

    fails = "def handler(event, context):\n    sys.exit(1)\n"
    run(Runtime(tmp_path, {"quick": SOUND, "slow": fails}, {"quick": {}, "slow": {}}), scenario)


@pytest.mark.parametrize("bisect", [False, True])
def test_records_that_get_too_old_are_given_up_with_their_payload(tmp_path: Path, bisect: bool) -> None:
    rules = {"record_age_s_max": 1, "bisect": bisect, "batch_size": 4}
    source = "def handler(event, context):\n    note(values(event))\n    raise ValueError\n"

    async def scenario(runtime: Runtime) -> None:
        await runtime.put("a", "b", "c", "d")
        await runtime.until("f", failed=4, pending=0)
        handed_back = []
        for document in runtime.documents():
            assert document["requestContext"]["condition"] == "RecordAgeExceeded"
            assert document["requestContext"]["approximateInvokeCount"] >= 1
            assert "responseContext" not in document
            handed_back += [record["kinesis"]["data"] for record in document["payload"]["Records"]]
        assert sorted(json.loads(base64.b64decode(data)) for data in handed_back) == ["a", "b", "c", "d"]

    run(Runtime(tmp_path, {"f": source}, {"f": rules}), scenario)


def test_bisect_finds_the_poison_record(tmp_path: Path) -> None:
    source = """
    def handler(event, context):
        if "poison" in values(event): raise ValueError
        note(values(event))
    """

    async def scenario(runtime: Runtime) -> None:
        await runtime.put(*range(11), "poison", *range(12, 20))
        await runtime.until("f", processed=19, failed=1, pending=0)
        assert [value for batch in runtime.seen("f") for value in batch] == [*range(11), *range(12, 20)]
        (document,) = runtime.documents()
        assert document["KinesisBatchInfo"]["batchSize"] == 1

    run(Runtime(tmp_path, {"f": source}, {"f": {"bisect": True, "retries": 1}}), scenario)


def test_a_reserved_concurrency_of_zero_is_told(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime) -> None:
        await runtime.put(1)
        await runtime.until("f", pending=1)
        (stopped, other) = await runtime.call("functions")
        assert "ReservedConcurrentExecutions is 0, so it is never called" in stopped["mapping_errors"][0]
        assert other["mapping_errors"] == []
        assert runtime.seen("f") == []

    settings = {"f": {"reserved_concurrency": 0}, "g": {"reserved_concurrency": 0}}
    run(Runtime(tmp_path, {"f": SOUND, "g": SOUND}, {"f": {}}, settings=settings), scenario)


def test_a_reserved_concurrency_of_one_serves_every_shard_in_turn(tmp_path: Path) -> None:
    source = "def handler(event, context):\n    time.sleep(0.05)\n    note([os.getpid(), *values(event)])\n"

    async def scenario(runtime: Runtime) -> None:
        for number in range(12):
            await runtime.put(number, shard=number % 4)
        await runtime.until("f", processed=12, pending=0)
        assert len({pid for pid, *_ in runtime.seen("f")}) == 1

    run(Runtime(tmp_path, {"f": source}, {"f": {}}, shards=4, settings={"f": {"reserved_concurrency": 1}}), scenario)


def test_replay_calls_one_function_and_tells_how_it_went(tmp_path: Path) -> None:
    source = """
    def handler(event, context):
        if event == "bad": raise ValueError("still bad")
        if event == "reported": return {"batchItemFailures": [{"itemIdentifier": "1"}]}
        note(event)
    """

    async def scenario(runtime: Runtime) -> None:
        async def replay(event: object) -> Any:
            return await runtime.call("replay", {"function": "f", "payload": json.dumps(event).encode()})

        assert await replay({"Records": []}) == [True, None]
        assert await replay("bad") == [False, "ValueError: still bad"]
        assert (await replay("reported"))[0] is False
        assert runtime.seen("f") == [{"Records": []}]
        assert runtime.seen("other") == []

    run(Runtime(tmp_path, {"f": source, "other": SOUND}), scenario)


def test_a_replay_is_judged_as_the_mapping_judges_a_batch(tmp_path: Path) -> None:
    source = "def handler(event, context):\n    return event['answer']\n"

    async def scenario(runtime: Runtime) -> None:
        async def replay(**event: object) -> Any:
            return await runtime.call("replay", {"function": "f", "payload": json.dumps(event).encode()})

        successes: list[Any] = [None, {}, {"batchItemFailures": []}]
        for answer in successes:
            assert await replay(Records=[], answer=answer) == [True, None]
        no_responses: list[Any] = ["x", {"BatchItemFailures": []}, {"batchItemFailures": {}}]
        for answer in no_responses:
            ok, problem = await replay(Records=[], answer=answer)
            assert not ok and "counts as failed again" in problem and "batchItemFailures" in problem
        assert await replay(answer="x") == [True, None]  # an asynchronous invoke's answer is nobody's business

    run(Runtime(tmp_path, {"f": source}, {"f": {"report_item_failures": True}}), scenario)


def test_reload_imports_changed_code(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime) -> None:
        assert (await runtime.invoke("f", 1)).payload == "old"
        runtime.write("f", "def handler(event, context):\n    return 'new version'\n")
        assert (await runtime.invoke("f", 1)).payload == "old"
        await runtime.call("reload")
        assert (await runtime.invoke("f", 1)).payload == "new version"

    run(Runtime(tmp_path, {"f": "def handler(event, context):\n    return 'old'\n"}), scenario)


def test_a_busy_runtime_stops_within_its_grace_and_repeats_what_it_cut_off(tmp_path: Path) -> None:
    source = "def handler(event, context):\n    note('start')\n    time.sleep(5 if len(open(os.environ['SEEN']).readlines()) == 1 else 0)\n"  # noqa: E501

    async def scenario(runtime: Runtime) -> None:
        await runtime.put(1)
        while not runtime.seen("f"):
            await asyncio.sleep(0.01)
        began = time.monotonic()
        await runtime.stop(0.2)
        assert time.monotonic() - began < 4.5
        await runtime.start()
        await runtime.until("f", processed=1)
        assert len(runtime.seen("f")) == 2
        assert (await runtime.call("functions"))[0]["errors"] == 0

    run(Runtime(tmp_path, {"f": source}, {"f": {"retries": 0}}, settings={"f": {"timeout_s": 10}}), scenario)
