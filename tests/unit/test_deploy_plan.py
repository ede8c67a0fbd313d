"""What deployment decides: plans in plain words, what a stack's state allows, what failures mean, which parameters."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.deploy import project, rewrite, state
from headrace.deploy.aws import is_one_machine, problem
from headrace.deploy.changes import Change, changes, render
from headrace.errors import Conflict, HeadraceError, NotFound, TemplateError, Throttled, Unavailable, UsageError

ROOT = Path(__file__).resolve().parents[2]


def described(action: str, logical_id: str, type_: str, **more: Any) -> dict[str, Any]:
    change = {"Action": action, "LogicalResourceId": logical_id, "ResourceType": type_, **more}
    return {"Type": "Resource", "ResourceChange": change}


def target(name: str, before: str | None = None, after: str | None = None) -> dict[str, Any]:
    values = {key: value for key, value in (("BeforeValue", before), ("AfterValue", after)) if value is not None}
    return {"Target": {"Attribute": "Properties", "Name": name, **values}}


def test_a_plan_begins_with_what_is_drastic() -> None:
    found = changes(
        [
            described("Add", "Dashboard", "AWS::CloudWatch::Dashboard"),
            described("Modify", "Store", "AWS::Lambda::Function", Details=[target("MemorySize", "512", "1024")]),
            described("Remove", "Old", "AWS::Lambda::Function"),
            described(
                "Modify", "EventsTable", "AWS::DynamoDB::Table", Replacement="True", Details=[target("KeySchema")]
            ),
            described("Modify", "Archive", "AWS::S3::Bucket", Replacement="Conditional", Details=[target("Tags")]),
        ]
    )
    assert [(each.what, each.logical_id) for each in found] == [
        ("replace", "EventsTable"),
        ("remove", "Old"),
        ("perhaps replace", "Archive"),
        ("change", "Store"),
        ("add", "Dashboard"),
    ]
    text = render(found)
    assert "change           Lambda::Function Store: MemorySize 512 → 1024" in text
    assert "WARNING: EventsTable will be replaced and its items WILL BE LOST" in text
    assert "WARNING: Archive will be replaced, perhaps and its objects WILL BE LOST" in text
    assert "WARNING: Old" not in text


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (Change("remove", "T", "AWS::DynamoDB::Table"), "T will be removed and its items WILL BE LOST"),
        (Change("remove", "T", "AWS::DynamoDB::Table", keeps=True), "it stays, with its items, outside of the stack"),
        (Change("replace", "B", "AWS::S3::Bucket", keeps=True), "the new one is empty; the old one stays"),
        (Change("change", "T", "AWS::DynamoDB::Table"), None),
        (Change("replace", "F", "AWS::Lambda::Function"), None),
    ],
)
def test_warnings_are_about_data(change: Change, warning: str | None) -> None:
    found = change.warning()
    assert found is None if warning is None else warning in (found or "")


def test_what_the_template_retains_is_told_by_the_change_set() -> None:
    found = changes([described("Remove", "T", "AWS::DynamoDB::Table", PolicyAction="Retain")])
    assert found[0].keeps
    assert render([]) == "  nothing"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((None, "CREATE"), ("REVIEW_IN_PROGRESS", "CREATE"), ("DELETE_COMPLETE", "CREATE")),
        *((status, "UPDATE") for status in state.AT_REST),
    ],
)
def test_what_a_stack_at_rest_takes(status: str | None, kind: str) -> None:
    assert state.change_set_type("s", status) == kind


@pytest.mark.parametrize(
    ("status", "todo"),
    [
        ("ROLLBACK_COMPLETE", "headrace destroy --stack s"),
        ("ROLLBACK_FAILED", "headrace destroy --stack s"),
        ("CREATE_FAILED", "headrace destroy --stack s"),
        ("DELETE_FAILED", "headrace destroy --stack s"),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback"),
        ("UPDATE_FAILED", "continue-update-rollback"),
        ("UPDATE_IN_PROGRESS", "Wait"),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "Wait"),
        ("DELETE_IN_PROGRESS", "Wait"),
    ],
)
def test_what_to_do_about_a_stack_that_takes_nothing(status: str, todo: str) -> None:
    with pytest.raises(Conflict) as raised:
        state.change_set_type("s", status)
    assert status in raised.value.problem and todo in raised.value.hint


def test_every_status_of_the_service_is_known() -> None:
    import botocore.session

    model = botocore.session.get_session().get_service_model("cloudformation")
    for status in model.shape_for("StackStatus").enum:
        try:
            assert state.change_set_type("s", status) in ("CREATE", "UPDATE")
        except Conflict:
            continue
        assert state.has_ended(status)


def event(logical_id: str, status: str, reason: str | None = None) -> dict[str, Any]:
    return {"LogicalResourceId": logical_id, "ResourceType": "AWS::X::Y", "ResourceStatus": status} | (
        {"ResourceStatusReason": reason} if reason else {}
    )


def test_the_first_failure_is_the_cause_and_not_what_was_cancelled() -> None:
    events = [
        event("A", "CREATE_IN_PROGRESS"),
        event("B", "CREATE_FAILED", "Resource creation cancelled"),
        event("C", "CREATE_FAILED", "arn:… is not authorized to perform: dynamodb:CreateTable"),
        event("D", "CREATE_FAILED", "events already exists"),
    ]
    error = state.failure("s", "ROLLBACK_COMPLETE", events)
    assert "C (AWS::X::Y) failed first" in error.problem and "dynamodb:CreateTable" in error.problem
    assert "allowed" in error.hint and "headrace destroy --stack s" in error.hint
    assert "deploy again" in state.failure("s", "UPDATE_ROLLBACK_COMPLETE", events).hint
    assert "describe-stack-events" in state.failure("s", "ROLLBACK_COMPLETE", []).hint


@pytest.mark.parametrize(
    ("reason", "todo"),
    [
        ("events already exists in stack x", "NamePrefix"),
        ("Maximum number of addresses: LimitExceeded", "Service Quotas"),
        ("Resource cannot be deleted as it is currently protected … deletion protection enabled", "--delete-data"),
        ("The specified key does not exist. NoSuchKey", "headrace deploy"),
        ("something new", "template or the account"),
    ],
)
def test_advice(reason: str, todo: str) -> None:
    assert todo in state.advice(reason)


def answer(code: str, message: str = "m", status: int = 400) -> dict[str, Any]:
    return {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.parametrize(
    ("response", "kind", "words"),
    [
        (answer("ExpiredToken"), HeadraceError, "expired"),
        (answer("InvalidClientTokenId"), HeadraceError, "does not know these credentials"),
        (
            answer("AccessDenied", "arn:… is not authorized to perform: cloudformation:CreateChangeSet on x"),
            HeadraceError,
            "Not permitted: cloudformation:CreateChangeSet",
        ),
        (answer("AccessDenied", "Access Denied", 403), HeadraceError, "Not permitted: PutObject"),
        (answer("Throttling"), Throttled, "slow down"),
        (answer("NoSuchBucket"), NotFound, "PutObject"),
        (answer("InternalFailure", status=500), Unavailable, "InternalFailure"),
        (answer("ValidationError", "Stack [x] does not exist"), HeadraceError, "does not exist"),
    ],
)  # fmt: skip
def test_errors_of_aws_say_what_to_do(response: dict[str, Any], kind: type[HeadraceError], words: str) -> None:
    found = problem(response, "PutObject")
    assert type(found) is kind
    assert words in found.problem


def test_the_settings_of_one_machine_are_told_from_those_of_aws() -> None:
    local = {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "HEADRACE_ENDPOINT": "http://127.0.0.1:4566"}
    assert is_one_machine(local, None) and is_one_machine(local, "work")
    assert is_one_machine({"AWS_ACCESS_KEY_ID": "headrace"}, None)
    assert not is_one_machine({"AWS_ACCESS_KEY_ID": "headrace"}, "work")
    assert not is_one_machine({"AWS_ENDPOINT_URL": "http://127.0.0.1:5000", "AWS_ACCESS_KEY_ID": "AKIA"}, None)


def test_the_template_is_rewritten_and_nothing_else_in_it() -> None:
    keys = {"Store": "functions/s.zip", "ArchiveFunction": "functions/a.zip", "DeviceApi": "functions/d.zip"}
    made = json.loads(rewrite.rewritten(ROOT / "template.yaml", "code", keys))
    assert made["Resources"]["Store"]["Properties"]["CodeUri"] == {"Bucket": "code", "Key": "functions/s.zip"}
    assert "CodeUri" not in made["Globals"]["Function"]
    assert made["Parameters"]["EventsTtlDays"]["Default"] == 30
    assert made["Resources"]["EventsTable"]["DeletionPolicy"].startswith("Retain")
    some = json.loads(rewrite.rewritten(ROOT / "template.yaml", "code", {"Store": "x"}))
    assert some["Globals"]["Function"]["CodeUri"] == "functions/"


def prepared(template: Path = ROOT / "template.yaml", prefix: str | None = None) -> project.Prepared:
    return project.Prepared(template, (), (), {}, prefix)


def test_parameters_keep_what_they_have() -> None:
    found = project.parameters(prepared(), "headrace", "code", {"EventsTtlDays": "7"}, {"StreamMode": "PROVISIONED"})
    assert found["EventsTtlDays"] == "7" and found["StreamMode"] is None
    assert "ShardCount" not in found
    assert project.values(found, {"StreamMode": "PROVISIONED"})["StreamMode"] == "PROVISIONED"


def test_a_parameter_that_there_is_not_is_refused() -> None:
    with pytest.raises(TemplateError, match="EventsTtl: there is no such parameter"):
        project.parameters(prepared(), "headrace", "code", {"EventsTtl": "7"}, {})


def test_another_stack_has_names_of_its_own(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(
        "Parameters:\n  NamePrefix: {Type: String, Default: ''}\n  ArtifactsBucket: {Type: String, Default: ''}\n"
        "  ArtifactsPrefix: {Type: String, Default: ''}\nResources: {S: {Type: AWS::Kinesis::Stream}}\n"
    )
    found = project.parameters(prepared(template, "jobs/1"), "blue", "code", {}, {})
    assert found == {"NamePrefix": "blue-", "ArtifactsBucket": "code", "ArtifactsPrefix": "jobs/1"}
    assert "NamePrefix" not in project.parameters(prepared(template), "headrace", "code", {}, {})
    assert project.parameters(prepared(template), "blue", "code", {}, {"NamePrefix": "x"})["NamePrefix"] is None


def test_a_long_name_wants_a_prefix(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text("Parameters: {NamePrefix: {Type: String}}\nResources: {S: {Type: AWS::Kinesis::Stream}}\n")
    with pytest.raises(UsageError, match="too long"):
        project.parameters(prepared(template), "a" * 30, "code", {}, {})
    found = project.parameters(prepared(template), "a" * 30, "code", {"NamePrefix": "b-"}, {})
    assert found["NamePrefix"] == "b-"
    assert project.parameters(prepared(template), "Blue", "code", {}, {})["NamePrefix"] == "blue-"


def test_what_a_deletion_leaves() -> None:
    resources = {
        "T": {"Type": "A", "DeletionPolicy": "Retain"},
        "R": {"Type": "B", "DeletionPolicy": "RetainExceptOnCreate"},
    }
    assert rewrite.retained({"Resources": {**resources, "F": {"Type": "C"}}}) == {"T": "A", "R": "B"}
