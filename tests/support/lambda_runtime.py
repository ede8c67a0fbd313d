"""Lambda for tests: a package that was unpacked runs under AWS's own runtime interface client (awslambdaric).

This is the other side of it, the Runtime API, and the execution environment: its variables, its folders, what the
runtime brings along (boto3 and its requirements) and nothing else of this machine's packages.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import uuid4

API = "/2018-06-01/runtime/"
RUNTIME_BRINGS = (
    "awslambdaric", "simplejson", "snapshot-restore-py",
    "boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six", "urllib3",
)  # fmt: skip
_START = (
    "import sys; sys.path[:0] = {paths!r}; from awslambdaric.__main__ import main; main(['awslambdaric', {handler!r}])"
)


class FunctionError(Exception):
    """The function raised, timed out or ended; the message is what the Runtime API was told."""


class LambdaFunction:
    """One execution environment of a function. `with` starts and ends it.

    `task_root` is the package, unpacked; `runtime` a folder made by `runtime_folder`. `printed` are the lines that the
    function has printed since they were last taken.
    """

    def __init__(
        self,
        name: str,
        handler: str,
        task_root: Path,
        runtime: Path,
        variables: Mapping[str, str],
        timeout_s: float = 60.0,
    ) -> None:
        self.name = name
        self._handler = handler
        self._task_root = task_root
        self._runtime = runtime
        self._variables = dict(variables)
        self._timeout_s = timeout_s
        self._invocations: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._outcomes: queue.Queue[tuple[str, str, bytes]] = queue.Queue()
        self._lines: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self._process: subprocess.Popen[str]

    def __enter__(self) -> "LambdaFunction":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        paths = [str(self._task_root), str(self._runtime)]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START.format(paths=paths, handler=self._handler)],
            cwd=self._task_root,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(20)
        self._reading.join(20)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._server.shutdown()
        self._server.server_close()

    def invoke(self, event: Any) -> Any:
        """Call the function and return its answer; raises FunctionError."""
        request_id = str(uuid4())
        self._invocations.put((request_id, json.dumps(event).encode()))
        deadline_s = time.monotonic() + self._timeout_s
        while True:
            try:
                answered, kind, body = self._outcomes.get(timeout=0.2)
            except queue.Empty:
                if self._process.poll() is not None:
                    raise FunctionError(f"{self.name} ended:\n{self.taken_text()}") from None
                if time.monotonic() > deadline_s:
                    raise FunctionError(f"{self.name}: Task timed out after {self._timeout_s} seconds") from None
                continue
            if kind == "init/error" or (kind == "error" and answered == request_id):
                raise FunctionError(body.decode())
            if answered == request_id:
                return json.loads(body)

    def printed(self) -> list[str]:
        """Return the lines printed so far, and forget them."""
        time.sleep(0.01)  # the last ones are on their way through the pipe
        taken = self._lines[:]
        del self._lines[: len(taken)]
        return taken

    def taken_text(self) -> str:
        self._reading.join(2)
        return "\n".join(self.printed())

    def next_invocation(self) -> tuple[str, bytes, dict[str, str]]:
        """Return what `invocation/next` answers: it waits for an invocation."""
        request_id, event = self._invocations.get()
        headers = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + self._timeout_s) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": f"arn:aws:lambda:us-east-1:123456789012:function:{self.name}",
            "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1",
        }
        return request_id, event, headers

    def told(self, request_id: str, kind: str, body: bytes) -> None:
        """Take an answer, or an error."""
        self._outcomes.put((request_id, kind, body))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line.rstrip("\n"))

    def _environment(self) -> dict[str, str]:
        """Return Lambda's variables, then the function's own; of this process's there are none but PATH."""
        return {
            "PATH": os.environ["PATH"],
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/07/25/[$LATEST]0",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
            "LAMBDA_TASK_ROOT": str(self._task_root),
            "LAMBDA_RUNTIME_DIR": str(self._runtime),
            "_HANDLER": self._handler,
            **self._variables,
        }


def runtime_folder(folder: Path) -> Path:
    """Lay out what Lambda's runtime brings along, and return the folder: links to this machine's packages."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in RUNTIME_BRINGS:
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            link = folder / top
            if not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))))
    return folder


def _handler_of(function: LambdaFunction) -> type[BaseHTTPRequestHandler]:
    class RuntimeApi(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path != API + "invocation/next":
                self._answer(404, b"{}", {})
                return
            _, event, headers = function.next_invocation()
            self._answer(200, event, headers)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = self._chunks()
            path = self.path.removeprefix(API)
            if path == "init/error":
                function.told("", path, body)
            else:
                _, request_id, kind = path.split("/")
                function.told(request_id, kind, body)
            self._answer(202, b'{"status":"OK"}', {})

        def _chunks(self) -> bytes:
            found = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Type": "application/json"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return RuntimeApi
