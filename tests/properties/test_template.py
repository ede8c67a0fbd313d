"""Whatever stands in a template, reading it gives a System or a TemplateError with a line of the file."""

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace import template
from headrace.errors import TemplateError
from headrace.template import document

SOURCE = Path(__file__).parents[2] / "template.yaml"
JUNK: st.SearchStrategy[Any] = st.sampled_from(
    [
        None, True, 0, -1, 1.5, "", "x", "a.b", "-", "arn:aws:s3:::x", "${", "${x}", "${Events.}", "\u0000", [], [[]],
        [None], ["x"], {}, {"": ""}, {"Ref": []}, {"Ref": "Events"}, {"Ref": "AWS::NoValue"}, {"Fn::If": []},
        {"Fn::If": ["StreamIsProvisioned", [], {}]}, {"Fn::GetAtt": ["Events", []]}, {"Fn::GetAtt": "Events.Arn"},
        {"Fn::Sub": "${Events}"}, {"Fn::Sub": ["", {}]}, {"Fn::Join": ["", {"Ref": "Readings"}]},
        {"Fn::Split": [",", []]}, {"Fn::Select": [0, []]}, {"Fn::FindInMap": ["M", "a", "b"]}, {"Fn::Equals": [{}, []]},
        {"Fn::Not": [[]]}, {"Condition": "x"}, {"Type": "Kinesis"}, {"Fn::Transform": {}},
    ]
)  # fmt: skip


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(each for key, member in inner for each in paths(member, (*path, key)))]


WHOLE = document.load(SOURCE)
PATHS = paths(WHOLE)


def replaced(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    if not path:
        return junk
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], junk)
    return copy


@given(st.lists(st.tuples(st.sampled_from(PATHS), JUNK), min_size=1, max_size=2))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_junk_anywhere_is_a_system_or_an_error_with_its_line(
    tmp_path: Path, changes: list[tuple[tuple[Any, ...], Any]]
) -> None:
    content: Any = WHOLE
    for path, junk in changes:
        if path in paths(content):
            content = replaced(content, path, junk)
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (tmp_path / "functions").mkdir(exist_ok=True)
    for name in ("store", "archive", "device_api"):
        (tmp_path / "functions" / f"{name}.py").write_text("def handler(event, context): ...\n")
    file = tmp_path / "template.json"
    file.write_text(text)
    try:
        template.read(file, {})
    except TemplateError as error:
        assert 1 <= error.line <= text.count("\n") + 1
        assert error.hint


@given(st.text(alphabet=":-[]{}&*!|>'\"#%@`,? \t\nab\u0000\u00e9", max_size=30))
@settings(max_examples=300, deadline=None)
def test_junk_for_a_file_is_a_value_or_an_error_with_its_line(text: str) -> None:
    try:
        document.parse(text, "template.yaml")
    except TemplateError as error:
        assert 1 <= error.line <= text.count("\n") + 2
        assert error.hint
