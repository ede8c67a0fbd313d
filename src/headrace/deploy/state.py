"""What can be done with a stack in each of its states, and what a failure means. Pure.

A stack is new (None), at rest, at work, or stuck; each status that CloudFormation names is one of these.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from headrace.errors import Conflict, HeadraceError

AT_REST = (
    "CREATE_COMPLETE",
    "UPDATE_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE",
    "IMPORT_COMPLETE",
    "IMPORT_ROLLBACK_COMPLETE",
)
UNBORN = "REVIEW_IN_PROGRESS"  # a change set of a stack that is not created yet
_CANCELLED = (
    "cancelled",
    "The following resource(s) failed",
    "Resource creation Initiated",
    "Resource update cancelled",
)

_QUOTA = "A quota of the account is reached: ask for more in Service Quotas, or remove what is not used."
_ALLOW = "Have the action that it names allowed for the role or user that deploys."
# A part of CloudFormation's reason, in small letters, and what to do.
_ADVICE = (
    ("already exists", "Something of that name is there already: remove it, or set --parameters NamePrefix=mine-"),
    ("not authorized to perform", _ALLOW),
    ("accessdenied", _ALLOW),
    ("limit exceeded", _QUOTA),
    ("limitexceeded", _QUOTA),
    ("quota", _QUOTA),
    ("unreserved", "The account has too few concurrent executions left: ask for more in Service Quotas."),
    ("service-linked role", "The service is new to this account: aws iam create-service-linked-role makes its role."),
    ("optin", "The account has not subscribed to this service: open it once in the AWS console."),
    ("nosuchkey", "An artifact is missing in the bucket: run `headrace deploy` again, it uploads what is missing."),
    ("rate exceeded", "AWS was asked too fast: run `headrace deploy` again."),
    ("deletion protection", "It protects its data: `headrace destroy --delete-data` takes the protection away."),
)


def change_set_type(name: str, status: str | None) -> str:
    """Return CREATE or UPDATE, whichever a stack in this status takes; raises HeadraceError if it takes neither."""
    if status is None or status in (UNBORN, "DELETE_COMPLETE"):
        return "CREATE"
    if status in AT_REST:
        return "UPDATE"
    if status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"):
        raise Conflict(
            f"The stack {name} is in {status}: {_STUCK[status]}.",
            f"Remove it, then deploy again: headrace destroy --stack {name}   (tables and buckets with data stay)",
        )
    if status in ("UPDATE_ROLLBACK_FAILED", "UPDATE_FAILED", "IMPORT_ROLLBACK_FAILED"):
        raise Conflict(
            f"The stack {name} is in {status}: an update failed, and so did its undoing.",
            f"Mend what its events name, then: aws cloudformation continue-update-rollback --stack-name {name}",
        )
    raise Conflict(f"The stack {name} is in {status}: something is at work on it.", "Wait until that has ended.")


_STUCK = {
    "ROLLBACK_COMPLETE": "its first creation failed, and it can't be updated",
    "ROLLBACK_FAILED": "its first creation failed, and so did its undoing",
    "CREATE_FAILED": "its first creation failed",
    "DELETE_FAILED": "not all of it could be removed",
}


def has_ended(status: str) -> bool:
    """Return whether CloudFormation is done with a stack for now."""
    return not status.endswith("_IN_PROGRESS") or status == UNBORN


def has_succeeded(status: str) -> bool:
    """Return whether what ended there went well."""
    return status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE", "IMPORT_COMPLETE")


def first_failure(events: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the event, of those in the order of time, that made all the others fail; None if there is none."""
    failed = [each for each in events if str(each.get("ResourceStatus", "")).endswith("_FAILED")]
    own = [each for each in failed if not any(text in str(each.get("ResourceStatusReason", "")) for text in _CANCELLED)]
    return next(iter(own or failed), None)


def failure(name: str, status: str, events: Iterable[Mapping[str, Any]]) -> HeadraceError:
    """Return the error for a stack that ended badly: the first resource that failed, why, and what to do."""
    event = first_failure(events)
    if event is None:
        return HeadraceError(
            f"The stack {name} ended in {status}.", f"See: aws cloudformation describe-stack-events --stack-name {name}"
        )
    reason = str(event.get("ResourceStatusReason") or "no reason is given")
    who = f"{event['LogicalResourceId']} ({event.get('ResourceType')})"
    problem = f"The stack {name} ended in {status}: {who} failed first: {reason}"
    after = "deploy again" if status.startswith("UPDATE") else f"headrace destroy --stack {name}, and deploy again"
    return HeadraceError(problem, advice(reason) if "DELETE" in status else f"{advice(reason)}\nThen: {after}.")


def advice(reason: str) -> str:
    """Return what to do about a reason that CloudFormation gives."""
    small = reason.lower()
    return next((text for part, text in _ADVICE if part in small), "Mend what it names in the template or the account.")
