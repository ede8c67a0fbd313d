import json
from datetime import datetime
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace import event
from headrace.event import Event, Fault, times
from headrace.table.base import check_item, check_key
from support.memory import lambda_record

SPECIAL = ["device_id", "time", "id", "measure", "value", "x"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from(SPECIAL),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.sampled_from(SPECIAL), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(SPECIAL) | TEXT, JSON, max_size=6)
REASONS = {"json", "encoding", "device_id", "time", "id", "size"}


def check(data: bytes) -> list[Event | Fault]:
    """Whatever the data: no exception, the same answer twice, and what is an event can be stored and shown."""
    record = lambda_record(data)
    found = event.decode(record)
    assert found == event.decode(record)
    for one in found:
        if isinstance(one, Fault):
            assert one.reason in REASONS and one.message
            continue
        item = event.item(one)
        check_key(item.partition.encode(), item.sort.encode())
        check_item(len(item.partition.encode()) + len(item.sort.encode()) + len(item.attributes))
        shown = json.loads(event.public(item))
        assert (shown["device_id"], shown["id"]) == (one.device_id, one.id)
        assert times.from_text(shown["time"]) == one.time
        assert list(shown) == ["device_id", "time", "id", "arrived_at", "readings", *list(shown)[5:]]
    return found


@given(st.binary(max_size=200))
@example(b"\xf3\x89\x9a\xc2" + bytes(20))
@example(b'{"a":"\\ud8')
def test_any_bytes_are_events_or_faults(data: bytes) -> None:
    check(data)


@given(OBJECTS | st.lists(OBJECTS | JSON, max_size=4), st.booleans())
def test_any_json_is_events_or_faults(value: Any, ascii_only: bool) -> None:
    found = check(json.dumps(value, ensure_ascii=ascii_only).encode())
    assert len(found) == (len(value) if isinstance(value, list) else 1)


@given(st.text('{}[]",:\\ue0dNaIfity-+.19 \n', max_size=60))
@settings(max_examples=300)
def test_almost_json_agrees_with_the_standard_library(text: str) -> None:
    found = check(text.encode())
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    documents = value if isinstance(value, list) else [value]
    good = [isinstance(document, dict) for document in documents]
    if any(isinstance(one, Fault) and one.reason != "json" for one in found):
        return  # a lone surrogate, a wrong id: stricter than JSON
    assert [isinstance(one, Event) for one in found] == good


@given(st.dictionaries(TEXT.filter(lambda name: name not in SPECIAL), JSON.filter(lambda value: value == value)))
def test_readings_mean_what_was_sent(readings: dict[str, Any]) -> None:
    (found,) = check(json.dumps(readings).encode())
    if isinstance(found, Event) and not found.non_finite:
        assert json.loads(found.readings) == readings


TIMES = st.datetimes(max_value=datetime(9999, 12, 31))  # noqa: DTZ001 (naive: UTC)


@given(st.lists(st.tuples(TIMES, TEXT.filter(lambda text: 1 <= len(text.encode()) <= 256)), min_size=2, max_size=5))
def test_sort_keys_order_as_time_and_id_do(places: list[tuple[Any, str]]) -> None:
    arrival_ms = 253_402_300_000_000  # late in the year 9999: none of them is ahead
    keyed = []
    for time, identity in places:
        data = json.dumps({"device_id": "d", "time": time.isoformat(), "id": identity})
        (found,) = event.decode(lambda_record(data, arrival_ms=arrival_ms))
        assert isinstance(found, Event)
        keyed.append((event.sort_key(found).encode(), (time, identity.encode())))
    assert sorted(keyed) == sorted(keyed, key=lambda pair: pair[1])
    assert [one[1] for one in sorted(keyed)] == sorted(place for _, place in keyed)


@given(st.integers(min_value=-62_135_596_800_000_000, max_value=253_402_300_799_999_999))
def test_times_are_the_same_in_every_unit(us: int) -> None:
    text = times.from_us(us)
    assert times.to_us(text) == us
    assert times.from_text(text) == times.from_text(times.short(text)) == text
    if abs(us) >= 10**14:
        assert times.from_number(str(us)) == text
    seconds = f"{us // 10**6}.{us % 10**6:06d}" if us >= 0 else f"-{-us // 10**6}.{-us % 10**6:06d}"
    if abs(us) < 10**17:
        assert times.from_number(seconds) == text


@given(TEXT)
def test_no_text_is_a_time_by_accident(text: str) -> None:
    try:
        canonical = times.from_text(text)
    except ValueError:
        return
    assert text[:1] in "-0123456789" and len(canonical) == 27
