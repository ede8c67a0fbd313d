"""A template's section Resources as declared: types and attributes checked, SAM's Globals merged in.

Every type is one that this machine realises, one that it leaves out (`left_out` says why), or an error.
"""

import re
from typing import TypeGuard

from headrace.errors import TemplateError
from headrace.template.document import Items, Members, did_you_mean, nearest

REALISED = (
    "AWS::CloudWatch::Alarm",
    "AWS::DynamoDB::Table",
    "AWS::Kinesis::Stream",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Function",
    "AWS::Lambda::Url",
    "AWS::RedshiftServerless::Namespace",  # this machine's warehouse answers for every one
    "AWS::RedshiftServerless::Workgroup",
    "AWS::S3::Bucket",
    "AWS::Serverless::Function",
    "AWS::Serverless::SimpleTable",
    "AWS::Serverless::StateMachine",
)

_NO_PERMISSIONS = "there is no authentication yet, so nobody needs permissions"
_AS_IT_IS = "a function runs as it stands in its folder"
# Types of the services that are realised, and why one machine leaves them out.
_LEFT_OUT_TYPES = {
    "AWS::CloudWatch::AlarmMuteRule": "alarms are not muted",
    "AWS::CloudWatch::AnomalyDetector": "one machine has no anomaly detection",
    "AWS::CloudWatch::CompositeAlarm": "one machine has plain alarms only",
    "AWS::CloudWatch::Dashboard": "the console has its own pages",
    "AWS::CloudWatch::InsightRule": "one machine has no contributor insights",
    "AWS::CloudWatch::MetricStream": "metrics stay on this machine",
    "AWS::DynamoDB::GlobalTable": "one machine has no regions; use AWS::DynamoDB::Table",
    "AWS::Kinesis::ResourcePolicy": _NO_PERMISSIONS,
    "AWS::Kinesis::StreamConsumer": "enhanced fan-out is not built; mappings read the stream itself",
    "AWS::Lambda::Alias": _AS_IT_IS,
    "AWS::Lambda::CodeSigningConfig": _AS_IT_IS,
    "AWS::Lambda::LayerVersion": "install its packages in this environment",
    "AWS::Lambda::LayerVersionPermission": _NO_PERMISSIONS,
    "AWS::Lambda::Permission": _NO_PERMISSIONS,
    "AWS::Lambda::ResourcePolicy": _NO_PERMISSIONS,
    "AWS::Lambda::Version": _AS_IT_IS,
    "AWS::S3::AccessGrant": _NO_PERMISSIONS,
    "AWS::S3::AccessGrantsInstance": _NO_PERMISSIONS,
    "AWS::S3::AccessGrantsLocation": _NO_PERMISSIONS,
    "AWS::S3::AccessPoint": "use the bucket itself",
    "AWS::S3::BucketPolicy": _NO_PERMISSIONS,
    "AWS::S3::StorageLens": "one machine has no storage lens",
    "AWS::Serverless::Api": "use a function URL",
    "AWS::Serverless::Application": "nested applications are not run",
    "AWS::Serverless::Connector": _NO_PERMISSIONS,
    "AWS::Serverless::GraphQLApi": "use a function URL",
    "AWS::Serverless::HttpApi": "use a function URL",
    "AWS::Serverless::LayerVersion": "install its packages in this environment",
    "AWS::Serverless::WebSocketApi": "use a function URL",
}
_LEFT_OUT_SERVICES = {
    "AWS::ApiGateway": "use a function URL",
    "AWS::ApiGatewayV2": "use a function URL",
    "AWS::ApplicationAutoScaling": "a table keeps the units that it is given",
    "AWS::EC2": "processes use this machine's network",
    "AWS::Events": "write the schedule as a ScheduleV2 event of the state machine of jobs",
    "AWS::IAM": _NO_PERMISSIONS,
    "AWS::IoT": "MQTT is not spoken; devices put to the stream",
    "AWS::KMS": "nothing is encrypted at rest",
    "AWS::Logs": "logs are files in the data directory",
    "AWS::SNS": "one machine has no topics",
    "AWS::SQS": "one machine has no queues",
    "AWS::Scheduler": "write the schedule as a ScheduleV2 event of the state machine of jobs",
    "AWS::StepFunctions": "state machines are not run",
}
_SERVICES = tuple(sorted({kind.rpartition("::")[0] for kind in REALISED}))
_TYPE = re.compile(r"Custom::.+|[A-Za-z0-9]+(::[A-Za-z0-9]+){2,3}")

_ATTRIBUTES = (
    "Type",
    "Properties",
    "Condition",
    "Connectors",
    "CreationPolicy",
    "DeletionPolicy",
    "DependsOn",
    "IgnoreGlobals",
    "Metadata",
    "UpdatePolicy",
    "UpdateReplacePolicy",
)
_NOT_GLOBAL = ("Events", "FunctionName", "ImageUri", "InlineCode", "Policies", "Role", "TableName")
_GLOBALS = ("Api", "CapacityProvider", "Function", "HttpApi", "LayerVersion", "SimpleTable", "StateMachine")


