"""An unmodified boto3 against the Kinesis wire: every operation, what it answers and what it refuses."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from headrace import system
from headrace.errors import DataDirectoryError
from headrace.record import parse_sequence_number
from support.faulty_disk import FaultyDisk
from support.kinesis_server import KinesisServer

HOUR_MS = 3_600_000
MIB = 1024 * 1024
ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/"
EVENTS = system.Stream(logical_id="Events", name="events", shards=2)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KinesisServer]:
    with KinesisServer(tmp_path / "streams", [EVENTS]) as running:
        yield running


@pytest.fixture
def kinesis(server: KinesisServer) -> Any:
    return server.client()


def refused(call: Callable[..., Any], **arguments: Any) -> tuple[str, str]:
    """Return the error's code and message."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def shard(index: int) -> str:
    return f"shardId-{index:012d}"


def iterator(kinesis: Any, kind: str, index: int = 0, stream: str = "events", **more: Any) -> str:
    text: str = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard(index), ShardIteratorType=kind, **more)[
        "ShardIterator"
    ]
    return text


def read(kinesis: Any, kind: str, index: int = 0, stream: str = "events", **more: Any) -> list[bytes]:
    answer = kinesis.get_records(ShardIterator=iterator(kinesis, kind, index, stream, **more))
    return [record["Data"] for record in answer["Records"]]


def put(kinesis: Any, *datas: bytes, stream: str = "events", shard_index: int = 0) -> list[str]:
    """Put records to one shard of two; return their sequence numbers."""
    hash_key = "0" if shard_index == 0 else str(2**128 - 1)
    answer = kinesis.put_records(
        StreamName=stream, Records=[{"Data": data, "PartitionKey": "k", "ExplicitHashKey": hash_key} for data in datas]
    )
    assert answer["FailedRecordCount"] == 0
    return [record["SequenceNumber"] for record in answer["Records"]]


# --- streams ---------------------------------------------------------------------------------------------------------


def test_describe_stream(kinesis: Any) -> None:
    described = kinesis.describe_stream(StreamName="events")["StreamDescription"]
    assert abs((datetime.now(UTC) - described.pop("StreamCreationTimestamp")).total_seconds()) < 10
    starts = [each["SequenceNumberRange"].pop("StartingSequenceNumber") for each in described["Shards"]]
    assert all(re.fullmatch(r"\d{56}", start) for start in starts)
    middle = 2**127
    assert described == {
        "StreamName": "events",
        "StreamARN": ARN + "events",
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "Shards": [
            {
                "ShardId": shard(0),
                "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": str(middle - 1)},
                "SequenceNumberRange": {},
            },
            {
                "ShardId": shard(1),
                "HashKeyRange": {"StartingHashKey": str(middle), "EndingHashKey": str(2**128 - 1)},
                "SequenceNumberRange": {},
            },
        ],
        "HasMoreShards": False,
        "RetentionPeriodHours": 24,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
    }
    summary = kinesis.describe_stream_summary(StreamARN=ARN + "events")["StreamDescriptionSummary"]
    assert (summary["StreamName"], summary["OpenShardCount"], summary["ConsumerCount"]) == ("events", 2, 0)
    assert summary["StreamStatus"] == "ACTIVE"


def test_create_and_delete_with_aws_waiters(kinesis: Any) -> None:
    kinesis.create_stream(StreamName="made", ShardCount=3, Tags={"a": "b"})
    kinesis.get_waiter("stream_exists").wait(StreamName="made", WaiterConfig={"Delay": 0})
    assert kinesis.describe_stream_summary(StreamName="made")["StreamDescriptionSummary"]["OpenShardCount"] == 3
    assert kinesis.list_tags_for_stream(StreamName="made")["Tags"] == [{"Key": "a", "Value": "b"}]
    assert refused(kinesis.create_stream, StreamName="made", ShardCount=1) == (
        "ResourceInUseException",
        "Stream made under account 000000000000 already exists.",
    )
    kinesis.delete_stream(StreamName="made", EnforceConsumerDeletion=True)
    kinesis.get_waiter("stream_not_exists").wait(StreamName="made", WaiterConfig={"Delay": 0})
    assert kinesis.list_streams()["StreamNames"] == ["events"]


