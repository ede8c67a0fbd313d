"""The metrics process and CloudWatch's wire in a thread of the test's process; the test hands in the time."""

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from headrace import rpc
from headrace.gateway import http
from headrace.gateway.router import Router
from headrace.metrics.api import TARGET, CloudWatchApi
from headrace.metrics.server import MetricsServer
from headrace.settings import Layout
from headrace.supervisor import listener
from headrace.system import Alarm, System
from support.threaded_server import ThreadedServer

NOW_MS = 1_785_000_000_000  # a whole minute


class CloudWatchServer(ThreadedServer):
    """Use as a context; `start` and `stop` restart it on the same folder."""

    def __init__(self, folder: Path, alarms: Iterable[Alarm] = (), webhook: str = "") -> None:
        self.now_ms = NOW_MS
        self.layout = Layout(folder)
        self._system = System(template="template.yaml", parameters={}, alarms=tuple(alarms))
        self._webhook = webhook
        self.metrics: MetricsServer

    def kill(self) -> None:
        """End as SIGKILL does: what was saved last is what the next start finds."""
        state = self.layout.metrics / "state"
        saved = state.read_bytes()
        self.stop()
        state.write_bytes(saved)

    def turn(self, ms: int = 0) -> None:
        """Let time pass, then have the metrics process do what it does each second."""
        self.now_ms += ms
        self.call(self.metrics.turn())

    def client(self) -> Any:
        """Return an unmodified boto3 client."""
        return self.boto3("cloudwatch", parameter_validation=False)

    def print_line(self, function: str, line: str) -> None:
        """Have a function print a line."""
        log = self.layout.logs / "functions" / function / "0.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(line + "\n")

    def alarms_on(self) -> dict[str, str]:
        """Return the alarms that are on, as other processes are told."""

        async def ask() -> Any:
            return rpc.decode(await self._api.call("alarms_on"), type=dict[str, str])

        return self.call(ask())

    async def _start(self) -> None:
        self.metrics = MetricsServer(
            self.layout,
            self._system,
            webhook=self._webhook,
            webhook_waits_s=(0.01, 0.01),
            now_ms=lambda: self.now_ms,
        )
        await self.metrics.listen(turning=False)
        self._api = rpc.AsyncClient(self.layout.metrics_socket)
        api = CloudWatchApi(self._api)
        self._server = await http.start(Router({TARGET: api.handle}, api.paths()), listener.listen("127.0.0.1", 0))
        self.port = self._server.port
        self.url = f"http://127.0.0.1:{self.port}"

    async def _stop(self) -> None:
        await self._server.stop(1.0)
        await self._api.close()
        await self.metrics.stop()


class Received:
    """What a webhook got; its first `refused` posts are answered with 503."""

    def __init__(self, refused: int) -> None:
        self.refused = refused
        self.notices: list[dict[str, Any]] = []
        self.tries = 0
        self.url = ""


@contextmanager
def webhook(refused: int = 0) -> Iterator[Received]:
    """A webhook on a free port."""
    received = Received(refused)

    class Exchange(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.tries += 1
            good = received.tries > received.refused
            if good:
                received.notices.append(json.loads(body))
            self.send_response(200 if good else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Exchange) as server:
        received.url = f"http://127.0.0.1:{server.server_port}/hook"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield received
        finally:
            server.shutdown()
            thread.join()
