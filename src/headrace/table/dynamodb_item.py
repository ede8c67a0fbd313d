"""An item as DynamoDB keeps it, and back: the same text, number for number (see docs/formats.md). Pure.

A member of `attributes` that is an object or an array becomes its JSON text. DynamoDB's own maps would respell numbers
(21.50 becomes 21.5), end at 38 digits, at 1e126 and at 32 levels, and forget the order. What DynamoDB keeps as it is
becomes its own type: plain text, plain numbers, true, false, null. Nothing here ever is a float or a Decimal.
"""

import base64
import re
import zlib
from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.errors import UsageError
from headrace.event import jsontext
from headrace.table.base import ITEM_BYTES_MAX, Item, check_item, check_key

PARTITION = "device_id"
SORT = "sk"
EXPIRES = "expires_at"
Attributes = dict[str, dict[str, Any]]

_KEYS = frozenset({PARTITION, SORT, EXPIRES})
_NAMES_BYTES = 64  # more than what DynamoDB counts beyond the keys and the JSON of an item: names, the expiry
_PACKED = b"HRZ\x01"  # what a packed attribute's bytes begin with
_JSON_MARKS = ("{", "[", '"', "=")  # what the text of an attribute begins with, if it is JSON
_DIGITS_MAX = 38
_NUMBER = re.compile(rb"0|-?[1-9][0-9]*(?:\.[0-9]*[1-9])?|-?0\.[0-9]*[1-9]")
_WORDS: dict[bytes, dict[str, Any]] = {b"true": {"BOOL": True}, b"false": {"BOOL": False}, b"null": {"NULL": True}}
# DynamoDB gives attributes in an order of its own; these are shown in ours.
_ORDER = {name: place for place, name in enumerate(("version", "arrived_at", "readings", "device_time", "flags"))}
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_string = msgspec.json.Decoder(str).decode


def key_of(partition: str, sort: str) -> Attributes:
    """Return an item's key; raises UsageError if a part is empty, too long or no Unicode."""
    check_key(utf8(partition), utf8(sort))
    return {PARTITION: {"S": partition}, SORT: {"S": sort}}


def attributes_of(item: Item) -> Attributes:
    """Return an item as DynamoDB's attributes; raises UsageError for what is over a limit."""
    first, second = utf8(item.partition), utf8(item.sort)
    check_key(first, second)
    size = len(first) + len(second) + len(item.attributes)
    check_item(size)
    made: Attributes = {PARTITION: {"S": item.partition}, SORT: {"S": item.sort}}
    if item.expires_at is not None:
        made[EXPIRES] = {"N": str(max(item.expires_at, 0))}
    for name, raw in _members(item.attributes).items():
        if name in _KEYS or not name:
            raise UsageError(f"An item can't have an attribute called {name!r}.", "That is the key's name, or no name.")
        made[name] = _value_of(bytes(raw))
    if size > ITEM_BYTES_MAX - _NAMES_BYTES and size_of(made) > ITEM_BYTES_MAX:
        _pack_largest(made)
    return made


def item_of(attributes: Mapping[str, Mapping[str, Any]]) -> Item:
    """Return DynamoDB's attributes as an item, also those that somebody else has written."""
    own = {name: _raw_of(value) for name, value in attributes.items() if name not in _KEYS}
    if len(own) > 1:
        own = dict(sorted(own.items(), key=lambda member: _ORDER.get(member[0], len(_ORDER))))
    expires = attributes.get(EXPIRES, {}).get("N")
    return Item(
        attributes[PARTITION]["S"],
        attributes[SORT]["S"],
        jsontext.encode(own),
        None if expires is None else int(float(expires)),
    )


def size_of(attributes: Attributes) -> int:
    """Return what DynamoDB counts an item as, in bytes: at most this, for numbers are rounded up."""
    return sum(len(name.encode()) + _bytes_of(value) for name, value in attributes.items())


def _bytes_of(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    return len(content) // 2 + 3 if kind == "N" else len(content) if kind == "B" else 1


def _value_of(text: bytes) -> dict[str, Any]:
    """Return a member's JSON as an attribute's value."""
    first = text[:1]
    if first == b'"':
        content = _string(text)
        plain = not content.startswith(_JSON_MARKS) and jsontext.encode(content) == text
        return {"S": content if plain else text.decode()}
    if first in b"{[":
        return {"S": text.decode()}
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.fullmatch(text) and len(text) <= _DIGITS_MAX:
        return {"N": text.decode()}
    return {"S": "=" + text.decode()}


def _raw_of(value: Mapping[str, Any]) -> msgspec.Raw:
    """Return an attribute's value as JSON."""
    ((kind, content),) = value.items()
    if kind == "S":
        return msgspec.Raw(_json_of(content))
    if kind == "B" and bytes(content).startswith(_PACKED):
        return msgspec.Raw(_json_of(zlib.decompress(bytes(content)[len(_PACKED) :]).decode()))
    return msgspec.Raw(jsontext.encode(_foreign(kind, content)))


def _json_of(content: str) -> bytes:
    """Return a text attribute's JSON: its own, if that is what it holds, else that of the text as a string."""
    if content.startswith(_JSON_MARKS):
        text = content.removeprefix("=").encode()
        try:
            jsontext.check(text)
            return text
        except jsontext.Malformed:
            pass  # somebody else's text that only looks like it
    return jsontext.encode(content)


def _foreign(kind: str, content: Any) -> Any:
    """Return a value of any of DynamoDB's types for encoding; numbers keep their spelling."""
    if kind == "N":
        return msgspec.Raw(str(content).encode())
    if kind == "M":
        return {name: _foreign(*next(iter(value.items()))) for name, value in content.items()}
    if kind == "L":
        return [_foreign(*next(iter(value.items()))) for value in content]
    if kind in ("NS", "BS", "SS"):
        return [_foreign(kind[0], each) for each in sorted(content)]
    if kind == "B":
        return base64.b64encode(bytes(content)).decode()
    return None if kind == "NULL" else content


def _pack_largest(attributes: Attributes) -> None:
    """Compress the largest text, so that an item at the limit fits in although DynamoDB counts names as well."""
    name = max(attributes.keys() - _KEYS, key=lambda name: _bytes_of(attributes[name]))
    attributes[name] = {"B": _PACKED + zlib.compress(attributes[name]["S"].encode(), 1)}
    check_item(size_of(attributes))


def utf8(text: str) -> bytes:
    """Return a key or a bound as bytes; raises UsageError for lone surrogates."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"A key is not valid Unicode: {error.reason} at {error.start}.", "Keys are UTF-8 text."
        ) from error
