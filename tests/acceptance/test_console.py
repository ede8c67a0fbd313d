"""The console's process as a program meets it: started on demand, ended when idle, closed to other pages."""

import http.client
import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.backend import Backend, backend, wait_until

CONSOLE = "/_headrace/console/"
pytestmark = pytest.mark.timeout(300)  # the console takes seconds to start, and more on a busy machine


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with backend(tmp_path_factory.mktemp("console")) as running:
        yield running


def ask(
    running: Backend, path: str = CONSOLE, method: str = "GET", body: str = "", **headers: str
) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body.encode())
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode(errors="replace")
    finally:
        connection.close()


def test_the_first_request_starts_it_and_a_killed_one_comes_back(running: Backend) -> None:
    assert running.pids("headrace.app console") == []
    status, headers, page = ask(running)
    assert (status, "<title>Headrace</title>" in page) == (200, True)
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert f"console    {running.url}/_headrace/console" in running.output()
    (first,) = running.pids("headrace.app console")
    running.kill("headrace.app console")
    wait_until(lambda: ask(running)[0] == 200)
    assert running.pids("headrace.app console") != [first]
    assert running.get("/_headrace/health")["ready"]


def test_whatever_the_page_names_is_served_from_here(running: Backend) -> None:
    page = ask(running)[2]
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", page) == []
    named = set(re.findall(r'["(](/_headrace/console/_nicegui/[^"\')]+\.(?:js|css|ico))', page))
    assert len(named) > 3
    for path in named:
        assert ask(running, path)[0] == 200, path
    assert ask(running, "/_headrace/console/_nicegui/nothing.js")[0] == 404
    assert ask(running, "/_headrace/console")[0] == 307


def test_a_browser_at_the_root_is_sent_there(running: Backend) -> None:
    status, headers, _ = ask(running, "/", Accept="text/html")
    assert (status, headers["location"]) == (302, "/_headrace/console")


@pytest.mark.parametrize("path", [CONSOLE, "/_headrace/failures", "/_headrace/status", "/"])
def test_a_name_that_was_made_to_lead_here_reads_nothing(running: Backend, path: str) -> None:
    status, _, said = ask(running, path, Host=f"evil.example:{running.port}")
    assert status == 403 and "127.0.0.1 or localhost" in said
    assert ask(running, path, Host=f"localhost:{running.port}", Accept="text/html")[0] in (200, 302)


@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1", "null"])
def test_a_page_of_another_origin_changes_nothing(running: Backend, origin: str) -> None:
    for path, body in (
        ("/_headrace/failures/replay", '{"ids": ["x"]}'),
        ("/2015-03-31/functions/device_api/invocations", "{}"),
        (f"{CONSOLE}_nicegui_ws/socket.io/?EIO=4&transport=polling", ""),
    ):
        status, _, said = ask(running, path, "POST", body, Origin=origin, Content_Type="application/json")
        assert status == 403 and "may not ask this backend" in said, path
    own = ask(running, "/_headrace/failures/replay", "POST", '{"ids": ["x"]}', Origin=running.url)
    assert own[0] == 400 and "Content-Type" in own[2]
    function_url = "/_headrace/url/device_api/devices/d/config"
    assert ask(running, function_url, Origin=origin)[0] == 200


def test_it_ends_when_nobody_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_CONSOLE_IDLE_S", "1")
    with backend(tmp_path) as running:
        for _ in range(2):
            assert ask(running)[0] == 200
            assert running.pids("headrace.app console")
            wait_until(lambda: not running.pids("headrace.app console"))
        assert "console ended" not in running.output()


def test_it_ends_with_the_supervisor(tmp_path: Path) -> None:
    with backend(tmp_path) as running:
        assert ask(running)[0] == 200
        (console,) = running.pids("headrace.app console")
        running.kill_all()
        wait_until(lambda: not psutil.pid_exists(console))


def test_one_that_cannot_start_is_told_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_CONSOLE_IDLE_S", "soon")
    with backend(tmp_path) as running:
        for _ in range(2):
            status, headers, said = ask(running)
            assert (status, headers["content-type"]) == (503, "text/plain; charset=utf-8")
            assert str(running.data / "logs" / "console.log") in said and "headrace logs console" in said
        assert "HEADRACE_CONSOLE_IDLE_S is 'soon'" in running.cli("logs", "console").stdout
        assert "console ended (status 2)" in running.output()
        assert running.get("/_headrace/health")["ready"]
