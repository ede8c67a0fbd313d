import json
import sys
from typing import Any

import pytest

from headrace import event
from headrace.event import Event, Fault, jsontext
from headrace.table.base import ITEM_BYTES_MAX
from support.memory import ARRIVAL_MS, lambda_record, sequence

ARRIVED = "2026-07-25T17:20:00.123Z"
DEFAULT_ID = f"{sequence(0)}.000000.000000"


def shown(data: bytes | str, key: str = "key-1") -> list[Any]:
    """Return what a record's data says: events as they print, faults as (reason, index)."""
    return [
        json.loads(event.public(event.item(one))) if isinstance(one, Event) else (one.reason, one.index)
        for one in event.decode(lambda_record(data, key))
    ]


def only(data: bytes | str, key: str = "key-1") -> Any:
    (found,) = shown(data, key)
    return found


def readings(data: bytes | str) -> bytes:
    (found,) = event.decode(lambda_record(data))
    assert isinstance(found, Event)
    return found.readings


def given(**members: str) -> str:
    """Return an object of members whose values are JSON."""
    return "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"


def test_an_event_as_it_prints() -> None:
    text = '{"device_id":"d","time":"2024-05-06T07:08:09.50Z","id":"i","t":21.5,"status":"ok","nested":{"a":[1,null]}}'
    assert only(text) == {
        "device_id": "d",
        "time": "2024-05-06T07:08:09.5Z",
        "id": "i",
        "arrived_at": ARRIVED,
        "readings": {"t": 21.5, "status": "ok", "nested": {"a": [1, None]}},
    }


def test_an_empty_object_is_an_event() -> None:
    assert only("{}", "pump-7") == {
        "device_id": "pump-7", "time": ARRIVED, "id": DEFAULT_ID, "arrived_at": ARRIVED, "readings": {}
    }  # fmt: skip


def test_the_item() -> None:
    (found,) = event.decode(lambda_record('{"device_id":"d","time":5,"id":"a#b","x":1.0}'))
    assert isinstance(found, Event)
    item = event.item(found, 99)
    assert (item.partition, item.sort, item.expires_at) == ("d", "event#1970-01-01T00:00:05.000000Z#a#b", 99)
    assert item.attributes == b'{"arrived_at":"%b","readings":{"x":1.0}}' % ARRIVED.encode()
    assert event.sort_key(found) == item.sort
    assert json.loads(event.public(item))["id"] == "a#b"
    assert event.SORT_START <= item.sort < event.SORT_END


@pytest.mark.parametrize(
    ("sent", "device"),
    [
        ("{}", "key-1"),
        ('{"device_id":null}', "key-1"),
        ('{"device_id":NaN}', "key-1"),
        ('{"device_id":"a/b é\\n"}', "a/b é\n"),
        ('{"device_id":"%s"}' % ("é" * 1024), "é" * 1024),
        ('{"device_id":"' + "\\u0041" * 2048 + '"}', "A" * 2048),
    ],
)
def test_device_ids(sent: str, device: str) -> None:
    assert only(sent)["device_id"] == device


@pytest.mark.parametrize("sent", ['""', "7", "true", "[]", "{}", '"' + "d" * 2049 + '"', '"' + "é" * 1025 + '"'])
def test_faults_of_the_device_id(sent: str) -> None:
    assert only(given(device_id=sent, x="1")) == ("device_id", 0)


@pytest.mark.parametrize(
    ("sent", "time"),
    [
        ('"2024-05-06T07:08:09Z"', "2024-05-06T07:08:09Z"),
        ('"2024-05-06T07:08:09.120000Z"', "2024-05-06T07:08:09.12Z"),
        ('"2024-05-06 07:08:09"', "2024-05-06T07:08:09Z"),
        ('"2024-05-06T07:08:09\\u002b02:00"', "2024-05-06T05:08:09Z"),
        ("1700000000", "2023-11-14T22:13:20Z"),
        ("1700000000.123456", "2023-11-14T22:13:20.123456Z"),
        ("1.7e9", "2023-11-14T22:13:20Z"),
        ('"1700000000"', "2023-11-14T22:13:20Z"),
        ("1700000000123", "2023-11-14T22:13:20.123Z"),
        ("1700000000123456", "2023-11-14T22:13:20.123456Z"),
        ("-1.5", "1969-12-31T23:59:58.5Z"),
        ('"0001-01-01T00:00:00Z"', "0001-01-01T00:00:00Z"),
        ('"0999-01-01T00:00:00Z"', "0999-01-01T00:00:00Z"),
        ("null", ARRIVED),
        ("-Infinity", ARRIVED),
        # exactly five minutes ahead is believed
        (str(ARRIVAL_MS + 300_000), "2026-07-25T17:25:00.123Z"),
    ],
)
def test_times(sent: str, time: str) -> None:
    found = only(given(time=sent, x="1"))
    assert found["time"] == time
    assert "clock_ahead" not in found.get("flags", []) and "device_time" not in found


