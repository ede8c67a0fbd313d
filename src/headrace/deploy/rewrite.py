"""The template as CloudFormation gets it: JSON, with each function's code in the bucket of artifacts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.template import document

BODY_BYTES_MAX = 51_200  # of a template that is sent with the call; a larger one goes through the bucket
_SERVERLESS = "AWS::Serverless::Function"


def rewritten(template: Path, bucket: str, keys: Mapping[str, str]) -> str:
    """Return a template's text with the code of functions, by logical id, at these keys of a bucket."""
    content: dict[str, Any] = json.loads(json.dumps(document.load(template)))
    for logical_id, key in keys.items():
        resource = content["Resources"][logical_id]
        properties = resource.setdefault("Properties", {})
        if resource["Type"] == _SERVERLESS:
            properties["CodeUri"] = {"Bucket": bucket, "Key": key}
        else:
            properties["Code"] = {"S3Bucket": bucket, "S3Key": key}
    of_all = content.get("Globals", {}).get("Function", {})
    if set(keys) >= {name for name, each in content["Resources"].items() if each["Type"] == _SERVERLESS}:
        of_all.pop("CodeUri", None)
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


def parameters_of(template: Path) -> list[str]:
    """Return the names of the parameters that a template declares."""
    return list(document.load(template).get("Parameters") or {})


def retained(template: Mapping[str, Any]) -> dict[str, str]:
    """Return the resources (logical id -> type) of a template that a deletion of its stack leaves."""
    resources: Mapping[str, Any] = template.get("Resources", {})
    return {
        name: each["Type"]
        for name, each in resources.items()
        if str(each.get("DeletionPolicy", "")).startswith("Retain")
    }
