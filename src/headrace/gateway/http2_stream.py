"""One request and its answer over HTTP/2: a stream."""

import re
from collections.abc import Callable

from headrace.gateway.connection import BODY_BYTES_MAX, BODY_TOO_LARGE, NO_PROXY
from headrace.wire import Request

_METHOD = re.compile(r"[A-Z]{1,32}")
_TARGET = re.compile(r"/[!-~]*")
_HEADER_BYTES = 32  # beside its name and its value


class Stream:
    """What has come of the request, and what is left of the answer."""

    def __init__(self, stream_id: int, active_s: float, give_up: Callable[["Stream"], None]) -> None:
        self.id = stream_id
        self.active_s = active_s
        self._give_up = give_up
        self.head_bytes = 0
        self.method = self.path = self.query = ""
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.unread = 0  # bytes of it that the client was not yet told to be read: it sends no more than its window
        self.ended = False  # the client has sent all of it
        self.taken = False  # it is answered, by a handler or as refused: what still comes of it is dropped
        self.answered = False  # the answer is sent
        self.unsent = memoryview(b"")  # what the client does not take yet of the answer's body

    def begin(self, head: list[tuple[bytes, bytes]]) -> tuple[int, str] | None:
        """Take the head of the request; return why it is refused, as status and message, if it is."""
        target = ""
        for raw_name, raw_value in head:
            self.head_bytes += len(raw_name) + len(raw_value) + _HEADER_BYTES
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            if name == ":method":
                self.method = value
            elif name == ":path":
                target = value
            elif name in (":authority", "host"):  # h2 has seen to it that they are the same
                self.headers["host"] = value
            elif name[0] != ":":
                self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        self.path, _, self.query = target.partition("?")
        length = self.headers.get("content-length", "0")
        if self.method == "CONNECT":
            return 405, NO_PROXY
        if not (_METHOD.fullmatch(self.method) and _TARGET.fullmatch(target) and length.isdecimal()):
            return 400, "The method, the path or the length of the body is none."
        if int(length) > BODY_BYTES_MAX:
            return 413, BODY_TOO_LARGE
        return None

    def give_up(self) -> None:
        """Have the connection let go of it, if it still has it, and tell the client."""
        self._give_up(self)

    def take(self, peer: str) -> Request:
        """Return the request, which has come whole; the stream keeps nothing of its body."""
        self.taken = True
        body, self.body = bytes(self.body), bytearray()
        return Request(self.method, self.path, self.query, self.headers, body, peer)
