import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

import device_api
from headrace import connect, event
from headrace.device_request import cursor_of
from headrace.event import Event, times
from headrace.table.base import Item
from support.memory import Context, MemoryTable, lambda_record

DEVICE = "pump/7 é%41"


class Api:
    """The handler with its tables at hand, asked both ways."""

    def __init__(self) -> None:
        self.events, self.devices = MemoryTable(), MemoryTable()
        connect.use(tables={"events": self.events, "devices": self.devices})

    def call(self, payload: Any) -> Any:
        answer = device_api.handler(payload, Context("device_api"))
        return json.loads(json.dumps(answer, allow_nan=False))

    def ask(self, operation: str, **parameters: Any) -> Any:
        return self.call({"operation": operation, "device_id": DEVICE, **parameters})

    def http(self, method: str, noun: str, body: str | None = None, device: str = DEVICE, **query: str) -> Any:
        """Return (status, body) of an HTTP call."""
        payload = {
            "version": "2.0",
            "rawPath": f"/devices/{quote(device, safe='')}/{noun}",
            "rawQueryString": "",
            "queryStringParameters": query,
            "requestContext": {"http": {"method": method, "path": f"/devices/{device}/{noun}"}},
            "isBase64Encoded": False,
        }
        return self.answered(payload if body is None else {**payload, "body": body})

    def answered(self, payload: Any) -> Any:
        answer = self.call(payload)
        assert set(answer) == {"statusCode", "headers", "body"}
        assert answer["headers"] == {"content-type": "application/json"}
        return answer["statusCode"], json.loads(answer["body"])

    def store(self, *texts: str, device: str = DEVICE) -> None:
        for number, text in enumerate(texts):
            for found in event.decode(lambda_record(text, device, number=number)):
                assert isinstance(found, Event)
                self.events.put([event.item(found)])


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("EVENTS_TABLE", "events")
    monkeypatch.setenv("DEVICES_TABLE", "devices")
    yield Api()
    connect.reset()


def seconds(answer: Any) -> list[int]:
    """Return the times of a history, in seconds since 1970."""
    return [times.to_us(times.from_text(one["time"])) // 10**6 for one in answer["events"]]


def test_latest_is_the_newest_by_time_and_id(api: Api) -> None:
    api.store('{"time":9,"id":"b"}', '{"time":10,"id":"é"}', '{"time":10,"id":"z","x":1}', '{"time":8,"id":"zz"}')
    api.store('{"time":99}', device="other")
    api.events.put([Item(DEVICE, "aggregate#hour", b"{}")])
    assert api.ask("latest")["id"] == "é"  # é is after z in UTF-8
    assert api.http("GET", "latest") == (200, api.ask("latest"))
    assert list(api.ask("latest")) == ["device_id", "time", "id", "arrived_at", "readings"]


def test_no_event_is_a_404_for_latest_and_an_empty_history(api: Api) -> None:
    error = {"error": "not_found", "message": f"there is no event of {DEVICE!r}"}
    assert api.ask("latest") == {"statusCode": 404, **error}
    assert api.http("GET", "latest") == (404, error)
    assert api.ask("history") == {"events": [], "cursor": None}
    assert api.http("GET", "events") == (200, {"events": [], "cursor": None})


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({"newest": True}, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ({"from": 3, "to": 6}, [3, 4, 5]),
        ({"from": 3, "to": 6, "newest": True}, [5, 4, 3]),
        ({"from": "1970-01-01T00:00:08Z"}, [8, 9]),
        ({"from": "1970-01-01 02:00:08+02:00", "to": "9"}, [8]),
        ({"to": 1.5}, [0, 1]),
        ({"from": 7.000001}, [8, 9]),
        ({"from": 5, "to": 5}, []),
        ({"from": 6, "to": 5}, []),
        ({"from": None, "to": None, "limit": None, "newest": None, "cursor": None}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ],
)
def test_history_ranges(api: Api, query: dict[str, Any], found: list[int]) -> None:
    api.store(*[json.dumps({"time": n}) for n in range(10)])
    answer = api.ask("history", **query)
    assert (seconds(answer), answer["cursor"]) == (found, None)
    as_text = {name: str(value).lower() for name, value in query.items() if value is not None}
    as_text |= {name: query[name] for name in ("from", "to") if isinstance(query.get(name), str)}
    assert api.http("GET", "events", **as_text) == (200, answer)


@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7])
def test_pages_hold_each_event_once_and_a_cursor_only_if_more_follows(api: Api, limit: int, newest: bool) -> None:
    api.store(*[json.dumps({"time": time, "id": name}) for time in (5, 6) for name in ("a", "a#", "é")], '{"time":7}')
    found: list[str] = []
    cursor = None
    for page in range(7):
        answer = api.ask("history", limit=limit, newest=newest, cursor=cursor, to=7)
        found += [f"{one['time']}{one['id']}" for one in answer["events"]]
        cursor = answer["cursor"]
        assert len(answer["events"]) == min(limit, 6 - page * limit)
        if cursor is None:
            break
    assert len(found) == 6 == len(set(found))
    assert found == sorted(found, key=str.encode, reverse=newest)


