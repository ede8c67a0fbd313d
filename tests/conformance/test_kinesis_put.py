"""An unmodified boto3 puts records: what is answered and what is refused."""

import base64
import hashlib
import math
import threading
from pathlib import Path
from typing import Any

import cbor2
import pytest

from support.faulty_disk import FaultyDisk
from support.kinesis_client import ARN, EVENTS, MIB, iterator, put, read, refused, shard
from support.kinesis_server import KinesisServer


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
        (
            "PutRecords",
            b'{"Records":[%b{}]}' % (b"{}," * 5_000_000),
            "SerializationException",
            "more than 150,000 values",
        ),
        ("ListStreams", b"[%b[]]" % (b"[]," * 5_000_000), "SerializationException", "more than 150,000 values"),
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
        assert (status, answer.get("__type")) == (400, code), (operation, body, answer)
        assert message in answer["message"], (operation, body, answer)
    assert read(server.client(), "TRIM_HORIZON") == read(server.client(), "TRIM_HORIZON", 1) == []
    for unusual in (
        {**good, "ExplicitHashKey": None, "More": [1]},
        {**good, "DryRun": False, "StreamId": "x" * 20 + "-abc"},
    ):
        assert server.raw("PutRecord", unusual)[0] == 200
        entry = {"StreamName": "events", "Records": [unusual], "StreamARN": None}
        assert server.raw("PutRecords", entry)[1]["FailedRecordCount"] == 0


@pytest.mark.parametrize("server", ["cbor"], indirect=True)
def test_cbor_no_client_sends(server: KinesisServer) -> None:
    good: dict[Any, Any] = {"StreamName": "events", "Data": b"x", "PartitionKey": "k"}
    at = {"StreamName": "events", "ShardId": "0", "ShardIteratorType": "AT_TIMESTAMP"}
    nan = math.nan
    cases: list[tuple[str, Any, str, str]] = [
        ("PutRecord", b"", "SerializationException", "The body is not CBOR"),
        ("PutRecord", b"{}", "SerializationException", "The body is not CBOR"),
        ("PutRecord", cbor2.dumps(good)[:-1], "SerializationException", "The body is not CBOR"),
        ("PutRecords", b"\xbf" + cbor2.dumps("Records"), "SerializationException", "The body is not CBOR"),
        ("PutRecords", b"\x81" * 100_000, "SerializationException", "nesting depth"),
        ("DescribeStream", b"\xa1\x61a" * 50_000, "SerializationException", "nesting depth"),
        (
            "PutRecords",
            b"\x9f%b\xff" % bytes([0x80] * 16_000_000),
            "SerializationException",
            "more than 150,000 values",
        ),
        ("ListStreams", b"\x81" * 16_000_000, "SerializationException", "more than 150,000 values"),
        ("PutRecord", {**good, 7: 1}, "SerializationException", "must be a text string"),
        ("PutRecord", bytes.fromhex("d81c81d81d00"), "SerializationException", "no request has this tag"),
        ("PutRecord", [good], "SerializationException", "Start of list found where not expected"),
        ("PutRecord", "good", "SerializationException", "The body is not an object"),
        ("PutRecord", {**good, "Data": "eA=="}, "SerializationException", "java.lang.String can not be converted to a"),
        ("PutRecord", {**good, "Data": nan}, "SerializationException", "nan is nothing that a request says"),
        ("PutRecord", {**good, "Data": [1]}, "SerializationException", "Start of list found where not expected"),
        ("PutRecord", {**good, "PartitionKey": b"k"}, "SerializationException", "HeapByteBuffer can not be converted"),
        ("PutRecord", {**good, "PartitionKey": nan}, "SerializationException", "nan is nothing that"),
        ("PutRecord", {**good, "PartitionKey": cbor2.undefined}, "ValidationException", "Value null at 'partitionKey'"),
        ("PutRecord", {**good, "DryRun": b"x"}, "SerializationException", "can not be converted to an Boolean"),
        ("PutRecord", {**good, "PartitionKey": cbor2.CBORTag(99, "k")}, "SerializationException", "a CBORTag is no"),
        ("PutRecords", {"StreamName": "events", "Records": [good] * 501}, "ValidationException", "or equal to 500"),
        ("PutRecords", {"Records": [{**good, "Data": "eA=="}]}, "SerializationException", "converted to a Blob"),
        ("GetRecords", {"ShardIterator": "x", "Limit": nan}, "SerializationException", "nan is nothing that a"),
        ("GetRecords", {"ShardIterator": "x", "Limit": b"5"}, "SerializationException", "can not be converted to an I"),
        ("GetShardIterator", {**at, "Timestamp": nan}, "SerializationException", "nan is nothing"),
        ("GetShardIterator", {**at, "Timestamp": math.inf}, "SerializationException", "inf is nothing"),
        ("GetShardIterator", {**at, "Timestamp": b"x"}, "SerializationException", "to milliseconds since epoch"),
        ("GetShardIterator", {**at, "Timestamp": 2**64 - 1}, "InvalidArgumentException", "Timestamp"),
        ("CreateStream", {"StreamName": "x", "ShardCount": "1"}, "SerializationException", "converted to an Integer"),
        ("Nonsense", {}, "UnknownOperationException", "no operation 'Nonsense'"),
    ]
    for operation, body, code, message in cases:
        sent = body if isinstance(body, bytes) else cbor2.dumps(body)
        status, answer = server.raw_cbor(operation, sent)
        assert (status, answer.get("__type")) == (400, code), (operation, body, answer)
        assert message in answer["message"], (operation, body, answer)
    assert read(server.client(), "TRIM_HORIZON") == read(server.client(), "TRIM_HORIZON", 1) == []
    odd = {"Odd": [cbor2.undefined]}
    for unusual in (good | {"ExplicitHashKey": None}, good | {"DryRun": False, "More": nan}, good | odd):
        assert server.raw_cbor("PutRecord", cbor2.dumps(unusual))[0] == 200
        entry = {"StreamName": "events", "Records": [unusual], "StreamARN": None}
        assert server.raw_cbor("PutRecords", cbor2.dumps(entry))[1]["FailedRecordCount"] == 0


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
