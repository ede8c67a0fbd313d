"""The console's words: numbers, times, reasons, and what devices sent, as text."""

import pytest

from headrace.console import words
from headrace.plural import counted


@pytest.mark.parametrize(("ms", "text"), [
    (0, "under 1 s"), (999, "under 1 s"), (1000, "1 s"), (119_000, "119 s"), (120_000, "2 min"),
    (7_199_000, "120 min"), (7_200_000, "2 h"), (172_800_000, "2 days"),
])  # fmt: skip
def test_durations(ms: float, text: str) -> None:
    assert words.duration(ms) == text


@pytest.mark.parametrize(("bytes_", "text"), [
    (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_500_000, "1.5 MB"), (2e9, "2.0 GB"), (5e12, "5.0 TB"),
])  # fmt: skip
def test_sizes(bytes_: float, text: str) -> None:
    assert words.size(bytes_) == text


@pytest.mark.parametrize(("per_s", "text"), [(None, "–"), (0, "0"), (0.25, "0.2"), (9.96, "10.0"), (45_000, "45,000")])
def test_rates(per_s: float | None, text: str) -> None:
    assert words.rate(per_s) == text


def test_counts_and_moments() -> None:
    assert (counted(1, "event"), counted(1200, "event")) == ("1 event", "1,200 events")
    assert (words.ago(None, 5), words.ago(5000, 5500), words.ago(5000, 9000)) == ("–", "just now", "4 s ago")
    assert words.parse_ms("2026-01-31T10:00:00.250Z") == 1_769_853_600_250
    assert words.parse_ms("noon") is None and words.parse_ms(None) is None
    assert words.utc(1_769_853_600_250) == "2026-01-31 10:00:00 UTC"


@pytest.mark.parametrize(("word", "message", "text"), [
    ("time", None, "Its time can't be read."),
    ("time", 'time is "noon"', "Its time can't be read: time is \"noon\""),
    ("RetryAttemptsExhausted", None, "The function failed on it at every try."),
    ("new", None, "It failed: new."),
    (None, None, "It failed: no reason is noted."),
    ("json", "bad\x1b[2J", "It is not JSON: bad\\x1b[2J"),
])  # fmt: skip
def test_reasons(word: str | None, message: str | None, text: str) -> None:
    assert words.reason(word, message) == text


@pytest.mark.parametrize(("data", "kind", "text"), [
    (b'{"b":1.50,"a":[]}', "17 bytes, JSON", '{\n  "b": 1.50,\n  "a": []\n}'),
    (b"on\x00e\nline", "9 bytes, text, not JSON", "on\\x00e\nline"),
    (b"", "0 bytes, text, not JSON", ""),
    (b"\xff\x01A", "3 bytes, not UTF-8", "0000  ff 01 41" + " " * 41 + "..A"),
])  # fmt: skip
def test_payloads(data: bytes, kind: str, text: str) -> None:
    assert words.payload(data) == (kind, text)


def test_a_large_payload_is_cut_and_a_kpl_aggregate_named() -> None:
    kind, text = words.payload(b'"' + b"x" * 100_000 + b'"')
    assert kind == "100,002 bytes, JSON" and text.endswith("… and 34,466 more characters")
    assert words.payload(b"\xf3\x89\x9a\xc2\xff")[0] == "5 bytes, a KPL aggregate"


@pytest.mark.parametrize(("readings", "text"), [
    (b'{"t": 70.50, "door": "open", "at": {"x": [1]}}', 't 70.50 · door open · at {"x": [1]}'),
    (b'{"a": "two\\nlines", "b": null}', "a two lines · b null"),
    (b"[]", ""),
    (b"{}", ""),
])  # fmt: skip
def test_readings_in_a_line(readings: bytes, text: str) -> None:
    assert words.one_line(readings) == text


def test_a_long_line_is_cut() -> None:
    assert len(words.one_line(b'{"a": "' + b"x" * 500 + b'"}')) == 201
