"""A bucket's objects, moved to S3 in the order of their keys, with tags and classes, checked by their digests."""

import base64
import contextlib
from collections.abc import Callable, Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from hashlib import md5, sha256
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any
from urllib.parse import urlencode

import msgspec

from headrace import aws
from headrace.archive.base import STANDARD, ObjectInfo
from headrace.archive.local import LocalBucket
from headrace.errors import HeadraceError, NotFound, StorageError
from headrace.operations.upload.journal import Journal

AT_ONCE = 8
GROUP_OBJECTS = 64
BYTES_MAX = 5 * 1024**3  # S3's limit of one put
MARK = "headrace-sha256"  # metadata of what an upload has put: the digest of its content
_PART = 1024 * 1024


class Moved(Enum):
    """What became of an object."""

    PUT = "put"
    THERE = "there"
    KEPT = "kept"  # AWS has another of that key that no upload has put
    GONE = "gone"


class Digest(msgspec.Struct, frozen=True):
    """An object's content: size in bytes, digests in hex; the MD5 is only known where it was read."""

    size: int
    sha256: str
    md5: str | None = None


class Remote:
    """The S3 bucket `name` as uploads need it: conditional puts, and what S3 knows of an object's content."""

    def __init__(self, name: str, client: Any) -> None:
        self.name = name
        self._client = client

    def head(self, key: str) -> Any | None:
        """Return what S3 says of an object; None where there is none."""
        try:
            with self.errors():
                return self._client.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
        except NotFound:
            return None

    def get(self, key: str) -> tuple[bytes | None, str | None]:
        """Return a small object's content and its ETag; None and None where there is none."""
        try:
            with self.errors():
                found = self._client.get_object(Bucket=self.name, Key=key)
                return found["Body"].read(), found["ETag"]
        except NotFound:
            return None, None

    def put(self, key: str, body: bytes | IO[bytes], etag: str | None, digest: Digest, **more: Any) -> bool:
        """Put an object if the one there has that ETag (None: if there is none); return whether it was."""
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        try:
            with self.errors():
                self._client.put_object(
                    Bucket=self.name,
                    Key=key,
                    Body=body,
                    ContentLength=digest.size,
                    ChecksumSHA256=base64.b64encode(bytes.fromhex(digest.sha256)).decode(),
                    Metadata={MARK: digest.sha256},
                    **condition,
                    **more,
                )
        except HeadraceError as error:
            if error.__cause__ is not None and aws.code_of(error.__cause__) in (  # type: ignore[arg-type]
                "PreconditionFailed",
                "ConditionalRequestConflict",
            ):
                return False
            raise
        return True

    def tag(self, key: str, tags: dict[str, str]) -> None:
        """Give an object these tags, if it has others."""
        with self.errors():
            found = self._client.get_object_tagging(Bucket=self.name, Key=key)["TagSet"]
            if {tag["Key"]: tag["Value"] for tag in found} != tags:
                tag_set = [{"Key": name, "Value": value} for name, value in tags.items()]
                self._client.put_object_tagging(Bucket=self.name, Key=key, Tagging={"TagSet": tag_set})

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Raise botocore's errors as ours."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise aws.translated(error, f"The bucket {self.name!r} can't be used") from error


def move(
    step: str,
    source: LocalBucket,
    target: Remote,
    wanted: Callable[[str], bool],
    journal: Journal,
    told: Callable[[], None],
) -> None:
    """Move every object whose key is wanted, from where the journal is; `told` is called after each group."""
    counts = journal.counts(step)
    put_before = {key for keys in journal.state.catalogue.values() for key in keys}
    after = journal.state.after[0].encode() if journal.state.after else b""
    infos = (info for info in source.list(tags=True) if wanted(info.key) and info.key.encode() > after)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        while group := list(islice(infos, GROUP_OBJECTS)):
            moving = threads.map(lambda info: move_one(source, target, info, put_before), group)
            for info, moved in zip(group, moving, strict=True):
                counts.seen += 1
                counts.bytes += info.size
                setattr(counts, moved.value, getattr(counts, moved.value) + 1)
            journal.state.after = [group[-1].key]
            journal.save()
            told()


