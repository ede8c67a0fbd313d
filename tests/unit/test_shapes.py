"""What AWS says to bad input, word for word: types first, then constraints."""

import subprocess
import sys
from typing import Any

import pytest

from headrace.errors import HeadraceError
from headrace.shapes import Service
from headrace.wire import WireError

OPERATIONS = (
    "PutRecord",
    "PutRecords",
    "CreateStream",
    "GetShardIterator",
    "GetRecords",
    "ListStreams",
    "DeleteStream",
)
TAGS = ("AddTagsToStream", "RemoveTagsFromStream", "DescribeLimits")
KINESIS = Service("kinesis", OPERATIONS + TAGS, {"Data": {"max": 10}}, values_max=10_000)

NUMBER = "class com.amazon.coral.value.json.numbers.TruncatingBigNumber"
NO_LIST = "Start of list found where not expected"
NO_MAP = "Start of structure or map found where not expected."
NAME = r"[a-zA-Z0-9_.-]+"
LONG = "a" * 129


def refusal(operation: str, body: Any) -> tuple[str, str]:
    with pytest.raises(WireError) as caught:
        KINESIS.check(operation, body)
    assert caught.value.status == 400
    return caught.value.code, caught.value.message


def nested(path: str, value: object) -> dict[str, Any]:
    """Return {"A": [{"B": value}]} for "A.0.B"."""
    for name in reversed(path.split(".")):
        value = [value] if name == "0" else {name: value}
    assert isinstance(value, dict)
    return value


TYPES: dict[tuple[str, str], list[tuple[object, str]]] = {
    ("PutRecord", "StreamName"): [
        (True, "class java.lang.Boolean can not be converted to an String"),
        (23, f"{NUMBER} can not be converted to an String"),
        (34.56, f"{NUMBER} can not be converted to an String"),
        ([], NO_LIST),
        ({}, NO_MAP),
    ],
    ("CreateStream", "ShardCount"): [
        ("23", "class java.lang.String can not be converted to an Integer"),
        (True, "class java.lang.Boolean can not be converted to an Integer"),
        ([], NO_LIST),
        ({}, NO_MAP),
    ],
    ("DeleteStream", "EnforceConsumerDeletion"): [
        ("maybe", "'MAYBE' can not be converted to an Boolean"),
        (1, f"{NUMBER} can not be converted to an Boolean"),
        ([], NO_LIST),
        ({}, NO_MAP),
    ],
    ("PutRecords", "Records.0.Data"): [
        (True, "class java.lang.Boolean can not be converted to a Blob"),
        (23, f"{NUMBER} can not be converted to a Blob"),
        ([], NO_LIST),
        ({}, NO_MAP),
        (
            "23456",
            "'23456' can not be converted to a Blob: Base64 encoded length is expected a multiple of 4 bytes but "
            "found: 5",
        ),
        ("=+/=", "'=+/=' can not be converted to a Blob: Invalid Base64 character: '='"),
        ("a_b-", "'a_b-' can not be converted to a Blob: Invalid Base64 character: '_'"),
        ("+/+=", "'+/+=' can not be converted to a Blob: Invalid last non-pad Base64 character dectected"),
    ],
    ("GetShardIterator", "Timestamp"): [
        ("2016-04-04T19:58:46Z", "class java.lang.String can not be converted to milliseconds since epoch"),
        (True, "class java.lang.Boolean can not be converted to milliseconds since epoch"),
        ([], NO_LIST),
        ({}, NO_MAP),
    ],
    ("PutRecords", "Records"): [
        ("23", "Expected list or null"),
        (True, "Expected list or null"),
        (23, "Expected list or null"),
        ({}, NO_MAP),
    ],
    ("AddTagsToStream", "Tags"): [
        ("23", "Expected map or null"),
        (True, "Expected map or null"),
        (23, "Expected map or null"),
        ([], NO_LIST),
    ],
    ("PutRecords", "Records.0"): [
        ("23", "Expected null"),
        (True, "Expected null"),
        (23, "Expected null"),
        ([], NO_LIST),
    ],
    ("RemoveTagsFromStream", "TagKeys.0"): [(1, f"{NUMBER} can not be converted to an String")],
}


