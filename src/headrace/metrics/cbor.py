"""CBOR (RFC 8949) as AWS's RPC v2 protocol uses it: what JSON has, moments in time, and lengths told or not."""

import math
import struct
from typing import Any

_MOMENT = b"\xc1"  # tag 1: seconds since 1970
_SIMPLE = {20: False, 21: True, 22: None, 23: None}
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_BREAK = object()


def decode(body: bytes) -> Any:
    """Return what a body says; infinities and NaN as JSON clients write them. Raises ValueError for what is no CBOR."""
    reader = _Reader(body)
    try:
        value = reader.item()
    except (IndexError, KeyError, TypeError, struct.error) as error:
        raise ValueError(f"wrong at byte {reader.at}") from error
    if value is _BREAK or reader.at != len(body):
        raise ValueError(f"it ends at byte {reader.at} of {len(body)}")
    return value


class _Reader:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self.at = 0

    def item(self) -> Any:
        """Return the next value, or `_BREAK`."""
        first = self._take(1)[0]
        kind, short = first >> 5, first & 31
        if kind == 7:
            return self._simple(short)
        length = None if short == 31 else self._number(short)
        if kind >= 4:
            return self._composed(kind, length)
        if kind < 2:
            assert length is not None
            return length if kind == 0 else -1 - length
        if length is None:
            raise ValueError("text in pieces is not read")
        data = self._take(length)
        return data.decode() if kind == 3 else data

    def _composed(self, kind: int, length: int | None) -> Any:
        if kind == 6:  # a tag: what it says is known from the member's name
            return self.item()
        if kind == 4:
            return self._items(length)
        flat = self._items(None if length is None else 2 * length)
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def _items(self, count: int | None) -> list[Any]:
        found: list[Any] = []
        while count is None or len(found) < count:
            value = self.item()
            if value is _BREAK:
                if count is None:
                    break
                raise ValueError(f"a break at byte {self.at}")
            found.append(value)
        return found

    def _simple(self, short: int) -> Any:
        if short == 31:
            return _BREAK
        if short not in _FLOATS:
            return _SIMPLE[short]
        form = _FLOATS[short]
        value = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"

    def _number(self, short: int) -> int:
        if short < 24:
            return short
        if short > 27:
            raise ValueError(f"no length at byte {self.at}")
        return int.from_bytes(self._take(1 << (short - 24)))

    def _take(self, count: int) -> bytes:
        start, self.at = self.at, self.at + count
        if self.at > len(self._body):
            raise ValueError(f"it is cut short at byte {len(self._body)}")
        return self._body[start : self.at]


def encode(value: Any, member: str = "") -> bytes:
    """Return a value; numbers under a name that ends with Timestamp or Timestamps are moments."""
    match value:
        case dict():
            pairs = (encode(name) + encode(each, name) for name, each in value.items() if each is not None)
            parts = list(pairs)
            return _head(5, len(parts)) + b"".join(parts)
        case list() | tuple():
            return _head(4, len(value)) + b"".join(encode(each, member) for each in value)
        case str():
            data = value.encode()
            return _head(3, len(data)) + data
        case bool():
            return b"\xf5" if value else b"\xf4"
        case None:
            return b"\xf6"
    moment = _MOMENT if member.endswith(("Timestamp", "Timestamps")) else b""
    if isinstance(value, float):
        return moment + b"\xfb" + struct.pack(">d", value)
    return moment + (_head(0, value) if value >= 0 else _head(1, -1 - value))


def _head(kind: int, number: int) -> bytes:
    if number < 24:
        return bytes([kind << 5 | number])
    size = next(at for at in range(4) if number < 1 << (8 << at))
    return bytes([kind << 5 | 24 + size]) + number.to_bytes(1 << size)
