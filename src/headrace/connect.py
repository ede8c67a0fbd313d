"""Where functions reach storage: `connect.table(name)` and `connect.bucket(name)`, the same on every platform.

The platform says by environment which implementation that is. HEADRACE_DATA, a backend's data directory, is this
machine. Without it, Lambda (AWS_LAMBDA_FUNCTION_NAME) and HEADRACE_PLATFORM=aws mean DynamoDB and S3, in the region and
account of the environment. Connections are made when first asked for and kept for the life of the process.

A test hands in its own, and its function never knows:

    connect.use(tables={"events": my_table}, buckets={"archive": my_bucket})
    store.handler(event, context)
    connect.reset()
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headrace import clock
from headrace.archive.base import Bucket, ObjectInfo
from headrace.errors import UsageError
from headrace.settings import Layout
from headrace.table.base import Table

ANSWER_S = 0.2  # before an invocation times out: what can't be done in time is to be told by then

_tables: dict[str, Table] = {}
_buckets: dict[str, Bucket] = {}
_rejections: list[str] = []


class _Invocation:
    """The invocation under way: until which monotonic second it may last, if that is known."""

    ends_s: float | None = None


_invocation = _Invocation()


def table(name: str) -> Table:
    """Return the table of that name; raises UsageError where no platform is set."""
    found = _tables.get(name)
    if found is None:
        found = _tables[name] = _table(name)
    return found


def bucket(name: str) -> Bucket:
    """Return the bucket of that name; raises UsageError where no platform is set."""
    found = _buckets.get(name)
    if found is None:
        found = _buckets[name] = _Recorded(_bucket(name))
    return found


def use(*, tables: Mapping[str, Table] | None = None, buckets: Mapping[str, Bucket] | None = None) -> None:
    """Answer these from now on instead of connecting: for tests of functions, and for tools without a backend."""
    _tables.update(tables or {})
    _buckets.update({name: _Recorded(bucket) for name, bucket in (buckets or {}).items()})


def reset() -> None:
    """Forget every table, bucket and rejection: the next call connects by the environment."""
    _tables.clear()
    _buckets.clear()
    _rejections.clear()
    _invocation.ends_s = None


def written_rejections() -> list[str]:
    """Return the keys put under `rejected/` since the last call, and forget them.

    A worker asks after each invocation: that is how the runtime learns which records of a batch were rejected.
    """
    taken = _rejections[:]
    del _rejections[: len(taken)]
    return taken


def lasts_until(ends_s: float | None) -> None:
    """Say until which monotonic second the invocation under way may last: nothing is tried again beyond it."""
    _invocation.ends_s = ends_s


def lasts_as(context: Any) -> None:
    """Say the same by Lambda's context: until a little before it times out, so that there is time for an answer."""
    remaining_ms = getattr(context, "get_remaining_time_in_millis", None)
    if remaining_ms is not None:
        left_s = remaining_ms() / 1000
        _invocation.ends_s = clock.monotonic_s() + left_s - max(ANSWER_S, left_s / 50)


class _Recorded(Bucket):
    """A bucket that remembers which rejected documents were written to it (see `written_rejections`)."""

    def __init__(self, inner: Bucket) -> None:
        self._inner = inner

    def put(self, key: str, body: bytes) -> None:
        self._inner.put(key, body)
        self._note(key)

    def put_file(self, key: str, path: Path) -> None:
        self._inner.put_file(key, path)
        self._note(key)

    def get(self, key: str) -> bytes:
        return self._inner.get(key)

    def list(self, prefix: str = "", *, tags: bool = False) -> Iterator[ObjectInfo]:
        return self._inner.list(prefix, tags=tags)

    def delete(self, key: str) -> None:
        self._inner.delete(key)

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        self._inner.tag(key, tags)

    def tags(self, key: str) -> dict[str, str]:
        return self._inner.tags(key)

    def location(self, key: str) -> str:
        return self._inner.location(key)

    def _note(self, key: str) -> None:
        if key.startswith("rejected/"):
            _rejections.append(key)


def _table(name: str) -> Table:
    layout = _layout("table", name)
    if layout is None:
        from headrace.table.aws import DynamoTable

        return DynamoTable.connect(name, lambda: _invocation.ends_s)
    from headrace.table.local import LocalTable

    return LocalTable.connect(name, layout.table_socket, lambda: _invocation.ends_s)


def _bucket(name: str) -> Bucket:
    layout = _layout("bucket", name)
    if layout is None:
        from headrace.archive.aws import S3Bucket

        return S3Bucket.connect(name)
    from headrace.archive.local import LocalBucket

    return LocalBucket(layout.buckets / name)


def _layout(kind: str, name: str) -> Layout | None:
    """Return where this machine keeps its data; None on AWS. Raises UsageError where neither is said."""
    data = os.environ.get("HEADRACE_DATA")
    if data:
        return Layout(Path(data))
    if os.environ.get("AWS_LAMBDA_FUNCTION_NAME") or os.environ.get("HEADRACE_PLATFORM") == "aws":
        return None
    raise UsageError(
        f"The {kind} {name!r} can't be reached: the environment names no platform.",
        "Run the function in `headrace up`, set HEADRACE_PLATFORM=aws, or hand in storage of your own with "
        "headrace.connect.use(…).",
    )
