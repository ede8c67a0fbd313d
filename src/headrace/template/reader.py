"""Reads a template section by section, and puts the System together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from headrace.errors import TemplateError
from headrace.system import System
from headrace.template import document, parameters, resources
from headrace.template.document import Items, Members, did_you_mean
from headrace.template.intrinsics import Resolver
from headrace.template.links import Links
from headrace.template.parts import Parts, Resource
from headrace.template.references import Checker, Names, resource_types
from headrace.template.schedules import Schedules

_SECTIONS = (
    "AWSTemplateFormatVersion",
    "Conditions",
    "Description",
    "Globals",
    "Hooks",
    "Mappings",
    "Metadata",
    "Outputs",
    "Parameters",
    "Resources",
    "Rules",
    "Transform",
)
_SAM = "AWS::Serverless-2016-10-31"
_TRANSFORMS = (_SAM, "AWS::LanguageExtensions")


class Opened(NamedTuple):
    """A template whose sections and references are checked, before anything is made of it."""

    file: str
    content: Members
    declared: Members  # the section Resources, Globals merged in
    names: Names
    values: parameters.Values


def opened(path: Path, given: Mapping[str, str], loaded: Members | None = None) -> Opened:
    """Return a template's sections with these parameters; `loaded` is what the file holds. Raises TemplateError."""
    file = str(path)
    content = document.load(path) if loaded is None else loaded
    _check_sections(file, content)
    declared = resources.declared(file, content)
    names = names_of(content, declared)
    _check_references(file, content, declared, names)
    return Opened(file, content, declared, names, parameters.values(file, names.parameters, given))


def read(path: Path, given: Mapping[str, str]) -> System:
    """Return the System that a template declares, with these parameters given; raises TemplateError."""
    return system_of(path, opened(path, given))


def system_of(path: Path, template: Opened) -> System:
    """Return the System of a template that is opened; raises TemplateError."""
    file, _, declared, names, values = template
    resolver = Resolver(file, names, declared, values)
    created = [
        Resource(logical_id, resource["Type"], resource.get("Properties") or Members(), declared.lines[logical_id])
        for logical_id, resource in declared.items()
        if resolver.exists(logical_id)
    ]
    parts = Parts(path.resolve().parent, resolver)
    for resource in created:
        parts.add(resource)
    links = Links(parts)
    reports = path.resolve().parent / "reports"
    schedules = Schedules(parts, reports)
    for resource in created:
        links.add(resource)
        schedules.add(resource)
    return System(
        template=str(path.resolve()),
        parameters={name: ",".join(value) if isinstance(value, list) else value for name, value in values.items()},
        streams=tuple(parts.streams.values()),
        functions=tuple(parts.functions.values()),
        mappings=tuple(links.mappings.values()),
        tables=tuple(parts.tables.values()),
        buckets=tuple(parts.buckets.values()),
        alarms=tuple(parts.alarms.values()),
        schedules=tuple(schedules.found),
        reports=str(reports),
        ignored=tuple(parts.ignored),
    )


def _check_sections(file: str, content: Members) -> None:
    for name in content:
        if name not in _SECTIONS:
            raise TemplateError(
                file, content.lines[name], f"A template has no section {name}.", did_you_mean(name, _SECTIONS)
            )
    for name in ("Conditions", "Mappings", "Outputs", "Parameters"):
        if not isinstance(content.get(name) or Members(), Members):
            raise TemplateError(file, content.lines[name], f"{name} is no mapping.", "Write `Name:` lines below it.")
    if "Resources" not in content:
        raise TemplateError(file, 1, "The section Resources is missing.", "Add it: what the system is made of.")
    transforms = content.get("Transform") or []
    line = content.lines.get("Transform", 1)
    for transform in transforms if isinstance(transforms, list) else [transforms]:
        if transform not in _TRANSFORMS:
            raise TemplateError(
                file, line, f"The transform {transform} is not run.", did_you_mean(str(transform), _TRANSFORMS)
            )


def names_of(content: Members, declared: Members) -> Names:
    """Return what a template may refer to."""

    def section(name: str) -> Members:
        return content.get(name) or Members()

    types, open_prefixes = resource_types(declared)
    return Names(section("Parameters"), section("Conditions"), section("Mappings"), types, open_prefixes)


def _check_references(file: str, content: Members, declared: Members, names: Names) -> None:
    checker = Checker(file, names)
    checker.conditions()
    for logical_id, resource in declared.items():
        kind, line = resource["Type"], resource.lines["Type"]
        if kind.startswith("AWS::Serverless::") and _SAM not in _listed(content.get("Transform")):
            raise TemplateError(file, line, f"{logical_id}: {kind} is a type of SAM.", f"Add Transform: {_SAM}")
        if "Condition" in resource:
            checker.condition(resource["Condition"], resource.lines["Condition"])
        for name in _listed(resource.get("DependsOn")):
            checker.resource(name, resource.lines["DependsOn"])
        checker.value(resource.get("Properties"), declared.lines[logical_id])
    for name, output in (content.get("Outputs") or Members()).items():
        line = content["Outputs"].lines[name]
        if not isinstance(output, Members) or "Value" not in output:
            raise TemplateError(file, line, f"The output {name} has no Value.", "Add Value.")
        if "Condition" in output:
            checker.condition(output["Condition"], output.lines["Condition"])
        checker.value(output, line)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, Items) else [value]
