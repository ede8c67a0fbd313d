"""An unmodified boto3 makes, describes, lists, keeps and deletes streams."""

import asyncio
import re
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from headrace import system
from headrace.errors import DataDirectoryError
from support.kinesis_client import ARN, EVENTS, HOUR_MS, put, read, refused, shard
from support.kinesis_server import KinesisServer

THREADS_MAX = 32  # of asyncio's own


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
    code, message = refused(create, StreamName="x", ShardCount=1, Tags={f"t{each}": "" for each in range(51)})
    assert (code, "cannot have more than 50 tags" in message) == ("InvalidArgumentException", True)
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
    """The statuses are short, so they are looked at from inside, while threads that would do the work are held."""

    async def watch() -> list[str]:
        seen = []
        loop, gate = asyncio.get_running_loop(), threading.Event()
        held = [loop.run_in_executor(None, gate.wait) for _ in range(THREADS_MAX)]
        for change in (server.streams.create("brief", 1), server.streams.delete("brief")):
            task = asyncio.ensure_future(change)
            while not task.done():
                await asyncio.sleep(0)
                if "brief" in server.streams.names():
                    seen.append(server.streams.entry("brief").status)
                    assert (server.streams.find("brief") is not None) == (seen[-1] == "ACTIVE")
                    gate.set()
            await task
        await asyncio.gather(*held)
        return seen

    seen = server.call(watch())
    assert list(dict.fromkeys(seen)) == ["CREATING", "ACTIVE", "DELETING"]


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


def test_tags_of_a_resource(kinesis: Any) -> None:
    resource = {"ResourceARN": ARN + "events"}
    kinesis.tag_resource(**resource, Tags={"b": "2", "a": "1"})
    assert kinesis.list_tags_for_resource(**resource)["Tags"] == [
        {"Key": "a", "Value": "1"},
        {"Key": "b", "Value": "2"},
    ]
    kinesis.untag_resource(**resource, TagKeys=["a"])
    assert kinesis.list_tags_for_stream(StreamName="events")["Tags"] == [{"Key": "b", "Value": "2"}]
    for other in ("none", "events/consumer/c:1"):
        assert refused(kinesis.list_tags_for_resource, ResourceARN=ARN + other)[0] == "ResourceNotFoundException"


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
