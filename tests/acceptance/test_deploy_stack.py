"""A stack's change sets against answers of CloudFormation; botocore checks each call by the service's model."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest
from botocore.stub import ANY, Stubber

from headrace.deploy import stack as stacks
from headrace.deploy.aws import Aws
from headrace.deploy.changes import Change
from headrace.deploy.stack import Plan, Stack
from headrace.errors import Conflict, HeadraceError, NotFound, UsageError

NOW = datetime(2026, 7, 1, tzinfo=UTC)
STACK_ID = "arn:aws:cloudformation:us-east-1:1:stack/s/1"


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    monkeypatch.setattr(stacks, "POLL_S", 0.0)
    client = botocore.session.get_session().create_client(
        "cloudformation", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def stack(stub: Stubber) -> Stack:
    return Stack(Aws(clients={"cloudformation": stub.client}), "s")


def described(stub: Stubber, status: str | None, name: str = "s", **more: Any) -> None:
    if status is None:
        stub.add_client_error("describe_stacks", "ValidationError", "Stack with id s does not exist", 400)
        return
    found = {"StackName": "s", "StackId": STACK_ID, "CreationTime": NOW, "StackStatus": status, **more}
    stub.add_response("describe_stacks", {"Stacks": [found]}, {"StackName": name})


def event(at: int, logical_id: str, status: str, reason: str = "") -> dict[str, Any]:
    own = logical_id == "s"
    return {
        "StackId": STACK_ID,
        "EventId": str(at),
        "StackName": "s",
        "LogicalResourceId": logical_id,
        "PhysicalResourceId": STACK_ID if own else logical_id,
        "ResourceType": "AWS::CloudFormation::Stack" if own else "AWS::DynamoDB::Table",
        "Timestamp": NOW,
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
    }


def created(stub: Stubber, kind: str, parameters: list[dict[str, Any]]) -> None:
    stub.add_response(
        "create_change_set",
        {"Id": "c"},
        {
            "StackName": "s",
            "ChangeSetName": ANY,
            "ChangeSetType": kind,
            "TemplateURL": "https://code/t.json",
            "Parameters": parameters,
            "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
            "Tags": ANY,
            "ImportExistingResources": kind == "CREATE",
        },
    )


def test_an_update_is_planned_with_kept_parameters_over_pages(stub: Stubber) -> None:
    described(stub, "UPDATE_COMPLETE")
    given: list[dict[str, Any]] = [
        {"ParameterKey": "A", "UsePreviousValue": True},
        {"ParameterKey": "B", "ParameterValue": "2"},
    ]
    created(stub, "UPDATE", given)
    for status in ("CREATE_IN_PROGRESS", "CREATE_COMPLETE"):
        stub.add_response("describe_change_set", {"Status": status}, {"StackName": "s", "ChangeSetName": ANY})
    change = {
        "Action": "Modify",
        "LogicalResourceId": "F",
        "ResourceType": "AWS::Lambda::Function",
        "Replacement": "False",
    }
    page = {"StackName": "s", "ChangeSetName": ANY, "IncludePropertyValues": True}
    stub.add_response(
        "describe_change_set",
        {"Status": "CREATE_COMPLETE", "Changes": [{"Type": "Resource", "ResourceChange": change}], "NextToken": "n"},
        page,
    )
    added = {"Action": "Add", "LogicalResourceId": "G", "ResourceType": "AWS::Logs::LogGroup"}
    stub.add_response(
        "describe_change_set",
        {"Status": "CREATE_COMPLETE", "Changes": [{"Type": "Resource", "ResourceChange": added}]},
        page | {"NextToken": "n"},
    )
    plan = stack(stub).plan({"TemplateURL": "https://code/t.json"}, {"B": "2", "A": None})
    assert plan.kind == "UPDATE"
    assert plan.changes == (Change("change", "F", "AWS::Lambda::Function"), Change("add", "G", "AWS::Logs::LogGroup"))


@pytest.mark.parametrize(
    "reason", ["The submitted information didn't contain changes. Submit…", "No updates are to be performed."]
)
def test_nothing_to_change_is_no_error(stub: Stubber, reason: str) -> None:
    described(stub, "CREATE_COMPLETE")
    created(stub, "UPDATE", [])
    stub.add_response("describe_change_set", {"Status": "FAILED", "StatusReason": reason})
    stub.add_response("delete_change_set", {})
    assert stack(stub).plan({"TemplateURL": "https://code/t.json"}, {}).changes == ()


def test_a_plan_that_fails_says_why_and_leaves_no_empty_stack(stub: Stubber) -> None:
    described(stub, None)
    created(stub, "CREATE", [])
    stub.add_response("describe_change_set", {"Status": "FAILED", "StatusReason": "Transform failed: Invalid resource"})
    stub.add_response("delete_change_set", {})
    described(stub, "REVIEW_IN_PROGRESS")
    stub.add_response("delete_stack", {}, {"StackName": "s"})
    with pytest.raises(HeadraceError, match="Transform failed: Invalid resource"):
        stack(stub).plan({"TemplateURL": "https://code/t.json"}, {})


def test_a_stack_that_failed_at_first_is_refused(stub: Stubber) -> None:
    described(stub, "ROLLBACK_COMPLETE")
    with pytest.raises(Conflict, match="ROLLBACK_COMPLETE"):
        stack(stub).plan({"TemplateBody": "{}"}, {})


def test_events_are_yielded_in_order_until_the_stack_says_that_it_is_done(stub: Stubber) -> None:
    described(stub, "UPDATE_COMPLETE")
    stub.add_response("describe_stack_events", {"StackEvents": [event(1, "s", "UPDATE_COMPLETE")]})
    stub.add_response("execute_change_set", {}, {"StackName": "s", "ChangeSetName": "c"})
    described(stub, "UPDATE_COMPLETE")  # it has not begun
    stub.add_response("describe_stack_events", {"StackEvents": [event(1, "s", "UPDATE_COMPLETE")]})
    described(stub, "UPDATE_IN_PROGRESS")
    newest = {"StackEvents": [event(3, "T", "UPDATE_IN_PROGRESS")], "NextToken": "n"}
    stub.add_response("describe_stack_events", newest)
    older = {"StackEvents": [event(2, "s", "UPDATE_IN_PROGRESS"), event(1, "s", "UPDATE_COMPLETE")]}
    stub.add_response("describe_stack_events", older, {"StackName": "s", "NextToken": "n"})
    described(stub, "UPDATE_COMPLETE")
    stub.add_response("describe_stack_events", {"StackEvents": [event(4, "s", "UPDATE_COMPLETE"), event(3, "T", "x")]})
    found = list(stack(stub).execute(Plan("UPDATE", "c", ())))
    assert [each["EventId"] for each in found] == ["2", "3", "4"]
    assert stacks.event_line(found[1]) == "00:00:00  UPDATE_IN_PROGRESS    DynamoDB::Table T"


def test_a_failure_ends_with_the_first_reason(stub: Stubber) -> None:
    described(stub, "REVIEW_IN_PROGRESS")
    stub.add_response("describe_stack_events", {"StackEvents": []})
    stub.add_response("execute_change_set", {})
    described(stub, "ROLLBACK_COMPLETE")
    events = [
        event(5, "s", "ROLLBACK_COMPLETE"),
        event(4, "B", "CREATE_FAILED", "Resource creation cancelled"),
        event(3, "T", "CREATE_FAILED", "events already exists"),
        event(2, "T", "CREATE_IN_PROGRESS"),
    ]
    stub.add_response("describe_stack_events", {"StackEvents": events})
    with pytest.raises(
        HeadraceError, match=r"T \(AWS::DynamoDB::Table\) failed first: events already exists"
    ) as raised:
        list(stack(stub).execute(Plan("CREATE", "c", ())))
    assert "NamePrefix" in raised.value.hint


@pytest.mark.parametrize("name", ["", "-a", "a b", "../a", "a" * 200, "é", "a;b"])
def test_names_that_are_none(stub: Stubber, name: str) -> None:
    with pytest.raises(UsageError, match="no name of a stack"):
        Stack(Aws(clients={"cloudformation": stub.client}), name)


def test_no_stack_is_an_error_where_one_is_needed(stub: Stubber) -> None:
    described(stub, None)
    with pytest.raises(NotFound, match="no stack s"):
        Stack(Aws(region="us-east-1", clients={"cloudformation": stub.client}), "s").outputs()


def test_what_is_not_permitted_is_named(stub: Stubber) -> None:
    message = "User: arn:aws:iam::1:user/u is not authorized to perform: cloudformation:DescribeStacks on resource: s"
    stub.add_client_error("describe_stacks", "AccessDenied", message, 403)
    with pytest.raises(HeadraceError, match="Not permitted: cloudformation:DescribeStacks"):
        stack(stub).described()