@pytest.mark.parametrize(
    "sent",
    ['""', '"noon"', "true", "[1]", "{}", "1e30", "-1e18", '"0000-01-01T00:00:00Z"', '"0001-01-01T00:00:00+01:00"',
     '"9999-12-31T23:59:59-01:00"', '"2024-02-30T00:00:00Z"', '"NaN"', '" 1"', '"01"', "9" * 5000],
)  # fmt: skip
def test_faults_of_the_time(sent: str) -> None:
    assert only(given(time=sent, x="1")) == ("time", 0)


@pytest.mark.parametrize(
    "sent", [str(ARRIVAL_MS + 300_001), '"2026-07-25T19:25:00.124000+02:00"', '"9999-12-31T23:59:59Z"', "4102444800"]
)
def test_a_clock_ahead(sent: str) -> None:
    found = only(given(time=sent, x="1"))
    assert (found["time"], found["arrived_at"]) == (ARRIVED, ARRIVED)
    assert found["device_time"] == json.loads(sent)
    assert found["flags"] == ["clock_ahead"]
    assert found["readings"] == {"x": 1}


@pytest.mark.parametrize(
    ("sent", "identity"), [('"i"', "i"), ('"é\\u0000#"', "é\0#"), ('"%s"' % ("é" * 128), "é" * 128)]
)
def test_ids(sent: str, identity: str) -> None:
    assert only(given(id=sent))["id"] == identity


@pytest.mark.parametrize("sent", ['""', "null", "5", "[]", '"%s"' % ("i" * 257), '"%s"' % ("é" * 129)])
def test_faults_of_the_id(sent: str) -> None:
    assert only(given(id=sent, x="1")) == ("id", 0)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ('{"m":7e-06,"a":1.0,"b":1e400,"c":-0,"d":1E5}', '{"m":7e-06,"a":1.0,"b":1e400,"c":-0,"d":1E5}'),
        ('{"a":12345678901234567890,"b":%s}' % ("1" * 5000), '{"a":12345678901234567890,"b":%s}' % ("1" * 5000)),
        ('{"a":"000123","b":"1.0","c":""}', '{"a":"000123","b":"1.0","c":""}'),
        ('{"a":1,"a":2,"b":0,"a":3}', '{"a":3,"b":0}'),
        (' \t\r\n{ "a" : [ 1 , 2 ] , "b" : {} } \n', '{"a":[ 1 , 2 ],"b":{}}'),
        ('{"a":"NaN","b":"say \\"Infinity\\""}', '{"a":"NaN","b":"say \\"Infinity\\""}'),
        ('{"é":"\\u00e9","\\ud83d\\ude00":1,"\\"":2}', '{"é":"\\u00e9","😀":1,"\\"":2}'),
        ('{"measure":"t","value":7e-06}', '{"t":7e-06}'),
        ('{"measure":"t","value":1,"unit":"C","t":2}', '{"unit":"C","t":1}'),
        ('{"measure":"time","value":1}', '{"time":1}'),
        ('{"measure":"","value":1}', '{"measure":"","value":1}'),
        ('{"measure":5,"value":1}', '{"measure":5,"value":1}'),
        ('{"measure":"t"}', '{"measure":"t"}'),
        ('{"value":1}', '{"value":1}'),
    ],
)
def test_readings_are_kept_as_sent(sent: str, kept: str) -> None:
    assert readings(sent) == kept.encode()


