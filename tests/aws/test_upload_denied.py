"""`headrace upload` by somebody who may not do all of it: it says what is missing, and goes on once that is permitted.

moto looks at IAM's policies once it is told to.
"""

import contextlib
import json
import urllib.request
from collections.abc import Iterator

import pytest

from support import moto
from support.cloud import Cloud
from support.moving import Moving, all_of, moving_system, objects_of

pytestmark = pytest.mark.skipif(moto.IS_REMOTE, reason="it is the packages that are run on a real account")


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moving]:
    with moving_system(tmp_path_factory.mktemp("denied")) as made:
        made.send({"device_id": "d", "time": 1})
        made.uploaded()
        yield made


@contextlib.contextmanager
def user_who_may(remote: Cloud, *actions: str) -> Iterator[dict[str, str]]:
    """Have moto look at permissions, and give the credentials of a user who has only these."""
    iam = remote.client("iam")
    iam.create_user(UserName="mover")
    allowed = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="mover", PolicyName="own", PolicyDocument=document)
    key = iam.create_access_key(UserName="mover")["AccessKey"]
    _look_at_permissions_after(remote, b"0")
    try:
        yield {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    finally:
        _look_at_permissions_after(remote, b"inf")
        iam.delete_access_key(UserName="mover", AccessKeyId=key["AccessKeyId"])
        iam.delete_user_policy(UserName="mover", PolicyName="own")
        iam.delete_user(UserName="mover")


def _look_at_permissions_after(remote: Cloud, calls: bytes) -> None:
    url = f"{remote.environment['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
    request = urllib.request.Request(url, calls, {"Content-Type": "text/plain"})
    urllib.request.urlopen(request, timeout=10).close()


HEADS = ("s3:HeadBucket", "s3:HeadObject")  # moto's own actions; AWS wants s3:ListBucket and s3:GetObject for these
READS = ("cloudformation:DescribeStacks", "s3:ListBucket", "s3:GetObject", "s3:GetObjectTagging", "dynamodb:Describe*")
READS_ITEMS = ("dynamodb:Query", "dynamodb:GetItem", "dynamodb:BatchGetItem")
WRITES_ITEMS = ("dynamodb:BatchWriteItem", "dynamodb:PutItem")


@pytest.mark.parametrize(
    ("may", "lacks", "step"),
    [
        ((*HEADS, *READS, *READS_ITEMS), "dynamodb:BatchWriteItem", "events"),
        ((*HEADS, *READS, *READS_ITEMS, *WRITES_ITEMS), "s3:PutObject", "raw"),
        (READS, "s3:ListBucket", None),
        ((*HEADS, *READS[1:], *READS_ITEMS, *WRITES_ITEMS), "cloudformation:DescribeStacks", None),
    ],
)
def test_what_is_not_permitted_is_named_and_the_upload_goes_on_once_it_is(
    moving: Moving, may: tuple[str, ...], lacks: str, step: str | None
) -> None:
    table, bucket = moving.their_table("events"), moving.remote.bucket("archive")
    table.delete(list(all_of(table)))
    for info in list(bucket.list("raw/")):
        bucket.delete(info.key)
    with user_who_may(moving.remote, *may) as keys:
        result = moving.run(**keys)
    assert result.returncode == 1, result.stderr
    assert "access denied" in result.stderr and lacks in result.stderr and "policy" in result.stderr
    assert "Traceback" not in result.stderr
    assert step is None or f"stopped at {step}; run again" in result.stderr
    with user_who_may(moving.remote, *may, lacks, *HEADS, *READS_ITEMS, *WRITES_ITEMS, "s3:*") as keys:
        again = moving.run(**keys)
    assert again.returncode == 0, again.stderr
    assert step is None or f"going on with the upload that was interrupted, at {step}" in again.stderr
    for noun in ("events", "devices"):
        assert all_of(moving.table(noun)).keys() - all_of(moving.their_table(noun)).keys() == set()
    assert objects_of(moving.bucket("archive")).keys() <= objects_of(moving.remote.bucket("archive")).keys()
