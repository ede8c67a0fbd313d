"""Which pages in a browser may ask the backend: those of its own origin, by a name that nobody else can give away."""

import pytest

from headrace.gateway.origin import KNOWN_MAX, Guard, is_local, is_loopback
from headrace.wire import Request, WireError


def refused(guard: Guard, path: str = "/", **headers: str) -> bool:
    try:
        guard.check(Request("GET", path, "", headers, b""))
    except WireError as error:
        assert error.status == 403
        return True
    return False


@pytest.mark.parametrize(
    "host", ["127.0.0.1:4566", "localhost:4566", "LOCALHOST", "[::1]:4566", "a.localhost", "10.1.2.3"]
)
def test_an_address_is_answered(host: str) -> None:
    assert not refused(Guard(loopback=True), host=host)


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:4566", "127.0.0.1.evil.example", "xlocalhost", "["]
)
def test_a_name_is_answered_only_off_loopback(host: str) -> None:
    assert refused(Guard(loopback=True), host=host)
    assert not refused(Guard(loopback=False), host=host)


def test_the_name_that_it_was_given_is_answered() -> None:
    guard = Guard(loopback=True, name="Box.local")
    assert not refused(guard, host="box.local:4566")
    assert not refused(guard, host="box.local:4566", origin="http://box.local:4566")
    assert refused(guard, host="evil.example") and refused(guard, host="x.box.local")
    assert refused(Guard(loopback=True), host=":4566"), "no name is no name"


def test_a_program_without_a_host_is_answered() -> None:
    assert not refused(Guard(loopback=True))


@pytest.mark.parametrize(
    ("origin", "ok"),
    [
        ("http://127.0.0.1:4566", True),
        ("https://127.0.0.1:4566", True),  # behind something that speaks TLS
        ("http://127.0.0.1:80", False),
        ("http://127.0.0.1", False),
        ("http://localhost:4566", False),
        ("http://evil.example", False),
        ("null", False),
        ("", False),
    ],
)
def test_a_page_is_answered_at_its_own_origin(origin: str, ok: bool) -> None:
    for loopback in (True, False):
        assert refused(Guard(loopback=loopback), host="127.0.0.1:4566", origin=origin) is not ok


def test_function_urls_are_for_every_page() -> None:
    guard = Guard(loopback=True)
    assert not refused(guard, "/_headrace/url/device_api/x", host="127.0.0.1", origin="http://evil.example")
    assert refused(guard, "/_headrace/url/device_api/x", host="evil.example", origin="http://evil.example")


def test_many_hosts_are_checked_and_few_remembered() -> None:
    guard = Guard(loopback=True)
    for port in range(KNOWN_MAX * 2):
        assert not refused(guard, host=f"127.0.0.1:{port}")
    assert refused(guard, host="evil.example")
    assert len(guard.known) == KNOWN_MAX


@pytest.mark.parametrize(("url", "local", "loopback"), [
    ("http://127.0.0.1:1", True, True),
    ("http://localhost:1", True, True),
    ("http://[::1]:1", True, True),
    ("http://0.0.0.0:1", True, False),
    ("http://10.0.0.1:1", True, False),
])  # fmt: skip
def test_where_a_url_leads(url: str, local: bool, loopback: bool) -> None:
    assert (is_local(url), is_loopback(url)) == (local, loopback)