@pytest.mark.parametrize(
    ("operation", "path", "value", "message"),
    [(*place, value, message) for place, cases in TYPES.items() for value, message in cases],
)
def test_wrong_types(operation: str, path: str, value: object, message: str) -> None:
    assert refusal(operation, nested(path, value)) == ("SerializationException", message)


def broken(*errors: tuple[str, str, str]) -> str:
    """Return AWS's message for (value as shown, path, constraint)."""
    count = f"{len(errors)} validation error{'s' if len(errors) > 1 else ''} detected: "
    return count + "; ".join(
        f"Value {value if value == 'null' else repr(value)} at '{path}' failed to satisfy constraint: {constraint}"
        for value, path, constraint in errors
    )


NOT_NULL = "Member must not be null"
SHORT = "Member must have length greater than or equal to 1"
PATTERN = f"Member must satisfy regular expression pattern: {NAME}"
HASH_KEY = r"Member must satisfy regular expression pattern: ^(0|([1-9]\d{0,38}))$"

CONSTRAINTS: list[tuple[str, dict[str, Any], str]] = [
    ("PutRecord", {"PartitionKey": "k"}, broken(("null", "data", NOT_NULL))),
    (
        "GetShardIterator",
        {"StreamName": None},
        broken(("null", "shardId", NOT_NULL), ("null", "shardIteratorType", NOT_NULL)),
    ),
    ("CreateStream", {}, broken(("null", "streamName", NOT_NULL))),
    (
        "CreateStream",
        {"StreamName": "", "ShardCount": 0},
        broken(
            ("", "streamName", PATTERN),
            ("", "streamName", SHORT),
            ("0", "shardCount", "Member must have value greater than or equal to 1"),
        ),
    ),
    (
        "CreateStream",
        {"StreamName": LONG, "MaxRecordSizeInKiB": 100_000_000_000},
        broken(
            (LONG, "streamName", "Member must have length less than or equal to 128"),
            ("2147483647", "maxRecordSizeInKiB", "Member must have value less than or equal to 10240"),
        ),
    ),
    ("CreateStream", {"StreamName": "a\n"}, broken(("a\n", "streamName", PATTERN)).replace("\\n", "\n")),
    ("CreateStream", {"StreamName": "ü"}, broken(("ü", "streamName", PATTERN))),
    (
        "CreateStream",
        {"StreamName": "a", "StreamModeDetails": {"StreamMode": "FAST"}},
        broken(
            ("FAST", "streamModeDetails.streamMode", "Member must satisfy enum value set: [PROVISIONED, ON_DEMAND]")
        ),
    ),
    (
        "CreateStream",
        {"StreamName": "a", "StreamModeDetails": {}},
        broken(("null", "streamModeDetails.streamMode", NOT_NULL)),
    ),
    ("PutRecords", {"Records": []}, broken(("[]", "records", SHORT))),
    (
        "PutRecords",
        {"Records": [{"Data": "", "PartitionKey": "k"}, {"PartitionKey": "", "ExplicitHashKey": "01"}]},
        broken(
            ("null", "records.2.member.data", NOT_NULL),
            ("01", "records.2.member.explicitHashKey", HASH_KEY),
            ("", "records.2.member.partitionKey", SHORT),
        ),
    ),
    (
        "PutRecord",
        {"Data": "QUFBQUFBQUFBQUE=", "PartitionKey": "k" * 257},
        broken(
            (
                "java.nio.HeapByteBuffer[pos=0 lim=11 cap=11]",
                "data",
                "Member must have length less than or equal to 10",
            ),
            ("k" * 257, "partitionKey", "Member must have length less than or equal to 256"),
        ),
    ),
    (
        "AddTagsToStream",
        {"StreamName": "a", "Tags": {"": "v", "k": "v" * 257}},
        broken(
            (
                f"{{=v, k={'v' * 257}}}",
                "tags",
                "Map keys must satisfy constraint: [Member must have length less than or equal to 128, "
                "Member must have length greater than or equal to 1]",
            ),
            (
                f"{{=v, k={'v' * 257}}}",
                "tags",
                "Map value must satisfy constraint: [Member must have length less than or equal to 256, "
                "Member must have length greater than or equal to 0]",
            ),
        ),
    ),
    ("AddTagsToStream", {"Tags": {}}, broken(("{}", "tags", SHORT))),
    (
        "RemoveTagsFromStream",
        {"TagKeys": ["a", ""]},
        broken(
            (
                "[a, ]",
                "tagKeys",
                "Member must satisfy constraint: [Member must have length less than or equal to 128, "
                "Member must have length greater than or equal to 1]",
            )
        ),
    ),
    (
        "GetRecords",
        {"ShardIterator": "", "Limit": 0},
        broken(("", "shardIterator", SHORT), ("0", "limit", "Member must have value greater than or equal to 1")),
    ),
]


