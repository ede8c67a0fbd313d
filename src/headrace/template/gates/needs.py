"""What is done in the name of roles, as far as it can be told: what gate `permissions` compares policies with.

A function's calls come from its code, a state machine's from its definition, IoT's from a rule's actions; and there is
what Lambda does for a mapping, a destination and the logs, what the jobs on a cluster do (`headrace.emr`), and what
devices do.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from headrace.system import ACCOUNT, REGION, stream_arn
from headrace.template.gates import awscalls, calls
from headrace.template.gates.code import Code
from headrace.template.gates.model import FUNCTIONS, Model, Resource
from headrace.template.gates.values import Text, Use, Variable

_CLUSTERS = f"arn:aws:elasticmapreduce:{REGION}:{ACCOUNT}:cluster/?"
_TABLES = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table"
_S3 = "arn:aws:s3:::"
_READ_STREAM = ("DescribeStream", "DescribeStreamSummary", "GetRecords", "GetShardIterator", "ListShards")
_DESTINATIONS = {
    "sqs": "sqs:SendMessage",
    "sns": "sns:Publish",
    "lambda": "lambda:InvokeFunction",
    "events": "events:PutEvents",
}


class Need(NamedTuple):
    """An action on a resource (its ARN; `bucket/?` is some object of it, `*` whatever there is), and what for."""

    action: str
    resource: str
    why: str
    optional: bool = False  # it explains a statement, but is not missed
    by_lambda: bool = False  # Lambda itself does it; SAM allows that where a function has no role of its own


def needs_of_function(model: Model, function: Resource) -> Iterator[Need]:
    """Yield what a function's role has to allow."""
    properties = function.properties
    variables = (properties.get("Environment") or {}).get("Variables") or {}
    for use in sorted(code_of(model, function).uses, key=str):
        for action in awscalls.permissions(use.service, use.operation):
            yield Need(action, _resource(use, action, variables), f"it calls {use.operation}")
    group = (properties.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{model.name(function.logical_id)}"
    for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
        yield Need(action, f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:*", "it logs", by_lambda=True)
    for stream, destinations in _mappings(model, function):
        for name in _READ_STREAM:
            yield Need(f"kinesis:{name}", stream, "Lambda reads the stream for it", by_lambda=True)
        yield Need("kinesis:ListStreams", "*", "Lambda asks for it to map the stream", by_lambda=True)
        for destination in destinations:
            yield from _given_up(destination)
    given_up = (properties.get("EventInvokeConfig") or {}).get("DestinationConfig") or {}
    for each in given_up.values():
        yield from _given_up(str(each.get("Destination")))


def needs_of_machine(model: Model, machine: Resource) -> Iterator[Need]:
    """Yield what a state machine's role has to allow; what only a state needs that can't come to be is optional."""
    for call in calls.calls_of(model, machine):
        yield from (each if call.live else each._replace(optional=True) for each in _needs_of_call(model, call))


def _needs_of_call(model: Model, call: calls.Call) -> Iterator[Need]:
    why = f"its state {call.state} calls {call.operation}"
    arguments = call.arguments
    for action in awscalls.permissions(call.service, call.operation):
        yield Need(action, _target(model, action, arguments), why)
    if call.action == "createCluster":
        yield Need("elasticmapreduce:DescribeCluster", _CLUSTERS, why)
        yield Need("elasticmapreduce:TerminateJobFlows", _CLUSTERS, why)
        if arguments.get("AutoTerminationPolicy"):
            yield Need("elasticmapreduce:PutAutoTerminationPolicy", _CLUSTERS, why)
        if arguments.get("Tags"):
            yield Need("elasticmapreduce:AddTags", "*", why)
        profile = model.named(arguments.get("JobFlowRole"), "AWS::IAM::InstanceProfile")
        names = [arguments.get("ServiceRole"), *(profile.properties.get("Roles") or () if profile else ())]
        for role in (model.named(name, "AWS::IAM::Role") for name in names):
            if role is not None:
                yield Need("iam:PassRole", model.arn(role.logical_id), why)
        linked = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/elasticmapreduce.amazonaws.com/?"
        yield Need("iam:CreateServiceLinkedRole", linked, why)
    if call.action == "addStep":
        for name in ("DescribeStep", "CancelSteps"):
            yield Need(f"elasticmapreduce:{name}", _CLUSTERS, why)
    if "NoSuchKey" in str(call.scope.states[call.state].get("Catch")):  # else S3 says "access denied"
        yield Need("s3:ListBucket", f"{_S3}{arguments.get('Bucket')}", "it catches that an object is missing")


def _target(model: Model, action: str, arguments: dict[str, object]) -> str:
    service = action.split(":")[0]
    if service == "s3":
        key = str(arguments.get("Key"))
        bucket = f"{_S3}{arguments.get('Bucket')}"
        return bucket if action == "s3:ListBucket" else f"{bucket}/{'?' if key.startswith('{%') else key}"
    if service == "elasticmapreduce":
        return "*" if action.endswith("RunJobFlow") else _CLUSTERS
    if action.startswith(("redshift-data:Batch", "redshift-data:Exec", "redshift-serverless:Get")):
        group = model.named(arguments.get("WorkgroupName"), "AWS::RedshiftServerless::Workgroup")
        return model.arn(group.logical_id) if group else f"(the workgroup {arguments.get('WorkgroupName')})"
    if service == "redshift-serverless":
        return "*"
    if service == "dynamodb":
        return f"{_TABLES}/{arguments.get('TableName')}"
    return str(arguments.get("TopicArn") or arguments.get("QueueUrl") or arguments.get("FunctionName") or "*")


def needs_of_clusters(model: Model, machine: Resource) -> dict[str, list[Need]]:
    """Return what a state machine's clusters need: EMR's role and that of the nodes, by the roles' logical ids."""
    found: dict[str, list[Need]] = {}
    made = list(calls.calls_of(model, machine))
    for call in (each for each in made if each.action == "createCluster"):
        service = model.named(call.arguments.get("ServiceRole"), "AWS::IAM::Role")
        profile = model.named(call.arguments.get("JobFlowRole"), "AWS::IAM::InstanceProfile")
        names = profile.properties.get("Roles") or () if profile else ()
        for nodes in filter(None, (model.named(name, "AWS::IAM::Role") for name in names)):
            if service is not None:
                passed = Need("iam:PassRole", model.arn(nodes.logical_id), "EMR gives it to the nodes")
                found.setdefault(service.logical_id, []).append(passed)
            for step in (each for each in made if each.action == "addStep"):
                needs = found.setdefault(nodes.logical_id, [])
                needs += (each if step.live else each._replace(optional=True) for each in _needs_of_step(step))
    return found


def _needs_of_step(step: calls.Call) -> Iterator[Need]:
    """Yield what a step needs that runs jobs (`headrace.emr`), by its arguments."""
    arguments = [
        str(each) for each in ((step.arguments.get("Step") or {}).get("HadoopJarStep") or {}).get("Args") or ()
    ]
    script = next((each for each in arguments if each.endswith("/emr/job.py")), None)
    if script is None:
        return
    given = dict(pairwise(arguments))
    archive, failures = (_S3 + given.get(name, "").removeprefix("s3://") for name in ("--archive", "--failures"))
    code, why = _S3 + script.removeprefix("s3://").removesuffix("emr/job.py"), "jobs on the cluster do"
    for bucket in (archive, failures, code.split("/")[0]):
        yield Need("s3:ListBucket", bucket, why)
    for name in ("GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload"):
        yield Need(f"s3:{name}", f"{archive}/?", why)
    for name in ("GetObjectTagging", "PutObjectTagging"):
        yield Need(f"s3:{name}", f"{archive}/raw/*", why)
    yield Need("s3:GetObject", f"{failures}/rejected/*", why)
    yield Need("s3:GetObject", f"{code}*", why)
    yield Need("dynamodb:Scan", f"{_TABLES}/{given.get('--devices-table')}", why)
    yield Need("dynamodb:BatchWriteItem", f"{_TABLES}/{given.get('--events-table')}", why)


def needs_of_warehouse(model: Model) -> dict[str, list[Need]]:
    """Return what COPY needs, by the logical id of the namespace's role: the folder that the load is planned in."""
    found: dict[str, list[Need]] = {}
    plans = [call for call in calls.calls_of(model) if (call.service, call.operation) == ("s3", "GetObject")]
    for namespace in model.of("AWS::RedshiftServerless::Namespace"):
        role = model.at(namespace.properties.get("DefaultIamRoleArn"), "AWS::IAM::Role")
        for plan in plans if role else ():
            bucket, folder = f"{_S3}{plan.arguments.get('Bucket')}", str(plan.arguments.get("Key")).rpartition("/")[0]
            needs = [
                Need("s3:GetObject", f"{bucket}/{folder}/*", "COPY reads it"),
                Need("s3:ListBucket", bucket, "COPY"),
            ]
            found.setdefault(role.logical_id if role else "", []).extend(needs)
    return found


def needs_of_devices(model: Model) -> dict[str, list[Need]]:
    """Return what devices do with the role that their certificates get them, by its logical id."""
    needs = []
    for stream in {mapping.stream for mapping in model.system.mappings}:
        if (found := model.named(stream, "AWS::Kinesis::Stream")) is not None:
            needs += [Need(f"kinesis:{name}", model.arn(found.logical_id), "devices put") for name in _PUTS]
    for function in (each for each in model.of(*FUNCTIONS) if each.properties.get("FunctionUrlConfig")):
        needs += [Need(f"lambda:{name}", model.arn(function.logical_id), "devices ask") for name in _INVOKES]
    aliases = (model.at(each.properties.get("RoleArn"), "AWS::IAM::Role") for each in model.of("AWS::IoT::RoleAlias"))
    return {role.logical_id: needs for role in aliases if role is not None}


_PUTS = ("PutRecord", "PutRecords")
_INVOKES = ("InvokeFunction", "InvokeFunctionUrl")


def needs_of_rules(model: Model) -> dict[str, list[Need]]:
    """Return what the roles of IoT rules need, by the roles' logical ids."""
    found: dict[str, list[Need]] = {}
    for rule in model.of("AWS::IoT::TopicRule"):
        payload = rule.properties.get("TopicRulePayload") or {}
        for action in [*(payload.get("Actions") or ()), payload.get("ErrorAction") or {}]:
            for kind, settings in action.items():
                role = model.at(settings.get("RoleArn"), "AWS::IAM::Role")
                if role is None:
                    continue
                needs = found.setdefault(role.logical_id, [])
                if kind == "Kinesis":
                    stream = stream_arn(str(settings.get("StreamName")))
                    needs.append(Need("kinesis:PutRecord", stream, f"{rule.logical_id} puts there"))
                elif kind == "S3":
                    prefix = str(settings.get("Key", "")).split("${")[0]
                    place = f"{_S3}{settings.get('BucketName')}/{prefix}*"
                    needs.append(Need("s3:PutObject", place, f"{rule.logical_id} puts there what fails"))
    return found


def _resource(use: Use, action: str, variables: dict[str, str]) -> str:
    of = use.of
    name = variables.get(of.name, "") if isinstance(of, Variable) else of.value if isinstance(of, Text) else "*"
    if use.service == "dynamodb":
        return f"{_TABLES}/{name}"
    if use.service == "s3":
        return f"{_S3}{name}" + ("" if action == "s3:ListBucket" else f"/{use.key}?")
    if use.service == "kinesis":
        return stream_arn(name)
    return "*"


def code_of(model: Model, function: Resource) -> Code:
    """Return what a function's code does; the same code is read once."""
    found = next(each for each in model.system.functions if each.logical_id == function.logical_id)
    folder = Path(found.code)
    texts = tuple((each.name, hash(each.read_bytes())) for each in sorted(folder.glob("**/*.py")))
    key = (found.handler, texts)
    if key not in _CODES:
        _CODES[key] = Code(folder, found.handler)
    return _CODES[key]


_CODES: dict[tuple[str, tuple[tuple[str, int], ...]], Code] = {}


def _mappings(model: Model, function: Resource) -> Iterator[tuple[str, list[str]]]:
    for mapping in model.system.mappings:
        if mapping.function == model.name(function.logical_id):
            stream = model.named(mapping.stream, "AWS::Kinesis::Stream")
            if stream is not None:
                bucket = f"{_S3}{mapping.failures_bucket}"
                yield model.arn(stream.logical_id), [bucket] if mapping.failures_bucket else []


def _given_up(arn: str) -> Iterator[Need]:
    if arn.startswith("arn:aws:s3:::"):
        yield Need("s3:PutObject", f"{arn}/aws/lambda/*", "Lambda puts there what is given up", by_lambda=True)
        yield Need("s3:ListBucket", arn, "Lambda puts there what is given up", by_lambda=True)
    elif (action := _DESTINATIONS.get([*arn.split(":"), "", "", ""][2])) is not None:
        yield Need(action, arn, "Lambda sends there what is given up", by_lambda=True)
