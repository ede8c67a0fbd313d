"""The function that `functions/README.md` shows, as it stands there, in the project's template."""

import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from headrace import template
from headrace.template import gates
from support.backend import ROOT

CODE, RESOURCES = re.findall(r"```(?:python|yaml)\n(.*?)```", (ROOT / "functions" / "README.md").read_text(), re.DOTALL)


def test_the_template_takes_it_and_no_gate_finds_anything(tmp_path: Path) -> None:
    for part in ("functions", "reports"):
        shutil.copytree(ROOT / part, tmp_path / part)
    (tmp_path / "functions" / "hot.py").write_text(CODE)
    file = tmp_path / "template.yaml"
    file.write_text((ROOT / "template.yaml").read_text().replace("\nResources:\n", f"\nResources:\n{RESOURCES}\n", 1))
    assert template.read(file, {}).function("hot")
    assert list(gates.check(file, {})) == []


def test_it_tells_what_is_hot(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LIMIT", "25")
    members: dict[str, Any] = {}
    exec(CODE, members)
    sent = [{"device_id": "a", "time": "2026-01-01T00:00:00Z", "temperature": at} for at in (24, 26)]
    records = [json.dumps([*sent, {"device_id": "b"}]), "no JSON"]
    batch = [
        {
            "kinesis": {
                "partitionKey": "a",
                "sequenceNumber": str(number),
                "data": base64.b64encode(data.encode()).decode(),
                "approximateArrivalTimestamp": 1767225600.0,
            }
        }
        for number, data in enumerate(records)
    ]
    members["handler"]({"Records": batch}, None)
    assert capsys.readouterr().out == "a is hot: 26 at 2026-01-01T00:00:00.000000Z\n"
