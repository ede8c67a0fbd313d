"""A template as the gates look at it: every resource that is created, its properties resolved, on AWS or not."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from headrace.system import REGION, System
from headrace.template import reader
from headrace.template.document import Items, Members
from headrace.template.gates.finding import Finding
from headrace.template.intrinsics import ABSENT, Resolver
from headrace.template.references import IDENTITIES

FUNCTIONS = ("AWS::Serverless::Function", "AWS::Lambda::Function")
MACHINES = ("AWS::Serverless::StateMachine", "AWS::StepFunctions::StateMachine")


class Resource(NamedTuple):
    """A resource that is created. `properties` are plain values; `raw` is what stands in the file."""

    logical_id: str
    type: str
    properties: dict[str, Any]
    raw: Members
    line: int

    def finding(self, gate: str, problem: str, hint: str = "", line: int = 0) -> Finding:
        """Return a finding at this resource."""
        return Finding(gate, self.logical_id, line or self.line, problem, hint)


class Model:
    """A template with parameters given. `system` is what `headrace up` reads of it."""

    def __init__(self, path: Path, given: Mapping[str, str], like: "Model | None" = None) -> None:
        """`like` is a model of the same file with other parameters. Raises TemplateError as `headrace up` does."""
        opened = reader.opened(path, given, like.content if like else None)
        self.path = path
        self.system: System = reader.system_of(path, opened)
        self.content: Members = opened.content
        self.parameters = opened.values
        self._resolver = _OnAws(opened.file, opened.names, opened.declared, opened.values)
        self.resources: dict[str, Resource] = {}
        for logical_id, raw in opened.declared.items():
            if self._resolver.exists(logical_id):
                line = opened.declared.lines[logical_id]
                properties = self._resolver.resolve(raw.get("Properties") or Members(), line)
                self.resources[logical_id] = Resource(logical_id, raw["Type"], properties, raw, line)
        for name, output in (opened.content.get("Outputs") or Members()).items():
            if "Condition" not in output or self._resolver.holds(output["Condition"], output.line):
                self._resolver.resolve(output["Value"], opened.content["Outputs"].lines[name])
        self._ids = {(each.type, self.name(each.logical_id)): each.logical_id for each in self.resources.values()}

    def of(self, *types: str) -> Iterator[Resource]:
        """Yield the resources of these types."""
        return (each for each in self.resources.values() if each.type in types)

    def name(self, logical_id: str) -> str:
        """Return a resource's physical name."""
        return self._resolver.name(logical_id, 0)

    def arn(self, logical_id: str) -> str:
        """Return a resource's ARN; empty where the type is not known."""
        identity = IDENTITIES.get(self.resources[logical_id].type)
        if identity is None:
            return ""
        arns = [
            value for name, value in identity.attributes.items() if name.endswith("Arn") and value.startswith("arn:")
        ]
        return (arns[0] if arns else identity.ref).format(name=self.name(logical_id))

    def named(self, name: object, *types: str) -> Resource | None:
        """Return the resource of one of these types that has a name."""
        found = (self._ids.get((kind, str(name))) for kind in types)
        return next((self.resources[each] for each in found if each is not None), None)

    def at(self, arn: object, *types: str) -> Resource | None:
        """Return the resource of one of these types that has an ARN."""
        return next((each for each in self.of(*types) if arn and self.arn(each.logical_id) == arn), None)

    def value(self, value: object) -> Any:
        """Return what stands in the file as a plain value; None for NoValue."""
        found = self._resolver.resolve(value, 0)
        return None if found is ABSENT else found

    def definitions(self) -> Iterator[tuple[Resource, dict[str, Any]]]:
        """Yield every state machine and its definition; one that can't be read as JSON is an empty one."""
        for each in self.of(*MACHINES):
            found = each.properties.get("Definition") or each.properties.get("DefinitionString") or {}
            if isinstance(found, str):
                try:
                    found = json.loads(found)
                except ValueError:
                    found = {}
            if found:
                yield each, found


class _OnAws(Resolver):
    """Finds values as on AWS: functions that one machine has no value for get one of the right kind."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._functions |= dict.fromkeys(("Fn::ImportValue", "Fn::Length", "Fn::Transform"), lambda argument, line: "1")
        self._functions["Fn::ToJsonString"] = lambda argument, line: json.dumps(self.resolve(argument, line))
        self._functions["Fn::GetAZs"] = lambda argument, line: _several(f"{REGION}{letter}" for letter in "abcdef")
        self._functions["Fn::Cidr"] = lambda argument, line: _several(f"10.0.{number}.0/24" for number in range(6))


def _several(values: Iterator[str]) -> Items:
    items = Items()
    for value in values:
        items.add(value, 0)
    return items
