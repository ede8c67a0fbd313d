"""What a template may refer to: the check of every Ref, GetAtt, Sub and condition, taken or not.

`check` looks at names only and so covers resources that one machine leaves out too; `intrinsics.py` finds the values.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from headrace.errors import TemplateError
from headrace.settings import DEFAULT_ENDPOINT
from headrace.system import ACCOUNT, REGION, STACK, function_arn, stream_arn
from headrace.template.document import INTRINSICS, Items, Members, did_you_mean

NO_VALUE = "AWS::NoValue"
PSEUDO_PARAMETERS: dict[str, str | list[str] | None] = {
    "AWS::AccountId": ACCOUNT,
    "AWS::NotificationARNs": [],
    NO_VALUE: None,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK}/{STACK}",
    "AWS::StackName": STACK,
    "AWS::URLSuffix": "amazonaws.com",
}
SUB_VARIABLE = re.compile(r"\$\{(!?)([^}]*)\}")


class Identity(NamedTuple):
    """How a type's resources are named: the property with the name, and what GetAtt and Ref answer for a name."""

    name_property: str
    attributes: dict[str, str]  # formats of {name}
    ref: str = "{name}"


_FUNCTION = Identity("FunctionName", {"Arn": function_arn("{name}")})
_TABLE_ARN = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{{name}}"
_MACHINE_ARN = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{{name}}"
_MACHINE = Identity("Name", {"Arn": _MACHINE_ARN, "Name": "{name}", "StateMachineRevisionId": "1"}, _MACHINE_ARN)
_WAREHOUSE_ARN = f"arn:aws:redshift-serverless:{REGION}:{ACCOUNT}"


def _inner(kind: str, path: str, id_: str) -> dict[str, str]:
    """Return the attributes of Redshift's resources, which are those of a structure in them."""
    own = {f"{kind}Arn": f"{_WAREHOUSE_ARN}:{path}/{{name}}", f"{kind}Name": "{name}", id_: "{name}-id"}
    rest = _OTHER_ATTRIBUTES[kind].split()
    return {f"{kind}.{name}": value for name, value in {**dict.fromkeys(rest, "{name}"), **own}.items()}


