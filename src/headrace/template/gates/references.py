"""Gate `references`: what is declared is used.

That what is used is declared, and is created under the same condition, the reader finds when it resolves everything.
"""

import re
from collections.abc import Iterator
from typing import Any

from headrace.template.document import Items, Members
from headrace.template.gates import jsonata
from headrace.template.gates.finding import Finding
from headrace.template.gates.model import Model
from headrace.template.references import SUB_VARIABLE

GATE = "references"
_OF_USE_TO_OTHERS = (
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::Subnet",
    "AWS::IAM::InstanceProfile",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Role",
    "AWS::Logs::LogGroup",
)


def gate(model: Model) -> Iterator[Finding]:
    """Check that parameters, conditions, mappings, and resources that serve others are used."""
    content = model.content
    used = set(_used({name: each for name, each in content.items() if name not in ("Parameters", "Mappings")}))
    for section, what in (("Parameters", "parameter"), ("Conditions", "condition"), ("Mappings", "mapping")):
        declared = content.get(section) or Members()
        for name in declared:
            if name not in used:
                yield Finding(GATE, name, declared.lines[name], f"nothing uses the {what}.", "Take it out.")
    for each in model.of(*_OF_USE_TO_OTHERS):
        if each.logical_id not in used:
            yield each.finding(GATE, "nothing uses it.", "Take it out, or refer to it.")
    yield from _texts(model)
    yield from _choices(model)
    yield from _cycles(model)


def _choices(model: Model) -> Iterator[Finding]:
    """Check that a mapping has every value that the parameter may have by which it is looked into."""
    parameters, mappings = (model.content.get(section) or Members() for section in ("Parameters", "Mappings"))
    for name, by in _lookups(model.content):
        for value in (parameters.get(by) or Members()).get("AllowedValues") or ():
            if name in mappings and str(value) not in map(str, mappings[name]):
                problem = f"{by} may be {value}, which the mapping does not have."
                yield Finding(GATE, name, mappings.lines[name], problem, "Add it, or take it out of AllowedValues.")


def _lookups(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the mappings that are looked into by a parameter's value, and that parameter."""
    for name, each in value.items() if isinstance(value, dict) else (("", each) for each in value):
        if name == "Fn::FindInMap" and isinstance(each, Items) and len(each) > 1 and isinstance(each[1], dict):
            yield str(each[0]), str(each[1].get("Ref"))
        if isinstance(each, dict | Items):
            yield from _lookups(each)


# What SAM makes resources of their own from: they are made after the function.
_APART = ("Events", "EventInvokeConfig", "FunctionUrlConfig")


def _cycles(model: Model) -> Iterator[Finding]:
    """Check that no resource has to be made before itself."""
    after: dict[str, set[str]] = {}
    for each in model.resources.values():
        properties = each.raw.get("Properties") or Members()
        parts = {name: value for name, value in properties.items() if name not in _APART}
        needed = set(_used({"DependsOn": each.raw.get("DependsOn", ()), "Properties": parts}))
        after[each.logical_id] = needed & model.resources.keys()
    while ends := {name for name in after if not after[name] & after.keys()} or (
        after.keys() - set().union(*after.values())
    ):
        for name in ends:
            del after[name]
    for name, needed in after.items():
        problem = f"it and {', '.join(sorted(needed & after.keys()))} need one another to be made."
        yield model.resources[name].finding(GATE, problem, "Take a reference, or DependsOn, out.")


def _texts(model: Model) -> Iterator[Finding]:
    """Check that no text has an ARN where a name belongs: `s3://arn:…`, or an ARN within an ARN."""
    for each in model.resources.values():
        for text in jsonata.texts(each.properties):
            if "s3://arn:" in text or re.search(r"^arn:aws[^ ]*arn:aws", text):
                yield each.finding(GATE, f"{text} has an ARN in it where a name belongs.", "Write !Ref for a name.")
            if re.match(r"s3://(/|$)", text) and model.parameters.get("ArtifactsBucket") != "":
                yield each.finding(GATE, f"{text} names no bucket.", "Write s3://${Bucket}/key.")


def _used(value: Any) -> Iterator[str]:
    """Yield the names that functions and conditions refer to."""
    if isinstance(value, Items):
        for each in value:
            yield from _used(each)
    if not isinstance(value, dict):
        return
    for name, each in value.items():
        if name in ("Ref", "Condition") and isinstance(each, str):
            yield each
        elif name in ("Fn::GetAtt", "Fn::If", "Fn::FindInMap") and isinstance(each, Items) and each:
            yield str(each[0])
        elif name == "Fn::Sub":
            text = each[0] if isinstance(each, Items) and each else each
            yield from (found.partition(".")[0] for literal, found in SUB_VARIABLE.findall(str(text)) if not literal)
        elif name == "DependsOn":
            yield from each if isinstance(each, list) else [each]
        yield from _used(each)
