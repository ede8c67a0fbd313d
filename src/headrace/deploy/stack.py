"""A stack and its change sets: what CloudFormation is asked, in order.

stack = Stack(aws, "headrace")
plan = stack.plan(template_url=…, parameters={…})     nothing is changed yet
for event in stack.execute(plan): …                   until it has ended; raises if badly
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from headrace import clock
from headrace.deploy import state
from headrace.deploy.aws import Aws
from headrace.deploy.changes import Change, changes
from headrace.errors import HeadraceError, NotFound, UsageError

POLL_S = 2.0
_PLAN_S_MAX = 300.0
_QUIET_S_MAX = 60.0  # without any event, while the stack is at rest
_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
_CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}", re.ASCII)
Event = dict[str, Any]


class Plan(msgspec.Struct, frozen=True):
    """A change set that waits to be executed; `changes` is empty where there is nothing to do."""

    kind: str  # CREATE or UPDATE
    name: str
    changes: tuple[Change, ...]


class Stack:
    """One stack, by its name."""

    def __init__(self, aws: Aws, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise UsageError(f"--stack {name}: this is no name of a stack.", "Write letters, digits and hyphens.")
        self.name = name
        self._aws = aws
        self._client = aws.client("cloudformation")

    def described(self) -> dict[str, Any] | None:
        """Return what DescribeStacks says of it; None where there is none."""
        try:
            with self._aws.errors():
                found: dict[str, Any] = self._client.describe_stacks(StackName=self.name)["Stacks"][0]
        except HeadraceError as error:
            if "does not exist" in error.problem:
                return None
            raise
        return found

    def must(self) -> dict[str, Any]:
        """Return what DescribeStacks says of it; raises NotFound."""
        found = self.described()
        if found is None or found["StackStatus"] == state.UNBORN:
            raise NotFound(
                f"There is no stack {self.name} in {self._aws.region}.",
                "Deploy it with `headrace deploy`, or say which with --stack, --region and --profile.",
            )
        return found

    def outputs(self) -> dict[str, str]:
        """Return its outputs."""
        return {each["OutputKey"]: each["OutputValue"] for each in self.must().get("Outputs", [])}

    def parameters(self) -> dict[str, str]:
        """Return the parameters' values that it has; none where there is no stack."""
        found = self.described() or {}
        return {each["ParameterKey"]: each.get("ParameterValue", "") for each in found.get("Parameters", [])}

    def plan(self, source: Mapping[str, str], parameters: Mapping[str, str | None]) -> Plan:
        """Make a change set and wait until it is computed.

        `source` is TemplateURL or TemplateBody; a parameter that is None keeps the value it has. Raises HeadraceError.
        """
        found = self.described()
        kind = state.change_set_type(self.name, found["StackStatus"] if found else None)
        name = f"headrace-{clock.now_ms()}"
        given = [
            {"ParameterKey": key, **({"UsePreviousValue": True} if value is None else {"ParameterValue": value})}
            for key, value in sorted(parameters.items())
        ]
        with self._aws.errors():
            self._client.create_change_set(
                StackName=self.name,
                ChangeSetName=name,
                ChangeSetType=kind,
                Parameters=given,
                Capabilities=_CAPABILITIES,
                Tags=[{"Key": "application", "Value": "headrace"}],
                # Tables that an earlier stack left are taken over, with their items: they have names of their own.
                ImportExistingResources=kind == "CREATE",
                **source,
            )
        described = self._computed(name)
        if described["Status"] == "FAILED":
            reason = str(described.get("StatusReason", ""))
            self.discard(Plan(kind, name, ()))
            if any(text in reason for text in _NO_CHANGES):
                return Plan(kind, name, ())
            raise HeadraceError(f"CloudFormation can't plan this: {reason}", state.advice(reason))
        return Plan(kind, name, tuple(changes(self._listed(name))))

    def _computed(self, name: str) -> dict[str, Any]:
        deadline_s = clock.monotonic_s() + _PLAN_S_MAX
        while True:
            with self._aws.errors():
                found: dict[str, Any] = self._client.describe_change_set(StackName=self.name, ChangeSetName=name)
            if found["Status"] in ("CREATE_COMPLETE", "FAILED"):
                return found
            if clock.monotonic_s() > deadline_s:
                raise HeadraceError(f"The change set {name} is not computed after 5 minutes.", "Try again later.")
            clock.sleep(POLL_S)

    def _listed(self, name: str) -> Iterator[dict[str, Any]]:
        token: dict[str, str] = {}
        while True:
            with self._aws.errors():
                page = self._client.describe_change_set(
                    StackName=self.name, ChangeSetName=name, IncludePropertyValues=True, **token
                )
            yield from page.get("Changes", [])
            if not page.get("NextToken"):
                return
            token = {"NextToken": page["NextToken"]}

    def discard(self, plan: Plan) -> None:
        """Delete a change set that is not wanted, and the empty stack that it made."""
        with self._aws.errors():
            self._client.delete_change_set(StackName=self.name, ChangeSetName=plan.name)
            if plan.kind == "CREATE":
                found = self.described()
                if found and found["StackStatus"] == state.UNBORN:
                    self._client.delete_stack(StackName=self.name)

    def execute(self, plan: Plan) -> Iterator[Event]:
        """Execute a plan; yields what happens, as it does. Raises HeadraceError with the first failure's reason."""
        seen = self._seen()
        with self._aws.errors():
            self._client.execute_change_set(StackName=self.name, ChangeSetName=plan.name)
        yield from self._followed(seen)

    def protect(self, on: bool) -> None:
        """Set or lift the stack's protection against being deleted."""
        with self._aws.errors():
            self._client.update_termination_protection(StackName=self.name, EnableTerminationProtection=on)

    def delete(self) -> Iterator[Event]:
        """Delete the stack; yields what happens. What its template retains stays."""
        found = self.must()
        seen = self._seen()
        with self._aws.errors():
            self._client.delete_stack(StackName=self.name)
        yield from self._followed(seen, found["StackId"])

    def resources(self) -> list[dict[str, Any]]:
        """Return its resources: LogicalResourceId, PhysicalResourceId, ResourceType, ResourceStatus."""
        found: list[dict[str, Any]] = []
        with self._aws.errors():
            for page in self._client.get_paginator("list_stack_resources").paginate(StackName=self.name):
                found += page["StackResourceSummaries"]
        return found

    def template(self) -> dict[str, Any]:
        """Return its template, transformed."""
        with self._aws.errors():
            found = self._client.get_template(StackName=self.name, TemplateStage="Processed")["TemplateBody"]
        return dict(found) if isinstance(found, dict) else msgspec.json.decode(found, type=dict[str, Any])

    def _seen(self) -> str | None:
        """Return the id of the newest event there is."""
        if self.described() is None:
            return None
        with self._aws.errors():
            events = self._client.describe_stack_events(StackName=self.name)["StackEvents"]
        return events[0]["EventId"] if events else None

    def _followed(self, seen: str | None, stack_id: str | None = None) -> Iterator[Event]:
        """Yield events after `seen`, in order, until the stack has ended its work."""
        of = stack_id or self.name
        told: list[Event] = []
        quiet_since_s = clock.monotonic_s()
        while True:
            with self._aws.errors():
                status = str(self._client.describe_stacks(StackName=of)["Stacks"][0]["StackStatus"])
            new = self._after(of, seen)
            yield from new
            told += new
            seen = new[-1]["EventId"] if new else seen
            quiet_since_s = clock.monotonic_s() if new else quiet_since_s
            if state.has_ended(status) and (
                _is_told(told, status) or clock.monotonic_s() - quiet_since_s > _QUIET_S_MAX
            ):
                break
            clock.sleep(POLL_S)
        if not state.has_succeeded(status):
            raise state.failure(self.name, status, told)

    def _after(self, of: str, seen: str | None) -> list[Event]:
        found: list[Event] = []
        token: dict[str, str] = {}
        while True:
            with self._aws.errors():
                page = self._client.describe_stack_events(StackName=of, **token)
            for event in page["StackEvents"]:
                if event["EventId"] == seen:
                    return found[::-1]
                found.append(event)
            if not page.get("NextToken"):
                return found[::-1]
            token = {"NextToken": page["NextToken"]}


def _is_told(events: list[Event], status: str) -> bool:
    """Return whether an event says that the stack itself has come to this status: before, it may not have begun."""
    own = (each for each in events if each.get("ResourceType") == "AWS::CloudFormation::Stack")
    return any(
        each.get("PhysicalResourceId") == each.get("StackId") and each["ResourceStatus"] == status for each in own
    )


def event_line(event: Event) -> str:
    """Return an event as a line of text."""
    at = event.get("Timestamp")
    time = f"{at:%H:%M:%S}" if isinstance(at, datetime) else ""
    kind = str(event.get("ResourceType", "")).removeprefix("AWS::")
    reason = event.get("ResourceStatusReason")
    failed = str(event.get("ResourceStatus", "")).endswith("FAILED")
    return f"{time}  {event.get('ResourceStatus', ''):<20}  {kind} {event.get('LogicalResourceId', '')}" + (
        f": {reason}" if reason and failed else ""
    )
