import json

import pytest

from headrace import emf
from headrace.event import readings


@pytest.mark.parametrize(
    ("setting", "names"), [("", ()), (" , ", ()), ("a", ("a",)), (" a ,b,,a, c d", ("a", "b", "c d"))]
)
def test_names(setting: str, names: tuple[str, ...]) -> None:
    assert readings.names_of(setting) == names


def test_columns_take_numbers_only_and_in_order() -> None:
    objects = [b'{"a":1,"b":2.5}', b"{}", b'{"b":true,"a":"1"}', b'{"a":{"a":1},"b":null}', b'{"c":1e400,"a":7e-06}',
               b'{"a":1e400,"b":%b}' % (b"9" * 5000), b'{"\\u0061":3}']  # fmt: skip
    assert readings.columns(("a", "b"), objects) == {"a": [1, 7e-06, 3], "b": [2.5]}
    assert readings.columns((), objects) == {}
    assert readings.columns(("a",), []) == {}


def test_names_may_be_anything() -> None:
    assert readings.columns(("a-b", "class", "é"), [b'{"a-b":1,"class":2,"\xc3\xa9":3}']) == {
        "a-b": [1],
        "class": [2],
        "é": [3],
    }


def test_more_than_a_hundred_metrics_take_more_lines() -> None:
    metrics = {f"m{n}": [float(n)] * (101 if n == 120 else 1) for n in range(150)}
    lines = [json.loads(line) for line in emf.lines(metrics, 5)]
    assert [len(line) - 1 for line in lines] == [100, 50, 1]
    assert all(line["_aws"]["Timestamp"] == 5 for line in lines)
    assert sum(len(line.get("m120", [])) for line in lines) == 101
    assert emf.lines({"none": []}, 5) == []
