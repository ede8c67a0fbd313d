"""The bucket of artifacts: packages, job environments and templates under names that tell their content.

It is made by a stack of its own, once an account and region, unless a bucket is named.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

from headrace.deploy.aws import Aws
from headrace.deploy.environment import Artifact
from headrace.errors import HeadraceError, NotFound, UsageError

BOOTSTRAP = "headrace-artifacts"
_OUTPUT = "BucketName"
_CREATE_S_MAX = 300
_KEPT_DAYS = 30

TEMPLATE: dict[str, Any] = {
    "AWSTemplateFormatVersion": "2010-09-09",
    "Description": "Where `headrace deploy` puts code: packages and templates under names that tell their content.",
    "Resources": {
        "Bucket": {
            "Type": "AWS::S3::Bucket",
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": {
                "BucketEncryption": {
                    "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
                },
                "PublicAccessBlockConfiguration": {
                    "BlockPublicAcls": True,
                    "BlockPublicPolicy": True,
                    "IgnorePublicAcls": True,
                    "RestrictPublicBuckets": True,
                },
                "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
                "VersioningConfiguration": {"Status": "Enabled"},
                "LifecycleConfiguration": {
                    "Rules": [
                        {
                            "Id": "old-versions-and-parts-go",
                            "Status": "Enabled",
                            "NoncurrentVersionExpiration": {"NoncurrentDays": _KEPT_DAYS},
                            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
                        }
                    ]
                },
            },
        },
        "BucketPolicy": {
            "Type": "AWS::S3::BucketPolicy",
            "Properties": {
                "Bucket": {"Ref": "Bucket"},
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Sid": "OnlyOverTls",
                            "Effect": "Deny",
                            "Principal": "*",
                            "Action": "s3:*",
                            "Resource": [{"Fn::GetAtt": ["Bucket", "Arn"]}, {"Fn::Sub": "${Bucket.Arn}/*"}],
                            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                        }
                    ],
                },
            },
        },
    },
    "Outputs": {_OUTPUT: {"Value": {"Ref": "Bucket"}}},
}


def bucket(aws: Aws) -> str | None:
    """Return the bucket that the stack of artifacts made; None if there is no such stack yet."""
    client = aws.client("cloudformation")
    try:
        with aws.errors():
            stack = client.describe_stacks(StackName=BOOTSTRAP)["Stacks"][0]
    except HeadraceError as error:
        if "does not exist" in error.problem:
            return None
        raise
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}
    if _OUTPUT not in outputs:
        raise HeadraceError(
            f"The stack {BOOTSTRAP} is in {stack['StackStatus']} and has no bucket.",
            f"Wait until it is made, or: aws cloudformation delete-stack --stack-name {BOOTSTRAP}, then deploy again.",
        )
    return str(outputs[_OUTPUT])


def make_bucket(aws: Aws) -> str:
    """Make the stack of artifacts and return its bucket; raises HeadraceError."""
    client = aws.client("cloudformation")
    with aws.errors():
        client.create_stack(
            StackName=BOOTSTRAP,
            TemplateBody=json.dumps(TEMPLATE),
            OnFailure="DELETE",
            EnableTerminationProtection=True,
            Tags=[{"Key": "application", "Value": "headrace"}],
        )
        waiter = client.get_waiter("stack_create_complete")
        from botocore.exceptions import WaiterError

        try:
            waiter.wait(StackName=BOOTSTRAP, WaiterConfig={"Delay": 3, "MaxAttempts": _CREATE_S_MAX // 3})
        except WaiterError as error:
            raise HeadraceError(
                f"The bucket of artifacts could not be made: {error}.",
                f"See the events of the stack {BOOTSTRAP}, or name a bucket of yours: --artifacts-bucket NAME.",
            ) from error
    found = bucket(aws)
    if found is None:
        raise HeadraceError(f"The stack {BOOTSTRAP} is gone.", "See its events in the AWS console.")
    return found


def check_bucket(aws: Aws, name: str) -> None:
    """Raise if a named bucket can't be used."""
    client = aws.client("s3")
    try:
        with aws.errors():
            found = client.get_bucket_location(Bucket=name).get("LocationConstraint") or "us-east-1"
    except NotFound as error:
        raise UsageError(f"There is no bucket {name}.", "Make it, or leave --artifacts-bucket out.") from error
    if found not in (aws.region, {"EU": "eu-west-1"}.get(found)):
        raise UsageError(f"The bucket {name} is in {found}.", f"Functions in {aws.region} need one in {aws.region}.")


def upload(aws: Aws, name: str, artifacts: Iterable[Artifact], told: Callable[[str], None]) -> int:
    """Put the artifacts that the bucket has not got yet; returns how many. Each is named by its content."""
    client = aws.client("s3")
    count = 0
    for artifact in artifacts:
        if _has(aws, client, name, artifact.key):
            continue
        body = artifact.read()
        told(f"uploading {artifact.key} ({len(body):,} bytes)")
        with aws.errors():
            client.put_object(Bucket=name, Key=artifact.key, Body=body, ChecksumAlgorithm="SHA256")
        count += 1
    return count


def template_artifact(text: str) -> Artifact:
    """Return a template as an artifact."""
    body = text.encode()
    return Artifact.of(f"templates/{hashlib.sha256(body).hexdigest()[:32]}.json", body)


def _has(aws: Aws, client: Any, name: str, key: str) -> bool:
    """Return whether an object is there: all of it, as an upload is all there or not at all."""
    try:
        with aws.errors():
            client.head_object(Bucket=name, Key=key)
    except NotFound:
        return False
    return True