def test_history_holds_a_hundred_unless_asked(api: Api) -> None:
    api.store("[" + ",".join(f'{{"time":{n}}}' for n in range(1, 1102)) + "]")
    assert seconds(api.ask("history")) == list(range(1, 101))
    answer = api.ask("history", limit=1000, newest=True)
    assert seconds(answer) == list(range(1101, 101, -1))
    rest = api.ask("history", limit=1000, newest=True, cursor=answer["cursor"])
    assert (seconds(rest), rest["cursor"]) == (list(range(101, 0, -1)), None)
    everything = api.ask("history", limit=101, newest=True, to=102)
    assert (len(everything["events"]), everything["cursor"]) == (101, None)


def test_an_answer_of_large_events_is_cut_and_goes_on(api: Api) -> None:
    api.store(*[json.dumps({"time": n, "x": "é" * 150_000}, ensure_ascii=False) for n in range(7)])
    found: list[int] = []
    cursor = None
    while True:
        payload = {"operation": "history", "device_id": DEVICE, "cursor": cursor}
        answer = device_api.handler(payload, Context("device_api"))
        assert len(json.dumps(answer)) < 6_000_000
        assert answer["events"]
        found += seconds(answer)
        cursor = answer["cursor"]
        if cursor is None:
            break
    assert found == list(range(7))


def test_numbers_are_as_sent_by_http_and_never_lost_by_invoke(api: Api) -> None:
    sent = '{"a":7e-06,"b":1.0,"c":1e400,"d":12345678901234567890,"e":1E5,"f":"000123","g":null}'
    api.store(sent)
    payload = {"rawPath": "/devices/x/latest", "requestContext": {"http": {"method": "GET"}}}
    payload["rawPath"] = f"/devices/{quote(DEVICE, safe='')}/latest"
    body = device_api.handler(payload, Context("device_api"))["body"]
    assert body.endswith(f'"readings":{sent}}}')
    assert api.ask("latest")["readings"] == {
        "a": 7e-06, "b": 1.0, "c": "1e400", "d": 12345678901234567890, "e": 100000.0, "f": "000123", "g": None
    }  # fmt: skip


@pytest.mark.parametrize(
    ("noun", "get", "put"), [("config", "config_get", "config_set"), ("state", "state_get", "state_report")]
)
def test_versions(api: Api, noun: str, get: str, put: str) -> None:
    assert api.ask(get) == {"device_id": DEVICE, "version": 0, noun: {}}
    assert api.ask(put, **{noun: {"a": [1, {"é": None}]}}) == {
        "device_id": DEVICE, "version": 1, noun: {"a": [1, {"é": None}]}
    }  # fmt: skip
    assert api.ask(put, **{noun: {}}, expected_version=1)["version"] == 2
    assert api.http("PUT", noun, '{"b":1.50}', expected_version="2") == (
        200, {"device_id": DEVICE, "version": 3, noun: {"b": 1.5}}
    )  # fmt: skip
    assert api.ask(get) == api.http("GET", noun)[1] == {"device_id": DEVICE, "version": 3, noun: {"b": 1.5}}
    stale = api.ask(put, **{noun: {"c": 1}}, expected_version=2)
    assert (stale["statusCode"], stale["error"]) == (409, "conflict")
    assert "3, not 2" in stale["message"]
    assert api.http("PUT", noun, "{}", expected_version="0")[0] == 409
    assert api.ask(get)[noun] == {"b": 1.5}
    other = "state" if noun == "config" else "config"
    assert api.http("GET", other) == (200, {"device_id": DEVICE, "version": 0, other: {}})
    (item,) = api.devices.items.values()
    assert (item.sort, item.expires_at) == (noun, None)
    assert list(json.loads(item.attributes)) == ["version", noun, "updated_at"]


def test_a_first_write_may_expect_none(api: Api) -> None:
    assert api.ask("config_set", config={"a": 1}, expected_version=0)["version"] == 1
    assert api.ask("config_set", config={"a": 2}, expected_version=0)["statusCode"] == 409


