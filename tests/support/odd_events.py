"""Events and what is none, of every odd kind: what both platforms have to take, or refuse, in the same way.

An id of one's own, as what is made up without one differs from run to run, and is left out of comparisons.
"""

import json
from collections.abc import Sequence

Sent = Sequence[tuple[str, str | bytes]]  # partition key and data

TIME = '"time":"2026-07-25T00:00:0'
ODD: list[tuple[str, str | bytes]] = [
    *((f"k{n % 5}", f'{{"device_id":"odd-{n % 5}","time":{1_785_000_000 + n},"id":"n{n}","temperature_f":{n / 7}}}')
      for n in range(500)),
    ("a", f'{{"id":"exponents",{TIME}0Z","x":1e3,"y":-1.5E-07,"z":7e-06,"big":1e400,"temperature_f":1.0}}'),
    ("a", f'{{"id":"integers",{TIME}1Z","n":12345678901234567890,"m":-{"9" * 50}}}'),
    ("a", f'{{"id":"precise",{TIME}2Z","n":0.1000000000000000055511151231257827,"zeros":21.500,"minus":-0}}'),
    ("b", f'{{"id":"unicode \u2603 \U0001f600",{TIME}0Z","device_id":"gerät/7","é":"\\u00e9","text":"漢"}}'),
    ("b", f'{{"id":"nulls",{TIME}1Z","device_id":null,"a":null,"b":[null,{{"c":null}}],"d":{{}},"e":[],"f":true}}'),
    ("b", '[{"id":"array 1","time":1785000000,"t":1},{"id":"array 2","time":1785000001.5,"t":2},{"id":7},{"id":""}]'),
    ("c", '{"id":"long form","time":"1785000000123","measure":"speed_mph","value":61.25}'),
    ("c", '{"id":"not finite","time":1785000002,"temperature_f":NaN,"x":[Infinity]}'),
    ("c", f'{{"id":"deep","time":1785000003,"x":{"[" * 400}1{"]" * 400}}}'),
    ("c", '{"id":"text that looks like JSON","time":1785000004,"x":"{\\"a\\":1}","=":"=1"}'),
    ("c", f'{{"id":"large","time":1785000005,"x":"{"y" * 300_000}"}}'),
    ("d", f'{{"id":"too large","x":"{"y" * 420_000}"}}'),
    *(("d", each) for each in (
        " ", "no JSON", b"\xff\xfe", '{"id":"cut', "[1,2]", '"text"', '{"time":"yesterday"}', '{"device_id":7}', "[]",
    )),
    *(("d", f'{{"id":"twice","time":1785000006,"x":{n}}}') for n in (1, 2)),
]  # fmt: skip


def _at(own: str, members: str, time: str = "1785000100") -> str:
    """Return an event's JSON as it is spelled."""
    return "{" + f'"id":"{own}","time":{time},{members}' + "}"