@pytest.mark.parametrize(
    ("sent", "kept", "count"),
    [
        ('{"a":NaN,"b":1}', {"a": None, "b": 1}, 1),
        ('{"a":[Infinity,-Infinity,{"b":NaN}],"NaN":"NaN"}', {"a": [None, None, {"b": None}], "NaN": "NaN"}, 3),
        ('{"measure":"t","value":NaN}', {"t": None}, 1),
        ('{"a":"\\"NaN","b":Infinity}', {"a": '"NaN', "b": None}, 1),
    ],
)
def test_non_finite_numbers_become_null(sent: str, kept: Any, count: int) -> None:
    (found,) = event.decode(lambda_record(sent))
    assert isinstance(found, Event)
    assert (json.loads(found.readings), found.non_finite) == (kept, count)
    assert only(sent)["flags"] == ["non_finite"]


def test_both_flags() -> None:
    assert only('{"time":"2100-01-01T00:00:00Z","x":NaN}')["flags"] == ["clock_ahead", "non_finite"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "json"),
        (b" \n", "json"),
        (b"hello", "json"),
        (b"42", "json"),
        (b'"text"', "json"),
        (b"null", "json"),
        (b"NaN", "json"),
        (b"{", "json"),
        (b'{"a":1}{"a":2}', "json"),
        (b'{"a":1}\n{"a":2}', "json"),
        (b'{"a":01}', "json"),
        (b'{"a":1.}', "json"),
        (b'{"a":.5}', "json"),
        (b'{"a":+1}', "json"),
        (b'{"a":-NaN}', "json"),
        (b'{"a":+Infinity}', "json"),
        (b'{"a":nan}', "json"),
        (b'{"a":NaN', "json"),
        (b'{NaN:1}', "json"),
        (b'{"a":1,}', "json"),
        (b"{'a':1}", "json"),
        (b"{a:1}", "json"),
        (b'{"a":"\t"}', "json"),
        (b'{"a":"\n"}', "json"),
        (b'{"a":"\\x"}', "json"),
        (b'{"a":"\\u12"}', "json"),
        (b'{"a":1/*c*/}', "json"),
        (b'\xef\xbb\xbf{"a":1}', "json"),
        ('{"a":1}'.encode("utf-16-be"), "json"),
        (b"[" * 100_000, "json"),
        (b"[" * 100_000 + b"]" * 100_000, "json"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "json"),
        (b'"' * 99_999, "json"),
        (b'\\"NaN' * 50_000, "json"),
        (b'{"a":"\xff"}', "encoding"),
        (b'{"\xc3":1}', "encoding"),
        (b'{"a":"\xed\xa0\x80"}', "encoding"),
        (b'{"a":"\xc0\x80"}', "encoding"),
        (b"\xff\xfe{", "encoding"),
        ('{"a":1}'.encode("utf-16"), "encoding"),
        (b"\x80\x04\x95", "encoding"),
        (b'{"a":"\\ud800"}', "encoding"),
        (b'{"a":"\\udc00 x"}', "encoding"),
        (b'{"a":"\\ud800\\u0041"}', "encoding"),
        (b'{"\\uD834":1}', "encoding"),
        (b'{"device_id":"\\ud800"}', "encoding"),
        (b'{"a":"\\ud800","b":NaN}', "encoding"),
        (b'{"a":"\\\\ud800","b":}', "json"),
    ],
)  # fmt: skip
def test_what_is_no_event(data: bytes, reason: str) -> None:
    (found,) = event.decode(lambda_record(data))
    assert isinstance(found, Fault)
    assert (found.reason, found.subsequence, found.index) == (reason, 0, 0)
    assert 0 < len(found.message) < 300


def nested(levels: int) -> str:
    return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


def test_nesting() -> None:
    assert readings(nested(401)) == nested(401).encode()
    assert readings('{"a":' * 400 + "1" + "}" * 400)
    assert readings(nested(jsontext.LEVELS_MAX)) == nested(jsontext.LEVELS_MAX).encode()
    assert only(nested(jsontext.LEVELS_MAX + 1)) == ("json", 0)
    wide = given(a=f"[{','.join(['{}'] * 600)}]", b='"[[[]"' + " " * 600)
    assert readings(wide) == wide.replace(" ", "").encode()
    assert shown(f"[{nested(600)},{{}}]") == [("json", 0), shown("[0,{}]")[1]]


def test_nesting_that_is_stored_can_be_read_back_anywhere() -> None:
    (found,) = event.decode(lambda_record(nested(jsontext.LEVELS_MAX)))
    assert isinstance(found, Event)
    value = jsontext.parse(event.public(event.item(found)))
    assert json.loads(json.dumps({"events": [value]})) == {"events": [value]}
    assert sys.getrecursionlimit() == 1000


