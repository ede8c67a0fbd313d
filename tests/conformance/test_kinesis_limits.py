"""Shard limits as an unmodified boto3 meets them: exact within any second, each refusal with AWS's own words."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from headrace import system
from support.kinesis_server import KinesisServer

MIB = 1024 * 1024
TOO_FAST = "ProvisionedThroughputExceededException"
MESSAGE = "Rate exceeded for shard shardId-000000000000 in stream events under account 000000000000."
STREAMS = [
    system.Stream(logical_id="Events", name="events", shards=2),
    system.Stream(logical_id="Free", name="free", shards=1, mode="ON_DEMAND"),
]
LOW, HIGH = "0", str(2**127)  # hash keys of the two shards


class Time:
    """A clock that the test moves."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(params=["json", "cbor"])
def kinesis(request: pytest.FixtureRequest, tmp_path: Path, time: Time) -> Iterator[Any]:
    with KinesisServer(tmp_path / "streams", STREAMS, in_cbor=request.param == "cbor") as running:
        running.streams.enforce_limits, running.streams.now_s = True, time
        yield running.client()


def put(kinesis: Any, count: int, size: int = 1, hash_key: str = LOW, stream: str = "events") -> Any:
    record = {"Data": b"x" * (size - 1), "PartitionKey": "k", "ExplicitHashKey": hash_key}
    return kinesis.put_records(StreamName=stream, Records=[record] * count)


def refused(call: Any, **arguments: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


def iterator(kinesis: Any) -> str:
    text: str = kinesis.get_shard_iterator(
        StreamName="events", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    return text


def test_1_000_records_a_second_and_shard(kinesis: Any, time: Time) -> None:
    assert [put(kinesis, count)["FailedRecordCount"] for count in (500, 400, 150)] == [0, 0, 50]
    assert put(kinesis, 500, hash_key=HIGH)["FailedRecordCount"] == 0  # the other shard's own
    put_record = {"StreamName": "events", "Data": b"x", "PartitionKey": "k", "ExplicitHashKey": LOW}
    assert refused(kinesis.put_record, **put_record) == (400, TOO_FAST, MESSAGE)
    time.now_s += 0.999
    assert put(kinesis, 1)["FailedRecordCount"] == 1
    time.now_s += 0.001
    assert kinesis.put_record(**put_record)["ShardId"] == "shardId-000000000000"
    assert [put(kinesis, 500)["FailedRecordCount"] for _ in range(2)] == [0, 1]


def test_each_entry_is_answered_in_its_place(kinesis: Any) -> None:
    put(kinesis, 500)
    put(kinesis, 499)
    record = {"Data": b"x", "PartitionKey": "k"}
    records = [{**record, "ExplicitHashKey": key} for key in (HIGH, LOW, LOW, HIGH)]
    answer = kinesis.put_records(StreamName="events", Records=records)
    assert answer["FailedRecordCount"] == 1
    high, low, over, last = answer["Records"]
    assert (high["ShardId"], low["ShardId"], last["ShardId"]) == tuple(f"shardId-{n:012d}" for n in (1, 0, 1))
    assert int(high["SequenceNumber"]) < int(last["SequenceNumber"])
    assert over == {"ErrorCode": TOO_FAST, "ErrorMessage": MESSAGE}
    whole = kinesis.put_records(StreamName="events", Records=[{**record, "ExplicitHashKey": LOW}] * 3)
    assert whole["FailedRecordCount"] == 3
    assert whole["Records"] == [over] * 3


def test_what_was_accepted_is_there_in_order_and_nothing_else(kinesis: Any) -> None:
    put(kinesis, 500)
    put(kinesis, 498)
    data = [b"%d" % number for number in range(6)]
    entries = [{"Data": each, "PartitionKey": "k", "ExplicitHashKey": LOW} for each in data]
    answers = kinesis.put_records(StreamName="events", Records=entries)["Records"]
    read = kinesis.get_records(ShardIterator=iterator(kinesis))["Records"]
    assert [record["Data"] for record in read[998:]] == data[:2]
    assert [record["SequenceNumber"] for record in read[998:]] == [each["SequenceNumber"] for each in answers[:2]]


def test_1_mib_a_second_and_shard_with_the_keys(kinesis: Any, time: Time) -> None:
    assert put(kinesis, 1, MIB)["FailedRecordCount"] == 0
    assert put(kinesis, 1, 1)["FailedRecordCount"] == 1
    time.now_s += 1
    assert put(kinesis, 4, MIB // 4 + 1)["FailedRecordCount"] == 1
    assert put(kinesis, 1, MIB // 4 - 3)["FailedRecordCount"] == 0


def test_five_reads_a_second_and_shard(kinesis: Any, time: Time) -> None:
    at = iterator(kinesis)
    for _ in range(5):
        kinesis.get_records(ShardIterator=at)
    assert refused(kinesis.get_records, ShardIterator=at) == (400, TOO_FAST, MESSAGE)
    time.now_s += 1
    kinesis.get_records(ShardIterator=at)


def test_2_mib_a_second_and_shard_are_read(kinesis: Any, time: Time) -> None:
    for _ in range(6):
        put(kinesis, 1, MIB)
        time.now_s += 1
    first = kinesis.get_records(ShardIterator=iterator(kinesis), Limit=1)
    second = kinesis.get_records(ShardIterator=first["NextShardIterator"])
    assert len(second["Records"]) == 1
    following = second["NextShardIterator"]
    assert refused(kinesis.get_records, ShardIterator=following) == (400, TOO_FAST, MESSAGE)
    time.now_s += 1
    rest = kinesis.get_records(ShardIterator=following)
    assert len(rest["Records"]) == 4  # more than a second's: worked off in two
    time.now_s += 1.9
    assert refused(kinesis.get_records, ShardIterator=following)[1] == TOO_FAST
    time.now_s += 0.2
    kinesis.get_records(ShardIterator=following)


def test_an_on_demand_stream_and_one_without_enforcement_have_no_limit(tmp_path: Path, kinesis: Any) -> None:
    assert [put(kinesis, 500, stream="free")["FailedRecordCount"] for _ in range(4)] == [0] * 4
    with KinesisServer(tmp_path / "others", STREAMS) as running:
        assert [put(running.client(), 500)["FailedRecordCount"] for _ in range(4)] == [0] * 4
