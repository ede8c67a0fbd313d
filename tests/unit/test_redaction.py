"""Taking a device out of a record: whatever is another's keeps its place, its id and every byte."""

import hashlib
import json
import random

import pytest

from headrace import event
from headrace.event import Event, aggregate
from headrace.event.redaction import Redacted, redact
from support.memory import ARRIVAL_MS, sequence

D = 'é"d\n/'
OTHER = json.dumps({"device_id": "o", "t": 1.50})


def kpl(*records: tuple[str, bytes]) -> bytes:
    record_type, _ = aggregate._messages()
    message = record_type()
    keys = list(dict.fromkeys(key for key, _ in records))
    message.partition_key_table.extend(keys)
    for key, data in records:
        record = message.records.add()
        record.partition_key_index, record.data = keys.index(key), data
    body: bytes = message.SerializeToString()
    return aggregate.MAGIC + body + hashlib.md5(body, usedforsecurity=False).digest()


def decoded(data: bytes, key: str) -> list[Event]:
    found = event.decode_data(data, key, sequence(1), ARRIVAL_MS)
    return [one for one in found if isinstance(one, Event)]


@pytest.mark.parametrize(
    ("data", "key", "left", "key_left"),
    [
        (json.dumps({"device_id": D, "t": 1}), "k", "[]", "k"),
        (json.dumps({"device_id": D, "t": 1}, ensure_ascii=False), "k", "[]", "k"),
        ('{"t":1}', D, "[]", "-"),
        ('{"device_id":null,"t":1}', D, "[]", "-"),
        ('{"device_id":7,"t":1}', D, "[]", "-"),
        (OTHER, D, OTHER, "-"),
        (json.dumps({"device_id": "o", "about": D}), "k", None, ""),
        ("no json", D, "[]", "-"),
        ("no json", "k", None, ""),
        ("", D, "[]", "-"),
        ("7", D, "[]", "-"),
        ("[]", D, "[]", "-"),
        (f"[ {OTHER} , {json.dumps({'device_id': D})} ,7]", "k", f"[ {OTHER} , null ,7]", "k"),
        (f'[{OTHER},{{"t":2}},7]', D, f"[{OTHER},null,null]", "-"),
        ('[{"t":2},7]', D, "[]", "-"),
        (
            '[{"t":NaN},{"device_id":"o","é":-Infinity},{"t":"é"}]',
            D,
            '[null,{"device_id":"o","é":-Infinity},null]',
            "-",
        ),
        ('{"t":NaN}', D, "[]", "-"),
    ],
)
def test_a_record(data: str, key: str, left: str | None, key_left: str) -> None:
    found = redact(data.encode(), key, D)
    assert found == (None if left is None else Redacted(left.encode(), key_left))
    if found is not None:
        assert redact(found.data, found.key, D) is None, "again there is nothing to do"


def test_an_aggregate() -> None:
    data = kpl(
        (D, b'{"t":1}'), ("k", OTHER.encode()), ("k", json.dumps([{"device_id": D}, {"device_id": "p"}]).encode())
    )
    found = redact(data, "k", D)
    assert found is not None and found.key == "k"
    assert aggregate.user_records(found.data) == [
        ("-", b"[]"), ("k", OTHER.encode()), ("k", b'[null, {"device_id": "p"}]')
    ]  # fmt: skip
    assert decoded(found.data, "k") == [one for one in decoded(data, "k") if one.device_id != D]
    assert redact(found.data, found.key, D) is None
    assert redact(kpl(("k", OTHER.encode())), "k", D) is None
    broken = data[:-1] + b"x"
    assert redact(broken, "k", D) is None and redact(broken, D, D) == (b"[]", "-")


def test_what_is_left_decodes_to_the_same_events_of_others() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    values = ["1", "NaN", '"é"', "[1,[2]]", '{"a":"]}"}', "-Infinity", '"\\"NaN"', "null", "1e400", '"\\ud83d\\ude00"']
    for _ in range(300):
        elements = []
        for _ in range(chance.randrange(6)):
            device = chance.choice(["", f'"device_id":{json.dumps(D)},', '"device_id":"o",', '"device_id":null,'])
            identity = chance.choice(["", '"id":"i",'])
            elements.append(chance.choice(["{" + device + identity + f'"t":{chance.choice(values)}}}', "7"]))
        space = chance.choice(["", " ", "\n\t "])
        data, key = f"{space}[{space}{f'{space},{space}'.join(elements)}]{space}".encode(), chance.choice([D, "k"])
        found = redact(data, key, D)
        expected = [one for one in decoded(data, key) if one.device_id != D]
        assert decoded(*(found or (data, key))) == expected
        if found is None:
            assert decoded(data, key) == expected
