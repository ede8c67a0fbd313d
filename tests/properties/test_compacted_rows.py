"""Both ways from raw objects to rows, natively and one by one, agree on whatever devices send."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headrace import event
from headrace.archive import columns, native, raw, staging
from headrace.archive.local import LocalBucket
from headrace.event import Event
from headrace.record import shard_id
from support.archive import needs_native
from support.memory import ARRIVAL_MS, lambda_record

TYPED = columns.typed(("temperature", "humidity", "O'Hara", "Temperature", "time"))
NAMES = st.sampled_from(
    ["temperature", "humidity", "O'Hara", "status", "é", "device_id", "time", "id", "measure", "value", "", "a b"]
).flatmap(lambda name: st.sampled_from([json.dumps(name), json.dumps(name, ensure_ascii=False), escaped(name)]))
NUMBERS = (
    st.sampled_from(
        ["0", "-0", "-0.0", "1", "70.5", "70.50", "-7e-06", "1e400", "1E2", "5e-324", "1e-400", "9007199254740993",
         "0.1234567890123456789", "123456789012345", "12345678901234567", "0.30000000000000004", "99999999999999999999",
         "1e16", "1e+16", "1e-99999999999999999999", "0e99999999999999999999"]
    )
    | st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
)  # fmt: skip
DATES = st.sampled_from(
    ["2026-07-25", "2026-02-30", "2026-02-29", "2024-02-29", "2026-13-01", "0001-01-01", "0000-01-01", "1970-01-01",
     "9999-12-31", "10000-01-01", "20xx-07-25", "2026-07-0x"]
) | st.dates().map(str)  # fmt: skip
SHAPE = r"T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{0,12})?(Z|[+-][0-2][0-9]:[0-6][0-9])?"
CLOCKS = st.sampled_from(
    ["T17:20:00Z", "T17:25:00.123Z", "T17:25:00.123001Z", "T17:25:00.1230009Z", "T24:00:00Z", "T23:59:60Z", "T1:00:00Z",
     " 17:20:00Z", "", "T17:20:00+02:00", "T17:20:00.1234567Z", "T 7:20:00Z", "t17:20:00z", "T17:20:60Z", "T17:20:00",
     "T1x:20:00Z", "T17:20:00.Z", "T17:20:00,5Z", "T00:00:00+00:01", "T23:59:59.9999999-00:01", "T17:20:00+24:00"]
) | st.from_regex(SHAPE, fullmatch=True)  # fmt: skip
EPOCHS = st.sampled_from(
    ["0", "-0", "1784999999", "01784999999", "1785000000.5", "1785000300123", "1785000300124", "1785000300123001", "-1",
     "99999999999", "100000000000", "99999999999999", "100000000000000", "253402300799999999", "253402300800000000",
     "999999999999999999", "1000000000000000000", "1e9"]
)  # fmt: skip
TIMES = st.builds(lambda date, clock: f'"{date}{clock}"', DATES, CLOCKS) | EPOCHS | EPOCHS.map(lambda text: f'"{text}"')
PLAIN = st.text(st.sampled_from('ab ,:{}[]"\\é😀\n\x7f/'), max_size=6)
TEXTS = PLAIN.map(json.dumps) | PLAIN.map(lambda text: json.dumps(text, ensure_ascii=False))
NESTED = st.sampled_from(["[1]", "{}", '{"a":1}', "[1,2]", "[]", '["x"]', '{"a":{"b":"c"}}', " 1 ", "true", "null"])
VALUES = NUMBERS | TEXTS | NESTED
IDS = st.text("abc-é", min_size=1, max_size=3).map(json.dumps) | st.sampled_from(
    ['"' + "x" * n + '"' for n in (64, 65, 256, 257)]
)
SPACES = st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : "), (",\r\n", ":\t")])


def escaped(text: str) -> str:
    """Return JSON of a text that has nothing but escapes."""
    return '"' + "".join(f"\\u{ord(letter):04x}" for letter in text) + '"'


@st.composite
def members(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Return the JSON of names and values."""
    found = []
    if draw(st.booleans()):
        found.append(('"device_id"', draw(IDS | VALUES)))
    if draw(st.booleans()):
        found.append(('"time"', draw(TIMES | VALUES)))
    if draw(st.booleans()):
        found.append(('"id"', draw(IDS | VALUES)))
    if draw(st.booleans()):
        measure = st.sampled_from([*TYPED, "status", "", "device_id", "value", "measure", 'a"b']).map(json.dumps)
        found += [('"measure"', draw(measure | VALUES)), ('"value"', draw(VALUES))]
    found += draw(st.lists(st.tuples(NAMES, VALUES), max_size=3))
    return draw(st.permutations(found))


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A regular shape, or something like it, several times with other values; sometimes anything else."""
    comma, colon = draw(SPACES)
    text = comma.join(name + colon + value for name, value in draw(members()))
    shapes = ["{%s}", "{%s}", "{%s}", "{ %s }", " {%s} ", "[{%s}]", "[{%s},{%s}]", "\t[ {%s} ,{}]", "[%s]"]
    return draw(st.sampled_from(shapes)).replace("%s", text).encode()


class Both:
    """A bucket, and both ways to its rows. One folder and connection serve all examples: starting takes longer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.connection = duckdb.connect(config={"threads": 1})
        self.number = 0

    def put(self, batches: list[list[bytes]], keys: list[str]) -> LocalBucket:
        """Return a bucket with a raw object a batch, each of another shard."""
        place = iter(range(10**6))
        made = []
        for shard, batch in enumerate(batches):
            sent = zip(batch, keys, strict=False)
            made.append([lambda_record(data, key, number=next(place), shard=shard) for data, key in sent])
        return self.put_records(*made)

    def put_records(self, *batches: list[dict[str, Any]]) -> LocalBucket:
        self.number += 1
        bucket = LocalBucket(self.folder / f"bucket-{self.number}")
        for records in batches:
            for key, body in raw.objects(records):
                bucket.put(key, body)
        return bucket

    def staged(self, bucket: LocalBucket, **options: Any) -> staging.Staging:
        staged = staging.Staging(self.connection, bucket, self.folder, TYPED, **options)
        staged.add([info.key for info in bucket.list()])
        assert not staged.problems
        return staged

    def ask(self, select: str) -> list[Any]:
        return self.connection.execute(select).fetchall()

    def rows(self, bucket: LocalBucket) -> tuple[list[Any], list[Any], staging.Staging]:
        """Return the rows both ways, and what was staged natively."""
        found = []
        for natively in (False, True):
            staged = self.staged(bucket, natively=natively)
            order = "number, sequence_number, id, device_id, time"
            found.append(self.ask(f"SELECT * FROM ({staged.of_all()}) ORDER BY {order}"))
        return found[1], found[0], staged


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with tempfile.TemporaryDirectory() as folder:
        yield Both(Path(folder))