@pytest.mark.parametrize(("operation", "body", "message"), CONSTRAINTS)
def test_broken_constraints(operation: str, body: dict[str, Any], message: str) -> None:
    assert refusal(operation, body) == ("ValidationException", message)


def test_ten_errors_are_listed_at_most() -> None:
    code, message = refusal("PutRecords", {"Records": [{"PartitionKey": ""}] * 501})
    assert code == "ValidationException"
    assert message.startswith(
        "10 validation errors detected: Value '[com.amazonaws.kinesis.v20131202.PutRecordsRequest"
    )
    assert "at 'records' failed to satisfy constraint: Member must have length less than or equal to 500; " in message
    assert message.count("; Value ") == 9


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b"\xff", b'"\\ud800"', b"NaN", b"[" * 5000, b"1", b"null", b'"a"']
)
def test_what_is_no_json_object(body: bytes) -> None:
    with pytest.raises(WireError) as caught:
        KINESIS.parse("ListStreams", body)
    assert caught.value.code == "SerializationException"


@pytest.mark.parametrize("body", [b"[%b]" % b",".join([b"1"] * 10_001), b"[" * 10_001, b'{"a":[%b]}' % (b"{}," * 5001)])
def test_more_values_than_a_request_has_are_not_read(body: bytes) -> None:
    with pytest.raises(WireError, match="it has more than 10,000 values"):
        KINESIS.parse("ListStreams", body)


def test_a_list_is_no_structure() -> None:
    assert refusal("ListStreams", []) == ("SerializationException", NO_LIST)


TAKEN: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("ListStreams", {}, {}),
    ("DescribeLimits", {"Unknown": 1}, {}),
    ("ListStreams", {"Limit": None, "Unknown": {"deep": []}}, {}),
    ("ListStreams", {"Limit": 5.9}, {"Limit": 5}),
    ("PutRecord", {"Data": "", "PartitionKey": "k"}, {"Data": b"", "PartitionKey": "k"}),
    ("PutRecord", {"Data": "YWJj"}, {"Data": b"abc"}),
    ("DeleteStream", {"EnforceConsumerDeletion": "True"}, {"EnforceConsumerDeletion": True}),
    (
        "GetShardIterator",
        {"ShardId": "s", "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1459799926},
        {"ShardId": "s", "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1459799926.0},
    ),
]


@pytest.mark.parametrize(("operation", "body", "taken"), TAKEN)
def test_good_input(operation: str, body: dict[str, Any], taken: dict[str, Any]) -> None:
    assert KINESIS.check(operation, body) == taken


def test_another_service() -> None:
    assert "Invoke" in Service("lambda", ("Invoke",), values_max=1).operations
    with pytest.raises(HeadraceError, match="nosuch"):
        Service("nosuch", (), values_max=1)


def test_reading_a_model_does_not_import_botocore() -> None:
    code = "import sys; from headrace.shapes import Service; Service('kinesis', (), values_max=1)"
    code += "; print('botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"
