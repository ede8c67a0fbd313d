"""One record's story, told by real processes; and a simulated fleet, mishaps and all, that is verified afterwards."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.operations.trace import Tracer
from support.backend import Backend, backend, wait_until
from support.runtime import STREAM, Runtime, run

GOOD = json.dumps({"device_id": "pump", "id": "one", "time": "2026-01-01T00:00:00Z"})
BAD = '{"device_id": "pump", "time": "noon"}'


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with backend(tmp_path_factory.mktemp("trace")) as running:
        yield running


@pytest.fixture(scope="module")
def places(running: Backend) -> dict[str, list[str]]:
    return {data: put(running, data) for data in (GOOD, BAD)}  # together: the archive waits for more


def put(running: Backend, data: str) -> list[str]:
    answer = running.client("kinesis").put_record(StreamName="events", PartitionKey="pump", Data=data)
    return [answer["ShardId"], answer["SequenceNumber"]]


def settled(running: Backend, place: list[str]) -> Any:
    """Return the record's story once both functions are done with it."""

    def done() -> Any:
        story = json.loads(running.cli("trace", *place, "--json").stdout)
        return story if all(each["state"] in ("processed", "failed") for each in story["functions"]) else None

    return wait_until(done, 60, 0.5)


def test_a_stored_record(running: Backend, places: dict[str, list[str]]) -> None:
    place = places[GOOD]
    story = settled(running, place)
    assert story["accepted"]["partition_key"] == "pump" and story["accepted"]["log"] == "held"
    functions = {each["function"]: each for each in story["functions"]}
    assert {name: each["state"] for name, each in functions.items()} == {"store": "processed", "archive": "processed"}
    for each in functions.values():
        (call,) = each["calls"]
        assert (call["attempt"], call["result"]) == (1, "success") and call["duration_ms"] > 0
        assert call["first"] <= story["number"] < call["first"] + call["count"]
        assert call["request_id"] in running.cli("logs", each["function"]).stdout
    (item,) = story["items"]["shown"]
    assert (item["device_id"], item["time"], item["id"]) == ("pump", "2026-01-01T00:00:00Z", "one") and item["stored"]
    (archived,) = story["archive"]
    assert archived["key"] in running.cli("archive", "list").stdout
    text = running.cli("trace", str(int(place[0][-12:])), place[1]).stdout
    assert "store: processed" in text and "success" in text and "stored" in text and archived["key"] in text


def test_a_rejected_record(running: Backend, places: dict[str, list[str]]) -> None:
    place = places[BAD]
    story = settled(running, place)
    (store,) = [each for each in story["functions"] if each["function"] == "store"]
    assert store["state"] == "failed" and [each["reason"] for each in store["failures"]] == ["time"]
    assert running.cli("failures", "show", store["failures"][0]["id"]).stdout
    text = running.cli("trace", *place).stdout
    assert "store: failed" in text and "no event (time)" in text and store["failures"][0]["id"] in text


def test_what_was_never_accepted(running: Backend) -> None:
    shard, sequence = put(running, "{}")
    result = running.cli("trace", shard, str(int(sequence) + (50 << 80)), check=False)
    assert result.returncode == 1 and "never accepted a record of that sequence number" in result.stderr


def test_the_streams_tell_their_shards(running: Backend) -> None:
    shard, _ = put(running, "{}")
    rows = json.loads(running.cli("streams", "events", "--json").stdout)
    assert len(rows) == 4 and next(row for row in rows if row["shard"] == shard)["last_arrival"]
    (stream,) = json.loads(running.cli("streams", "--json").stdout)
    assert stream["accepted"] == sum(row["accepted"] for row in rows) > 0 and stream["damage"] == []


def test_a_fleet_with_every_mishap_is_verified(running: Backend, tmp_path: Path) -> None:
    ledger = str(tmp_path / "ledger")
    shares = {"late": 0.05, "duplicate": 0.02, "skew": 0.05, "broken": 0.02, "poison": 0.005, "offline": 0.2}
    mishaps = [word for name, share in shares.items() for word in (f"--{name}", str(share))]
    arguments = ["--devices", "200", "--rate", "2000", "--duration", "2", "--seed", "4", *mishaps, "--ledger", ledger]
    summary = json.loads(running.cli("simulate", *arguments, "--json").stdout)
    assert summary["acknowledged"] == summary["sent"] > 3000
    assert set(summary["mishaps"]) == {"late", "duplicate", "skew", "broken", "poison", "gap", "burst"}
    outcome = json.loads(running.cli("simulate", "--verify", ledger, "--json").stdout)
    assert outcome["verified"] and outcome["acknowledged"] == summary["acknowledged"] and outcome["failed"] > 50
    lines = [json.loads(line) for line in Path(ledger).read_text().splitlines()]
    invented = {**next(line for line in lines if "id" in line), "id": "never-sent"}
    with Path(ledger).open("a") as file:
        file.write(json.dumps(invented) + "\n")
    result = running.cli("simulate", "--verify", ledger, "--json", check=False)
    assert result.returncode == 1 and json.loads(result.stdout)["differences"] == [invented]


POISONED = """
def handler(event, context):
    if "poison" in values(event):
        raise ValueError("choked")
"""


def test_every_call_of_a_batch_that_is_halved_and_given_up(tmp_path: Path) -> None:
    rules = {"bisect": True, "retries": 1, "batch_size": 4}

    async def scenario(runtime: Runtime) -> None:
        await runtime.put("a", "b", "poison", "d")
        await runtime.until("f", failed=1, processed=3)

    runtime = Runtime(tmp_path, {"f": POISONED}, {"f": rules})
    run(runtime, scenario)
    (document,) = runtime.documents("aws/")
    sequence = document["KinesisBatchInfo"]["startSequenceNumber"]
    story = Tracer(runtime.layout, runtime.system, 0.0).story(STREAM, "0", sequence)
    (function,) = story["functions"]
    calls = [(each["first"], each["count"], each["attempt"], each["result"]) for each in function["calls"]]
    assert calls == [(0, 4, 1, "failed"), (2, 2, 1, "failed"), (2, 1, 1, "failed"), (2, 1, 2, "failed")]
    assert function["calls"][0]["detail"] == "ValueError: choked"
    assert function["calls"][-1]["request_id"] == document["requestContext"]["requestId"]
    assert [each["reason"] for each in function["failures"]] == ["RetryAttemptsExhausted"]
