"""A template's parameters: what `--parameters K=V|FILE` gives, checked against what the template declares."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.errors import TemplateError, UsageError
from headrace.template import document
from headrace.template.document import Items, Members, did_you_mean

Values = dict[str, str | list[str]]

_TYPES = ("String", "Number", "CommaDelimitedList", "List<Number>", "List<String>")
_AWS_TYPE = re.compile(r"(List<)?AWS::[A-Za-z0-9:]+(<.+>)?>?")
_FROM_SSM = "AWS::SSM::Parameter::"
_ATTRIBUTES = (
    "AllowedPattern",
    "AllowedValues",
    "ConstraintDescription",
    "Default",
    "Description",
    "MaxLength",
    "MaxValue",
    "MinLength",
    "MinValue",
    "NoEcho",
    "Type",
)
_KINDS = {
    "AllowedPattern": (str, "a text"),
    "AllowedValues": (Items, "a list"),
    "Default": (str | int | float, "a text or a number"),
}
_ASSIGNMENT = re.compile(r"([A-Za-z0-9]+)=(.*)", re.DOTALL)
_NO_LINE = re.compile(r"\s*(#.*)?")


def parse_parameters(arguments: Sequence[str]) -> dict[str, str]:
    """Return what `--parameters` gives: each argument is K=V or a file; the last of a name wins.

    A file holds what the AWS CLI takes, as JSON or YAML: a mapping, that under `Parameters`, a list of ParameterKey and
    ParameterValue, or of "K=V"; or it holds K=V lines. Raises UsageError.
    """
    given: dict[str, str] = {}
    for argument in arguments:
        assignment = _ASSIGNMENT.fullmatch(argument)
        if assignment:
            given[assignment[1]] = assignment[2]
        else:
            given.update(_from_file(Path(argument)))
    return given


def _from_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise UsageError(
            f"--parameters {path}: this is neither NAME=VALUE nor a file.",
            "Write --parameters NAME=VALUE, or name a JSON or YAML file of them.",
        )
    text = document.read_text(path)
    lines = [line.strip() for line in text.splitlines() if not _NO_LINE.fullmatch(line)]
    if lines and all(map(_ASSIGNMENT.fullmatch, lines)):
        return parse_parameters(lines)
    content = document.parse(text, str(path), as_text=True)
    if isinstance(content, Items):
        content = _from_list(path, content)
    if isinstance(content, Members) and isinstance(inner := content.get("Parameters"), Members):
        content = inner
    if not isinstance(content, Members):
        raise TemplateError(str(path), 1, "The file holds no parameters.", "Write NAME: VALUE, one a line.")
    return {name: _file_text(path, value, content.lines[name]) for name, value in content.items()}


def _from_list(path: Path, content: Items) -> Members:
    members = Members(content.line)
    for item, line in zip(content, content.lines, strict=True):
        if isinstance(item, str) and (assignment := _ASSIGNMENT.fullmatch(item)):
            members.put(assignment[1], assignment[2], line)
            continue
        if not isinstance(item, Members) or not {"ParameterKey", "ParameterValue"} <= set(item):
            raise TemplateError(
                str(path), line, "This is no parameter.", "Write ParameterKey and ParameterValue, or NAME: VALUE."
            )
        members.put(item["ParameterKey"], item["ParameterValue"], line)
    return members


def _file_text(path: Path, value: object, line: int) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Items) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    raise TemplateError(str(path), line, "A parameter's value is a text or a list of texts.", "Write NAME: VALUE.")


def values(file: str, declared: Members, given: Mapping[str, str]) -> Values:
    """Return every parameter's value: the one given, else its default; lists for list types.

    Raises TemplateError: a parameter given that isn't declared, one without a value, one that breaks its rules.
    """
    for name in given:
        if name not in declared:
            raise TemplateError(
                file, 0, f"--parameters {name}: the template has no such parameter.", did_you_mean(name, declared)
            )
    return {
        name: _value(_Parameter(file, name, declaration, declared.lines[name]), given.get(name))
        for name, declaration in declared.items()
    }


class _Parameter:
    """One parameter's declaration, checked."""

    def __init__(self, file: str, name: str, declaration: object, line: int) -> None:
        self.file, self.name, self.line = file, name, line
        if not isinstance(declaration, Members):
            raise self.error(f"Parameter {name} has no Type.", "Write Type: String below it.")
        for attribute in declaration:
            if attribute not in _ATTRIBUTES:
                raise TemplateError(
                    file,
                    declaration.lines[attribute],
                    f"Parameter {name} has no attribute {attribute}.",
                    did_you_mean(attribute, _ATTRIBUTES),
                )
        self.declaration = declaration
        for attribute, (kind, wanted) in _KINDS.items():
            value = declaration.get(attribute)
            if value is not None and not isinstance(value, kind):
                raise TemplateError(
                    file, declaration.lines[attribute], f"Parameter {name}: {attribute} is wrong.", f"Write {wanted}."
                )
        self.type = declaration.get("Type")
        if not isinstance(self.type, str) or not (self.type in _TYPES or _AWS_TYPE.fullmatch(self.type)):
            line = declaration.lines.get("Type", line)
            raise TemplateError(
                file, line, f"Parameter {name} is of no known Type.", did_you_mean(str(self.type), _TYPES)
            )

    @property
    def is_list(self) -> bool:
        """Return whether Ref gives a list."""
        return self.type == "CommaDelimitedList" or "List<" in str(self.type)

    def bound(self, attribute: str) -> float | None:
        """Return a numeric attribute, or None."""
        value = self.declaration.get(attribute)
        if value is None:
            return None
        number = _number(str(value))
        if number is None:
            raise TemplateError(
                self.file,
                self.declaration.lines[attribute],
                f"Parameter {self.name}: {attribute} is no number.",
                "Write a number.",
            )
        return number

    def error(self, problem: str, hint: str) -> TemplateError:
        """Return an error at this parameter."""
        return TemplateError(self.file, self.line, problem, hint)


