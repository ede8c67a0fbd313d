"""Both ways from raw objects to rows, by SQL and one by one, agree on whatever devices send."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headrace import event
from headrace.archive import columns, raw, staging
from headrace.archive.local import LocalBucket
from headrace.event import Event
from support.memory import ARRIVAL_MS, lambda_record

TYPED = columns.typed(("temperature", "humidity", "O'Hara", "Temperature", "time"))
NAMES = st.sampled_from(["temperature", "humidity", "O'Hara", "status", "é", "device_id", "time", "id", "measure"])
NUMBERS = st.sampled_from(
    [
        "0",
        "-0",
        "1",
        "70.5",
        "70.50",
        "-7e-06",
        "1e400",
        "1E2",
        "5e-324",
        "9007199254740993",
        "0.1234567890123456789",
        "123456789012345",
        "12345678901234567",
        "0.30000000000000004",
        "99999999999999999999",
    ]
)
DATES = st.sampled_from(
    ["2026-07-25", "2026-02-30", "2026-13-01", "0001-01-01", "0000-01-01", "1970-01-01", "9999-12-31"]
)
CLOCKS = st.sampled_from(
    ["T17:20:00Z", "T17:25:00.123Z", "T17:25:00.124Z", "T24:00:00Z", "T23:59:60Z", "T1:00:00Z", " 17:20:00Z", "",
     "T17:20:00+02:00", "T17:20:00.1234567Z", "T 7:20:00Z", "t17:20:00z", "T17:20:60Z", "T17:20:00"]
)  # fmt: skip
EPOCHS = st.sampled_from(
    [
        "0",
        "1784999999",
        "1785000000.5",
        "1785000001000",
        "1785000001000000",
        "99999999999",
        "100000000000",
        "-1",
        "1e9",
        "253402300799999999",
    ]
)
TIMES = st.builds(lambda date, clock: f'"{date}{clock}"', DATES, CLOCKS) | EPOCHS | EPOCHS.map(lambda text: f'"{text}"')
PLAIN = st.text(st.sampled_from('ab ,:{}[]"\\é😀\n\x7f/'), max_size=6)
TEXTS = PLAIN.map(json.dumps) | PLAIN.map(lambda text: json.dumps(text, ensure_ascii=False))
NESTED = st.sampled_from(["[1]", "{}", '{"a":1}', "[1,2]", "[]", '["x"]', '{"a":{"b":"c"}}', " 1 ", "true", "null"])
VALUES = NUMBERS | TEXTS | NESTED
IDS = st.text("abc-é", min_size=1, max_size=3).map(json.dumps) | st.sampled_from(
    ['"' + "x" * n + '"' for n in (64, 65, 256, 257)]
)
SPACES = st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : "), (",\n", ":\t")])


@st.composite
def members(draw: st.DrawFn) -> list[tuple[str, str]]:
    found = []
    if draw(st.booleans()):
        found.append(("device_id", draw(IDS | VALUES)))
    if draw(st.booleans()):
        found.append(("time", draw(TIMES | VALUES)))
    if draw(st.booleans()):
        found.append(("id", draw(IDS | VALUES)))
    if draw(st.booleans()):
        measure = st.sampled_from([*TYPED, "status", "", "device_id", "value", "measure", 'a"b']).map(json.dumps)
        found += [("measure", draw(measure | VALUES)), ("value", draw(VALUES))]
    found += draw(st.lists(st.tuples(NAMES, VALUES), max_size=3))
    return draw(st.permutations(found))


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A regular shape, or something like it, several times with other values; sometimes anything else."""
    comma, colon = draw(SPACES)
    text = comma.join(
        json.dumps(name, ensure_ascii=draw(st.booleans())) + colon + value for name, value in draw(members())
    )
    text = draw(st.sampled_from(["{%s}", "{%s}", "{%s}", "{ %s }", "{%s} ", "[{%s}]", "[{%s},{%s}]"])).replace(
        "%s", text
    )
    return text.encode()