def test_a_stream_made_anew_has_none_of_the_old_records(kinesis: Any) -> None:
    kinesis.create_stream(StreamName="again", ShardCount=1)
    put(kinesis, b"old", stream="again")
    kinesis.delete_stream(StreamARN=ARN + "again")
    kinesis.create_stream(StreamName="again", ShardCount=1)
    assert read(kinesis, "TRIM_HORIZON", stream="again") == []
    put(kinesis, b"new", stream="again")
    assert read(kinesis, "TRIM_HORIZON", stream="again") == [b"new"]


def test_an_on_demand_stream_has_four_shards(kinesis: Any) -> None:
    kinesis.create_stream(StreamName="free", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    summary = kinesis.describe_stream_summary(StreamName="free")["StreamDescriptionSummary"]
    assert (summary["OpenShardCount"], summary["StreamModeDetails"]) == (4, {"StreamMode": "ON_DEMAND"})
    limits = kinesis.describe_limits()
    assert (limits["OpenShardCount"], limits["OnDemandStreamCount"]) == (2, 1)


def test_create_stream_refuses(kinesis: Any) -> None:
    create = kinesis.create_stream
    assert refused(create, StreamName="x") == (
        "ValidationException",
        "1 validation error detected: Value null at 'shardCount' failed to satisfy constraint: Member must not be null",
    )
    assert refused(create, StreamName="a/b", ShardCount=1) == (
        "ValidationException",
        "1 validation error detected: Value 'a/b' at 'streamName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
    )
    code, message = refused(create, StreamName="x", ShardCount=100_000)
    assert code == "LimitExceededException"
    assert "Current shard count for the account: 2. Limit: 5000. Number of additional shards" in message
    assert refused(create, StreamName="x", ShardCount=1, MaxRecordSizeInKiB=2048) == (
        "InvalidArgumentException",
        "MaxRecordSizeInKiB 2048 is not built yet.",
    )
    assert kinesis.list_streams()["StreamNames"] == ["events"]


@pytest.mark.parametrize("name", [".", "..", "-", "a" * 128])
def test_odd_names(server: KinesisServer, kinesis: Any, name: str) -> None:
    if name.strip("."):
        kinesis.create_stream(StreamName=name, ShardCount=1)
        put(kinesis, b"x", stream=name)
        assert read(kinesis, "TRIM_HORIZON", stream=name) == [b"x"]
        kinesis.delete_stream(StreamName=name)
    else:
        assert refused(kinesis.create_stream, StreamName=name, ShardCount=1)[0] == "InvalidArgumentException"
    assert kinesis.list_streams()["StreamNames"] == ["events"]


def test_a_declared_stream_can_not_be_deleted(kinesis: Any) -> None:
    code, message = refused(kinesis.delete_stream, StreamName="events")
    assert code == "ResourceInUseException"
    assert "declared by the template" in message


def test_streams_outlive_a_restart(server: KinesisServer) -> None:
    kinesis = server.client()
    kinesis.create_stream(StreamName="kept", ShardCount=2)
    kinesis.create_stream(StreamName="gone", ShardCount=1)
    kinesis.delete_stream(StreamName="gone")
    put(kinesis, b"1", stream="kept")
    before = kinesis.describe_stream(StreamName="kept")["StreamDescription"]
    server.stop()
    server.start()
    kinesis = server.client()
    assert kinesis.list_streams()["StreamNames"] == ["events", "kept"]
    assert kinesis.describe_stream(StreamName="kept")["StreamDescription"] == before
    put(kinesis, b"2", stream="kept")
    assert read(kinesis, "TRIM_HORIZON", stream="kept") == [b"1", b"2"]


@pytest.mark.parametrize(("status", "there"), [("CREATING", True), ("DELETING", False)])
def test_an_interrupted_change_is_finished_at_the_next_start(
    server: KinesisServer, tmp_path: Path, status: str, there: bool
) -> None:
    server.client().create_stream(StreamName="half", ShardCount=1)
    server.stop()
    entry = tmp_path / "streams" / "half" / "stream.json"
    entry.write_text(entry.read_text().replace('"ACTIVE"', f'"{status}"'))
    server.start()
    kinesis = server.client()
    assert ("half" in kinesis.list_streams()["StreamNames"]) == there
    if there:
        assert kinesis.describe_stream(StreamName="half")["StreamDescription"]["StreamStatus"] == "ACTIVE"


def test_records_without_an_entry_are_not_mistaken_for_a_new_stream(server: KinesisServer, tmp_path: Path) -> None:
    put(server.client(), b"precious")
    server.stop()
    entry = tmp_path / "streams" / "events" / "stream.json"
    text = entry.read_text()
    entry.unlink()
    with pytest.raises(DataDirectoryError, match=r"stream\.json is missing"):
        server.start()
    entry.write_text(text)
    server.start()
    assert read(server.client(), "TRIM_HORIZON") == [b"precious"]


def test_the_template_decides_over_its_streams(tmp_path: Path) -> None:
    with KinesisServer(tmp_path, [EVENTS]) as first:
        put(first.client(), b"kept")
    longer = system.Stream(logical_id="Events", name="events", shards=2, mode="ON_DEMAND", retention_hours=48)
    with KinesisServer(tmp_path, [longer]) as second:
        described = second.client().describe_stream(StreamName="events")["StreamDescription"]
        assert (described["RetentionPeriodHours"], described["StreamModeDetails"]["StreamMode"]) == (48, "ON_DEMAND")
        assert read(second.client(), "TRIM_HORIZON") == [b"kept"]
    with KinesisServer(tmp_path, []) as third:
        assert read(third.client(), "TRIM_HORIZON") == [b"kept"]
        third.client().delete_stream(StreamName="events")


def test_a_stream_is_seen_while_it_is_made_and_deleted(server: KinesisServer) -> None:
    """The statuses are short, so they are looked at from inside, where the loop can be held."""

    async def watch() -> list[str]:
        import asyncio

        seen = []
        for change in (server.streams.create("brief", 1), server.streams.delete("brief")):
            task = asyncio.ensure_future(change)
            while not task.done():
                await asyncio.sleep(0)
                if "brief" in server.streams.names():
                    seen.append(server.streams.entry("brief").status)
                    assert (server.streams.find("brief") is not None) == (seen[-1] == "ACTIVE")
            await task
        return seen

    seen = server.call(watch())
    assert list(dict.fromkeys(seen)) == ["CREATING", "ACTIVE", "DELETING"]


# --- lists -----------------------------------------------------------------------------------------------------------


def test_list_streams_in_pages(kinesis: Any) -> None:
    names = sorted(["events", *(f"s{number:02d}" for number in range(7))])
    for name in names[1:]:
        kinesis.create_stream(StreamName=name, ShardCount=1)
    pages = list(kinesis.get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 3}))
    assert [page["StreamNames"] for page in pages] == [names[:3], names[3:6], names[6:]]
    assert [page["HasMoreStreams"] for page in pages] == [True, True, False]
    assert [each["StreamName"] for page in pages for each in page["StreamSummaries"]] == names
    after = kinesis.list_streams(ExclusiveStartStreamName="s03", Limit=2)
    assert (after["StreamNames"], after["HasMoreStreams"]) == (["s04", "s05"], True)
    assert kinesis.list_streams(ExclusiveStartStreamName="s06")["StreamNames"] == []
    assert refused(kinesis.list_streams, NextToken="nonsense") == ("InvalidArgumentException", "Invalid NextToken.")


