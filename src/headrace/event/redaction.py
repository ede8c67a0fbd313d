"""Taking one device's events out of a record's data, the others staying as they are, place and byte. Pure.

    redact(data, key, "pump-1")     -> the data without that device's events, and the key; None: there are none of it

What is taken out of an array becomes `null`, and a whole text `[]`: an event's default id is its place, and its bytes
are billed, so nothing else may move. What is no event belongs to the device that it names, else to the partition key's.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from headrace.event import aggregate, jsontext
from headrace.event.jsontext import Malformed

NOBODY = "-"  # in the place of a partition key that named the device
NOTHING, TAKEN = b"[]", b"null"

_any = msgspec.json.Decoder().decode


class Redacted(NamedTuple):
    """A record that is left of another."""

    data: bytes
    key: str


def may_name(text: bytes, device_id: str) -> bool:
    """Return whether JSON text can name a device at all: that it can't is quickly seen."""
    return b"\\" in text or device_id.encode() in text


def redact(data: bytes, key: str, device_id: str) -> Redacted | None:
    """Return a record without the events of a device, None where it has none of them."""
    if not data.startswith(aggregate.MAGIC):
        found = _text(data, key, device_id)
        is_of_it = found is not None or key == device_id
        return Redacted(data if found is None else found, _key(key, device_id)) if is_of_it else None
    try:
        records = aggregate.user_records(data)
    except aggregate.Broken:
        return Redacted(NOTHING, NOBODY) if key == device_id else None
    left = [_text(user.data, user.key, device_id) for user in records]
    named = key == device_id or any(user.key == device_id for user in records)
    if not named and all(found is None for found in left):
        return None
    texts = [user.data if found is None else found for user, found in zip(records, left, strict=True)]
    return Redacted(aggregate.replaced(data, texts, {device_id: NOBODY}), _key(key, device_id))


def _key(key: str, device_id: str) -> str:
    return NOBODY if key == device_id else key


def _text(text: bytes, key: str, device_id: str) -> bytes | None:
    """Return what is left of one text, None where nothing of it is the device's."""
    if key != device_id and not may_name(text, device_id):
        return None
    try:
        finite, nulls = jsontext.without_non_finite(text)
        if finite.lstrip()[:1] != b"[":
            return NOTHING if _owner(finite, key) == device_id else None
        elements = jsontext.elements(finite)
    except Malformed:
        return NOTHING if key == device_id else None
    is_own = [_owner(element, key) == device_id for element in elements]
    if not any(is_own):
        return None
    if all(is_own):
        return NOTHING
    places = jsontext.spans(finite, elements)
    return _without(text, [(nulls.sent_at(start), nulls.sent_at(end)) for start, end in places], is_own)


def _owner(element: bytes, key: str) -> str:
    """Return the device that an array's element, or a text, belongs to."""
    try:
        sent = jsontext.members(element).get("device_id")
        found = None if sent is None else _any(sent)
    except (Malformed, msgspec.DecodeError, RecursionError):
        return key
    return found if isinstance(found, str) else key


def _without(text: bytes, spans: Iterable[tuple[int, int]], is_own: Iterable[bool]) -> bytes:
    """Return an array with some of its elements made null, and every other byte as it was."""
    parts, end = [], 0
    for (start, stop), own in zip(spans, is_own, strict=True):
        if own:
            parts += [text[end:start], TAKEN]
            end = stop
    return b"".join([*parts, text[end:]])
