"""Records that are large in odd ways: deep, wide, many in one, cut short. Each has its answer and costs nobody else."""

import json
from collections.abc import Iterator
from typing import Any

import aws_kinesis_agg.aggregator
import pytest

from support.backend import ROOT, Backend, backend

LEVELS = 400
MEMBERS = 10_000
EVENTS = 50_000


def aggregate() -> bytes:
    made: Any = aws_kinesis_agg.aggregator.RecordAggregator()
    for number in range(100):
        made.add_user_record(f"pump-{number}", f'{{"a": {number}}}')
    data: bytes = made.clear_and_get().get_contents()[2]
    return data


WHOLE = aggregate()
RECORDS = {
    "deep": b'{"time":0,"a":' + b"[" * (LEVELS - 1) + b"]" * (LEVELS - 1) + b"}",
    "deeper": b'{"time":0,"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "twice": b'{"time":0,"a":1,"b":2,"a":3}',
    "wide": b'{"time":0,' + b",".join(b'"m%d":%d' % (number, number) for number in range(MEMBERS)) + b"}",
    "many": b"[" + b",".join(b'{"a":%d}' % number for number in range(EVENTS)) + b"]",
    "whole": WHOLE,
    "cut": WHOLE[: len(WHOLE) // 2],
    "cut in the array": (b'[{"a":1},' * 10)[:-5],
    "good": b'{"time":0,"a":1}',
}
REJECTED = {"deeper": "json", "cut": "json", "cut in the array": "json"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("odd")
    template = folder / "template.yaml"
    text = (ROOT / "template.yaml").read_text().replace("CodeUri: functions/", f"CodeUri: {ROOT / 'functions'}")
    template.write_text(text.replace("MaximumBatchingWindowInSeconds: 20", "MaximumBatchingWindowInSeconds: 1"))
    with backend(folder, template) as running:
        kinesis = running.client("kinesis")
        for key, data in RECORDS.items():
            kinesis.put_record(StreamName="events", PartitionKey=key, Data=data)
        running.settled(len(RECORDS))
        yield running


def latest(running: Backend, device: str) -> Any:
    return json.loads(running.cli("latest", device, "--json").stdout)


def test_400_levels_are_stored_and_read_back(running: Backend) -> None:
    value, levels = latest(running, "deep")["readings"], 0
    while value:
        value, levels = (value["a"] if levels == 0 else value[0]), levels + 1
    assert levels == LEVELS - 1


def test_the_last_of_two_members_of_one_name_counts(running: Backend) -> None:
    assert latest(running, "twice")["readings"] == {"a": 3, "b": 2}


def test_10_000_members_are_stored(running: Backend) -> None:
    assert latest(running, "wide")["readings"] == {f"m{number}": number for number in range(MEMBERS)}


def test_an_array_of_50_000_is_as_many_events(running: Backend) -> None:
    event = latest(running, "many")
    assert event["readings"] == {"a": EVENTS - 1}
    assert event["id"].endswith(f".000000.{EVENTS - 1:06d}")
    history = json.loads(running.cli("history", "many", "--limit", "1000", "--json").stdout)
    assert [one["readings"]["a"] for one in history["events"]] == list(range(1000))


def test_an_aggregate_is_taken_apart_and_one_cut_short_is_kept_as_it_came(running: Backend) -> None:
    assert latest(running, "pump-99")["readings"] == {"a": 99}
    reasons = {}
    for row in json.loads(running.cli("failures", "list", "--json").stdout):
        document = json.loads(running.cli("failures", "show", row["id"], "--json").stdout)
        (record,) = document["payload"]["Records"]
        reasons[record["kinesis"]["partitionKey"]] = row["reason"]
    assert reasons == REJECTED


def test_the_books_agree_and_the_event_behind_them_is_there(running: Backend) -> None:
    assert latest(running, "good")["readings"] == {"a": 1}
    status = running.status(verify=True)
    assert status["verified"], status["differences"]
    assert status["events"]["stored"] == EVENTS + 100 + len({"deep", "twice", "wide", "good"})
    assert status["functions"]["store"]["failed"] == len(REJECTED)
    assert status["functions"]["archive"]["processed"] == len(RECORDS)


def test_a_record_of_the_greatest_size_with_an_array_over_the_limit_is_refused_whole(running: Backend) -> None:
    data = b"[" + b",".join(b'{"time":"2026-01-01T00:00:00Z","a":%d}' % number for number in range(EVENTS)) + b"]"
    kinesis = running.client("kinesis")
    before = running.status()["accepted"]
    with pytest.raises(kinesis.exceptions.ClientError, match="less than or equal to 1048576"):
        kinesis.put_record(StreamName="events", PartitionKey="many", Data=data)
    assert running.status()["accepted"] == before