class Both:
    """A bucket, and both ways to its rows. One folder and connection serve all examples: starting takes longer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.connection = duckdb.connect(config={"threads": 1})
        self.number = 0

    def rows(self, batches: list[list[bytes]], keys: list[str]) -> tuple[list[Any], list[Any], int]:
        self.number += 1
        bucket = LocalBucket(self.folder / f"bucket-{self.number}")
        place = iter(range(10**6))
        for shard, batch in enumerate(batches):
            sent = zip(batch, keys, strict=False)
            records = [lambda_record(data, key, number=next(place), shard=shard) for data, key in sent]
            for key, body in raw.objects(records):
                bucket.put(key, body)
        taken = [info.key for info in bucket.list()]
        found, exact = [], []
        for shapes in (staging.SHAPES_MAX, 0):
            staged = staging.Staging(self.connection, bucket, self.folder, TYPED, shapes_max=shapes)
            staged.add(taken)
            assert not staged.problems and staged.records == sum(map(len, batches))
            exact.append(staged.exact)
            select = f"SELECT * FROM {staging.TABLE} ORDER BY number, id, device_id, time"
            found.append(self.connection.execute(select).fetchall())
        return found[0], found[1], exact[0]


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with tempfile.TemporaryDirectory() as folder:
        yield Both(Path(folder))


KEYS = st.lists(st.sampled_from(["pump-1", "a,b", 'a"b', "é", "a\\b", "k" * 256]), min_size=12, max_size=12)


@given(st.lists(st.lists(documents(), min_size=1, max_size=6), min_size=1, max_size=2), KEYS)
@example([[b'{"id":",\\"x\\":1"}', b'{"id":"a"}']], ["pump-1"] * 12)
@example([[b'{"measure":"temperature","value":1,"temperature":2}']], ["pump-1"] * 12)
@example([[b'{"temperature":70.50,"status":"ok"}'] * 3], ["pump-1"] * 12)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_sql_and_python_agree(both: Both, batches: list[list[bytes]], keys: list[str]) -> None:
    by_sql, by_python, _ = both.rows(batches, keys)
    assert by_sql == by_python


def test_regular_lines_are_done_by_sql(both: Both) -> None:
    send = [
        b'{"time":"2013-07-04T00:00:00Z","device_id":"pump-1","measure":"temperature","value":%d.50,"id":"f-%d"}'
        % (n, n)
        for n in range(10)
    ]
    plain = [
        b'{"device_id": "pump-1", "time": %d, "temperature": null, "status": "on", "x": 1e5}' % n for n in range(10)
    ]
    for batch in (send, plain):
        by_sql, by_python, exact = both.rows([batch], ["pump-1"] * 10)
        assert exact == 0 and by_sql == by_python and len(by_sql) == 10


@given(documents())
@settings(max_examples=200, deadline=None)
def test_rows_are_the_events_of_the_functions(data: bytes) -> None:
    """One by one, what is in a row is what `event.decode` makes of the record that the stream had."""
    from headrace.archive.exact import Rows

    record = lambda_record(data)
    ((_, body),) = raw.objects([record])
    rows = list(Rows(TYPED).of(raw.lines(body)))
    events = [found for found in event.decode(record) if isinstance(found, Event)]
    assert [(row["device_id"], row["time"], row["id"], row["bytes"]) for row in rows] == [
        (one.device_id, one.time, one.id, one.bytes_sent) for one in events
    ]
    for row, one in zip(rows, events, strict=True):
        assert row["arrived_at"] == event.times.from_us(ARRIVAL_MS * 1000)
        sent = json.loads(one.readings)
        kept = json.loads(row.get("readings", "{}"))
        typed = {name: row[name] for name in TYPED if name in row}
        assert sent.keys() == kept.keys() | typed.keys()
        assert all(sent[name] == value for name, value in (typed | kept).items() if value == value)
