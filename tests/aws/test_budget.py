"""`REMOTE=1 make test-aws` stops before it calls anything where it would cost too much, or nobody has signed in."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from support.backend import ROOT
from support.cloud import check_budget, estimated_usd

SIGNED_IN = {
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "b",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}
NOBODY = {
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Account:
    """Stands in for AWS, and refuses everything: `asked` are the operations that it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Refuses(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked.append(self.headers["X-Amz-Target"])
                self.send_response(400)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Refuses)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def account() -> Iterator[Account]:
    made = Account()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def remote_run(account: Account, **changed: str) -> subprocess.CompletedProcess[str]:
    """Run one test as the target does on an account."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTEST_"))}
    environment = {**clean, **NOBODY, "AWS_ENDPOINT_URL": account.url, "REMOTE": "1", **changed}
    arguments = ["-q", "-p", "no:cacheprovider", "tests/aws/test_end_to_end.py", "-k", "test_a_broken_call"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({**SIGNED_IN, "HEADRACE_TEST_USD": "0.05"}, "over $0.05: set HEADRACE_TEST_USD to allow it"),
        ({**SIGNED_IN, "HEADRACE_TEST_USD": "little"}, "HEADRACE_TEST_USD is 'little': give dollars"),
        ({}, "REMOTE=1 needs credentials and a region: aws configure"),
    ],
)
def test_nothing_is_called(account: Account, changed: dict[str, str], says: str) -> None:
    done = remote_run(account, **changed)
    assert done.returncode == 1, done.stdout
    assert says in done.stdout
    assert account.asked == []


def test_within_the_budget_the_account_is_asked(account: Account) -> None:
    done = remote_run(account, **SIGNED_IN, HEADRACE_TEST_USD="1")
    assert done.returncode == 1, done.stdout
    assert account.asked == ["Kinesis_20131202.CreateStream"]


def test_no_number_is_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_TEST_USD", "nan")
    with pytest.raises(pytest.fail.Exception, match="over"):
        check_budget(1, 150)


def test_more_events_cost_more() -> None:
    assert 0.05 < estimated_usd(1_000, 150) < estimated_usd(60_000, 150) < 1 < estimated_usd(10_000_000, 150)
