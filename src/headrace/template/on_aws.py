"""A template's resources as they would be on AWS: what this machine leaves out included, as far as values can be known.

What only AWS can say (another resource's attribute, for one) stands as the reader on one machine would name it, or is
left out. Costs are computed from this.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from headrace.errors import TemplateError
from headrace.template import document, parameters, resources
from headrace.template.document import Items, Members
from headrace.template.intrinsics import ABSENT, Resolver
from headrace.template.reader import names_of

# What `headrace deploy` sets; any value will do where only costs are asked for.
SET_BY_DEPLOY = {"ArtifactsBucket": "artifacts", "ArtifactsPrefix": "jobs"}
AN_ACCOUNT = "111111111111"  # any but that of one machine


class Resource(msgspec.Struct, frozen=True):
    """A resource that would be created."""

    type: str
    properties: dict[str, Any]


class Declared(msgspec.Struct, frozen=True):
    """What a template declares: its resources by logical id, and every parameter's value."""

    resources: dict[str, Resource]
    parameters: dict[str, str]


def read(path: Path, given: Mapping[str, str]) -> Declared:
    """Return what would be created on AWS with these parameters; raises TemplateError."""
    file = str(path)
    content = document.load(path)
    if not isinstance(content.get("Resources"), Members):
        raise TemplateError(file, 1, "The section Resources is missing.", "Add it: what the system is made of.")
    declared = resources.declared(file, content)
    names = names_of(content, declared)
    values = parameters.values(file, names.parameters, given)
    resolver = Resolver(file, names, declared, {**values, "AWS::AccountId": AN_ACCOUNT})
    found = {
        logical_id: Resource(resource["Type"], _known(resolver, resource.get("Properties") or Members(), 0))
        for logical_id, resource in declared.items()
        if resolver.exists(logical_id)
    }
    texts = {name: ",".join(value) if isinstance(value, list) else value for name, value in values.items()}
    return Declared(found, texts)


def read_deployed(path: Path, given: Mapping[str, str]) -> Declared:
    """Return what `headrace deploy` would create: with values for the parameters that it sets itself."""
    declared = document.load(path).get("Parameters") or {}
    return read(path, {name: value for name, value in SET_BY_DEPLOY.items() if name in declared} | dict(given))


def _known(resolver: Resolver, value: object, line: int) -> Any:
    """Return a value with every function in it replaced, without those parts that can't be."""
    try:
        value, line = resolver.shallow(value, line)
        if isinstance(value, Members):
            pairs = ((name, _known(resolver, member, value.lines[name])) for name, member in value.items())
            return {name: member for name, member in pairs if member is not ABSENT}
        if isinstance(value, Items):
            items = (_known(resolver, item, at) for item, at in zip(value, value.lines, strict=True))
            return [item for item in items if item is not ABSENT]
    except TemplateError:
        return ABSENT
    return value