def test_shards_in_pages(kinesis: Any) -> None:
    kinesis.create_stream(StreamName="wide", ShardCount=250)
    ids = [shard(index) for index in range(250)]
    pages = list(kinesis.get_paginator("describe_stream").paginate(StreamName="wide"))
    assert [len(page["StreamDescription"]["Shards"]) for page in pages] == [100, 100, 50]
    assert [each["ShardId"] for page in pages for each in page["StreamDescription"]["Shards"]] == ids
    pages = list(kinesis.get_paginator("list_shards").paginate(StreamName="wide", PaginationConfig={"PageSize": 99}))
    assert [each["ShardId"] for page in pages for each in page["Shards"]] == ids
    assert len(pages) == 3
    listed = kinesis.list_shards(StreamName="wide", ExclusiveStartShardId=shard(247))["Shards"]
    assert [each["ShardId"] for each in listed] == ids[248:]


def test_list_shards_filters(kinesis: Any, server: KinesisServer) -> None:
    def ids(**filter_: Any) -> list[str]:
        return [each["ShardId"] for each in kinesis.list_shards(StreamName="events", ShardFilter=filter_)["Shards"]]

    both, now = [shard(0), shard(1)], datetime.now(UTC)
    for kind in ("AT_TRIM_HORIZON", "FROM_TRIM_HORIZON", "AT_LATEST"):
        assert ids(Type=kind) == both
    assert ids(Type="AFTER_SHARD_ID", ShardId=shard(0)) == both[1:]
    assert ids(Type="AT_TIMESTAMP", Timestamp=now) == both
    assert ids(Type="AT_TIMESTAMP", Timestamp=datetime(2020, 1, 1, tzinfo=UTC)) == []
    assert ids(Type="FROM_TIMESTAMP", Timestamp=datetime(2020, 1, 1, tzinfo=UTC)) == both
    listed = kinesis.list_shards
    for filter_ in ({"Type": "AFTER_SHARD_ID"}, {"Type": "AT_TIMESTAMP"}, {"Type": "AFTER_SHARD_ID", "ShardId": "x"}):
        assert refused(listed, StreamName="events", ShardFilter=filter_)[0] == "InvalidArgumentException"
    assert refused(listed, StreamName="events", ShardFilter={"Type": "SOME"})[0] == "ValidationException"
    created = kinesis.describe_stream(StreamName="events")["StreamDescription"]["StreamCreationTimestamp"]
    assert len(listed(StreamName="events", StreamCreationTimestamp=created)["Shards"]) == 2
    old = datetime(2020, 1, 1, tzinfo=UTC)
    assert refused(listed, StreamName="events", StreamCreationTimestamp=old)[0] == "ResourceNotFoundException"


