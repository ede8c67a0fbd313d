"""The command line's commands against a fake backend: what they print, where, and their exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.wire import Request, Response
from support.command_line import run
from support.fake_backend import Answer, FakeBackend

NOBODY = "http://127.0.0.1:9"
EVENT = (
    b'{"device_id":"d1","time":"2026-01-31T10:00:00Z","id":"a-1","arrived_at":"2026-01-31T10:00:01.000Z",'
    b'"readings":{"temperature":21.50,"load":1E+3},"flags":["clock_ahead"]}'
)
ACCOUNT = {"eligible": 5, "processed": 4, "failed": 1, "filtered": 0, "expired": 0, "pending": 0, "iterator_age_ms": 90}
STATUS = {
    "ready": True,
    "accepted": 12345,
    "functions": {"archive": ACCOUNT, "store": {**ACCOUNT, "failed": 0, "pending": 1, "iterator_age_ms": 90_000}},
    "events": {"stored": 4, "rejected": 1},
    "table": {"items": 4, "bytes": 1_234_567},
    "archive": {"records": 5, "objects": 2, "bytes": 999},
    "failures": {"records": 1},
    "balanced": True,
}


def device_api(answer: bytes) -> Any:
    return lambda event: (answer, None)


def problem(status: int, word: str, message: str) -> bytes:
    return json.dumps({"statusCode": status, "error": word, "message": message}).encode()


# --- pointing at a backend


READS: list[tuple[str, ...]] = [
    ("status",),
    ("status", "--verify"),
    ("latest", "d"),
    ("history", "d"),
    ("config", "d", "get"),
    ("invoke", "f"),
    ("logs", "f"),
    ("failures", "list"),
    ("failures", "show", "x"),
    ("failures", "replay", "--all"),
    ("archive", "list"),
    ("archive", "restore", "x"),
    ("lifecycle", "plan"),
    ("lifecycle", "run"),
    ("lifecycle", "log"),
    ("streams",),
    ("simulate", "--duration", "1"),
]


@pytest.mark.parametrize("arguments", READS, ids=" ".join)
def test_no_backend_is_one_message_and_no_traceback(arguments: tuple[str, ...]) -> None:
    result = run(*arguments, "--endpoint", NOBODY)
    assert result.exit_code == 1 and result.stdout == ""
    first, hint = result.stderr.splitlines()
    assert first == f"headrace: no backend answers at {NOBODY}"
    assert "headrace up" in hint and "--endpoint / HEADRACE_ENDPOINT" in hint


def test_the_innermost_endpoint_wins(fake: FakeBackend) -> None:
    fake.status = STATUS
    assert run("status", env={"HEADRACE_ENDPOINT": fake.url + "/"}).exit_code == 0
    assert run("--endpoint", fake.url, "status", env={"HEADRACE_ENDPOINT": NOBODY}).exit_code == 0
    assert run("--endpoint", NOBODY, "status", "--endpoint", fake.url).exit_code == 0
    assert run("--endpoint", fake.url, "status", "--endpoint", NOBODY).exit_code == 1
    assert run("archive", "--endpoint", fake.url, "list").stderr.startswith("headrace: nothing here")
    port = fake.url.rpartition(":")[2]
    assert run("status", env={"HEADRACE_PORT": port}).exit_code == 0, "as `headrace up` takes it"
    assert run("status", env={"HEADRACE_PORT": port, "HEADRACE_ENDPOINT": NOBODY}).exit_code == 1


@pytest.mark.parametrize("url", ["127.0.0.1:4566", "ftp://x", "http://", "http://x:y", "http://[::1"])
def test_a_url_that_is_none_is_wrong_usage(url: str) -> None:
    result = run("status", "--endpoint", url)
    assert result.exit_code == 2 and "Write it like http://127.0.0.1:4566" in result.stderr


def test_proxies_are_not_asked_for_one_machine(fake: FakeBackend) -> None:
    fake.status = STATUS
    for arguments in (("status",), ("streams",)):
        assert run(*arguments, "--endpoint", fake.url, env={"http_proxy": NOBODY, "HTTP_PROXY": NOBODY}).exit_code == 0


def test_an_answer_from_something_else_is_said(fake: FakeBackend) -> None:
    fake.broken = Answer(502, b"<html>")
    result = run("status", "--endpoint", fake.url)
    assert result.exit_code == 1 and "HTTP status 502" in result.stderr and "--endpoint" in result.stderr


# --- env, init, up


def test_env_exports_keys_only_where_there_are_none() -> None:
    lines = run("env", "--endpoint", "http://h:1/").stdout.splitlines()
    assert lines == [
        "export AWS_ENDPOINT_URL=http://h:1",
        "export AWS_REGION=us-east-1",
        "export AWS_DEFAULT_REGION=us-east-1",
        "export AWS_ACCESS_KEY_ID=headrace",
        "export AWS_SECRET_ACCESS_KEY=headrace",
        "export HEADRACE_ENDPOINT=http://h:1",
    ]
    assert "export AWS_ENDPOINT_URL=http://127.0.0.1:4577" in run("env", env={"HEADRACE_PORT": "4577"}).stdout
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        found = json.loads(run("env", "--json", env={name: "mine"}).stdout)
        assert found["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566" and "AWS_SECRET_ACCESS_KEY" not in found


def test_init_copies_the_project_and_refuses_what_is_there(tmp_path: Path) -> None:
    result = run("init", tmp_path / "new" / "mill", "--endpoint", NOBODY)
    assert result.exit_code == 0, result.stderr
    assert "cd " in result.stdout and "headrace up" in result.stdout
    made = tmp_path / "new" / "mill"
    assert {path.name for path in made.iterdir()} == {
        "template.yaml",
        "functions",
        "reports",
        "README.md",
        ".gitignore",
    }
    assert (made / "README.md").read_text().startswith("# mill\n") and "/data/" in (made / ".gitignore").read_text()
    assert not list(made.rglob("__pycache__"))
    result = run("init", made)
    assert result.exit_code == 2 and "is not an empty folder" in result.stderr
    (tmp_path / "file").write_text("")
    assert run("init", tmp_path / "file").exit_code == 2
    (tmp_path / "empty").mkdir()
    assert run("init", tmp_path / "empty").exit_code == 0


@pytest.mark.parametrize("arguments", [["--port", "70000"], ["--port", "x"], ["--host", "0.0.0.0"]])
def test_up_refuses_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    result = run("up", "--data", tmp_path / "data", *arguments)
    assert result.exit_code == 2 and result.stderr and not (tmp_path / "data").exists()


def test_up_takes_its_settings_from_variables(tmp_path: Path) -> None:
    environment = {"HEADRACE_HOST": "192.0.2.1", "HEADRACE_PORT": "1", "HEADRACE_DATA": str(tmp_path)}
    result = run("up", env=environment)
    assert result.exit_code == 2 and "192.0.2.1" in result.stderr


# --- status


def test_status_says_what_is_going_on(fake: FakeBackend, ask: Any) -> None:
    fake.status = STATUS
    text = ask("status").stdout
    assert text.splitlines()[2:] == [
        "ready; 12,345 records accepted",
        "",
        "function  eligible  processed  failed  filtered  expired  pending  iterator age",
        "archive          5          4       1         0        0        0  90 ms",
        "store            5          4       0         0        0        1  90.0 s",
        "",
        "events    about 4 stored, 1 rejected",
        "table     about 4 items, 1.2 MB",
        "archive   5 records in 2 objects, 999 B",
        "failures  1 record, replayed since or not (see: headrace failures list)",
        "",
        "ledger balanced, 1 pending",
    ]
    assert json.loads(ask("status", "--json").stdout) == STATUS


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        ({"streams_ahead_ms": 0, "removal_paused": False, "jump_ms": 0, "resume_ms": 0}, ""),
        ({"streams_ahead_ms": 90_000}, "THE CLOCK WENT BACK: the streams are 90.0 s ahead"),
        (
            {"removal_paused": True, "jump_ms": 864_000_000, "resume_ms": 600_000},
            "THE CLOCK IS 10.0 d after the last run: retention and TTL remove nothing",
        ),
        ({"removal_paused": True, "jump_ms": -864_000_000, "resume_ms": 600_000}, "10.0 d before the last run"),
    ],
)
def test_status_tells_of_the_clock(fake: FakeBackend, ask: Any, clock: dict[str, Any], expected: str) -> None:
    fake.status = {**STATUS, "clock": clock}
    text = ask("status").stdout
    assert expected in text and ("CLOCK" in text) is bool(expected)


def test_status_tells_what_keeps_it_from_its_work(fake: FakeBackend, ask: Any) -> None:
    fake.status = {
        **STATUS,
        "import_errors": {"mine": "no module x"},
        "mapping_errors": {"store": ["shardId-000000000001, 5 records from number 7, call 3: ValueError: no", "other"]},
        "disk": {"free_bytes": 3_000_000, "full": True, "read_only": False},
        "alarms_on": {"StoreIsBehind": "It is late."},
        "table": {"items": 4, "bytes": 5, "throttled": 12_000},
    }
    assert "table     about 4 items, 5 B; 12,000 writes throttled since its start" in ask("status").stdout
    assert ask("status").stdout.split("\n\n")[3].splitlines() == [
        "FUNCTION mine CAN'T BE IMPORTED: no module x (see: headrace logs mine)",
        "FUNCTION store DOES NOT GET ON: shardId-000000000001, 5 records from number 7, call 3: ValueError: no,"
        " and 1 more shard (see: headrace logs store)",
        "THE DISK IS FULL: 3.0 MB are free; free space, and everything goes on",
        "ALARM StoreIsBehind IS ON: It is late.",
    ]
    fake.status |= {"disk": {"free_bytes": 3_000_000, "free_files": 0, "full": True, "read_only": False}}
    assert "THE DISK IS FULL: it takes no more files; free space" in ask("status").stdout
    fake.status |= {"disk": {"free_bytes": 3_000_000, "full": True, "read_only": True}, "alarms_on": None}
    fake.status["archive_error"] = "catalogue/compacted.json can't be read.\n  Put it back."
    assert "THE ARCHIVE IS DAMAGED: catalogue/compacted.json can't be read. Put it back." in ask("status").stdout
    assert "THE DISK IS READ-ONLY" in ask("status").stdout


def test_verify_fails_on_a_difference(fake: FakeBackend, ask: Any) -> None:
    fake.status = STATUS
    result = ask("status", "--verify")
    assert result.exit_code == 1 and result.stdout.endswith("NOT VERIFIED, 1 difference:\n  one\n")
    result = ask("status", "--verify", "--json")
    assert result.exit_code == 1 and json.loads(result.stdout)["differences"] == ["one"]
    fake.broken = Answer(200, json.dumps({**STATUS, "verified": True}).encode())
    result = ask("status", "--verify")
    assert result.exit_code == 0 and result.stdout.endswith("verified: log, table, archive and failures agree\n")


def test_an_unbalanced_ledger_is_loud(fake: FakeBackend, ask: Any) -> None:
    fake.status = {**STATUS, "balanced": False, "functions": {"store": {**ACCOUNT, "failed": 0}}, "ready": False}
    text = ask("status").stdout
    assert "LEDGER NOT BALANCED: store" in text and "starting; " in text
    fake.status = {**STATUS, "functions": {}}
    assert "no function reads a stream" in ask("status").stdout


# --- devices


def test_latest_prints_the_event_with_its_digits(fake: FakeBackend, ask: Any) -> None:
    fake.functions["device_api"] = device_api(EVENT)
    assert ask("latest", "d1", "--json").stdout.encode() == EVENT + b"\n"
    text = ask("latest", "d1").stdout
    assert "temperature  21.50" in text and "load         1E+3" in text and 'flags          ["clock_ahead"]' in text
    assert fake.invokes[0] == ("device_api", "RequestResponse", b'{"operation":"latest","device_id":"d1"}')


def test_history_asks_for_what_is_given_and_no_more(fake: FakeBackend, ask: Any) -> None:
    fake.functions["device_api"] = device_api(b'{"events":[' + EVENT + b'],"cursor":"c2"}')
    result = ask("history", "d1")
    assert json.loads(fake.invokes[-1][2]) == {"operation": "history", "device_id": "d1"}
    assert "2026-01-31T10:00:00Z  a-1  temperature=21.50  load=1E+3  [clock_ahead]" in result.stdout
    assert "--cursor c2" in result.stderr
    options = ["--from", "1700000000", "--to", "2026-02-01", "--limit", "7", "--newest", "--cursor", "c1"]
    answer = json.loads(ask("history", "d1", *options, "--json").stdout)
    assert answer["cursor"] == "c2" and answer["events"][0]["id"] == "a-1"
    assert json.loads(fake.invokes[-1][2]) == {
        "operation": "history",
        "device_id": "d1",
        "from": "1700000000",
        "to": "2026-02-01T00:00:00Z",
        "limit": 7,
        "newest": True,
        "cursor": "c1",
    }
    fake.functions["device_api"] = device_api(b'{"events":[],"cursor":null}')
    result = ask("history", "nobody")
    assert result.stdout == "no events of nobody\n" and result.stderr == ""
    assert ask("history", "d1", "--limit", "many").exit_code == 2


def test_config_is_shown_and_written(fake: FakeBackend, ask: Any) -> None:
    fake.functions["device_api"] = device_api(b'{"device_id":"d1","version":3,"config":{"every":1.50}}')
    assert json.loads(ask("config", "d1", "get", "--json").stdout)["version"] == 3
    assert json.loads(fake.invokes[-1][2]) == {"operation": "config_get", "device_id": "d1"}
    result = ask("config", "d1", "set", '{"every": 1.50}', "--expected-version", "2")
    assert result.stdout == 'd1  version 3\n{\n  "every": 1.50\n}\n'
    assert fake.invokes[-1][2] == (
        b'{"operation":"config_set","device_id":"d1","config":{"every": 1.50},"expected_version":2}'
    )
    assert ask("config", "d1", "set", "-", stdin=b'{"a": 1}').exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["set"],
        ["set", "{"],
        ["set", "[1]"],
        ["set", "@/nothing/there"],
        ["get", "{}"],
        ["get", "--expected-version", "1"],
        ["drop"],
        ["set", "{}", "--expected-version", "x"],
    ],
)
def test_config_in_wrong_usage(fake: FakeBackend, ask: Any, arguments: list[str]) -> None:
    result = ask("config", "d1", *arguments)
    assert result.exit_code == 2 and result.stderr and fake.invokes == []


def test_an_argument_that_is_not_utf8_is_wrong_usage(fake: FakeBackend, ask: Any) -> None:
    result = ask("latest", "d\udcff")
    assert result.exit_code == 2 and "not UTF-8" in result.stderr and fake.invokes == []


@pytest.mark.parametrize("arguments", [("logs", ""), ("jobs", "logs", ""), ("jobs", "run", ""), ("trace", "0", "")])
def test_an_empty_argument_is_wrong_usage(ask: Any, arguments: tuple[str, ...]) -> None:
    result = ask(*arguments)
    assert (result.exit_code, result.stderr.splitlines()[0]) == (2, "headrace: An argument is empty.")


@pytest.mark.parametrize(
    ("status", "word", "message", "code"),
    [
        (404, "not_found", "no event of d1", 1),
        (409, "conflict", "the version is 4", 1),
        (400, "limit", "at most 1,000", 2),
    ],
)
def test_what_device_api_refuses_is_said(
    fake: FakeBackend, ask: Any, status: int, word: str, message: str, code: int
) -> None:
    fake.functions["device_api"] = device_api(problem(status, word, message))
    for arguments in (["latest", "d1"], ["history", "d1", "--json"], ["config", "d1", "set", "{}"]):
        result = ask(*arguments)
        assert (result.exit_code, result.stdout, result.stderr) == (code, "", f"headrace: {message}\n")


def test_a_device_api_that_fails_is_said(fake: FakeBackend, ask: Any) -> None:
    fake.functions["device_api"] = lambda event: (b'{"errorMessage":"no","errorType":"KeyError"}', "Unhandled")
    result = ask("latest", "d1")
    assert result.exit_code == 1 and result.stderr.startswith("headrace: device_api failed: KeyError: no\n")
    assert "headrace logs device_api" in result.stderr
    fake.functions["device_api"] = device_api(b"7")
    assert "answered no JSON object" in ask("latest", "d1").stderr
    del fake.functions["device_api"]
    told = ask("latest", "d1").stderr
    assert "There is no function device_api, which answers this" in told and "headrace init" in told


# --- invoke


def test_invoke_prints_the_answer(fake: FakeBackend, ask: Any, tmp_path: Path) -> None:
    fake.functions["f"] = lambda event: (json.dumps({"got": event}).encode(), None)
    assert ask("invoke", "f", "--payload", '{"a": 1.50}').stdout == '{"got": {"a": 1.5}}\n'
    assert fake.invokes[-1] == ("f", "RequestResponse", b'{"a": 1.50}')
    (tmp_path / "event.json").write_text("[1]")
    assert ask("invoke", "f", "--payload", f"@{tmp_path}/event.json", "--json").stdout == '{"got": [1]}\n'
    assert ask("invoke", "f", "--payload", "-", stdin=b'"x"').stdout == '{"got": "x"}\n'
    result = ask("invoke", "f", "--log")
    assert result.stdout == '{"got": {}}\n' and result.stderr == "START\nhello\n"
    result = ask("invoke", "f", "--event")
    assert result.stdout == "" and "the-request" in result.stderr and fake.invokes[-1][1] == "Event"


def test_a_function_error_is_printed_and_exits_with_1(fake: FakeBackend, ask: Any) -> None:
    fake.functions["f"] = lambda event: (b'{"errorMessage":"no","errorType":"ValueError"}', "Unhandled")
    result = ask("invoke", "f")
    assert result.exit_code == 1 and json.loads(result.stdout)["errorType"] == "ValueError"
    assert "f failed: ValueError: no" in result.stderr
    result = ask("invoke", "g")
    assert result.exit_code == 1 and "Function not found: g" in result.stderr
    assert "Functions there are: f." in result.stderr
    assert ask("invoke", "f", "--payload", "{").exit_code == 2


# --- streams


def test_streams(fake: FakeBackend, ask: Any) -> None:
    (row,) = json.loads(ask("streams", "--json").stdout)
    assert row["name"] == "events" and row["shards"] == 2 and row["retention_hours"] == 24 and row["status"] == "ACTIVE"
    assert row["accepted"] is None  # AWS's wire does not tell
    assert "PROVISIONED" in ask("streams").stdout
    result = ask("streams", "nothing")
    assert result.exit_code == 1 and "Stream nothing under account" in result.stderr
    fake.streams = {}
    assert ask("streams").stdout == "no streams\n"


def test_streams_tell_what_the_log_holds(fake: FakeBackend, ask: Any) -> None:
    shards = {"shardId-000000000000": {"first": 10, "next": 1210, "last_arrival_ms": 1_000}}
    damage = {"position": 7, "end": 9, "reason": "no frame"}

    async def logs(request: Request) -> Response:
        return Response(200, json.dumps({"events": {"shards": shards, "damage": [damage]}}).encode())

    fake.paths = [("/_headrace/streams", logs)]
    (row,) = json.loads(ask("streams", "--json").stdout)
    assert (row["accepted"], row["held"], row["damage"]) == (1210, 1200, [damage])
    first, second = json.loads(ask("streams", "events", "--json").stdout)
    assert (first["held"], first["last_arrival"], first["state"]) == (1200, "1970-01-01T00:00:01.000Z", "open")
    assert second["first_hash"] == str(1 << 127) and second["held"] is None
    for arguments in (["streams"], ["streams", "events"]):
        text = ask(*arguments).stdout
        assert "1,200" in text and "DAMAGE in events from position 7 to 9: no frame" in text
