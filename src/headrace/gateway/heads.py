"""The heads of answers, as each version of HTTP writes them. Every answer has a date and an id."""

import itertools
import random
from email.utils import formatdate
from http import HTTPStatus
from uuid import uuid4

from headrace import clock
from headrace.wire import Response

REQUEST_ID = "x-amzn-RequestId"

_CLOSE = "Connection: close\r\n\r\n"
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_OF_CONNECTIONS = frozenset(("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"))

# Of request ids, which look like UUIDs of version 4: random digits of this process, and a count of twelve digits.
_id_start = str(uuid4())[:24]
_numbers = itertools.count((1 << 47) + random.getrandbits(46)).__next__


def is_bare(status: int) -> bool:
    """Return whether answers with this status have no body."""
    return status == 204 or status == 304


class Heads:
    """Writes them. What most have in common is kept until `forget`, which is due whenever the time has moved on."""

    def __init__(self) -> None:
        self._date = ""
        self._starts: dict[tuple[int, str], str] = {}

    def forget(self) -> None:
        """Have the date told anew."""
        self._date = ""
        self._starts.clear()

    def http1(self, response: Response, keep: bool) -> bytes:
        """Return the head for HTTP/1.1; `keep` says that the connection stays open."""
        status, body, content_type, headers = response
        length = "" if is_bare(status) else f"Content-Length: {len(body)}\r\n"
        named, further = f"{REQUEST_ID}: {_id_start}{_numbers():x}\r\n", ""
        for name, value in headers:
            line = f"{name}: {value}"
            if "\n" in line or "\r" in line:  # it would end the head early
                line = line.replace("\r", " ").replace("\n", " ")
            further += f"{line}\r\n"
            if name == REQUEST_ID:
                named = ""
        end = "\r\n" if keep else _CLOSE
        start = self._starts.get((status, content_type)) or self._start(status, content_type)
        return f"{start}{length}{further}{named}{end}".encode("latin-1", "replace")

    def _start(self, status: int, content_type: str) -> str:
        line = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} Status\r\n"
        kind = f"Content-Type: {content_type}\r\n" if content_type else ""
        start = self._starts[status, content_type] = f"{line}{kind}Date: {self._now()}\r\n"
        return start

    def http2(self, response: Response) -> list[tuple[bytes, bytes]]:
        """Return the head for HTTP/2, which has nothing to say of the connection."""
        status, body, content_type, further = response
        headers = [(b":status", b"%d" % status)]
        if content_type:
            headers.append((b"content-type", content_type.encode("latin-1", "replace")))
        headers.append((b"date", self._now().encode()))
        if not is_bare(status):
            headers.append((b"content-length", b"%d" % len(body)))
        for raw_name, raw_value in further:
            name = raw_name.lower()
            if name not in _OF_CONNECTIONS:
                value = raw_value.replace("\r", " ").replace("\n", " ")
                headers.append((name.encode("latin-1", "replace"), value.encode("latin-1", "replace")))
        if not any(name == REQUEST_ID for name, _ in further):
            headers.append((REQUEST_ID.lower().encode(), f"{_id_start}{_numbers():x}".encode()))
        return headers

    def _now(self) -> str:
        if not self._date:
            self._date = formatdate(clock.now_ms() // 1000, usegmt=True)
        return self._date