def test_list_shards_tokens(kinesis: Any, server: KinesisServer) -> None:
    token = kinesis.list_shards(StreamName="events", MaxResults=1)["NextToken"]
    kinesis.create_stream(StreamName="other", ShardCount=1)
    for name, text in (("other", token), ("events", "events")):
        assert refused(kinesis.list_shards, StreamName=name, NextToken=text) == (
            "InvalidArgumentException",
            "NextToken and StreamName cannot be provided together.",
        )
    assert refused(kinesis.list_shards) == (
        "InvalidArgumentException",
        "Either NextToken or StreamName should be provided.",
    )
    assert refused(kinesis.list_shards, NextToken="a" * 8)[0] == "InvalidArgumentException"
    server.clock.ahead_ms = 300_001
    assert refused(kinesis.list_shards, NextToken=token)[0] == "ExpiredNextTokenException"


# --- records in ------------------------------------------------------------------------------------------------------


def test_put_record(kinesis: Any) -> None:
    first = kinesis.put_record(StreamName="events", Data=b"a", PartitionKey="k")
    index = 0 if int(hashlib.md5(b"k").hexdigest(), 16) < 2**127 else 1
    assert (first["ShardId"], first["EncryptionType"]) == (shard(index), "NONE")
    second = kinesis.put_record(
        StreamARN=ARN + "events", Data=b"b", PartitionKey="k", SequenceNumberForOrdering=first["SequenceNumber"]
    )
    assert len(second["SequenceNumber"]) == 56
    assert int(second["SequenceNumber"]) > int(first["SequenceNumber"])
    assert read(kinesis, "TRIM_HORIZON", index) == [b"a", b"b"]


def test_put_records_answers_in_order_with_rising_numbers_per_shard(kinesis: Any) -> None:
    records: list[dict[str, Any]] = [{"Data": b"%d" % n, "PartitionKey": f"key {n}"} for n in range(500)]
    answer = kinesis.put_records(StreamName="events", Records=records)
    assert (answer["FailedRecordCount"], answer["EncryptionType"], len(answer["Records"])) == (0, "NONE", 500)
    expected: dict[str, list[bytes]] = {shard(0): [], shard(1): []}
    numbers: dict[str, list[int]] = {shard(0): [], shard(1): []}
    for record, result in zip(records, answer["Records"], strict=True):
        digest = int(hashlib.md5(record["PartitionKey"].encode()).hexdigest(), 16)
        assert result["ShardId"] == shard(digest >> 127)
        expected[result["ShardId"]].append(record["Data"])
        numbers[result["ShardId"]].append(int(result["SequenceNumber"]))
    for index in range(2):
        assert read(kinesis, "TRIM_HORIZON", index) == expected[shard(index)]
        assert numbers[shard(index)] == sorted(set(numbers[shard(index)]))
        got = kinesis.get_records(ShardIterator=iterator(kinesis, "TRIM_HORIZON", index))["Records"]
        assert [int(record["SequenceNumber"]) for record in got] == numbers[shard(index)]


