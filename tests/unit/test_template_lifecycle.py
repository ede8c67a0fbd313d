"""Lifecycle rules in a template: what S3 refuses, in its words and with the line; what is read."""

from pathlib import Path

import pytest

from headrace.errors import TemplateError
from headrace.system import System
from support.templates import SMALL, read

RULE = """          - Status: Enabled
            Transitions:
              - {StorageClass: GLACIER, TransitionInDays: 30}
            ExpirationInDays: 60
"""
MALFORMED = "MalformedXML: The XML you provided was not well-formed or did not validate against our published schema"


def system(tmp_path: Path, *lines: str, after: str = "") -> System:
    """Return the system of the small template whose bucket has a rule of these lines."""
    first, *others = lines
    rule = "\n".join([f"          - {first}", *(f"            {line}" for line in others), ""])
    assert RULE in SMALL
    return read(tmp_path, SMALL.replace(RULE, rule + after))


# What is written in the rule beside `Status: Enabled`: the line that is told, and what S3 says.
REFUSED = {
    "nothing to do": (["Prefix: raw/"], "Status", "At least one action needs to be specified in a rule"),
    "a class that there is not": (
        ["Transitions:", "  - {StorageClass: GLACIR, TransitionInDays: 30}"], "GLACIR", MALFORMED,
    ),
    "Prefix and Filter": (
        ["Prefix: raw/", "Filter: {Prefix: raw/}", "ExpirationInDays: 1"], "Filter",
        "Base level prefix cannot be used in Lifecycle V2, prefixes are only supported in the Filter",
    ),
    "infrequent access too soon": (
        ["Transition: {StorageClass: STANDARD_IA, TransitionInDays: 29}"], "Transition",
        "'Days' in Transition action must be greater than or equal to 30 for storageClass 'STANDARD_IA'",
    ),
    "one zone too soon": (
        ["Transition: {StorageClass: ONEZONE_IA, TransitionInDays: 0}"], "Transition",
        "'Days' in Transition action must be greater than or equal to 30 for storageClass 'ONEZONE_IA'",
    ),
    "expiry before the last transition": (
        ["Prefix: raw/", "Transition: {StorageClass: GLACIER, TransitionInDays: 90}", "ExpirationInDays: 90"],
        "ExpirationInDays",
        "'Days' in the Expiration action for filter '(prefix=raw/)' must be greater than 'Days' in the Transition "
        "action",
    ),
    "a colder class earlier": (
        ["Transitions:", "  - {StorageClass: DEEP_ARCHIVE, TransitionInDays: 90}",
         "  - {StorageClass: GLACIER, TransitionInDays: 90}"],
        "Transitions",
        "'Days' in the 'Transition' action for StorageClass 'DEEP_ARCHIVE' for filter '(prefix=)' must be 90 days more "
        "than 'filter '(prefix=)'' in the 'Transition' action for StorageClass 'GLACIER'",
    ),
    "too short in infrequent access": (
        ["Transitions:", "  - {StorageClass: STANDARD_IA, TransitionInDays: 30}",
         "  - {StorageClass: GLACIER, TransitionInDays: 59}"],
        "Transitions", "for StorageClass 'GLACIER' for filter '(prefix=)' must be 30 days more than",
    ),
    "a class twice": (
        ["TagFilters: [{Key: a, Value: b}]", "Transitions:", "  - {StorageClass: GLACIER, TransitionInDays: 30}",
         "  - {StorageClass: GLACIER, TransitionInDays: 90}"],
        "Transitions",
        "'StorageClass' must be different for 'Transition' actions in same 'Rule' with filter "
        "'(tag={key=a, value=b})'",
    ),
    "days and a date": (
        ["Transition: {StorageClass: GLACIER, TransitionInDays: 30}", "ExpirationDate: 2030-01-01T00:00:00Z"],
        "Transition", "Found mixed 'Date' and 'Days' based Expiration and Transition actions in lifecycle rule",
    ),
    "neither days nor a date": (["Transition: {StorageClass: GLACIER}"], "Transition", MALFORMED),
    "two times of expiry": (
        ["ExpirationInDays: 5", "ExpirationDate: 2030-01-01T00:00:00Z"], "ExpirationDate", MALFORMED,
    ),
    "expiry beside that of delete markers": (
        ["ExpiredObjectDeleteMarker: true", "ExpirationInDays: 5"], "ExpirationInDays", MALFORMED,
    ),
    "an empty list": (["Transitions: []"], "Status", "At least one action needs to be specified in a rule"),
    "a tag twice": (
        ["TagFilters: [{Key: a, Value: b}, {Key: a, Value: c}]", "ExpirationInDays: 5"], "TagFilters",
        "Duplicate Tag Keys are not allowed",
    ),
    "a date that is noon": (["ExpirationDate: 2030-01-01T12:00:00Z"], "ExpirationDate", "at midnight GMT"),
    "a date that is none": (["ExpirationDate: soon"], "ExpirationDate", "Write a date, such as"),
    "uploads by tag": (
        ["TagFilters: [{Key: a, Value: b}]", "AbortIncompleteMultipartUpload: {DaysAfterInitiation: 1}"], "Abort",
        "AbortIncompleteMultipartUpload cannot be specified with Tags",
    ),
    "uploads by size": (
        ["ObjectSizeGreaterThan: 5", "AbortIncompleteMultipartUpload: {DaysAfterInitiation: 1}"], "Abort",
        "AbortIncompleteMultipartUpload cannot be specified with ObjectSizeGreaterThan",
    ),
    "sizes that no object has": (
        ["ObjectSizeGreaterThan: 5", "ObjectSizeLessThan: 6", "ExpirationInDays: 1"], "ObjectSizeLessThan",
        "'ObjectSizeLessThan' has to be a value greater than",
    ),
    "no days": (["ExpirationInDays: 0"], "ExpirationInDays", "at least 1"),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "on_line", "says"), REFUSED.values(), ids=REFUSED)
def test_what_s3_refuses_is_refused_with_its_line(tmp_path: Path, lines: list[str], on_line: str, says: str) -> None:
    with pytest.raises(TemplateError) as caught:
        system(tmp_path, "Status: Enabled", *lines)
    error = caught.value
    assert says in f"{error.problem}\n{error.hint}"
    assert error.hint
    assert on_line in (tmp_path / "template.yaml").read_text().splitlines()[error.line - 1], error


def test_two_rules_of_one_id(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="Found same ID for more than one rule"):
        system(
            tmp_path,
            "Status: Enabled",
            "Id: a",
            "ExpirationInDays: 1",
            after=RULE.replace("- ", "- Id: a\n            ", 1),
        )


def test_what_is_read(tmp_path: Path) -> None:
    found = system(
        tmp_path,
        "Status: Enabled",
        "ExpirationDate: 2030-01-01",
        "NoncurrentVersionExpiration: {NoncurrentDays: 5}",
        after="        TransitionDefaultMinimumObjectSize: varies_by_storage_class\n",
    )
    bucket = found.buckets[0]
    assert bucket.transition_minimum == "varies_by_storage_class"
    assert bucket.lifecycle[0]["ExpirationDate"] == "2030-01-01T00:00:00+00:00"
    assert ("AWS::S3::Bucket.NoncurrentVersionExpiration", "an object has its last version only") in [
        (each.type, each.reason) for each in found.ignored
    ]
