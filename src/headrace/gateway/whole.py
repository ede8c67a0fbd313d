"""Requests that arrive whole in one piece, as small ones do: read here at a quarter of what the parser costs.

Only what can't be taken for anything else is read: a plain request line, plain headers of which each comes once and
none is about the connection or how the body is coded, and a body that ends where the data does. Everything else is
left to the parser (`http1.py`), right or wrong; from what is read here it would make the same request.
"""

import re
from typing import TypeVar

from headrace.wire import Request

_FIRST_LINE = re.compile(
    rb"(GET|POST|PUT|DELETE|HEAD) (/[\w.~!$&'()*+,;=:@%/-]*)(?:\?([\w.~!$&'()*+,;=:@%/?-]*))? HTTP/1\.1"
)
_NAME = re.compile(rb"[\w!#$%&'*+.^`|~-]+")
_PARSERS = frozenset(("connection", "expect", "http2-settings", "te", "trailer", "transfer-encoding", "upgrade"))
_KNOWN_MAX = 1024
_KNOWN_BYTES_MAX = 256

_T = TypeVar("_T")
_new = tuple.__new__  # makes a NamedTuple from a tuple at half the cost of calling it


class _FirstLines(dict[bytes, tuple[str, str, str]]):
    """First lines that were seen, as method, path, and query. Raises KeyError for one that is the parser's."""

    def __missing__(self, line: bytes) -> tuple[str, str, str]:
        match = _FIRST_LINE.fullmatch(line)
        if match is None:
            raise KeyError(line)
        method, path, query = match.groups(b"")
        return _kept(self, line, (method.decode(), path.decode(), query.decode()))


class _Names(dict[bytes, str]):
    """Headers' names that were seen, in lower case. Raises KeyError for one that is the parser's."""

    def __missing__(self, name: bytes) -> str:
        lower = name.decode("latin-1").lower()
        if _NAME.fullmatch(name) is None or lower in _PARSERS:
            raise KeyError(name)
        return _kept(self, name, lower)


class _Lines(dict[bytes, tuple[str, str]]):
    """Headers that were seen, as name and value: most come again. Raises KeyError for one that is the parser's."""

    def __init__(self) -> None:
        self._names = _Names()

    def __missing__(self, line: bytes) -> tuple[str, str]:
        name, colon, value = line.partition(b":")
        text = value.strip(b" \t").decode("latin-1")
        key = self._names[name]
        if not (colon and text.isprintable()) or (key == "content-length" and not text.isdigit()):
            raise KeyError(line)
        # A signature comes once.
        return (key, text) if key == "authorization" else _kept(self, line, (key, text))


def _kept(known: dict[bytes, _T], line: bytes, value: _T) -> _T:
    """Return the value, remembered for next time; what is remembered is bounded."""
    if len(known) >= _KNOWN_MAX:
        known.clear()
    if len(line) <= _KNOWN_BYTES_MAX:
        known[line] = value
    return value


class WholeRequests:
    """Reads them for all connections of a server."""

    def __init__(self) -> None:
        self._first_lines = _FirstLines()
        self._header = _Lines().__getitem__

    def read(self, data: bytes, peer: str) -> Request | None:
        """Return the one request that `data` is, or None where that is for the parser to say."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return None
        lines = data[:end].split(b"\r\n")
        try:
            method, path, query = self._first_lines[lines.pop(0)]
            headers = dict(map(self._header, lines))
            length = int(headers.get("content-length", 0))
        except (KeyError, ValueError):
            return None
        if len(headers) != len(lines) or length != len(data) - end - 4:
            return None
        return _new(Request, (method, path, query, headers, data[end + 4 :], peer))
