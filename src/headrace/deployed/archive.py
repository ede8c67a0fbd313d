"""The archive's objects, from S3."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any

from headrace import clock

if TYPE_CHECKING:
    from headrace.deployed import Deployed

PAGE = 1000
_THREADS = 8
_COLD = ("GLACIER", "DEEP_ARCHIVE")


def page(system: "Deployed", prefix: str, after: str | None) -> dict[str, Any]:
    """Return a page of objects with their tags, and the key to go on after."""
    client, bucket = system.client("s3"), system.archive_bucket
    with system.errors():
        asked = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": PAGE, "OptionalObjectAttributes": ["RestoreStatus"]}
        found = client.list_objects_v2(**asked, **({"StartAfter": after} if after else {}))
        contents = found.get("Contents", [])

        def tags(key: str) -> dict[str, str]:
            answer = client.get_object_tagging(Bucket=bucket, Key=key)
            return {each["Key"]: each["Value"] for each in answer["TagSet"]}

        with ThreadPoolExecutor(_THREADS) as threads:
            tagged = list(threads.map(tags, [each["Key"] for each in contents if each["Key"].startswith("raw/")]))
    by_key = dict(zip([each["Key"] for each in contents if each["Key"].startswith("raw/")], tagged, strict=True))
    objects = [_object(each, by_key.get(each["Key"], {})) for each in contents]
    return {"objects": objects, "next": contents[-1]["Key"] if found.get("IsTruncated") else None}


def _object(found: dict[str, Any], tags: dict[str, str]) -> dict[str, Any]:
    storage_class = found.get("StorageClass", "STANDARD")
    restore = _restore(found.get("RestoreStatus"))
    return {
        "key": found["Key"],
        "size": found["Size"],
        "modified": _time(found["LastModified"]),
        "storage_class": storage_class,
        "readable": storage_class not in _COLD or bool(restore and restore["done"]),
        "tags": tags,
        "restore": restore,
    }


def _restore(status: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a restore under way or done; S3 does not tell when one will be ready."""
    if not status:
        return None
    expires = status.get("RestoreExpiryDate")
    done = not status.get("IsRestoreInProgress") and expires is not None
    return {"tier": None, "done": done, "ready": "in progress", "expires": _time(expires) if expires else ""}


def _time(at: datetime) -> str:
    return clock.rfc3339_ms(round(at.timestamp() * 1000))
