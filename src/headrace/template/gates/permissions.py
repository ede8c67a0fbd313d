"""Gate `permissions`: a role allows what is done in its name, on the resources it is done on, and nothing else.

What is done is derived (`needs.py`). A need that no statement allows, and a statement that no need explains or that
reaches further than the needs, are findings. Roles of which nobody can tell are only looked at for wildcards.
"""

from collections.abc import Iterator

from headrace.template.gates import needs, policies
from headrace.template.gates.finding import Finding
from headrace.template.gates.model import FUNCTIONS, MACHINES, Model, Resource
from headrace.template.gates.needs import Need, code_of
from headrace.template.gates.policies import Statement, matches
from headrace.template.gates.values import Variable

GATE = "permissions"
_AWS_POLICIES = ("arn:aws:iam::aws:policy/service-role/AmazonEMRServicePolicy_v2",)  # by EMR alone: see `trust`
# Actions that no policy can limit to a resource.
ANYWHERE = (
    "ec2:Describe*",
    "elasticmapreduce:AddTags",  # a cluster has no ARN before it is made
    "elasticmapreduce:RunJobFlow",
    "kinesis:ListStreams",
    "logs:CreateLogDelivery",
    "redshift-data:DescribeStatement",
    "redshift-serverless:CreateUsageLimit",
    "redshift-serverless:ListUsageLimits",
    "redshift-serverless:UpdateUsageLimit",
    "xray:Put*",
)


def gate(model: Model) -> Iterator[Finding]:
    """Check every role, and the functions without one of their own."""
    told: dict[str, list[Need]] = {}
    for function in model.of(*FUNCTIONS):
        yield from (function.finding(GATE, problem) for problem in _unreachable(model, function))
        found, role = policies.of_function(model, function)
        own = list(needs.needs_of_function(model, function))
        if role is not None:
            told.setdefault(role.logical_id, []).extend(own)
        else:  # SAM makes one, and allows what Lambda itself does
            yield from _compare(function, found, [need for need in own if not need.by_lambda])
        yield from _whole_buckets(role or function, found)
    for machine in model.of(*MACHINES):
        role = model.at(machine.properties.get("Role") or machine.properties.get("RoleArn"), "AWS::IAM::Role")
        if role is not None:
            told.setdefault(role.logical_id, []).extend(needs.needs_of_machine(model, machine))
        _add(told, needs.needs_of_clusters(model, machine))
    for others in (needs.needs_of_rules, needs.needs_of_warehouse, needs.needs_of_devices):
        _add(told, others(model))
    for role in model.of("AWS::IAM::Role"):
        found = policies.of_role(model, role)
        yield from _managed(model, role)
        yield from _listed(role, found)
        if role.logical_id in told:
            yield from _compare(role, found, told[role.logical_id])
        else:
            yield from _broad(role, found)


def _add(told: dict[str, list[Need]], more: dict[str, list[Need]]) -> None:
    for role, found in more.items():
        told.setdefault(role, []).extend(found)


def _managed(model: Model, role: Resource) -> Iterator[Finding]:
    """Check the policies that AWS manages: they allow more than is known here."""
    for arn in role.properties.get("ManagedPolicyArns") or ():
        if model.named(str(arn).rpartition("/")[2], "AWS::IAM::ManagedPolicy") is None and arn not in _AWS_POLICIES:
            yield role.finding(GATE, f"nobody knows here what {arn} allows.", "Write the statements that are needed.")


def _compare(owner: Resource, found: list[Statement], needs: list[Need]) -> Iterator[Finding]:
    needs = list(dict.fromkeys(needs))
    for need in needs:
        if not need.optional and not any(each.allows(need.action, need.resource) for each in found):
            where = "" if need.resource == "*" else f" on {need.resource}"
            yield owner.finding(GATE, f"{need.action}{where} is not allowed: {need.why}.", "Add it to its policy.")
    yield from _broad(owner, found)
    for statement in (each for each in found if each.effect == "Allow"):
        for action in statement.actions:
            wanted = [need.resource for need in needs if matches(action.lower(), need.action.lower())]
            for resource in statement.resources:
                if "*" not in action and not any(_explains(each, resource) for each in wanted):
                    problem = f"{action} on {resource} is allowed, and nothing is known to need it."
                    yield owner.finding(GATE, problem, "Take it out of the policy.")


def _explains(need: str, granted: str) -> bool:
    """Return whether a need is what a grant is for: the grant is not larger than the resource needed."""
    if need.endswith(("/?", "*")):
        return granted == need or (need != "*" and granted.startswith(need[:-1]))
    return granted in (need, f"{need}:*")


def _broad(owner: Resource, found: list[Statement]) -> Iterator[Finding]:
    for statement in (each for each in found if each.effect == "Allow"):
        for action in statement.actions:
            if "*" in action:
                yield owner.finding(GATE, f"it may do {action}: a wildcard.", "Name the actions.")
            if "*" in statement.resources and not any(matches(each, action) for each in ANYWHERE):
                yield owner.finding(GATE, f"it may do {action} on every resource.", "Name the resource by its ARN.")
        for resource in statement.resources:
            if not resource.startswith("arn:") and resource != "*":
                yield owner.finding(GATE, f"{resource} is no ARN.", "Write !GetAtt Name.Arn.")


def _whole_buckets(owner: Resource, found: list[Statement]) -> Iterator[Finding]:
    for statement in found:
        writes = [action for action in statement.actions if action in ("s3:PutObject", "s3:DeleteObject")]
        for resource in statement.resources if statement.effect == "Allow" and writes else ():
            if resource.startswith("arn:aws:s3:::") and resource.endswith("/*") and resource.count("/") == 1:
                problem = f"it may do {writes[0]} anywhere in {resource[13:-2]}."
                yield owner.finding(GATE, problem, "Name the prefix that it writes under.")


def _listed(owner: Resource, found: list[Statement]) -> Iterator[Finding]:
    """Check that what may be listed, where a condition limits it to a prefix, is what may be got or put."""
    objects = [each for other in found if other.effect == "Allow" for each in other.resources if "/" in each]
    for statement in found:
        limits = [test["s3:prefix"] for test in statement.condition.values() if "s3:prefix" in test]
        for prefix in (one for limit in limits for one in (limit if isinstance(limit, list) else [limit])):
            stem = str(prefix).rstrip("*")
            if not any(each.startswith(f"{bucket}/{stem}") for bucket in statement.resources for each in objects):
                problem = f"it may list {prefix}, and neither get nor put what is there."
                yield owner.finding(GATE, problem, "Write the prefix of its objects.")


def _unreachable(model: Model, function: Resource) -> Iterator[str]:
    """Yield which tables and buckets the code uses that are not there."""
    variables = (function.properties.get("Environment") or {}).get("Variables") or {}
    kinds = {"dynamodb": ("table", "AWS::DynamoDB::Table"), "s3": ("bucket", "AWS::S3::Bucket")}
    for service, of in sorted({(use.service, use.of) for use in code_of(model, function).uses}, key=str):
        if service not in kinds or of is None:
            continue
        what, kind = kinds[service]
        name = variables.get(of.name) if isinstance(of, Variable) else of.value
        if name is not None and model.named(name, kind, "AWS::Serverless::SimpleTable") is None:
            where = f"by its variable {of.name}, " if isinstance(of, Variable) else ""
            yield f"{where}it uses the {what} {name!r}, which the template does not have."
