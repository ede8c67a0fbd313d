"""A Data API for tests of the command line: it answers what a test lays out, page by page, and notes what was asked."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Row = Sequence[Any]


class FakeRedshift:
    """What statements give, by their SQL; `calls` has (operation, body, headers)."""

    def __init__(self) -> None:
        self.columns: list[tuple[str, str]] = [("n", "int8")]
        self.pages: list[list[Row]] = [[[1]]]
        self.states = ["SUBMITTED", "STARTED", "FINISHED"]
        self.error = ""
        self.has_rows = True
        self.calls: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self._asked = 0

    def answer(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to an operation."""
        if operation == "ExecuteStatement":
            self._asked = 0
            return {"Id": "3f0c0000-0000-0000-0000-000000000001"}
        if operation == "DescribeStatement":
            state = self.states[min(self._asked, len(self.states) - 1)]
            self._asked += 1
            found = {"Id": body["Id"], "Status": state, "HasResultSet": self.has_rows, "ResultRows": 7}
            return found | ({"Error": self.error} if self.error else {})
        if operation == "GetStatementResult":
            at = int(body.get("NextToken") or 0)
            found = {"ColumnMetadata": [{"name": name, "label": name, "typeName": kind} for name, kind in self.columns]}
            found["Records"] = [[_field(value) for value in row] for row in self.pages[at]]
            return found | ({"NextToken": str(at + 1)} if at + 1 < len(self.pages) else {})
        return {"Status": True}

    def names(self) -> list[str]:
        """Return the operations, in their order."""
        return [operation for operation, *_ in self.calls]


def _field(value: Any) -> dict[str, Any]:
    if value is None:
        return {"isNull": True}
    if isinstance(value, bool):
        return {"booleanValue": value}
    if isinstance(value, int):
        return {"longValue": value}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


@contextmanager
def serving(fake: FakeRedshift) -> Iterator[str]:
    """Serve it at a URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            fake.calls.append((operation, body, {name.lower(): value for name, value in self.headers.items()}))
            answer = json.dumps(fake.answer(operation, body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
