"""`up --watch`: what is saved is called within a second, what is broken is told, and no event is lost on the way."""

import json
import time
from pathlib import Path
from typing import Any

from support.backend import ROOT, Backend, backend, wait_until

SOURCE = "def handler(event, context):\n    return {answer!r}\n"
MINE = """  Mine:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: mine, Handler: mine.handler, CodeUri: mine/}
"""


def project(folder: Path) -> tuple[Path, Path]:
    """Return a template with the function `mine` beside the built-in ones, and the file of its code."""
    template = folder / "template.yaml"
    text = (ROOT / "template.yaml").read_text().replace("Resources:\n", f"Resources:\n{MINE}", 1)
    template.write_text(text.replace("CodeUri: functions/", f"CodeUri: {ROOT / 'functions'}"))
    code = folder / "mine" / "mine.py"
    code.parent.mkdir()
    code.write_text(SOURCE.format(answer="version 0"))
    return template, code


def answer_of(running: Backend) -> Any:
    return json.load(running.client("lambda").invoke(FunctionName="mine", Payload="{}")["Payload"])


def error_of(running: Backend) -> str:
    answer = answer_of(running)
    return str(answer["errorType"]) if isinstance(answer, dict) else ""


def test_what_is_saved_is_live_within_a_second(tmp_path: Path) -> None:
    template, code = project(tmp_path)
    with backend(tmp_path, template, "--watch") as running:
        assert answer_of(running) == "version 0"
        for number in range(1, 4):  # of one size, within one second: what is compiled is not to be mistaken
            code.write_text(SOURCE.format(answer=f"version {number}"))
            expected = f"version {number}"
            wait_until(lambda expected=expected: answer_of(running) == expected)  # type: ignore[misc]

        code.write_text("def handler(event, context:\n")
        shown = "FUNCTION mine CAN'T BE IMPORTED: Runtime.UserCodeSyntaxError"
        wait_until(lambda: shown in running.cli("status").stdout)
        assert "Runtime.UserCodeSyntaxError" in running.cli("logs", "mine").stdout
        # An environment that was being made may tell before the code is looked at; one of the code before then answers.
        wait_until(lambda: error_of(running) == "Runtime.UserCodeSyntaxError")
        running.client("kinesis").put_record(StreamName="events", PartitionKey="pump", Data=b'{"a": 1}')
        assert running.settled(1)["import_errors"].keys() == {"mine"}

        (code.parent / "helper.py").write_text("ANSWER = 'mended'\n")
        code.write_text("import helper\ndef handler(event, context):\n    return helper.ANSWER\n")
        wait_until(lambda: answer_of(running) == "mended")
        assert running.status()["import_errors"] == {}
        (code.parent / "helper.py").write_text("ANSWER = 'by its helper'\n")
        wait_until(lambda: answer_of(running) == "by its helper")

        template.write_text(template.read_text() + "\n")
        wait_until(lambda: "template.yaml changed: restart `headrace up`" in running.output())
        assert running.status(verify=True)["verified"]


def test_a_batch_that_waits_for_mended_code_is_not_kept_waiting(tmp_path: Path) -> None:
    template, code = project(tmp_path)
    stream = """      Events:
        Stream: {Type: Kinesis, Properties: {Stream: !GetAtt Events.Arn, StartingPosition: TRIM_HORIZON}}
"""
    mapped = f"    Properties:\n      FunctionName: mine\n      Handler: mine.handler\n      CodeUri: mine/\n{stream}"
    inline = "    Properties: {FunctionName: mine, Handler: mine.handler, CodeUri: mine/}\n"
    template.write_text(template.read_text().replace(inline, mapped))
    code.write_text("this is no code\n")
    with backend(tmp_path, template, "--watch") as running:
        running.client("kinesis").put_record(StreamName="events", PartitionKey="pump", Data=b'{"a": 1}')
        time.sleep(7)  # pauses between tries have grown to 6 s and more
        code.write_text(SOURCE.format(answer=""))
        wait_until(lambda: running.status()["functions"]["mine"]["processed"] == 1, 5)
