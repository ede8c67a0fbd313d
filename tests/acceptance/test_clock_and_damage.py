"""A clock that jumped and a log with a damaged byte, on data that the real product then starts on."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from headrace.stream.log import Log
from support.backend import Backend, backend

HOUR_MS = 3_600_000
STREAM = "streams/events"
COUNT = 400


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that the backend has made, and works in no more."""
    with backend(tmp_path):
        pass
    return tmp_path / "data"


def put(running: Backend, count: int) -> None:
    records = [
        {"PartitionKey": f"d{n % 9}", "Data": json.dumps({"device_id": f"d{n % 9}", "id": f"row-{n:06d}"}).encode()}
        for n in range(count)
    ]
    assert running.client("kinesis").put_records(StreamName="events", Records=records)["FailedRecordCount"] == 0


def test_a_clock_that_is_days_after_the_last_run(data: Path) -> None:
    path = data / "clock.json"
    path.write_text(json.dumps({"version": 1, "last_ms": int(time.time() * 1000) - 240 * HOUR_MS}))
    with backend(data.parent) as running:
        status = running.status()
        assert status["clock"]["removal_paused"]
        assert 239 * HOUR_MS < status["clock"]["jump_ms"] < 241 * HOUR_MS
        assert 0 < status["clock"]["resume_ms"] <= HOUR_MS
        text = running.cli("status").stdout
        assert "THE CLOCK IS 10.0 d after the last run: retention and TTL remove nothing" in text


def test_a_clock_that_jumps_right_after_the_first_start(tmp_path: Path) -> None:
    with backend(tmp_path) as running:
        noted_ms = json.loads((running.data / "clock.json").read_text())["last_ms"]
        assert abs(noted_ms - time.time() * 1000) < 60_000


def test_a_clock_that_went_back(data: Path) -> None:
    ahead_ms = int(time.time() * 1000) + HOUR_MS

    async def append() -> None:
        log = Log.open(data / STREAM, stream="events", shards=4, now_ms=lambda: ahead_ms)
        await log.append([(shard, b"d", b'{"id":"before the clock went back"}') for shard in range(4)])
        await log.close()

    asyncio.run(append())
    with backend(data.parent) as running:
        put(running, 20)
        status = running.settled(24)
        assert HOUR_MS - 60_000 < status["clock"]["streams_ahead_ms"] <= HOUR_MS
        assert running.get("/_headrace/streams")["events"]["ahead_of_clock_ms"] > HOUR_MS - 60_000
        assert "THE CLOCK WENT BACK: the streams are 59." in running.cli("status").stdout
        assert not status["clock"]["removal_paused"]
        client = running.client("kinesis")
        shard = client.list_shards(StreamName="events")["Shards"][0]["ShardId"]
        first = client.get_shard_iterator(StreamName="events", ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        records = client.get_records(ShardIterator=first["ShardIterator"])["Records"]
        arrivals = {record["ApproximateArrivalTimestamp"].timestamp() for record in records}
        assert len(records) > 1 and arrivals == {ahead_ms / 1000}
        assert running.status(verify=True)["verified"]


@pytest.mark.timeout(120)
def test_a_damaged_byte_is_told_read_around_and_set_aside(data: Path) -> None:
    """The record was stored and archived already: nothing is lost but its place in the log."""
    with backend(data.parent) as running:
        put(running, COUNT)
        running.settled(COUNT)
    (segment,) = (data / STREAM).glob("*.segment")
    body = bytearray(segment.read_bytes())
    at = body.index(b"row-000123")
    body[at] ^= 0xFF
    segment.write_bytes(body)
    with backend(data.parent) as running:
        (damage,) = running.get("/_headrace/streams")["events"]["damage"]
        assert damage["position"] <= at < damage["end"]
        found = running.cli("doctor", "--data", str(data), check=False)
        assert found.returncode == 1 and f"bytes {damage['position']} to {damage['end']}" in found.stdout
        refused = running.cli("doctor", "--data", str(data), "--repair", check=False)
        assert refused.returncode == 1 and "is in use by headrace up" in refused.stderr
        put(running, COUNT)  # it goes on all the same
        running.settled(2 * COUNT)
    with backend(data.parent) as running:
        assert running.cli("doctor", "--data", str(data), check=False).returncode == 1
    mended = Backend(data).cli("doctor", "--data", str(data), "--repair")
    assert "mended: " in mended.stdout and str(data / "damaged") in mended.stdout
    with backend(data.parent) as running:
        assert running.get("/_headrace/streams")["events"]["damage"] == []
        assert running.cli("doctor", "--data", str(data)).stdout.startswith("nothing is wrong")
        status = running.settled(2 * COUNT)
        assert status["accepted"] == 2 * COUNT and status["table"]["items"] == 2 * COUNT
        assert running.status(verify=True)["verified"]  # the event is in table and archive
