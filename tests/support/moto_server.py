"""moto's server in a process of its own: what every AWS tool takes for AWS, if AWS_ENDPOINT_URL says so.

`python -m support.moto_server PORT` is that process.
"""

import contextlib
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REGION = "us-east-1"


@contextlib.contextmanager
def moto_server() -> Iterator[dict[str, str]]:
    """Run a server; give the environment variables that point AWS's SDKs at it."""
    from support.backend import free_port, wait_until

    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "support.moto_server", str(port)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_clean_environment(),
    )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, "moto's server has ended"
        with urllib.request.urlopen(url + "/moto-api/", timeout=2) as answer:
            return bool(answer.status == 200)

    try:
        wait_until(answers, 60)
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }
    finally:
        process.kill()
        process.wait(20)


def serve(port: int) -> None:
    """Serve until killed, one request at a time: moto loses records that are put to a stream at once."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    application = DomainDispatcherApplication(create_backend_app)
    lock = threading.Lock()

    def one_at_a_time(environment: Any, start: Any) -> Iterator[bytes]:
        with lock:
            yield from application(environment, start)

    run_simple("127.0.0.1", port, one_at_a_time, threaded=True)


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HEADRACE_"))}


if __name__ == "__main__":
    serve(int(sys.argv[1]))
