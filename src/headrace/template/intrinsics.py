"""The values of a template's intrinsic functions on one machine.

Supported: Ref, GetAtt, Sub, Join, Split, Select, If, And, Or, Not, Equals, FindInMap, Base64, pseudo-parameters and
NoValue. A value is found only when somebody asks for it, so what nobody reads may use any function.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from headrace.errors import TemplateError
from headrace.system import ACCOUNT, REGION
from headrace.template.document import Items, Members, did_you_mean
from headrace.template.references import IDENTITIES, NO_VALUE, PSEUDO_PARAMETERS, SUB_VARIABLE, Names


class NoValue:
    """What `AWS::NoValue` is: the member or item isn't there."""


ABSENT = NoValue()


class Resolver:
    """Finds values. `parameters` are given ones and defaults; `resources` the section, Globals merged in."""

    def __init__(self, file: str, names: Names, resources: Members, parameters: Mapping[str, str | list[str]]) -> None:
        self.file = file
        self._names = names
        self._resources = resources
        self._parameters = parameters
        self._conditions: dict[str, bool] = {}
        self._physical: dict[str, str] = {}
        self._asked: list[str] = []  # conditions and resources being looked at: meeting one again is a circle
        self._functions: dict[str, Callable[[Any, int], Any]] = {
            "Ref": self._ref,
            "Fn::And": lambda argument, line: all(self._truths(argument, line)),
            "Fn::Base64": lambda argument, line: base64.b64encode(self.text(argument, line).encode()).decode(),
            "Fn::Equals": self._equals,
            "Fn::FindInMap": self._find_in_map,
            "Fn::GetAtt": self._get_att,
            "Fn::If": self._if,
            "Fn::Join": self._join,
            "Fn::Not": lambda argument, line: not all(self._truths(argument, line)),
            "Fn::Or": lambda argument, line: any(self._truths(argument, line)),
            "Fn::Select": self._select,
            "Fn::Split": self._split,
            "Fn::Sub": self._sub,
        }

    def resolve(self, value: object, line: int) -> Any:
        """Return a value with every function in it replaced, as plain lists and dicts; ABSENT for NoValue."""
        value, line = self.shallow(value, line)
        if isinstance(value, Members):
            pairs = ((name, self.resolve(member, value.lines[name])) for name, member in value.items())
            return {name: member for name, member in pairs if member is not ABSENT}
        if isinstance(value, Items):
            items = (self.resolve(item, at) for item, at in zip(value, value.lines, strict=True))
            return [item for item in items if item is not ABSENT]
        return value

    def shallow(self, value: object, line: int) -> tuple[Any, int]:
        """Return a value that is no function call itself (what it holds may be), and the line where it stands."""
        while isinstance(value, Members) and len(value) == 1:
            (name, argument), line = next(iter(value.items())), value.line
            function = self._functions.get(name)
            if function is None:
                if name.startswith("Fn::"):
                    raise self._error(line, f"{name} has no value on one machine.", "Use a parameter instead.")
                break
            value = function(argument, line)
        if isinstance(value, str) and "{{resolve:" in value:
            raise self._error(line, "{{resolve:…}} is looked up on AWS only.", "Use a parameter with NoEcho instead.")
        return value, line

    def absent(self, value: object) -> bool:
        """Return whether a member is NoValue, looking no further than what chooses it."""
        while isinstance(value, Members) and "Fn::If" in value:
            value = self._if(value["Fn::If"], value.line)
        return value == {"Ref": NO_VALUE}

    def text(self, value: object, line: int) -> str:
        """Return a value as text; numbers and booleans as CloudFormation writes them."""
        value, line = self.shallow(value, line)
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str | int | float):
            return str(value)
        raise self._error(line, f"This is {describe(value)}, not text.", "Write a text, or a function that gives one.")

    def holds(self, name: str, line: int) -> bool:
        """Return whether a condition holds."""
        if name not in self._conditions:
            conditions = self._names.conditions
            self._ask(f"condition {name}", line)
            self._conditions[name] = self._truth(conditions[name], conditions.lines[name])
            self._asked.pop()
        return self._conditions[name]

    def exists(self, logical_id: str) -> bool:
        """Return whether a resource is created: its condition, if it has one, holds."""
        resource = self._resources[logical_id]
        condition = resource.get("Condition")
        return condition is None or self.holds(condition, resource.lines["Condition"])

    def name(self, logical_id: str, line: int) -> str:
        """Return a resource's name: what its name property says, else its logical id (lower case for a bucket)."""
        if logical_id not in self._physical:
            self._ask(logical_id, line)
            self._physical[logical_id] = self._name(logical_id, line)
            self._asked.pop()
        return self._physical[logical_id]

    def _name(self, logical_id: str, line: int) -> str:
        if logical_id not in self._resources:  # generated by SAM: a URL goes by its function's name
            owner = logical_id.removesuffix("Url")
            return self.name(owner, line) if self._names.resources.get(logical_id) == "AWS::Lambda::Url" else logical_id
        if not self.exists(logical_id):
            condition = self._resources[logical_id]["Condition"]
            raise self._error(line, f"{logical_id} isn't created: {condition} is false.", "Choose with !If.")
        kind = self._names.resources[logical_id]
        properties = self._resources[logical_id].get("Properties") or Members()
        if kind == "AWS::Lambda::Url":
            return self.text(properties.get("TargetFunctionArn", logical_id), line).rpartition(":")[2]
        default = logical_id.lower() if kind == "AWS::S3::Bucket" else logical_id
        own = IDENTITIES[kind].name_property if kind in IDENTITIES else ""
        if own not in properties:
            return default
        value, at = self.shallow(properties[own], properties.lines[own])
        return default if value is ABSENT else self.text(value, at)

    def _ask(self, what: str, line: int) -> None:
        if what in self._asked:
            circle = " → ".join([*self._asked[self._asked.index(what) :], what])
            raise self._error(line, f"This goes in a circle: {circle}.", "Take one of these references out.")
        self._asked.append(what)

    def _ref(self, name: str, line: int) -> Any:
        if name == NO_VALUE:
            return ABSENT
        value = self._parameters.get(name, PSEUDO_PARAMETERS.get(name))
        if value is None:
            identity = IDENTITIES.get(self._names.resources.get(name, ""))
            found = self.name(name, line)
            return identity.ref.format(name=found) if identity else found
        return _items(value, line) if isinstance(value, list) else value

    def _get_att(self, argument: Items, line: int) -> str:
        return self._attribute(argument[0], self.text(argument[1], line), line)

    def _attribute(self, logical_id: str, attribute: str, line: int) -> str:
        name = self.name(logical_id, line)
        kind = self._names.resources.get(logical_id, "AWS::Unknown::Unknown")
        known = IDENTITIES[kind].attributes if kind in IDENTITIES else {}
        if attribute in known:
            return known[attribute].format(name=name)
        if attribute.endswith("Arn"):
            service, _, resource = kind.lower().removeprefix("aws::").partition("::")
            return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}/{name}"
        return f"{name}.{attribute}"

    def _sub(self, argument: Any, line: int) -> str:
        text, own = argument if isinstance(argument, Items) else (argument, Members())

        def value(match: Any) -> str:
            literal, name = match.groups()
            if literal:
                return f"${{{name}}}"
            if name in own:
                return self.text(own[name], own.lines[name])
            resource, dot, attribute = name.partition(".")
            if dot and name not in self._names.resources:
                return self._attribute(resource, attribute, line)
            return self.text(self._ref(name, line), line)

        return SUB_VARIABLE.sub(value, text)

    def _if(self, argument: Items, line: int) -> Any:
        return argument[1] if self.holds(argument[0], line) else argument[2]

    def _join(self, argument: object, line: int) -> str:
        separator, values = self._pair(argument, line, "Join", "!Join [separator, [value, value]]")
        return self.text(separator, line).join(self._texts(values, line))

    def _split(self, argument: object, line: int) -> Items:
        separator, text = self._pair(argument, line, "Split", "!Split [separator, text]")
        return _items(self.text(text, line).split(self.text(separator, line)), line)

    def _select(self, argument: object, line: int) -> Any:
        index, values = self._pair(argument, line, "Select", "!Select [index, [value, value]]")
        items, at = self.shallow(values, line)
        number = self.text(index, line)
        if not isinstance(items, Items):
            raise self._error(at, f"This is {describe(items)}, not a list.", "Write !Select [index, [value, value]].")
        if not number.isdigit() or int(number) >= len(items):
            raise self._error(line, f"There is no item {number} of {len(items)}.", "An index counts from 0.")
        return items[int(number)]

    def _find_in_map(self, argument: Items, line: int) -> Any:
        found: Any = self._names.mappings
        for part in argument:
            key = self.text(part, line)
            if not isinstance(found, Members) or key not in found:
                known = list(found) if isinstance(found, Members) else []
                raise self._error(line, f"The mapping has no key {key}.", did_you_mean(key, known))
            found = found[key]
        return found

    def _equals(self, argument: object, line: int) -> bool:
        left, right = self._pair(argument, line, "Equals", "!Equals [value, value]")
        return self._comparable(left, line) == self._comparable(right, line)

    def _comparable(self, value: object, line: int) -> object:
        found = self.resolve(value, line)
        return self.text(found, line) if isinstance(found, str | int | float) else found

    def _truths(self, argument: object, line: int) -> list[bool]:
        if not isinstance(argument, Items) or not argument:
            raise self._error(line, "This takes a list of conditions.", "Write !Not [!Equals [value, value]].")
        return [self._truth(item, at) for item, at in zip(argument, argument.lines, strict=True)]

    def _truth(self, value: object, line: int) -> bool:
        if isinstance(value, Members) and list(value) == ["Condition"]:
            return self.holds(value["Condition"], value.line)
        value, line = self.shallow(value, line)
        if isinstance(value, bool) or value in ("true", "false"):
            return value in (True, "true")
        raise self._error(line, f"This is {describe(value)}, not a condition.", "Write !Equals [value, value].")

    def _texts(self, value: object, line: int) -> list[str]:
        items, line = self.shallow(value, line)
        if not isinstance(items, Items):
            raise self._error(line, f"This is {describe(items)}, not a list.", "Write a list of texts.")
        found = (self.shallow(item, at) for item, at in zip(items, items.lines, strict=True))
        return [self.text(item, at) for item, at in found if item is not ABSENT]

    def _pair(self, argument: object, line: int, name: str, form: str) -> tuple[Any, Any]:
        if not isinstance(argument, Items) or len(argument) != 2:
            raise self._error(line, f"{name} takes two values.", f"Write {form}.")
        return argument[0], argument[1]

    def _error(self, line: int, problem: str, hint: str) -> TemplateError:
        return TemplateError(self.file, line, problem, hint)


def describe(value: object) -> str:
    """Return what a value is, in words for an error."""
    if isinstance(value, dict):
        return f"a mapping ({', '.join(list(value)[:3])})" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list"
    if value is None or value is ABSENT:
        return "nothing"
    return repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _items(values: list[str], line: int) -> Items:
    items = Items(line)
    for value in values:
        items.add(value, line)
    return items
