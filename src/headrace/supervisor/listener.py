"""The listening sockets: opened by the supervisor, so that they outlive the processes that accept on them."""

import contextlib
import errno
import socket
from pathlib import Path

from headrace.errors import UsageError


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `host` and `port` (0: any free one); raises UsageError where it can't."""
    if not 0 <= port <= 65535:
        raise UsageError(f"{port} is no port.", "Give a --port from 1 to 65535, or 0 for any free one.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise UsageError(f"There is no address {host!r}: {error}", "Give another --host, such as 127.0.0.1.") from None
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
        listening.setblocking(False)
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise _no_listen(host, port, error) from None
    return listening


def listen_unix(path: Path) -> socket.socket:
    """Return a socket that listens on a unix socket's path, whatever a process before left there."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)
    listening.setblocking(False)
    listening.bind(str(path))
    listening.listen(128)
    return listening


def hang_up(listening: socket.socket) -> None:
    """Close the connections that wait to be accepted: nobody will."""
    with contextlib.suppress(BlockingIOError):
        while True:
            listening.accept()[0].close()


def _no_listen(host: str, port: int, error: OSError) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(f"Port {port} on {host} is in use.", "Stop what listens there, or give another --port.")
    if error.errno == errno.EACCES:
        return UsageError(f"Port {port} may not be opened by this user.", "Give a --port of 1024 or more.")
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(f"{host} is no address of this machine.", "Give another --host, such as 127.0.0.1.")
    return UsageError(f"{host}:{port} can't be opened: {error}", "Give another --port.")
