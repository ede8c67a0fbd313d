"""Numbers, times and reasons as a reader takes them in at a glance. Pure."""

import json
import re
from datetime import UTC, datetime

import msgspec

PAYLOAD_CHARACTERS_MAX = 64 * 1024
_REASONS = {
    "json": "It is not JSON",
    "encoding": "It is not text in UTF-8",
    "device_id": "Its device_id can't be used",
    "time": "Its time can't be read",
    "id": "Its id can't be used",
    "size": "It is larger than the table takes (400 KB)",
    "RetryAttemptsExhausted": "The function failed on it at every try",
    "RecordAgeExceeded": "It grew too old before the function succeeded",
    "RetriesExhausted": "The function failed at every try of this call",
    "EventAgeExceeded": "The call grew too old before the function succeeded",
    "unreadable": "The document of this failure can't be read",
}


def count(number: float) -> str:
    """Return a number with its thousands apart."""
    return f"{number:,.0f}"


def rate(per_s: float | None) -> str:
    """Return events a second; a dash while it is not known."""
    if per_s is None:
        return "–"
    return f"{per_s:,.0f}" if per_s >= 10 or per_s == 0 else f"{per_s:.1f}"


def size(count_bytes: float) -> str:
    """Return a number of bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if count_bytes < 1000:
            return f"{count_bytes:.0f} {unit}" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1000
    return f"{count_bytes:.1f} TB"


def duration(ms: float) -> str:
    """Return a length of time."""
    seconds = ms / 1000
    if seconds < 1:
        return "under 1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def ago(time_ms: float | None, now_ms: int) -> str:
    """Return how long ago a moment was."""
    if time_ms is None:
        return "–"
    passed_ms = now_ms - time_ms
    return "just now" if passed_ms < 1000 else f"{duration(passed_ms)} ago"


def parse_ms(time: str | None) -> int | None:
    """Return RFC 3339 text in milliseconds; None where it is none."""
    try:
        return round(datetime.fromisoformat(time or "").timestamp() * 1000)
    except ValueError:
        return None


def utc(time_ms: float) -> str:
    """Return a moment as it stands in logs and on the command line, to the second."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def reason(word: str | None, message: str | None = None) -> str:
    """Return a failure's reason as a sentence, with what its document says of it."""
    sentence = _REASONS.get(word or "", f"It failed: {word or 'no reason is noted'}")
    return f"{sentence}: {readable(message).removeprefix('not UTF-8: ')}" if message else f"{sentence}."


def readable(text: str) -> str:
    """Return text with the characters that can't be seen spelled out (line ends and tabs stay)."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def payload(data: bytes) -> tuple[str, str]:
    """Return a record's data for people: what kind it is, and the text (JSON indented, number for number)."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        kind = "a KPL aggregate" if data.startswith(b"\xf3\x89\x9a\xc2") else "not UTF-8"
        return f"{len(data):,} bytes, {kind}", _hex(data[:1024])
    try:
        shown = msgspec.json.format(text, indent=2)
        kind = "JSON"
    except msgspec.DecodeError:
        shown, kind = text, "text, not JSON"
    cut = len(shown) - PAYLOAD_CHARACTERS_MAX
    if cut > 0:
        shown = f"{shown[:PAYLOAD_CHARACTERS_MAX]}\n… and {cut:,} more characters"
    return f"{len(data):,} bytes, {kind}", readable(shown)


def one_line(readings: bytes, characters_max: int = 200) -> str:
    """Return an event's readings in a line: `temperature_f 70.5 · door open`."""
    try:
        members = msgspec.json.decode(readings, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return ""
    parts = (f"{name} {_plain(bytes(raw))}" for name, raw in members.items())
    line = readable(re.sub(r"\s+", " ", " · ".join(parts)))
    return line if len(line) <= characters_max else f"{line[:characters_max]}…"


def _plain(raw: bytes) -> str:
    text = raw.decode(errors="replace")
    return json.loads(text) if text.startswith('"') else text


def _hex(data: bytes) -> str:
    lines = []
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        seen = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:04x}  {row.hex(' '):<47}  {seen}")
    return "\n".join(lines)
