"""What functions rejected and Lambda gave up, from the failures bucket."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.errors import NotFound
from headrace.failure_document import KINDS, Document, split_id

if TYPE_CHECKING:
    from headrace.deployed import Deployed

DOCUMENTS_MAX = 200  # in one page
_THREADS = 8


def page(system: "Deployed", after: str | None) -> dict[str, Any]:
    """Return a page of rows, one a (document, record), and the key to go on after."""
    client, bucket = system.client("s3"), system.failures_bucket
    keys = list(_keys(system, bucket, after))

    def rows(key: str) -> list[Any]:
        body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return [msgspec.to_builtins(row) for row in Document.parse(key, body).rows()]

    with system.errors(), ThreadPoolExecutor(_THREADS) as threads:
        found = [row for some in threads.map(rows, keys) for row in some]
    return {"failures": found, "next": keys[-1] if len(keys) == DOCUMENTS_MAX else None}


def document(system: "Deployed", failure: str) -> bytes:
    """Return a whole document; raises NotFound."""
    key, _ = split_id(failure)
    client, bucket = system.client("s3"), system.failures_bucket
    if not key.startswith(KINDS):
        raise NotFound(f"There is no failure {failure!r}.", "`headrace failures list --aws` lists them.")
    try:
        with system.errors():
            return bytes(client.get_object(Bucket=bucket, Key=key)["Body"].read())
    except NotFound:
        raise NotFound(f"There is no failure {failure!r}.", "`headrace failures list --aws` lists them.") from None


def _keys(system: "Deployed", bucket: str, after: str | None) -> Iterator[str]:
    """Yield up to a page of documents' keys after one, in their order."""
    client, left = system.client("s3"), DOCUMENTS_MAX
    for prefix in sorted(KINDS):
        if after is not None and after > prefix and not after.startswith(prefix):
            continue
        start = after if after is not None and after.startswith(prefix) else ""
        with system.errors():
            found = client.list_objects_v2(Bucket=bucket, Prefix=prefix, StartAfter=start, MaxKeys=left)
        keys = [each["Key"] for each in found.get("Contents", [])]
        yield from keys
        left -= len(keys)
        if left <= 0:
            return


def count(system: "Deployed", most: int) -> int:
    """Return how many documents there are, looking at `most` at most."""
    client, total = system.client("s3"), 0
    for prefix in KINDS:
        with system.errors():
            found = client.list_objects_v2(Bucket=system.failures_bucket, Prefix=prefix, MaxKeys=max(1, most - total))
        total += found.get("KeyCount", 0)
        if total >= most:
            break
    return total