def test_explicit_hash_keys_decide_the_shard(kinesis: Any) -> None:
    for hash_key, index in (("0", 0), (str(2**127 - 1), 0), (str(2**127), 1), (str(2**128 - 1), 1)):
        single = kinesis.put_record(StreamName="events", Data=b"", PartitionKey="k", ExplicitHashKey=hash_key)
        several = kinesis.put_records(
            StreamName="events", Records=[{"Data": b"", "PartitionKey": "k", "ExplicitHashKey": hash_key}]
        )
        assert single["ShardId"] == several["Records"][0]["ShardId"] == shard(index)
    over = {"Data": b"", "PartitionKey": "k", "ExplicitHashKey": str(2**128)}
    expected = (
        "InvalidArgumentException",
        "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. "
        "Specified value was 340282366920938463463374607431768211456",
    )
    assert refused(kinesis.put_record, StreamName="events", **over) == expected
    assert refused(kinesis.put_records, StreamName="events", Records=[over]) == expected


@pytest.mark.parametrize(
    ("data", "key"),
    [(b"", "k"), (bytes(range(256)), "k"), (b"x", "k" * 256), (b"x", '"\\\n\t\x00'), (b"x", "ключ 鍵 🔑"), (b"x", " ")],
)
def test_any_bytes_and_any_key(kinesis: Any, data: bytes, key: str) -> None:
    put_to = kinesis.put_record(StreamName="events", Data=data, PartitionKey=key)
    kinesis.put_records(StreamName="events", Records=[{"Data": data, "PartitionKey": key}])
    got = kinesis.get_records(ShardIterator=iterator(kinesis, "TRIM_HORIZON", int(put_to["ShardId"][-1])))["Records"]
    assert [(record["Data"], record["PartitionKey"]) for record in got] == [(data, key)] * 2


def test_the_largest_record_is_one_mebibyte_with_its_key(kinesis: Any) -> None:
    largest = bytes(MIB - 3)
    assert put(kinesis, b"small", largest, b"small")
    kinesis.put_record(StreamName="events", Data=largest, PartitionKey="key")
    for data, shown in ((largest + b"x", MIB + 1), (bytes(MIB + 1), None), (bytes(2 * MIB), None)):
        code, message = refused(kinesis.put_record, StreamName="events", Data=data, PartitionKey="key")
        size = shown or len(data)
        expected = (
            f"Value 'java.nio.HeapByteBuffer[pos=0 lim={size} cap={size}]' at '%s' failed to satisfy constraint: "
            "Member must have length less than or equal to 1048576"
        )
        assert (code, message) == ("ValidationException", "1 validation error detected: " + expected % "data")
        records = [{"Data": b"", "PartitionKey": "key"}, {"Data": data, "PartitionKey": "key"}]
        code, message = refused(kinesis.put_records, StreamName="events", Records=records)
        assert (code, message) == (
            "ValidationException",
            "1 validation error detected: " + expected % "records.2.member.data",
        )
    assert len(read(kinesis, "TRIM_HORIZON")) + len(read(kinesis, "TRIM_HORIZON", 1)) == 4  # nothing of the refused


def test_ten_mebibytes_a_request(kinesis: Any) -> None:
    full = [{"Data": bytes(MIB - 1), "PartitionKey": "k"}] * 10
    assert kinesis.put_records(StreamName="events", Records=full)["FailedRecordCount"] == 0
    over = [*full, {"Data": b"", "PartitionKey": "k"}]
    assert refused(kinesis.put_records, StreamName="events", Records=over) == (
        "InvalidArgumentException",
        "Records size exceeds 10 MB limit",
    )


