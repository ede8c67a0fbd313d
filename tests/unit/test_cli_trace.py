"""`headrace trace` as people read it."""

import json
from typing import Any

from headrace.wire import Request, Response
from support.command_line import run
from support.fake_backend import FakeBackend

CALL = {
    "first": 7, "count": 1000, "attempt": 2, "started": "2026-01-31T10:00:01.000Z", "duration_ms": 12.5,
    "result": "failed", "detail": "ValueError: no", "request_id": "the-id",
}  # fmt: skip
STORY: dict[str, Any] = {
    "stream": "events",
    "shard": "shardId-000000000001",
    "sequence_number": "49",
    "number": 1234,
    "accepted": {
        "arrived_at": "2026-01-31T10:00:00.000Z", "partition_key": "pump", "bytes": 150, "position": 99, "log": "held",
    },
    "functions": [
        {
            "function": "store", "state": "failed", "calls": [CALL], "calls_known": 300,
            "failures": [
                {"id": "rejected/x", "reason": "time", "message": "bad", "time": "T", "replayed_at": "later"}
            ],
        },
        {"function": "archive", "state": "pending", "calls": [], "calls_known": 0, "failures": []},
    ],
    "items": {
        "table": "events", "events": 102, "problem": None,
        "shown": [
            {"device_id": "pump", "time": "2026", "id": "a", "stored": True, "expires_at": None},
            {"device_id": "pump", "time": "2027", "id": "b", "stored": False, "expires_at": None},
            {"fault": "json", "message": "no JSON", "subsequence": 0, "index": 0},
        ],
    },
    "archive": [{"key": "raw/one", "size": 2500, "modified": "T"}],
}  # fmt: skip


def ask(fake: FakeBackend, story: dict[str, Any], *arguments: str) -> tuple[str, str]:
    asked = []

    async def answer(request: Request) -> Response:
        asked.append(request.path)
        return Response(200, json.dumps(story).encode())

    fake.paths = [("/_headrace/trace/", answer)]
    result = run("trace", "1", "49", *arguments, "--endpoint", fake.url)
    assert result.exit_code == 0, result.stderr
    return result.stdout, asked[0]


def test_a_whole_story(fake: FakeBackend) -> None:
    text, path = ask(fake, STORY)
    assert path == "/_headrace/trace/events/1/49"
    assert text.splitlines() == [
        "events  shardId-000000000001  record 1,234",
        "  accepted       2026-01-31T10:00:00.000Z",
        "  partition key  pump",
        "  size           150 B",
        "  frame at       99",
        "",
        "store: failed",
        "  started                   batch        attempt    ms  result                  request id",
        "  2026-01-31T10:00:01.000Z  1000 from 7        2  12.5  failed: ValueError: no  the-id",
        "  (the last 1 of 300 calls)",
        "  time: bad (T, replayed later)",
        "    rejected/x",
        "",
        "archive: pending",
        "",
        "table events: the record holds 102",
        "  pump  2026  a  stored",
        "  pump  2027  b  NOT STORED",
        "  no event (json): no JSON",
        "  … and 99 more",
        "",
        "archive",
        "  raw/one  2.5 kB",
    ]
    assert json.loads(ask(fake, STORY, "--json")[0]) == STORY
    assert ask(fake, STORY, "--stream", "a b")[1] == "/_headrace/trace/a%20b/1/49"


def test_what_is_not_there_any_more_is_said(fake: FakeBackend) -> None:
    accepted = {"arrived_at": "T", "partition_key": None, "bytes": None, "position": None, "log": "aged out"}
    text, _ = ask(fake, {**STORY, "accepted": accepted, "functions": [], "items": None, "archive": []})
    assert text.splitlines()[1:] == [
        "  accepted       T",
        "  the log no longer holds it: its retention is over",
        "",
        "archive: no object holds it",
    ]
    items = {"table": "events", "events": 1, "shown": [], "problem": "the table process does not answer"}
    assert (
        "table events: the record holds 1; the table process does not answer" in ask(fake, {**STORY, "items": items})[0]
    )


def test_the_only_stream_need_not_be_named(fake: FakeBackend) -> None:
    asked = []

    async def streams(request: Request) -> Response:
        return Response(200, b'{"feed": {}}')

    async def trace(request: Request) -> Response:
        asked.append(request.path)
        return Response(200, json.dumps(STORY).encode())

    fake.paths = [("/_headrace/streams", streams), ("/_headrace/trace/", trace)]
    assert run("trace", "1", "49", "--endpoint", fake.url).exit_code == 0
    assert asked == ["/_headrace/trace/feed/1/49"]
