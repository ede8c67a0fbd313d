"""Which pages in a browser may ask this backend anything: its own, and no other.

There is no authentication yet, so whoever runs a browser on this machine must be able to look at any page without that
page reaching the backend behind their back. A page can do so in two ways:

- from its own origin: browsers then name it in `Origin`, which must be the one asked;
- by making its own name resolve to this machine (DNS rebinding): the name asked for in `Host` is then a stranger's. A
  backend that listens on loopback is only ever asked for by an address, as localhost, or by the name that `up --host`
  was given.

What is no browser sends no Origin, and asks for the backend by the name that it was given.
"""

import ipaddress
from urllib.parse import urlsplit

from headrace.wire import Request, WireError

KNOWN_MAX = 64  # hosts remembered
FUNCTION_URLS = "/_headrace/url/"  # made to be called by any page


class Guard:
    """Refuses requests that a page of another origin made.

    `loopback`: whether the backend listens there alone; `name`: the host that it was told to listen on. A request
    without an Origin that asks for a host in `known` needs no check.
    """

    def __init__(self, *, loopback: bool, name: str = "") -> None:
        self._loopback = loopback
        self._name = name.lower()
        self.known: set[str] = {""}

    def check(self, request: Request) -> None:
        """Return if the request may be answered; raises WireError (403)."""
        host = request.headers.get("host", "")
        if host not in self.known:
            self._check_host(host)
        if "origin" in request.headers and not request.path.startswith(FUNCTION_URLS):
            _check_origin(request.headers["origin"], host)

    def _check_host(self, host: str) -> None:
        known = is_local(f"//{host}") or (self._name and host.lower().partition(":")[0] == self._name)
        if self._loopback and not known:
            raise WireError(
                "AccessDeniedException",
                f"This backend is not called {host!r}: ask for it as 127.0.0.1 or localhost, or start it with "
                "--host and that name. Other names are refused, so that no page on the web can pass itself off as it.",
                403,
            )
        if len(self.known) < KNOWN_MAX:
            self.known.add(host)


def is_local(url: str) -> bool:
    """Return whether a URL names its host by an address, or as localhost: names that nobody else can give away."""
    try:
        name = urlsplit(url).hostname or ""
        if name == "localhost" or name.endswith(".localhost"):
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(url: str) -> bool:
    """Return whether a URL leads to this machine alone."""
    name = urlsplit(url).hostname or ""
    return name == "localhost" or ipaddress.ip_address(name).is_loopback


def _check_origin(origin: str, host: str) -> None:
    if urlsplit(origin).netloc.lower() != host.lower():
        raise WireError(
            "AccessDeniedException",
            f"A page of {origin} may not ask this backend: only its own console, and programs, may.",
            403,
        )
