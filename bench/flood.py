"""A load generator for small requests that costs a tenth of what it loads: sockets and epoll, nothing between.

With an event loop's protocols and timers in front, the generator's core would be the limit for single puts, not the
server's.
"""

import select
import socket
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


def flood(url: str, requests: Sequence[bytes], *, connections: int, seconds: float) -> tuple[int, float]:
    """Send the requests in turn, over and over, one under way on each connection, for so many seconds.

    Returns how many were answered with 200 and how long that took, in seconds; asserts that no answer was another.
    """
    address = urlsplit(url).hostname, urlsplit(url).port
    sockets = [socket.create_connection(address, timeout=30) for _ in range(connections)]
    by_fd = {each.fileno(): each for each in sockets}
    buffers = dict.fromkeys(by_fd, b"")
    poll = select.epoll()
    for each in sockets:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(each, select.EPOLLIN)
    sent = answered = 0
    began = time.monotonic()
    ends = began + seconds
    for each in sockets:
        each.sendall(requests[sent % len(requests)])
        sent += 1
    while answered < sent:
        for fd, _ in poll.poll(30):
            answer = buffers[fd] + by_fd[fd].recv(65536)
            if not _is_whole(answer):
                assert answer, "the connection was closed"
                buffers[fd] = answer
                continue
            assert answer.startswith(b"HTTP/1.1 200"), answer[:500]
            buffers[fd] = b""
            answered += 1
            if time.monotonic() < ends:
                by_fd[fd].sendall(requests[sent % len(requests)])
                sent += 1
    elapsed = time.monotonic() - began
    for each in sockets:
        each.close()
    poll.close()
    return answered, elapsed


def _is_whole(answer: bytes) -> bool:
    head_end = answer.find(_HEAD_END)
    if head_end < 0:
        return False
    head = answer[:head_end].lower()
    at = head.find(_LENGTH)
    assert at > 0, f"no Content-Length: {head!r}"
    length = int(head[at + len(_LENGTH) :].split(b"\r", 1)[0])
    return len(answer) >= head_end + len(_HEAD_END) + length