def left_out(kind: str) -> str | None:
    """Return why one machine leaves a type out; None if it is realised."""
    if kind in REALISED:
        return None
    service = kind.rpartition("::")[0]
    default = f"one machine has no {kind.split('::')[1]}"
    return _LEFT_OUT_TYPES.get(kind) or _LEFT_OUT_SERVICES.get(service) or default


def declared(file: str, document: Members) -> Members:
    """Return the section Resources, checked, Globals merged into the properties; raises TemplateError."""
    section = document["Resources"]
    if not isinstance(section, Members) or not section:
        line = document.lines["Resources"]
        raise TemplateError(file, line, "Resources declares nothing.", "Write a mapping of logical ids.")
    shared = _globals(file, document)
    resources = Members(section.line)
    for logical_id, resource in section.items():
        line = section.lines[logical_id]
        _check(file, logical_id, resource, line)
        resources.put(logical_id, _with_globals(resource, shared), line)
    return resources


def _check(file: str, logical_id: str, resource: object, line: int) -> None:
    if not re.fullmatch(r"[A-Za-z0-9]+", logical_id):
        raise TemplateError(file, line, f"{logical_id} is no logical id.", "Write letters and digits only.")
    if not isinstance(resource, Members) or not isinstance(resource.get("Type"), str):
        raise TemplateError(file, line, f"{logical_id} has no Type.", "Add its Type, for example AWS::Kinesis::Stream.")
    for attribute in resource:
        if attribute not in _ATTRIBUTES:
            raise TemplateError(
                file,
                resource.lines[attribute],
                f"{logical_id}: a resource has no attribute {attribute}.",
                did_you_mean(attribute, _ATTRIBUTES),
            )
    if not isinstance(resource.get("Properties") or Members(), Members):
        raise TemplateError(
            file, resource.lines["Properties"], f"{logical_id}: Properties is no mapping.", "Write `Name: value` lines."
        )
    _check_type(file, logical_id, resource["Type"], resource.lines["Type"])


def _check_type(file: str, logical_id: str, kind: str, line: int) -> None:
    known = (*REALISED, *_LEFT_OUT_TYPES)
    if kind in known:
        return
    service = kind.rpartition("::")[0]
    if service in _SERVICES or not _TYPE.fullmatch(kind):
        hint = did_you_mean(kind, [each for each in known if each.startswith(f"{service}::")] or REALISED)
        raise TemplateError(file, line, f"{logical_id}: there is no type {kind}.", hint)
    misspelt = nearest(service, _SERVICES, 0.9)
    if misspelt is not None:
        meant = f"{misspelt}::{kind.rpartition('::')[2]}"
        raise TemplateError(file, line, f"{logical_id}: there is no type {kind}.", did_you_mean(meant, known))


def _globals(file: str, document: Members) -> dict[str, Members]:
    """Return the section Globals by the type it is for."""
    section = document.get("Globals") or Members()
    if not isinstance(section, Members):
        raise TemplateError(file, document.lines["Globals"], "Globals is no mapping.", "Write Function: below it.")
    for name, properties in section.items():
        if name not in _GLOBALS:
            raise TemplateError(
                file, section.lines[name], f"Globals has no section {name}.", did_you_mean(name, _GLOBALS)
            )
        if not isinstance(properties, Members):
            raise TemplateError(
                file, section.lines[name], f"Globals: {name} is no mapping.", "Write `Property: value` lines below it."
            )
        for refused in _NOT_GLOBAL:
            if refused in properties:
                raise TemplateError(
                    file,
                    properties.lines[refused],
                    f"Globals: {refused} can't be shared.",
                    "Write it in each resource.",
                )
    return {f"AWS::Serverless::{name}": properties for name, properties in section.items()}


def _with_globals(resource: Members, shared: dict[str, Members]) -> Members:
    properties = shared.get(resource["Type"])
    left = resource.get("IgnoreGlobals") or []
    if properties is None or left == "*":
        return resource
    chosen = Members(properties.line)
    for name, value in properties.items():
        if name not in left:
            chosen.put(name, value, properties.lines[name])
    merged = Members(resource.line)
    for name, value in resource.items():
        merged.put(name, value, resource.lines[name])
    merged.put("Properties", _merge(chosen, resource.get("Properties") or Members()), resource.line)
    return merged


def _merge(shared: Members, own: Members) -> Members:
    """Merge as SAM does: mappings member by member, lists one after the other, else the resource's own value."""
    merged = Members(own.line or shared.line)
    for name, value in shared.items():
        merged.put(name, value, shared.lines[name])
    for name, value in own.items():
        theirs = merged.get(name)
        if _is_mapping(theirs) and _is_mapping(value):
            value = _merge(theirs, value)
        elif isinstance(theirs, Items) and isinstance(value, Items) and name != "Architectures":
            value = _concatenated(theirs, value)
        merged.put(name, value, own.lines[name])
    return merged


def _is_mapping(value: object) -> TypeGuard[Members]:
    """Return whether this is a mapping and no function call, which counts as one value."""
    return isinstance(value, Members) and not any(name == "Ref" or name.startswith("Fn::") for name in value)


def _concatenated(first: Items, second: Items) -> Items:
    joined = Items(first.line)
    for part in (first, second):
        for item, line in zip(part, part.lines, strict=True):
            joined.add(item, line)
    return joined