def move_one(source: LocalBucket, target: Remote, info: ObjectInfo, put_before: Container[str] = ()) -> Moved:
    """Put an object unless AWS has it; raises HeadraceError if S3 then holds another content.

    What is in `put_before` was there once: if it is not any more, AWS has replaced it, and it is not put again.
    """
    cold = source.cold_of(info.key)
    if cold is not None or info.key in put_before:  # it need not be read to know what to do
        head = target.head(info.key)
        if head is None and info.key in put_before:
            return Moved.KEPT
        if head is not None and cold is not None and is_same(head, Digest(cold.size, cold.sha256)):
            return Moved.THERE
    with opened(source, info) as found:
        if found is None:
            return Moved.GONE
        body, digest = found
        for _ in range(3):
            head = target.head(info.key)
            if head is not None and is_same(head, digest):
                if info.tags:
                    target.tag(info.key, dict(info.tags))
                return Moved.THERE
            if head is not None and MARK not in head.get("Metadata", {}):
                return Moved.KEPT
            body.seek(0)
            more = {"StorageClass": info.storage_class} if info.storage_class != STANDARD else {}
            if info.tags:
                more["Tagging"] = urlencode(info.tags)
            if target.put(info.key, body, None if head is None else head["ETag"], digest, **more):
                verify(target, info.key, digest)
                return Moved.PUT
    raise HeadraceError(f"{info.key!r} is changed on AWS all the time.", "Stop what writes it, and try again.")


def verify(target: Remote, key: str, digest: Digest) -> None:
    """Raise HeadraceError unless S3 holds that content."""
    head = target.head(key)
    if head is None or not is_same(head, digest):
        raise HeadraceError(
            f"{key!r} in {target.name} is not what was put there.", "Does something else write it? Run this again."
        )


def is_same(head: Any, digest: Digest) -> bool:
    """Return whether what S3 says of an object fits a content: its SHA-256, its ETag, or what an upload noted."""
    if head["ContentLength"] != digest.size:
        return False
    if "ChecksumSHA256" in head and "-" not in head["ChecksumSHA256"]:
        return bool(base64.b64decode(head["ChecksumSHA256"]).hex() == digest.sha256)
    etag = head["ETag"].strip('"')
    if digest.md5 is not None and "-" not in etag and head.get("ServerSideEncryption") in (None, "AES256"):
        return bool(etag == digest.md5)
    return bool(head.get("Metadata", {}).get(MARK) == digest.sha256)


@contextlib.contextmanager
def opened(source: LocalBucket, info: ObjectInfo) -> Iterator[tuple[IO[bytes], Digest] | None]:
    """Open an object's content, cold or not, and measure it; None where it is gone meanwhile."""
    if info.size > BYTES_MAX:
        raise HeadraceError(f"{info.key!r} has over 5 GiB.", "Send it with `aws s3 cp`, then run this again.")
    with contextlib.ExitStack() as stack:
        path = source.path(info.key)
        try:
            body = stack.enter_context(path.open("rb"))
        except FileNotFoundError:
            cold = source.cold_of(info.key)
            if cold is None:
                yield None
                return
            path = Path(stack.enter_context(TemporaryDirectory(prefix="headrace-"))) / "object"
            source.cold.fetch(source.name, info.key, cold, path)
            body = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise StorageError(f"{path} can't be read: {error.strerror}.", "Check that disk.") from error
        yield body, measured(body)


def measured(body: IO[bytes]) -> Digest:
    """Return the size and the digests of an open file."""
    size, long, short = 0, sha256(), md5(usedforsecurity=False)
    while part := body.read(_PART):
        size += len(part)
        long.update(part)
        short.update(part)
    return Digest(size, long.hexdigest(), short.hexdigest())


def digest_of(body: bytes) -> Digest:
    """Return the size and the digests of bytes."""
    return Digest(len(body), sha256(body).hexdigest(), md5(body, usedforsecurity=False).hexdigest())