def test_bodies_no_client_sends(server: KinesisServer) -> None:
    data = base64.b64encode(b"x").decode()
    good = {"StreamName": "events", "Data": data, "PartitionKey": "k"}
    cases: list[tuple[str, Any, str, str]] = [
        ("PutRecord", b"{not json", "SerializationException", "The body is not JSON"),
        ("PutRecords", b"", "SerializationException", "The body is not JSON"),
        ("PutRecord", [], "SerializationException", "Start of list found where not expected"),
        ("PutRecord", {**good, "Data": "not base64"}, "SerializationException", "'not base64' can not be converted to"),
        ("PutRecord", {**good, "Data": "YWJ"}, "SerializationException", "multiple of 4 bytes but found: 3"),
        ("PutRecord", {**good, "PartitionKey": 7}, "SerializationException", "can not be converted to an String"),
        ("PutRecord", {**good, "PartitionKey": None}, "ValidationException", "Value null at 'partitionKey'"),
        ("PutRecord", {**good, "PartitionKey": "\ud800"}, "SerializationException", "The body is not JSON"),
        ("PutRecord", {**good, "Data": None}, "ValidationException", "Value null at 'data'"),
        ("PutRecord", {**good, "ExplicitHashKey": "-1"}, "ValidationException", "Value '-1' at 'explicitHashKey'"),
        ("PutRecord", {**good, "SequenceNumberForOrdering": "x"}, "ValidationException", "'sequenceNumberForOrdering'"),
        ("PutRecord", {**good, "StreamName": ""}, "ValidationException", "2 validation errors detected: Value ''"),
        ("PutRecord", {"Data": data, "PartitionKey": "k"}, "InvalidArgumentException", "StreamName or StreamARN"),
        ("PutRecord", {**good, "StreamARN": ARN + "b"}, "InvalidArgumentException", "are not of one stream"),
        ("PutRecord", {**good, "DryRun": True}, "DryRunOperationException", "DryRun"),
        ("PutRecords", {"StreamName": "events", "Records": []}, "ValidationException", "Value '[]' at 'records'"),
        ("PutRecords", {"StreamName": "events", "Records": {}}, "SerializationException", "Start of structure or map"),
        ("PutRecords", {"StreamName": "events", "Records": [good] * 501}, "ValidationException", "or equal to 500"),
        (
            "PutRecords",
            {"Records": [{**good, "Data": "%"}]},
            "SerializationException",
            "can not be converted to a Blob",
        ),
        (
            "GetRecords",
            {"ShardIterator": "x", "Limit": "5"},
            "SerializationException",
            "can not be converted to an Int",
        ),
        ("GetRecords", {"ShardIterator": "x", "Limit": 0}, "ValidationException", "greater than or equal to 1"),
        ("GetShardIterator", {"StreamName": "events"}, "ValidationException", "2 validation errors detected"),
        ("Nonsense", {}, "UnknownOperationException", "no operation 'Nonsense'"),
        ("", {}, "UnknownOperationException", "no operation ''"),
    ]
    for operation, body, code, message in cases:
        status, answer = server.raw(operation, body)
        assert (status, answer["__type"]) == (400, code), (operation, body, answer)
        assert message in answer["message"], (operation, body, answer)
    assert read(server.client(), "TRIM_HORIZON") == read(server.client(), "TRIM_HORIZON", 1) == []
    for unusual in (
        {**good, "ExplicitHashKey": None, "More": [1]},
        {**good, "DryRun": False, "StreamId": "x" * 20 + "-abc"},
    ):
        assert server.raw("PutRecord", unusual)[0] == 200
        entry = {"StreamName": "events", "Records": [unusual], "StreamARN": None}
        assert server.raw("PutRecords", entry)[1]["FailedRecordCount"] == 0


def test_operations_of_the_model_that_are_not_built(kinesis: Any) -> None:
    assert refused(kinesis.split_shard, StreamName="events", ShardToSplit=shard(0), NewStartingHashKey="5") == (
        "UnknownOperationException",
        "SplitShard is not built yet.",
    )


def test_a_stream_that_does_not_exist(kinesis: Any) -> None:
    expected = ("ResourceNotFoundException", "Stream none under account 000000000000 not found.")
    record = {"Data": b"", "PartitionKey": "k"}
    for call, more in (
        (kinesis.put_record, record),
        (kinesis.put_records, {"Records": [record]}),
        (kinesis.describe_stream, {}),
        (kinesis.describe_stream_summary, {}),
        (kinesis.list_shards, {}),
        (kinesis.delete_stream, {}),
        (kinesis.increase_stream_retention_period, {"RetentionPeriodHours": 25}),
        (kinesis.add_tags_to_stream, {"Tags": {"a": "b"}}),
        (kinesis.list_tags_for_stream, {}),
    ):
        assert refused(call, StreamName="none", **more) == expected
        assert refused(call, StreamARN=ARN + "none", **more) == expected
    other = ARN.replace("000000000000", "123456789012") + "events"
    assert refused(kinesis.describe_stream, StreamARN=other) == (
        "ResourceNotFoundException",
        "Stream events under account 123456789012 not found.",
    )
    assert refused(kinesis.get_shard_iterator, StreamName="none", ShardId="shardId-5", ShardIteratorType="LATEST") == (
        "ResourceNotFoundException",
        "Shard shardId-000000000005 in stream none under account 000000000000 does not exist",
    )


