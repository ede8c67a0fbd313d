"""What the gateway answers under `/_headrace/` for logs, failures and the archive."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from headrace.errors import Unavailable
from headrace.gateway import admin
from headrace.gateway.admin import Admin
from headrace.settings import Layout
from headrace.wire import Request, Response
from support.memory import MemoryBucket

BATCH = "aws/lambda/0b1f7a52-uuid/shardId-000000000001/2026/01/31/2026-01-31T10.00.00-d0c"
REJECTED = "rejected/store/events/shardId-000000000000/{}.000000.000000"
ASYNC = "async/report/2026-01-31T10.00.00-d0c"


def record(number: str) -> dict[str, Any]:
    return {"kinesis": {"sequenceNumber": number, "data": "e30="}, "eventID": f"shardId-000000000001:{number}"}


def batch_document(*numbers: str) -> bytes:
    arn = "arn:aws:lambda:us-east-1:000000000000:function:store"
    return json.dumps(
        {
            "requestContext": {"functionArn": arn, "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 6},
            "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
            "version": "1.0",
            "timestamp": "2026-01-31T10:00:00.000Z",
            "KinesisBatchInfo": {"shardId": "shardId-000000000001", "batchSize": len(numbers)},
            "payload": {"Records": [record(number) for number in numbers]},
        }
    ).encode()


def rejected_document(number: str) -> bytes:
    return json.dumps(
        {
            "version": "1.0",
            "function": "store",
            "stream": "events",
            "shard": "shardId-000000000000",
            "sequence_number": number,
            "reason": "time",
            "message": "no such day",
            "timestamp": "2026-01-31T10:00:01.000Z",
            "payload": {"Records": [record(number)]},
        }
    ).encode()


def async_document() -> bytes:
    return json.dumps(
        {
            "requestContext": {
                "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:report:$LATEST",
                "condition": "RetriesExhausted",
            },
            "timestamp": "2026-01-31T10:00:02.000Z",
            "requestPayload": {"day": 1.50},
        }
    ).encode()


class House:
    """An Admin with its buckets in memory and a function that tests rule."""

    def __init__(self, tmp_path: Path) -> None:
        self.failures = MemoryBucket()
        self.archive = MemoryBucket()
        self.layout = Layout(tmp_path)
        self.calls: list[tuple[str, Any]] = []
        self.bad: set[str] = set()  # sequence numbers that the function fails on
        self.rejects: set[str] = set()  # those that it rejects by itself, as `store` does
        self.down = False
        self.admin = Admin(
            self.layout, ["store", "my-fn"], failures=self.failures, archive=self.archive, replay=self.replay
        )

    async def replay(self, function: str, payload: bytes) -> tuple[bool, str | None]:
        event = json.loads(payload)
        self.calls.append((function, event))
        if self.down:
            raise Unavailable("runtime does not answer.")
        numbers = [entry["kinesis"]["sequenceNumber"] for entry in event.get("Records", [])]
        for number in self.rejects.intersection(numbers):
            self.failures.put(REJECTED.format(number), rejected_document(number))
        return (False, "ValueError: no") if self.bad.intersection(numbers) else (True, None)

    def ask(self, method: str, path: str, query: dict[str, Any] | None = None, body: object = None) -> Response:
        headers = {"content-type": "application/json"} if body is not None else {}
        sent = json.dumps(body).encode() if body is not None else b""
        request = Request(method, f"/_headrace/{path}", urlencode(query or {}, doseq=True), headers, sent)
        handler = next(handler for prefix, handler in self.admin.paths() if request.path.startswith(prefix))

        async def go() -> Response:
            return await handler(request)

        return asyncio.run(go())

    def get(self, path: str, **query: Any) -> Any:
        response = self.ask("GET", path, query)
        assert response.status == 200, response.body
        return json.loads(response.body)

    def replayed(self, *ids: str) -> list[dict[str, Any]]:
        response = self.ask("POST", "failures/replay", body={"ids": ids})
        assert response.status == 200, response.body
        results: list[dict[str, Any]] = json.loads(response.body)["results"]
        return results

    def stored(self, key: str) -> Any:
        return json.loads(self.failures.objects[key])


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_failures_are_listed_a_row_a_document_and_record(house: House) -> None:
    house.failures.put(BATCH, batch_document("11", "12"))
    house.failures.put(REJECTED.format("7"), rejected_document("7"))
    house.failures.put(ASYNC, async_document())
    assert house.get("failures") == {
        "failures": [
            {
                "id": ASYNC,
                "function": "report",
                "shard": None,
                "sequence_number": None,
                "reason": "RetriesExhausted",
                "time": "2026-01-31T10:00:02.000Z",
            },
            *(
                {
                    "id": f"{BATCH}#{number}",
                    "function": "store",
                    "shard": "shardId-000000000001",
                    "sequence_number": number,
                    "reason": "RetryAttemptsExhausted",
                    "time": "2026-01-31T10:00:00.000Z",
                }
                for number in ("11", "12")
            ),
            {
                "id": REJECTED.format("7"),
                "function": "store",
                "shard": "shardId-000000000000",
                "sequence_number": "7",
                "reason": "time",
                "time": "2026-01-31T10:00:01.000Z",
            },
        ],
        "next": None,
    }


def test_a_payload_that_is_text_is_read_too(house: House) -> None:
    document = json.loads(batch_document("11"))
    document["payload"] = json.dumps(document["payload"])
    house.failures.put(BATCH, json.dumps(document).encode())
    assert [row["id"] for row in house.get("failures")["failures"]] == [f"{BATCH}#11"]
    assert house.replayed(f"{BATCH}#11")[0]["ok"] and house.calls == [("store", {"Records": [record("11")]})]


@pytest.mark.parametrize("body", [b"", b"not json", b"[1]", b"\xff"])
def test_a_document_that_cannot_be_read_is_a_row_all_the_same(house: House, body: bytes) -> None:
    house.failures.put(REJECTED.format("7"), body)
    (row,) = house.get("failures")["failures"]
    assert row["function"] == "store" and row["reason"] == "unreadable"
    assert house.ask("GET", "failures/document", {"id": REJECTED.format("7")}).body == body
    (result,) = house.replayed(REJECTED.format("7"))
    assert not result["ok"] and "carries no record" in result["error"]


def test_a_batch_whose_records_the_log_had_lost_is_one_row(house: House) -> None:
    document = json.loads(batch_document())
    document["KinesisBatchInfo"]["startSequenceNumber"] = "11"
    house.failures.put(BATCH, json.dumps(document).encode())
    (row,) = house.get("failures")["failures"]
    assert (row["id"], row["shard"], row["sequence_number"]) == (BATCH, "shardId-000000000001", "11")
    assert "carries no record" in house.replayed(BATCH)[0]["error"] and house.calls == []


def test_failures_come_in_pages(house: House) -> None:
    for number in range(5):
        house.failures.put(REJECTED.format(number), rejected_document(str(number)))
    found, after = [], ""
    while after is not None:
        page = house.get("failures", after=after, limit=2)
        assert len(page["failures"]) <= 2
        found += [row["sequence_number"] for row in page["failures"]]
        after = page["next"]
    assert found == list("01234")


def test_a_page_is_bounded_in_rows_too(house: House) -> None:
    numbers = [f"{number:05d}" for number in range(admin.ROWS_MAX)]
    for name in "abc":
        house.failures.put(f"{BATCH}-{name}", batch_document(*numbers))
    page = house.get("failures")
    assert len(page["failures"]) == admin.ROWS_MAX and page["next"] == f"{BATCH}-a"


def test_the_whole_document_is_shown(house: House) -> None:
    house.failures.put(BATCH, batch_document("11"))
    assert house.ask("GET", "failures/document", {"id": f"{BATCH}#11"}).body == batch_document("11")
    assert house.get("failures/document", id=BATCH) == json.loads(batch_document("11"))


@pytest.mark.parametrize("row_id", ["", "rejected/nothing", f"{BATCH}#99", f"{ASYNC}#1"])
def test_an_unknown_id_says_what_to_do(house: House, row_id: str) -> None:
    house.failures.put(BATCH, batch_document("11"))
    house.failures.put(ASYNC, async_document())
    response = house.ask("GET", "failures/document", {"id": row_id})
    assert response.status == 404 and "failures list" in json.loads(response.body)["hint"]
    (result,) = house.replayed(row_id)
    assert not result["ok"] and "failures list" in result["error"]
    assert result["function"] is None and (
        "There is no failure" in result["error"] or "holds no record" in result["error"]
    )
    assert house.calls == []


def test_a_batch_is_replayed_at_once(house: House) -> None:
    house.failures.put(BATCH, batch_document("11", "12"))
    assert house.replayed(BATCH) == [{"id": BATCH, "function": "store", "ok": True, "error": None}]
    assert house.calls == [("store", {"Records": [record("11"), record("12")]})]
    document = house.stored(BATCH)
    assert document.pop("replayed_at").endswith("Z") and document == json.loads(batch_document("11", "12"))
    assert all(row["replayed_at"] for row in house.get("failures")["failures"])


def test_one_record_of_a_batch_is_replayed_alone(house: House) -> None:
    house.failures.put(BATCH, batch_document("11", "12", "13"))
    assert house.replayed(f"{BATCH}#12")[0]["ok"]
    assert house.calls == [("store", {"Records": [record("12")]})]
    assert list(house.stored(BATCH)["replayed_at"]) == ["12"]
    rows = house.get("failures")["failures"]
    assert ["replayed_at" in row for row in rows] == [False, True, False]
    assert house.replayed(BATCH)[0]["ok"]
    assert house.calls[1:] == [("store", {"Records": [record("11"), record("13")]})]
    assert isinstance(house.stored(BATCH)["replayed_at"], str)


def test_a_poison_record_holds_up_no_other_of_its_batch(house: House) -> None:
    house.failures.put(BATCH, batch_document("11", "12", "13"))
    house.bad = {"12"}
    (result,) = house.replayed(BATCH)
    assert not result["ok"] and result["error"] == "1 of 3 records failed again: ValueError: no"
    assert sorted(house.stored(BATCH)["replayed_at"]) == ["11", "13"]
    (result,) = house.replayed(BATCH)
    assert result["error"] == "ValueError: no" and house.calls[-1] == ("store", {"Records": [record("12")]})


def test_a_rejected_event_is_replayed_when_the_function_takes_it_now(house: House) -> None:
    key = REJECTED.format("7")
    house.failures.put(key, rejected_document("7"))
    assert house.replayed(key)[0]["ok"] and house.calls == [("store", {"Records": [record("7")]})]
    document = house.stored(key)
    assert document.pop("replayed_at") and document == json.loads(rejected_document("7"))


def test_a_rejected_event_that_is_rejected_again_was_not_replayed(house: House) -> None:
    key = REJECTED.format("7")
    house.failures.put(key, rejected_document("7"))
    house.rejects = {"7"}
    (result,) = house.replayed(key)
    assert not result["ok"] and result["error"] == "rejected again: time"
    assert house.failures.objects[key] == rejected_document("7")


def test_an_asynchronous_invoke_is_replayed_with_its_payload(house: House) -> None:
    house.failures.put(ASYNC, async_document())
    assert house.replayed(ASYNC)[0]["ok"] and house.calls == [("report", {"day": 1.5})]
    assert house.stored(ASYNC)["replayed_at"]


def test_a_replay_that_fails_leaves_the_document_to_be_replayed(house: House) -> None:
    house.failures.put(BATCH, batch_document("11"))
    house.failures.put(ASYNC, async_document())
    house.failures.put(REJECTED.format("7"), rejected_document("7"))
    house.down = True
    results = house.replayed(BATCH, ASYNC, REJECTED.format("7"))
    assert [result["error"] for result in results] == ["runtime does not answer."] * 3
    assert not any("replayed_at" in row for row in house.get("failures")["failures"])


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"ids": "x"}', b'{"ids": ["\xff"]}', b'{"ids": [], "x": %b' % (b"[" * 5000)]
)
def test_a_replay_is_asked_for_properly(house: House, body: bytes) -> None:
    for content_type in ("application/json", "text/plain"):
        request = Request("POST", "/_headrace/failures/replay", "", {"content-type": content_type}, body)
        assert asyncio.run(_call(house.admin, request)).status == 400


async def _call(house: Admin, request: Request) -> Response:
    return await house.failures(request)


def test_the_archive_is_listed_in_pages_by_prefix(house: House) -> None:
    for key in ("raw/b", "raw/a", "events/c", "raw/d"):
        house.archive.put(key, b"12345")
    house.archive.tag("events/c", {"compacted": "true"})
    first = {"key": "events/c", "size": 5, "modified": "1970-01-01T00:00:00.000Z", "storage_class": "STANDARD"}
    first |= {"readable": True, "tags": {"compacted": "true"}, "restore": None}
    assert house.get("archive", limit=1) == {"objects": [first], "next": "events/c"}
    page = house.get("archive", prefix="raw/", limit=2)
    assert [item["key"] for item in page["objects"]] == ["raw/a", "raw/b"] and page["next"] == "raw/b"
    page = house.get("archive", prefix="raw/", limit=2, after="raw/b")
    assert [item["key"] for item in page["objects"]] == ["raw/d"] and page["next"] is None
    assert house.ask("GET", "archive", {"limit": "many"}).status == 400


def test_missing_buckets_are_told(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.admin = Admin(house.layout, [], failures=None, archive=None, replay=house.replay)
    for method, path in (
        ("GET", "failures"),
        ("GET", "failures/document"),
        ("POST", "failures/replay"),
        ("GET", "archive"),
    ):
        response = house.ask(method, path, body={"ids": []} if method == "POST" else None)
        assert response.status == 404 and "bucket" in json.loads(response.body)["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "failures/other"),
        ("GET", "failuresx"),
        ("POST", "failures"),
        ("DELETE", "failures/document"),
        ("GET", "failures/replay"),
        ("GET", "archive/x"),
        ("POST", "logs"),
        ("GET", "logs/store/0"),
    ],
)
def test_nothing_else_is_there(house: House, method: str, path: str) -> None:
    response = house.ask(method, path)
    assert response.status == 404 and json.loads(response.body)["error"] == "not_found"


def write_log(house: House, function: str, slot: int, text: str) -> Path:
    path = house.layout.logs / "functions" / function / f"{slot}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(text.encode())
    return path


def test_the_last_lines_of_every_slot(house: House) -> None:
    write_log(house, "store", 0, "".join(f"line {n}\n" for n in range(30_000)) + "half a li")
    os.utime(write_log(house, "store", 10, "ten\n"), (1, 1))
    os.utime(write_log(house, "store", 2, "two\n"), (2, 2))
    files = house.get("logs/store", lines=3)["files"]
    assert [(f["file"], f["text"]) for f in files] == [
        ("10", "ten\n"),
        ("2", "two\n"),
        ("0", "line 29997\nline 29998\nline 29999\n"),
    ]
    assert house.get("logs/store", lines=0)["files"][2]["text"] == ""
    assert len(house.get("logs/store", lines=20_000)["files"][2]["text"].splitlines()) == 20_000
    assert len(house.get("logs/store")["files"][2]["text"].splitlines()) == admin.LOG_LINES


def test_the_last_lines_reach_back_into_the_rotated_file(house: House) -> None:
    path = write_log(house, "store", 0, "three\nfour\n")
    path.with_name("0.log.1").write_bytes(b"one\ntwo\n")
    (file,) = house.get("logs/store", lines=3)["files"]
    assert file == {"file": "0", "text": "two\nthree\nfour\n", "offset": 11}


def test_what_was_written_since(house: House) -> None:
    path = write_log(house, "store", 0, "one\ntw")
    offset = house.get("logs/store", lines=5)["files"][0]["offset"]
    assert offset == 4
    write_log(house, "store", 0, "o\nthr")
    write_log(house, "store", 1, "new worker\n")
    files = house.get("logs/store", offset=[f"0:{offset}"])["files"]
    assert {(f["file"], f["text"], f["offset"]) for f in files} == {("0", "two\n", 8), ("1", "new worker\n", 11)}
    path.write_bytes(b"anew\n")  # rotated
    files = house.get("logs/store", offset=["0:8", "1:11"])["files"]
    assert {f["file"]: f["text"] for f in files} == {"0": "anew\n", "1": ""}


def test_a_log_is_handed_over_in_bounded_parts(house: House) -> None:
    write_log(house, "store", 0, "x" * (admin.LOG_BYTES_MAX + 10) + "\nend\n")
    (first,) = house.get("logs/store", offset="0:0")["files"]
    assert len(first["text"]) == admin.LOG_BYTES_MAX
    (second,) = house.get("logs/store", offset=f"0:{first['offset']}")["files"]
    assert second["text"] == "x" * 10 + "\nend\n"
    assert house.get("logs/store", lines=5)["files"][0]["text"] == "end\n"


def test_logs_of_processes_and_of_functions_that_wrote_nothing(house: House) -> None:
    house.layout.logs.mkdir(parents=True)
    (house.layout.logs / "gateway.log").write_bytes(b"ready\n")
    assert house.get("logs/gateway")["files"] == [{"file": "gateway", "text": "ready\n", "offset": 6}]
    assert house.get("logs/table")["files"] == [{"file": "table", "text": "", "offset": 0}]
    assert house.get("logs/my-fn") == {"name": "my-fn", "files": []}
    assert house.get("logs") == {"functions": ["store", "my-fn"], "processes": list(admin.PROCESSES)}


@pytest.mark.parametrize("name", ["other", "..", "../../headrace", "store/0"])
def test_an_unknown_log_says_which_there_are(house: House, name: str) -> None:
    response = house.ask("GET", f"logs/{quote(name, safe='')}")
    assert response.status == 404 and "store, my-fn" in json.loads(response.body)["hint"]


@pytest.mark.parametrize("query", [{"lines": "x"}, {"lines": "-1"}, {"offset": "0:x"}])
def test_numbers_are_checked(house: House, query: dict[str, str]) -> None:
    write_log(house, "store", 0, "one\n")
    assert house.ask("GET", "logs/store", query).status == 400
