"""An unmodified boto3 reads records: the five iterators, paging, limits and refusals."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from headrace.record import parse_sequence_number
from support.kinesis_client import ARN, MIB, iterator, put, read, refused, shard
from support.kinesis_server import KinesisServer


def test_the_five_iterators(kinesis: Any, server: KinesisServer) -> None:
    first = put(kinesis, b"0", b"1")
    latest = iterator(kinesis, "LATEST")
    server.clock.ahead_ms = 10_000
    second = put(kinesis, b"2", b"3")
    by_number: dict[str, Any] = {"StartingSequenceNumber": first[1]}
    assert read(kinesis, "TRIM_HORIZON") == [b"0", b"1", b"2", b"3"]
    assert read(kinesis, "AT_SEQUENCE_NUMBER", **by_number) == [b"1", b"2", b"3"]
    assert read(kinesis, "AFTER_SEQUENCE_NUMBER", **by_number) == [b"2", b"3"]
    assert read(kinesis, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=second[1]) == []
    assert read(kinesis, "LATEST") == []
    assert [record["Data"] for record in kinesis.get_records(ShardIterator=latest)["Records"]] == [b"2", b"3"]
    arrivals = [
        record["ApproximateArrivalTimestamp"]
        for record in kinesis.get_records(ShardIterator=iterator(kinesis, "TRIM_HORIZON"))["Records"]
    ]
    assert read(kinesis, "AT_TIMESTAMP", Timestamp=arrivals[0]) == [b"0", b"1", b"2", b"3"]
    assert read(kinesis, "AT_TIMESTAMP", Timestamp=arrivals[0].timestamp() + 0.001) == [b"2", b"3"]
    assert read(kinesis, "AT_TIMESTAMP", Timestamp=arrivals[2]) == [b"2", b"3"]
    assert read(kinesis, "AT_TIMESTAMP", Timestamp=arrivals[3].timestamp() + 0.001) == []
    assert read(kinesis, "AT_TIMESTAMP", Timestamp=datetime(2020, 1, 1, tzinfo=UTC)) == [b"0", b"1", b"2", b"3"]
    start = kinesis.describe_stream(StreamName="events")["StreamDescription"]["Shards"][0]["SequenceNumberRange"]
    for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):  # no record has the shard's first number
        assert len(read(kinesis, kind, StartingSequenceNumber=start["StartingSequenceNumber"])) == 4
    assert int(start["StartingSequenceNumber"]) < int(first[0])


def test_a_number_that_no_record_has_means_the_next_later_record(kinesis: Any) -> None:
    second = int(put(kinesis, b"0", b"1", b"2")[1])
    for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
        assert read(kinesis, kind, StartingSequenceNumber=str(second - 1)) == [b"1", b"2"]
        assert read(kinesis, kind, StartingSequenceNumber=str(second + 1)) == [b"2"]


def test_an_iterator_before_the_first_record_waits_for_it(kinesis: Any, server: KinesisServer) -> None:
    for kind in ("TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"):
        server.clock.ahead_ms += 10  # a time of its own for each
        more: dict[str, Any] = {"Timestamp": server.clock() / 1000} if kind == "AT_TIMESTAMP" else {}
        at = iterator(kinesis, kind, **more)
        before = kinesis.get_records(ShardIterator=at)
        assert (before["Records"], before["MillisBehindLatest"]) == ([], 0)
        put(kinesis, kind.encode())
        after = kinesis.get_records(ShardIterator=before["NextShardIterator"])
        assert after["Records"][-1]["Data"] == kind.encode()


def test_reading_on_with_a_limit(kinesis: Any, server: KinesisServer) -> None:
    put(kinesis, *(b"%d" % number for number in range(25)))
    server.clock.ahead_ms = 60_000
    at, got, behind = iterator(kinesis, "TRIM_HORIZON"), [], []
    for _ in range(4):
        answer = kinesis.get_records(ShardIterator=at, Limit=10, StreamARN=ARN + "events")
        got.append([record["Data"] for record in answer["Records"]])
        behind.append(answer["MillisBehindLatest"])
        at = answer["NextShardIterator"]
    assert [len(page) for page in got] == [10, 10, 5, 0]
    assert [data for page in got for data in page] == [b"%d" % number for number in range(25)]
    assert [60_000 <= each < 70_000 for each in behind[:2]] == [True, True]
    assert behind[2:] == [0, 0]


def test_an_answer_ends_at_ten_mebibytes(kinesis: Any) -> None:
    big = bytes(MIB - 1)
    for _ in range(3):
        put(kinesis, *[big] * 8)
    at, sizes = iterator(kinesis, "TRIM_HORIZON"), list[int]()
    while sum(sizes) < 24:
        answer = kinesis.get_records(ShardIterator=at)
        sizes.append(len(answer["Records"]))
        at = answer["NextShardIterator"]
    assert sizes == [10, 10, 4]


def test_arrival_times_are_seconds_with_milliseconds(server: KinesisServer) -> None:
    kinesis = server.client()
    put(kinesis, b"x")
    status, answer = server.raw("GetRecords", {"ShardIterator": iterator(kinesis, "TRIM_HORIZON")})
    assert status == 200
    record = answer["Records"][0]
    assert re.search(r'Timestamp":\d{10}(\.\d{1,3})?,', json.dumps(record, separators=(",", ":")))
    assert record["Data"] == "eA=="
    arrival_s = parse_sequence_number(record["SequenceNumber"]).arrival_s
    assert arrival_s == int(record["ApproximateArrivalTimestamp"])


def test_get_shard_iterator_refuses(kinesis: Any, server: KinesisServer) -> None:
    number = put(kinesis, b"x")[0]
    either = (
        "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or "
        "(2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified "
    )
    used = (
        "StartingSequenceNumber {} used in GetShardIterator on shard shardId-000000000000 in stream events "
        "under account 000000000000 is invalid"
    )
    foreign = str(int(number) + (1 << 148))
    tomorrow = 4_000_000_000
    cases: list[tuple[dict[str, Any], str]] = [
        ({"ShardIteratorType": "AT_SEQUENCE_NUMBER"}, either + "AT_SEQUENCE_NUMBER and no StartingSequenceNumber."),
        (
            {"ShardIteratorType": "LATEST", "StartingSequenceNumber": number},
            either + "LATEST and also a StartingSequenceNumber.",
        ),
        ({"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "5"}, used.format("5") + "."),
        (
            {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": foreign},
            used.format(foreign) + " because it did not come from this stream.",
        ),
        (
            {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": number, "ShardId": shard(1)},
            "Invalid StartingSequenceNumber. It encodes shardId-000000000000, while it was used in a call to a shard "
            "with shardId-000000000001",
        ),
        (
            {"ShardIteratorType": "AT_TIMESTAMP"},
            "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no "
            "timestamp parameter.",
        ),
        (
            {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": tomorrow},
            "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. "
            "timestampInMillis: 4000000000000, currentTimestampInMillis: ",
        ),
    ]
    for asked, expected in cases:
        code, message = refused(kinesis.get_shard_iterator, **{"StreamName": "events", "ShardId": shard(0), **asked})
        assert code == "InvalidArgumentException"
        assert message.startswith(expected), message
    assert refused(kinesis.get_shard_iterator, StreamName="events", ShardId="0", ShardIteratorType="SOON") == (
        "ValidationException",
        "1 validation error detected: Value 'SOON' at 'shardIteratorType' failed to satisfy constraint: Member must "
        "satisfy enum value set: [AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, AT_SEQUENCE_NUMBER, TRIM_HORIZON]",
    )


def test_shard_ids_as_aws_reads_them(kinesis: Any) -> None:
    for name in ("shardId-000000000001", "shardId-1", "any-1", "1", "-1"):
        assert kinesis.get_shard_iterator(StreamName="events", ShardId=name, ShardIteratorType="LATEST")
    for name in ("shardId-x", "words", "2.14E4", "shardId-002147483648"):
        assert refused(kinesis.get_shard_iterator, StreamName="events", ShardId=name, ShardIteratorType="LATEST") == (
            "ResourceNotFoundException",
            f"Could not find shard {name} in stream events under account 000000000000.",
        )
    _, message = refused(kinesis.get_shard_iterator, StreamName="events", ShardId="2", ShardIteratorType="LATEST")
    assert message == "Shard shardId-000000000002 in stream events under account 000000000000 does not exist"


def test_get_records_refuses(kinesis: Any, server: KinesisServer) -> None:
    at = iterator(kinesis, "LATEST")
    code, message = refused(kinesis.get_records, ShardIterator=at, Limit=10_001)
    assert code == "InvalidArgumentException"
    assert "'10001' at 'limit'" in message
    changed = at[:20] + ("A" if at[20] != "A" else "B") + at[21:]
    for text in ("nonsense", "AAAA", at[:-4], changed, at + at):
        assert refused(kinesis.get_records, ShardIterator=text) == (
            "InvalidArgumentException",
            "Invalid ShardIterator.",
        )
    kinesis.create_stream(StreamName="other", ShardCount=1)
    assert refused(kinesis.get_records, ShardIterator=at, StreamARN=ARN + "other")[0] == "InvalidArgumentException"
    there = iterator(kinesis, "LATEST", stream="other")
    kinesis.delete_stream(StreamName="other")
    gone = (
        "ResourceNotFoundException",
        "Shard shardId-000000000000 in stream other under account 000000000000 does not exist",
    )
    assert refused(kinesis.get_records, ShardIterator=there) == gone
    server.clock.ahead_ms = 2_000
    kinesis.create_stream(StreamName="other", ShardCount=1)
    assert refused(kinesis.get_records, ShardIterator=there) == gone


def test_iterators_expire_after_five_minutes(kinesis: Any, server: KinesisServer) -> None:
    at = iterator(kinesis, "LATEST")
    server.clock.ahead_ms = 290_000
    at_later = kinesis.get_records(ShardIterator=at)["NextShardIterator"]
    server.clock.ahead_ms = 310_000
    code, message = refused(kinesis.get_records, ShardIterator=at)
    assert code == "ExpiredIteratorException"
    moment = r"\w{3} \w{3} \d\d \d\d:\d\d:\d\d UTC \d{4}"
    assert re.fullmatch(
        rf"Iterator expired\. The iterator was created at time {moment} while right now it is {moment} which is "
        r"further in the future than the tolerated delay of 300000 milliseconds\.",
        message,
    )
    assert kinesis.get_records(ShardIterator=at_later)["Records"] == []