def test_ordering_after_a_number_that_is_none(kinesis: Any) -> None:
    number = put(kinesis, b"a")[0]
    future = str(int(number) + (10_000 << 36))
    for text in ("5", "0", "2" * 56, future):
        assert refused(
            kinesis.put_record, StreamName="events", Data=b"", PartitionKey="k", SequenceNumberForOrdering=text
        ) == (
            "InvalidArgumentException",
            f"ExclusiveMinimumSequenceNumber {text} used in PutRecord on stream events under account 000000000000 "
            "is invalid.",
        )


def test_a_full_disk_acknowledges_nothing_and_loses_nothing(tmp_path: Path) -> None:
    disk = FaultyDisk()
    with KinesisServer(tmp_path / "streams", [EVENTS], disk) as server:
        kinesis = server.client()
        put(kinesis, b"before")
        disk.space = 0
        code, message = refused(kinesis.put_record, StreamName="events", Data=b"lost", PartitionKey="k")
        assert code == "InternalFailure"
        assert "No space left on device" in message
        assert "Free space" in message
        answer = kinesis.put_records(StreamName="events", Records=[{"Data": b"lost", "PartitionKey": "k"}] * 3)
        assert answer["FailedRecordCount"] == 3
        assert {record["ErrorCode"] for record in answer["Records"]} == {"InternalFailure"}
        assert all("No space left on device" in record["ErrorMessage"] for record in answer["Records"])
        disk.space = None
        put(kinesis, b"after")
        assert read(kinesis, "TRIM_HORIZON") == [b"before", b"after"]


