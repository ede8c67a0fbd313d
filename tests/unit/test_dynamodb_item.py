"""What an item is in DynamoDB, and that nothing is lost on the way there and back."""

from typing import Any

import pytest

from headrace.errors import UsageError
from headrace.table import base
from headrace.table.base import Item
from headrace.table.dynamodb_item import attributes_of, item_of, size_of

KEY = {"device_id": {"S": "d"}, "sk": {"S": "s"}}


def attribute(json: str) -> Any:
    return attributes_of(Item("d", "s", b'{"a":%b}' % json.encode()))["a"]


def test_an_event_has_an_attribute_a_member() -> None:
    attributes = (
        b'{"arrived_at":"2026-07-25T17:20:00Z","readings":{"t":21.50,"n":[1e400,null]},"flags":["clock_ahead"]}'
    )
    assert attributes_of(Item("pump-1", "event#2026#1", attributes, 1_800_000_000)) == {
        "device_id": {"S": "pump-1"},
        "sk": {"S": "event#2026#1"},
        "expires_at": {"N": "1800000000"},
        "arrived_at": {"S": "2026-07-25T17:20:00Z"},
        "readings": {"S": '{"t":21.50,"n":[1e400,null]}'},
        "flags": {"S": '["clock_ahead"]'},
    }


@pytest.mark.parametrize(
    ("json", "expected"),
    [
        ('"text"', {"S": "text"}),
        ('""', {"S": ""}),
        ('"é"', {"S": "é"}),
        ('"\\u00e9"', {"S": '"\\u00e9"'}),
        ('"{"', {"S": '"{"'}),
        ('"[1]"', {"S": '"[1]"'}),
        ('"="', {"S": '"="'}),
        ('"\\"x"', {"S": '"\\"x"'}),
        ("true", {"BOOL": True}),
        ("null", {"NULL": True}),
        ("0", {"N": "0"}),
        ("-12.05", {"N": "-12.05"}),
        ("1500", {"N": "1500"}),
        ("0.001", {"N": "0.001"}),
        ("9" * 38, {"N": "9" * 38}),
        ("9" * 39, {"S": "=" + "9" * 39}),
        ("1.0", {"S": "=1.0"}),
        ("-0", {"S": "=-0"}),
        ("1e3", {"S": "=1e3"}),
        ("1e400", {"S": "=1e400"}),
        ("7E-06", {"S": "=7E-06"}),
    ],
)
def test_a_value_keeps_its_text(json: str, expected: Any) -> None:
    assert attribute(json) == expected
    assert item_of({**KEY, "a": expected}).attributes == b'{"a":%b}' % json.encode()


def test_an_item_at_the_limit_fits_in_although_names_count() -> None:
    for short in range(70):
        head = '{"arrived_at":"2026-07-25T17:20:00Z","readings":{"a":"'
        filling = "x" * (base.ITEM_BYTES_MAX - 2 - len(head) - 3 - short)
        item = Item("d", "s", f'{head}{filling}"}}}}'.encode(), 1_800_000_000)
        made = attributes_of(item)
        assert size_of(made) <= base.ITEM_BYTES_MAX
        assert item_of(made) == item
    with pytest.raises(UsageError, match="over the limit"):
        attributes_of(Item("d", "s", b'{"a":"' + b"x" * base.ITEM_BYTES_MAX + b'"}'))


def test_members_are_given_in_the_order_of_an_event() -> None:
    item = Item("d", "s", b'{"arrived_at":"a","readings":{},"device_time":5,"flags":["x"]}')
    backwards = dict(reversed(attributes_of(item).items()))
    assert item_of(backwards) == item


def test_what_others_have_written_is_read() -> None:
    written: dict[str, Any] = {
        "device_id": {"S": "d"},
        "sk": {"S": "info"},
        "map": {"M": {"n": {"N": "1.5"}, "l": {"L": [{"BOOL": False}, {"NULL": True}, {"S": "{x"}]}}},
        "set": {"NS": ["2", "1"]},
        "bytes": {"B": b"\x00\x01"},
        "text": {"S": "{no JSON"},
    }
    assert item_of(written).attributes == (
        b'{"map":{"n":1.5,"l":[false,null,"{x"]},"set":[1,2],"bytes":"AAE=","text":"{no JSON"}'
    )


@pytest.mark.parametrize("name", ["device_id", "sk", "expires_at", ""])
def test_names_that_are_taken(name: str) -> None:
    with pytest.raises(UsageError, match="attribute called"):
        attributes_of(Item("d", "s", b'{"%b":1}' % name.encode()))
