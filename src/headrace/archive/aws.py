"""A bucket in S3."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from headrace import aws, clock
from headrace.archive.base import (
    COLD_CLASSES,
    KEY_BYTES_MAX,
    STANDARD,
    Bucket,
    ObjectInfo,
    Restore,
    check_tags,
    invalid_state,
    not_found,
)
from headrace.errors import UsageError

PUT_BYTES_MAX = 64 * 1024 * 1024  # a larger file goes up in parts
PAGE_KEYS = 1000  # S3's limit
TAGS_AT_ONCE = 16
_NO_KEY = frozenset({"NoSuchKey", "404", "NotFound"})


class S3Bucket(Bucket):
    """The S3 bucket `name`. Safe to share between threads.

    On top of the interface's errors: NotFound where there is no such bucket, UsageError without usable credentials,
    HeadraceError where access is denied, Unavailable where S3 does not answer (after botocore's own retries).
    """

    def __init__(self, name: str, client: Any, page_keys: int = PAGE_KEYS) -> None:
        """`client` is botocore's or boto3's; a listing asks for `page_keys` at a time."""
        self.name = name
        self._client = client
        self._page_keys = page_keys

    @classmethod
    def connect(cls, name: str) -> "S3Bucket":
        """Return the bucket, with the credentials of the environment."""
        return cls(name, aws.client("s3"))

    def put(self, key: str, body: bytes) -> None:
        """Write an object: S3 shows it once it is whole."""
        with self._errors(key):
            self._client.put_object(Bucket=self.name, Key=_checked(key), Body=body)

    def put_file(self, key: str, path: Path) -> None:
        """Send a file, in parts if it is large, and remove it."""
        with self._errors(key):
            if path.stat().st_size <= PUT_BYTES_MAX:
                with path.open("rb") as body:
                    self._client.put_object(Bucket=self.name, Key=_checked(key), Body=body)
            else:
                from s3transfer.manager import TransferManager

                with TransferManager(self._client) as manager:
                    manager.upload(str(path), self.name, _checked(key)).result()
        path.unlink()

    def get(self, key: str) -> bytes:
        """Return an object's content."""
        with self._errors(key):
            content: bytes = self._client.get_object(Bucket=self.name, Key=_checked(key))["Body"].read()
            return content

    def list(self, prefix: str = "", *, tags: bool = False) -> Iterator[ObjectInfo]:
        """Yield objects in key order, a page in memory at a time."""
        params = {
            "Bucket": self.name,
            "Prefix": prefix,
            "MaxKeys": self._page_keys,
            "OptionalObjectAttributes": ["RestoreStatus"],
        }
        while True:
            with self._errors(prefix):
                page = self._client.list_objects_v2(**params)
            infos = [_info(found) for found in page.get("Contents", ())]
            yield from self._tagged(infos) if tags else infos
            if not page.get("IsTruncated"):
                return
            params["ContinuationToken"] = page["NextContinuationToken"]

    def delete(self, key: str) -> None:
        """Delete an object."""
        with self._errors(key):
            self._client.delete_object(Bucket=self.name, Key=_checked(key))

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """Replace an object's tags."""
        check_tags(tags)
        tag_set = [{"Key": name, "Value": value} for name, value in tags.items()]
        with self._errors(key):
            if tags:
                self._client.put_object_tagging(Bucket=self.name, Key=_checked(key), Tagging={"TagSet": tag_set})
            else:
                self._client.delete_object_tagging(Bucket=self.name, Key=_checked(key))

    def tags(self, key: str) -> dict[str, str]:
        """Return an object's tags."""
        with self._errors(key):
            found = self._client.get_object_tagging(Bucket=self.name, Key=_checked(key))["TagSet"]
            return {tag["Key"]: tag["Value"] for tag in found}

    def location(self, key: str) -> str:
        """Return `s3://bucket/key`."""
        with self._errors(key):
            head = self._client.head_object(Bucket=self.name, Key=_checked(key))
        storage_class = head.get("StorageClass", STANDARD)
        if not _is_readable(storage_class, _restore_of_header(head.get("Restore"))):
            raise invalid_state(key, storage_class)
        return f"s3://{self.name}/{key}"

    def restore(self, key: str, days: int, tier: str = "Standard") -> None:
        """Have a readable copy of a cold object made for `days` days; one that is under way or there is fine.

        Raises UsageError for what S3 refuses.
        """
        request = {"Days": days, "GlacierJobParameters": {"Tier": tier}}
        with self._errors(key):
            try:
                self._client.restore_object(Bucket=self.name, Key=_checked(key), RestoreRequest=request)
            except self._client.exceptions.ClientError as error:
                if aws.code_of(error) == "RestoreAlreadyInProgress":
                    return
                if aws.code_of(error) in ("InvalidObjectState", "InvalidArgument", "MalformedXML"):
                    raise UsageError(
                        f"{key!r} can't be restored: {error}", "Check its class, the tier and the days."
                    ) from error
                raise

    def _tagged(self, infos: Sequence[ObjectInfo]) -> Iterator[ObjectInfo]:
        """Yield objects with their tags: a request each, several at once; one that has gone meanwhile is left out."""
        with ThreadPoolExecutor(TAGS_AT_ONCE) as threads:
            for info, tags in zip(infos, threads.map(lambda info: self._tags_or_none(info.key), infos), strict=True):
                if tags is not None:
                    yield info._replace(tags=tags)

    def _tags_or_none(self, key: str) -> dict[str, str] | None:
        from headrace.errors import NotFound

        try:
            return self.tags(key)
        except NotFound:
            return None

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Raise botocore's errors as ours."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = aws.code_of(error)
            if code in _NO_KEY:
                raise not_found(self.name, key) from error
            if code == "InvalidObjectState":
                storage_class = error.response["Error"].get("StorageClass") or "GLACIER"
                raise invalid_state(key, storage_class) from error
            raise aws.translated(error, f"The bucket {self.name!r} can't be used") from error
        except BotoCoreError as error:
            raise aws.translated(error, f"The bucket {self.name!r} can't be used") from error


def _checked(key: str) -> str:
    """Return a key that S3 can hold; raises UsageError for any other."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= KEY_BYTES_MAX:
        raise UsageError(
            f"{key[:100]!r} can't be the key of an object.", f"A key has 1 to {KEY_BYTES_MAX} bytes of UTF-8."
        )
    return key


def _info(found: Mapping[str, Any]) -> ObjectInfo:
    """Return a listing's entry as a description."""
    storage_class = found.get("StorageClass", STANDARD)
    restore = _restore_of_status(found.get("RestoreStatus"))
    return ObjectInfo(
        found["Key"],
        found["Size"],
        int(found["LastModified"].timestamp() * 1000),
        storage_class,
        _is_readable(storage_class, restore),
        restore=restore,
    )


def _is_readable(storage_class: str, restore: Restore | None) -> bool:
    return storage_class not in COLD_CLASSES or (restore is not None and restore.done)


def _restore_of_status(status: Mapping[str, Any] | None) -> Restore | None:
    """Return what a listing says of a restore; S3 says neither its tier nor when it will be ready."""
    if not status:
        return None
    expiry = status.get("RestoreExpiryDate")
    return _restore(bool(status.get("IsRestoreInProgress")), int(expiry.timestamp() * 1000) if expiry else 0)


def _restore_of_header(header: str | None) -> Restore | None:
    """Return what the header of an object says of a restore: `ongoing-request="false", expiry-date="…"`."""
    if not header:
        return None
    from email.utils import parsedate_to_datetime

    expiry = re.search(r'expiry-date="([^"]+)"', header)
    expires_ms = int(parsedate_to_datetime(expiry[1]).timestamp() * 1000) if expiry else 0
    return _restore('ongoing-request="true"' in header, expires_ms)


def _restore(in_progress: bool, expires_ms: int) -> Restore:
    return Restore("", 0, expires_ms, done=not in_progress and expires_ms > clock.now_ms())
