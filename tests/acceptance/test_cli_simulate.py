"""The made-up fleet, its ledger of what was acknowledged, and the comparison of that with what is there."""

import base64
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import clock, event
from headrace.cli.fleet import Fleet, Shares
from headrace.cli.sender import Entry
from headrace.event import Event, Fault
from headrace.wire import Request, Response
from support.command_line import run
from support.fake_backend import FakeBackend, fake_backend

START_MS = 1_760_000_000_000
ALL = Shares(late=0.05, duplicate=0.05, skew=0.05, broken=0.05, poison=0.02, offline=0.1)


def taken(count: int, seed: int | None, shares: Shares = ALL, devices: int = 20) -> tuple[Fleet, list[Entry]]:
    fleet = Fleet(devices, seed, start_ms=START_MS, rate=2.0, shares=shares)
    return fleet, [entry for number in range(count) for entry in fleet.take(number)] + fleet.rest()


def decoded(entry: Entry, arrived_ms: int = START_MS) -> list[Event | Fault]:
    data = base64.b64encode(entry.data).decode()
    kinesis = {"data": data, "partitionKey": entry.key, "sequenceNumber": "1", "approximateArrivalTimestamp": 0.0}
    return event.decode({"kinesis": kinesis | {"approximateArrivalTimestamp": arrived_ms / 1000}})


def test_a_seed_and_a_start_give_the_same_events() -> None:
    first, again, other = (taken(500, seed)[1] for seed in (7, 7, 8))
    assert first == again != other
    assert taken(50, None)[1] != taken(50, None)[1]


def test_each_mishap_is_as_frequent_as_its_share() -> None:
    fleet, entries = taken(20_000, 3)
    assert 800 < fleet.counts["late"] < 1200 and 800 < fleet.counts["skew"] < 1200
    assert 800 < fleet.counts["broken"] < 1200 and 300 < fleet.counts["poison"] < 500
    assert 0.06 < (fleet.counts["gap"] + fleet.counts["burst"]) / 20_000 < 0.14
    assert len(entries) == 20_000 - fleet.counts["gap"] + fleet.counts["duplicate"]
    assert taken(1000, 3, Shares())[0].counts == {}


def test_events_decode_to_the_identity_that_the_ledger_notes() -> None:
    _, entries = taken(3000, 5)
    reasons: Counter[str] = Counter()
    for entry in entries:
        (found,) = decoded(entry, START_MS + 10_000_000_000)
        if isinstance(found, Fault):
            reasons[found.reason] += 1
            assert entry.note == "" or found.reason == "size"
        else:
            noted = json.loads(f"{{{entry.note}}}")
            assert (noted["device_id"], noted["id"]) == (found.device_id, found.id)
            assert found.time.startswith(noted["time"][:-1])
    assert set(reasons) == {"json", "encoding", "device_id", "time", "size"}


def test_readings_follow_the_day() -> None:
    fleet = Fleet(1, 1, start_ms=START_MS, rate=1 / 3600)
    values = [json.loads(fleet.take(hour)[0].data) for hour in range(48)]
    assert max(value["temperature"] for value in values) - min(value["temperature"] for value in values) > 1
    assert all(0 < v["temperature"] < 40 and 20 <= v["humidity"] <= 95 and 3 < v["battery"] < 5 for v in values)


def test_a_device_without_a_connection_sends_in_one_burst_and_in_order() -> None:
    _, entries = taken(2000, 2, Shares(offline=0.4), devices=1)
    numbers = [entry.first for entry in entries]
    assert numbers == sorted(numbers) and 900 < len(numbers) < 2000


# --- the command


class House:
    """A fake with a status, failures, and a `device_api` that answers the history of the accepted records."""

    def __init__(self, fake: FakeBackend) -> None:
        self.fake = fake
        self.lost: set[str] = set()  # ids that the table does not have
        self.arrived_ms = clock.now_ms() + 5_000
        self.all: list[tuple[int, Event | Fault]] = []
        self.decoded = 0  # so many records
        fake.status = {"functions": {"store": {"pending": 0}}}
        fake.functions["device_api"] = self.history
        fake.paths = [("/_headrace/failures", self.failures)]

    def found(self) -> list[tuple[int, Event | Fault]]:
        for number, (key, data) in enumerate(self.fake.records[self.decoded :], self.decoded + 1):
            self.all += [(number, one) for one in decoded(Entry(key, data, 0), self.arrived_ms)]
            self.decoded = number
        return self.all

    def history(self, asked: Any) -> tuple[bytes, str | None]:
        events = {}
        for _, one in self.found():
            if isinstance(one, Event) and one.device_id == asked["device_id"] and one.id not in self.lost:
                events[one.time, one.id] = one
        start = int(asked.get("cursor") or 0)
        rows = [events[key] for key in sorted(events) if key[0] >= asked["from"]]
        page = [json.loads(event.public(event.item(one))) for one in rows[start : start + 50]]
        cursor = str(start + 50) if start + 50 < len(rows) else None
        return json.dumps({"events": page, "cursor": cursor}).encode(), None

    async def failures(self, request: Request) -> Response:
        rows = [
            {"function": "store", "sequence_number": f"{number:056d}"}
            for number, one in self.found()
            if isinstance(one, Fault)
        ]
        return Response(200, json.dumps({"failures": rows, "next": None}).encode())


