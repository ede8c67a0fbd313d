"""The README's first event: boto3, the AWS CLI and plain HTTP, on one running backend; then the limits of `up`."""

import base64
import http.client
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from support import kinesis_cbor
from support.backend import ROOT, TEMPLATE, Backend, backend, wait_until


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with backend(tmp_path_factory.mktemp("first")) as running:
        yield running


def latest(running: Backend, device: str) -> dict[str, Any] | None:
    answer = running.client("lambda").invoke(
        FunctionName="device_api", Payload=json.dumps({"operation": "latest", "device_id": device})
    )
    event: dict[str, Any] = json.load(answer["Payload"])
    return event if "readings" in event else None


def test_boto3(running: Backend) -> None:
    event = {"device_id": "by-boto3", "time": "2026-01-01T00:00:00Z", "temperature_f": 70.5}
    running.client("kinesis").put_record(StreamName="events", PartitionKey="by-boto3", Data=json.dumps(event))
    found = wait_until(lambda: latest(running, "by-boto3"))
    assert (found["time"], found["readings"]) == ("2026-01-01T00:00:00Z", {"temperature_f": 70.5})


def test_in_cbor(running: Backend) -> None:
    kinesis = running.client("kinesis")
    kinesis_cbor.speak(kinesis)
    kinesis.put_record(StreamName="events", PartitionKey="by-java", Data=json.dumps({"temperature_f": 70.5}))
    wait_until(lambda: latest(running, "by-java"))


def test_aws_cli(running: Backend) -> None:
    def aws(*arguments: str) -> Any:
        command = [sys.executable, "-m", "awscli", *arguments, "--endpoint-url", running.url, "--output", "json"]
        done = subprocess.run(command, env=running.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or "{}")

    data = '{"device_id": "by-cli", "temperature_f": 71.2}'
    put = aws("kinesis", "put-record", "--stream-name", "events", "--partition-key", "by-cli", "--data", data)
    assert re.fullmatch(r"\d{56}", put["SequenceNumber"])
    wait_until(lambda: latest(running, "by-cli"))
    assert "events" in aws("kinesis", "list-streams")["StreamNames"]
    output = running.data.parent / "answer.json"
    payload = '{"operation": "latest", "device_id": "by-cli"}'
    answer = aws("lambda", "invoke", "--function-name", "device_api", "--payload", payload, str(output))
    assert answer["StatusCode"] == 200 and json.loads(output.read_text())["device_id"] == "by-cli"


def test_plain_http(running: Backend) -> None:
    body = {
        "StreamName": "events",
        "PartitionKey": "by-http",
        "Data": base64.b64encode(b'{"temperature_f": 1}').decode(),
    }
    request = urllib.request.Request(
        running.url,
        json.dumps(body).encode(),
        {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Kinesis_20131202.PutRecord"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.load(answer)["ShardId"].startswith("shardId-")
    wait_until(lambda: latest(running, "by-http"))
    assert running.get("/_headrace/url/device_api/devices/by-http/latest")["device_id"] == "by-http"


def test_configuration_and_state(running: Backend) -> None:
    first = json.loads(running.cli("config", "pump", "set", '{"interval_s": 60}', "--json").stdout)
    assert (first["version"], first["config"]) == (1, {"interval_s": 60})
    stale = running.cli("config", "pump", "set", "{}", "--expected-version", "7", check=False)
    assert stale.returncode == 1 and "1" in stale.stderr
    assert json.loads(running.cli("config", "pump", "get", "--json").stdout) == first
    request = urllib.request.Request(
        f"{running.url}/_headrace/url/device_api/devices/pump/state", b'{"firmware": "1.2"}', method="PUT"
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.load(answer) == {"device_id": "pump", "version": 1, "state": {"firmware": "1.2"}}


def test_small_and_quick(running: Backend) -> None:
    assert running.start_s < 10  # the figure itself is the benchmark's; this only catches a hang
    processes = [psutil.Process(running.process.pid), *psutil.Process(running.process.pid).children(recursive=True)]
    assert sum(process.memory_full_info().pss for process in processes) < 300_000_000


def test_two_on_one_data_directory_are_refused(running: Backend) -> None:
    second = Backend(running.data)
    with pytest.raises(AssertionError, match="in use by headrace up"):
        second.start()


def test_a_port_in_use_is_named(running: Backend, tmp_path: Path) -> None:
    second = Backend(tmp_path / "data", TEMPLATE, "--port", str(running.port))
    with pytest.raises(AssertionError, match=f"Port {running.port} on 127.0.0.1 is in use(.|\n)*--port"):
        second.start()


@pytest.mark.parametrize("host", ["0.0.0.0", "0"])
def test_off_loopback_needs_a_word(tmp_path: Path, host: str) -> None:
    with pytest.raises(AssertionError, match="--insecure"):
        Backend(tmp_path / "data", TEMPLATE, "--host", host).start()


def test_a_name_of_this_machine_needs_none_and_is_answered(tmp_path: Path) -> None:
    with backend(tmp_path, TEMPLATE, "--host", "127.1") as running:  # no address as such: it has to be resolved
        for name, status in (("127.1", 200), ("127.0.0.1", 200), ("evil.example", 403)):
            with closing(http.client.HTTPConnection("127.0.0.1", running.port)) as connection:
                connection.request("GET", "/_headrace/health", headers={"Host": f"{name}:{running.port}"})
                assert connection.getresponse().status == status, name


def test_a_newer_data_directory_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "headrace.json").write_text('{"format": 99}')
    with pytest.raises(AssertionError, match="newer Headrace \\(format 99"):
        Backend(data).start()
    assert [path.name for path in data.iterdir()] == ["headrace.json"]


def test_a_data_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file stands here")
    with pytest.raises(AssertionError, match="can't be written"):
        Backend(tmp_path / "data").start()


def test_a_typo_in_the_template_is_named_with_its_line(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    text = (ROOT / "template.yaml").read_text()
    line = text[: text.index("BatchSize")].count("\n") + 1
    template.write_text(text.replace("BatchSize", "BatchSise", 1))
    (tmp_path / "functions").symlink_to(ROOT / "functions")
    with pytest.raises(AssertionError, match=f"template.yaml:{line}: .*BatchSise(.|\n)*BatchSize"):
        Backend(tmp_path / "data", template).start()
