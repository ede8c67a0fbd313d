"""Which functions are reloaded after a file was saved, and in which order."""

from pathlib import Path
from typing import Any

import msgspec

from headrace.supervisor.code_watch import CodeWatch
from headrace.system import Function, System


class Runtime:
    """Takes every reload and notes it."""

    def __init__(self) -> None:
        self.reloaded: list[str] = []

    def call(self, _method: str, function: str) -> msgspec.Raw:
        self.reloaded.append(function)
        return msgspec.Raw(msgspec.msgpack.encode({function: None}))


def test_the_function_whose_handler_was_saved_goes_first(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "helper"):
        (tmp_path / f"{name}.py").write_text("")
    code = str(tmp_path)
    functions = tuple(Function(logical_id=name, name=name, handler=f"{name}.handler", code=code) for name in "abc")
    runtime: Any = Runtime()
    said: list[str] = []
    system = System(template="", parameters={}, functions=functions)
    watch = CodeWatch(system, tmp_path / "template.yaml", runtime, said.append)
    watch.look()
    assert runtime.reloaded == []
    (tmp_path / "c.py").write_text("changed")
    watch.look()
    assert runtime.reloaded == ["c", "a", "b"], "the others may import it"
    (tmp_path / "helper.py").write_text("changed")
    watch.look()
    assert runtime.reloaded[3:] == ["a", "b", "c"]
    assert said[0].startswith("function c reloaded: ")
