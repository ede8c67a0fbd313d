"""Failures, the archive and logs on the command line, against the gateway's own handlers over buckets in memory."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from headrace.gateway.admin import Admin
from headrace.settings import Layout
from support.fake_backend import FakeBackend
from support.memory import MemoryBucket


class House:
    """The real handlers over buckets in memory, and a function that fails on what it is told to."""

    def __init__(self, fake: FakeBackend, tmp_path: Path) -> None:
        self.failures, self.archive = MemoryBucket(), MemoryBucket()
        self.fails = False
        self.logs = Layout(tmp_path).logs
        admin = Admin(Layout(tmp_path), ["store"], failures=self.failures, archive=self.archive, replay=self.replay)
        fake.paths = admin.paths()

    async def replay(self, function: str, payload: bytes) -> tuple[bool, str | None]:
        return (False, "ValueError: no") if self.fails else (True, None)


@pytest.fixture
def house(fake: FakeBackend, tmp_path: Path) -> House:
    return House(fake, tmp_path)


def rejected(house: House, number: int) -> str:
    key = f"rejected/store/events/shardId-000000000000/{number}.000000.000000"
    document = {"function": "store", "shard": "shardId-000000000000", "sequence_number": str(number), "reason": "json"}
    document |= {"timestamp": "2026-01-31T10:00:00.000Z", "payload": {"Records": []}}  # type: ignore[dict-item]
    house.failures.put(key, json.dumps(document).encode())
    return key


def test_failures_are_listed_shown_and_replayed(house: House, ask: Any) -> None:
    assert ask("failures", "list").stdout == "no failures\n" and ask("failures", "list", "--json").stdout == "[]\n"
    assert ask("failures", "replay", "--all").stdout == "nothing to replay\n"
    keys = [rejected(house, number) for number in (1, 2, 3)]
    rows = json.loads(ask("failures", "list", "--json").stdout)
    assert [row["id"] for row in rows] == keys and rows[0]["reason"] == "json"
    assert keys[0] in ask("failures", "list").stdout
    assert json.loads(ask("failures", "show", keys[0], "--json").stdout) == json.loads(house.failures.objects[keys[0]])
    assert '\n  "reason": "json"' in ask("failures", "show", keys[0]).stdout

    house.fails = True
    result = ask("failures", "replay", keys[0])
    assert result.exit_code == 1 and "1 of 1 were not replayed" in result.stderr and "ValueError: no" in result.stdout
    house.fails = False
    assert ask("failures", "replay", keys[0]).stdout == f"replayed  {keys[0]}\n"
    results = json.loads(ask("failures", "replay", "--all", "--json").stdout)
    assert [(result["id"], result["ok"]) for result in results] == [(keys[1], True), (keys[2], True)]
    assert all(row["replayed_at"] for row in json.loads(ask("failures", "list", "--json").stdout))


def test_a_batch_that_was_given_up_is_a_row(house: House, ask: Any) -> None:
    key = "aws/lambda/0b1f7a52/shardId-000000000001/2026/01/31/2026-01-31T10.00.00-d0c"
    records = [{"kinesis": {"sequenceNumber": str(number)}} for number in range(200)]
    arn = "arn:aws:lambda:us-east-1:000000000000:function:store"
    document = {
        "requestContext": {"functionArn": arn, "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 6},
        "timestamp": "2026-01-31T10:00:00.000Z",
        "KinesisBatchInfo": {"shardId": "shardId-000000000001", "batchSize": 200},
        "payload": {"Records": records},
    }
    house.failures.put(key, json.dumps(document).encode())
    assert len(json.loads(ask("failures", "list", "--json").stdout)) == 200
    _, row = ask("failures", "list").stdout.splitlines()
    assert row.split() == ["store", "RetryAttemptsExhausted", "2026-01-31T10:00:00.000Z", "200", "-", key]
    assert ask("failures", "replay", f"{key}#7").exit_code == 0
    assert "  200  1 record  " in ask("failures", "list").stdout


def test_failures_in_wrong_usage(house: House, ask: Any) -> None:
    for arguments in ([], ["x", "--all"]):
        result = ask("failures", "replay", *arguments)
        assert result.exit_code == 2 and "--all" in result.stderr
    result = ask("failures", "show", "rejected/x")
    assert result.exit_code == 1 and "There is no failure 'rejected/x'" in result.stderr
    assert "headrace failures list" in result.stderr


def test_archive_list(house: House, ask: Any) -> None:
    assert ask("archive", "list", "--prefix", "raw/").stdout == "no objects under raw/\n"
    house.archive.put("raw/a", b"123")
    house.archive.put("events/b", b"12345")
    rows = json.loads(ask("archive", "list", "--json").stdout)
    assert rows[1] | {"key": "raw/a", "size": 3, "modified": "1970-01-01T00:00:00.000Z"} == rows[1]
    text = ask("archive", "list", "--prefix", "events/").stdout
    assert "1970-01-01T00:00:00.000Z      5  STANDARD                 events/b" in text and "1 object, 5 B" in text


def log(house: House, slot: int, *lines: str) -> None:
    path = house.logs / "functions" / "store" / f"{slot}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def test_logs(house: House, ask: Any) -> None:
    log(house, 0, "one", "two")
    assert ask("logs", "store").stdout == "one\ntwo\n"
    log(house, 1, "three", "four")
    assert ask("logs", "store", "-n", "1").stdout.splitlines() == ["0| two", "1| four"]
    rows = json.loads(ask("logs", "store", "--json", "-n", "1").stdout)
    assert rows == [{"file": "0", "text": "two"}, {"file": "1", "text": "four"}]
    assert ask("logs", "store", "-n", "0").stdout == "" and ask("logs", "table").stdout == ""
    result = ask("logs", "nobody")
    assert result.exit_code == 1 and "There is no function 'nobody'" in result.stderr and "store" in result.stderr


def test_logs_are_followed(fake: FakeBackend, house: House) -> None:
    log(house, 0, "one")
    command = [sys.executable, "-m", "headrace", "logs", "store", "-f", "--json", "--endpoint", fake.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(30, process.kill)
        watchdog.start()
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"file": "0", "text": "one"}
        log(house, 0, "two")
        assert json.loads(process.stdout.readline()) == {"file": "0", "text": "two"}
        log(house, 1, "three")
        assert json.loads(process.stdout.readline()) == {"file": "1", "text": "three"}
        process.send_signal(2)
        assert process.wait() == 0
        watchdog.cancel()