KEYS = st.lists(
    st.sampled_from(["pump-1", "a,b", 'a"b', "é", "a\\b", "k" * 256, "😀" * 256, "\x7f", ""]), min_size=12, max_size=12
)


@given(st.lists(st.lists(documents(), min_size=1, max_size=6), min_size=1, max_size=2), KEYS)
@example([[b'{"id":",\\"x\\":1"}', b'{"id":"a"}']], ["pump-1"] * 12)
@example([[b'{"measure":"temperature","value":1,"temperature":2}']], ["pump-1"] * 12)
@example([[b'{"temperature":70.50,"status":"ok"}'] * 3], ["pump-1"] * 12)
@example([[b'{"temperature":1e-99999999999999999999}']], ["pump-1"] * 12)
@example([[b'{"time":"20xx-07-25T17:20:00Z"}']], ["pump-1"] * 12)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_both_agree(both: Both, batches: list[list[bytes]], keys: list[str]) -> None:
    natively, exactly, staged = both.rows(both.put(batches, keys))
    assert natively == exactly and staged.records == sum(map(len, batches))


@needs_native
def test_regular_lines_are_done_natively(both: Both) -> None:
    send = [
        b'{"time":"2013-07-04T00:00:00Z","device_id":"pump-1","measure":"temperature","value":%d.50,"id":"f-%d"}'
        % (n, n)
        for n in range(10)
    ]
    plain = [
        b'{"device_id": "pump-1", "time": %d, "temperature": null, "status": "on", "x": 1e5}' % n for n in range(10)
    ]
    many = [
        b'[{"time":"2013-07-04 01:02:03.1234567+02:00","at":{"x":[%d]}},{"temperature":0.1234567890123456}]' % n
        for n in range(5)
    ]
    for batch in (send, plain, many):
        natively, exactly, staged = both.rows(both.put([batch], ["pump-1"] * 10))
        assert staged.exact == 0 and natively == exactly and len(natively) == 10


