"""AWS's errors in our words: each says what to do next."""

from typing import Any

import pytest
from botocore import exceptions

from headrace import aws
from headrace.errors import HeadraceError, NotFound, Throttled, Unavailable, UsageError


def answer(code: str, status: int = 400, operation: str = "PutObject") -> exceptions.ClientError:
    content: Any = {"Error": {"Code": code, "Message": "why"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return exceptions.ClientError(content, operation)


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (answer("SlowDown", 503), Throttled, "Try again"),
        (answer("AccessDenied", 403), HeadraceError, "Allow s3:PutObject in the role's or user's policy"),
        (answer("403", 403, "HeadBucket"), HeadraceError, "Allow s3:ListBucket"),
        (answer("AccessDeniedException", 400, "PutItem"), HeadraceError, "Allow that action"),
        (answer("InvalidAccessKeyId", 403), UsageError, "Sign in"),
        (answer("NoSuchBucket", 404), NotFound, "Check its name"),
        (answer("InternalError", 500), Unavailable, "Try again"),
        (answer("Strange"), HeadraceError, "why"),
        (exceptions.NoRegionError(), UsageError, "AWS_REGION"),
        (exceptions.NoCredentialsError(), UsageError, "aws configure"),
        (exceptions.ConnectTimeoutError(endpoint_url="http://x"), Unavailable, "network"),
        (exceptions.ProfileNotFound(profile="p"), UsageError, "profile"),
    ],
)
def test_an_error_says_what_to_do(error: Exception, kind: type[HeadraceError], says: str) -> None:
    found = aws.translated(error, "The bucket 'b' can't be used")
    assert type(found) is kind
    assert str(found).startswith("The bucket 'b' can't be used: ") and says in str(found)


def test_without_a_region_there_is_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    aws.forget()
    with pytest.raises(UsageError, match="no region"):
        aws.client("dynamodb")
    aws.forget()
