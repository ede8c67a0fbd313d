"""The wheel carries template, functions and reports: from an empty folder to a stored event, without the checkout."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from support.backend import ROOT, Backend, backend, wait_until

UV = ROOT / ".uv" / "bin" / "uv"


@pytest.mark.skipif(not UV.exists() and not os.environ.get("CI"), reason="needs uv, which `make test` installs")
def test_from_wheel_to_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([UV, "build", "--wheel", "--quiet", "--out-dir", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("headrace-*.whl")
    installed = tmp_path / "installed"
    subprocess.run([UV, "pip", "install", "--quiet", "--no-deps", "--target", installed, wheel], check=True)
    monkeypatch.setenv("PYTHONPATH", str(installed))  # before the checkout's editable install
    made = subprocess.run(
        [sys.executable, "-m", "headrace", "init", "fleet"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "headrace up" in made.stdout
    project = tmp_path / "fleet"
    assert {"template.yaml", "functions", "reports"} <= {path.name for path in project.iterdir()}
    assert {"tariffs.csv", "tenants.csv"} <= {path.name for path in (project / "reports").iterdir()}
    with backend(tmp_path, project / "template.yaml") as running:
        assert str(installed) in _module_of(running)
        with urllib.request.urlopen(f"{running.url}/_headrace/console/", timeout=60) as page:
            assert b"<title>Headrace</title>" in page.read() and page.status == 200
        running.client("kinesis").put_record(StreamName="events", PartitionKey="d", Data=json.dumps({"a": 1}))
        found = wait_until(lambda: running.cli("latest", "d", "--json", check=False).stdout)
        assert json.loads(found)["readings"] == {"a": 1}


def _module_of(running: Backend) -> str:
    command = [sys.executable, "-c", "import headrace; print(headrace.__file__)"]
    return subprocess.run(command, env=running.environment, check=True, capture_output=True, text=True).stdout
