"""`headrace lifecycle` and `archive restore`, over the real handlers and a clock to move."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import cold_folder
from headrace.archive.lifecycle import DAY_MS
from headrace.archive.local import LocalBucket
from headrace.gateway.admin import Admin
from headrace.operations.lifecycle import RESTORE_PAUSE, Lifecycle
from headrace.settings import Layout
from headrace.system import Bucket, System
from headrace.timekeeping import Timekeeper
from headrace.wire import Handler, Request, Response
from support.command_line import run
from support.fake_backend import FakeBackend, fake_backend

NOW = 1_785_000_000_000  # 2026-07-25T17:20:00Z
RULES: tuple[dict[str, Any], ...] = (
    {"Id": "raw", "Status": "Enabled", "Prefix": "raw/", "ExpirationInDays": 7},
    {"Id": "cold", "Status": "Enabled", "Prefix": "events/", "Transitions": [
        {"StorageClass": "GLACIER", "TransitionInDays": 90}, {"StorageClass": "DEEP_ARCHIVE", "TransitionInDays": 365},
    ]},
    {"Id": "done", "Status": "Enabled", "Prefix": "stream/", "ExpirationInDays": 7,
     "TagFilters": [{"Key": "compacted", "Value": "true"}]},
)  # fmt: skip


class House:
    """A data directory with an archive, and a backend that answers for it."""

    def __init__(self, fake: FakeBackend, folder: Path) -> None:
        self.url = fake.url
        self.layout = Layout(folder / "data")
        self.layout.buckets.mkdir(parents=True)
        self.cold = cold_folder.choose(self.layout.buckets, None)
        self.bucket = LocalBucket(self.layout.buckets / "archive")
        self.now_ms = NOW
        self.timekeeper = Timekeeper(self.layout.clock, now_ms=lambda: self.now_ms, monotonic_s=lambda: 0.0)
        archive = Bucket(logical_id="Archive", name="archive", lifecycle=RULES)
        system = System(template="t", parameters={}, buckets=(archive,))
        self.lifecycle = Lifecycle(self.layout, system, self.timekeeper, now_ms=lambda: self.now_ms)

        async def replay(function: str, payload: bytes) -> tuple[bool, str | None]:
            raise AssertionError

        admin = Admin(self.layout, [], failures=None, archive=self.bucket, replay=replay)
        fake.paths = [*self.lifecycle.paths(), *admin.paths()]

    def put(self, key: str, days_old: float, size: int = 1024**2) -> None:
        self.bucket.put(key, bytes(size))
        os.utime(self.layout.buckets / "archive" / key, ns=(0, int(NOW - days_old * DAY_MS) * 1_000_000))

    def ask(self, *arguments: str) -> Any:
        return run(*arguments, "--endpoint", self.url)

    def asked(self, *arguments: str) -> Any:
        result = self.ask(*arguments, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with fake_backend() as fake:
        yield House(fake, tmp_path)


def test_a_plan_says_what_goes_when_in_objects_bytes_and_money(house: House) -> None:
    house.put("raw/a", 3)
    house.put("events/a", 89)
    house.put("events/b", 89)
    text = house.ask("lifecycle", "plan", "--at", "2028-01-01").stdout
    rows = [line.split() for line in text.splitlines()]
    assert rows[0][:7] == ["day", "bucket", "rule", "from", "to", "objects", "bytes"]
    assert [row[:7] for row in rows[1:4]] == [
        ["2026-07-27", "archive", "cold", "STANDARD", "GLACIER", "2", "2,097,152"],
        ["2026-07-30", "archive", "raw", "STANDARD", "deleted", "1", "1,048,576"],
        ["2027-04-28", "archive", "cold", "GLACIER", "DEEP_ARCHIVE", "2", "2,097,152"],
    ]
    assert "4 objects (4.2 MB) to another class, 1 object (1.0 MB) deleted" in text
    assert "* marks a price without a source" in text
    steps = house.asked("lifecycle", "plan", "--at", "1785456000")["steps"]
    assert [(step["rule"], step["objects"], step["to"]) for step in steps] == [("cold", 2, "GLACIER"), ("raw", 1, None)]
    assert house.ask("lifecycle", "plan", "--at", "2026-07-26").stdout.startswith("nothing goes until 2026-07-26")
    assert {info.storage_class for info in house.bucket.list()} == {"STANDARD"}  # a plan does nothing


@pytest.mark.parametrize(
    ("at", "code", "says"),
    [
        ("soon", 2, "2027-01-31"),
        ("1e400", 2, "outside the years"),
        ("1e300", 2, "outside the years"),
        ("20270131", 2, "1970-08-23T14:35:31.000Z is past"),  # a number counts seconds
        ("2026-07-25", 2, "is past"),
        ("0001-01-01", 2, "is past"),
    ],
)
def test_a_plan_is_for_a_time_to_come(house: House, at: str, code: int, says: str) -> None:
    house.put("raw/a", 30)
    result = house.ask("lifecycle", "plan", "--at", at)
    assert (result.exit_code, result.stdout) == (code, "") and says in result.stderr


def test_a_plan_takes_a_time_in_every_unit(house: House) -> None:
    house.put("raw/a", 3)
    for at in ("9999-12-31", "2026-07-30T00:00:00Z", "1785369600", "1785369600000", "1785369600000000"):
        assert len(house.asked("lifecycle", "plan", "--at", at)["steps"]) == 1, at


def test_a_plan_tells_why_small_objects_stay(house: House) -> None:
    house.put("raw/a", 3)
    house.put("events/a", 89, size=1000)
    text = house.ask("lifecycle", "plan", "--at", "2028-01-01").stdout
    assert "0 objects (0 B) to another class" in text and "objects under 128 KB change no class" in text
    house.put("events/b", 89)
    assert "128 KB" not in house.ask("lifecycle", "plan", "--at", "2028-01-01").stdout


def test_a_plan_tells_what_stays_until_it_is_compacted(house: House) -> None:
    house.put("stream/a", 3)
    house.put("stream/b", 1)
    left = "archive: rule done leaves {} alone for lack of the tag compacted=true, which the job compact gives\n"
    text = house.ask("lifecycle", "plan", "--at", "2028-01-01").stdout
    assert text == "nothing goes until 2028-01-01T00:00:00.000Z\n" + left.format("2 objects (2.1 MB)")
    assert left.format("1 object (1.0 MB)") in house.ask("lifecycle", "plan", "--at", "2026-07-30").stdout
    house.bucket.tag("stream/a", {"compacted": "true"})
    text = house.ask("lifecycle", "plan", "--at", "2028-01-01").stdout
    assert "1 object (1.0 MB) deleted\n" + left.format("1 object (1.0 MB)") in text
    house.bucket.tag("stream/b", {"compacted": "true"})
    assert house.asked("lifecycle", "plan", "--at", "2028-01-01")["waiting"] == []


def test_a_run_does_it_and_the_log_tells_it(house: House) -> None:
    assert house.ask("lifecycle", "log").stdout == "no rule has moved or deleted anything yet\n"
    assert house.ask("lifecycle", "run").stdout == "archive: nothing to do\n"
    house.put("raw/a", 30)
    house.put("events/a", 100)
    assert house.ask("lifecycle", "run").stdout == "archive: 1 object (1.0 MB) to GLACIER, 1 object (1.0 MB) deleted\n"
    assert [(line["action"], line["key"]) for line in house.asked("lifecycle", "log")] == [
        ("expire", "raw/a"),
        ("transition", "events/a"),
    ]
    assert "GLACIER" in house.ask("lifecycle", "log", "--limit", "1").stdout
    house.put("events/b", 100)
    (house.cold / "headrace-cold.json").unlink()
    result = house.ask("lifecycle", "run")
    assert result.exit_code == 1 and "is not there" in result.stderr and "Mount its disk" in result.stderr


def test_a_clock_in_doubt_is_a_question(house: House) -> None:
    house.put("raw/a", 30)
    house.put("events/new", -3)
    result = house.ask("lifecycle", "run")
    assert result.exit_code == 1
    assert "but events/new was created at 2026-07-28T17:20:00.000Z" in result.stderr
    assert "headrace lifecycle run --clock-is-right" in result.stderr
    assert house.ask("lifecycle", "run", "--clock-is-right").stdout == "archive: 1 object (1.0 MB) deleted\n"


def test_a_restore_from_the_request_to_its_end(house: House) -> None:
    house.put("events/a", 100)
    house.put("events/b", 10)
    house.lifecycle.run()
    assert "GLACIER   none" in house.ask("archive", "list").stdout
    asked = house.asked("archive", "restore", "events/a", "--days", "2", "--tier", "expedited")
    assert asked == [
        {
            "key": "events/a",
            "tier": "Expedited",
            "ready": "2026-07-25T17:25:00.000Z",
            "expires": "2026-07-28T00:00:00.000Z",
        }
    ]
    again = house.ask("archive", "restore", "events/a")
    assert again.exit_code == 1 and "Object restore is already in progress" in again.stderr
    assert "ready 2026-07-25T17:25" in house.ask("archive", "list").stdout
    house.lifecycle.bring()
    assert not house.bucket.find("events/a").readable
    house.now_ms += 5 * 60_000
    house.lifecycle.bring()
    assert "until 2026-07-28T00:00" in house.ask("archive", "list").stdout
    assert house.bucket.get("events/a") == bytes(1024**2)
    longer = house.ask("archive", "restore", "events/a", "--days", "30").stdout
    assert "2026-08-25T00:00:00.000Z  events/a" in longer
    house.now_ms += 31 * DAY_MS
    house.lifecycle.bring()
    assert not house.bucket.find("events/a").readable


def test_all_that_is_cold_under_a_prefix_is_restored_once(house: House) -> None:
    for key, days in (("events/dt=1/a", 100), ("events/dt=1/b", 10), ("events/dt=1/c", 100), ("events/dt=2/a", 100)):
        house.put(key, days)
    house.lifecycle.run()
    house.asked("archive", "restore", "events/dt=1/c")
    asked = house.asked("archive", "restore", "--prefix", "events/dt=1/", "--days", "2")
    assert [each["key"] for each in asked] == ["events/dt=1/a"]
    assert (
        house.ask("archive", "restore", "--prefix", "events/dt=1/").stdout == "nothing to restore under events/dt=1/\n"
    )
    assert house.bucket.find("events/dt=2/a").restore is None


def test_a_restore_that_fails_is_not_tried_every_second(house: House) -> None:
    house.put("events/a", 100)
    house.lifecycle.run()
    house.asked("archive", "restore", "events/a", "--tier", "Expedited")
    house.now_ms += 5 * 60_000
    cold = house.cold / "archive" / "events" / "a"
    body = cold.read_bytes()
    cold.write_bytes(body[:20])
    house.lifecycle.bring()
    cold.write_bytes(body)
    for _ in range(RESTORE_PAUSE - 1):
        house.lifecycle.bring()
        assert not house.bucket.find("events/a").readable
    house.lifecycle.bring()
    assert house.bucket.get("events/a") == bytes(1024**2)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["events/b"], 2, "Restore is not allowed for the object's current storage class"),
        (["events/a", "events/b"], 2, "the object's current storage class (STANDARD): events/b.\n"),
        (["events/a", "--prefix", "events/"], 2, "Name their keys, or a --prefix."),
        ([], 2, "Name their keys, or a --prefix."),
        (["events/x"], 1, "There is no object 'events/x' in archive.\n  `headrace archive list` shows"),
        (["events/a", "--tier", "Fast"], 2, "is not one of"),
        (["events/a", "--days", "0"], 2, "--days"),
        (["events/old", "--tier", "Expedited"], 2, "Retrieval option is not supported by this storage class"),
    ],
)
def test_restores_that_are_refused_begin_nothing(house: House, arguments: list[str], code: int, says: str) -> None:
    house.put("events/a", 100)
    house.put("events/b", 10)
    house.put("events/old", 500)
    house.lifecycle.run()
    result = house.ask("archive", "restore", *arguments)
    assert says in result.stderr
    assert result.exit_code == code
    assert all(info.restore is None for info in house.bucket.list())


@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
def test_only_a_json_body_changes_anything(house: House, kind: str) -> None:
    house.put("raw/a", 30)
    for path, handler in house.lifecycle.paths():
        request = Request("POST", f"{path}/run", "", {"content-type": kind}, b"[]")
        assert asyncio.run(_call(handler, request)).status == 400
    assert [info.key for info in house.bucket.list()] == ["raw/a"]


async def _call(handler: Handler, request: Request) -> Response:
    return await handler(request)