@needs_native
def test_sequence_numbers_of_others_are_kept(both: Both) -> None:
    """They are not numbered without gaps, and what AWS writes in one is its own affair."""
    ours = int(lambda_record(b"{}")["kinesis"]["sequenceNumber"])
    others = [ours + 1, ours + (1 << 40), ours + (1 << 75), ours + (1 << 143), 3 << 184, 10**55, 10**56 - 1]
    numbers = [ours, ours + (1 << 148), *others]  # the second is one of a stream made a second later
    records = [lambda_record(b"{}") for _ in numbers]
    for record, number in zip(records, numbers, strict=True):
        record["kinesis"]["sequenceNumber"] = str(number)
    natively, exactly, staged = both.rows(both.put_records(*([record] for record in records)))
    assert natively == exactly and len(natively) == len(records) and staged.exact == 0
    assert len(both.ask(f"FROM ({staged.of_all()}) WHERE sequence_number IS NULL")) == 2


def added(rows: "native.Rows", data: bytes) -> int:
    """Add a record natively; return how many of its lines, that is one or none, are regular."""
    ((_, body),) = raw.objects([lambda_record(data)])
    return rows.add(zstandard.decompress(body), raw.head("events", shard_id(0)).encode(), "events", 0)[0]


@needs_native
def test_an_array_of_more_than_a_million_events_is_not_regular() -> None:
    """With six digits of its index, the last event would have the identity of the first."""
    rows = native.Rows(())
    assert added(rows, b"[" + b"{}," * 1_000_000 + b"{}]") == 0 and rows.rows == 0


@needs_native
def test_a_batch_stays_as_it_was_made() -> None:
    rows = native.Rows(())
    assert added(rows, b'[{"device_id":"b"},{"device_id":"b"},{"device_id":"a"}]')
    batch = native.Batch(rows)
    assert added(rows, b'[{"device_id":"0"},{"device_id":"b"}]')
    assert batch.columns(0, 3)["device_id"][2] == b"abb"
    assert native.Batch(rows).columns(0, 5)["device_id"][2] == b"0abbb"


EVENTS = st.builds(
    lambda device, time, identity: b'{"device_id":"%s","time":%d,"id":"%s"}' % (device, time, identity),
    st.sampled_from([b"pump-1", b"pump-10", b"pump-2", b"a", "é".encode()]),
    st.sampled_from([0, 86_399, 86_400, 1_500_000_000, 1_500_000_001, 1_500_086_400]),
    st.sampled_from([b"a", b"b", b"ba", b"c" * 200, b"d\\n"]),
)


@given(st.lists(st.lists(EVENTS, min_size=1, max_size=30), min_size=1, max_size=3), st.sampled_from([1, 2**20]))
@settings(max_examples=60, deadline=None)
def test_rows_of_a_day_are_in_order_where_it_is_said(both: Both, batches: list[list[bytes]], batch_bytes: int) -> None:
    """However often they were spilled, and whatever else was decoded one by one."""
    bucket = both.put(batches, ["pump-1"] * 30)
    staged = both.staged(bucket, batch_bytes=batch_bytes)
    found = []
    for day in staged.days():
        rows = staged.of_day(day)
        identities = both.ask(f"SELECT device_id, time, id FROM ({rows.sql})")
        assert identities and {str(time.date()) for _, time, _ in identities} == {day}
        if rows.is_sorted:
            assert identities == sorted(set(identities), key=lambda row: (row[0].encode(), row[1], row[2].encode()))
        found += identities
    everything = both.ask(f"SELECT device_id, time, id FROM ({staged.of_all()})")
    assert sorted(found) == sorted(everything) and len(everything) == staged.events == sum(map(len, batches))


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
