"""A template as it stands in its file: plain values, and the line of every member.

YAML or JSON (which YAML reads), with CloudFormation's short tags written out: `!Ref X` becomes `{"Ref": "X"}` and
`!Sub x` becomes `{"Fn::Sub": "x"}`.
"""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import TemplateError

if TYPE_CHECKING:
    import yaml

    Node = yaml.ScalarNode | yaml.SequenceNode | yaml.MappingNode

# Intrinsic functions by their full names. `Condition` is one only inside of conditions.
INTRINSICS = (
    "Ref",
    "Condition",
    "Fn::And",
    "Fn::Base64",
    "Fn::Cidr",
    "Fn::Equals",
    "Fn::FindInMap",
    "Fn::GetAZs",
    "Fn::GetAtt",
    "Fn::If",
    "Fn::ImportValue",
    "Fn::Join",
    "Fn::Length",
    "Fn::Not",
    "Fn::Or",
    "Fn::Select",
    "Fn::Split",
    "Fn::Sub",
    "Fn::ToJsonString",
    "Fn::Transform",
)
_SHORT_TAGS = {name.removeprefix("Fn::"): name for name in INTRINSICS}
_YAML_TAG = "tag:yaml.org,2002:"
_LISTED_MAX = 16
_NODES_MAX = 200_000  # aliases may repeat a part; this keeps a small file from becoming a huge one


class Members(dict[str, Any]):
    """A mapping. `line` is where it starts, `lines` where each of its members does (from 1)."""

    def __init__(self, line: int = 0) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}

    def put(self, name: str, value: object, line: int) -> None:
        """Set a member and where it stands."""
        self[name] = value
        self.lines[name] = line


class Items(list[Any]):
    """A list. `line` is where it starts, `lines` where each of its items does (from 1)."""

    def __init__(self, line: int = 0) -> None:
        super().__init__()
        self.line = line
        self.lines: list[int] = []

    def add(self, value: object, line: int) -> None:
        """Append an item and where it stands."""
        self.append(value)
        self.lines.append(line)


def nearest(name: str, known: Collection[str], likeness: float = 0.6) -> str | None:
    """Return the known name that `name` was probably meant to be, or None; `likeness` is from 0 to 1."""
    import difflib  # only where something is wrong

    by_lower = {each.lower(): each for each in known}
    matches = difflib.get_close_matches(name.lower(), by_lower, 1, likeness)
    return by_lower[matches[0]] if matches else None


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return what to write instead of `name`: the nearest known name, or all of them if they are few."""
    match = nearest(name, known)
    if match is not None:
        return f"Did you mean {match}?"
    if len(known) > _LISTED_MAX:
        return "No name is like it: look it up in AWS's reference, or take it out."
    return f"Write one of: {', '.join(sorted(known))}." if known else "There is none: declare it first."


def load(path: Path) -> Members:
    """Read a template (or another file whose top is a mapping); raises TemplateError."""
    value = parse(read_text(path), str(path))
    if not isinstance(value, Members):
        raise TemplateError(str(path), 1, "The file holds no mapping.", "A template has at least a member `Resources`.")
    return value


def read_text(path: Path) -> str:
    """Return a file's text; raises TemplateError."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes().count(b"\n", 0, error.start) + 1
        raise TemplateError(str(path), line, "This is not UTF-8.", "Save the file as UTF-8.") from error
    except FileNotFoundError:
        raise TemplateError(
            str(path), 0, "There is no such file.", "Give another one, or make a project with `headrace init NAME`."
        ) from None
    except OSError as error:
        raise TemplateError(str(path), 0, error.strerror or str(error), "Give a file that can be read.") from error


def parse(text: str, file: str, *, as_text: bool = False) -> Any:
    """Return the value a text holds; `as_text` keeps every scalar as written. Raises TemplateError with the line."""
    import yaml  # 35 ms: only who reads a template pays for it

    loader = yaml.CSafeLoader(text)
    try:
        node: Any = loader.get_single_node()
        return None if node is None else _Reader(file, as_text).value(node)
    except yaml.YAMLError as error:
        raise _syntax_error(text, file, error) from error
    except RecursionError:
        raise TemplateError(file, 0, "The file is nested too deep.", "Nest less.") from None
    finally:
        loader.dispose()


