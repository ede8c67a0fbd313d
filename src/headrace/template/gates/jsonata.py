"""The expressions `{% … %}` of a state machine: what they name exists. Only plain numbers are evaluated."""

import re
from collections.abc import Collection, Iterator
from typing import Any

from headrace.template.document import did_you_mean

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)(\s*\()?((?:\.[A-Za-z_]\w*)*)")
_FUNCTION_NAMES = """
    string length substring substringBefore substringAfter uppercase lowercase trim pad contains split join
    match replace eval base64encode base64decode encodeUrlComponent encodeUrl decodeUrlComponent decodeUrl
    number abs floor ceil round power sqrt random formatNumber formatBase formatInteger parseInteger sum max min
    average boolean not exists count append sort reverse shuffle distinct zip keys lookup spread merge sift each
    error assert type now millis fromMillis toMillis map filter single reduce parse partition range hash uuid
"""
_FUNCTIONS = tuple(_FUNCTION_NAMES.split())
_CONTEXT = {"Execution", "State", "StateMachine", "Task", "Map"}
_PAIRS = {")": "(", "]": "[", "}": "{"}


def is_expression(value: object) -> bool:
    """Return whether a value is an expression."""
    return isinstance(value, str) and value.startswith("{%") and value.endswith("%}")


def literal(value: str) -> int | float | bool | None:
    """Return what an expression says without anything to evaluate; None for any other."""
    inner = value[2:-2].strip()
    if inner in ("true", "false"):
        return inner == "true"
    if re.fullmatch(r"-?\d+", inner):
        return int(inner)
    return float(inner) if re.fullmatch(r"-?\d+\.\d+", inner) else None


def texts(value: Any) -> Iterator[str]:
    """Yield every text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


def reads(value: Any, variable: str) -> bool:
    """Return whether an expression in a value reads a variable."""
    found = (_VARIABLE.findall(text) for text in texts(value) if is_expression(text))
    return any(name == variable for names in found for name, _, _ in names)


def faults(
    text: str, known: Collection[str], *, result: bool = False, error: bool = False
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a text, and what to do; `known` are variables, `result` and `error` what $states has."""
    if not is_expression(text):
        if "{%" in text or "%}" in text:
            yield f"{text} is half an expression.", "An expression is all of a text: {% … %}."
        return
    inner = text[2:-2]
    code = _STRING.sub("''", inner)
    if not code.strip():
        yield "an expression is empty.", "Write one, or a plain value."
    if "'" in code.replace("''", "") or '"' in code or not _balanced(code):
        yield f"{text} is no JSONata: a quote or a bracket is open.", "Close it."
    parts = ["input", "context", *(["result"] if result else []), *(["errorOutput"] if error else [])]
    for name, call, path in _VARIABLE.findall(code):
        steps = path.split(".")[1:]
        if call:
            if name not in _FUNCTIONS:
                yield f"there is no function ${name}.", did_you_mean(name, _FUNCTIONS)
        elif name == "states":
            if not steps or steps[0] not in parts:
                yield f"$states has no {'.'.join(steps) or 'value of its own'} here.", did_you_mean(path[1:], parts)
            elif steps[0] == "context" and len(steps) > 1 and steps[1] not in _CONTEXT:
                yield f"the context has no {steps[1]}.", did_you_mean(steps[1], _CONTEXT)
        elif name not in known:
            yield f"the variable ${name} is not assigned on every way to here.", did_you_mean(name, list(known))


def _balanced(code: str) -> bool:
    open_: list[str] = []
    for each in code:
        if each in "([{":
            open_.append(each)
        elif each in _PAIRS and (not open_ or open_.pop() != _PAIRS[each]):
            return False
    return not open_
