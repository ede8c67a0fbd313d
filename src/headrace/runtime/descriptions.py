"""Functions, their URLs and mappings as Lambda's API describes them. Pure but for the size of the code."""

import hashlib
from base64 import b64encode
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from headrace import clock
from headrace.system import ACCOUNT, REGION, Function, Mapping, function_arn, stream_arn

ROLE = f"arn:aws:iam::{ACCOUNT}:role/headrace"


def function(function: Function, since_ms: int) -> dict[str, Any]:
    """Return the answer of GetFunction."""
    answer: dict[str, Any] = {
        "Configuration": configuration(function, since_ms),
        "Code": {"RepositoryType": "LOCAL", "Location": Path(function.code).as_uri()},
        "Tags": {},
    }
    if function.reserved_concurrency is not None:
        answer["Concurrency"] = {"ReservedConcurrentExecutions": function.reserved_concurrency}
    return answer


def configuration(function: Function, since_ms: int) -> dict[str, Any]:
    """Return a FunctionConfiguration; `since_ms` is when it was last changed: the backend's start."""
    code = _code(function)
    digest = hashlib.sha256(code).digest()
    return {
        "FunctionName": function.name,
        "FunctionArn": function_arn(function.name),
        "Runtime": function.runtime,
        "Role": ROLE,
        "Handler": function.handler,
        "CodeSize": len(code),
        "CodeSha256": b64encode(digest).decode(),
        "Description": "",
        "Timeout": function.timeout_s,
        "MemorySize": function.memory_mb,
        "LastModified": clock.rfc3339_ms(since_ms).replace("Z", "+0000"),
        "Version": "$LATEST",
        "Environment": {"Variables": function.environment},
        "TracingConfig": {"Mode": "PassThrough"},
        "RevisionId": str(uuid5(NAMESPACE_URL, function.name + digest.hex())),
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": 512},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{function.name}"},
    }


def url(function: Function, url: str, since_ms: int) -> dict[str, Any]:
    """Return a FunctionUrlConfig."""
    time = clock.rfc3339_ms(since_ms)
    return {
        "FunctionUrl": url,
        "FunctionArn": function_arn(function.name),
        "AuthType": function.url_auth,
        "CreationTime": time,
        "LastModifiedTime": time,
        "InvokeMode": "BUFFERED",
    }


def mapping(mapping: Mapping, since_ms: int, last_result: str) -> dict[str, Any]:
    """Return an EventSourceMappingConfiguration."""
    answer: dict[str, Any] = {
        "UUID": mapping.uuid,
        "EventSourceMappingArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:event-source-mapping:{mapping.uuid}",
        "EventSourceArn": stream_arn(mapping.stream),
        "FunctionArn": function_arn(mapping.function),
        "BatchSize": mapping.batch_size,
        "MaximumBatchingWindowInSeconds": mapping.window_s,
        "ParallelizationFactor": 1,
        "StartingPosition": mapping.starting_position,
        "MaximumRecordAgeInSeconds": mapping.record_age_s_max,
        "MaximumRetryAttempts": mapping.retries,
        "BisectBatchOnFunctionError": mapping.bisect,
        "TumblingWindowInSeconds": 0,
        "FunctionResponseTypes": ["ReportBatchItemFailures"] if mapping.report_item_failures else [],
        "DestinationConfig": {"OnFailure": {}},
        "State": "Enabled" if mapping.enabled else "Disabled",
        "StateTransitionReason": "User action",
        "LastModified": since_ms / 1000,
        "LastProcessingResult": last_result,
    }
    if mapping.failures_bucket is not None:
        answer["DestinationConfig"]["OnFailure"]["Destination"] = f"arn:aws:s3:::{mapping.failures_bucket}"
    if mapping.starting_timestamp_ms is not None:
        answer["StartingPositionTimestamp"] = mapping.starting_timestamp_ms / 1000
    return answer


def _code(function: Function) -> bytes:
    """Return the handler's file; empty if there is none."""
    try:
        return (Path(function.code) / (function.handler.rpartition(".")[0] + ".py")).read_bytes()
    except OSError:
        return b""