# Of the same kind again: what is at a limit, and what a platform could take for something of its own.
OTHERS: list[tuple[str, str | bytes]] = [
    ("n", _at("2^63", '"a":9223372036854775807,"b":9223372036854775808,"c":-9223372036854775809')),
    ("n", _at("38 digits", f'"a":{"1" * 38},"b":{"1" * 39},"c":0.{"3" * 38},"d":0.{"3" * 39}')),
    ("n", _at("range", '"a":9.99e125,"b":1e126,"c":1e-130,"d":1e-131,"e":-1e400,"f":5e-324,"g":1e-400')),
    ("n", _at("zeros", '"a":-0.0,"b":0e0,"c":0.000,"d":1E+2,"e":1.0e+02,"temperature_f":-0.0')),
    ("n", _at("beyond", '"temperature_f":1e400,"speed_mph":12345678901234567890123,"occupancy_pct":5e-324')),
    ("n", _at("no metric", '"temperature_f":null,"speed_mph":"7","occupancy_pct":true,"travel_time_s":[1]')),
    ("n", _at("spaces", ' "x" : [ 1 , 2 ] , "y" : { "z" : 1.50 } ') + "\n"),
    ("n", _at("a name twice", '"x":1,"x":2,"temperature_f":1,"temperature_f":2')),
    ("s", _at("empty", '"a":"","":7,"b":{"":""},"c":[""]')),
    ("s", _at("our names", '"sk":"x","expires_at":5,"arrived_at":"x","readings":{"a":1},"flags":["x"]')),
    ("s", _at("texts", r'"a":"=","b":"==","c":"[1]","d":"\"","e":"{}","f":"null","g":"1","h":"\u0000\u001f"')),
    ("s", _at("no text", r'"a":"\ud800","b":"\udc00\ud800","c":"\ud83d\ude00"')),
    *(("s", _at(own, '"a":1')) for own in ("i" * 256, "i" * 257, "é" * 128, "é" * 128 + "#", "#", " ", r"\u0000")),
    *(("s", _at("of a device", f'"device_id":"{each}","a":1'))
      for each in (" ", r"a\u0000b", "k" * 2048, "k" * 2049, "headrace", "\u6f22/#?&")),
    ("e\u0301/\u2603", _at("partition key", '"a":1')),
    *(("t", _at(f"time {n}", '"a":1', time)) for n, time in enumerate((
        '"0001-01-01T00:00:00Z"', '"0001-01-01T00:00:00+00:01"', "-1.5", '"2016-12-31T23:59:60Z"',
        '"2026-07-25 02:00:00.1234567+02:00"', "1785000100123456", "1785000100123", "1.7850001e9", '" 1785000100"',
        "1e400", '""', "null", '"9999-12-31T23:59:59.999999Z"', '"2099-01-01T00:00:00Z"', "[1]", "true",
    ))),
    ("t", '{"a":"neither time nor id"}'),
    ("t", '{"id":null,"time":1785000101,"a":"no id"}'),
    ("t", '[{"a":"in an array"},{"time":1785000102},{"id":"with","time":1785000102},null,[],7,{}]'),
    ("m", _at("long null", '"measure":"temperature_f","value":null')),
    ("m", _at("long text", '"measure":"temperature_f","value":"7"')),
    ("m", _at("long without", '"measure":"temperature_f"')),
    ("m", _at("long empty", '"measure":"","value":7')),
    ("m", _at("long and short", '"measure":"temperature_f","value":7,"temperature_f":8')),
    # Just below 400 KB moto refuses what DynamoDB takes.
    *(("x", _at(f"size {n}", f'"x":"{"y" * n}"')) for n in (404_000, 409_600)),
    *(("x", _at(f"wide {n}", f'"x":"{"é" * n}"')) for n in (202_000, 204_800)),
    ("x", _at("many", ",".join(f'"r{n}":{n}.5' for n in range(20_000)))),
    ("x", "[" + ",".join(_at(f"of array {n}", f'"a":{n}') for n in range(1_500)) + "]"),
    *(("b", each) for each in (
        b"\xef\xbb\xbf{}", b'{"id":"\xed\xa0\x80"}', b'{"id":"x","a":\xc3\x28}', b"\x1f\x8b\x08", b"null", b"-",
        b'{"id":01}', b'{"id":"x"}{"id":"y"}', b'{"id":"x",}', b'{"id":true}',
        b'{"id":"x","device_id":""}', b"\xf3\x89\x9a\xc2",
    )),
    *(("d", _at("again", f'"x":{n}')) for n in range(30)),
]  # fmt: skip


def ndjson(rows: int) -> str:
    """Return a file as fleets keep them: nested readings, gaps, late and repeated rows, texts of every script."""
    lines = []
    for n in range(rows):
        row = {
            "device_id": f"pump/{n % 7} \u00fc\u6f22",
            "time": f"2026-07-{1 + n % 25:02d}T{n % 24:02d}:{n % 60:02d}:00.{n:06d}+0{n % 3}:00",
            "temperature_f": None if n % 11 == 0 else n / 3,
            "speed_mph": n * 10**17,
            "position": {"lat": -n / 7, "lon": [n, None, {"deep": [[]]}]},
            "note": "" if n % 5 else f"\u2603 \U0001f600 {n}",
        }
        lines.append(json.dumps({name: value for name, value in row.items() if n % 13 or name != "time"}))
    return "\n".join([*lines, *lines[:10]]) + "\n"