def test_many_clients_at_once(server: KinesisServer) -> None:
    acknowledged: list[tuple[str, str]] = []

    def produce(worker: int, kinesis: Any) -> None:
        for number in range(10):
            answer = kinesis.put_records(
                StreamName="events",
                Records=[{"Data": b"%d-%d" % (worker, number), "PartitionKey": f"{worker}"} for _ in range(10)],
            )
            acknowledged.extend((each["ShardId"], each["SequenceNumber"]) for each in answer["Records"])

    threads = [threading.Thread(target=produce, args=(worker, server.client())) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kinesis = server.client()
    stored = [
        (shard(index), record["SequenceNumber"])
        for index in range(2)
        for record in kinesis.get_records(ShardIterator=iterator(kinesis, "TRIM_HORIZON", index))["Records"]
    ]
    assert sorted(acknowledged) == sorted(stored)
    assert len(set(stored)) == 600


# --- records out -----------------------------------------------------------------------------------------------------


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


# --- retention and tags ----------------------------------------------------------------------------------------------


def test_records_older_than_the_retention_are_hidden(kinesis: Any, server: KinesisServer) -> None:
    put(kinesis, b"old")
    server.clock.ahead_ms = 20 * HOUR_MS
    number = put(kinesis, b"newer")[0]
    server.clock.ahead_ms = 25 * HOUR_MS
    assert read(kinesis, "TRIM_HORIZON") == [b"newer"]
    assert read(kinesis, "AT_TIMESTAMP", Timestamp=datetime(2020, 1, 1, tzinfo=UTC)) == [b"newer"]
    server.clock.ahead_ms = 50 * HOUR_MS
    assert read(kinesis, "TRIM_HORIZON") == []
    assert read(kinesis, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=number) == []
    put(kinesis, b"newest")
    assert read(kinesis, "TRIM_HORIZON") == [b"newest"]


def test_a_longer_retention_brings_nothing_back(kinesis: Any, server: KinesisServer) -> None:
    put(kinesis, b"expired")
    server.clock.ahead_ms = 20 * HOUR_MS
    put(kinesis, b"kept")
    server.clock.ahead_ms = 30 * HOUR_MS
    kinesis.increase_stream_retention_period(StreamName="events", RetentionPeriodHours=48)
    assert kinesis.describe_stream(StreamName="events")["StreamDescription"]["RetentionPeriodHours"] == 48
    assert read(kinesis, "TRIM_HORIZON") == [b"kept"]
    server.clock.ahead_ms = 60 * HOUR_MS
    assert read(kinesis, "TRIM_HORIZON") == [b"kept"]
    kinesis.decrease_stream_retention_period(StreamName="events", RetentionPeriodHours=24)
    assert read(kinesis, "TRIM_HORIZON") == []


def test_retention_periods_that_are_refused(kinesis: Any) -> None:
    def both(hours: int) -> list[tuple[str, str]]:
        return [
            refused(change, StreamName="events", RetentionPeriodHours=hours)
            for change in (kinesis.increase_stream_retention_period, kinesis.decrease_stream_retention_period)
        ]

    wrong = "InvalidArgumentException"
    short = "Minimum allowed retention period is 24 hours. Requested retention period (23 hours) is too short."
    long = "Maximum allowed retention period is 8760 hours. Requested retention period (8761 hours) is too long."
    assert both(23) == [(wrong, short)] * 2
    assert both(8761) == [(wrong, long)] * 2
    kinesis.increase_stream_retention_period(StreamName="events", RetentionPeriodHours=48)
    kinesis.increase_stream_retention_period(StreamName="events", RetentionPeriodHours=48)
    period = "Requested retention period ({} hours) for stream events can not be {} than existing retention period (48 "
    assert refused(kinesis.increase_stream_retention_period, StreamName="events", RetentionPeriodHours=47) == (
        wrong,
        period.format(47, "shorter") + "hours). Use DecreaseRetentionPeriod API.",
    )
    assert refused(kinesis.decrease_stream_retention_period, StreamName="events", RetentionPeriodHours=49) == (
        wrong,
        period.format(49, "longer") + "hours). Use IncreaseRetentionPeriod API.",
    )


def test_trimming_removes_what_nobody_needs_any_more(server: KinesisServer) -> None:
    kinesis = server.client()
    put(kinesis, b"old")
    server.clock.ahead_ms = 2 * HOUR_MS
    put(kinesis, b"newer")  # the first segment is older than an hour: this one begins another
    server.clock.ahead_ms = 25 * HOUR_MS
    assert server.call(server.streams.trim("events", 0)) == []
    assert len(server.call(server.streams.trim("events", None))) == 1
    assert read(kinesis, "TRIM_HORIZON") == [b"newer"]


def test_tags(kinesis: Any, server: KinesisServer) -> None:
    kinesis.add_tags_to_stream(StreamName="events", Tags={"b": "2", "a": "1"})
    kinesis.add_tags_to_stream(StreamARN=ARN + "events", Tags={"c d": "", "a": "ä"})
    tags = kinesis.list_tags_for_stream(StreamName="events")
    assert tags["Tags"] == [{"Key": "a", "Value": "ä"}, {"Key": "b", "Value": "2"}, {"Key": "c d", "Value": ""}]
    page = kinesis.list_tags_for_stream(StreamName="events", ExclusiveStartTagKey="a", Limit=1)
    assert (page["Tags"], page["HasMoreTags"]) == ([{"Key": "b", "Value": "2"}], True)
    kinesis.remove_tags_from_stream(StreamName="events", TagKeys=["a", "nothing"])
    server.stop()
    server.start()
    kinesis = server.client()
    assert [tag["Key"] for tag in kinesis.list_tags_for_stream(StreamName="events")["Tags"]] == ["b", "c d"]
    code, message = refused(kinesis.add_tags_to_stream, StreamName="events", Tags={"bad%": "x"})
    assert code == "InvalidArgumentException"
    assert "because some tags contained illegal characters" in message
    for start in (0, 10, 20, 30):
        kinesis.add_tags_to_stream(StreamName="events", Tags={f"t{start + each}": "" for each in range(10)})
    code, message = refused(
        kinesis.add_tags_to_stream, StreamName="events", Tags={f"u{each}": "" for each in range(10)}
    )
    assert (code, "cannot have more than 50 tags" in message) == ("InvalidArgumentException", True)
