"""A backend in a thread of the test: the wire that the command line uses, over lists and dicts. Nothing is durable."""

import asyncio
import base64
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from headrace.wire import Handler, Request

CREATED_S = 1_700_000_000


class FakeBackend:
    """What the fake holds and how it answers; tests change its members."""

    def __init__(self) -> None:
        self.url = ""
        self.streams: dict[str, int] = {"events": CREATED_S}  # name -> creation in seconds
        self.records: list[tuple[str, bytes]] = []  # accepted, in order: partition key, data
        self.requests: list[int] = []  # the number of records in each PutRecords
        # Told a PutRecords' records; answers the places that fail, or raises `Refusal` for the whole request.
        self.refuse: Callable[[list[tuple[str, bytes]]], set[int]] = lambda records: set()
        self.functions: dict[str, Callable[[Any], tuple[bytes, str | None]]] = {}
        self.invokes: list[tuple[str, str, bytes]] = []  # function, kind, payload
        self.paths: list[tuple[str, Handler]] = []
        self.status: dict[str, Any] = {}
        self.broken: Answer | None = None  # the answer to everything
        self._lock = threading.Lock()

    def events(self) -> list[Any]:
        """Return the accepted records as JSON values."""
        return [json.loads(data) for _, data in self.records]

    def answer(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> "Answer":
        if self.broken is not None:
            return self.broken
        target = headers.get("x-amz-target", "")
        if target:
            return self._kinesis(target.rpartition(".")[2], json.loads(body))
        if path == "/2015-03-31/functions":
            listed = [{"FunctionName": name} for name in self.functions]
            return Answer(200, json.dumps({"Functions": listed}).encode())
        if path.startswith("/2015-03-31/functions/"):
            return self._invoke(unquote(path.split("/")[3]), headers, body)
        if path == "/_headrace/status":
            extra = {"verified": False, "differences": ["one"]} if "verify=1" in query else {}
            return Answer(200, json.dumps(self.status | extra).encode())
        for prefix, handler in self.paths:
            if path.startswith(prefix):
                response = asyncio.run(_call(handler, Request(method, path, query, headers, body)))
                return Answer(response.status, response.body)
        return Answer(404, b'{"message": "nothing here"}')

    def _kinesis(self, operation: str, body: dict[str, Any]) -> "Answer":
        if operation == "ListStreams":
            return Answer(200, json.dumps({"StreamNames": list(self.streams), "HasMoreStreams": False}).encode())
        name = body["StreamName"]
        if name not in self.streams:
            return _error("ResourceNotFoundException", f"Stream {name} under account 000000000000 not found.")
        if operation == "DescribeStreamSummary":
            return Answer(200, json.dumps({"StreamDescriptionSummary": _summary(name, self.streams[name])}).encode())
        if operation == "ListShards":
            return Answer(200, json.dumps({"Shards": _shards()}).encode())
        records = [(r["PartitionKey"], base64.b64decode(r["Data"])) for r in body["Records"]]
        with self._lock:
            self.requests.append(len(records))
            try:
                refused = self.refuse(records)
            except Refusal as refusal:
                return _error(refusal.code, "not now", refusal.status)
            answers = [self._accept(record, place in refused) for place, record in enumerate(records)]
        return Answer(200, json.dumps({"FailedRecordCount": len(refused), "Records": answers}).encode())

    def _accept(self, record: tuple[str, bytes], refused: bool) -> dict[str, str]:
        if refused:
            return {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"}
        self.records.append(record)
        return {"SequenceNumber": f"{len(self.records):056d}", "ShardId": "shardId-000000000000"}

    def _invoke(self, name: str, headers: dict[str, str], body: bytes) -> "Answer":
        kind = headers.get("x-amz-invocation-type", "RequestResponse")
        self.invokes.append((name, kind, body))
        if name not in self.functions:
            return _error("ResourceNotFoundException", f"Function not found: {name}", 404, rest=True)
        if kind == "Event":
            return Answer(202, b"", {"x-amzn-RequestId": "the-request"})
        payload, error = self.functions[name](json.loads(body))
        extra = {"X-Amz-Function-Error": error} if error else {}
        if headers.get("x-amz-log-type") == "Tail":
            extra["X-Amz-Log-Result"] = base64.b64encode(b"START\nhello\n").decode()
        return Answer(200, payload, extra)


class Refusal(Exception):
    """The whole request is refused."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


class Answer:
    """An HTTP answer."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.body = body
        self.headers = {"Content-Type": "application/x-amz-json-1.1", **(headers or {})}


@contextlib.contextmanager
def fake_backend() -> Iterator[FakeBackend]:
    """A fake that listens on a free port."""
    fake = FakeBackend()

    class Exchange(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = fake.answer(self.command, parts.path, parts.query, headers, body)
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Exchange) as server:
        fake.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()


async def _call(handler: Handler, request: Request) -> Any:
    return await handler(request)


def _error(code: str, message: str, status: int = 400, *, rest: bool = False) -> Answer:
    body = {"Message": message, "Type": "User"} if rest else {"__type": code, "message": message}
    return Answer(status, json.dumps(body).encode(), {"x-amzn-ErrorType": code} if rest else None)


def _summary(name: str, created_s: int) -> dict[str, Any]:
    return {
        "StreamName": name,
        "StreamARN": f"arn:aws:kinesis:us-east-1:000000000000:stream/{name}",
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": created_s,
        "EnhancedMonitoring": [],
        "OpenShardCount": 2,
    }


def _shards() -> list[dict[str, Any]]:
    half = 1 << 127
    return [
        {
            "ShardId": f"shardId-{shard:012d}",
            "HashKeyRange": {"StartingHashKey": str(shard * half), "EndingHashKey": str((shard + 1) * half - 1)},
            "SequenceNumberRange": {"StartingSequenceNumber": "0"},
        }
        for shard in range(2)
    ]