class _Reader:
    """Turns YAML nodes into values."""

    def __init__(self, file: str, as_text: bool) -> None:
        self._file = file
        self._as_text = as_text
        self._nodes = 0
        self._open: set[int] = set()  # the nodes being read: meeting one again means that it holds itself

    def value(self, node: "Node") -> Any:
        """Return a node's value."""
        self._nodes += 1
        if id(node) in self._open or self._nodes > _NODES_MAX:
            raise self._error(node, "An alias makes this endless.", "Write the part out instead of using an alias.")
        self._open.add(id(node))
        try:
            return self._tagged(node) if node.tag.startswith("!") else self._plain(node)
        finally:
            self._open.discard(id(node))

    def _tagged(self, node: "Node") -> Members:
        name = _SHORT_TAGS.get(node.tag[1:])
        if name is None:
            known = tuple(f"!{short}" for short in _SHORT_TAGS)
            raise self._error(node, f"There is no function {node.tag}.", did_you_mean(node.tag, known))
        argument = node.value if node.id == "scalar" else self._plain(node)
        call = Members(_line(node))
        call.put(name, _parts(argument, call.line) if name == "Fn::GetAtt" else argument, call.line)
        return call

    def _plain(self, node: "Node") -> Any:
        if node.id == "mapping":
            return self._members(node)
        if node.id == "sequence":
            items = Items(_line(node))
            for item in node.value:
                items.add(self.value(item), _line(item))
            return items
        return node.value if self._as_text else _scalar(node.tag, node.value)

    def _members(self, node: "Node") -> Members:
        members = Members(_line(node))
        for key, value in node.value:
            if key.id != "scalar":
                raise self._error(key, "A member's name is text.", "Write `Name: value`; quote braces and brackets.")
            if key.tag == _YAML_TAG + "merge":
                raise self._error(key, "CloudFormation has no merge keys (<<).", "Write the members out.")
            if key.value in members:
                raise self._error(
                    key,
                    f"{key.value} stands here twice: first on line {members.lines[key.value]}.",
                    "Remove one of the two, or rename it.",
                )
            member = self.value(value)
            members.put(key.value, _parts(member, _line(key)) if key.value == "Fn::GetAtt" else member, _line(key))
        return members

    def _error(self, node: "Node", problem: str, hint: str) -> TemplateError:
        return TemplateError(self._file, _line(node), problem, hint)


def _line(node: "Node") -> int:
    return int(node.start_mark.line) + 1


def _parts(argument: object, line: int) -> object:
    """Return GetAtt's argument as a list, if it is written as `Resource.Attribute`."""
    if not isinstance(argument, str) or "." not in argument:
        return argument
    items = Items(line)
    for part in argument.split(".", 1):
        items.add(part, line)
    return items


def _scalar(tag: str, text: str) -> object:
    """Return a plain scalar's value as CloudFormation sees it: dates and octal-looking numbers stay text."""
    kind = tag.removeprefix(_YAML_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in ("true", "yes", "on")
    try:
        if kind == "int" and not text.lstrip("+-").startswith("0"):
            return int(text)
        if kind == "int" and text.strip("+-") == "0":
            return 0
        if kind == "float":
            return float(text)
    except ValueError:
        pass  # base 60, base 2, `.inf`: YAML's other spellings are text to CloudFormation
    return text


# What to do about a syntax error, by a part of libyaml's words for it.
_SYNTAX_HINTS = (
    ("mapping values are not allowed", "Quote a text that has ': ' in it, and check the indentation."),
    ("did not find expected key", "Indent this line like the lines around it, and close the quotes above it."),
    ("did not find expected '-'", "Indent this line like the lines around it."),
    ("could not find expected ':'", "Write `Name: value`."),
    ("unexpected end of stream", "Close the quotes that are opened on this line."),
    ("',' or '", "Close the bracket that is opened on this line."),
    ("cannot start any token", "Quote a text that starts with @, %, or `."),
    ("undefined alias", "Quote a text that starts with *."),
    ("another document", "Keep one document: remove the `---`."),
    ("escape", "Use single quotes for a text with backslashes."),
)
_STARTS_EARLIER = ("unexpected end of stream", "',' or '")


def _syntax_error(text: str, file: str, error: "yaml.YAMLError") -> TemplateError:
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    mark = getattr(error, "problem_mark", None)
    if any(words in problem for words in _STARTS_EARLIER):
        mark = getattr(error, "context_mark", None) or mark
    if mark is None:
        position = getattr(error, "position", 0)
        return TemplateError(file, text.count("\n", 0, position) + 1, problem, "Remove this character.")
    lines = text.splitlines()
    source = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in source[: len(source) - len(source.lstrip())]:
        return TemplateError(file, mark.line + 1, "A tab indents this line.", "Indent with spaces: YAML has no tabs.")
    hint = next((hint for words, hint in _SYNTAX_HINTS if words in problem), "Check this line and the one above it.")
    return TemplateError(file, mark.line + 1, f"This is no YAML: {problem}.", hint)
