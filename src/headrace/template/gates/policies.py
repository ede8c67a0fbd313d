"""Who may do what: the statements of a template's roles, and whether they allow an action on a resource."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from headrace.template.gates.model import Model, Resource


class Statement(NamedTuple):
    """An Allow or Deny of a policy."""

    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    condition: dict[str, Any]

    def allows(self, action: str, resource: str) -> bool:
        """Return whether the action is allowed on the resource; one that ends in /? is any object of a bucket."""
        return (
            self.effect == "Allow"
            and any(matches(pattern, action.lower()) for pattern in map(str.lower, self.actions))
            and any(_covers(pattern, resource) for pattern in self.resources)
        )


def statements(document: Any) -> Iterator[Statement]:
    """Yield the statements of a policy document."""
    found = document.get("Statement", ()) if isinstance(document, dict) else ()
    for each in found if isinstance(found, list) else [found]:
        if isinstance(each, dict):
            yield Statement(
                str(each.get("Effect", "")),
                _texts(each.get("Action") or each.get("NotAction")),
                _texts(each.get("Resource") or each.get("NotResource")),
                each.get("Condition") or {},
            )


def of_role(model: Model, role: Resource) -> list[Statement]:
    """Return everything that a role is given by policies of the template."""
    found: list[Statement] = []
    for policy in role.properties.get("Policies") or ():
        found += statements(policy.get("PolicyDocument"))
    arns = role.properties.get("ManagedPolicyArns") or ()
    for managed in model.of("AWS::IAM::ManagedPolicy", "AWS::IAM::Policy"):
        roles = managed.properties.get("Roles") or ()
        if model.arn(managed.logical_id) in arns or model.name(role.logical_id) in roles:
            found += statements(managed.properties.get("PolicyDocument"))
    return found


def of_function(model: Model, function: Resource) -> tuple[list[Statement], Resource | None]:
    """Return a function's statements and its role; without a role of its own, SAM makes one of `Policies`."""
    role = model.at(function.properties.get("Role"), "AWS::IAM::Role")
    if role is not None:
        return of_role(model, role), role
    policies = function.properties.get("Policies") or ()
    found: list[Statement] = []
    for each in policies if isinstance(policies, list) else [policies]:
        found += statements(each)
    return found, None


def matches(pattern: str, text: str) -> bool:
    """Return whether a pattern with * and ? matches all of a text."""
    return _compiled(pattern).fullmatch(text) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile("".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern))


def _covers(pattern: str, resource: str) -> bool:
    if resource.endswith("/?"):  # some object in a folder: the rest of its key is not known here
        return pattern.startswith(resource[:-1]) or matches(pattern, resource[:-1] + "x")
    return matches(pattern, resource)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else () if value is None else (str(value),)
