"""Which API calls the methods of tables and buckets make on AWS, by reading `table/aws.py` and `archive/aws.py`; and
which permission an API call needs.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import headrace

# The interface's own methods, then those of its implementation on AWS, which replace them.
_FILES = {
    "table": (("table/base.py", "table/aws.py"), "dynamodb"),
    "bucket": (("archive/base.py", "archive/aws.py"), "s3"),
}
# Where a permission is not named like the operation.
_S3 = {
    "AbortMultipartUpload": ("s3:AbortMultipartUpload",),
    "CompleteMultipartUpload": ("s3:PutObject",),
    "CopyObject": ("s3:GetObject", "s3:PutObject"),
    "CreateMultipartUpload": ("s3:PutObject",),
    "DeleteObjects": ("s3:DeleteObject",),
    "HeadBucket": ("s3:ListBucket",),
    "HeadObject": ("s3:GetObject",),
    "ListObjects": ("s3:ListBucket",),
    "ListObjectsV2": ("s3:ListBucket",),
    "ListParts": ("s3:ListMultipartUploadParts",),
    "UploadPart": ("s3:PutObject",),
}
_OTHERS = {
    ("lambda", "Invoke"): ("lambda:InvokeFunction",),
    ("redshift-data", "BatchExecuteStatement"): (
        "redshift-data:BatchExecuteStatement",
        "redshift-serverless:GetCredentials",
    ),
    ("redshift-data", "ExecuteStatement"): ("redshift-data:ExecuteStatement", "redshift-serverless:GetCredentials"),
    ("emr", "RunJobFlow"): ("elasticmapreduce:RunJobFlow",),
}
_PREFIXES = {"emr": "elasticmapreduce", "stepfunctions": "states"}


def permissions(service: str, operation: str) -> tuple[str, ...]:
    """Return the actions that a call of an operation needs."""
    if service == "s3" and operation in _S3:
        return _S3[operation]
    return _OTHERS.get((service, operation), (f"{_PREFIXES.get(service, service)}:{operation}",))


def operation(service: str, method: str) -> str | None:
    """Return the operation that a method of a boto3 client calls; None if it calls none."""
    return _operations(service).get(method)


@cache
def of_storage(kind: str, method: str) -> tuple[tuple[str, str], ...]:
    """Return the calls (service, operation) that a method of `headrace.connect`'s table or bucket makes."""
    files, service = _FILES[kind]
    trees = [ast.parse((Path(headrace.__file__).parent / file).read_bytes()) for file in files]
    functions = {node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [method]
    while waiting:
        name = waiting.pop()
        if name in functions and name not in seen:
            seen.add(name)
            for used in _names(functions[name]):
                waiting.append(used)
                if (operation_ := operation(service, used.removeprefix("client."))) and used.startswith("client."):
                    found.add(operation_)
    return tuple((service, each) for each in sorted(found))


def _names(function: ast.FunctionDef) -> Iterator[str]:
    """Yield the names that a function uses: functions, its own object's methods, and `client.` the client's."""
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            base = node.value
            is_client = (isinstance(base, ast.Attribute) and base.attr.strip("_") == "client") or (
                isinstance(base, ast.Name) and base.id.strip("_") == "client"
            )
            if is_client:
                yield f"client.{node.attr}"
            elif isinstance(base, ast.Name) and base.id in ("self", "cls"):
                yield node.attr


@cache
def _operations(service: str) -> dict[str, str]:
    from botocore import xform_name
    from botocore.exceptions import UnknownServiceError
    from botocore.loaders import Loader

    try:
        model = Loader().load_service_model(service, "service-2")
    except UnknownServiceError:
        return {}
    return {xform_name(name): name for name in model["operations"]}