_OTHER_ATTRIBUTES = {
    "Namespace": "AdminUsername CreationDate DbName DefaultIamRoleArn IamRoles KmsKeyId LogExports Status",
    "Workgroup": "BaseCapacity ConfigParameters CreationDate Endpoint.Address Endpoint.Port EnhancedVpcRouting "
    "MaxCapacity NamespaceName PubliclyAccessible SecurityGroupIds Status SubnetIds TrackName",
}
IDENTITIES = {
    "AWS::CloudWatch::Alarm": Identity("AlarmName", {"Arn": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{{name}}"}),
    "AWS::DynamoDB::Table": Identity("TableName", {"Arn": _TABLE_ARN, "StreamArn": f"{_TABLE_ARN}/stream/latest"}),
    "AWS::IAM::InstanceProfile": Identity(
        "InstanceProfileName", {"Arn": f"arn:aws:iam::{ACCOUNT}:instance-profile/{{name}}"}
    ),
    "AWS::IAM::ManagedPolicy": Identity("ManagedPolicyName", {}, f"arn:aws:iam::{ACCOUNT}:policy/{{name}}"),
    "AWS::IAM::Role": Identity("RoleName", {"Arn": f"arn:aws:iam::{ACCOUNT}:role/{{name}}", "RoleId": "AROA{name}"}),
    "AWS::IoT::RoleAlias": Identity(
        "RoleAlias", {"RoleAliasArn": f"arn:aws:iot:{REGION}:{ACCOUNT}:rolealias/{{name}}"}
    ),
    "AWS::Kinesis::Stream": Identity("Name", {"Arn": stream_arn("{name}")}),
    "AWS::Lambda::Function": _FUNCTION,
    "AWS::Lambda::Url": Identity(
        "", {"FunctionUrl": f"{DEFAULT_ENDPOINT}/_headrace/url/{{name}}/", "FunctionArn": function_arn("{name}")}
    ),
    "AWS::Logs::LogGroup": Identity("LogGroupName", {"Arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{{name}}:*"}),
    "AWS::RedshiftServerless::Namespace": Identity("NamespaceName", _inner("Namespace", "namespace", "NamespaceId")),
    "AWS::RedshiftServerless::Workgroup": Identity("WorkgroupName", _inner("Workgroup", "workgroup", "WorkgroupId")),
    "AWS::S3::Bucket": Identity(
        "BucketName",
        {
            "Arn": "arn:aws:s3:::{name}",
            "DomainName": "{name}.s3.amazonaws.com",
            "DualStackDomainName": f"{{name}}.s3.dualstack.{REGION}.amazonaws.com",
            "RegionalDomainName": f"{{name}}.s3.{REGION}.amazonaws.com",
            "WebsiteURL": f"http://{{name}}.s3-website-{REGION}.amazonaws.com",
        },
    ),
    "AWS::Serverless::Function": _FUNCTION,
    "AWS::Serverless::StateMachine": _MACHINE,
    "AWS::StepFunctions::StateMachine": _MACHINE,
    "AWS::Serverless::SimpleTable": Identity("TableName", {"Arn": _TABLE_ARN}),
}


class Names(NamedTuple):
    """What a template declares. `resources` has the types by logical id, SAM's generated ones included."""

    parameters: Members
    conditions: Members
    mappings: Members
    resources: dict[str, str]
    open_prefixes: tuple[str, ...]  # logical ids whose generated resources are not known one by one

    def values(self) -> list[str]:
        """Return everything that Ref may name."""
        return [*self.parameters, *self.resources, *PSEUDO_PARAMETERS]

    def generated(self, name: str) -> bool:
        """Return whether SAM may generate a resource of that name."""
        return any(name.startswith(prefix) for prefix in self.open_prefixes)


def resource_types(resources: Members) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the types by logical id with those SAM generates, and the prefixes of ids that it may generate."""
    types: dict[str, str] = {}
    open_prefixes = []
    for logical_id, resource in resources.items():
        kind = types[logical_id] = resource["Type"]
        if kind == "AWS::Serverless::Function":
            types.update(_of_function(logical_id, resource.get("Properties") or {}))
        elif kind.startswith("AWS::Serverless::") and kind != "AWS::Serverless::SimpleTable":
            open_prefixes.append(logical_id)
    if any(kind == "AWS::Serverless::Function" for kind in types.values()):
        open_prefixes += ["ServerlessRestApi", "ServerlessHttpApi", "ServerlessDeploymentApplication"]
    return types, tuple(open_prefixes)


def _of_function(logical_id: str, properties: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield f"{logical_id}Role", "AWS::IAM::Role"
    if "FunctionUrlConfig" in properties:
        yield f"{logical_id}Url", "AWS::Lambda::Url"
    if "EventInvokeConfig" in properties:
        yield f"{logical_id}EventInvokeConfig", "AWS::Lambda::EventInvokeConfig"
    if "AutoPublishAlias" in properties:
        yield f"{logical_id}.Alias", "AWS::Lambda::Alias"
        yield f"{logical_id}.Version", "AWS::Lambda::Version"
    events = properties.get("Events")
    for event in events if isinstance(events, Members) else ():
        yield f"{logical_id}{event}", "AWS::Lambda::EventSourceMapping"
        yield f"{logical_id}{event}Permission", "AWS::Lambda::Permission"


class Checker:
    """Walks a template's sections and raises TemplateError at the first reference to something that isn't there."""

    def __init__(self, file: str, names: Names) -> None:
        self._file = file
        self._names = names
        self._checks = {
            "Ref": self._ref,
            "Fn::FindInMap": self._find_in_map,
            "Fn::GetAtt": self._get_att,
            "Fn::If": self._if,
            "Fn::Sub": self._sub,
        }

    def conditions(self) -> None:
        """Check the section Conditions: its values may use parameters and other conditions, no resources."""
        conditions = self._names.conditions
        only = Checker(self._file, self._names._replace(resources={}, open_prefixes=()))
        for name, condition in conditions.items():
            only.value(condition, conditions.lines[name], in_condition=True)

    def value(self, value: object, line: int, *, in_condition: bool = False) -> None:
        """Check a value and everything in it."""
        if isinstance(value, Items):
            for item, item_line in zip(value, value.lines, strict=True):
                self.value(item, item_line, in_condition=in_condition)
        elif isinstance(value, Members):
            if len(value) == 1:
                self._call(*next(iter(value.items())), value.line, in_condition)
            for name, member in value.items():
                self.value(member, value.lines[name], in_condition=in_condition)

    def condition(self, name: object, line: int) -> None:
        """Check the name of a condition."""
        if not isinstance(name, str) or name not in self._names.conditions:
            raise self._error(
                line, f"There is no condition {name}.", did_you_mean(str(name), list(self._names.conditions))
            )

    def resource(self, name: object, line: int) -> None:
        """Check the logical id of a resource (for DependsOn)."""
        names = self._names
        if not isinstance(name, str) or not (name in names.resources or names.generated(name)):
            raise self._error(line, f"There is no resource {name}.", did_you_mean(str(name), list(names.resources)))

    def _call(self, name: str, argument: object, line: int, in_condition: bool) -> None:
        check = self._checks.get(name)
        if check is not None:
            check(argument, line)
        elif name == "Condition" and in_condition:
            self.condition(argument, line)
        elif name.startswith("Fn::") and name not in INTRINSICS and not name.startswith("Fn::ForEach::"):
            raise self._error(line, f"There is no function {name}.", did_you_mean(name, INTRINSICS))

    def _ref(self, argument: object, line: int) -> None:
        if not isinstance(argument, str):
            raise self._error(line, "Ref takes a name.", "Write !Ref Name.")
        names = self._names
        if argument in names.parameters or argument in names.resources or argument in PSEUDO_PARAMETERS:
            return
        if not names.generated(argument):
            raise self._error(
                line, f"There is no parameter or resource {argument}.", did_you_mean(argument, names.values())
            )

    def _get_att(self, argument: object, line: int) -> None:
        if not isinstance(argument, Items) or len(argument) != 2:
            raise self._error(line, "GetAtt takes a resource and one of its attributes.", "Write !GetAtt Resource.Arn.")
        name, attribute = argument
        self._attribute(name, attribute if isinstance(attribute, str) else None, line)

    def _attribute(self, name: object, attribute: str | None, line: int) -> None:
        self.resource(name, line)
        identity = IDENTITIES.get(self._names.resources.get(str(name), ""))
        if identity is not None and attribute is not None and attribute not in identity.attributes:
            raise self._error(
                line, f"{name} has no attribute {attribute}.", did_you_mean(attribute, list(identity.attributes))
            )

    def _sub(self, argument: object, line: int) -> None:
        text, own = argument, Members()
        if isinstance(argument, Items) and len(argument) == 2:
            text, own = argument
        if not isinstance(text, str) or not isinstance(own, Members):
            raise self._error(line, "Sub takes a text, or a text and its variables.", 'Write !Sub "…${Name}…".')
        for literal, name in SUB_VARIABLE.findall(text):
            if literal or name in own:
                continue
            resource, dot, attribute = name.partition(".")
            if dot and name not in self._names.resources:
                self._attribute(resource, attribute, line)
            else:
                self._ref(name, line)

    def _if(self, argument: object, line: int) -> None:
        if not isinstance(argument, Items) or len(argument) != 3:
            raise self._error(
                line, "If takes a condition and two values.", "Write !If [Condition, value if true, value if false]."
            )
        self.condition(argument[0], line)

    def _find_in_map(self, argument: object, line: int) -> None:
        if not isinstance(argument, Items) or len(argument) != 3:
            raise self._error(line, "FindInMap takes a mapping and two keys.", "Write !FindInMap [Mapping, key, key].")
        mapping = argument[0]
        if isinstance(mapping, str) and mapping not in self._names.mappings:
            raise self._error(
                line, f"There is no mapping {mapping}.", did_you_mean(mapping, list(self._names.mappings))
            )

    def _error(self, line: int, problem: str, hint: str) -> TemplateError:
        return TemplateError(self._file, line, problem, hint)