def test_a_write_without_an_expected_version_goes_on_trying(api: Api) -> None:
    class Busy(MemoryTable):
        """Someone else writes first, a few times."""

        others = 3

        def put_if_version(self, item: Item, expected: int) -> None:
            if self.others:
                self.others -= 1
                self.put([item._replace(attributes=b'{"version":%d,"config":{"other":1}}' % (expected + 1))])
            super().put_if_version(item, expected)

    busy = Busy()
    connect.use(tables={"devices": busy})
    assert api.ask("config_set", config={"mine": 1}) == {"device_id": DEVICE, "version": 4, "config": {"mine": 1}}
    busy.others = 10**6
    assert api.ask("config_set", config={"mine": 1})["statusCode"] == 409


def test_base64_bodies(api: Api) -> None:
    payload: dict[str, Any] = {
        "rawPath": "/devices/a/config",
        "requestContext": {"http": {"method": "PUT"}},
        "body": base64.b64encode('{"é":7e-06}'.encode()).decode(),
        "isBase64Encoded": True,
    }
    assert device_api.handler(payload, None)["body"] == '{"device_id":"a","version":1,"config":{"é":7e-06}}'
    assert api.answered({**payload, "body": "!"})[0] == 400
    assert api.answered({**payload, "body": base64.b64encode(b"\xff").decode()})[0] == 400


TIMES: list[Any] = ["", "noon", True, [], float("nan"), float("inf"), 1e30, 10**5000, "0000-01-01T00:00:00Z"]
CURSORS: list[Any] = ["", 7, "é", "AAAA", "!", [], "x" * 5, cursor_of("1970-01-01T00:00:05.000000Z#i", newest=True)]
OBJECTS: list[Any] = [None, [], "{}", 7, {"a": float("nan")}, {"a": "\ud800"}, {"\ud800": 1}, {"a": "x" * 410_000}]
# operation, parameter, what is wrong for it
PARAMETERS: list[tuple[str, str, list[Any]]] = [
    ("latest", "device_id", [None, "", 7, ["d"], "d" * 2049, "\ud800"]),
    ("history", "limit", [0, -1, 1001, "10", 1.5, True]),
    ("history", "newest", ["true", 1, []]),
    ("history", "from", TIMES),
    ("history", "to", TIMES),
    ("history", "cursor", CURSORS),
    ("config_set", "config", OBJECTS),
    ("state_report", "state", OBJECTS),
    ("config_set", "expected_version", [-1, "1", 1.0, True, 2**64]),
]
WRONG: list[tuple[Any, str]] = [
    (None, "operation"),
    ([], "operation"),
    ({}, "operation"),
    ({"operation": 7}, "operation"),
    ({"operation": None, "device_id": "d"}, "operation"),
    ({"operation": "lastest", "device_id": "d"}, "latest"),
    ({"operation": "latest"}, "device_id"),
    *[
        ({"operation": operation, "device_id": "d", "config": {}, "state": {}, name: value}, name)
        for operation, name, values in PARAMETERS
        for value in values
    ],
]


@pytest.mark.parametrize(("payload", "named"), WRONG)
def test_what_is_asked_wrongly_says_what_to_send(api: Api, payload: Any, named: str) -> None:
    answer = api.call(payload)
    assert list(answer) == ["statusCode", "error", "message"]
    assert (answer["statusCode"], answer["error"]) == (400, "bad_request")
    assert named in answer["message"]
    assert not api.devices.items


@pytest.mark.parametrize(
    ("method", "noun", "query", "body", "status"),
    [
        ("GET", "events", {"limit": "1001"}, None, 400),
        ("GET", "events", {"limit": "ten"}, None, 400),
        ("GET", "events", {"limit": ""}, None, 400),
        ("GET", "events", {"limit": "²"}, None, 400),
        ("GET", "events", {"newest": "maybe"}, None, 400),
        ("GET", "events", {"from": "noon"}, None, 400),
        ("GET", "events", {"cursor": "?"}, None, 400),
        ("PUT", "config", {}, None, 400),
        ("PUT", "config", {}, "", 400),
        ("PUT", "config", {}, "[]", 400),
        ("PUT", "config", {}, '{"a":NaN}', 400),
        ("PUT", "config", {}, '{"a":', 400),
        ("PUT", "state", {}, '{"a":' * 501 + "1" + "}" * 501, 400),
        ("PUT", "state", {"expected_version": "x"}, "{}", 400),
        ("PUT", "latest", {}, "{}", 400),
        ("POST", "config", {}, "{}", 400),
        ("DELETE", "state", {}, None, 400),
        ("GET", "nothing", {}, None, 404),
        ("GET", "", {}, None, 404),
    ],
)
def test_http_errors(api: Api, method: str, noun: str, query: dict[str, str], body: str | None, status: int) -> None:
    found, answer = api.http(method, noun, body, **query)
    assert found == status
    assert list(answer) == ["error", "message"]
    assert answer["error"] == {400: "bad_request", 404: "not_found"}[status]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 404), ("/devices", 404), ("/devices/d", 404), ("/other/d/latest", 404), ("/devices//latest", 400),
     ("/devices/%FF/latest", 400), ("/devices/" + "d" * 2049 + "/latest", 400)],
)  # fmt: skip
def test_paths_that_name_nothing(api: Api, path: str, status: int) -> None:
    assert api.answered({"rawPath": path, "requestContext": {"http": {"method": "GET"}}})[0] == status


