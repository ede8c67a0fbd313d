"""Objects of S3 that several machines change: each change is made of what it replaces, or is refused.

S3 compares ETags when it puts (`If-Match`, `If-None-Match`), so that no lock is needed: who comes second is told.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from headrace import aws
from headrace.archive.base import Bucket
from headrace.archive.catalogue import Catalogue
from headrace.errors import Conflict

T = TypeVar("T")

TRIES = 10
_REFUSED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
_MISSING = frozenset({"NoSuchKey", "404"})


class Exchange:
    """The objects of one bucket; `client` is boto3's or botocore's of S3."""

    def __init__(self, bucket: str, client: Any) -> None:
        self._bucket = bucket
        self._client = client

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Return an object's content and ETag, None where there is none."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self._client.get_object(Bucket=self._bucket, Key=key)
            return found["Body"].read(), found["ETag"]
        except (BotoCoreError, ClientError) as error:
            if aws.code_of(error) in _MISSING:
                return None
            raise aws.translated(error, f"{key} in {self._bucket} can't be read") from error

    def etags(self, prefix: str) -> dict[str, str]:
        """Return the ETags of the objects whose key starts with `prefix`: they tell one content from another."""
        from botocore.exceptions import BotoCoreError, ClientError

        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        try:
            return {found["Key"]: found["ETag"].strip('"') for page in pages for found in page.get("Contents", ())}
        except (BotoCoreError, ClientError) as error:
            raise aws.translated(error, f"{self._bucket} can't be listed") from error

    def write(self, key: str, body: bytes, before: str | None) -> str:
        """Put an object if the one there has the ETag `before` (None: there is none); return the new ETag.

        Raises Conflict where that is not so: nothing is changed then.
        """
        condition = {"IfNoneMatch": "*"} if before is None else {"IfMatch": before}
        return self._put(key, body, condition)

    def copy(self, source: str, target: str) -> None:
        """Make an object a copy of another one of the bucket, whatever its size."""
        from botocore.exceptions import BotoCoreError, ClientError

        place = {"Bucket": self._bucket, "Key": source}
        try:
            self._client.copy_object(Bucket=self._bucket, Key=target, CopySource=place)
        except (BotoCoreError, ClientError) as error:
            if aws.code_of(error) != "InvalidRequest":  # what S3 says of more than 5 GB
                raise aws.translated(error, f"{source} in {self._bucket} can't be copied") from error
            from s3transfer.manager import TransferManager

            with TransferManager(self._client) as manager:
                manager.copy(place, self._bucket, target).result()

    def _put(self, key: str, body: bytes, condition: dict[str, str]) -> str:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return str(self._client.put_object(Bucket=self._bucket, Key=key, Body=body, **condition)["ETag"])
        except (BotoCoreError, ClientError) as error:
            # A missing object can't match: S3 says 404 then.
            if aws.code_of(error) in _REFUSED or (aws.code_of(error) in _MISSING and "IfMatch" in condition):
                raise Conflict(f"{key} was changed by somebody else meanwhile.", "Run it again.") from None
            raise aws.translated(error, f"{key} in {self._bucket} can't be written") from error


class SharedCatalogue(Catalogue):
    """The catalogue of an archive on S3: a manifest is put if it is still the one that the change was made of."""

    def __init__(self, bucket: Bucket, exchange: Exchange) -> None:
        super().__init__(bucket, Path())
        self._exchange = exchange

    def _replace(self, key: str, make: Callable[[bytes | None], tuple[bytes | None, T]]) -> T:
        for _ in range(TRIES):
            found = self._exchange.read(key)
            body, result = make(found[0] if found else None)
            if body is None:
                return result
            try:
                self._exchange.write(key, body, found[1] if found else None)
            except Conflict:
                continue
            return result
        raise Conflict(f"{key} is changed all the time by somebody else.", "Run it again when they are done.")
