"""JSON as the bytes a device sent: checked strictly, taken apart without touching a number, and put together again.

Values stay `msgspec.Raw` slices of the text, so 7e-06, 1.0, 1e400 and integers of any length keep their spelling.
msgspec checks all of the grammar in a slice but UTF-8, which is checked here, as is the nesting.
"""

import json
import math
import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, NoReturn

import msgspec
from msgspec import Raw

LEVELS_MAX = 500  # deeper is refused; whoever reads what was stored may recurse without fear (Python's limit is 1,000)
_DEEP_BYTES = 2 * LEVELS_MAX  # what is shorter can't be deeper
_TOO_DEEP = f"nested deeper than {LEVELS_MAX} levels"
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_elements = msgspec.json.Decoder(list[Raw]).decode
_any = msgspec.json.Decoder(Raw).decode
encode = msgspec.json.Encoder().encode  # splices Raw values as they are

# An unterminated string counts as one up to the end: the scan stays linear whatever is sent.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_STRINGS = re.compile(_STRING, re.DOTALL)
_NON_FINITE = re.compile(_STRING + rb"|NaN|-?Infinity", re.DOTALL)
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


class Malformed(ValueError):
    """The text can't be used; `reason` is `json` or `encoding`, `message` says what is wrong with it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message


def members(text: bytes) -> dict[str, Raw]:
    """Return an object's members, their values undecoded; of a duplicate member the last. Raises Malformed."""
    try:
        found = _members(text)
    except _REFUSALS as error:
        _refuse(text, error)
    if len(text) >= _DEEP_BYTES or not text.isascii():
        _check_utf8(text)
        _check_levels(text)
    return found


def elements(text: bytes) -> list[bytes]:
    """Return an array's elements as they stand in the text; their nesting is not checked. Raises Malformed."""
    try:
        found = _elements(text)
    except _REFUSALS as error:
        _refuse(text, error)
    _check_utf8(text)
    return list(map(bytes, found))


def check(text: bytes) -> None:
    """Raise Malformed unless the text is one strict JSON value of any kind, in UTF-8, within LEVELS_MAX."""
    try:
        _any(text)
    except _REFUSALS as error:
        _refuse(text, error)
    if len(text) >= _DEEP_BYTES or not text.isascii():
        _check_utf8(text)
        _check_levels(text)


class Nulls:
    """The nulls that stand in a text for NaN, Infinity and -Infinity; places count the bytes of that text."""

    def __init__(self) -> None:
        self._places: list[int] = []
        self._grown = [0]  # bytes that the text has more than what was sent, after so many nulls

    def __bool__(self) -> bool:
        return bool(self._places)

    def add(self, sent_at: int, token: bytes) -> None:
        """Take down that a token stood at `sent_at` in what was sent, behind all others."""
        self._places.append(sent_at + self._grown[-1])
        self._grown.append(self._grown[-1] + len(b"null") - len(token))

    def count(self, start: int, end: int) -> int:
        """Return how many begin from `start` on and before `end`."""
        return bisect_left(self._places, end) - bisect_left(self._places, start)

    def sent_at(self, place: int) -> int:
        """Return where a place outside of them was in what was sent."""
        return place - self._grown[bisect_left(self._places, place)]


def without_non_finite(text: bytes) -> tuple[bytes, Nulls]:
    """Return the text with each token NaN, Infinity and -Infinity made null, and what stands where."""
    nulls = Nulls()

    def replaced(found: re.Match[bytes]) -> bytes:
        token = found[0]
        if token[:1] == b'"':
            return token
        nulls.add(found.start(), token)
        return b"null"

    if b"NaN" in text or b"Infinity" in text:
        text = _NON_FINITE.sub(replaced, text)
    return text, nulls


def spans(text: bytes, elements: list[bytes]) -> Iterator[tuple[int, int]]:
    """Yield where the elements of an array start and end in its text."""
    end = 0
    for element in elements:
        start = text.index(element, end)  # only space, a comma or the array's bracket stands before it
        end = start + len(element)
        yield start, end


def parse(text: bytes) -> Any:
    """Return Python's value of a checked text, for answers that a runtime encodes.

    Numbers are int or float as their spelling says. One that neither holds (1e400, an integer of over 4,300 digits)
    comes as its text, so that every answer is strict JSON and nothing is lost.
    """
    return json.loads(text, parse_float=_float, parse_int=_int)


def _float(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _int(text: str) -> int | str:
    return int(text) if len(text) <= 4300 else text


def _check_utf8(text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise Malformed("encoding", f"not UTF-8: {error.reason} at byte {error.start}") from None


def _check_levels(text: bytes) -> None:
    """Check the nesting of a valid text."""
    if len(text) < _DEEP_BYTES or text.count(b"[") + text.count(b"{") <= LEVELS_MAX:
        return
    brackets = _STRINGS.sub(b"", text).translate(_BRACKETS, _NOT_BRACKETS)
    for _ in range(LEVELS_MAX):  # each round takes away the innermost level
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise Malformed("json", _TOO_DEEP)


def _refuse(text: bytes, error: Exception) -> NoReturn:
    """Raise the Malformed that fits a text which msgspec refused with `error`."""
    _check_utf8(text)
    if isinstance(error, RecursionError):
        raise Malformed("json", _TOO_DEEP)
    if not text.strip(b" \t\r\n"):
        raise Malformed("json", "empty")
    if _has_lone_surrogate(text):
        raise Malformed("encoding", "an escape \\ud800 to \\udfff without its other half")
    raise Malformed("json", str(error))


def _has_lone_surrogate(text: bytes) -> bool:
    """Return whether lone surrogates are what keeps the text from being JSON."""
    whole = _ESCAPE.sub(lambda found: rb"\ufffd" if found["lone"] else found[0], text)
    if whole == text:
        return False
    try:
        _any(whole)
    except _REFUSALS:
        return False
    return True