def test_an_array_is_many_events_and_each_fault_is_its_own() -> None:
    found = shown(b' [{"x":1}, {"device_id":5}, 7, {"time":"x"}, {"id":"i","x":NaN}, [{}], {"device_id":"e"}]')
    assert [one if isinstance(one, tuple) else one["id"] for one in found] == [
        f"{sequence(0)}.000000.000000",
        ("device_id", 1),
        ("json", 2),
        ("time", 3),
        "i",
        ("json", 5),
        f"{sequence(0)}.000000.000006",
    ]
    assert "flags" not in found[0] and found[4]["flags"] == ["non_finite"]


def test_non_finite_numbers_are_counted_where_they_stand() -> None:
    found = event.decode(
        lambda_record('[{"x":null,"y":null},{"x":NaN},null,{"x":[NaN,Infinity]},{"x":null},{"x":NaN}]')
    )
    assert [one.non_finite if isinstance(one, Event) else one.reason for one in found] == [0, 1, "json", 2, 0, 1]


@pytest.mark.parametrize(
    "sent", ['{"a":NaN}', '{"é":[-Infinity,{"b":NaN}],"NaN":"NaN"}', '{ "a" : Infinity }', '{"a":1}']
)
@pytest.mark.parametrize(
    ("before", "behind"), [("", ""), ("[", "]"), (" [ null , ", " \n] "), ('[{"é":-Infinity,"x":NaN},', ',{"x":NaN}]')]
)
def test_bytes_are_those_that_were_sent(sent: str, before: str, behind: str) -> None:
    found = event.decode(lambda_record(before + sent + behind))
    assert len(sent.encode()) in [one.bytes_sent for one in found if isinstance(one, Event)]
    if before.startswith("[{"):
        assert [one.bytes_sent for one in found if isinstance(one, Event)] == [24, len(sent.encode()), 9]


@pytest.mark.parametrize("data", ["[]", " [ ] "])
def test_an_empty_array_is_no_event_and_no_fault(data: str) -> None:
    assert shown(data) == []


@pytest.mark.parametrize(("data", "reason"), [(b'[{"x":1},{"x":"\xff"}]', "encoding"), (b'[{"x":1},{"x":}]', "json")])
def test_an_array_that_is_no_json_is_one_fault(data: bytes, reason: str) -> None:
    assert shown(data) == [(reason, 0)]


def test_the_faults_of_one_record_have_a_bound_but_events_have_none() -> None:
    data = "[" + "1," * 400_000 + '{"x":1}]'
    found = event.decode(lambda_record(data))
    faults = [one for one in found if isinstance(one, Fault)]
    assert len(faults) == event.FAULTS_MAX and len(found) == event.FAULTS_MAX + 1
    assert "399,900 more" in f"{faults[-1].message.replace('399900', '399,900')}"
    assert isinstance(found[-1], Event)
    assert len(event.decode(lambda_record("[" + "1," * 2000 + "1]"))) == 2001


def test_the_size_of_an_item() -> None:
    (found,) = event.decode(lambda_record('{"device_id":"d","time":0,"id":"i","x":""}'))
    assert isinstance(found, Event)
    item = event.item(found)
    room = ITEM_BYTES_MAX - len(item.partition) - len(item.sort) - len(item.attributes)
    fitting = '{"device_id":"d","time":0,"id":"i","x":"%s"}'
    assert len(readings(fitting % ("x" * room))) > 400_000
    assert only(fitting % ("x" * (room + 1))) == ("size", 0)
    assert only('{"time":4%se9}' % ("." + "0" * 500_000)) == ("size", 0)


def test_the_same_record_gives_the_same_events() -> None:
    record = lambda_record('[{"x":1},{"time":"2100-01-01T00:00:00Z"},{"time":null,"x":NaN}]')
    assert event.decode(record) == event.decode(json.loads(json.dumps(record)))


def test_arrival_in_milliseconds_survives_the_float() -> None:
    for ms in range(ARRIVAL_MS, ARRIVAL_MS + 1000):
        (found,) = event.decode(lambda_record("{}", arrival_ms=ms))
        assert isinstance(found, Event) and found.arrived_ms == ms