@pytest.mark.parametrize("path", ["/devices/a%2Fb/latest", "/devices/a/b/latest"])
def test_a_device_id_may_hold_slashes(api: Api, path: str) -> None:
    api.store('{"x":1}', device="a/b")
    assert api.answered({"rawPath": path, "requestContext": {"http": {"method": "GET"}}})[1]["device_id"] == "a/b"


def test_deep_and_large_objects_come_back(api: Api) -> None:
    deep = '{"a":' * 400 + "1" + "}" * 400
    assert api.http("PUT", "state", deep)[0] == 200
    assert api.ask("state_get")["state"] == json.loads(deep)
    assert api.http("GET", "state")[1]["state"] == json.loads(deep)


def aggregate(start: str, reading: str, period: str = "hour", **values: Any) -> Item:
    return Item(DEVICE, f"aggregate#{period}#{start}#{reading}", json.dumps(values).encode())


HOURS = ["2026-02-27T23:00:00.000000Z", "2026-02-28T00:00:00.000000Z", "2026-02-28T01:00:00.000000Z"]


def test_aggregates_are_what_jobs_have_written(api: Api) -> None:
    api.store('{"time":9,"x":1}')
    api.events.put([aggregate(hour, reading, count=1) for hour in HOURS for reading in ("a#b", "ä")])
    api.events.put([aggregate(HOURS[0], "a#b", "day", count=7, sum=0.1)])
    (day,) = api.ask("aggregates", period="day")["aggregates"]
    assert day == {
        "device_id": DEVICE, "period": "day", "start": "2026-02-27T23:00:00Z", "reading": "a#b", "count": 7, "sum": 0.1
    }  # fmt: skip
    hours = api.ask("aggregates", period="hour")["aggregates"]
    assert [(each["start"], each["reading"]) for each in hours] == [
        (times.short(hour), reading) for hour in HOURS for reading in ("a#b", "ä")
    ]
    assert api.ask("aggregates", period="hour", newest=True)["aggregates"] == hours[::-1]
    some = api.ask("aggregates", period="hour", reading="ä", **{"from": HOURS[1], "to": HOURS[2]})
    assert some == {"aggregates": [hours[3]], "cursor": None}
    assert api.http("GET", "aggregates", period="hour", reading="ä") == (
        200, {"aggregates": hours[1::2], "cursor": None}
    )  # fmt: skip
    assert api.ask("aggregates", period="month") == {"aggregates": [], "cursor": None}


@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize("reading", [None, "b"])
def test_aggregates_come_in_pages(api: Api, newest: bool, reading: str | None) -> None:
    starts = [times.from_us(hour * 3_600_000_000) for hour in range(150)]
    api.events.put([aggregate(start, name, count=1) for start in starts for name in ("a", "b", "c")])
    everything = api.ask("aggregates", period="hour", newest=newest, reading=reading, limit=1000)
    assert len(everything["aggregates"]) == (150 if reading else 450) and everything["cursor"] is None
    pages: list[list[Any]] = []
    cursor = None
    while not pages or cursor:
        answer = api.ask("aggregates", period="hour", newest=newest, reading=reading, limit=70, cursor=cursor)
        pages.append(answer["aggregates"])
        cursor = answer["cursor"]
    assert [each for page in pages for each in page] == everything["aggregates"]
    assert {len(page) for page in pages[:-1]} == {70}


@pytest.mark.parametrize(
    "wrong", [{}, {"period": "week"}, {"period": 1}, {"period": "hour", "reading": ""}, {"period": "hour", "limit": 0}]
)
def test_aggregates_refuse_what_they_cannot_answer(api: Api, wrong: dict[str, Any]) -> None:
    assert api.ask("aggregates", **wrong)["statusCode"] == 400
