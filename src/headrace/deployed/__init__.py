"""A system on AWS as its stack shows it: what the command line's reading commands ask with `--aws`.

`Deployed` answers what a backend of one machine answers, from AWS's APIs alone; a file here for each thing asked.

| file | asks |
|---|---|
| `status.py` | CloudWatch, DynamoDB, S3, CloudFormation |
| `failures.py`, `archive.py` | S3 |
| `logs.py` | CloudWatch Logs |
| `jobs.py` | Step Functions and EventBridge Scheduler |
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from headrace.deploy.aws import Aws
from headrace.deploy.stack import Stack
from headrace.errors import HeadraceError, NotFound, UsageError

NAMESPACE, NAME_PREFIX = "Headrace", "NamePrefix"


class Deployed:
    """A stack's system. Names of its resources are read once, when first needed."""

    is_aws = True

    def __init__(self, aws: Aws, stack: str) -> None:
        self.aws = aws
        self.stack = Stack(aws, stack)
        self.url = f"stack {stack}"
        self._resources: list[dict[str, Any]] | None = None
        self._outputs: dict[str, str] | None = None
        self._namespace: str | None = None

    def client(self, service: str, *, timeout_s: float = 60.0, retries: int = 2, connections: int = 10) -> Any:
        """Return a boto3 client; calls belong inside `with errors():`."""
        return self.aws.client(service, timeout_s=timeout_s)

    def errors(self) -> AbstractContextManager[None]:
        """Turn botocore's errors into ones that say what to do."""
        return self.aws.errors()

    @property
    def outputs(self) -> dict[str, str]:
        """Return the stack's outputs; raises NotFound where there is no stack."""
        if self._outputs is None:
            self._outputs = self.stack.outputs()
        return self._outputs

    @property
    def resources(self) -> list[dict[str, Any]]:
        """Return the stack's resources, as ListStackResources says them."""
        if self._resources is None:
            self.stack.must()
            self._resources = self.stack.resources()
        return self._resources

    def names(self, kind: str) -> list[str]:
        """Return the names (physical ids) of the stack's resources of a type, in the order of the stack."""
        return [str(each["PhysicalResourceId"]) for each in self.resources if each["ResourceType"] == kind]

    def output(self, name: str, kind: str) -> str:
        """Return an output; else the stack's only resource of a type. Raises HeadraceError."""
        if name in self.outputs:
            return str(self.outputs[name])
        found = self.names(kind)
        if len(found) != 1:
            raise HeadraceError(
                f"The {self.url} has no output {name}, and {len(found)} resources {kind}.",
                f"Add the output {name} to the template, as the built-in one has it, and deploy.",
            )
        return str(found[0])

    def function(self, name: str) -> str:
        """Return what a function of the template is called on AWS; raises NotFound."""
        kinds = ("AWS::Lambda::Function",)
        found: dict[str, str] = {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for each in self.resources
            if each["ResourceType"] in kinds
        }
        output = self.outputs.get(f"{''.join(part.capitalize() for part in name.split('_'))}FunctionName")
        if output is not None:
            return output
        for logical_id, physical in found.items():
            if name in (logical_id, physical) or physical.endswith(f"-{name}"):
                return physical
        raise NotFound(f"The {self.url} has no function {name}.", f"There are: {', '.join(found.values()) or 'none'}.")

    def owns(self, kind: str, name: str) -> bool:
        """Return whether a resource of a type is of this stack."""
        return name in self.names(kind)

    @property
    def archive_bucket(self) -> str:
        """Return the bucket of the archive."""
        return self.output("ArchiveBucketName", "AWS::S3::Bucket")

    @property
    def failures_bucket(self) -> str:
        """Return the bucket of failures."""
        return self.output("FailuresBucketName", "AWS::S3::Bucket")

    @property
    def workgroup(self) -> str:
        """Return the warehouse's workgroup; raises HeadraceError where the stack has no warehouse."""
        return self.output("WarehouseWorkgroupName", "AWS::RedshiftServerless::Workgroup")

    @property
    def namespace(self) -> str:
        """Return the namespace of the functions' own metrics: two systems in one account have different ones."""
        if self._namespace is None:
            self._namespace = self.stack.parameters().get(NAME_PREFIX, "") + NAMESPACE
        return self._namespace

    def owns_metric(self, namespace: str, dimensions: Sequence[tuple[str, str]]) -> bool:
        """Return whether a metric is of this stack: of the functions' own, or with one of its resources' names."""
        if namespace == self.namespace:
            return True
        own = {
            each["PhysicalResourceId"].rpartition("/")[2] for each in self.resources if each.get("PhysicalResourceId")
        }
        return any(value in own for _, value in dimensions)

    def get(self, path: str, query: Sequence[tuple[str, str]] = (), *, timeout_s: float | None = None) -> Any:
        """Answer what `/_headrace/<path>` does on one machine; raises UsageError for what AWS has no answer to."""
        from headrace.deployed import archive, failures, jobs

        asked = dict(query)
        if path == "archive":
            return archive.page(self, asked.get("prefix", ""), asked.get("after") or None)
        if path == "failures":
            return failures.page(self, asked.get("after") or None)
        if path == "jobs":
            return jobs.listed(self)
        if path == "streams":
            raise NotFound("AWS does not tell what a stream holds.")
        raise UsageError(f"{path} is of one machine only.", "Leave --aws out.")

    def get_bytes(self, path: str, query: Sequence[tuple[str, str]] = (), *, timeout_s: float | None = None) -> bytes:
        """Answer as `get` does, as it stands there."""
        from headrace.deployed import failures

        if path == "failures/document":
            return failures.document(self, dict(query)["id"])
        raise UsageError(f"{path} is of one machine only.", "Leave --aws out.")

    def listed(self, service: str, operation: str, key: str, **asked: Any) -> Iterator[Any]:
        """Yield what a paged operation lists."""
        client = self.client(service)
        with self.errors():
            for page in client.get_paginator(operation).paginate(**asked):
                yield from page.get(key, [])