@pytest.fixture
def house() -> Iterator[House]:
    with fake_backend() as running:
        yield House(running)


def simulate(house: House, *arguments: object) -> Any:
    return run("simulate", *arguments, "--endpoint", house.fake.url)


def test_a_ledger_holds_what_was_acknowledged(house: House, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.ndjson"
    house.fake.refuse = lambda records: {0} if len(house.fake.requests) == 1 else set()
    arguments = ["--devices", 7, "--rate", 200, "--duration", 0.2, "--seed", 3, "--ledger", ledger]
    result = simulate(house, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["sent"] == summary["acknowledged"] == 40 and summary["devices"] == 7 and summary["mishaps"] == {}
    events = {event["id"]: event for event in house.fake.events()}
    assert len(events) == 40 and len({event["device_id"] for event in events.values()}) == 7
    head, *lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert head["ledger"] == 1 and head["stream"] == "events" and head["began"].endswith("Z")
    assert {line["id"] for line in lines} == set(events)
    for line in lines:
        assert line["shard"] == "shardId-000000000000" and len(line["sequence_number"]) == 56
        assert events[line["id"]]["time"] == line["time"]
    text = simulate(house, "--devices", 1, "--rate", 50, "--duration", 0.1).stdout
    assert text.startswith("5 events sent by 1 device, 5 acknowledged by stream events in ")


MISHAPS = ["--late", 0.1, "--duplicate", 0.1, "--skew", 0.2, "--broken", 0.1, "--poison", 0.02, "--offline", 0.2]


def test_what_was_acknowledged_is_verified_mishaps_and_all(house: House, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.ndjson"
    arguments = ["--devices", 4, "--rate", 1000, "--duration", 0.2, "--seed", 1, *MISHAPS, "--ledger", ledger]
    result = simulate(house, *arguments)
    assert result.exit_code == 0 and "of them broken" in result.stdout, result.stderr
    assert simulate(house, *arguments).exit_code == 0  # a second run in the same ledger
    result = simulate(house, "--verify", ledger)
    assert result.exit_code == 0 and result.stdout.endswith("verified: nothing that was acknowledged is lost\n")
    outcome = json.loads(simulate(house, "--verify", ledger, "--json").stdout)
    assert outcome["acknowledged"] == len(house.fake.records) == outcome["stored"] + outcome["failed"]
    assert outcome["failed"] > 10 and outcome["missing"] == 0 and outcome["verified"] is True

    stored = next(one.id for _, one in house.found() if isinstance(one, Event))
    house.lost.add(stored)
    result = simulate(house, "--verify", ledger)
    assert result.exit_code == 1 and "NOT VERIFIED" in result.stdout and stored in result.stdout
    (difference, *_) = json.loads(simulate(house, "--verify", ledger, "--json").stdout)["differences"]
    assert difference["id"] == stored and len(difference["sequence_number"]) == 56


def test_a_ledger_cut_short_counts_as_far_as_it_goes(house: House, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.ndjson"
    assert simulate(house, "--rate", 100, "--duration", 0.1, "--ledger", ledger).exit_code == 0
    ledger.write_bytes(ledger.read_bytes()[:-20])
    assert json.loads(simulate(house, "--verify", ledger, "--json").stdout)["acknowledged"] == 9
    assert simulate(house, "--rate", 100, "--duration", 0.1, "--ledger", ledger).exit_code == 0
    assert json.loads(simulate(house, "--verify", ledger, "--json").stdout)["acknowledged"] == 19
    ledger.write_bytes(ledger.read_bytes().replace(b'"shard"', b'"shard', 1))
    assert simulate(house, "--verify", ledger).exit_code == 2


def test_a_ledger_on_a_full_disk_is_an_error(house: House) -> None:
    result = simulate(house, "--rate", 100, "--duration", 0.1, "--ledger", "/dev/full")
    assert result.exit_code == 1 and "on a disk with space" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--late", "1.5"], 2, "--late"),
        (["--late", "0.6", "--skew", "0.6"], 2, "more than 1"),
        (["--start", "noon"], 2, "RFC 3339"),
        (["--start", "0001-01-01"], 2, "between the years"),
        (["--rate", "nan"], 2, "nan is no number"),
        (["--rate", "inf"], 2, "--rate"),
        (["--skew", "nan"], 2, "nan is no number"),
        (["--verify", "/nothing/here"], 2, "does not exist"),
        (["--verify", __file__], 2, "is no line of a ledger"),
        (["--verify", __file__, "--ledger", "x"], 2, "Give one of them"),
        (["--ledger", "/nothing/here"], 1, "that you may write"),
    ],
)
def test_wrong_usage(house: House, arguments: list[str], code: int, message: str) -> None:
    result = simulate(house, *arguments, "--duration", 0.1)
    assert result.exit_code == code and message in result.stderr, result.stderr
    assert house.fake.records == []


def test_a_function_that_does_not_get_on_ends_the_verification(house: House, tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("")
    house.fake.status = {"functions": {}}
    result = simulate(house, "--verify", tmp_path / "ledger")
    assert result.exit_code == 1 and "no function store" in result.stderr