def _value(parameter: _Parameter, given: str | None) -> str | list[str]:
    value, line = given, parameter.line
    if value is None:
        default, line = parameter.declaration.get("Default"), parameter.declaration.lines.get("Default", line)
        if default is None:
            raise parameter.error(
                f"Parameter {parameter.name} has no value and no Default.",
                f"Give it: --parameters {parameter.name}=VALUE",
            )
        if str(parameter.type).startswith(_FROM_SSM):
            raise parameter.error(
                f"Parameter {parameter.name} is looked up in AWS Systems Manager.",
                f"Give its value on one machine: --parameters {parameter.name}=VALUE",
            )
        value = str(default).lower() if isinstance(default, bool) else str(default)
    items = [item.strip() for item in value.split(",")] if parameter.is_list else [value]
    for item in items:
        problem = _broken_rule(parameter, item)
        if problem:
            reason = parameter.declaration.get("ConstraintDescription")
            raise TemplateError(
                parameter.file,
                line,
                f"Parameter {parameter.name} is {item!r}: {problem}.",
                f"It must be {reason}." if reason else f"Give another: --parameters {parameter.name}=VALUE",
            )
    return items if parameter.is_list else value


def _broken_rule(parameter: _Parameter, value: str) -> str:
    """Return which rule of its declaration a value breaks, or nothing."""
    declaration = parameter.declaration
    allowed = [_text(item) for item in declaration.get("AllowedValues") or ()]
    if allowed and value not in allowed:
        return f"it may be {', '.join(allowed)}"
    if parameter.type in ("Number", "List<Number>"):
        number = _number(value)
        if number is None:
            return "it must be a number"
        return _outside(number, parameter.bound("MinValue"), parameter.bound("MaxValue"), "")
    pattern = declaration.get("AllowedPattern")
    if pattern is not None and not _matches(parameter, str(pattern), value):
        return f"it must match {pattern}"
    return _outside(len(value), parameter.bound("MinLength"), parameter.bound("MaxLength"), " characters")


def _matches(parameter: _Parameter, pattern: str, value: str) -> bool:
    try:
        return re.fullmatch(pattern, value) is not None
    except re.error as error:
        line = parameter.declaration.lines["AllowedPattern"]
        raise TemplateError(
            parameter.file, line, f"Parameter {parameter.name}: AllowedPattern: {error}.", "Mend the pattern."
        ) from error


def _outside(number: float, low: float | None, high: float | None, unit: str) -> str:
    if low is not None and number < low:
        return f"it must be at least {low:g}{unit}"
    if high is not None and number > high:
        return f"it must be at most {high:g}{unit}"
    return ""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
