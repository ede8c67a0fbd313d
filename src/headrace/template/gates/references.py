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
